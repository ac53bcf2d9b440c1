//! S6: clocks that jump by an hour or ten years, ahead and back, or stand still; a host that sleeps for eight hours, or is
//! polled hours late. No panic, and traffic within 11 s once the clocks are right.

use super::{Failure, Scale, nodes, trial};
use crate::clock::WhichClock;
use crate::report::Counts;
use crate::script::Op;

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
const RIGHT_AGAIN: u32 = 11_000;

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for number in 0..scale.of(10, 50) {
        let seed = seed * 1000 + number;
        let report = trial(seed, nodes(seed), |trial| {
            for _ in 0..trial.draw.between(1, 5) {
                let (one, other) = trial.two();
                trial.apply(Op::Send { from: one, to: other, count: 2, size: 0 })?;
                let millis = trial.draw.one_of(&[0, 5, 15, 1000, 6000, 130_000, 185_000]);
                trial.apply(Op::Advance { millis })?;
                disturb(trial, one)?;
                for _ in 0..trial.draw.below(4) {
                    trial.apply(Op::Send { from: other, to: one, count: 1, size: 0 })?;
                    trial.apply(Op::Send { from: one, to: other, count: 1, size: 0 })?;
                    let millis = trial.draw.one_of(&[20, 3000, 12_000, 190_000]);
                    trial.apply(Op::Advance { millis })?;
                }
            }
            for (host, _) in trial.links() {
                trial.apply(Op::Correct { host })?;
            }
            // Who sleeps or is late wakes up.
            trial.apply(Op::Advance { millis: 30_000_000 })?;
            for (from, to) in trial.links() {
                trial.apply(Op::Send { from, to, count: 1, size: 100 })?;
            }
            for (from, to) in trial.links() {
                trial.apply(Op::Reach { from, to, millis: RIGHT_AGAIN })?;
            }
            Ok(())
        })?;
        counts.add(&report.counts);
    }
    Ok(counts)
}

fn disturb(trial: &mut super::Trial<'_>, host: u8) -> Result<(), Failure> {
    let clock = trial.draw.one_of(&[WhichClock::Monotonic, WhichClock::Wall]);
    let seconds = trial.draw.one_of(&[1, 20, 179, 180, HOUR, TEN_YEARS]);
    let op = match trial.draw.below(8) {
        0 | 1 => Op::Step { host, clock, seconds },
        2 | 3 => Op::Step { host, clock, seconds: -seconds },
        4 => Op::Stop { host, clock, stop: true },
        5 => Op::Suspend { host, millis: 8 * 3_600_000, counts: trial.draw.happens(500) },
        6 => Op::Late { host, millis: trial.millis(1, 4 * 3_600_000) },
        _ => Op::Correct { host },
    };
    trial.apply(op)
}
