//! A lane: a TUN queue and a pair of sockets, joined to a device and offered to a strategy.
//!
//! ```text
//!   TUN --read to EAGAIN--> route --> queue --> a batch of one peer --begin--> crypt --> UDP
//!   UDP --one recv-------> parse --> one batch per keypair --begin--> ready --> crypt --> commit --> TUN
//!                            `--> handshake messages: queue of the device --> control work --> UDP
//! ```
//!
//! A frame is read to a buffer of its own, packets that come singly to small ones, and waits in the queue of the lane. From
//! there a batch takes what one peer has, as it comes: a read never waits for a batch to fill. Only when the queue is full is
//! the TUN no longer read, so the pressure reaches the sender.
//!
//! After the first packets nothing here allocates: slabs come from a bounded pool and batches are used again.

mod control;
mod exchange;
mod incoming;
mod outgoing;
mod probe;
mod rehome;
mod split;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;
use wg_proto::{Instant, PrivateKey};
use wg_sched::{CoreId, CoreIo, Direction, Member, Plan, Ticket};

use crate::batch::{BATCH_SEGMENTS, Batch, InBatch, OutBatch};
use crate::batch_aead::BatchAead;
use crate::burst::BurstCap;
use crate::coalesce::Coalescer;
use crate::copies::CopyOut;
use crate::device::{ControlDatagram, Device, Now};
use crate::encap::Begun;
use crate::exchange::{Exchange, Room};
use crate::frame::OutFrame;
use crate::icmp::IcmpLimiter;
use crate::io::{IoError, RecvSlot, TunIo, UdpIo};
use crate::queue::{Discipline, LaneQueue, QueueConfig};
use crate::slab::{Slab, SlabClass, SlabPool};
use crate::split::{WAY_LARGE, WAY_SMALL, Ways};
use probe::Probe;
use split::Split;

pub use rehome::{RehomeError, rehome};
pub use split::{begin_split, end_split};

/// Datagrams taken in by one call.
const RECV_SLOTS: usize = 64;
/// Cookies handed out in one piece of control work while the lane keeps up: as many as come in by one call, so that
/// everybody gets one.
const COOKIES: usize = RECV_SLOTS;
/// Cookies for each call that brought as many datagrams as it can: the lane is behind then. A cookie costs several times
/// what it costs to drop a message, and data waits behind a flood in the socket: it is fetched first. Of a flood that
/// leaves room for data, this answers most; of one that does not, whoever has luck, and who asks again may.
const COOKIES_BEHIND: usize = 4;
/// Batches in that are under way at once: one for each slot, and those at work.
const IN_BATCHES: usize = RECV_SLOTS + 16;
/// Slabs that what comes in takes: those to receive into, as many that wait in batches, and those of small batches at work
/// that are not yet enough for a round.
const IN_SLABS: usize = 2 * RECV_SLOTS + 32;
/// Batches that may wait while datagrams of other lanes are taken in: there are as many more than a receive call fills.
const TRAINS: usize = IN_BATCHES - RECV_SLOTS;
/// Batches, newest first, that a datagram may join the last of its peer among.
const OPEN_BATCHES: usize = 8;
/// Frames read in one drain.
const DRAIN: usize = 128;
/// The time between two looks at news of narrow paths. Each looks at all peers, and the news may be forged.
const PATH_NEWS_PAUSE: Duration = Duration::from_millis(20);
/// Frames that wait in the queue of the lane.
const QUEUED_FRAMES: usize = 1024;
/// Those among them that are in large slabs.
const QUEUED_LARGE: usize = 64;
/// Batches out that are under way at once: those at work, or that the socket pushed back.
const OUT_BATCHES: usize = 17;
/// Slabs for packets that come singly: those that wait, those in batches, and the one to read into.
const SMALL_SLABS: usize = QUEUED_FRAMES + OUT_BATCHES * BATCH_SEGMENTS + 1;
/// Slabs for everything else: for what comes in, for frames that wait, for batches on their way out with what they are sealed
/// from and the rest of that, and those to read into and to write from.
const LARGE_SLABS: usize = IN_SLABS + QUEUED_LARGE + 3 * OUT_BATCHES + 2;

/// See [`Lane::traffic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u32,
    /// Frames of the TUN, and datagrams or trains of them.
    pub pieces: u32,
    /// Datagrams that the sockets gave, whatever became of them.
    pub received: u32,
}

