//! S9: a counter near its limits. At 2^60 a new session is asked for and traffic goes on; at 2^64 - 2^13 - 1 nothing is sent
//! with it any more, even where no new session can be had (C57, C58).

use super::{Failure, Scale, trial};
use crate::report::Counts;
use crate::script::{Fault, NodeKind, Op};

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for number in 0..scale.of(20, 50) {
        let seed = seed * 1000 + number;
        let kinds: &[NodeKind] = if number % 2 == 0 {
            &[NodeKind::Peer, NodeKind::Peer]
        } else {
            &[NodeKind::Device, NodeKind::Device]
        };
        let last = number / 2 % 2 == 1;
        let report = trial(seed, kinds, |trial| {
            let (one, other) = trial.two();
            let send = |count| Op::Send { from: one, to: other, count, size: 100 };
            // Either role.
            let (first, second) = if trial.draw.happens(500) { (one, other) } else { (other, one) };
            trial.apply(Op::Send { from: first, to: second, count: 1, size: 100 })?;
            trial.apply(Op::Advance { millis: 6000 })?;
            let before = trial.number(40);
            trial.apply(Op::Exhaust { host: one, peer: other, last, before })?;
            if last {
                silence(trial, one, other, before)
            } else {
                rekey(trial, send(before), send(1), send(3))
            }
        })?;
        counts.add(&report.counts);
    }
    Ok(counts)
}

/// The packet that takes the counter past 2^60 asks for a new session; nothing is lost meanwhile.
fn rekey(trial: &mut super::Trial<'_>, up_to: Op, past: Op, more: Op) -> Result<(), Failure> {
    let before = *trial.world.counts();
    trial.apply(up_to)?;
    let initiations = trial.world.counts().initiations;
    trial.expect(initiations == before.initiations, || "asked for before the limit".to_owned())?;
    trial.apply(past)?;
    let initiations = trial.world.counts().initiations;
    trial.expect(initiations == before.initiations + 1, || "not asked for at the limit".to_owned())?;
    trial.apply(more)?;
    trial.apply(Op::Advance { millis: 1000 })?;
    let after = *trial.world.counts();
    let (sent, arrived) = (after.packets - before.packets, after.delivered - before.delivered);
    trial.expect(after.handshakes == before.handshakes + 1, || "no new session".to_owned())?;
    trial.expect(sent == arrived, || format!("{arrived} of {sent} arrived"))
}

/// With the last counter used, the session is over: packets wait, and go with the next one.
fn silence(trial: &mut super::Trial<'_>, one: u8, other: u8, before: u16) -> Result<(), Failure> {
    // Past 2^60 already, so that a new session is asked for; its answers do not come.
    trial.apply(Op::Link { from: other, to: one, fault: Fault::Cut, amount: 1 })?;
    let start = *trial.world.counts();
    trial.apply(Op::Send { from: one, to: other, count: before + 10, size: 100 })?;
    trial.apply(Op::Advance { millis: 2000 })?;
    let after = *trial.world.counts();
    let arrived = after.delivered - start.delivered;
    trial.expect(arrived == before.into(), || {
        format!("{arrived} arrived where {before} counters were left")
    })?;
    trial.apply(Op::Link { from: other, to: one, fault: Fault::Cut, amount: 0 })?;
    trial.apply(Op::Advance { millis: 13_000 })?;
    let arrived = trial.world.counts().delivered - start.delivered;
    let sent = u64::from(before) + 10;
    trial.expect(arrived == sent, || format!("{arrived} of {sent} arrived with the next session"))
}
