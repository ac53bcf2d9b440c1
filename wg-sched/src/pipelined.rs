//! A pipeline: a home receives and sends in order, a pool of cores does the crypt phase between.
//!
//! ```text
//!   home:   drain, send | poll, begin --push--> ring of worker 0..n
//!   worker:                                     pop a round, crypt, complete --> order of the home
//! ```
//!
//! Batches go to the workers in turn; small ones go to the same worker until they make a round, so that its cipher lanes
//! fill. A worker whose ring is full is passed over: one that stalls holds what it has and gets no more. When no ring takes a batch or
//! no ticket is left, the home polls nothing, so the kernel's queue fills and its sender notices. The one batch that it then
//! holds waits where it could be stolen, unless it is the head of its stream: nobody's completion would wake the home
//! for that one, so the home crypts it.
//!
//! The worker with the shortest ring of a few, in place of the next, was tried on the virtual machine (8 and 32 cores, 1 to 32 tunnels). If a
//! look at a ring cost nothing, two random ones would move up to 10 % more where four tunnels share eight cores, and 0 to 5 % elsewhere.
//! But a look brings a line from the cache of the other core: charged for that, with the next worker as a third, it moves 7 to 22 % less of
//! 64 bytes, and 0 to 7 % less of 1420, but for those four tunnels (up to 5 % more).
//!
//! Which cores are the pool is a parameter, and there is a strategy for each choice:
//!
//! | strategy | pool of a lane | what it is for |
//! |---|---|---|
//! | [`Pipelined::new`] | all cores | the kernel's way, wireguard-go's, and variant 3 of MoonWire |
//! | [`Pipelined::without_overlap`] | all but the one that receives, and its siblings | the first half of the first paper's mend |
//! | [`Pipelined::numa_pools`] | those of its NUMA node | the other half |
//! | [`Pipelined::numa_pools_without_overlap`] | those of its node but the one that receives, and its siblings | both |
//! | [`Pipelined::emulated_inline`] | the one that receives | the price of the queues |

use alloc::vec::Vec;

use crate::io::{CoreIo, Direction, Stage, Ticket};
use crate::placement::{self, Overlap, Reach};
use crate::round::{BATCHES, PACKETS, control, left, own, poll, pressed, rounds, ticket, turn, work};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

/// The strategy: this core's workers, if it is a home.
#[derive(Debug)]
pub struct Pipelined {
    kind: StrategyKind,
    reach: Reach,
    overlap: Overlap,
    workers: Vec<CoreId>,
    /// The place in `workers` that has its turn.
    next: usize,
    /// The packets it was given since.
    given: u32,
}

