//! Where frames of the TUN wait for their turn: the ingress queue of a lane, before frames get counters and are sealed.
//!
//! Deficit round robin over peers, and over the flows of each, in bytes, those first that have just begun to send (FQ-CoDel,
//! RFC 8290): peers share the egress evenly however many flows they have and however large their packets are, and who sends less
//! than his share does not wait behind those who send more. A flow whose frames wait for long signals congestion (CoDel,
//! RFC 8289) by a mark where the inner packet allows one, else by a loss. A frame may be a train of packets: it is marked or loses
//! one of them, never all, if its type can do that.
//!
//! ```text
//! push(frame, peer, flow) --> flow  [##   ]-.
//!                             flow  [#    ]--+-> peer -.          pop, pop_of
//!                             flow  [#####]-'           +-> turns -----------> one batch, of one peer
//!                             flow  [#    ]----> peer -'  <------ push_front: what the batch had no room for
//! ```
//!
//! The bounds are frames and bytes of the whole lane. The caller stops to read the TUN while [`IngressQueue::is_full`], so that the
//! kernel's queue pushes back on the senders. If it goes on, the frame at the head of the longest flow of the peer with
//! most bytes goes. RFC 8290 drops up to 64 at a time there (4.1.3); one here, since it may be 128 packets.
//!
//! Nothing is allocated after [`IngressQueue::new`]. Flows are told apart by a whole hash, not by a bucket of it: see [`FlowHash`].

mod class;
mod codel;
mod discipline;
mod fifo;
mod flow;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use wg_proto::Instant;

use crate::allowed_ips::PeerSlot;

use class::{Classes, NIL, Turns};
use codel::{Codel, Law};

pub(crate) use discipline::LaneQueue;
pub use discipline::{Discipline, UnknownDiscipline};
pub use flow::FlowHash;

/// What can wait in an [`IngressQueue`]: a packet, or a train of packets of one flow.
pub trait Queued {
    /// How much of the bounds, and of a turn, it takes.
    fn bytes(&self) -> usize;

    /// Tells the ends of the flow that there is congestion, if the frame can do that and yet be sent.
    fn signal(&mut self) -> Signal;
}

/// How a frame signals congestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It is marked, and sent.
    Marked,
    /// It has one packet less, and is sent.
    LostSegment,
    /// It is to be dropped.
    Drop,
}

/// What did not get through the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss<T> {
    /// The whole frame.
    Frame(T, Cause),
    /// One packet of a frame that goes on, because of [`Cause::Congestion`].
    Segment,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its flow had waited too long for too long.
    Congestion,
    /// The queue was full, and this was the head of the longest flow, or larger than the queue.
    Overflow,
}

/// The size and the pace of an [`IngressQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How many frames wait at most; 1 to 2^20, others are taken for the nearest of these.
    pub capacity_frames: usize,
    /// How many bytes of frames wait at most.
    pub capacity_bytes: usize,
    /// The largest frame there is: with less room than that the queue counts as full.
    pub frame_bytes: usize,
    /// How many bytes a peer sends in its turn.
    pub peer_quantum: usize,
    /// How many bytes a flow sends in its turn, within that of its peer; and how many may wait behind a frame without it signalling.
    pub flow_quantum: usize,
    /// How long a frame may wait while its flow keeps a queue.
    pub target: Duration,
    /// For how long a flow may be above the target: a round trip of those that are to react. Four seconds at most.
    pub interval: Duration,
}

impl Default for QueueConfig {
    /// 256 frames and 4 MiB; turns of 64 KiB for a peer, which is one batch, and of one packet for a flow.
    ///
    /// The interval is RFC 8289's, as inner flows cross the Internet. The target is 3 of its 5 ms: one flow of a Reno TCP on a round
    /// trip of 20 to 40 ms then has 2 to 5 % less of an egress that is its own (2 ms: 6 to 8 %).
    fn default() -> Self {
        Self {
            capacity_frames: 256,
            capacity_bytes: 4 << 20,
            frame_bytes: 1 << 16,
            peer_quantum: 1 << 16,
            flow_quantum: 1514,
            target: Duration::from_millis(3),
            interval: Duration::from_millis(100),
        }
    }
}

