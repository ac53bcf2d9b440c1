//! A machine of many cores without threads: one seed says whose turn it is, and between the effects of one core's step other
//! cores take whole steps of theirs, so that every effect can meet every other. Sleep, bells and readiness are as on a
//! machine: who sleeps without having been promised a bell never wakes, and its batches are found stranded.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::account::{Account, Tag};
use super::home::{Home, QUEUE};
use super::{Case, Event, Sizes};
use crate::any::AnyStrategy;
use crate::io::{CoreIo, Direction, Ticket};
use crate::strategy::{Budget, Strategy, StrategyKind};
use crate::topology::{Core, CoreId, Lane, LaneId, Limits, Plan, Topology};

/// The most batches that a core may have in its hands at once: a round and what came behind it, and what found no ring.
const HANDS: i32 = 2 * 16 + 1;
/// Turns without anything coming in until a machine must have come to rest.
const REST: u32 = 100_000;
/// Turns after which whoever holds a batch is noticed.
const OVERDUE: u32 = 500;

/// A batch: its tag and its size.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) tag: Tag,
    packets: u32,
    bytes: u32,
}

/// What a core is at.
#[derive(Debug, Default)]
struct Seat {
    ring: VecDeque<(Ticket, Batch)>,
    /// Batches in its hands.
    hands: i32,
    /// The tags of those it crypts, for whoever asks whom a stall keeps back: peer and direction.
    crypting: Vec<(u32, Direction)>,
    /// Since which turn it has had batches without a step.
    since: Option<u32>,
    bell: bool,
    asleep: bool,
    pressure: bool,
    stalled: u32,
    /// It is to stall where it crypts next, for so many turns.
    trap: u32,
    dead: bool,
    /// It found the lock taken.
    waits: bool,
    wanted: Option<StrategyKind>,
    kind: StrategyKind,
}

#[derive(Debug)]
struct State {
    random: u64,
    turn: u32,
    come: u32,
    next_event: usize,
    stopped: bool,
    /// Nothing comes in for a while.
    calm: bool,
    barrier: Option<StrategyKind>,
    control: u32,
    refused: u64,
    tickets: u64,
    helped: u64,
    homes: Vec<Home>,
    /// Who has the lock of each home.
    locks: Vec<Option<usize>>,
    seats: Vec<Seat>,
    present: Vec<bool>,
    account: Account,
}

impl State {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from((self.random() >> 11) % u64::from(end.max(1))).unwrap_or(0)
    }

    fn ring(&mut self, core: usize) {
        self.seats[core].bell = true;
    }
}

/// The machine.
#[derive(Debug)]
pub struct Interleaved {
    case: Case,
    lanes: Vec<Lane>,
    /// The plan of each strategy over these lanes.
    plans: Vec<Plan>,
    strategies: Vec<RefCell<AnyStrategy>>,
    state: RefCell<State>,
    depth: Cell<u32>,
}

impl Interleaved {
    /// Sets a machine up for a case.
    #[must_use]
    pub fn new(case: &Case) -> Self {
        let cores =
            (0..case.cores.max(1)).map(|id| Core { physical: id / 2 * 2, ..Core::alone(id, id / 2 % 2) });
        let topology = Topology { cores: cores.collect() };
        let count = case.lanes.clamp(1, case.cores.max(1));
        let lanes: Vec<_> = (0..count).map(|lane| Lane { id: LaneId(lane), core: CoreId(lane) }).collect();
        let limits = Limits { lanes: count, cores: 0 };
        let plan = |kind: &StrategyKind| Plan {
            lanes: lanes.clone(),
            helpers: kind.build().help(&topology, &lanes, &limits),
        };
        let plans: Vec<_> = StrategyKind::ALL.iter().map(plan).collect();
        let seat = |_| Seat {
            ring: VecDeque::with_capacity(case.ring as usize),
            crypting: Vec::with_capacity(32),
            kind: case.kind,
            ..Seat::default()
        };
        let state = State {
            random: case.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            turn: 0,
            come: 0,
            next_event: 0,
            stopped: false,
            calm: false,
            barrier: None,
            control: case.batches / 8,
            refused: 0,
            tickets: 0,
            helped: 0,
            homes: lanes.iter().map(|_| Home::new(case.peers, case.tickets, case.slots)).collect(),
            locks: lanes.iter().map(|_| None).collect(),
            seats: topology.cores.iter().map(seat).collect(),
            present: (0..case.peers).map(|_| true).collect(),
            account: Account::new(case.peers),
        };
        let machine = Self {
            case: case.clone(),
            strategies: topology.cores.iter().map(|_| RefCell::new(case.kind.build())).collect(),
            lanes,
            plans,
            state: RefCell::new(state),
            depth: Cell::new(0),
        };
        for (core, strategy) in (0..).zip(&machine.strategies) {
            strategy.borrow_mut().place(machine.plan(case.kind), CoreId(core));
        }
        machine
    }

