//! S4: every recorded datagram again, from its own address and others, beside the first, at once, after a rekey, after a
//! restart. Nothing is delivered twice and no endpoint moves: invariants I2, I6 and I7. What a host that began anew may answer
//! is counted apart (C35).

use super::{Failure, Scale, must, nodes, trial};
use crate::report::Counts;
use crate::script::Op;

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let report = trial(seed, nodes(seed), |trial| {
        trial.apply(Op::Record { on: true })?;
        for _ in 0..scale.of(2, 10) {
            for _ in 0..scale.of(5, 20) {
                let (from, to) = trial.two();
                trial.apply(Op::Twin { host: to, count: 3, source: 1 })?;
                trial.apply(Op::Stream { from, to, count: 10, micros: 2000 })?;
            }
            let records = scale.of(150, 800);
            replay_all(trial, records)?;
            // A rekey: the initiator sends past 120 s.
            for (from, to) in trial.links() {
                trial.apply(Op::Advance { millis: 125_000 })?;
                trial.apply(Op::Send { from, to, count: 3, size: 100 })?;
            }
            trial.apply(Op::Advance { millis: 1000 })?;
            replay_all(trial, records)?;
            let (host, _) = trial.two();
            trial.apply(Op::Restart { host })?;
            replay_all(trial, records)?;
            trial.apply(Op::Advance { millis: 30_000 })?;
        }
        Ok(())
    })?;
    must(report.counts.faults_replay > 500, seed, || format!("too little was replayed: {report}"))?;
    Ok(report.counts)
}

fn replay_all(trial: &mut super::Trial<'_>, records: u16) -> Result<(), Failure> {
    for record in 0..records {
        let source = trial.draw.one_of(&[0, 1, 2]);
        trial.apply(Op::Replay { record, source })?;
    }
    Ok(())
}