/// A frame out of the queue, and what it takes to put it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popped<T> {
    /// The frame.
    pub frame: T,
    /// Whose it is.
    pub peer: PeerSlot,
    /// Its flow.
    pub flow: u32,
    /// When it was pushed.
    pub pushed_at: Instant,
}

/// The most that ever waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWater {
    /// Frames.
    pub frames: usize,
    /// Bytes.
    pub bytes: usize,
}

/// The frames that wait in a lane for their turn to be sealed.
///
/// # Examples
///
/// ```
/// use wg_datapath::proto::Instant;
/// use wg_datapath::{IngressQueue, PeerSlot, QueueConfig, Queued, Signal};
///
/// struct Packet(&'static [u8]);
///
/// impl Queued for Packet {
///     fn bytes(&self) -> usize {
///         self.0.len()
///     }
///
///     fn signal(&mut self) -> Signal {
///         Signal::Drop
///     }
/// }
///
/// let (now, peer) = (Instant::from_nanos(0), PeerSlot::new(7));
/// let mut queue = IngressQueue::new(QueueConfig::default());
/// for _ in 0..3 {
///     queue.push(Packet(&[0; 1400]), peer, 1, now, &mut |_, _| {});
/// }
/// queue.push(Packet(b"ping"), peer, 2, now, &mut |_, _| {});
///
/// // The bulk flow has begun its turn and ends it; then the other one is new, and before the rest of the bulk.
/// let order = core::iter::from_fn(|| queue.pop(now, &mut |_, _| {})).map(|popped| popped.frame.0.len());
/// assert_eq!(order.collect::<Vec<_>>(), [1400, 1400, 4, 1400]);
/// ```
pub struct IngressQueue<T> {
    /// Those that were ever needed.
    entries: Vec<Entry<T>>,
    /// Entries without a frame, linked by `next`.
    free: u32,
    len: usize,
    bytes: usize,
    high_water: HighWater,
    peers: Classes<Turns>,
    flows: Classes<Flow>,
    turns: Turns,
    law: Law,
    config: QueueConfig,
}

