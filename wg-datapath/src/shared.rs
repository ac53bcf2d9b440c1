//! A home that several workers share, behind a lock: for the strategies that show what that costs.
//!
//! ```text
//!   worker i:  TUN queue i, sockets i, its part of the crew        home:  device, lane
//!
//!   try_acquire --read, begin--> release --> crypt --> try_acquire --commit, send--> release
//! ```
//!
//! A [`Lane`] is all that is under way: the queue, batches, buffers. It belongs to the home, as the device does, and whoever has
//! the lock works on both with a queue and sockets of its own. So a worker may send what another read. Order is that of the
//! tickets, up to the kernel: packets that two processors hand to it one after the other may overtake each other there.
//!
//! The lock is that of the [`Crew`](wg_sched::Crew), made with [`Homes::Shared`](wg_sched::Homes): the order of the home. Who has
//! it takes the home from its place, and puts it back there before it gives the lock away.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;
use wg_proto::{Instant, PrivateKey};
use wg_sched::handoff::Slot;
use wg_sched::{CoreIo, Direction, Member, Ticket};

use crate::batch::Batch;
use crate::batch_aead::BatchAead;
use crate::device::{Device, Now};
use crate::io::{IoError, TunIo, UdpIo};
use crate::lane::{Edge, Lane, LaneIo};

/// What a home is besides its edges.
#[derive(Debug)]
pub struct HomeState<A, R, D = PrivateKey> {
    /// The device.
    pub device: Device<A, R, D>,
    /// The lane; of a home that is shared, one that has no crew and belongs to no exchange.
    pub lane: Lane<A>,
}

/// The place of a home that workers share.
pub struct SharedHome<A, R, D = PrivateKey> {
    /// The home, while nobody works on it.
    place: Slot<Box<HomeState<A, R, D>>>,
    /// Its queue has no room. Written by who has the lock, read by workers before they sleep; ordered by the fences of their
    /// doorbells.
    is_full: AtomicBool,
}

/// What a worker has for itself, but for its edges.
pub struct Worker<A> {
    crew: Member<Batch<A>>,
    edge: Edge,
    /// Packets that were polled by it; it wraps.
    polled: u32,
    /// How it left the home.
    left: Left,
}

/// What a worker needs to know of the home when it has not got it. Whoever changes any of it leaves the home later than all
/// others did, and looks then; so one worker at least knows what is true.
#[derive(Clone, Copy, Debug)]
struct Left {
    deadline: Option<Instant>,
    has_work: bool,
    wants_readable: bool,
    wants_writable: bool,
    fatal: Option<IoError>,
}

impl<A, R, D> SharedHome<A, R, D> {
    /// Makes the place, with the home in it.
    #[must_use]
    pub fn new(home: Box<HomeState<A, R, D>>) -> Self {
        let place = Slot::new();
        let put = place.put(home);
        debug_assert!(put.is_ok(), "it was empty");
        Self { place, is_full: AtomicBool::new(false) }
    }

    /// Takes the home, for what is to be done between the turns of all workers. Nothing if a worker has it, or had it when it
    /// ended.
    pub fn take(&self) -> Option<Box<HomeState<A, R, D>>> {
        self.place.take()
    }

    /// Puts the home back.
    pub fn put(&self, home: Box<HomeState<A, R, D>>) {
        let put = self.place.put(home);
        debug_assert!(put.is_ok(), "who has taken it puts it back");
    }
}

impl<A, R, D> fmt::Debug for SharedHome<A, R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedHome").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<A> Worker<A> {
    /// Makes a worker of a part of the crew.
    #[must_use]
    pub const fn new(crew: Member<Batch<A>>) -> Self {
        let left =
            Left { deadline: None, has_work: true, wants_readable: true, wants_writable: false, fatal: None };
        Self { crew, edge: Edge::NEW, polled: 0, left }
    }

    /// See [`Lane::readable`].
    pub const fn readable(&mut self, tun: bool, udp: bool) {
        self.edge.readable(tun, udp);
    }

    /// See [`Lane::wants_readable`].
    #[must_use]
    pub const fn wants_readable(&self) -> bool {
        self.left.wants_readable
    }

    /// See [`Lane::wants_writable`].
    #[must_use]
    pub const fn wants_writable(&self) -> bool {
        self.left.wants_writable
    }

    /// Returns the error that ended the lane, if one did.
    #[must_use]
    pub const fn fatal(&self) -> Option<IoError> {
        self.left.fatal
    }

    /// See [`Device::has_work`].
    #[must_use]
    pub const fn has_work(&self) -> bool {
        self.left.has_work
    }

    /// See [`Device::poll_timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.left.deadline
    }

    /// Tells whether another worker had the home when this one last wanted it. Then it may sleep until its bell rings, whatever its
    /// queue and its sockets hold.
    #[must_use]
    pub const fn waits_for_lock(&self) -> bool {
        self.crew.waits_for_lock()
    }

    /// Says that the worker has nothing to do and is about to sleep, and tells whether it may. From then on it is woken by its
    /// bell, until [`Self::awake`].
    #[must_use]
    pub fn may_sleep<R, D>(&mut self, home: &SharedHome<A, R, D>) -> bool {
        if !self.crew.may_sleep() {
            return false;
        }
        let has_room = !self.left.wants_readable && !home.is_full.load(Ordering::Relaxed);
        if has_room {
            self.awake();
        }
        !has_room
    }

    /// Says that the worker is awake.
    pub fn awake(&mut self) {
        self.crew.awake();
    }
}

