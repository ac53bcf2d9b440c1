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
//! Of the kernel, of wireguard-go, and variant 3 of MoonWire; with overlap avoided, the first half of the first paper's mend.

use alloc::vec::Vec;

use crate::io::{CoreIo, Direction, Stage, Ticket};
use crate::placement::{self, Overlap, Reach};
use crate::round::{BATCHES, PACKETS, is_spent, left, own, poll, pressed, ticket, turn, work};
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

    pub(crate) const fn with(kind: StrategyKind, reach: Reach, overlap: Overlap) -> Self {
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
        let cores = placement::cores(topology, limits).into_iter().map(|core| core.id);
        let lanes = placement::lanes(cores, limits);
        let helpers = self.help(topology, &lanes, limits);
        Plan { lanes, helpers }
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
        let (mut outcome, from) = (Outcome::default(), io.polled());
        loop {
            let mut moved = left(io);
            // Who has no pool, or no tickets, does everything itself.
            let alone = self.workers.is_empty() || (io.room() == 0 && io.pending() == 0);
            let mut open = true;
            if alone {
                moved += work(io, I::reclaim);
                moved += turn(io, |io| own(io, Direction::In));
                moved += turn(io, |io| own(io, Direction::Out));
            } else {
                moved += self.retry(core, io, &mut open);
                moved += self.receive(core, io, Direction::In, &mut open);
                moved += self.receive(core, io, Direction::Out, &mut open);
            }
            let control = u32::from(io.poll_control());
            io.charge(Stage::Control, control);
            outcome.batches += moved;
            outcome.control += control;
            if moved == 0 && control == 0 {
                outcome.pressure = !open || pressed(io);
                return outcome;
            }
            if is_spent(&outcome, budget, io, from) {
                outcome.more = true;
                return outcome;
            }
        }
    }
}
