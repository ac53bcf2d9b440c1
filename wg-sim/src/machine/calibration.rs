//! Costs of some machines, and where each figure is from. What was fitted to a point of a paper says to which; all other
//! points are predicted.

use super::cost::{Costs, StageCost};

/// A machine whose costs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calibration {
    /// The reference machine of `docs/figures.md`: this datapath, with offloads and a cipher across packets.
    Modern,
    /// The same as a guest of a hypervisor, which makes a wake-up dear: that of the records.
    Guest,
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
            // trip of 455 ns, payload 97 ns for 1424 B; across nodes two and a half times that, as an estimate. To wake a
            // core is an estimate, too, of a machine without a hypervisor.
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
                forward: None,
                variation: 0,
                look: 0,
                patience: 0,
                moderation: 0,
                ipi: 1000,
                wake: 4000,
                lock: 20,
                handoff: 230,
                guarded: 0,
                futex: 4000,
                sleeper: 0,
            },
            // As measured on the machine of the records, which is one: 17 us until who is woken runs, 8.4 us of it for who wakes.
            Self::Guest => Costs { ipi: 8400, wake: 8600, ..Self::Modern.costs() },
            // Fitted to single tunnels: inline 2.8 Gb/s (3.9 us to receive, crypt and send), both mends 7.25 (1.49 us to receive, push, pass the
            // lock and wake), affinity (the remote push), overlap (the share of the crypt phase, and what a drain costs on the core that
            // received, of which 400 ns only across nodes). Estimates: the router of the second paper does 1 Mpps on a core, some two
            // thirds of it behind the receiver, which splits the 3.9; three to four lines of a remote push give 170 ns for a line across
            // nodes, and 60 on one; a take has twelve, payload with prefetch among them, a drain two. Estimates that were chosen with the
            // points of several tunnels in view: how long a change from one thread to another takes, how long a packet waits for its worker,
            // and what a softirq drain takes elsewhere. By how much packets vary was chosen by where the drain of a single tunnel is. The NIC's
            // moderation is the middle of what its driver chooses from.
            Self::Paper => Costs {
                receive: stage(0, 840, 0),
                crypt: stage(0, 2360, 0),
                send: stage(0, 700, 0),
                push: stage(0, 220, 0),
                take: stage(0, 700, 0),
                drain: stage(0, 100, 0),
                remote: [720, 2460, 400],
                line: [60, 90, 170],
                migrate_ps: [0, 0, 0],
                sibling: 165,
                switch: 1000,
                forward: Some([20, 250]),
                variation: 30,
                look: 300,
                patience: 200_000,
                moderation: 64_000,
                ipi: 400,
                wake: 4000,
                lock: 50,
                handoff: 100,
                guarded: 0,
                futex: 4000,
                sleeper: 0,
            },
            // Variant 1: 1.3 Mpps at 64 B, 85 % of it crypt, 96 % at 1514 B. Variant 3: a worker of 0.91 us, a copy stage of
            // 159 ns. Estimates for variant 2: the crypt phase of a packet takes up to a tenth more or less than the mean, a line goes from
            // cache to cache in 60 ns, and each that spins takes that of the lock twice, and once for each write of the holder; a sleeper costs a
            // system call at either end.
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
                forward: None,
                variation: 10,
                look: 0,
                patience: 0,
                moderation: 0,
                ipi: 0,
                wake: 0,
                lock: 20,
                handoff: 120,
                guarded: 120,
                futex: 1500,
                sleeper: 300,
            },
        }
    }
}
