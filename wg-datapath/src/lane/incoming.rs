//! Datagrams in: sorted by keypair as they come, and delivered in that order once they were opened.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;
use wg_proto::wire::{MessageType, ParseError, TransportData, message_type};
use wg_proto::{RecvKey, SessionIndex};

use super::{COOKIES, COOKIES_BEHIND, LaneIo, OPEN_BATCHES, RECV_SLOTS};
use crate::batch::{BATCH_SEGMENTS, InBatch, InSegment, Train};
use crate::batch_aead::BatchAead;
use crate::copies::CopyRoom;
use crate::decap::{BegunIn, Opened};
use crate::device::HANDSHAKE_GROUP;
use crate::drop::DropReason;
use crate::home::HomeId;
use crate::io::{IoError, RecvSlot, TunIo, UdpIo};
use crate::ip::Ecn;
use crate::offload::Offload;
use crate::peer_table::PeerId;
use crate::slab::{Slab, SlabClass, SlabPool};

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Has batches ready, if anything came.
    pub(super) fn fill_ready(&mut self) {
        if !self.lane.ready_in.is_empty() {
            return;
        }
        // Both, so that neither what others forward nor what comes here waits for the end of the other.
        let mut any = self.take_trains();
        if !self.lane.edge.udp_drained && self.lane.fatal.is_none() {
            any |= self.receive();
        }
        self.lane.edge.busy |= any && self.lane.ready_in.is_empty();
    }

    /// Takes in one call's worth of datagrams and sorts them: data into batches by keypair, the rest to its queue. Tells
    /// whether there was any.
    fn receive(&mut self) -> bool {
        self.refill_slots();
        let ready = self.lane.slots.iter().take_while(|slot| !slot.slab.is_empty()).count();
        // Those that are under way elsewhere come back; what has no batch to go to waits in the socket.
        let ready = ready.min(self.lane.spare_in.len());
        if ready == 0 {
            return false;
        }
        self.lane.begin_receive();
        let received = self.receive_into(ready);
        self.lane.end_receive();
        received
    }

    fn receive_into(&mut self, ready: usize) -> bool {
        let received = self.udp.recv(self.lane.slots.get_mut(..ready).unwrap_or_default());
        self.lane.edge.cookies = match received {
            // There may be more behind as many as fit, and data among it.
            Ok(RECV_SLOTS..) => COOKIES.min(self.lane.edge.cookies + COOKIES_BEHIND),
            _ => COOKIES,
        };
        let received = match received {
            Ok(received) => received,
            Err(IoError::WouldBlock) => {
                self.lane.edge.udp_drained = true;
                self.lane.took(None);
                return false;
            }
            // A pending error of an earlier send, or a lack of memory: the next call may do better.
            Err(IoError::Transient(_)) => return false,
            Err(error) => {
                self.lane.fatal = Some(error);
                return false;
            }
        };
        let received = received.min(self.lane.slots.len());
        self.lane.pieces = self.lane.pieces.wrapping_add(u32::try_from(received).unwrap_or(0));
        self.lane.took(Some(received));
        // Readiness is told of by levels: whoever waits costs one call, and not one for each family that is empty.
        self.lane.edge.udp_drained = self.udp.is_drained() && !self.lane.is_joining();
        self.hear_keys();
        self.take_handshakes(received);
        // Out of the lane for the moment.
        let mut slots = core::mem::take(&mut self.lane.slots);
        for slot in slots.iter_mut().take(received) {
            self.lane.received += datagrams(slot).len().max(1) as u64;
            self.sort(slot);
        }
        self.lane.slots = slots;
        received > 0
    }

    /// Puts a slab into every slot whose own went into a batch.
    fn refill_slots(&mut self) {
        for slot in &mut self.lane.slots {
            if slot.slab.is_empty()
                && let Some(slab) = self.lane.slabs.take(SlabClass::Large)
            {
                slot.slab = slab;
            }
            slot.segment_size = 0;
        }
        while self.lane.slots.len() < RECV_SLOTS {
            let Some(slab) = self.lane.slabs.take(SlabClass::Large) else { break };
            self.lane.slots.push(RecvSlot::new(slab));
        }
    }

    /// Hands the handshake messages and cookie replies of one call to the device, in their order.
    ///
    /// Not inlined: packets are sealed and opened from the same caller, and what its frame is larger by, the stack they leave
    /// keys on is deeper by than what is wiped.
    #[inline(never)]
    fn take_handshakes(&mut self, received: usize) {
        if !self.device.is_up() {
            return;
        }
        let slots = self.lane.slots.iter().take(received).filter(|slot| !slot.truncated);
        let datagrams = slots.filter_map(|slot| Some((slot.endpoint?, datagrams(slot))));
        let mut marked = datagrams.flat_map(|(endpoint, datagrams)| {
            datagrams.filter(|datagram| is_handshake(datagram)).map(move |datagram| (datagram, endpoint))
        });
        let mut group = heapless::Vec::<_, HANDSHAKE_GROUP>::new();
        loop {
            group.clear();
            group.extend(marked.by_ref().take(HANDSHAKE_GROUP));
            if group.is_empty() {
                return;
            }
            self.device.take_handshakes(&group, self.now);
        }
    }

    /// Sorts the data of one slot into batches, and counts what is neither that nor a handshake message.
    pub(super) fn sort(&mut self, slot: &mut RecvSlot) {
        let count = datagrams(slot).len().max(1);
        let reason = match slot.endpoint {
            _ if slot.truncated || slot.len > slot.slab.len() => Some(DropReason::Truncated),
            None => Some(DropReason::NoSource),
            Some(_) if !self.device.is_up() => Some(DropReason::DeviceDown),
            Some(_) if slot.len == 0 => Some(DropReason::MessageTooShort),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            self.device.drops.count_many(reason, count as u64);
            return;
        }
        let Some(endpoint) = slot.endpoint else { return };
        let ecn = slot.ecn;
        let (own, splits) = (self.device.peers.home().0, self.lane.is_splitting());
        let forwards = !splits || self.lane.has_joined();
        // The slab goes to the batch of the first datagram. All of a train are of one keypair as a rule; what is not is copied.
        let (mut home, mut elsewhere, mut lends) = (None::<Home>, None, false);
        let mut offset = 0;
        for datagram in datagrams(slot) {
            let start = offset;
            offset += datagram.len();
            let message = match parse(datagram) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(reason) => {
                    self.device.drops.count(reason);
                    continue;
                }
            };
            let (index, counter) = (message.receiver_index(), message.counter());
            let begun = if splits {
                self.device.begin_split_in(index, counter, self.now)
            } else {
                let begun = self.device.begin_in(index, counter, self.now);
                begun.map(|(peer, key)| BegunIn { peer, home: own, keypair: 0, key })
            };
            let is_here = begun.as_ref().is_ok_and(|begun| begun.home == own);
            let mut there = if forwards && !is_here { self.device.elsewhere(index) } else { None };
            if splits && begun.is_err() && there.is_none() {
                there = self.lane.unheard(index);
            }
            let BegunIn { peer, home: there, keypair, key } = match (begun, there) {
                (Ok(begun), None) => begun,
                (_, Some(there)) if start == 0 && is_all_of(slot, index) => {
                    elsewhere = Some(there);
                    break;
                }
                (_, Some(there)) => {
                    self.forward_copy(slot, start..offset, there);
                    continue;
                }
                (Err(reason), None) => {
                    self.device.drops.count(reason);
                    continue;
                }
            };
            let (batch, train, start) = match &home {
                Some(home) if home.open && (home.peer, home.index) == (peer, index) => {
                    (home.batch, home.train, start)
                }
                _ => {
                    let alone = home.is_some();
                    if let Some(home) = &mut home {
                        // What comes behind a packet of the same peer may not be put before it.
                        home.open &= home.peer != peer;
                    }
                    let wanted = if alone { 1 } else { count };
                    let (ready, spare) = (&mut self.lane.ready_in, &mut self.lane.spare_in);
                    let claim = Claim { peer, index, key, home: there, from: own, keypair };
                    let counter = splits.then_some(counter);
                    let (opened, is_new) = open_batch(ready, spare, &claim, counter, wanted).unzip();
                    if splits
                        && is_new == Some(true)
                        && let Some(split) = &self.lane.split
                    {
                        split.takes(there);
                    }
                    let boarded = opened.and_then(|at| {
                        let slab =
                            if alone { copied(&mut self.lane.slabs, datagram)? } else { Slab::default() };
                        let train = ready.get_mut(at)?.board(Train { slab, endpoint, ecn })?;
                        Some((at, train))
                    });
                    let Some((batch, train)) = boarded else {
                        self.device.drops.count(DropReason::NoBuffer);
                        continue;
                    };
                    if alone {
                        (batch, train, 0)
                    } else {
                        home = Some(Home { peer, index, batch, train, open: true });
                        lends = there != own;
                        (batch, train, start)
                    }
                }
            };
            let seated = self
                .lane
                .ready_in
                .get_mut(batch)
                .is_some_and(|batch| batch.seat(train, start, datagram.len(), counter));
            if !seated {
                self.device.drops.count(DropReason::NoBuffer);
            }
        }
        if let Some(home) = elsewhere {
            self.forward(slot, home);
        } else if let Some(Home { batch, train, .. }) = home
            && let Some(train) =
                self.lane.ready_in.get_mut(batch).and_then(|batch| batch.trains.get_mut(usize::from(train)))
        {
            // What is away for a while does not hold a large slab.
            let small = if lends && slot.len <= SlabClass::Small.bytes() {
                self.lane.slabs.take(SlabClass::Small)
            } else {
                None
            };
            train.slab = match small {
                Some(mut small) => {
                    if let (Some(copy), Some(all)) = (small.get_mut(..slot.len), slot.slab.get(..slot.len)) {
                        copy.copy_from_slice(all);
                    }
                    small
                }
                None => core::mem::take(&mut slot.slab),
            };
        }
    }

    /// Commits an opened batch and delivers it, in order.
    pub(super) fn commit(&mut self, mut batch: Box<InBatch<A>>) {
        if let Some(peer) = batch.peer {
            let InBatch { trains, segments, index, .. } = &mut *batch;
            // The train whose endpoint the peer has: those behind an authentic datagram of a train need not move it again.
            let mut followed = None;
            for segment in segments {
                match self.admit(peer, *index, trains, segment, &mut followed) {
                    Ok(len) => segment.packet_len = len,
                    Err(reason) => self.device.drops.count(reason),
                }
            }
            // Out of the lane for the moment, as the coalescer is.
            let mut copy_out = core::mem::take(&mut self.lane.copy_out);
            self.deliver(peer, &batch, copy_out.room());
            self.lane.copy_out = copy_out;
            self.device.touch(peer.slot());
        }
        if batch.from != self.device.peers.home().0
            && let Some(split) = &mut self.lane.split
        {
            split.give_back(batch);
            return;
        }
        batch.recycle(|slab| self.lane.slabs.put(slab));
        self.lane.spare_in.push(batch);
    }

    /// Commits one datagram; returns the length of the packet to deliver, if it has one.
    fn admit(
        &mut self,
        peer: PeerId,
        index: SessionIndex,
        trains: &mut [Train],
        segment: &mut InSegment,
        followed: &mut Option<u16>,
    ) -> Result<Option<usize>, DropReason> {
        if !segment.authentic {
            return Err(DropReason::InvalidTag);
        }
        let train = trains.get_mut(usize::from(segment.train)).ok_or(DropReason::NoBuffer)?;
        if train.ecn == Ecn::Ce.bits() {
            segment.mark_ce(&mut train.slab);
        }
        let content = segment.content(&train.slab);
        let endpoint = (*followed != Some(segment.train)).then_some(&train.endpoint);
        let datagram = Opened { counter: segment.counter, content, endpoint };
        let len = self.device.commit_in(peer, index, &datagram, self.now)?;
        *followed = Some(segment.train);
        Ok(len)
    }

    /// Writes the packets of a batch to the TUN, those of a flow in one frame where that can be, and counts those it took.
    fn deliver<'b>(&mut self, peer: PeerId, batch: &'b InBatch<A>, mut room: CopyRoom<'b>) {
        let offloads = self.tun.offloads();
        // Out of the lane for the moment; always there.
        let mut coalescer = self.lane.coalescer.take();
        let mut plan = coalescer.as_mut().filter(|_| offloads.checksum && batch.len() > 1);
        if let Some(plan) = &mut plan {
            plan.clear(offloads);
        }
        let mut pushed = heapless::Vec::<(&[u8], usize), BATCH_SEGMENTS>::new();
        let (mut packets, mut bytes) = (0, 0);
        let mut delivered = |message_len: usize| {
            packets += 1;
            bytes += message_len as u64;
        };
        for segment in &batch.segments {
            let Some(train) = batch.trains.get(usize::from(segment.train)) else { continue };
            let Some(packet) = segment.packet(&train.slab) else { continue };
            let packet = room.take(packet);
            let message_len = segment.len as usize;
            // There is room for as many packets as a batch has.
            let planned = plan.as_mut().is_some_and(|plan| plan.push(packet, segment.sum));
            if (!planned || pushed.push((packet, message_len)).is_err()) && self.write(packet) {
                delivered(message_len);
            }
        }
        for group in plan.iter().flat_map(|plan| plan.groups()) {
            let packet = |at: usize| pushed.get(at).map_or(&[][..], |(packet, _)| *packet);
            let offload = group.offload();
            let written = if offload == Offload::default() {
                None
            } else {
                self.fill_outbox();
                group.write(packet, &mut self.lane.outbox).filter(|len| {
                    let frame = self.lane.outbox.get(..*len).unwrap_or_default();
                    self.tun.write_frame(frame, offload).is_ok()
                })
            };
            for at in group.packets() {
                let Some((packet, message_len)) = pushed.get(at) else { continue };
                // Where the whole was refused, the parts have another chance, and an error of their own.
                if written.is_some() || self.write(packet) {
                    delivered(*message_len);
                }
            }
        }
        self.device.delivered(peer, packets, bytes);
        self.lane.coalescer = coalescer;
    }

    /// Puts a slab to where frames are put together.
    fn fill_outbox(&mut self) {
        if self.lane.outbox.is_empty()
            && let Some(slab) = self.lane.slabs.take(SlabClass::Large)
        {
            self.lane.outbox = slab;
        }
    }

    /// Writes one packet to the TUN, and tells whether that took it; else it is counted.
    fn write(&mut self, packet: &[u8]) -> bool {
        let Err(error) = self.tun.write(packet) else { return true };
        let reason = match error {
            IoError::WouldBlock => DropReason::TunQueueFull,
            _ => DropReason::TunRefused,
        };
        self.device.drops.count(reason);
        if let IoError::Fatal(_) = error {
            self.lane.fatal = Some(error);
        }
        false
    }
}

