//! S7: both sides begin at once, over any delay of 1 ms to 1 s, the same both ways or not, with further traffic and without.
//! All come together within 4 rounds, half of them within 11 s, and no delay, however long, leaves a side silent (C39).

use super::{Failure, Scale, must, trial};
use crate::report::Counts;
use crate::script::{Fault, NodeKind, Op};

/// Four rounds: three waits of 5.3 s, each with up to 5 s more for the side that yields, and the last messages' ways.
const ROUNDS: u64 = 4;
const WITHIN: u32 = 42_000;
const MEDIAN: u32 = 11_000;

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut waits = Vec::new();
    for number in 0..scale.of(60, 500) {
        let seed = seed * 1000 + number;
        let kinds: &[NodeKind] = if number % 2 == 0 {
            &[NodeKind::Peer, NodeKind::Peer]
        } else {
            &[NodeKind::Device, NodeKind::Device]
        };
        let traffic = number % 3 != 0;
        let far = number % 10 == 9;
        let report = trial(seed, kinds, |trial| {
            let range = if far { (2500, 8000) } else { (1, 1000) };
            let there = trial.millis(range.0, range.1);
            let back = if number % 5 == 0 { trial.millis(range.0, range.1) } else { there };
            for (from, to, delay) in [(0, 1, there), (1, 0, back)] {
                let amount = u16::try_from(delay).unwrap_or(u16::MAX);
                trial.apply(Op::Link { from, to, fault: Fault::Delay, amount })?;
            }
            let begin = |host: u8| match traffic {
                true => Op::Send { from: host, to: 1 - host, count: 1, size: 100 },
                false => Op::Initiate { host, peer: 1 - host },
            };
            trial.apply(begin(0))?;
            // Before it can know.
            let stagger = trial.millis(0, u64::from(there) - 1);
            trial.apply(Op::Advance { millis: stagger })?;
            trial.apply(begin(1))?;
            if far {
                return never_silent(trial);
            }
            trial.apply(Op::Settle { one: 0, other: 1, millis: WITHIN })?;
            let initiations = trial.world.counts().initiations;
            trial.expect(initiations <= 2 * ROUNDS, || format!("{initiations} initiations"))
        })?;
        waits.extend(report.recoveries.first().filter(|_| !far));
        counts.add(&report.counts);
    }
    waits.sort_unstable();
    let median = waits.get(waits.len() / 2).copied().unwrap_or(u32::MAX);
    must(median <= MEDIAN, seed, || format!("median of {median} ms over {} trials", waits.len()))?;
    Ok(counts)
}

/// Where no answer comes before the next try, a handshake may never end; but nobody stops trying before 90 s are over.
fn never_silent(trial: &mut super::Trial<'_>) -> Result<(), Failure> {
    for _ in 0..6 {
        let sent = |trial: &super::Trial<'_>| [0, 1].map(|host| trial.world.sent_by(host));
        let before = sent(trial);
        trial.apply(Op::Advance { millis: 12_000 })?;
        let goes_on = before.iter().zip(sent(trial)).all(|(before, after)| after > *before);
        let connected = trial.world.counts().handshakes > 0;
        trial.expect(goes_on || connected, || format!("a side was silent for 12 s: {before:?}"))?;
    }
    Ok(())
}