/// The buffers of a lane and what is under way in it.
#[derive(Debug)]
pub struct Lane<A> {
    slabs: SlabPool,
    slots: Vec<RecvSlot>,
    /// The slabs that the next frame is read into: a small and a large one.
    inbox: (Slab, Slab),
    /// The slab that frames for the TUN are put together in.
    outbox: Slab,
    coalescer: Option<Box<Coalescer>>,
    copy_out: CopyOut,
    /// The other lanes, if there are any.
    exchange: Option<Box<Exchange>>,
    /// What is needed to split counters, if there are other lanes.
    split: Option<Box<Split<A>>>,
    /// Batches in that have tickets.
    tickets_in: u32,
    /// The cores that may do the crypt phase, if there are others.
    crew: Option<Box<Member<Batch<A>>>>,
    /// The last frame was large, so the next will be.
    expects_large: bool,
    /// Frames that wait.
    queue: LaneQueue<OutFrame>,
    /// How many of them are in large slabs.
    queued_large: usize,
    ready_in: VecDeque<Box<InBatch<A>>>,
    /// Sealed, and not yet taken by the socket; in order.
    blocked: VecDeque<Box<OutBatch<A>>>,
    /// How large a batch out may be.
    burst: BurstCap,
    /// Control datagrams that the socket did not take.
    held: VecDeque<ControlDatagram>,
    spare_in: Vec<Box<InBatch<A>>>,
    spare_out: Vec<Box<OutBatch<A>>>,
    /// Batches out that are under way, at most [`OUT_BATCHES`].
    out_under_way: usize,
    /// Packets that were polled so far; it wraps.
    polled: u32,
    /// Frames that were read, and datagrams or trains of them that were received; it wraps.
    pieces: u32,
    /// Datagrams that came from the sockets.
    received: u64,
    /// Errors to senders on this host.
    icmp: IcmpLimiter,
    /// The next time to hear of narrow paths.
    path_news_at: Instant,
    /// What is known of the queue and the sockets.
    edge: Edge,
    /// The error that ended the lane.
    fatal: Option<IoError>,
}

/// What a lane knows of its TUN queue and its sockets. Where several workers share a lane, each has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// The TUN queue was read to its end since the executor last saw it readable.
    tun_drained: bool,
    udp_drained: bool,
    /// Cookies that may be handed out in the next piece of control work.
    cookies: usize,
    /// Something was taken in of which no batch came: the turn was not idle, and there may be more behind it.
    busy: bool,
    /// Whether to look for the end of the TUN queue.
    probe: Probe,
}

impl Edge {
    pub(crate) const NEW: Self =
        Self { tun_drained: false, udp_drained: false, cookies: 0, busy: false, probe: Probe::NEW };

    /// See [`Lane::readable`].
    pub(crate) const fn readable(&mut self, tun: bool, udp: bool) {
        self.tun_drained &= !tun;
        self.udp_drained &= !udp;
    }
}

impl<A> Default for Lane<A> {
    fn default() -> Self {
        Self::with(SlabPool::new(SMALL_SLABS, LARGE_SLABS), None)
    }
}

impl<A> Lane<A> {
    fn with(mut slabs: SlabPool, exchange: Option<Box<Exchange>>) -> Self {
        // What strangers can make the lane hold is there from the start.
        slabs.make(SlabClass::Large, IN_SLABS);
        Self {
            slabs,
            slots: Vec::with_capacity(RECV_SLOTS),
            inbox: (Slab::default(), Slab::default()),
            outbox: Slab::default(),
            coalescer: Some(Box::default()),
            copy_out: CopyOut::new(),
            exchange,
            split: None,
            tickets_in: 0,
            crew: None,
            expects_large: false,
            queue: queue(Discipline::default()),
            queued_large: 0,
            ready_in: VecDeque::with_capacity(IN_BATCHES),
            blocked: VecDeque::with_capacity(OUT_BATCHES),
            burst: BurstCap::default(),
            held: VecDeque::with_capacity(control::HELD),
            spare_in: (0..IN_BATCHES).map(|_| Box::default()).collect(),
            spare_out: Vec::with_capacity(OUT_BATCHES),
            out_under_way: 0,
            polled: 0,
            pieces: 0,
            received: 0,
            icmp: IcmpLimiter::new(),
            path_news_at: Instant::default(),
            edge: Edge::NEW,
            fatal: None,
        }
    }
}