    fn plan(&self, kind: StrategyKind) -> &Plan {
        let at = StrategyKind::ALL.iter().position(|other| *other == kind);
        &self.plans[at.expect("ALL has all")]
    }

    /// Runs the case to its end.
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    pub fn run(&self) {
        let mut quiet = 0;
        loop {
            let before = self.state.borrow().come;
            if !self.turn() {
                break;
            }
            let state = self.state.borrow();
            quiet = if state.come == before { quiet + 1 } else { 0 };
            assert!(quiet < REST, "the machine does not come to rest: {:?}", self.case);
        }
        self.settled();
    }

    /// What must be so at the end.
    fn settled(&self) {
        let state = self.state.borrow();
        let under_way = state.account.under_way();
        assert_eq!(under_way, 0, "batches are stranded: {:?}\n{state:?}", self.case);
        let waiting: usize = state.homes.iter().flat_map(|home| &home.queues).map(VecDeque::len).sum();
        assert!(state.stopped || waiting == 0, "queues are stranded: {:?}\n{state:?}", self.case);
        let all = state.account.all_sent() + state.account.all_dropped() + state.refused + waiting as u64;
        assert_eq!(all, u64::from(state.come), "conservation: {:?}", self.case);
        for home in &state.homes {
            assert_eq!((home.pending(), home.offers()), (0, 0), "{:?}", self.case);
        }
    }