impl<A> fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("crew", &self.crew).field("left", &self.left).finish_non_exhaustive()
    }
}

/// A worker at work: the home, its edges and the time, for one turn of a strategy that shares homes.
pub struct SharedIo<'a, A, R, T, U, D = PrivateKey> {
    worker: &'a mut Worker<A>,
    home: &'a SharedHome<A, R, D>,
    tun: &'a mut T,
    udp: &'a mut U,
    now: Now,
    /// The home, while this worker has the lock.
    held: Option<Box<HomeState<A, R, D>>>,
}

impl<'a, A, R, T, U, D> SharedIo<'a, A, R, T, U, D> {
    /// Begins a turn of a worker.
    pub const fn new(
        worker: &'a mut Worker<A>,
        home: &'a SharedHome<A, R, D>,
        tun: &'a mut T,
        udp: &'a mut U,
        now: Now,
    ) -> Self {
        Self { worker, home, tun, udp, now, held: None }
    }
}

impl<A, R, T, U, D> fmt::Debug for SharedIo<'_, A, R, T, U, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedIo")
            .field("worker", &self.worker)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl<A, R, T, U, D> SharedIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Works on the home, which this worker has.
    fn with<O>(&mut self, work: impl FnOnce(&mut LaneIo<'_, A, R, T, U, D>) -> O) -> Option<O> {
        let Some(home) = &mut self.held else {
            debug_assert!(false, "the home is not acquired");
            return None;
        };
        let HomeState { device, lane } = &mut **home;
        Some(work(&mut LaneIo { device, lane, tun: self.tun, udp: self.udp, now: self.now }))
    }

    fn poll(
        &mut self,
        poll: impl FnOnce(&mut LaneIo<'_, A, R, T, U, D>) -> Option<Batch<A>>,
    ) -> Option<Batch<A>> {
        let batch = self.with(poll)??;
        self.worker.polled = self.worker.polled.wrapping_add(self.packets(&batch));
        Some(batch)
    }
}

impl<A, R, T, U, D> CoreIo for SharedIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    type Batch = Batch<A>;

    fn poll_udp(&mut self) -> Option<Batch<A>> {
        self.poll(|io| io.poll_udp())
    }

    fn poll_tun(&mut self) -> Option<Batch<A>> {
        self.poll(|io| io.poll_tun())
    }

    fn packets(&self, batch: &Batch<A>) -> u32 {
        u32::try_from(batch.len()).unwrap_or(u32::MAX)
    }

    fn bytes(&self, batch: &Batch<A>) -> u32 {
        batch.bytes()
    }

    fn polled(&self) -> u32 {
        self.worker.polled
    }

    fn crypt(&mut self, batches: &mut [Batch<A>]) {
        Batch::crypt(batches);
    }

    fn send_tun(&mut self, batch: Batch<A>) {
        self.with(|io| io.send_tun(batch));
    }

    fn send_udp(&mut self, batch: Batch<A>) {
        self.with(|io| io.send_udp(batch));
    }

    fn poll_control(&mut self) -> bool {
        self.with(|io| io.poll_control()).unwrap_or(false)
    }

    fn now(&self) -> u64 {
        self.now.instant.as_nanos()
    }

    fn begin(&mut self, batch: &Batch<A>, direction: Direction) -> Option<Ticket> {
        let peer = batch.peer()?.slot().get();
        self.worker.crew.begin(peer, direction, self.now.instant.as_nanos())
    }

    fn room(&self) -> u32 {
        self.worker.crew.room()
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.worker.crew.is_head(ticket)
    }

    fn pending(&self) -> u32 {
        self.worker.crew.pending()
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch<A>) {
        self.worker.crew.complete(ticket, batch);
    }

    fn drain(&mut self) -> Option<(Direction, Batch<A>)> {
        self.worker.crew.drain()
    }

    fn try_acquire(&mut self) -> bool {
        if self.held.is_some() {
            return true;
        }
        if !self.worker.crew.try_acquire() {
            return false;
        }
        self.held = self.home.place.take();
        match &mut self.held {
            Some(home) => {
                home.lane.change_edge(self.worker.edge);
                true
            }
            // A worker had it when it ended.
            None => {
                self.worker.crew.release();
                false
            }
        }
    }

    fn release(&mut self) {
        let Some(mut home) = self.held.take() else { return };
        let HomeState { device, lane } = &mut *home;
        self.worker.edge = lane.change_edge(Edge::NEW);
        self.worker.left = Left {
            deadline: device.poll_timeout(),
            has_work: device.has_work(),
            wants_readable: lane.wants_readable(),
            wants_writable: lane.wants_writable(),
            fatal: lane.fatal(),
        };
        let is_full = !lane.wants_readable();
        let was_full = self.home.is_full.load(Ordering::Relaxed);
        self.home.is_full.store(is_full, Ordering::Relaxed);
        self.home.put(home);
        self.worker.crew.release();
        if was_full && !is_full {
            self.worker.crew.call_workers();
        }
    }
}
