//! Counter split: the datagrams of one tunnel come in over several cores, each of which opens what it gets; the home puts them together
//! again, commits, and delivers in order. It is the only way past one receive core for a tunnel.
//!
//! ```text
//!   steering:  counter >> 6 of a datagram --> the socket of one of the receivers
//!   receiver:  poll_split, crypt a round --> send_home
//!   home:                                      merge by counter, send_tun | outbound: as Adaptive
//! ```
//!
//! * The receivers of a lane are the other lanes of its node ([`Plan::receivers_of`]), so the home has commit and delivery of its peers to
//!   itself, and is a receiver for others. Where there is no other lane, nothing is split, and it is [`Adaptive`].
//! * The home's part comes first in each turn: what waits there is opened already, and nobody else can send it.
//! * A receiver takes a round and brings it home before it takes the next, so that homes wait for no more than that.
//! * Outbound, counters are given by the home alone, which reads, begins and sends; others take crypt phases.
//!
//! Each datagram changes cores once, those of small tunnels too: it is for few and large ones.

use alloc::vec::Vec;

use crate::adaptive::Adaptive;
use crate::io::{CoreIo, Direction};
use crate::placement::{self, Overlap, Reach};
use crate::round::{control, drain, pressed, rounds, split, turn, work};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{Core, CoreId, Helper, Lane, Limits, Plan, Topology};

/// The strategy: how this core does what is not split.
#[derive(Debug, Default)]
pub struct CounterSplit(Adaptive);

impl CounterSplit {
    /// Makes the strategy, with the costs of the machine it was measured on.
    #[must_use]
    pub const fn new() -> Self {
        Self(Adaptive::new())
    }
}

impl Strategy for CounterSplit {
    fn kind(&self) -> StrategyKind {
        StrategyKind::CounterSplit
    }

    /// One lane for each core up to the limit, physical cores first.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        placement::plan(self, topology, limits)
    }

    /// The cores of a node help each other; and where none of those that help a lane has a lane, the nearest that has one does, too.
    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        let mut helpers = placement::helpers(topology, lanes, limits, Reach::Node, Overlap::Avoided);
        for lane in lanes {
            for core in receivers(topology, lanes, *lane) {
                match helpers.iter_mut().find(|helper| helper.core == core) {
                    Some(helper) if helper.lanes.contains(&lane.id) => {}
                    Some(helper) => helper.lanes.push(lane.id),
                    None => helpers.push(Helper { core, lanes: [lane.id].to_vec() }),
                }
            }
        }
        helpers.sort_by_key(|helper| helper.core);
        helpers
    }

    fn place(&mut self, plan: &Plan, core: CoreId) {
        self.0.place(plan, core);
    }

    fn step<I: CoreIo>(&mut self, _core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        rounds(io, budget, |io| {
            let mut batches = drain(io) + work(io, I::pop);
            batches += self.0.take_back(io);
            batches += turn(io, split);
            // What is not split: of a lane without receivers, and what was there before.
            batches += turn(io, |io| self.0.round(io, Direction::In));
            batches += turn(io, |io| self.0.round(io, Direction::Out));
            let control = control(io);
            if batches == 0 && control == 0 {
                batches = work(io, I::steal);
            }
            Outcome { batches, control, pressure: pressed(io), more: false }
        })
    }
}

/// The cores of the other lanes that are to receive for one: those of its node but for its SMT siblings; if there are none the
/// siblings, and if there are none all.
fn receivers(topology: &Topology, lanes: &[Lane], lane: Lane) -> Vec<CoreId> {
    let known = |id: CoreId| {
        let core = topology.cores.iter().find(|core| core.id == id);
        core.copied().unwrap_or_else(|| Core::alone(id.0, 0))
    };
    let home = known(lane.core);
    let others = || lanes.iter().filter(|other| other.id != lane.id).map(|other| known(other.core));
    let near = others().filter(|core| core.node == home.node);
    let mut chosen: Vec<Core> = near.clone().filter(|core| !core.is_sibling(&home)).collect();
    if chosen.is_empty() {
        chosen = near.collect();
    }
    if chosen.is_empty() {
        chosen = others().collect();
    }
    chosen.into_iter().map(|core| core.id).collect()
}