    /// The batches that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.borrow().account.all_sent()
    }

    /// The batches that had a ticket.
    #[must_use]
    pub fn tickets(&self) -> u64 {
        self.state.borrow().tickets
    }

    /// The batches that were crypted by another core than their home's.
    #[must_use]
    pub fn helped(&self) -> u64 {
        self.state.borrow().helped
    }

    /// Gives one core its turn. False when there is nothing more to do.
    fn turn(&self) -> bool {
        self.arrive();
        self.happen();
        let depth = self.depth.get();
        let ending = self.state.borrow().seats.iter().position(|seat| seat.stalled == 1);
        if let Some(core) = ending.filter(|_| depth == 0 && !self.state.borrow().calm) {
            self.look(core);
        }
        let chosen = {
            let mut state = self.state.borrow_mut();
            state.turn += 1;
            let turn = state.turn;
            let calm = state.calm;
            for seat in &mut state.seats {
                seat.stalled = seat.stalled.saturating_sub(u32::from(!calm));
                let holds = !seat.ring.is_empty() || !seat.crypting.is_empty();
                seat.since = if holds { seat.since.or(Some(turn)) } else { None };
            }
            self.notice(&mut state);
            let cores = self.strategies.len();
            let first = state.below(u32::try_from(cores).unwrap_or(1)) as usize;
            (0..cores).map(|at| (first + at) % cores).find(|core| self.is_runnable(&state, *core))
        };
        let Some(core) = chosen else {
            let state = self.state.borrow();
            let comes = state.come < self.case.batches && !state.stopped;
            let waits = state
                .seats
                .iter()
                .any(|seat| (seat.stalled > 0 && !seat.dead) || (seat.dead && seat.since.is_some()));
            let events = state.next_event < self.case.events.len() && comes;
            return depth > 0 || comes || waits || events;
        };
        self.depth.set(depth + 1);
        self.step(core);
        self.depth.set(depth);
        true
    }

    fn is_runnable(&self, state: &State, core: usize) -> bool {
        let seat = &state.seats[core];
        if seat.dead || seat.stalled > 0 || self.strategies[core].try_borrow_mut().is_err() {
            return false;
        }
        let home = self.home_of(core, seat.kind);
        let comes = home.is_some_and(|home| state.homes[home].queues.iter().any(|queue| !queue.is_empty()));
        !seat.asleep || seat.bell || seat.wanted.is_some() || (comes && !seat.pressure && !state.stopped)
    }

    /// The home a core may work on: its own, or the one it shares.
    fn home_of(&self, core: usize, kind: StrategyKind) -> Option<usize> {
        let id = CoreId(u32::try_from(core).ok()?);
        let plan = self.plan(kind);
        let lane = plan.lane_on(id).or_else(|| {
            let helper = plan.helpers.iter().find(|helper| helper.core == id)?;
            helper.lanes.first().copied().filter(|_| kind.shares_home())
        });
        lane.map(|lane| lane.0 as usize)
    }

    fn step(&self, core: usize) {
        let id = CoreId(u32::try_from(core).unwrap_or(0));
        let mut strategy = self.strategies[core].borrow_mut();
        let wanted = {
            let mut state = self.state.borrow_mut();
            let seat = &mut state.seats[core];
            (seat.asleep, seat.bell, seat.waits, seat.since) = (false, false, false, None);
            seat.wanted.take()
        };
        if let Some(kind) = wanted {
            strategy.switch(kind, self.plan(kind), id);
            self.state.borrow_mut().seats[core].kind = kind;
        }
        let outcome = strategy.step(id, Budget { batches: 16 }, &mut View { machine: self, core });
        let mut state = self.state.borrow_mut();
        let seat = &mut state.seats[core];
        assert_eq!(seat.hands, 0, "core {core} lost a batch: {:?}", self.case);
        (seat.asleep, seat.pressure) = (!outcome.more, outcome.pressure);
        assert!(
            !outcome.more || !outcome.idle() || seat.kind == StrategyKind::LockedSpin,
            "core {core} spins"
        );
        // It looks once more before it sleeps, as an executor does.
        let left = !seat.ring.is_empty();
        let home = self.home_of(core, seat.kind);
        let ready = home.is_some_and(|home| state.homes[home].is_ready());
        if left || ready {
            state.ring(core);
        }
        assert!(state.locks.iter().all(|lock| *lock != Some(core)), "core {core} keeps a lock");
    }

    /// Brings what comes with this turn.
    fn arrive(&self) {
        let mut state = self.state.borrow_mut();
        let mut eighths = self.case.rate;
        while state.come < self.case.batches && !state.stopped && !state.calm {
            let some = eighths >= 8 || state.below(8) < eighths;
            eighths = eighths.saturating_sub(8);
            if !some {
                break;
            }
            state.come += 1;
            let peer = state.below(self.case.peers);
            let small = match self.case.sizes {
                Sizes::Small => true,
                Sizes::Full => false,
                Sizes::Mixed => state.below(2) == 0,
            };
            let packets = 1 + if small { state.below(3) } else { 31 + state.below(32) };
            let bytes = packets * if state.below(2) == 0 { 64 } else { 1420 };
            let direction = state.below(2) as usize;
            let home = peer as usize % state.homes.len();
            if state.present[peer as usize] && state.homes[home].queues[direction].len() < QUEUE {
                state.homes[home].queues[direction].push_back((peer, packets, bytes));
            } else {
                state.refused += 1;
            }
        }
    }

    /// Lets happen what is due.
    fn happen(&self) {
        let mut state = self.state.borrow_mut();
        let cores = state.seats.len();
        while let Some((at, event)) = self.case.events.get(state.next_event).copied() {
            if state.come < at.min(self.case.batches) || state.barrier.is_some() {
                break;
            }
            state.next_event += 1;
            match event {
                Event::Switch(kind) => {
                    let shared = kind.shares_home()
                        || state.seats.iter().any(|seat| seat.wanted.unwrap_or(seat.kind).shares_home());
                    if shared {
                        state.barrier = Some(kind);
                    } else {
                        state.seats.iter_mut().for_each(|seat| seat.wanted = Some(kind));
                    }
                }
                Event::Stall { core, turns } => {
                    // Where it has batches in its hands, or where it has none.
                    let inside = state.below(2) == 0;
                    let seat = &mut state.seats[core as usize % cores];
                    *(if inside { &mut seat.trap } else { &mut seat.stalled }) = turns;
                }
                Event::Kill { core } if core as usize % cores >= self.lanes.len() => {
                    state.seats[core as usize % cores].dead = true;
                }
                Event::Kill { .. } => {}
                Event::Remove { peer } if peer < self.case.peers => state.present[peer as usize] = false,
                Event::Add { peer } if peer < self.case.peers => state.present[peer as usize] = true,
                Event::Remove { .. } | Event::Add { .. } => {}
                Event::Stop => state.stopped = true,
            }
        }
        let between = self.strategies.iter().all(|strategy| strategy.try_borrow_mut().is_ok());
        if let Some(kind) = state.barrier.filter(|_| between) {
            state.barrier = None;
            for (core, seat) in (0..).zip(&mut state.seats) {
                (seat.kind, seat.wanted, seat.asleep) = (kind, None, false);
                let mut strategy = self.strategies[core as usize].borrow_mut();
                strategy.switch(kind, self.plan(kind), CoreId(core));
            }
        }
    }

    /// Finds who holds batches for too long. What a dead core has is given up.
    fn notice(&self, state: &mut State) {
        for core in 0..state.seats.len() {
            let late = state.seats[core].since.is_some_and(|since| state.turn - since > OVERDUE);
            let seat = &state.seats[core];
            if late && seat.dead {
                while let Some((ticket, batch)) = state.seats[core].ring.pop_front() {
                    self.give_up(state, ticket, batch);
                }
            }
        }
    }

    fn give_up(&self, state: &mut State, ticket: Ticket, batch: Batch) {
        state.account.dropped(batch.tag);
        let home = ticket.home as usize;
        if state.homes[home].complete(ticket.place, None) {
            self.wake_home(state, home);
        }
    }

    /// Rings for the cores of a home.
    fn wake_home(&self, state: &mut State, home: usize) {
        for core in 0..state.seats.len() {
            if self.home_of(core, state.seats[core].kind) == Some(home) {
                state.ring(core);
            }
        }
    }

    /// Lets other cores come in between.
    fn mesh(&self) {
        let depth = self.depth.get();
        let meets = {
            let mut state = self.state.borrow_mut();
            // The deeper, the rarer, or there would be no end to it.
            let odds = self.case.mesh.checked_shl(depth).unwrap_or(0);
            odds > 0 && (depth as usize) < self.strategies.len() && state.below(odds) == 0
        };
        if meets {
            self.turn();
        }
    }

    /// Keeps a core in its crypt phase while the others go on.
    fn stall(&self, core: usize) {
        let turns = core::mem::take(&mut self.state.borrow_mut().seats[core].trap);
        if turns == 0 {
            return;
        }
        for _ in 0..turns {
            self.turn();
        }
        // Deeper, others are in the middle of their steps.
        if self.depth.get() == 1 {
            self.look(core);
        }
    }

    /// Looks whom a core that stalls keeps back: the streams it has something of, and those it is the home of, and nobody else.
    fn look(&self, core: usize) {
        // What is not kept back comes to rest.
        self.state.borrow_mut().calm = true;
        let mut turns = 0;
        while (0..self.strategies.len()).any(|core| self.is_runnable(&self.state.borrow(), core)) {
            self.turn();
            turns += 1;
            assert!(
                turns < REST,
                "the machine does not come to rest: {:?}\n{:?}",
                self.case,
                self.state.borrow()
            );
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.calm = false;
        let others =
            state.seats.iter().enumerate().any(|(at, seat)| seat.dead || (at != core && seat.stalled > 0));
        if others || state.seats.iter().any(|seat| seat.kind != self.case.kind) {
            return;
        }
        if state.seats[core].since.is_some_and(|since| state.turn - since > OVERDUE) {
            let late = |(at, seat): (usize, &Seat)| {
                seat.since.is_some_and(|since| state.turn - since > OVERDUE).then_some(at)
            };
            let noticed = state.seats.iter().enumerate().filter_map(late);
            assert!(noticed.eq([core]), "others than core {core} are late, too: {:?}", self.case);
        }
        let own = self.lanes.iter().position(|lane| lane.core.0 as usize == core);
        for peer in 0..self.case.peers {
            for direction in [Direction::In, Direction::Out] {
                let held = state.seats[core].crypting.contains(&(peer, direction))
                    || state.seats[core]
                        .ring
                        .iter()
                        .any(|(_, batch)| batch.tag.peer == peer && batch.tag.direction == direction);
                let at_home = own == Some(peer as usize % state.homes.len());
                let under_way = state.account.under_way_of(peer, direction);
                assert!(
                    held || at_home || under_way == 0,
                    "core {core} keeps back {under_way} batches of a stream it has nothing of: {:?}",
                    self.case
                );
            }
        }
    }
}

