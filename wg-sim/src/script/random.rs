//! Scripts by chance: which operations are drawn, and how often.

use super::{Fault, Forgery, NodeKind, Op, Script};
use crate::clock::WhichClock;
use crate::draw::Draw;

/// What may happen in a script that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Traffic over a network that loses, doubles, delays, reorders and corrupts.
    Network,
    /// That, and an adversary.
    Hostile,
    /// That, and clocks, restarts, entropy, rebinding and reconfiguration: everything.
    Everything,
}

impl Script {
    /// Draws a script of `ops` operations. The same seed gives the same script.
    #[must_use]
    pub fn random(seed: u64, profile: Profile, ops: usize) -> Self {
        let mut draw = Draw::new(seed ^ 0x7363_7269_7074);
        let kinds = [NodeKind::Peer, NodeKind::Device];
        let hosts = draw.one_of(&[2, 2, 2, 3, 4]);
        let nodes: Vec<_> = match hosts {
            2 => (0..2).map(|_| draw.one_of(&kinds)).collect(),
            // A hub that knows everybody.
            _ => core::iter::once(NodeKind::Device).chain((1..hosts).map(|_| draw.one_of(&kinds))).collect(),
        };
        let mut script = Self::new(seed, &nodes);
        script.ops.push(Op::Record { on: true });
        while script.ops.len() < ops {
            script.ops.push(draw_op(&mut draw, profile, nodes.len()));
        }
        script
    }
}

fn draw_op(draw: &mut Draw, profile: Profile, hosts: usize) -> Op {
    let kinds = match profile {
        Profile::Network => 60,
        Profile::Hostile => 75,
        Profile::Everything => 100,
    };
    let number = |draw: &mut Draw, end: u64| u16::try_from(draw.below(end)).unwrap_or(u16::MAX);
    let one = u8::try_from(draw.index(hosts)).unwrap_or(0);
    let other =
        (one + 1 + u8::try_from(draw.index(hosts - 1)).unwrap_or(0)) % u8::try_from(hosts).unwrap_or(2);
    match draw.below(kinds) {
        0..=21 => Op::Send { from: one, to: other, count: 1 + number(draw, 12), size: size(draw) },
        22..=25 => {
            let micros = u32::try_from(draw.below(20_000)).unwrap_or(0);
            Op::Stream { from: one, to: other, count: number(draw, 60), micros }
        }
        26..=44 => Op::Advance { millis: millis(draw) },
        45..=58 => {
            let fault = draw.one_of(Fault::ALL).0;
            let amount = match fault {
                Fault::Delay => draw.one_of(&[0, 1, 10, 50, 300, 1000, 2600, 6000]),
                Fault::Jitter => draw.one_of(&[1, 20, 400, 4000, 30_000]),
                Fault::Loss => draw.one_of(&[10, 50, 200, 500]),
                Fault::Burst => number(draw, 40),
                Fault::Duplicate => number(draw, 300),
                Fault::Reorder => draw.one_of(&[1, 8, 64, 1000]),
                Fault::Corrupt => number(draw, 100),
                Fault::Mtu => draw.one_of(&[0, 0, 147, 160, 576, 1280]),
                Fault::Cut => number(draw, 2),
                Fault::None => 0,
            };
            Op::Link { from: one, to: other, fault, amount }
        }
        59 => Op::Heal,
        60 => Op::Twin { host: one, count: 1 + number(draw, 8), source: draw.one_of(&[0, 0, 1, 2]) },
        61..=63 => Op::Replay { record: number(draw, 2000), source: draw.one_of(&[0, 0, 1, 2]) },
        64..=65 => Op::Flip { record: number(draw, 2000), bit: number(draw, 12_000) },
        66 => Op::Truncate { record: number(draw, 2000), len: number(draw, 200) },
        67 => Op::Extend { record: number(draw, 2000), by: 1 + number(draw, 40) },
        68..=69 => Op::Splice { head: number(draw, 2000), tail: number(draw, 2000), at: number(draw, 160) },
        70..=74 => {
            let what = draw.one_of(Forgery::ALL).0;
            Op::Forge { host: one, what, count: 1 + number(draw, 8) }
        }
        75..=76 => Op::Rebind { host: one, dies: draw.happens(500) },
        77..=78 => Op::Restart { host: one },
        79 => Op::Late { host: one, millis: millis(draw) },
        80 => Op::Suspend { host: one, millis: millis(draw), counts: draw.happens(700) },
        81..=82 => {
            let seconds = draw.one_of(&[1, 20, 3600, -1, -20, -3600, 315_360_000, -315_360_000]);
            Op::Step { host: one, clock: which(draw), seconds }
        }
        83 => Op::Stop { host: one, clock: which(draw), stop: draw.happens(500) },
        84..=85 => Op::Correct { host: one },
        86 => Op::Entropy { host: one, broken: draw.happens(500) },
        87 => Op::Key { host: one, which: draw.one_of(&[0, 0, 0, 1, 255]) },
        88 => Op::Psk { host: one, peer: other, which: draw.one_of(&[0, 0, 1]) },
        89..=90 => Op::Endpoint { host: one, peer: other, right: draw.happens(700) },
        91 => Op::Keepalive { host: one, peer: other, seconds: draw.one_of(&[0, 0, 1, 25]) },
        92 => Op::Know { host: one, peer: other, add: draw.happens(700) },
        93 => {
            let whose = u8::try_from(draw.index(hosts)).unwrap_or(0);
            Op::Allow { host: one, peer: other, whose, allow: draw.happens(600) }
        }
        94 => Op::Up { host: one, up: draw.happens(700) },
        95 => Op::Mtu { host: one, mtu: draw.one_of(&[0, 100, 1300, 1420, 1420, 65_535]) },
        96 => Op::Zero { host: one },
        97 => Op::Generation { host: one },
        98 => Op::Load { host: one, under: draw.happens(500) },
        _ => {
            let (last, before) = (draw.happens(500), number(draw, 8));
            Op::Exhaust { host: one, peer: other, last, before }
        }
    }
}

fn size(draw: &mut Draw) -> u16 {
    draw.one_of(&[0, 0, 20, 21, 100, 1419, 1420])
}

fn which(draw: &mut Draw) -> WhichClock {
    draw.one_of(&[WhichClock::Monotonic, WhichClock::Wall])
}

/// Mostly short, sometimes as long as the longest timer.
fn millis(draw: &mut Draw) -> u32 {
    let end = draw.one_of(&[20, 20, 500, 500, 6000, 6000, 20_000, 200_000, 600_000]);
    u32::try_from(draw.below(end)).unwrap_or(0)
}
