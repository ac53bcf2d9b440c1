//! Costs of three machines, and where each figure is from. What was fitted to a point of a paper says to which; all other
//! points are predicted.

use super::cost::{Costs, StageCost};

/// A machine whose costs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calibration {
    /// The reference machine of `docs/figures.md`: this datapath, with offloads and a cipher across packets.
    Modern,
    /// The first paper's: two sockets of 16 cores, the kernel's datapath.
    Paper,
    /// MoonWire's: its variants over kernel bypass.
    MoonWire,
}

const fn stage(batch: u64, packet: u64, byte_ps: u64) -> StageCost {
    StageCost { batch, packet, byte_ps }
}

impl Calibration {
    /// The costs.
    #[must_use]
    pub const fn costs(self) -> Costs {
        match self {
            // Lines through two measured sizes: receive 38 ns at 96 B and 220 ns at 1452 B, crypt 52 ns at 64 B and 548 ns at
            // 1424 B, write 11 ns at 36 B and 66 ns at 1368 B, a write by itself 600 ns more. A line half of the round
            // trip of 455 ns, payload 97 ns for 1424 B; across nodes two and a half times that, as an estimate.
            Self::Modern => Costs {
                receive: stage(400, 0, 134),
                crypt: stage(0, 29, 364),
                send: stage(400, 2, 40),
                push: stage(60, 0, 0),
                take: stage(60, 0, 0),
                drain: stage(40, 0, 0),
                remote: [0, 0, 0],
                line: [230, 345, 575],
                migrate_ps: [68, 102, 170],
                sibling: 165,
                switch: 0,
                moderation: 0,
                ipi: 1000,
                wake: 4000,
                lock: 20,
                handoff: 230,
                guarded: 0,
                futex: 4000,
                sleeper: 0,
            },
            // Work of 3.9 us a packet (inline, 90 Gb/s on 32 cores), 1.5 us of it to receive with what it takes to push
            // (7.25 Gb/s for one tunnel with both mends); synchronisation of 1.5 us and remote memory of 1.9 us on average
            // (65 and 48 Gb/s on 32 cores); a drain of 0.84 us (13 Gb/s of one core).
            Self::Paper => Costs {
                receive: stage(0, 800, 0),
                crypt: stage(0, 2400, 0),
                send: stage(0, 700, 0),
                push: stage(0, 230, 0),
                take: stage(0, 850, 0),
                drain: stage(0, 100, 0),
                remote: [1000, 2460, 400],
                line: [100, 150, 250],
                migrate_ps: [0, 0, 0],
                sibling: 165,
                switch: 1500,
                moderation: 64_000,
                ipi: 450,
                wake: 4000,
                lock: 50,
                handoff: 100,
                guarded: 0,
                futex: 4000,
                sleeper: 0,
            },
            // Variant 1: 1.3 Mpps at 64 B, 85 % of it crypt, 96 % at 1514 B. Variant 3: a worker of 0.91 us, a copy stage of
            // 159 ns. The hold of variant 2's lock is fitted to its peak at four workers.
            Self::MoonWire => Costs {
                receive: stage(0, 60, 0),
                crypt: stage(0, 504, 2300),
                send: stage(0, 60, 0),
                push: stage(0, 99, 0),
                take: stage(0, 260, 0),
                drain: stage(0, 0, 0),
                remote: [0, 0, 0],
                line: [60, 90, 150],
                migrate_ps: [0, 0, 0],
                sibling: 165,
                switch: 0,
                moderation: 0,
                ipi: 0,
                wake: 0,
                lock: 20,
                handoff: 120,
                guarded: 0,
                futex: 1500,
                sleeper: 0,
            },
        }
    }
}
