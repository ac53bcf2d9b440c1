//! Independent workers around one home, behind a lock: each takes batches under it, crypts them outside, and sends what is next
//! in order under it again. For study, as the cautionary bar: past a few workers they wait for each other more than they work.
//!
//! Where there is a lock there is waiting, and the two kinds differ in how. A spinning worker tries for a while, and comes
//! back at once; a worker that sleeps gives its core away until the lock's bell rings.
//!
//! Handshakes and timers are of the home as well: what a worker does of them, it does under the lock.
//!
//! Of variant 2 of MoonWire, and of the kernel's IPsec. A machine where only the lane's own core can read its sockets has
//! one worker, and it never waits.

use alloc::vec::Vec;

use crate::io::{CoreIo, Direction, Stage};
use crate::placement::{self, Overlap, Reach};
use crate::round::{Round, drain, own, poll, pressed, rounds, split, ticket, turn, work};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

/// Times in a row that a spinning worker tries.
const SPINS: u32 = 64;

/// What a worker does while another has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Sleep,
    Spin,
}

/// What workers can ask the home for, and do, under the lock only.
#[derive(Default)]
struct Found {
    /// It has no ticket left.
    full: bool,
    /// Pieces of control work done.
    control: u32,
}

impl Found {
    /// Looks, and does one piece of control work between two rounds of datagrams.
    fn look<I: CoreIo>(&mut self, io: &mut I, direction: Direction) {
        self.full |= pressed(io);
        if direction == Direction::In {
            let control = u32::from(io.poll_control());
            io.charge(Stage::Control, control);
            self.control += control;
        }
    }
}

/// The strategy.
#[derive(Debug)]
pub struct Locked {
    wait: Wait,
}

impl Locked {
    /// Makes the strategy with a lock that lets waiters sleep.
    #[must_use]
    pub const fn mutex() -> Self {
        Self { wait: Wait::Sleep }
    }

    /// Makes it with a lock that waiters spin for.
    #[must_use]
    pub const fn spin() -> Self {
        Self { wait: Wait::Spin }
    }

    fn acquire<I: CoreIo>(&self, io: &mut I) -> bool {
        let tries = match self.wait {
            Wait::Sleep => 1,
            Wait::Spin => SPINS,
        };
        (0..tries).any(|_| io.try_acquire())
    }

    /// Takes a round out of the home, under the lock: first of what another strategy left there.
    fn take<I: CoreIo>(io: &mut I, direction: Direction) -> Round<I::Batch> {
        let mut round = Round::new();
        while !round.is_full() {
            let Some((ticket, batch)) = io.reclaim() else { break };
            round.add(io, ticket, batch);
        }
        while !round.is_full() && io.room() > 0 {
            let Some(batch) = poll(io, direction) else { break };
            if let Some((ticket, batch)) = ticket(io, batch, direction) {
                round.add(io, ticket, batch);
            }
        }
        io.charge(Stage::Receive, round.len());
        round
    }

    /// Takes one round through all phases, and tells how many batches there were; none if the lock was not to be had.
    fn round<I: CoreIo>(&self, io: &mut I, direction: Direction, found: &mut Found) -> Option<u32> {
        if !self.acquire(io) {
            return None;
        }
        let mut moved = drain(io) + split(io);
        if io.room() == 0 && io.pending() == 0 {
            // There are no tickets: nobody to share with.
            moved += own(io, direction);
            found.look(io, direction);
            io.release();
            return Some(moved);
        }
        let round = Self::take(io, direction);
        found.look(io, direction);
        io.release();
        moved += round.len();
        // Whoever gets the lock next sends it; if that is not this worker, its next turn looks again.
        round.finish(io);
        if moved > 0 && self.acquire(io) {
            drain(io);
            io.release();
        }
        Some(moved)
    }
}

impl Strategy for Locked {
    fn kind(&self) -> StrategyKind {
        match self.wait {
            Wait::Sleep => StrategyKind::LockedMutex,
            Wait::Spin => StrategyKind::LockedSpin,
        }
    }

    /// One lane that all cores work for.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        placement::plan(self, topology, &Limits { lanes: 1, ..*limits })
    }

    /// Each core without a lane works for one, in turn.
    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        let mut helpers = placement::helpers(topology, lanes, limits, Reach::Machine, Overlap::Avoided);
        helpers.retain(|helper| lanes.iter().all(|lane| lane.core != helper.core));
        for (helper, lane) in helpers.iter_mut().zip(lanes.iter().cycle()) {
            helper.lanes.clear();
            helper.lanes.push(lane.id);
        }
        helpers
    }

    fn step<I: CoreIo>(&mut self, _core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        rounds(io, budget, |io| {
            // What another strategy left to this core.
            let mut batches = work(io, I::pop);
            let (mut waits, mut found) = (false, Found::default());
            for direction in [Direction::In, Direction::Out] {
                batches += turn(io, |io| {
                    let round = self.round(io, direction, &mut found);
                    waits |= round.is_none();
                    round.unwrap_or(0)
                });
            }
            let Found { full, control } = found;
            let more = waits && self.wait == Wait::Spin;
            Outcome { batches, control, more, pressure: waits || full }
        })
    }
}