impl<A> Lane<A> {
    /// Makes a lane with nothing under way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one of several lanes with nothing under way.
    #[must_use]
    pub fn among(exchange: Exchange) -> Self {
        let (small, large) = exchange.max_lent();
        let mut slabs = SlabPool::new(SMALL_SLABS + small, LARGE_SLABS + large);
        slabs.set_home(exchange.home(), exchange.max_borrowed());
        Self::with(slabs, Some(Box::new(exchange)))
    }

    /// Has frames wait in another order. To be said before there are any.
    #[must_use]
    pub fn with_discipline(mut self, discipline: Discipline) -> Self {
        debug_assert!(self.queue.is_empty(), "frames wait");
        self.queue = queue(discipline);
        self
    }

    /// Lets other cores do the crypt phase of what is at home here, and this one that of theirs, as far as the strategy wants it.
    /// The bell of the member wakes the same thread as that of the exchange.
    pub fn join(&mut self, crew: Member<Batch<A>>) {
        self.crew = Some(Box::new(crew));
    }

    /// Lets other lanes receive for what is at home here, and this one for theirs, once counters are split: see [`begin_split`]. To be
    /// called before there is anything under way, of a lane that is [`among`](Self::among) others.
    pub fn join_ways(&mut self, ways: Ways<A>) {
        let others = ways.lanes() - 1;
        self.slabs.enlarge(others * WAY_SMALL, others * WAY_LARGE);
        self.split = Some(Box::new(Split::new(ways)));
    }

    /// Takes up another plan of who helps whom; see [`Member::place`].
    pub fn place(&mut self, plan: &Plan) {
        if let Some(crew) = &mut self.crew {
            crew.place(plan);
        }
    }

    /// Says that the lane has nothing to do and is about to sleep, and tells whether it may: other lanes and cores may have given
    /// it something. From then on they ring its bell when they do, until [`Self::awake`].
    #[must_use]
    pub fn may_sleep(&mut self) -> bool {
        let room = Room { frames: self.wants_readable(), trains: self.has_room_for_trains() };
        self.exchange.as_ref().is_none_or(|exchange| exchange.may_sleep(room))
            && self.split.as_ref().is_none_or(|split| split.may_sleep())
            && self.crew.as_mut().is_none_or(|crew| crew.may_sleep())
    }

    /// When the lane is to take a turn by itself, besides the times of its device.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.split.as_ref()?.deadline()
    }

    /// Says that the lane is awake.
    pub fn awake(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.awake();
        }
        if let Some(crew) = &mut self.crew {
            crew.awake();
        }
    }

    /// Batches that are at other cores, or wait for one that is.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.crew.as_ref().map_or(0, |crew| crew.pending())
    }

    /// Tells whether the lane waits for the socket to become writable.
    #[must_use]
    pub fn wants_writable(&self) -> bool {
        !self.blocked.is_empty() || !self.held.is_empty()
    }

    /// Tells whether the lane has room for what the TUN device has. While it has not, readiness of the TUN says nothing.
    #[must_use]
    pub fn wants_readable(&self) -> bool {
        !self.queue_is_full()
    }

    /// Tells whether there are batches for what others have.
    fn has_room_for_trains(&self) -> bool {
        !self.spare_in.is_empty() && self.ready_in.len() < TRAINS
    }

    /// What was polled so far: packets, and the pieces they came in, each of which holds one packet or many. All of it wraps.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        #[expect(clippy::cast_possible_truncation, reason = "it wraps, as the others do")]
        let received = self.received as u32;
        Traffic { packets: self.polled, pieces: self.pieces, received }
    }

    /// How many datagrams its sockets gave so far, those that were dropped later, or were for another lane, among them.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    fn polled(&mut self, batch: Batch<A>) -> Batch<A> {
        self.polled = self.polled.wrapping_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        batch
    }

    fn queue_is_full(&self) -> bool {
        self.queue.is_full() || self.queued_large >= QUEUED_LARGE
    }

    /// Tells whether the TUN device is to be read again: after the executor saw it readable. A lane that met the end of a
    /// queue does not poll it until told.
    pub const fn readable(&mut self, tun: bool, udp: bool) {
        self.edge.readable(tun, udp);
    }

    /// Works for other edges from now on, and returns what was known of those before.
    pub(crate) const fn change_edge(&mut self, edge: Edge) -> Edge {
        core::mem::replace(&mut self.edge, edge)
    }

    /// Returns the error that ended the lane, if one did: the TUN device or the sockets are gone.
    #[must_use]
    pub const fn fatal(&self) -> Option<IoError> {
        self.fatal
    }

    /// The most memory that the lane takes, in bytes as they are asked for from the allocator: its slabs, which are most of it, the
    /// batches that are under way, the queue, the coalescer, and its part of what joins it to other lanes and cores. Of a slab no packet reached, the system gives none.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        size_of::<Self>()
            + self.slabs.max_memory()
            + self.queue.memory_bytes()
            + IN_BATCHES * (size_of::<InBatch<A>>() + 2 * size_of::<Box<InBatch<A>>>())
            + OUT_BATCHES * (size_of::<OutBatch<A>>() + 2 * size_of::<Box<OutBatch<A>>>())
            + RECV_SLOTS * size_of::<RecvSlot>()
            + control::HELD * size_of::<ControlDatagram>()
            + self.coalescer.as_ref().map_or(0, |coalescer| coalescer.memory_bytes())
            + self.copy_out.memory_bytes()
            + self.exchange.as_ref().map_or(0, |exchange| exchange.memory_bytes())
            + self.split.as_ref().map_or(0, |split| split.max_memory())
            + self.crew.as_ref().map_or(0, |crew| crew.memory_bytes())
    }

    /// Returns the most slabs that were ever out at once.
    #[must_use]
    pub const fn slabs_high_water(&self) -> usize {
        self.slabs.high_water(SlabClass::Large)
    }
}