impl<T: Queued> IngressQueue<T> {
    /// An empty queue with all the memory it will ever need.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        let capacity_frames = config.capacity_frames.clamp(1, 1 << 20);
        let config = QueueConfig { capacity_frames, ..config };
        // Four times as many flows as frames, most of them to remember what they did when they last had some.
        let places = (4 * capacity_frames).next_power_of_two();
        let quantum = |bytes: usize| i64::try_from(bytes.max(1)).unwrap_or(i64::MAX);
        Self {
            entries: Vec::with_capacity(capacity_frames),
            free: NIL,
            len: 0,
            bytes: 0,
            high_water: HighWater::default(),
            peers: Classes::new(places, capacity_frames, quantum(config.peer_quantum), Turns::EMPTY),
            flows: Classes::new(places, capacity_frames, quantum(config.flow_quantum), Flow::EMPTY),
            turns: Turns::EMPTY,
            law: Law::new(config.target, config.interval),
            config,
        }
    }

    /// Puts a frame behind those of its flow; the flow is any number that says which frames must keep their order.
    ///
    /// `lost` is told what had to make room, and whose it was.
    pub fn push(
        &mut self,
        frame: T,
        peer: PeerSlot,
        flow: u32,
        now: Instant,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) {
        let bytes = frame.bytes();
        if bytes > self.config.capacity_bytes {
            return lost(peer, Loss::Frame(frame, Cause::Overflow));
        }
        while !self.has_room(bytes) {
            self.evict(lost);
        }
        let id = self.store(frame, bytes, now);
        let flow = self.flow(peer, flow);
        let tail = core::mem::replace(&mut self.grow(flow, bytes).tail, id);
        match self.entries.get_mut(tail as usize) {
            Some(entry) => entry.next = id,
            None => self.flows.at_mut(flow).state.head = id,
        }
    }

    /// Puts a frame, or what is left of it, before all others of its flow: it was popped and could not be sent yet.
    ///
    /// It does not signal again, and its bytes count in the turn in which they are sent.
    ///
    /// # Errors
    ///
    /// The frame, if there is no room, which there is unless another was pushed in between.
    pub fn push_front(&mut self, popped: Popped<T>) -> Result<(), Popped<T>> {
        let bytes = popped.frame.bytes();
        if !self.has_room(bytes) {
            return Err(popped);
        }
        let id = self.store(popped.frame, bytes, popped.pushed_at);
        let flow = self.flow(popped.peer, popped.flow);
        let state = self.grow(flow, bytes);
        let behind = core::mem::replace(&mut state.head, id);
        if behind == NIL {
            state.tail = id;
        }
        let peer = state.peer;
        let entry = &mut self.entries[id as usize];
        (entry.next, entry.is_settled) = (behind, true);
        self.flows.refund(flow, bytes);
        self.peers.refund(peer, bytes);
        Ok(())
    }

    /// The next frame, of whichever peer has its turn.
    ///
    /// `lost` is told what was lost on the way, and whose it was.
    #[inline]
    pub fn pop(&mut self, now: Instant, lost: &mut impl FnMut(PeerSlot, Loss<T>)) -> Option<Popped<T>> {
        loop {
            let peer = self.turn()?;
            if let Some((flow, _)) = self.settle(peer, now, lost) {
                return self.take(flow, Fate::Sent);
            }
        }
    }

    /// The next frame if it is one of this peer, its turn lasts, and `fits` agrees: how a batch is filled.
    ///
    /// A frame that does not fit stays where it is. A peer has its turn as long as no other has frames.
    #[inline]
    pub fn pop_of(
        &mut self,
        peer: PeerSlot,
        now: Instant,
        fits: impl FnOnce(&T) -> bool,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) -> Option<Popped<T>> {
        loop {
            let id = self.turn().filter(|&id| self.peers.at(id).name() == u64::from(peer.get()))?;
            if let Some((flow, entry)) = self.settle(id, now, lost) {
                self.entries[entry as usize].frame.as_ref().filter(|frame| fits(frame))?;
                return self.take(flow, Fate::Sent);
            }
        }
    }

    /// The peer that has its turn.
    #[must_use]
    pub fn next_peer(&mut self) -> Option<PeerSlot> {
        self.turn().map(|id| slot(self.peers.at(id).name()))
    }

    /// How many frames of a peer wait.
    pub(crate) fn len_of(&self, peer: PeerSlot) -> usize {
        self.peers.awake(u64::from(peer.get())).map_or(0, |id| self.peers.at(id).frames as usize)
    }

    /// Takes all frames of a peer out.
    pub fn drop_peer(&mut self, peer: PeerSlot, mut dropped: impl FnMut(T)) {
        let Some(id) = self.peers.awake(u64::from(peer.get())) else { return };
        while self.peers.at(id).frames != 0 {
            let turns = &self.peers.at(id).state;
            let Some(flow) = self.flows.each(turns).find(|&flow| self.flows.at(flow).frames != 0) else {
                return;
            };
            while let Some(popped) = self.take(flow, Fate::Lost) {
                dropped(popped.frame);
            }
        }
    }

    /// Whether one more frame might not fit: the time to stop reading the TUN.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.has_room(self.config.frame_bytes.min(self.config.capacity_bytes))
    }

    /// How many frames wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that ever waited.
    #[must_use]
    pub const fn high_water(&self) -> HighWater {
        self.high_water
    }

    /// The memory of the queue itself, without what its frames own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry<T>>()
            + self.peers.memory_bytes()
            + self.flows.memory_bytes()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.len < self.config.capacity_frames && bytes <= self.config.capacity_bytes - self.bytes
    }

    /// Drops the head of the longest flow of the peer with most.
    #[cold]
    fn evict(&mut self, lost: &mut impl FnMut(PeerSlot, Loss<T>)) {
        let peer = self.peers.each(&self.turns).max_by_key(|&id| self.peers.at(id).size());
        let Some(peer) = peer.map(|id| self.peers.at(id)) else { return };
        let flow = self.flows.each(&peer.state).max_by_key(|&id| self.flows.at(id).size());
        if let Some(popped) = flow.and_then(|flow| self.take(flow, Fate::Lost)) {
            lost(popped.peer, Loss::Frame(popped.frame, Cause::Overflow));
        }
    }

    /// The flow, which takes turns from now on, as its peer does.
    #[inline]
    fn flow(&mut self, peer: PeerSlot, flow: u32) -> u32 {
        let name = u64::from(peer.get()) << 32 | u64::from(flow);
        match self.flows.awake(name) {
            Some(id) => id,
            None => self.wake(peer, name),
        }
    }

    fn wake(&mut self, peer: PeerSlot, name: u64) -> u32 {
        let peer_name = u64::from(peer.get());
        let peer = match self.peers.awake(peer_name) {
            Some(peer) => peer,
            None => self.peers.wake(peer_name, &mut self.turns),
        };
        let flow = self.flows.wake(name, &mut self.peers.at_mut(peer).state);
        self.flows.at_mut(flow).state.peer = peer;
        flow
    }

    /// Puts a frame into an entry of no flow yet.
    fn store(&mut self, frame: T, bytes: usize, pushed_at: Instant) -> u32 {
        let new = Entry { frame: Some(frame), next: NIL, bytes, pushed_at, is_settled: false };
        let id = self.free;
        match self.entries.get_mut(id as usize) {
            Some(entry) => {
                self.free = entry.next;
                *entry = new;
                id
            }
            // There are fewer than there is memory for: what was never needed is not touched.
            None => {
                self.entries.push(new);
                class::number(self.entries.len() - 1)
            }
        }
    }

    /// Counts a frame that is put into a flow.
    #[inline]
    fn grow(&mut self, flow: u32, bytes: usize) -> &mut Flow {
        let flow = self.flows.at_mut(flow);
        flow.frames += 1;
        flow.bytes += bytes;
        let peer = self.peers.at_mut(flow.state.peer);
        peer.frames += 1;
        peer.bytes += bytes;
        self.len += 1;
        self.bytes += bytes;
        self.high_water.frames = self.high_water.frames.max(self.len);
        self.high_water.bytes = self.high_water.bytes.max(self.bytes);
        &mut flow.state
    }

    /// The peer that has its turn; the flows of one that went away with nothing to send do, too.
    #[inline]
    fn turn(&mut self) -> Option<u32> {
        let flows = &mut self.flows;
        self.peers.turn(&mut self.turns, |turns| flows.sleep_all(turns))
    }

    /// The flow of the peer that has its turn, and the frame that is its head after those that signalled by their loss;
    /// none, if these were all.
    #[inline]
    fn settle(
        &mut self,
        peer: u32,
        now: Instant,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) -> Option<(u32, u32)> {
        loop {
            let id = self.flows.turn(&mut self.peers.at_mut(peer).state, |_| ())?;
            let flow = self.flows.at_mut(id);
            let head = flow.state.head;
            let entry = &mut self.entries[head as usize];
            if entry.is_settled {
                return Some((id, head));
            }
            let sojourn = now.as_nanos().saturating_sub(entry.pushed_at.as_nanos());
            let is_last = flow.bytes - entry.bytes <= self.config.flow_quantum;
            entry.is_settled = true;
            if !flow.state.codel.signals(&self.law, now.as_nanos(), sojourn, is_last) {
                return Some((id, head));
            }
            match entry.frame.as_mut().map_or(Signal::Drop, Queued::signal) {
                Signal::Marked => return Some((id, head)),
                Signal::LostSegment => {
                    self.measure(id);
                    lost(slot(self.peers.at(peer).name()), Loss::Segment);
                    return Some((id, head));
                }
                Signal::Drop => {
                    if let Some(popped) = self.take(id, Fate::Lost) {
                        lost(popped.peer, Loss::Frame(popped.frame, Cause::Congestion));
                    }
                }
            }
        }
    }

    /// Counts the bytes of a flow's head anew, which became fewer.
    fn measure(&mut self, flow: u32) {
        let flow = self.flows.at_mut(flow);
        let entry = &mut self.entries[flow.state.head as usize];
        let bytes = entry.frame.as_ref().map_or(0, Queued::bytes).min(entry.bytes);
        let less = core::mem::replace(&mut entry.bytes, bytes) - bytes;
        flow.bytes -= less;
        self.peers.at_mut(flow.state.peer).bytes -= less;
        self.bytes -= less;
    }

    /// Takes the head of a flow out of it, and with its last frame the flow out of the turns if places are few.
    #[inline]
    fn take(&mut self, id: u32, fate: Fate) -> Option<Popped<T>> {
        let flow = self.flows.at_mut(id);
        let head = flow.state.head;
        let entry = self.entries.get_mut(head as usize)?;
        let (frame, pushed_at, bytes) = (entry.frame.take()?, entry.pushed_at, entry.bytes);
        flow.state.head = core::mem::replace(&mut entry.next, self.free);
        self.free = head;
        self.len -= 1;
        self.bytes -= bytes;
        let (peer_id, name) = (flow.state.peer, flow.name());
        let peer = self.peers.at_mut(peer_id);
        for (frames, sum, deficit) in [
            (&mut flow.frames, &mut flow.bytes, &mut flow.deficit),
            (&mut peer.frames, &mut peer.bytes, &mut peer.deficit),
        ] {
            *frames -= 1;
            *sum -= bytes;
            if fate == Fate::Sent {
                *deficit = deficit.saturating_sub_unsigned(bytes as u64);
            }
        }
        if flow.frames == 0 {
            flow.state.tail = NIL;
            let is_last = peer.frames == 0;
            if self.flows.is_tight() {
                self.flows.sleep(&mut peer.state, id);
            }
            if is_last && self.peers.is_tight() {
                self.flows.sleep_all(&mut self.peers.at_mut(peer_id).state);
                self.peers.sleep(&mut self.turns, peer_id);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low half of the name")]
        let flow = name as u32;
        Some(Popped { frame, peer: slot(name >> 32), flow, pushed_at })
    }
}

impl<T> fmt::Debug for IngressQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, bytes, high_water, .. } = self;
        f.debug_struct("IngressQueue")
            .field("len", len)
            .field("bytes", bytes)
            .field("high_water", high_water)
            .finish_non_exhaustive()
    }
}

/// Why a frame leaves its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has its turn, and is charged for.
    Sent,
    Lost,
}

/// A place for a frame.
struct Entry<T> {
    frame: Option<T>,
    /// The next of the flow, or of the free ones.
    next: u32,
    bytes: usize,
    pushed_at: Instant,
    /// Whether it was decided if the frame signals congestion.
    is_settled: bool,
}

/// The frames of a flow, oldest first.
#[derive(Clone, Copy)]
struct Flow {
    /// Which has it in its turns, while it takes any.
    peer: u32,
    head: u32,
    tail: u32,
    codel: Codel,
}

impl Flow {
    const EMPTY: Self = Self { peer: NIL, head: NIL, tail: NIL, codel: Codel::new() };
}

/// The peer of a name.
fn slot(name: u64) -> PeerSlot {
    #[expect(clippy::cast_possible_truncation, reason = "32 bits of a name are a slot")]
    PeerSlot::new(name as u32)
}
