//! The suite that every strategy passes, on every machine that runs strategies.
//!
//! A [`Case`] says what machine there is, what comes in, and what happens meanwhile; [`cases`] has those a strategy must pass, and
//! [`check`] runs them for each of [`StrategyKind::ALL`], so that no strategy can be added without. The machine is
//! the caller's: [`Interleaved`] here, which is deterministic and needs no threads, or any that keeps an [`Account`] of its
//! batches. The account holds the rules:
//!
//! * batches of one peer and direction are sent in the order they came in; only where counters are split one may come late, and then it
//!   was waited for as long as [`crate::CounterMerge`] waits;
//! * each is crypted once, before its send;
//! * in = out + counted drops + what is still under way, of which nothing is left at the end;
//! * nothing has more under way than its bound.

mod account;
mod home;
mod interleaved;
mod order;

use alloc::vec::Vec;

pub use account::{Account, Tag};
pub use interleaved::Interleaved;
pub use order::Order;

use crate::strategy::StrategyKind;

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Batches of a few packets.
    Small,
    /// Batches of many.
    Full,
    /// Both.
    Mixed,
}

/// What happens at some time of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The cores change their strategy, each when it comes to it.
    Switch(StrategyKind),
    /// A core stops in its next crypt phase, or between two steps, for so many turns.
    Stall {
        /// The core.
        core: u32,
        /// The turns of other cores until it goes on.
        turns: u32,
    },
    /// A core never takes a turn again. The machine is to notice.
    Kill {
        /// The core.
        core: u32,
    },
    /// A peer is taken away. What it has under way is dropped, and counted.
    Remove {
        /// The peer.
        peer: u32,
    },
    /// A peer comes back.
    Add {
        /// The peer.
        peer: u32,
    },
    /// Nothing more is accepted. What was accepted is sent.
    Stop,
}

/// One run of a strategy.
#[derive(Clone, Debug)]
pub struct Case {
    /// Says how the cores interleave, and what comes when.
    pub seed: u64,
    /// The strategy to begin with.
    pub kind: StrategyKind,
    /// The cores of the machine, two of each four on another node.
    pub cores: u32,
    /// The lanes, on the first cores.
    pub lanes: u32,
    /// The peers, each with a home among the lanes.
    pub peers: u32,
    /// Batches that come in, all together.
    pub batches: u32,
    /// Batches that come in with each turn of a core, in eighths.
    pub rate: u32,
    /// What they are.
    pub sizes: Sizes,
    /// Batches of a home that may be under way.
    pub tickets: u32,
    /// Batches that the ring to a core holds.
    pub ring: u32,
    /// Batches that a core may offer.
    pub slots: u32,
    /// How often other cores come in between the effects of a step: one time in so many. Zero for never.
    pub mesh: u32,
    /// What happens, by the number of batches that have come in.
    pub events: Vec<(u32, Event)>,
}

impl Case {
    /// A case without events, of middling size.
    #[must_use]
    pub const fn new(kind: StrategyKind, seed: u64) -> Self {
        Self {
            seed,
            kind,
            cores: 6,
            lanes: 2,
            peers: 5,
            batches: 600,
            rate: 12,
            sizes: Sizes::Mixed,
            tickets: 64,
            ring: 8,
            slots: 8,
            mesh: 6,
            events: Vec::new(),
        }
    }
}

/// The cases a strategy must pass.
#[must_use]
pub fn cases(kind: StrategyKind) -> Vec<Case> {
    let mut all = Vec::new();
    let mut seed = 0;
    let mut add = |change: &dyn Fn(&mut Case)| {
        seed += 1;
        let mut case = Case::new(kind, seed);
        change(&mut case);
        all.push(case);
    };
    for (cores, lanes) in [(1, 1), (2, 1), (2, 2), (4, 1), (8, 3), (9, 9)] {
        for sizes in [Sizes::Small, Sizes::Full, Sizes::Mixed] {
            add(&|case| (case.cores, case.lanes, case.sizes) = (cores, lanes, sizes));
        }
    }
    // More than the machine gets done, less, and one tunnel.
    add(&|case| (case.rate, case.batches) = (200, 2000));
    add(&|case| case.rate = 1);
    add(&|case| (case.lanes, case.peers, case.rate) = (1, 1, 60));
    // A lane on each core, of many tunnels and of one.
    for peers in [1, 7] {
        add(&|case| (case.cores, case.lanes, case.peers, case.rate) = (6, 6, peers, 40));
    }
    // Bounds that are felt.
    add(&|case| (case.tickets, case.ring, case.slots, case.rate) = (3, 1, 1, 40));
    add(&|case| (case.tickets, case.ring, case.slots, case.rate) = (40, 1, 0, 40));
    add(&|case| (case.tickets, case.ring, case.slots, case.rate) = (40, 0, 3, 40));
    add(&|case| (case.tickets, case.rate) = (0, 40));
    // Each change of strategy under load, and back.
    for other in StrategyKind::ALL {
        add(&|case| {
            (case.rate, case.batches) = (30, 400);
            case.events = [(100, Event::Switch(*other)), (250, Event::Switch(kind))].to_vec();
        });
        // For good, at the end of what comes, with little room in the rings: what the other left is not picked up later.
        for ring in [0, 1, 3] {
            add(&|case| {
                (case.kind, case.rate, case.ring) = (*other, 100, ring);
                (case.batches, case.events) = (200, [(190, Event::Switch(kind))].to_vec());
            });
        }
    }
    // Peers come and go.
    add(&|case| {
        case.events = [(100, 0), (200, 3)].map(|(at, peer)| (at, Event::Remove { peer })).to_vec();
        case.events.push((300, Event::Add { peer: 0 }));
        case.events.push((400, Event::Add { peer: 3 }));
    });
    // The end, under load: at a middling one, and with all queues full.
    for rate in [12, 200] {
        add(&|case| (case.rate, case.events) = (rate, [(300, Event::Stop)].to_vec()));
    }
    // A worker stalls for longer than the case lasts, and with few enough batches that nobody else has to wait.
    for (lanes, core) in [(1, 3), (1, 1), (2, 5), (2, 1), (1, 4), (1, 5), (2, 4), (2, 0)] {
        add(&|case| {
            (case.lanes, case.cores, case.peers, case.rate) = (lanes, 6, 8, 4);
            (case.tickets, case.events) = (256, [(60, Event::Stall { core, turns: 600 })].to_vec());
        });
    }
    // A worker dies; nobody else has its batches, so they are dropped once that is noticed.
    for core in [3, 5] {
        add(&|case| (case.cores, case.events) = (6, [(200, Event::Kill { core })].to_vec()));
    }
    all
}

/// Runs all cases for all strategies.
///
/// # Panics
///
/// When a rule is broken, with the case that shows it.
pub fn check(mut run: impl FnMut(&Case)) {
    for kind in StrategyKind::ALL {
        for case in cases(*kind) {
            run(&case);
        }
    }
}