/// What a core sees of the machine.
struct View<'a> {
    machine: &'a Interleaved,
    core: usize,
}

impl View<'_> {
    /// The home this core may work on now; none if it shares it, and another has its lock.
    fn home(&self, state: &State) -> Option<usize> {
        let kind = state.seats[self.core].kind;
        let home = self.machine.home_of(self.core, kind)?;
        (!kind.shares_home() || state.locks[home] == Some(self.core)).then_some(home)
    }

    fn hold(&self, state: &mut State, more: i32) {
        let hands = &mut state.seats[self.core].hands;
        *hands += more;
        assert!(
            (0..=HANDS).contains(hands),
            "core {} has {hands} batches: {:?}",
            self.core,
            self.machine.case
        );
    }

    fn poll(&self, direction: Direction) -> Option<Batch> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        while !state.stopped {
            let (peer, packets, bytes) =
                state.homes[home].queues[usize::from(direction == Direction::Out)].pop_front()?;
            if !state.present[peer as usize] {
                state.refused += 1;
                continue;
            }
            let tag = state.account.polled(peer, direction);
            self.hold(&mut state, 1);
            return Some(Batch { tag, packets, bytes });
        }
        None
    }

    fn send(&self, batch: Batch, direction: Direction) {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        self.hold(&mut state, -1);
        if state.present[batch.tag.peer as usize] {
            state.account.sent(batch.tag, direction);
        } else {
            state.account.dropped(batch.tag);
        }
    }

    /// Takes one thing into this core's hands.
    fn take(&self, from: impl Fn(&mut State) -> Option<(Ticket, Batch)>) -> Option<(Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let taken = from(&mut state)?;
        self.hold(&mut state, 1);
        Some(taken)
    }
}