/// The queue in front of the tunnel, empty.
fn queue(discipline: Discipline) -> LaneQueue<OutFrame> {
    LaneQueue::new(discipline, QueueConfig { capacity_frames: QUEUED_FRAMES, ..QueueConfig::default() })
}

/// A lane at work: its device, its edges and the time, for one turn of a strategy.
pub struct LaneIo<'a, A, R, T, U, D = PrivateKey> {
    /// The device.
    pub device: &'a mut Device<A, R, D>,
    /// The lane.
    pub lane: &'a mut Lane<A>,
    /// The inner side.
    pub tun: &'a mut T,
    /// The outer side.
    pub udp: &'a mut U,
    /// The time of this turn.
    pub now: Now,
}

impl<A, R, T, U, D> core::fmt::Debug for LaneIo<'_, A, R, T, U, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LaneIo").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<A, R, T, U, D> CoreIo for LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    type Batch = Batch<A>;

    fn poll_udp(&mut self) -> Option<Batch<A>> {
        // What is overdue comes first: after a suspend, keys that should be gone must not meet packets that just came.
        while self.device.handle_timeouts(self.now) {}
        if self.lane.is_splitting() {
            return None;
        }
        self.fill_ready();
        let batch = self.lane.ready_in.pop_front()?;
        Some(self.lane.polled(Batch::In(batch)))
    }

    fn poll_tun(&mut self) -> Option<Batch<A>> {
        self.lane.edge.busy |= self.take_from_others() && self.lane.queue.is_empty();
        if !self.lane.edge.tun_drained && self.lane.fatal.is_none() {
            self.lane.edge.busy |= self.drain_tun() && self.lane.queue.is_empty();
            self.give_to_others();
        }
        if self.lane.wants_writable() && !self.resume() {
            return None;
        }
        if let Some(batch) = self.flush_staged() {
            return Some(self.lane.polled(Batch::Out(batch)));
        }
        while let Some(mut batch) = self.next_batch() {
            match self.device.begin_out(&mut batch, self.now) {
                Begun::Ready => return Some(self.lane.polled(Batch::Out(batch))),
                Begun::Kept => {
                    self.lane.edge.busy = true;
                    self.recycle_out(batch);
                }
            }
        }
        None
    }

    fn packets(&self, batch: &Batch<A>) -> u32 {
        u32::try_from(batch.len()).unwrap_or(u32::MAX)
    }

    fn crypt(&mut self, batches: &mut [Batch<A>]) {
        Batch::crypt(batches);
    }

    fn send_tun(&mut self, batch: Batch<A>) {
        self.finish(batch);
    }

    fn send_udp(&mut self, batch: Batch<A>) {
        self.finish(batch);
    }

    fn bytes(&self, batch: &Batch<A>) -> u32 {
        batch.bytes()
    }

    fn polled(&self) -> u32 {
        self.lane.polled
    }

    fn now(&self) -> u64 {
        self.now.instant.as_nanos()
    }

    fn begin(&mut self, batch: &Batch<A>, direction: Direction) -> Option<Ticket> {
        let peer = batch.peer()?.slot().get();
        let ticket = self.lane.crew.as_mut()?.begin(peer, direction, self.now.instant.as_nanos());
        self.lane.tickets_in += u32::from(ticket.is_some() && direction == Direction::In);
        ticket
    }

    fn room(&self) -> u32 {
        self.lane.crew.as_ref().map_or(0, |crew| crew.room())
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.lane.crew.as_ref().is_some_and(|crew| crew.is_head(ticket))
    }

    fn pending(&self) -> u32 {
        self.lane.pending()
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch<A>) -> Result<(), (Ticket, Batch<A>)> {
        match &mut self.lane.crew {
            Some(crew) => crew.push(to, ticket, batch),
            None => Err((ticket, batch)),
        }
    }

    fn pop(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.lane.crew.as_mut()?.pop()
    }

    fn offer(&mut self, ticket: Ticket, batch: Batch<A>) -> Result<(), (Ticket, Batch<A>)> {
        match &mut self.lane.crew {
            Some(crew) => crew.offer(ticket, batch),
            None => Err((ticket, batch)),
        }
    }

    fn reclaim(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.lane.crew.as_mut()?.reclaim()
    }

    fn reclaim_newest(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.lane.crew.as_mut()?.reclaim_newest()
    }

    fn steal(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.lane.crew.as_mut()?.steal()
    }

    fn call(&mut self, helpers: u32) {
        if let Some(crew) = &mut self.lane.crew {
            crew.call(helpers);
        }
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch<A>) {
        match &mut self.lane.crew {
            Some(crew) => crew.complete(ticket, batch),
            // There are no tickets without a crew.
            None => self.finish(batch),
        }
    }

    fn drain(&mut self) -> Option<(Direction, Batch<A>)> {
        let (direction, batch) = self.lane.crew.as_mut()?.drain()?;
        self.lane.tickets_in -= u32::from(direction == Direction::In);
        Some((direction, batch))
    }

    fn poll_split(&mut self) -> Option<Batch<A>> {
        let batch = self.next_split()?;
        Some(self.lane.polled(Batch::In(batch)))
    }

    fn send_home(&mut self, batch: Batch<A>) {
        match batch {
            Batch::In(batch) => self.bring_home(batch),
            Batch::Out(batch) => self.transmit(batch),
        }
    }

    fn merge(&mut self) -> Option<Batch<A>> {
        self.next_merged().map(Batch::In)
    }

    fn poll_control(&mut self) -> bool {
        self.hear_of_paths();
        let mut busy = core::mem::take(&mut self.lane.edge.busy);
        let cookies = core::mem::take(&mut self.lane.edge.cookies);
        for _ in 0..if self.lane.edge.udp_drained { COOKIES } else { cookies } {
            let Some(reply) = self.device.challenge_next(self.now) else { break };
            busy = true;
            if let Some(reply) = reply {
                self.send_control(reply);
            }
        }
        if let Some(made) = self.device.control_work(self.now) {
            busy = true;
            // What may be answered is told of before it leaves.
            self.tell_keys();
            if let Some(datagram) = made {
                self.send_control(datagram);
            }
        }
        self.give_to_others();
        busy
    }
}

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Takes in what the sockets heard of a path that is narrower than what was sent.
    fn hear_of_paths(&mut self) {
        let now = self.now.instant;
        if now < self.lane.path_news_at {
            return;
        }
        if let Some((to, mtu)) = self.udp.take_path_mtu() {
            self.lane.path_news_at = now.saturating_add(PATH_NEWS_PAUSE);
            self.device.path_is_narrow(to, mtu, now);
            // The kernel does not know which of the sockets it is for.
            if let Some(exchange) = &mut self.lane.exchange {
                exchange.tell_of_path(to, mtu);
            }
        }
    }

    /// Does the last phase of a batch; it knows its direction itself.
    fn finish(&mut self, batch: Batch<A>) {
        match batch {
            Batch::In(batch) => self.commit(batch),
            Batch::Out(batch) => self.transmit(batch),
        }
    }
}
