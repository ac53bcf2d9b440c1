//! The cores of a plan, and what each of them has to do with the others: the hand-off half of [`CoreIo`](crate::CoreIo).
//!
//! ```text
//!   member with a home (its own order)                    member that helps it
//!   begin, push --------------- ring of the two --------> pop
//!          offer, reclaim ----- offers of the home -----> steal
//!   drain <-------------------- completions of the home - complete, abandon
//! ```
//!
//! A home has one order table for all its peers, one set of offers for all who help it, and a ring to each helper. Nothing
//! is allocated once the crew is made; nothing waits. The implementor of `CoreIo` forwards to its [`Member`], and says of each batch
//! which stream it belongs to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use crate::handoff::{
    Completions, Consumer, Doorbell, Offers, OrderTable, Overdue, Producer, Slot, Stream, ring,
};
use crate::io::{Direction, Ticket};
use crate::sync::{AtomicBool, fence};
use crate::topology::{CoreId, LaneId, Plan};

/// How much there may be of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Batches of a home that may be under way, at most [`OrderTable::MOST`].
    pub places: u32,
    /// Batches that a home may offer at once, at most [`Offers::MOST`].
    pub offers: u32,
    /// Batches that may be under way from a home to one helper; 0 for strategies that push nothing.
    pub ring: u32,
}

impl Default for Capacity {
    /// Enough for 32 cores that help one home.
    fn default() -> Self {
        Self { places: 256, offers: 32, ring: 8 }
    }
}

/// Who has the state of the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Homes {
    /// Each lane is the home of its own peers.
    OfLanes,
    /// There is one home, that of the first lane; whoever acquires it works on it.
    Shared,
}

/// The members that were not yet given to their cores.
pub struct Crew<B> {
    members: Vec<Member<B>>,
}

/// What all members share of a home.
struct Home<B> {
    completions: Arc<Completions<B>>,
    offers: Offers<(Ticket, B)>,
    /// The bell of the home's core; none if the home is shared.
    bell: Option<Arc<Doorbell>>,
    /// The order of a home that is shared, while nobody has acquired it: the slot is the lock.
    lock: CachePadded<Slot<Box<OrderTable<B>>>>,
    /// Whether who released it left something that can be drained. Written by who has the lock, before it gives it back; ordered
    /// by the fences of the doorbells.
    left: AtomicBool,
    /// All who share it, in the order of their cores; none if it is of one core.
    workers: Box<[CachePadded<Worker>]>,
}

/// One who shares a home.
struct Worker {
    bell: Arc<Doorbell>,
    /// Whether it found the lock taken. Written by its core before it sleeps, and ordered by the fences of the doorbell.
    wants: AtomicBool,
}

/// The part of one core.
pub struct Member<B> {
    core: CoreId,
    bell: Arc<Doorbell>,
    homes: Arc<[Home<B>]>,
    shared: bool,
    /// Its number among all members.
    at: usize,
    /// Whether it found the lock taken when it last tried.
    wants: bool,
    /// The home of this core, or the one that all share.
    home: Option<u32>,
    /// The order of the home: always there if it is of this core alone, and while it is acquired if it is shared.
    order: Option<Box<OrderTable<B>>>,
    /// The cores that this one may push to.
    outs: Vec<Out<B>>,
    /// What others push to this one.
    ins: Vec<Consumer<(Ticket, B)>>,
    /// The ring that is looked at first.
    first: usize,
    /// The homes this core helps, in the order of preference.
    helps: Vec<u32>,
    /// The bells of those who help this one, and whom to call first.
    helpers: Vec<Arc<Doorbell>>,
    next: usize,
    /// The lanes of the plan, in the order of their homes.
    lanes: Arc<[LaneId]>,
    /// Who may help this one at all.
    mates: Vec<(CoreId, Arc<Doorbell>)>,
}

/// A ring to another core.
struct Out<B> {
    core: CoreId,
    bell: Arc<Doorbell>,
    ring: Producer<(Ticket, B)>,
    /// Batches that the ring has room for.
    capacity: usize,
}

