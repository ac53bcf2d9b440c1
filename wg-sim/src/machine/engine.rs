//! The machine: its heap of events, its cores, its NIC and its link.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use wg_sched::{
    Adaptive, AnyStrategy, Budget, Core, CoreId, LaneLoad, Limits, PeerLoad, Plan, Strategy as _,
    StrategyKind, Ticket, rebalance,
};

use auto::Auto;

use super::home::Home;
use super::io::{Batch, View};
use super::kernel::{Context, Kernel};
use super::lock::Lock;
use super::setup::{Load, Measured, Setup};
use super::source::Flow;
use super::split::Split;
use super::state_lock::StateLock;

mod auto;
mod calls;
mod contexts;

/// From the sender to the machine, and from delivery back to the sender.
const WAY: u64 = 25_000;
/// Between two looks of the slow loop.
const PERIOD: u64 = 10_000_000;
/// How long a lock remembers.
const FORGET: u64 = 200_000;
/// Batches of the ring between two cores.
pub(super) const RING: usize = 64;
/// Batches of a home that may be offered.
pub(super) const OFFERS: usize = 32;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A core takes a step.
    Run(usize),
    /// Packets of a flow reach the NIC, the first with this counter.
    Arrive(usize, u32, u64),
    /// Packets of a flow are known to be delivered.
    Acknowledged(usize, u32),
    /// Packets of a flow are known to be lost.
    Lost(usize, u32),
    /// A flow of a constant rate sends.
    Send(usize),
    /// The slow loop looks.
    Look,
    /// It looks whether counters are to be split.
    Auto,
}

/// A core.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) core: Core,
    pub(super) clock: u64,
    pub(super) asleep: bool,
    scheduled: Option<u64>,
    pressure: bool,
    /// What of its step it does, under the kernel.
    pub(super) context: Option<Context>,
    /// Before this its NIC queue raises no interrupt.
    quiet: u64,
    /// Packets that it polled.
    pub(super) polled: u32,
    /// Packets that are left of the burst it received.
    pub(super) burst: u32,
    pub(super) ring: VecDeque<(u64, Ticket, Batch)>,
    busy: u64,
    looked: u64,
    pub(super) locking: u64,
    /// The lane it works for.
    pub(super) home: Option<usize>,
    /// The lanes it may take offers of.
    pub(super) helps: Vec<usize>,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) home: usize,
    /// Where it goes when nothing of it is left here.
    next: Option<usize>,
    /// What waits for a move: the flow, the packets, their first counter.
    parked: VecDeque<(usize, u32, u64)>,
    /// The counter that its sender gives next.
    counter: u64,
    /// Packets of it that are in the machine, but for the parked ones.
    pub(super) inside: u32,
    arrived: u64,
    /// The number of the batch that left last.
    pub(super) left: u64,
    moved: Option<u64>,
    pub(super) period: u64,
    /// Packets that were delivered since the rule for splits looked.
    brought: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) setup: Setup,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    random: u64,
    pub(super) seats: Vec<Seat>,
    pub(super) homes: Vec<Home>,
    pub(super) locks: Vec<Lock>,
    /// By peer.
    pub(super) states: Vec<StateLock>,
    pub(super) kernel: Option<Kernel>,
    pub(super) peers: Vec<Peer>,
    flows: Vec<Flow>,
    lanes: Vec<LaneLoad>,
    link: u64,
    /// The end of the time that was run.
    end: u64,
    pub(super) count: Measured,
    pub(super) split: Split,
}

impl Seat {
    /// Tells whether it is about to run.
    pub(super) const fn called(&self) -> bool {
        self.scheduled.is_some()
    }
}

/// The machine, with what runs on it.
#[derive(Debug)]
pub struct Machine {
    strategies: Vec<AnyStrategy>,
    auto: Option<Auto>,
    pub(super) state: State,
}

