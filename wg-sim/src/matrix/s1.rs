//! S1: no fault. Every packet of every length arrives, across rekeys, or is too short to be one.

use super::{Failure, Scale, must, nodes, trial};
use crate::report::Counts;
use crate::script::Op;

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let report = trial(seed, nodes(seed), |trial| {
        for _ in 0..scale.of(100, 4000) {
            let (from, to) = trial.two();
            let micros = trial.millis(10, 30_000);
            trial.apply(Op::Stream { from, to, count: 50, micros })?;
        }
        Ok(())
    })?;
    let counts = report.counts;
    let arrived = counts.delivered + counts.refused_at_source;
    must(arrived == counts.packets && counts.refusals == 0, seed, || {
        format!("lost without a fault: {report}")
    })?;
    // One in 71 is shorter than a header.
    must(counts.refused_at_source < counts.packets / 35, seed, || format!("refused at source: {report}"))?;
    Ok(counts)
}