impl<B> Crew<B> {
    /// Joins the cores of a plan. `bell` gives the doorbell of each core, and is asked once for each.
    ///
    /// # Panics
    ///
    /// If two lanes of the plan have one core, or it has no lane.
    #[must_use]
    pub fn new(
        plan: &Plan,
        homes: Homes,
        capacity: Capacity,
        mut bell: impl FnMut(CoreId) -> Arc<Doorbell>,
    ) -> Self {
        let shared = homes == Homes::Shared;
        let mut cores: Vec<CoreId> = plan.lanes.iter().map(|lane| lane.core).collect();
        cores.sort_unstable();
        let lanes = cores.len();
        cores.dedup();
        assert!(lanes > 0 && lanes == cores.len(), "each lane has a core of its own");
        cores.extend(plan.helpers.iter().map(|helper| helper.core));
        cores.sort_unstable();
        cores.dedup();
        let bells: Vec<_> = cores.iter().map(|core| bell(*core)).collect();
        let at = |core: CoreId| cores.binary_search(&core).unwrap_or(0);
        let number_of = |lane: LaneId| plan.lanes.iter().position(|other| other.id == lane);

        let lane_ids: Arc<[LaneId]> = plan.lanes.iter().map(|lane| lane.id).collect();
        let mut orders = Vec::new();
        let homes: Arc<[Home<B>]> = plan
            .lanes
            .iter()
            .take(if shared { 1 } else { usize::MAX })
            .map(|lane| {
                let order = Box::new(OrderTable::new(capacity.places));
                let home = Home {
                    completions: Arc::clone(order.completions()),
                    offers: Offers::new(capacity.offers),
                    bell: (!shared).then(|| Arc::clone(&bells[at(lane.core)])),
                    lock: CachePadded::new(Slot::new()),
                    left: AtomicBool::new(false),
                    workers: bells.iter().filter(|_| shared).map(Worker::new).collect(),
                };
                orders.push(Some(order));
                home
            })
            .collect();

        let mut members: Vec<_> = cores
            .iter()
            .zip(&bells)
            .enumerate()
            .map(|(at, (core, bell))| {
                let lane = plan.lane_on(*core).and_then(number_of);
                let helps = plan.helpers.iter().filter(|helper| helper.core == *core);
                let helps = helps.flat_map(|helper| &helper.lanes).filter_map(|lane| number_of(*lane));
                let helps = helps.filter(|lane| *lane < homes.len() && Some(*lane) != lane_of(plan, *core));
                Member {
                    core: *core,
                    bell: Arc::clone(bell),
                    homes: Arc::clone(&homes),
                    shared,
                    at,
                    wants: false,
                    home: if shared { Some(0) } else { lane.map(number) },
                    order: lane.filter(|_| !shared).and_then(|lane| orders[lane].take()),
                    outs: Vec::new(),
                    ins: Vec::new(),
                    first: 0,
                    helps: helps.map(number).collect(),
                    helpers: Vec::new(),
                    next: 0,
                    lanes: Arc::clone(&lane_ids),
                    mates: Vec::new(),
                }
            })
            .collect();
        if let Some(order) = orders.into_iter().flatten().next() {
            let put = homes[0].lock.put(order);
            debug_assert!(put.is_ok(), "nobody has put another");
        }
        for lane in &plan.lanes {
            for helper in plan.helpers_of(lane.id).filter(|helper| *helper != lane.core) {
                let (home, helper) = (at(lane.core), at(helper));
                let bell = Arc::clone(&bells[helper]);
                members[home].helpers.push(Arc::clone(&bell));
                members[home].mates.push((cores[helper], Arc::clone(&bell)));
                if capacity.ring > 0 {
                    let capacity = capacity.ring as usize;
                    let (ring, consumer) = ring(capacity);
                    members[home].outs.push(Out { core: cores[helper], bell, ring, capacity });
                    members[helper].ins.push(consumer);
                }
            }
        }
        Self { members }
    }