impl CoreIo for View<'_> {
    type Batch = Batch;

    fn poll_udp(&mut self) -> Option<Batch> {
        self.poll(Direction::In)
    }

    fn poll_tun(&mut self) -> Option<Batch> {
        self.poll(Direction::Out)
    }

    fn packets(&self, batch: &Batch) -> u32 {
        batch.packets
    }

    fn bytes(&self, batch: &Batch) -> u32 {
        batch.bytes
    }

    fn crypt(&mut self, batches: &mut [Batch]) {
        {
            let mut state = self.machine.state.borrow_mut();
            let seat = &mut state.seats[self.core];
            for batch in batches.iter_mut() {
                batch.tag.crypt();
                seat.crypting.push((batch.tag.peer, batch.tag.direction));
            }
        }
        self.machine.stall(self.core);
        self.machine.mesh();
        self.machine.state.borrow_mut().seats[self.core].crypting.clear();
    }

    fn send_tun(&mut self, batch: Batch) {
        self.send(batch, Direction::In);
    }

    fn send_udp(&mut self, batch: Batch) {
        self.send(batch, Direction::Out);
    }

    fn poll_control(&mut self) -> bool {
        let mut state = self.machine.state.borrow_mut();
        let some = self.home(&state).is_some() && state.control > 0 && state.below(4) == 0;
        state.control -= u32::from(some);
        some
    }

    fn now(&self) -> u64 {
        u64::from(self.machine.state.borrow().turn) * 1000
    }

    fn begin(&mut self, batch: &Batch, direction: Direction) -> Option<Ticket> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        assert_eq!(batch.tag.direction, direction);
        let place = state.homes[home].begin(batch)?;
        state.tickets += 1;
        Some(Ticket { home: u32::try_from(home).ok()?, place })
    }

    fn room(&self) -> u32 {
        let state = self.machine.state.borrow();
        self.home(&state).map_or(0, |home| state.homes[home].room())
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.machine.state.borrow().homes[ticket.home as usize].is_head(ticket.place)
    }

    fn pending(&self) -> u32 {
        let state = self.machine.state.borrow();
        self.home(&state).map_or(0, |home| state.homes[home].pending())
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let to = to.0 as usize;
        if state.seats[to].ring.len() == self.machine.case.ring as usize {
            return Err((ticket, batch));
        }
        state.seats[to].ring.push_back((ticket, batch));
        state.ring(to);
        self.hold(&mut state, -1);
        Ok(())
    }

    fn pop(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| state.seats[self.core].ring.pop_front())
    }

    fn offer(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        state.homes[ticket.home as usize].offer(ticket, batch)?;
        self.hold(&mut state, -1);
        Ok(())
    }

    fn reclaim(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| self.home(state).and_then(|home| state.homes[home].oldest()))
    }

    fn reclaim_newest(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| self.home(state).and_then(|home| state.homes[home].newest()))
    }

    fn steal(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| {
            let plan = self.machine.plan(state.seats[self.core].kind);
            let helper = plan.helpers.iter().find(|helper| helper.core.0 as usize == self.core)?;
            helper.lanes.iter().find_map(|lane| state.homes[lane.0 as usize].oldest())
        })
    }

    fn call(&mut self, helpers: u32) {
        let mut state = self.machine.state.borrow_mut();
        let kind = state.seats[self.core].kind;
        let Some(home) = self.home(&state) else { return };
        assert!(helpers > 0, "a call for nobody");
        let lane = LaneId(u32::try_from(home).unwrap_or(0));
        let asleep = self.machine.plan(kind).helpers_of(lane).map(|core| core.0 as usize);
        let mut left = helpers;
        for core in asleep {
            if left > 0 && state.seats[core].asleep && !state.seats[core].bell {
                state.ring(core);
                left -= 1;
            }
        }
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch) {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        assert!(batch.tag.is_crypted(), "{:?} is completed without its crypt phase", batch.tag);
        self.hold(&mut state, -1);
        if state.seats[self.core].dead {
            // It died with the batch in its hands.
            self.machine.give_up(&mut state, ticket, batch);
            return;
        }
        let home = ticket.home as usize;
        state.helped += u64::from(self.machine.lanes[home].core.0 as usize != self.core);
        if state.homes[home].complete(ticket.place, Some(batch)) {
            self.machine.wake_home(&mut state, home);
        }
    }

    fn drain(&mut self) -> Option<(Direction, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        let batch = state.homes[home].drain()?;
        self.hold(&mut state, 1);
        Some((batch.tag.direction, batch))
    }

    fn try_acquire(&mut self) -> bool {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let kind = state.seats[self.core].kind;
        let Some(home) = self.machine.home_of(self.core, kind) else { return true };
        if state.locks[home].is_some() {
            state.seats[self.core].waits = true;
            return false;
        }
        state.locks[home] = Some(self.core);
        true
    }

    fn release(&mut self) {
        let mut state = self.machine.state.borrow_mut();
        for lock in &mut state.locks {
            if *lock == Some(self.core) {
                *lock = None;
            }
        }
        for core in 0..state.seats.len() {
            if state.seats[core].waits {
                state.ring(core);
            }
        }
        drop(state);
        self.machine.mesh();
    }
}
