//! S3: corruption, from one bit to the whole, on the wire and by an adversary who cuts and joins. Nothing is accepted, and
//! no state changes: invariants I2 and I6.

use super::{Failure, Scale, must, nodes, trial};
use crate::report::Counts;
use crate::script::{Fault, Op};

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let report = trial(seed, nodes(seed), |trial| {
        trial.apply(Op::Record { on: true })?;
        for (from, to) in trial.links() {
            trial.apply(Op::Link { from, to, fault: Fault::Corrupt, amount: 300 })?;
        }
        for _ in 0..scale.of(20, 300) {
            let (from, to) = trial.two();
            trial.apply(Op::Stream { from, to, count: 10, micros: 5000 })?;
            for _ in 0..200 {
                let record = trial.number(4096);
                let op = match trial.draw.below(4) {
                    0 => Op::Truncate { record, len: trial.number(1460) },
                    1 => Op::Extend { record, by: 1 + trial.number(100) },
                    2 => Op::Splice { head: record, tail: trial.number(4096), at: trial.number(200) },
                    _ => Op::Flip { record, bit: trial.number(12_000) },
                };
                trial.apply(op)?;
            }
            let millis = trial.draw.one_of(&[10, 100, 20_000]);
            trial.apply(Op::Advance { millis })?;
        }
        Ok(())
    })?;
    let counts = report.counts;
    must(counts.faults_mangle > counts.delivered, seed, || format!("too little was mangled: {report}"))?;
    Ok(counts)
}