impl Machine {
    /// Sets a machine up.
    ///
    /// # Panics
    ///
    /// If there is no core.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let cores = setup.topology.cores.clone();
        assert!(!cores.is_empty(), "a machine has a core");
        let kind = setup.contender.kind;
        let lanes = u32::try_from(cores.len()).unwrap_or(u32::MAX);
        let believed = setup.believed.as_ref().unwrap_or(&setup.topology);
        let plan = kind.build().plan(believed, &Limits { lanes, cores: 0 });
        let at = |id: CoreId| cores.iter().position(|core| core.id == id).expect("planned cores exist");
        let seat = |core: &Core| {
            let own = plan.lane_on(core.id).map(|lane| lane.0 as usize);
            let helps: Vec<usize> = plan
                .helpers
                .iter()
                .find(|helper| helper.core == core.id)
                .map(|helper| helper.lanes.iter().map(|lane| lane.0 as usize).collect())
                .unwrap_or_default();
            let home =
                own.or_else(|| helps.first().copied().filter(|_| kind.shares_home() && setup.shared_queues));
            Seat {
                core: *core,
                clock: 0,
                asleep: true,
                scheduled: None,
                pressure: false,
                context: None,
                quiet: 0,
                polled: 0,
                burst: 0,
                ring: VecDeque::new(),
                busy: 0,
                looked: 0,
                locking: 0,
                home,
                helps,
            }
        };
        let seats: Vec<Seat> = cores.iter().map(seat).collect();
        let homes: Vec<Home> =
            plan.lanes.iter().map(|lane| Home::new(at(lane.core), setup.tunnels, setup.tickets)).collect();
        let spread = spread(&plan, &seats, &homes, setup.block);
        let peer = |number: u32| Peer {
            home: if setup.converged { 0 } else { spread[number as usize % spread.len()] },
            next: None,
            parked: VecDeque::new(),
            counter: 0,
            inside: 0,
            arrived: 0,
            left: 0,
            moved: None,
            period: 0,
            brought: 0,
        };
        let flows = (0..setup.tunnels * setup.flows).map(|flow| Flow::new(flow % setup.tunnels)).collect();
        let strategies = seats
            .iter()
            .map(|seat| {
                let mut strategy = match setup.estimate {
                    Some(costs) if kind == StrategyKind::Adaptive => {
                        AnyStrategy::Adaptive(Adaptive::with_costs(costs))
                    }
                    _ => kind.build(),
                };
                strategy.place(&plan, seat.core.id);
                strategy
            })
            .collect();
        let peers: Vec<Peer> = (0..setup.tunnels).map(peer).collect();
        let auto = Auto::new(setup, &plan, &homes.iter().map(|home| home.core).collect::<Vec<_>>());
        let state = State {
            events: BinaryHeap::new(),
            sequence: 0,
            random: setup.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            kernel: setup.contender.is_kernel().then(|| contexts::kernel(setup, &seats, &peers, &homes)),
            locks: homes.iter().map(|_| Lock::new(FORGET)).collect(),
            states: (0..setup.tunnels).map(|_| StateLock::default()).collect(),
            peers,
            lanes: homes.iter().map(|home| LaneLoad::idle(seats[home.core].core.node)).collect(),
            flows,
            link: 0,
            end: 0,
            count: Measured {
                duration: setup.duration,
                packets: 0,
                bytes: 0,
                dropped: 0,
                sent: 0,
                accounted: 0,
                inside: 0,
                reordered: 0,
                busy: seats.iter().map(|_| 0).collect(),
                locking: 0,
                events: 0,
                trace: 0xcbf2_9ce4_8422_2325,
            },
            split: match &auto {
                Some(auto) => Split::new(auto.plan(), kind, true, setup.tunnels),
                None => Split::new(&plan, kind, false, setup.tunnels),
            },
            seats,
            homes,
            setup: setup.clone(),
        };
        let mut machine = Self { strategies, auto, state };
        machine.state.start();
        machine
    }

    /// Runs the setup to its end.
    #[must_use]
    pub fn run(setup: &Setup) -> Measured {
        let mut machine = Self::new(setup);
        machine.run_for(setup.warmup);
        machine.measure(setup.duration)
    }

    /// Forgets what was counted, and runs on for so long.
    pub fn measure(&mut self, duration: u64) -> Measured {
        let state = &mut self.state;
        let count = &mut state.count;
        (count.packets, count.bytes, count.dropped, count.locking) = (0, 0, 0, 0);
        for seat in &mut state.seats {
            (seat.busy, seat.locking, seat.looked) = (0, 0, 0);
        }
        if let Some(auto) = &mut self.auto {
            auto.forget();
        }
        self.run_for(duration);
        let state = &mut self.state;
        state.count.duration = duration;
        state.count.inside = state.peers.iter().map(|peer| u64::from(peer.inside)).sum();
        let parked =
            state.peers.iter().flat_map(|peer| &peer.parked).map(|(_, packets, _)| u64::from(*packets));
        state.count.inside += parked.sum::<u64>();
        state.count.busy = state.seats.iter().map(|seat| seat.busy).collect();
        state.count.locking = state.seats.iter().map(|seat| seat.locking).sum();
        state.count.clone()
    }

    /// Has the flows send something else from now on.
    pub fn set_load(&mut self, load: Load) {
        self.state.setup.load = load;
    }

    /// Goes on for so many nanoseconds.
    pub fn run_for(&mut self, duration: u64) {
        self.state.end += duration;
        let end = self.state.end;
        while let Some(Reverse((at, sequence, event))) = self.state.events.pop() {
            if at > end {
                self.state.events.push(Reverse((at, sequence, event)));
                break;
            }
            self.state.count.events += 1;
            match event {
                Event::Run(core) => self.step(core, at),
                Event::Auto => self.look_auto(at),
                other => self.state.happen(other, at),
            }
        }
    }

    fn step(&mut self, core: usize, now: u64) {
        let state = &mut self.state;
        let seat = &mut state.seats[core];
        if seat.scheduled != Some(now) {
            return; // It was woken earlier.
        }
        seat.scheduled = None;
        let slept = core::mem::replace(&mut seat.asleep, false);
        seat.clock = now.max(seat.clock);
        if state.kernel.is_some() {
            return self.kernel_step(core, slept);
        }
        let seat = &mut self.state.seats[core];
        let begun = seat.clock;
        let id = seat.core.id;
        // The least: what others see of a step they see when it is over.
        let budget = Budget { batches: 1, ..Budget::default() };
        let outcome = self.strategies[core].step(id, budget, &mut View::new(&mut self.state, core));
        let state = &mut self.state;
        let seat = &mut state.seats[core];
        seat.busy += seat.clock - begun;
        seat.pressure = outcome.pressure;
        let clock = seat.clock;
        if outcome.more {
            state.wake(core, clock.max(begun + 1));
            return;
        }
        state.seats[core].asleep = true;
        // It looks once more before it sleeps.
        let merge = state.seats[core].home.and_then(|home| state.split.ready(home));
        let next = [state.seats[core].ring.front().map(|(at, ..)| *at), state.ready(core), merge]
            .into_iter()
            .flatten()
            .min();
        let comes = !outcome.pressure
            && state.seats[core].home.is_some_and(|home| !state.homes[home].queue.is_empty());
        if let Some(next) = next {
            state.wake(core, next.max(clock).max(begun + 1));
        } else if comes {
            state.wake(core, clock.max(begun + 1));
        }
        state.called_by(core);
    }
}