impl Pipelined {
    /// Makes the strategy, with a pool of all cores.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(StrategyKind::Pipelined, Reach::Machine, Overlap::Allowed)
    }

    /// Makes it with a pool that leaves out the core that receives, and its siblings.
    #[must_use]
    pub const fn without_overlap() -> Self {
        Self::with(StrategyKind::PipelinedNoOverlap, Reach::Machine, Overlap::Avoided)
    }

    /// Makes it with a pool for each NUMA node, of all its cores: slabs, rings and keys stay in the memory of the node. A lane alone
    /// on its node has nobody and does everything itself.
    ///
    /// The NUMA-aware kernel of the first paper (+31 %).
    #[must_use]
    pub const fn numa_pools() -> Self {
        Self::with(StrategyKind::NumaPools, Reach::Node, Overlap::Allowed)
    }

    /// Makes it with a pool for each NUMA node that leaves out the core that receives, and its siblings.
    ///
    /// Both mends of the first paper (+45 %).
    #[must_use]
    pub const fn numa_pools_without_overlap() -> Self {
        Self::with(StrategyKind::NumaPoolsNoOverlap, Reach::Node, Overlap::Avoided)
    }

    /// Makes it with all roles of a peer on one core: receive, ring, crypt, order, send, each its own step as in any pipeline, but
    /// without another core.
    ///
    /// The first paper's cross-check: what it lacks to [`Inline`](crate::Inline) is the price of the queues, and what [`Self::new`]
    /// lacks to it is the price of the other cores.
    #[must_use]
    pub const fn emulated_inline() -> Self {
        Self::with(StrategyKind::EmulatedInline, Reach::Itself, Overlap::Allowed)
    }

    const fn with(kind: StrategyKind, reach: Reach, overlap: Overlap) -> Self {
        Self { kind, reach, overlap, workers: Vec::new(), next: 0, given: 0 }
    }

    /// Passes on to the next worker.
    fn advance(&mut self) {
        self.next = if self.next + 1 < self.workers.len() { self.next + 1 } else { 0 };
        self.given = 0;
    }

    /// Gives a batch to the first worker that has room, or back.
    fn push<I: CoreIo>(
        &mut self,
        io: &mut I,
        ticket: Ticket,
        batch: I::Batch,
    ) -> Result<(), (Ticket, I::Batch)> {
        let packets = io.packets(&batch);
        let mut held = (ticket, batch);
        for _ in 0..self.workers.len() {
            let Some(worker) = self.workers.get(self.next).copied() else { break };
            match io.push(worker, held.0, held.1) {
                Ok(()) => {
                    self.given = self.given.saturating_add(packets);
                    if self.given >= PACKETS {
                        self.advance();
                    }
                    return Ok(());
                }
                Err(back) => held = back,
            }
            self.advance();
        }
        Err(held)
    }

    /// Finds a place for a batch, and tells whether there is one for more.
    fn hand_over<I: CoreIo>(&mut self, core: CoreId, io: &mut I, ticket: Ticket, batch: I::Batch) -> bool {
        let Err((ticket, batch)) = self.push(io, ticket, batch) else { return true };
        if self.is_urgent(core, io, ticket) {
            crypt(io, ticket, batch);
        } else {
            park(io, ticket, batch);
        }
        false
    }

    /// Tells whether a batch that finds no ring is crypted here: by a home that is in its own pool, or because nothing else would
    /// wake the home.
    fn is_urgent<I: CoreIo>(&self, core: CoreId, io: &I, ticket: Ticket) -> bool {
        self.workers.contains(&core) || io.is_head(ticket)
    }

    /// Tries again with what found no ring, and tells what was moved. Clears `open` when there still is no place. Looks at all of
    /// it, as each may be the head of its stream by now, and keeps its order.
    fn retry<I: CoreIo>(&mut self, core: CoreId, io: &mut I, open: &mut bool) -> u32 {
        let mut moved = 0;
        let mut held = heapless::Vec::<(Ticket, I::Batch), BATCHES>::new();
        while let Some((ticket, batch)) = io.reclaim() {
            let pushed = if *open { self.push(io, ticket, batch) } else { Err((ticket, batch)) };
            let Err((ticket, batch)) = pushed else {
                moved += 1;
                continue;
            };
            *open = false;
            if self.is_urgent(core, io, ticket) {
                crypt(io, ticket, batch);
                moved += 1;
            } else if let Err((ticket, batch)) = held.push((ticket, batch)) {
                crypt(io, ticket, batch);
                moved += 1;
            }
        }
        for (ticket, batch) in held {
            park(io, ticket, batch);
        }
        moved
    }

    /// Polls one direction for its turn, and hands over what comes. Clears `open` when there is no place for more.
    fn receive<I: CoreIo>(&mut self, core: CoreId, io: &mut I, direction: Direction, open: &mut bool) -> u32 {
        let moved = turn(io, |io| {
            if !*open || io.room() == 0 {
                return 0;
            }
            let Some(batch) = poll(io, direction) else { return 0 };
            if let Some((ticket, batch)) = ticket(io, batch, direction) {
                *open = self.hand_over(core, io, ticket, batch);
            }
            1
        });
        io.charge(Stage::Receive, moved);
        moved
    }
}

/// Crypts and completes one batch here.
fn crypt<I: CoreIo>(io: &mut I, ticket: Ticket, batch: I::Batch) {
    let mut batch = Some((ticket, batch));
    work(io, |_| batch.take());
}

/// Leaves a batch where it can be found again.
fn park<I: CoreIo>(io: &mut I, ticket: Ticket, batch: I::Batch) {
    if let Err((ticket, batch)) = io.offer(ticket, batch) {
        crypt(io, ticket, batch);
    }
}

impl Default for Pipelined {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Pipelined {
    fn kind(&self) -> StrategyKind {
        self.kind
    }

    /// One lane for each core up to the limit, physical cores first.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        placement::plan(self, topology, limits)
    }

    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        placement::helpers(topology, lanes, limits, self.reach, self.overlap)
    }

    /// Begins with another worker on each home, so that they do not all run after each other.
    fn place(&mut self, plan: &Plan, core: CoreId) {
        let lane = plan.lane_on(core);
        self.workers = lane.map(|lane| plan.helpers_of(lane).collect()).unwrap_or_default();
        self.next = lane.map_or(0, |lane| lane.0 as usize % self.workers.len().max(1));
        self.given = 0;
    }

    fn step<I: CoreIo>(&mut self, core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        rounds(io, budget, |io| {
            let mut batches = left(io);
            // Who has no pool, or no tickets, does everything itself.
            let alone = self.workers.is_empty() || (io.room() == 0 && io.pending() == 0);
            let mut open = true;
            if alone {
                batches += work(io, I::reclaim);
                batches += turn(io, |io| own(io, Direction::In));
                batches += turn(io, |io| own(io, Direction::Out));
            } else {
                batches += self.retry(core, io, &mut open);
                batches += self.receive(core, io, Direction::In, &mut open);
                batches += self.receive(core, io, Direction::Out, &mut open);
            }
            let control = control(io);
            Outcome { batches, control, pressure: !open || pressed(io), more: false }
        })
    }
}
