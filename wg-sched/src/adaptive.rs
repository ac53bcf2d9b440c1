//! Inline with crypto stealing: the home does all of its batches itself, unless there are more than it gets done and another core
//! has nothing to do. With few tunnels it is a pipeline, with many it is [`crate::Inline`], and there is no mode in between to
//! switch.
//!
//! ```text
//!   home:   poll a round | more behind it? --no--> crypt, send: the path of Inline, without tickets
//!                        `--yes: tickets; the rest is offered --> crypt the round, drain, take back what nobody took
//!   thief:  nothing of its own to do --> steal a round, crypt, complete
//! ```
//!
//! * The head of a stream is never offered: the home has it in hand, so what is sent next waits for nobody. What stands behind it is: where
//!   there are many streams, a full round is followed by their heads first, and the home goes on past them.
//! * A thief takes one batch, or small ones up to a round, and then looks after its own again.
//! * Helpers are woken only if the backlog is worth it ([`Costs`]). What earlier rounds left counts, too, until somebody was woken for it or
//!   the home finds that nothing is left: when all places are taken a round brings no more than the home took back, and that alone may
//!   never be worth it.
//! * What nobody takes the home does itself: oldest first, as that is what the order waits for. Where the head of the order is far
//!   it takes the newest, and leaves the oldest, which thieves look at first, to them.
//! * Offers that all come back say that nobody is idle. The home then goes without for a while, twice as long each time, so that
//!   a machine with all cores busy pays next to nothing for asking.

use alloc::vec::Vec;

use crate::costs::Costs;
use crate::io::{CoreIo, Direction, Stage};
use crate::placement::{self, Overlap, Reach};
use crate::round::{
    BATCHES, Round, complete, control, drain, gather, left, own, poll, pressed, rounds, ticket, turn, work,
};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

/// Batches that are offered in one go, at most.
const OFFERS: u32 = 32;
/// Batches under way from which on the head of the order is far.
const FAR: u32 = 32;
/// Packets that the home takes back in one go while thieves are at work: what fills the widest lanes of the cipher. All else it does
/// nobody can do for it.
const BACK: u32 = 16;
/// The longest rest is two to this many rounds.
const MISSES: u32 = 9;

/// The strategy: this core's helpers, and what it learned of them.
#[derive(Debug)]
pub struct Adaptive {
    costs: Costs,
    /// The cores that may help this one.
    helpers: u32,
    /// Batches that were offered since the last look at them, and did not come back.
    offered: u32,
    /// Packets and bytes that were offered, and for all the home knows wait for somebody that nobody was called for.
    waits: (u32, u32),
    /// Whether offers were tried since.
    tried: bool,
    /// How often in a row nobody took any.
    misses: u32,
    /// Rounds to go without offers.
    rest: u32,
}

