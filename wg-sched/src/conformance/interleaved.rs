//! A machine of many cores without threads: one seed says whose turn it is, and between the effects of one core's step other
//! cores take whole steps of theirs, so that every effect can meet every other. Sleep, bells and readiness are as on a
//! machine: who sleeps without having been promised a bell never wakes, and its batches are found stranded.

mod split;
mod view;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use self::split::Split;
use super::account::{Account, Tag};
use super::home::{Come, Home, QUEUE};
use super::{Case, Event, Sizes};
use crate::any::AnyStrategy;
use crate::io::{Direction, Ticket};
use crate::strategy::{Budget, Strategy, StrategyKind};
use crate::topology::{Core, CoreId, Lane, LaneId, Limits, Plan, Topology};

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
    /// The turn in which it came.
    came: u32,
    /// The lane it came to, if counters were split.
    lane: Option<usize>,
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
    split: Split,
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
        let splitting = &plans[at(StrategyKind::CounterSplit)];
        let receivers: Vec<Vec<usize>> = (0..count)
            .map(|lane| splitting.receivers_of(LaneId(lane)).map(|lane| lane.0 as usize).collect())
            .collect();
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
            split: Split::new(case, receivers),
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
        &self.plans[at(kind)]
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

    /// The batches that came to other cores than their home, and were put together there.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.state.borrow().split.merged
    }

    /// The batches that were overtaken, as nobody waits for ever.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.state.borrow().split.late
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
            return depth > 0 || comes || waits || events || self.waits_for_gap(&state);
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
        let gap = home.is_some_and(|home| state.split.deadline(home).is_some_and(|turn| turn <= state.turn));
        !seat.asleep
            || seat.bell
            || seat.wanted.is_some()
            || gap
            || (comes && !seat.pressure && !state.stopped)
    }

    /// Tells whether a core that can will wake because a wait for a gap is over.
    fn waits_for_gap(&self, state: &State) -> bool {
        (0..state.seats.len()).any(|core| {
            let seat = &state.seats[core];
            let able = !seat.dead && seat.stalled == 0 && self.strategies[core].try_borrow_mut().is_ok();
            let home = self.home_of(core, seat.kind);
            able && home.is_some_and(|home| state.split.deadline(home).is_some())
        })
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
        let (come, split) = {
            let mut state = self.state.borrow_mut();
            (state.come, state.split_phase())
        };
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
        let outcome = strategy.step(
            id,
            Budget { batches: 16, ..Budget::default() },
            &mut view::View { machine: self, core },
        );
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
        let waits = |home: &Home| home.queues.iter().any(|queue| !queue.is_empty());
        let waiting =
            !state.stopped && state.come == come && home.is_some_and(|home| waits(&state.homes[home]));
        // It may have looked where nothing is polled any more, or not yet; its sockets wake it again.
        let turned = state.split_phase() != split;
        let seen = !outcome.idle() || outcome.more || outcome.pressure || turned;
        assert!(seen || !waiting, "core {core} leaves its queue alone and does not say why: {:?}", self.case);
        let ready = home.is_some_and(|home| state.homes[home].is_ready() || state.split.may_have_more(home));
        if left || ready {
            state.ring(core);
        }
        assert!(state.locks.iter().all(|lock| *lock != Some(core)), "core {core} keeps a lock");
    }

    /// Brings what comes with this turn.
    fn arrive(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
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
            let direction = if state.below(2) == 0 { Direction::In } else { Direction::Out };
            let number = state.account.come(peer, direction);
            let home = peer as usize % state.homes.len();
            let lane = if direction == Direction::In { state.split.lane(home, peer, number) } else { home };
            let turn = state.turn;
            let queue = &mut state.homes[lane].queues[usize::from(direction == Direction::Out)];
            if state.present[peer as usize] && queue.len() < QUEUE {
                queue.push_back(Come { peer, number, packets, bytes, turn });
                state.split.queued(lane, home, 1);
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
                        state.split.steer(kind);
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
            state.split.steer(kind);
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
        // Deeper, others are in the middle of their steps; and who has a lock keeps back all who want it.
        let locked = self.state.borrow().locks.iter().any(Option::is_some);
        if self.depth.get() == 1 && !locked {
            self.look(core);
        }
    }

    /// Looks whom a core that stalls keeps back: the streams it has something of, and those it is the home of, and nobody else.
    fn look(&self, core: usize) {
        // What is not kept back comes to rest.
        self.state.borrow_mut().calm = true;
        let mut turns = 0;
        let goes_on = |state: &State| {
            (0..self.strategies.len()).any(|core| self.is_runnable(state, core)) || self.waits_for_gap(state)
        };
        while goes_on(&self.state.borrow()) {
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

/// Where a strategy is among all.
fn at(kind: StrategyKind) -> usize {
    StrategyKind::ALL.iter().position(|other| *other == kind).expect("ALL has all")
}