/// The batch and train that the slab of a slot will belong to.
struct Home {
    peer: PeerId,
    index: SessionIndex,
    batch: usize,
    train: u16,
    /// More of the train may join it.
    open: bool,
}

/// The datagrams in a slot, in order: a train, or one.
fn datagrams(slot: &RecvSlot) -> impl ExactSizeIterator<Item = &[u8]> {
    let bytes = slot.slab.get(..slot.len).unwrap_or_default();
    let size = if slot.segment_size == 0 { bytes.len() } else { slot.segment_size };
    bytes.chunks(size.max(1))
}

/// The data message that a datagram is; nothing if it is a handshake message.
fn parse(datagram: &[u8]) -> Result<Option<TransportData<'_>>, DropReason> {
    match message_type(datagram) {
        Ok(MessageType::TransportData) => {
            TransportData::parse(datagram).map(Some).map_err(|_| DropReason::WrongMessageLength)
        }
        Ok(_) => Ok(None),
        Err(ParseError::TooShort) => Err(DropReason::MessageTooShort),
        Err(_) => Err(DropReason::UnknownMessageType),
    }
}

/// Tells whether all datagrams in a slot are data of one session.
fn is_all_of(slot: &RecvSlot, index: SessionIndex) -> bool {
    datagrams(slot).all(|datagram| {
        parse(datagram).is_ok_and(|message| message.is_some_and(|data| data.receiver_index() == index))
    })
}

