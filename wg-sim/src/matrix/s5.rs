//! S5: a month of sparse traffic: rekeys, expiry, giving up, waking up, restarts, each followed by recovery in time.

use super::{Failure, Scale, must, nodes, trial};
use crate::report::Counts;
use crate::script::{Fault, Op};

/// 15.4 s after which silence is noticed, and the round trip of 20 ms that follows, with the packet's own way.
const PEER_RESTARTED: u32 = 15_400 + 30;

/// One round trip of 20 ms, and the way of the packet that waited for it.
const SPEAKS_ITSELF: u32 = 20 + 10;

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let days = scale.of(1, 30);
    let report = trial(seed, nodes(seed), |trial| {
        while trial.world.time() / 1_000_000_000 < days * 86_400 {
            let (one, other) = trial.two();
            match trial.draw.below(400) {
                0 => {
                    // Whoever is left must notice; his own last handshake message must not be in the way.
                    trial.apply(Op::Advance { millis: 6000 })?;
                    trial.apply(Op::Restart { host: other })?;
                    trial.apply(Op::Reach { from: one, to: other, millis: PEER_RESTARTED })?;
                }
                1 => {
                    trial.apply(Op::Advance { millis: 1000 })?;
                    trial.apply(Op::Restart { host: one })?;
                    trial.apply(Op::Advance { millis: 20 })?;
                    trial.apply(Op::Reach { from: one, to: other, millis: SPEAKS_ITSELF })?;
                }
                2 => {
                    // Cut for long enough to give up, or not; then traffic wakes it up.
                    let millis = trial.millis(10_000, 1_000_000);
                    for (from, to) in [(one, other), (other, one)] {
                        trial.apply(Op::Link { from, to, fault: Fault::Cut, amount: 1 })?;
                    }
                    trial.apply(Op::Send { from: one, to: other, count: 5, size: 0 })?;
                    trial.apply(Op::Advance { millis })?;
                    for (from, to) in [(one, other), (other, one)] {
                        trial.apply(Op::Link { from, to, fault: Fault::Cut, amount: 0 })?;
                    }
                    trial.apply(Op::Reach { from: one, to: other, millis: PEER_RESTARTED })?;
                }
                3 => {
                    let seconds = trial.draw.one_of(&[0, 25]);
                    trial.apply(Op::Keepalive { host: one, peer: other, seconds })?;
                }
                4..=9 => {
                    // Silence until everything has expired.
                    let millis = trial.millis(180_000, 2_000_000);
                    trial.apply(Op::Advance { millis })?;
                }
                _ => {
                    trial.apply(Op::Send { from: one, to: other, count: 1, size: 0 })?;
                    let millis = trial.draw.one_of(&[500, 20_000, 60_000, 121_000, 170_000]);
                    trial.apply(Op::Advance { millis })?;
                }
            }
        }
        Ok(())
    })?;
    must(report.counts.handshakes > days * 100, seed, || format!("few handshakes: {report}"))?;
    Ok(report.counts)
}