impl Adaptive {
    /// Makes the strategy, with the costs of the machine it was measured on.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_costs(Costs::REFERENCE)
    }

    /// Makes it with the costs of another.
    #[must_use]
    pub const fn with_costs(costs: Costs) -> Self {
        Self { costs, helpers: 0, offered: 0, waits: (0, 0), tried: false, misses: 0, rest: 0 }
    }

    /// Looks at how the last offers went, once nothing is under way.
    fn learn(&mut self) {
        if !core::mem::take(&mut self.tried) {
            return;
        }
        if core::mem::take(&mut self.offered) > 0 {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(MISSES);
            self.rest = 1 << self.misses;
        }
    }

    /// Takes up to a round of one direction, and what stands behind it, and tells how many batches there were.
    pub(crate) fn round<I: CoreIo>(&mut self, io: &mut I, direction: Direction) -> u32 {
        if io.pending() > 0 {
            return if self.helpers == 0 {
                own(io, direction)
            } else {
                self.spread(io, direction, Round::new(), None)
            };
        }
        self.learn();
        if self.helpers == 0 || self.rest > 0 || io.room() as usize <= BATCHES {
            self.rest = self.rest.saturating_sub(1);
            return own(io, direction);
        }
        let mut batches = heapless::Vec::new();
        let full = gather(io, direction, &mut batches);
        let behind = if full { poll(io, direction) } else { None };
        let Some(behind) = behind else { return complete(io, direction, batches) };
        let mut round = Round::new();
        for batch in batches {
            if let Some((ticket, batch)) = ticket(io, batch, direction) {
                round.add(io, ticket, batch);
            }
        }
        self.spread(io, direction, round, Some(behind))
    }

    /// Offers what comes behind the batches of a round, then does the round.
    fn spread<I: CoreIo>(
        &mut self,
        io: &mut I,
        direction: Direction,
        mut round: Round<I::Batch>,
        mut behind: Option<I::Batch>,
    ) -> u32 {
        self.tried = true;
        let (mut received, mut moved) = (round.len(), 0);
        let mut offered = 0;
        while offered < OFFERS && (io.room() > 0 || behind.is_some()) {
            let Some(batch) = behind.take().or_else(|| poll(io, direction)) else { break };
            received += 1;
            let Some((ticket, batch)) = ticket(io, batch, direction) else { continue };
            let (more_packets, more_bytes) = (io.packets(&batch), io.bytes(&batch));
            let head = io.is_head(ticket);
            let kept = if head { Err((ticket, batch)) } else { io.offer(ticket, batch) };
            match kept {
                Ok(()) => {
                    offered += 1;
                    let (packets, bytes) = self.waits;
                    self.waits = (packets.saturating_add(more_packets), bytes.saturating_add(more_bytes));
                }
                Err((ticket, batch)) if round.is_full() => {
                    moved += core::mem::replace(&mut round, Round::new()).finish(io);
                    round.add(io, ticket, batch);
                    // Only where no place is free; heads alone say nothing of who is idle.
                    if !head {
                        break;
                    }
                }
                Err((ticket, batch)) => round.add(io, ticket, batch),
            }
        }
        io.charge(Stage::Receive, received);
        self.offered = self.offered.saturating_add(offered);
        let worth = self.costs.helpers(self.waits.0, self.waits.1).min(self.helpers);
        if worth > 0 {
            io.call(worth);
            self.waits = (0, 0);
        }
        moved += round.finish(io);
        drain(io);
        moved + offered
    }

    /// Does what nobody took: all of it if nobody did last time, so that nothing is under way when it was done; else
    /// a little, so that new offers follow before the thieves have none.
    pub(crate) fn take_back<I: CoreIo>(&mut self, io: &mut I) -> u32 {
        let mut moved = 0;
        loop {
            let far = io.pending() > FAR;
            let most = if self.misses == 0 { BACK } else { u32::MAX };
            let (mut packets, mut bytes, mut is_left) = (0_u32, 0_u32, true);
            let back = work(io, |io| {
                if packets >= most {
                    return None;
                }
                let taken = if far { io.reclaim_newest() } else { io.reclaim() };
                is_left = taken.is_some();
                let (ticket, batch) = taken?;
                packets = packets.saturating_add(io.packets(&batch));
                bytes = bytes.saturating_add(io.bytes(&batch));
                Some((ticket, batch))
            });
            let (waiting, of_bytes) = if is_left { self.waits } else { (0, 0) };
            self.waits = (waiting.saturating_sub(packets), of_bytes.saturating_sub(bytes));
            self.offered = self.offered.saturating_sub(back);
            moved += back;
            drain(io);
            if back == 0 || self.misses == 0 {
                return moved;
            }
        }
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Adaptive {
    fn kind(&self) -> StrategyKind {
        StrategyKind::Adaptive
    }

    /// One lane for each core up to the limit, physical cores first.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        placement::plan(self, topology, limits)
    }

    /// The cores of a node help each other, those that share a cache first.
    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        placement::helpers(topology, lanes, limits, Reach::Node, Overlap::Avoided)
    }

    fn place(&mut self, plan: &Plan, core: CoreId) {
        let helpers = plan.lane_on(core).map_or(0, |lane| plan.helpers_of(lane).count());
        *self = Self { helpers: u32::try_from(helpers).unwrap_or(u32::MAX), ..Self::with_costs(self.costs) };
    }

    fn step<I: CoreIo>(&mut self, _core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        rounds(io, budget, |io| {
            let mut batches = left(io);
            batches += self.take_back(io);
            batches += turn(io, |io| self.round(io, Direction::In));
            batches += turn(io, |io| self.round(io, Direction::Out));
            let control = control(io);
            if batches == 0 && control == 0 {
                // Nothing of its own to do.
                batches = work(io, I::steal);
            }
            Outcome { batches, control, pressure: pressed(io), more: false }
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