fn is_handshake(datagram: &[u8]) -> bool {
    message_type(datagram).is_ok_and(|kind| kind != MessageType::TransportData)
}

/// A copy of a datagram in a slab of its own: a large one, as those are made already, and strangers can bring this about.
fn copied(slabs: &mut SlabPool, datagram: &[u8]) -> Option<Slab> {
    let mut slab = slabs.take(SlabClass::Large)?;
    // It came out of a slab of this class.
    slab.get_mut(..datagram.len())?.copy_from_slice(datagram);
    Some(slab)
}

/// Finds the batch that datagrams of a keypair join, or begins one; nothing if all are under way.
///
/// It is the newest batch of the peer, among the last few, if it is of this keypair: the packets of two sessions of a peer
/// keep their order too (C68).
///
/// Where counters are split, and `counter` is given, it has no more than other lanes have nothing in between.
fn open_batch<A>(
    ready: &mut VecDeque<Box<InBatch<A>>>,
    spare: &mut Vec<Box<InBatch<A>>>,
    claim: &Claim<'_, A>,
    counter: Option<u64>,
    datagrams: usize,
) -> Option<(usize, bool)> {
    let &Claim { peer, index, key, home, from, keypair } = claim;
    let newest =
        ready.iter().enumerate().rev().take(OPEN_BATCHES).find(|(_, batch)| batch.peer == Some(peer));
    if let Some((at, batch)) = newest
        && batch.index == index
        && batch.has_room(datagrams)
        && counter.is_none_or(|counter| batch.is_followed_by(counter))
    {
        return Some((at, false));
    }
    let mut batch = spare.pop()?;
    (batch.peer, batch.index, batch.key) = (Some(peer), index, Some(Arc::clone(key)));
    (batch.home, batch.from, batch.keypair) = (home, from, keypair);
    ready.push_back(batch);
    Some((ready.len() - 1, true))
}

/// Whose the datagrams of a batch claim to be, and where they go.
struct Claim<'a, A> {
    peer: PeerId,
    index: SessionIndex,
    key: &'a Arc<RecvKey<A>>,
    home: HomeId,
    from: HomeId,
    keypair: u64,
}