/// The order in which tunnels get lanes: the nodes in turn, so many of each.
fn spread(plan: &Plan, seats: &[Seat], homes: &[Home], block: u32) -> Vec<usize> {
    let mut lanes: Vec<usize> = (0..plan.lanes.len()).collect();
    let node = |lane: usize| seats[homes[lane].core].core.node;
    lanes.sort_by_key(|lane| {
        let before = (0..*lane).filter(|other| node(*other) == node(*lane)).count();
        (before / block.max(1) as usize, node(*lane))
    });
    lanes
}

impl State {
    fn start(&mut self) {
        for flow in 0..self.flows.len() {
            let at = self.random() % self.setup.surge.max(1);
            self.push(at, Event::Send(flow));
        }
        if self.setup.converged {
            self.push(PERIOD, Event::Look);
        }
        if let Some(period) = self.setup.auto {
            self.push(period, Event::Auto);
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Has a core run at a time, or when it is over with what it does.
    pub(super) fn wake(&mut self, core: usize, at: u64) {
        let seat = &mut self.seats[core];
        let at = at.max(seat.clock);
        if seat.scheduled.is_none_or(|other| at < other) {
            seat.scheduled = Some(at);
            self.push(at, Event::Run(core));
        }
    }

    fn happen(&mut self, event: Event, now: u64) {
        match event {
            Event::Run(_) | Event::Auto => {}
            Event::Arrive(flow, packets, counter) => self.arrive(flow, packets, counter, now),
            Event::Acknowledged(flow, packets) => {
                if let Load::Windowed { most } = self.setup.load {
                    self.flows[flow].acknowledged(packets, most);
                    self.send(flow, now);
                }
            }
            Event::Lost(flow, packets) => {
                if let Load::Windowed { .. } = self.setup.load {
                    self.flows[flow].lost(packets, now, 2 * WAY);
                    self.send(flow, now);
                }
            }
            Event::Send(flow) => match self.setup.load {
                Load::Windowed { .. } => self.send(flow, now),
                Load::Constant { rate } => {
                    let packets = self.setup.batch;
                    self.transmit(flow, packets, now);
                    let gap = u64::from(packets) * 1_000_000_000 / rate.max(1);
                    self.push(now + gap.max(1), Event::Send(flow));
                }
            },
            Event::Look => {
                self.look(now);
                self.push(now + PERIOD, Event::Look);
            }
        }
    }

    fn send(&mut self, flow: usize, now: u64) {
        while self.flows[flow].may_send() > 0 {
            let packets = self.flows[flow].may_send().min(self.setup.batch);
            self.flows[flow].under_way += packets;
            self.transmit(flow, packets, now);
        }
    }

    fn transmit(&mut self, flow: usize, packets: u32, now: u64) {
        self.count.sent += u64::from(packets);
        let bits = u64::from(packets) * u64::from(self.setup.packet) * 8;
        let time = u128::from(bits) * 1_000_000_000 / u128::from(self.setup.link.max(1));
        self.link = self.link.max(now) + u64::try_from(time).unwrap_or(u64::MAX);
        let counter = &mut self.peers[self.flows[flow].peer as usize].counter;
        let first = *counter;
        *counter += u64::from(packets);
        self.push(self.link + WAY, Event::Arrive(flow, packets, first));
    }

    fn arrive(&mut self, flow: usize, packets: u32, counter: u64, now: u64) {
        let peer = self.flows[flow].peer as usize;
        if self.peers[peer].next.is_some() {
            self.peers[peer].parked.push_back((flow, packets, counter));
            return;
        }
        // The home's lane, or one that receives for it; or that of the flow, where the NIC deals flows out.
        let home = match self.setup.contender.waits() {
            Some(_) => flow % self.homes.len(),
            None => self.split.lane(self.peers[peer].home, counter),
        };
        let room = self.setup.ring.saturating_sub(self.homes[home].queued);
        let taken = packets.min(room);
        if taken < packets {
            self.lost(flow, packets - taken, now);
        }
        if taken == 0 {
            return;
        }
        self.peers[peer].inside += taken;
        self.homes[home].queued += taken;
        // GRO fills the last batch of the flow, and begins another with the rest.
        let (most, size, split) = (self.setup.batch, self.setup.packet, &self.split);
        let last = self.homes[home].last_of(self.flows[flow].peer);
        let joined = match last.filter(|last| last.flow == flow && split.joins(last, counter)) {
            Some(last) => {
                let room = most.saturating_sub(last.packets);
                // A burst of a kernel bypass is as it came.
                let joined = if self.setup.shared_queues && room < taken { 0 } else { taken.min(room) };
                last.packets += joined;
                last.end = if joined > 0 { counter + u64::from(joined) } else { last.end };
                last.bytes += joined * size;
                joined
            }
            None => 0,
        };
        if joined < taken {
            self.peers[peer].arrived += 1;
            let batch = Batch {
                peer: self.flows[flow].peer,
                flow,
                number: self.peers[peer].arrived,
                counter: counter + u64::from(joined),
                end: counter + u64::from(taken),
                lane: home,
                packets: taken - joined,
                bytes: (taken - joined) * size,
                core: self.homes[home].core,
            };
            self.homes[home].queue.push_back((now, batch));
        }
        for core in 0..self.seats.len() {
            let seat = &self.seats[core];
            if seat.home == Some(home) && seat.asleep && !seat.pressure {
                let at = now + self.setup.costs.wake;
                self.wake(core, at.max(seat.quiet));
            }
        }
    }

    /// Packets of a flow are dropped.
    fn lost(&mut self, flow: usize, packets: u32, now: u64) {
        self.count.dropped += u64::from(packets);
        self.count.accounted += u64::from(packets);
        self.push(now + WAY, Event::Lost(flow, packets));
    }

    /// A batch found no place on the way to its home.
    pub(super) fn refused(&mut self, batch: &Batch, now: u64) {
        self.lost(batch.flow, batch.packets, now);
        self.gone(batch, now);
    }

    /// A batch is no longer in the machine.
    fn gone(&mut self, batch: &Batch, now: u64) {
        let peer = batch.peer as usize;
        self.peers[peer].inside -= batch.packets;
        if self.peers[peer].inside == 0 {
            self.settle(peer, now);
        }
    }

    /// A batch left the machine.
    pub(super) fn delivered(&mut self, core: usize, batch: &Batch) {
        let now = self.seats[core].clock;
        let (packets, bytes) = (u64::from(batch.packets), u64::from(batch.bytes));
        self.count.packets += packets;
        self.count.bytes += bytes;
        self.count.accounted += packets;
        let peer = &mut self.peers[batch.peer as usize];
        self.count.reordered += u64::from(batch.number <= peer.left);
        peer.left = batch.number;
        peer.period += packets;
        peer.brought += packets;
        for value in [now, core as u64, u64::from(batch.peer), batch.number, packets] {
            self.count.trace = (self.count.trace ^ value).wrapping_mul(0x0100_0000_01b3);
        }
        self.push(now + WAY, Event::Acknowledged(batch.flow, batch.packets));
        self.gone(batch, now);
    }

    /// A batch is dropped by a core that received it.
    pub(super) fn dropped(&mut self, core: usize, batch: &Batch) {
        let now = self.seats[core].clock;
        self.count.dropped += u64::from(batch.packets);
        self.count.accounted += u64::from(batch.packets);
        self.peers[batch.peer as usize].inside -= batch.packets;
        self.push(now + WAY, Event::Lost(batch.flow, batch.packets));
    }

    /// Lets a peer that is to move do so, once nothing of it is left.
    fn settle(&mut self, peer: usize, now: u64) {
        if let Some(next) = self.peers[peer].next.take() {
            self.peers[peer].home = next;
            for (flow, packets, counter) in core::mem::take(&mut self.peers[peer].parked) {
                self.arrive(flow, packets, counter, now);
            }
        }
    }

    /// The slow loop: whose home moves.
    fn look(&mut self, now: u64) {
        if self.setup.auto.is_some() && self.split.is_on() {
            return; // Nobody moves meanwhile.
        }
        let mut done = Vec::new();
        for (lane, home) in self.homes.iter().enumerate() {
            let seat = &mut self.seats[home.core];
            let busy = (seat.busy - seat.looked) * 1000 / PERIOD;
            seat.looked = seat.busy;
            self.lanes[lane].observe(u32::try_from(busy).unwrap_or(u32::MAX));
            let of_lane = self.peers.iter().filter(|peer| peer.home == lane);
            done.push(of_lane.map(|peer| peer.period).sum::<u64>());
        }
        let share = |peer: &Peer| {
            let busy = u64::from(self.lanes[peer.home].busy);
            u32::try_from(busy * peer.period / done[peer.home].max(1)).unwrap_or(u32::MAX)
        };
        // One that moves already counts as under way; for all others the move waits until what is under way has left.
        let mut peers: Vec<PeerLoad> = self
            .peers
            .iter()
            .map(|peer| PeerLoad {
                home: peer.next.unwrap_or(peer.home),
                share: share(peer),
                pending: u32::from(peer.next.is_some()),
                moved: peer.moved,
            })
            .collect();
        let mut lanes = self.lanes.clone();
        loop {
            let random = [self.random(), self.random()];
            let Some(next) = rebalance(&lanes, &peers, random, now) else { break };
            next.note(&mut lanes, &mut peers, now);
            let peer = &mut self.peers[next.peer];
            (peer.next, peer.moved) = (Some(next.to), Some(now));
            if peer.inside == 0 {
                self.settle(next.peer, now);
            }
        }
        self.peers.iter_mut().for_each(|peer| peer.period = 0);
    }

    /// When something that a core drains is done.
    fn ready(&self, core: usize) -> Option<u64> {
        self.homes[self.seats[core].home?].ready()
    }
}

#[cfg(test)]
mod tests;