    /// Takes the part of a core, for the thread that runs there.
    pub fn take(&mut self, core: CoreId) -> Option<Member<B>> {
        let at = self.members.iter().position(|member| member.core == core)?;
        Some(self.members.remove(at))
    }

    /// Takes all parts there still are, in the order of their cores.
    pub fn into_members(self) -> impl Iterator<Item = Member<B>> {
        self.members.into_iter()
    }
}

impl Worker {
    fn new(bell: &Arc<Doorbell>) -> CachePadded<Self> {
        CachePadded::new(Self { bell: Arc::clone(bell), wants: AtomicBool::new(false) })
    }
}

/// The number of the lane on a core, in the order of the plan.
fn lane_of(plan: &Plan, core: CoreId) -> Option<usize> {
    plan.lanes.iter().position(|lane| lane.core == core)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl<B> Member<B> {
    /// Takes up another plan, whose lanes are those of the first, and whose helpers are among those of the first: who helps whom is
    /// what it says. What is under way finds its home. It allocates.
    pub fn place(&mut self, plan: &Plan) {
        let own = plan.lane_on(self.core);
        let number_of = |lane: LaneId| self.lanes.iter().position(|other| *other == lane);
        let helped = plan.helpers.iter().filter(|helper| helper.core == self.core);
        let helped = helped.flat_map(|helper| &helper.lanes).filter(|lane| Some(**lane) != own);
        let helps: Vec<_> = helped
            .filter_map(|lane| number_of(*lane))
            .filter(|lane| *lane < self.homes.len())
            .map(number)
            .collect();
        let bell_of = |core: CoreId| {
            self.mates.iter().find(|(mate, _)| *mate == core).map(|(_, bell)| Arc::clone(bell))
        };
        let helpers = own.map_or_else(Vec::new, |lane| plan.helpers_of(lane).filter_map(bell_of).collect());
        (self.helps, self.helpers, self.next) = (helps, helpers, 0);
    }

    /// The memory it takes, in bytes as they are asked for from the allocator: the places of its home, its offers and its rings, all of
    /// them from the start, whatever is under way. What the batches own is not in it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // Of a ring there is a head and a tail, each in cache lines of its own, and their count.
        let ring =
            |out: &Out<B>| size_of::<[CachePadded<usize>; 4]>() + out.capacity * size_of::<(Ticket, B)>();
        let order = self.order.as_ref().map_or(0, |order| order.memory_bytes());
        // What all members share is counted as if each home had a list of its own.
        let home = self.own().map_or(0, |home| {
            let workers = home.workers.len() * size_of::<CachePadded<Worker>>();
            let lists = align_of::<Home<B>>() + 3 * size_of::<usize>() + size_of::<LaneId>();
            size_of::<Home<B>>() + home.offers.memory_bytes() + workers + lists
        });
        size_of::<Self>()
            + order
            + home
            + self.outs.iter().map(ring).sum::<usize>()
            + self.outs.capacity() * size_of::<Out<B>>()
            + self.ins.capacity() * size_of::<Consumer<(Ticket, B)>>()
            + self.helps.capacity() * size_of::<u32>()
            + self.helpers.capacity() * size_of::<Arc<Doorbell>>()
            + self.mates.capacity() * size_of::<(CoreId, Arc<Doorbell>)>()
    }

    /// The core it belongs to.
    #[must_use]
    pub const fn core(&self) -> CoreId {
        self.core
    }

    /// Gives a batch that was polled here its place in the order of its stream. None if as many are under way as may be, or
    /// there is no home here.
    #[inline]
    pub fn begin(&mut self, peer: u32, direction: Direction, now: u64) -> Option<Ticket> {
        let (home, order) = (self.home?, self.order.as_mut()?);
        let place = order.begin(Stream { peer, direction }, now)?;
        Some(Ticket { home, place })
    }

    /// Tells whether a ticket of this home is the first of its stream that was not drained.
    #[must_use]
    pub fn is_head(&self, ticket: Ticket) -> bool {
        self.home == Some(ticket.home) && self.order.as_ref().is_some_and(|order| order.is_head(ticket.place))
    }

    /// How many tickets [`Self::begin`] would give now.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.order.as_ref().map_or(0, |order| order.room())
    }

    /// Batches of this home that have a ticket and were not drained.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.order.as_ref().map_or(0, |order| order.pending())
    }

    /// Puts a batch into the ring of another core, and rings its bell if it sleeps.
    ///
    /// # Errors
    ///
    /// The batch, if that ring is full or does not exist.
    pub fn push(&mut self, to: CoreId, ticket: Ticket, batch: B) -> Result<(), (Ticket, B)> {
        let Some(out) = self.outs.iter_mut().find(|out| out.core == to) else { return Err((ticket, batch)) };
        out.ring.push((ticket, batch))?;
        out.bell.ring_if_asleep();
        Ok(())
    }

    /// Takes the next batch that another core pushed to this one, from each in turn.
    pub fn pop(&mut self) -> Option<(Ticket, B)> {
        let count = self.ins.len();
        for at in (self.first..count).chain(0..self.first) {
            if let Some(batch) = self.ins[at].pop() {
                self.first = if at + 1 == count { 0 } else { at + 1 };
                return Some(batch);
            }
        }
        None
    }

    /// Puts a batch where an idle core may take it, and this one may take it back.
    ///
    /// # Errors
    ///
    /// The batch, if no place is free, or there is no home here.
    pub fn offer(&mut self, ticket: Ticket, batch: B) -> Result<(), (Ticket, B)> {
        match self.own() {
            Some(home) => home.offers.offer((ticket, batch)),
            None => Err((ticket, batch)),
        }
    }

    /// Takes back the oldest batch that this core offered and nobody took.
    pub fn reclaim(&mut self) -> Option<(Ticket, B)> {
        self.own()?.offers.take()
    }

    /// Takes back the newest of them.
    pub fn reclaim_newest(&mut self) -> Option<(Ticket, B)> {
        self.own()?.offers.take_newest()
    }

    /// Takes a batch that a home offers which this core helps.
    pub fn steal(&mut self) -> Option<(Ticket, B)> {
        self.helps.iter().find_map(|home| self.homes[*home as usize].offers.take())
    }

    /// Wakes at most so many of those who sleep and may take what is offered here.
    pub fn call(&mut self, helpers: u32) {
        let count = self.helpers.len();
        let mut called = 0;
        for at in (self.next..count).chain(0..self.next) {
            if called == helpers {
                break;
            }
            if self.helpers[at].ring_if_asleep() {
                called += 1;
                self.next = if at + 1 == count { 0 } else { at + 1 };
            }
        }
    }

    /// Brings a batch whose crypt phase is over to its home.
    pub fn complete(&mut self, ticket: Ticket, batch: B) {
        if let Some(order) = self.order.as_mut().filter(|_| self.home == Some(ticket.home)) {
            order.complete(ticket.place, batch);
        } else if let Some(home) = self.homes.get(ticket.home as usize) {
            home.completions.complete(ticket.place, batch, home.bell.as_deref());
        }
    }

    /// Tells the home of a batch that this core had and lost, so that those behind it do not wait.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(home) = self.homes.get(ticket.home as usize) {
            home.completions.abandon(ticket.place, home.bell.as_deref());
        }
    }

    /// Takes the next batch that is to be sent.
    #[inline]
    pub fn drain(&mut self) -> Option<(Direction, B)> {
        let (stream, batch) = self.order.as_mut()?.drain()?;
        Some((stream.direction, batch))
    }

    /// Takes the lock of a home that is shared, unless another has it. A home of one core is always its own.
    pub fn try_acquire(&mut self) -> bool {
        if !self.shared {
            return true;
        }
        if self.order.is_none() {
            self.order = self.homes[0].lock.take();
        }
        self.wants = self.order.is_none();
        !self.wants
    }

    /// Gives the lock back, and rings the bell of a core that found it taken and sleeps.
    pub fn release(&mut self) {
        if !self.shared {
            return;
        }
        let Some(order) = self.order.take() else { return };
        let home = &self.homes[0];
        order.publish_heads();
        home.left.store(order.is_ready(), Ordering::Relaxed);
        let put = home.lock.put(order);
        debug_assert!(put.is_ok(), "who has taken it puts it back");
        fence(Ordering::SeqCst);
        // From the next one on, so that all have their turn; who is woken wakes the one after it when it gives the lock back.
        let (before, after) = home.workers.split_at(self.at);
        for worker in after.iter().skip(1).chain(before) {
            if worker.bell.ring_fenced(|| worker.wants.load(Ordering::Relaxed)) {
                break;
            }
        }
    }

    /// Tells whether another had the lock of a shared home when this one last tried. Then all there is to wait for is the bell.
    #[must_use]
    pub const fn waits_for_lock(&self) -> bool {
        self.wants
    }

    /// Wakes all who share the home and sleep: there is something that each of them may have waited for.
    pub fn call_workers(&self) {
        let workers = self.homes.iter().take(1).flat_map(|home| &home.workers);
        for worker in workers {
            worker.bell.ring_if_asleep();
        }
    }

    /// Says that the core is about to sleep, and tells whether it may: not if there is something to pop, steal, reclaim or
    /// drain. The executor says [`Self::awake`] after the sleep.
    pub fn may_sleep(&mut self) -> bool {
        if let Some(order) = &self.order {
            order.publish_heads();
        }
        if let Some(worker) = self.home.and_then(|home| self.homes[home as usize].workers.get(self.at)) {
            worker.wants.store(self.wants, Ordering::Relaxed);
        }
        self.bell.may_sleep(|| self.is_idle())
    }

    /// Says that the core is awake.
    pub fn awake(&mut self) {
        self.bell.awake();
    }

    fn is_idle(&self) -> bool {
        let home = self.home.map(|home| &self.homes[home as usize]);
        let drains = home.is_some_and(|home| {
            let ready = match &self.order {
                Some(order) => order.is_ready(),
                None => home.left.load(Ordering::Relaxed),
            };
            let has_lock = self.wants && home.lock.is_full();
            ready || has_lock || !home.offers.is_empty() || home.completions.has_head()
        });
        !drains
            && self.ins.iter().all(Consumer::is_empty)
            && self.helps.iter().all(|home| self.homes[*home as usize].offers.is_empty())
    }

    /// Counts the batches of this home that have been under way for longer than `bound`: their cores are slow, or dead. They
    /// keep back their own streams, and the places they have, and nothing else. It looks at each place, so it is for once in a while.
    pub fn overdue(&mut self, now: u64, bound: u64) -> Overdue {
        let since = now.saturating_sub(bound);
        self.order.as_mut().map_or_else(Overdue::default, |order| order.overdue(since))
    }

    /// Gives up what [`Self::overdue`] counts, and returns how many batches: their streams go on without them. One that comes back
    /// nevertheless is dropped, and its place is not given again before.
    pub fn give_up(&mut self, now: u64, bound: u64) -> u32 {
        let since = now.saturating_sub(bound);
        self.order.as_mut().map_or(0, |order| order.give_up(since))
    }

    /// The home of this core, as far as it may work on it now.
    fn own(&self) -> Option<&Home<B>> {
        self.order.as_ref()?;
        Some(&self.homes[self.home? as usize])
    }
}

impl<B> fmt::Debug for Crew<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("members", &self.members).finish()
    }
}

impl<B> fmt::Debug for Member<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("core", &self.core)
            .field("home", &self.home)
            .field("order", &self.order)
            .field("helps", &self.helps)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
