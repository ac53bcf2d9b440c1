//! A lane: a TUN queue and a pair of sockets, joined to a device and offered to a strategy.
//!
//! ```text
//!   TUN --read to EAGAIN--> route --> one batch per peer --begin--> ready --> crypt --> UDP
//!   UDP --one recv-------> parse --> one batch per keypair --begin--> ready --> crypt --> commit --> TUN
//!                            `--> handshake messages: queue of the device --> control work --> UDP
//! ```
//!
//! Packets that come singly are grouped by peer as they are read: a packet is read to where it would stand in the batch of
//! the packet before it, and copied only if it turns out to belong to another. A read never waits for a batch to fill.
//! While the socket pushes back, nothing is read from the TUN queue, so the pressure reaches the sender.
//!
//! After the first packets nothing here allocates: slabs come from a bounded pool and batches are used again.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::wire::{MessageType, ParseError, TransportData, message_type};
use wg_sched::CoreIo;

use crate::allowed_ips::PeerSlot;
use crate::batch::{BATCH_SEGMENTS, Batch, InBatch, InSegment, OutBatch};
use crate::device::{ControlDatagram, Device, Now};
use crate::drop::DropReason;
use crate::encap::Begun;
use crate::io::{IoError, RecvSlot, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use crate::slab::{Slab, SlabClass, SlabPool};

/// Datagrams taken in by one call.
const RECV_SLOTS: usize = BATCH_SEGMENTS;
/// Peers that one drain of the TUN queue collects batches for, before it sends them on.
const OPEN_BATCHES: usize = 8;
/// Packets read in one drain.
const DRAIN: usize = 2 * BATCH_SEGMENTS;
/// Slabs of a lane: one for each slot, as many in batches on their way in, and those of the batches on their way out.
const LARGE_SLABS: usize = 2 * RECV_SLOTS + 2 * OPEN_BATCHES;

/// The buffers of a lane and what is under way in it.
#[derive(Debug)]
pub struct Lane<A> {
    slabs: SlabPool,
    slots: Vec<RecvSlot>,
    ready_in: VecDeque<Box<InBatch<A>>>,
    ready_out: VecDeque<(PeerSlot, Box<OutBatch<A>>)>,
    /// Sealed, and not yet taken by the socket.
    blocked: Option<Box<OutBatch<A>>>,
    spare_in: Vec<Box<InBatch<A>>>,
    #[expect(clippy::vec_box, reason = "boxes are moved as batches; making new ones is what this avoids")]
    spare_out: Vec<Box<OutBatch<A>>>,
    /// The TUN queue was read to its end since the executor last saw it readable.
    tun_drained: bool,
    udp_drained: bool,
    /// The error that ended the lane.
    fatal: Option<IoError>,
}

impl<A> Default for Lane<A> {
    fn default() -> Self {
        Self {
            slabs: SlabPool::new(0, LARGE_SLABS),
            slots: Vec::with_capacity(RECV_SLOTS),
            ready_in: VecDeque::with_capacity(RECV_SLOTS),
            ready_out: VecDeque::with_capacity(OPEN_BATCHES),
            blocked: None,
            spare_in: Vec::with_capacity(RECV_SLOTS),
            spare_out: Vec::with_capacity(OPEN_BATCHES),
            tun_drained: false,
            udp_drained: false,
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

    /// Tells whether the lane waits for the socket to become writable.
    #[must_use]
    pub const fn wants_writable(&self) -> bool {
        self.blocked.is_some()
    }

    /// Tells whether the TUN device is to be read again: after the executor saw it readable. A lane that met the end of a
    /// queue does not poll it until told.
    pub const fn readable(&mut self, tun: bool, udp: bool) {
        self.tun_drained &= !tun;
        self.udp_drained &= !udp;
    }

    /// Returns the error that ended the lane, if one did: the TUN device or the sockets are gone.
    #[must_use]
    pub const fn fatal(&self) -> Option<IoError> {
        self.fatal
    }

    /// Returns the most slabs that were ever out at once.
    #[must_use]
    pub const fn slabs_high_water(&self) -> usize {
        self.slabs.high_water(SlabClass::Large)
    }
}

/// A lane at work: its device, its edges and the time, for one turn of a strategy.
pub struct LaneIo<'a, A, R, T, U> {
    /// The device.
    pub device: &'a mut Device<A, R>,
    /// The lane.
    pub lane: &'a mut Lane<A>,
    /// The inner side.
    pub tun: &'a mut T,
    /// The outer side.
    pub udp: &'a mut U,
    /// The time of this turn.
    pub now: Now,
}

impl<A, R, T, U> core::fmt::Debug for LaneIo<'_, A, R, T, U> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LaneIo").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<A, R, T, U> CoreIo for LaneIo<'_, A, R, T, U>
where
    A: Aead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
{
    type Batch = Batch<A>;

    fn poll_udp(&mut self) -> Option<Batch<A>> {
        if self.lane.ready_in.is_empty() && !self.lane.udp_drained && self.lane.fatal.is_none() {
            self.receive();
        }
        self.lane.ready_in.pop_front().map(Batch::In)
    }

    fn poll_tun(&mut self) -> Option<Batch<A>> {
        if self.lane.blocked.is_some() && !self.resume() {
            return None;
        }
        if let Some(batch) = self.flush_staged() {
            return Some(Batch::Out(batch));
        }
        if self.lane.ready_out.is_empty() && !self.lane.tun_drained && self.lane.fatal.is_none() {
            self.drain_tun();
        }
        while let Some((slot, mut batch)) = self.lane.ready_out.pop_front() {
            match self.device.begin_out(&mut batch, slot, self.now) {
                Begun::Ready => return Some(Batch::Out(batch)),
                Begun::Kept => self.recycle_out(batch),
            }
        }
        None
    }

    fn crypt(&mut self, batch: &mut Batch<A>) {
        batch.crypt();
    }

    fn send_tun(&mut self, batch: Batch<A>) {
        self.finish(batch);
    }

    fn send_udp(&mut self, batch: Batch<A>) {
        self.finish(batch);
    }

    fn poll_control(&mut self) -> bool {
        let (any, datagram) = self.device.control_work(self.now);
        if let Some(datagram) = datagram {
            self.send_control(&datagram);
        }
        any
    }
}

// --- packets out ---

impl<A, R, T, U> LaneIo<'_, A, R, T, U>
where
    A: Aead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
{
    /// Does the last phase of a batch; it knows its direction itself.
    fn finish(&mut self, batch: Batch<A>) {
        match batch {
            Batch::In(batch) => self.commit(batch),
            Batch::Out(batch) => self.transmit(batch),
        }
    }

    /// Reads the TUN queue to its end, or until the batches that may be open are full.
    fn drain_tun(&mut self) {
        let mut last = None;
        for _ in 0..DRAIN {
            let Some(at) = self.open_batch(last) else { break };
            let mtu = self.device.mtu;
            // Room for more than the MTU, as it may just have grown.
            let most = mtu.max(1500);
            let Some(room) = self.lane.ready_out.get_mut(at).and_then(|(_, batch)| batch.room(most)) else {
                break;
            };
            let whole = room.len();
            let len = match self.tun.read(room) {
                Ok(len) if len < whole => len,
                // It filled the buffer to the last byte, so there was more of it.
                Ok(_) => {
                    self.device.drops.count(DropReason::OutTooLong);
                    continue;
                }
                Err(IoError::WouldBlock) => {
                    self.lane.tun_drained = true;
                    break;
                }
                Err(IoError::Transient(_)) => break,
                Err(error) => {
                    self.lane.fatal = Some(error);
                    break;
                }
            };
            let packet = room.get(..len).unwrap_or_default();
            match self.device.route(packet) {
                Ok(slot) => last = self.place(at, slot, len, mtu),
                Err(reason) => self.device.drops.count(reason),
            }
        }
        self.drop_empty_batches();
    }

    /// The batch to read the next packet into: that of the last one, if it has room and there is a place left for a peer
    /// that has none; else an empty one.
    fn open_batch(&mut self, last: Option<usize>) -> Option<usize> {
        let most = self.device.mtu.max(1500);
        let place_left = self.lane.ready_out.len() < OPEN_BATCHES;
        if let Some(at) = last
            && place_left
            && self.lane.ready_out.get_mut(at).is_some_and(|(_, batch)| batch.room(most).is_some())
        {
            return Some(at);
        }
        if let Some(at) = self.lane.ready_out.iter().position(|(_, batch)| batch.is_empty()) {
            return Some(at);
        }
        if place_left { self.add_batch(PeerSlot::new(0)) } else { None }
    }

    /// Opens a batch behind the others.
    fn add_batch(&mut self, slot: PeerSlot) -> Option<usize> {
        let mut batch = self.lane.spare_out.pop().unwrap_or_default();
        let Some(slab) = self.lane.slabs.take(SlabClass::Large) else {
            self.lane.spare_out.push(batch);
            return None;
        };
        batch.slab = slab;
        self.lane.ready_out.push_back((slot, batch));
        Some(self.lane.ready_out.len() - 1)
    }

    /// Takes in a packet that was read into the room of the batch at `at`: where it stands, or by a copy into the batch of
    /// its peer. Returns the batch it went to.
    ///
    /// Only the newest batch of a peer takes packets, and batches stand in the order of their first packets, so that the
    /// packets of a peer stay in order.
    fn place(&mut self, at: usize, slot: PeerSlot, len: usize, mtu: usize) -> Option<usize> {
        let newest =
            self.lane.ready_out.iter().rposition(|(owner, batch)| *owner == slot && !batch.is_empty());
        let newest = newest.filter(|newest| {
            self.lane.ready_out.get_mut(*newest).is_some_and(|(_, batch)| batch.room(len).is_some())
        });
        let to = match newest {
            Some(newest) => newest,
            None if self.lane.ready_out.get(at).is_some_and(|(_, batch)| batch.is_empty()) => {
                let (_, mut batch) = self.lane.ready_out.remove(at)?;
                if !batch.push_in_place(len, mtu) {
                    self.device.drops.count(DropReason::OutTooLong);
                }
                self.lane.ready_out.push_back((slot, batch));
                return Some(self.lane.ready_out.len() - 1);
            }
            None => {
                let Some(to) = self.add_batch(slot) else {
                    self.device.drops.count(DropReason::NoBuffer);
                    return Some(at);
                };
                to
            }
        };
        if to == at {
            let placed =
                self.lane.ready_out.get_mut(at).is_some_and(|(_, batch)| batch.push_in_place(len, mtu));
            if !placed {
                self.device.drops.count(DropReason::OutTooLong);
            }
        } else {
            self.copy_packet(at, to, len, mtu);
        }
        Some(to)
    }

    fn copy_packet(&mut self, from: usize, to: usize, len: usize, mtu: usize) {
        // Two batches of one queue: the later is split off for the moment.
        let (low, high) = (from.min(to), from.max(to));
        let (first, second) = self.lane.ready_out.make_contiguous().split_at_mut(high);
        let (Some((_, low_batch)), Some((_, high_batch))) = (first.get_mut(low), second.first_mut()) else {
            return;
        };
        let (source, target) = if from < to { (low_batch, high_batch) } else { (high_batch, low_batch) };
        let packet = source.room(len).and_then(|room| room.get(..len)).unwrap_or_default();
        if !target.push(packet, mtu) {
            self.device.drops.count(DropReason::OutTooLong);
        }
    }

    fn drop_empty_batches(&mut self) {
        // Once around, so that the order is kept.
        for _ in 0..self.lane.ready_out.len() {
            let Some((slot, batch)) = self.lane.ready_out.pop_front() else { break };
            if batch.is_empty() {
                self.recycle_out(batch);
            } else {
                self.lane.ready_out.push_back((slot, batch));
            }
        }
    }

    /// Takes the staged packets of a peer that has a session, before anything newer is read.
    fn flush_staged(&mut self) -> Option<Box<OutBatch<A>>> {
        while let Some(slot) = self.device.next_flush() {
            let mut batch = self.lane.spare_out.pop().unwrap_or_default();
            let Some(slab) = self.lane.slabs.take(SlabClass::Large) else {
                self.lane.spare_out.push(batch);
                return None;
            };
            batch.slab = slab;
            match self.device.begin_flush(&mut batch, slot, self.now) {
                Begun::Ready => {
                    if self.device.staged.len(slot) == 0 {
                        self.device.flush_done();
                    }
                    return Some(batch);
                }
                Begun::Kept => {
                    self.device.flush_done();
                    self.recycle_out(batch);
                }
            }
        }
        None
    }

    /// Sends a sealed batch, as far as the socket takes it.
    fn transmit(&mut self, mut batch: Box<OutBatch<A>>) {
        if batch.failed > 0 {
            self.device.drops.count_many(DropReason::SealFailed, batch.failed as u64);
            let sealed = batch.segments.len() - batch.failed;
            batch.segments.truncate(sealed);
            batch.failed = 0;
        }
        if self.push_out(&mut batch) {
            self.recycle_out(batch);
        } else {
            self.lane.blocked = Some(batch);
        }
    }

    /// Goes on with the batch that the socket did not take, and tells whether it is gone now.
    fn resume(&mut self) -> bool {
        let Some(mut batch) = self.lane.blocked.take() else { return true };
        if self.push_out(&mut batch) {
            self.recycle_out(batch);
            true
        } else {
            self.lane.blocked = Some(batch);
            false
        }
    }

    /// Hands the rest of a batch to the socket, and tells whether all of it is done with.
    fn push_out(&mut self, batch: &mut OutBatch<A>) -> bool {
        let Some(mut endpoint) = batch.endpoint else {
            self.device.drops.count_many(DropReason::NoEndpoint, batch.segments.len() as u64);
            return true;
        };
        while let Some(segments) = batch.segments.get(batch.sent..).filter(|rest| !rest.is_empty()) {
            let transmit = Transmit { endpoint: &endpoint, tos: 0, buffer: &batch.slab, segments };
            let SendReport { sent, status } = self.udp.send(&transmit);
            let taken = segments.get(..sent).unwrap_or(segments);
            if let Some(peer) = batch.peer.and_then(|id| self.device.peers.get_mut(id)) {
                for segment in taken {
                    peer.stats.sent(segment.len as usize);
                }
                if self.udp.take_stale_source() {
                    peer.sessions.forget_source();
                    endpoint.source = None;
                }
            }
            batch.sent += taken.len();
            match status {
                SendStatus::Done => {}
                SendStatus::WouldBlock => return false,
                SendStatus::Dropped(_) => {
                    self.device.drops.count(DropReason::SendRefused);
                    batch.sent += 1;
                }
            }
        }
        true
    }

    fn recycle_out(&mut self, mut batch: Box<OutBatch<A>>) {
        self.lane.slabs.put(batch.recycle());
        if self.lane.spare_out.len() < self.lane.spare_out.capacity() {
            self.lane.spare_out.push(batch);
        }
    }

    fn send_control(&mut self, datagram: &ControlDatagram) {
        let segments = [Segment { offset: 0, len: u32::try_from(datagram.bytes.len()).unwrap_or_default() }];
        let transmit = Transmit {
            endpoint: &datagram.endpoint,
            tos: datagram.tos,
            buffer: &datagram.bytes,
            segments: &segments,
        };
        let report = self.udp.send(&transmit);
        if self.udp.take_stale_source()
            && let Some(peer) = datagram.peer.and_then(|id| self.device.peers.get_mut(id))
        {
            peer.sessions.forget_source();
        }
        match report {
            SendReport { sent: 1, .. } => self.device.control_sent(datagram),
            SendReport { status: SendStatus::WouldBlock, .. } => {
                self.device.drops.count(DropReason::SendQueueFull);
            }
            SendReport { .. } => self.device.drops.count(DropReason::SendRefused),
        }
    }
}

// --- datagrams in ---

impl<A, R, T, U> LaneIo<'_, A, R, T, U>
where
    A: Aead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
{
    /// Takes in one call's worth of datagrams and sorts them: data into batches by keypair, the rest to its queue.
    fn receive(&mut self) {
        self.refill_slots();
        let received = match self.udp.recv(&mut self.lane.slots) {
            Ok(received) => received,
            Err(IoError::WouldBlock) => {
                self.lane.udp_drained = true;
                return;
            }
            // A pending error of an earlier send, or a lack of memory: the next call may do better.
            Err(IoError::Transient(_)) => return,
            Err(error) => {
                self.lane.fatal = Some(error);
                return;
            }
        };
        for at in 0..received.min(self.lane.slots.len()) {
            if let Err(reason) = self.sort(at) {
                self.device.drops.count(reason);
            }
        }
    }

    /// Puts a slab into every slot whose own went into a batch.
    fn refill_slots(&mut self) {
        for slot in &mut self.lane.slots {
            if slot.slab.is_empty()
                && let Some(slab) = self.lane.slabs.take(SlabClass::Large)
            {
                slot.slab = slab;
            }
        }
        while self.lane.slots.len() < RECV_SLOTS {
            let Some(slab) = self.lane.slabs.take(SlabClass::Large) else { break };
            self.lane.slots.push(RecvSlot { slab, len: 0, truncated: false, endpoint: None, ecn: 0 });
        }
    }

    fn sort(&mut self, at: usize) -> Result<(), DropReason> {
        let slot = self.lane.slots.get_mut(at).ok_or(DropReason::NoBuffer)?;
        if slot.truncated {
            return Err(DropReason::Truncated);
        }
        let endpoint = slot.endpoint.ok_or(DropReason::NoSource)?;
        if !self.device.is_up() {
            return Err(DropReason::DeviceDown);
        }
        let datagram = slot.slab.get(..slot.len).ok_or(DropReason::Truncated)?;
        let kind = message_type(datagram).map_err(|error| match error {
            ParseError::TooShort => DropReason::MessageTooShort,
            _ => DropReason::UnknownMessageType,
        })?;
        if kind != MessageType::TransportData {
            return self.device.enqueue_handshake(datagram, endpoint);
        }
        let message = TransportData::parse(datagram).map_err(|_| DropReason::WrongMessageLength)?;
        let (index, counter) = (message.receiver_index(), message.counter());
        let (peer, key) = self.device.begin_in(index, counter, self.now)?;
        // The newest batch of this keypair, among the last few.
        let batch = self
            .lane
            .ready_in
            .iter_mut()
            .rev()
            .take(OPEN_BATCHES)
            .find(|batch| batch.index == index)
            .filter(|batch| !batch.segments.is_full());
        let batch = match batch {
            Some(batch) => batch,
            None => {
                let mut batch = self.lane.spare_in.pop().unwrap_or_default();
                (batch.peer, batch.index, batch.key) = (Some(peer), index, Some(Arc::clone(key)));
                self.lane.ready_in.push_back(batch);
                self.lane.ready_in.back_mut().ok_or(DropReason::NoBuffer)?
            }
        };
        let len = slot.len;
        let slab: Slab = core::mem::take(&mut slot.slab);
        let segment = InSegment { slab, len, counter, endpoint, authentic: false };
        batch.segments.push(segment).map_err(|_| DropReason::NoBuffer)
    }

    /// Commits an opened batch and delivers it, in order.
    fn commit(&mut self, mut batch: Box<InBatch<A>>) {
        if let Some(peer) = batch.peer {
            for segment in &batch.segments {
                match self.device.commit_in(peer, batch.index, segment, self.now) {
                    Ok(None) => {}
                    Ok(Some(range)) => {
                        let packet = segment.slab.get(range).unwrap_or_default();
                        match self.tun.write(packet) {
                            Ok(()) => self.device.delivered(peer, segment.len),
                            Err(IoError::WouldBlock) => self.device.drops.count(DropReason::TunQueueFull),
                            Err(IoError::Transient(_)) => self.device.drops.count(DropReason::TunRefused),
                            Err(error) => {
                                self.device.drops.count(DropReason::TunRefused);
                                self.lane.fatal = Some(error);
                            }
                        }
                    }
                    Err(reason) => self.device.drops.count(reason),
                }
            }
            self.device.touch(peer.slot());
        }
        (batch.peer, batch.key) = (None, None);
        while let Some(segment) = batch.segments.pop() {
            self.lane.slabs.put(segment.slab);
        }
        if self.lane.spare_in.len() < self.lane.spare_in.capacity() {
            self.lane.spare_in.push(batch);
        }
    }
}
