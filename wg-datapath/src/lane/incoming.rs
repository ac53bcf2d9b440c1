//! Datagrams in: sorted by keypair as they come, and delivered in that order once they were opened.

use alloc::boxed::Box;
use alloc::sync::Arc;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::wire::{MessageType, ParseError, TransportData, message_type};

use super::{COOKIES, COOKIES_BEHIND, LaneIo, OPEN_BATCHES, RECV_SLOTS};
use crate::batch::{InBatch, InSegment};
use crate::device::HANDSHAKE_GROUP;
use crate::drop::DropReason;
use crate::io::{IoError, RecvSlot, TunIo, UdpIo};
use crate::slab::{Slab, SlabClass};

/// What a datagram was sorted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sorted {
    /// Data: it is in a batch.
    Batched,
    /// Anything else: it is still in its slot.
    Handshake,
}

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: Aead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Takes in one call's worth of datagrams and sorts them: data into batches by keypair, the rest to its queue. Tells
    /// whether there was any.
    pub(super) fn receive(&mut self) -> bool {
        self.refill_slots();
        let received = self.udp.recv(&mut self.lane.slots);
        self.lane.cookies = match received {
            // There may be more behind as many as fit, and data among it.
            Ok(RECV_SLOTS..) => COOKIES.min(self.lane.cookies + COOKIES_BEHIND),
            _ => COOKIES,
        };
        let received = match received {
            Ok(received) => received,
            Err(IoError::WouldBlock) => {
                self.lane.udp_drained = true;
                return false;
            }
            // A pending error of an earlier send, or a lack of memory: the next call may do better.
            Err(IoError::Transient(_)) => return false,
            Err(error) => {
                self.lane.fatal = Some(error);
                return false;
            }
        };
        let mut handshakes = [false; RECV_SLOTS];
        let received = received.min(self.lane.slots.len());
        for (at, is_handshake) in handshakes.iter_mut().enumerate().take(received) {
            match self.sort(at) {
                Ok(sorted) => *is_handshake = sorted == Sorted::Handshake,
                Err(reason) => self.device.drops.count(reason),
            }
        }
        self.take_handshakes(handshakes);
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
    fn take_handshakes(&mut self, handshakes: [bool; RECV_SLOTS]) {
        let marked = self.lane.slots.iter().zip(handshakes).filter(|(_, is_handshake)| *is_handshake);
        let mut marked = marked.filter_map(|(slot, _)| Some((slot.slab.get(..slot.len)?, slot.endpoint?)));
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

    fn sort(&mut self, at: usize) -> Result<Sorted, DropReason> {
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
            return Ok(Sorted::Handshake);
        }
        let message = TransportData::parse(datagram).map_err(|_| DropReason::WrongMessageLength)?;
        let (index, counter) = (message.receiver_index(), message.counter());
        let (peer, key) = self.device.begin_in(index, counter, self.now)?;
        // The newest batch of this peer, among the last few, if it is of this keypair: the packets of two sessions of a peer
        // keep their order too (C68).
        let batch = self
            .lane
            .ready_in
            .iter_mut()
            .rev()
            .take(OPEN_BATCHES)
            .find(|batch| batch.peer == Some(peer))
            .filter(|batch| batch.index == index && !batch.segments.is_full());
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
        batch.segments.push(segment).map_err(|_| DropReason::NoBuffer)?;
        Ok(Sorted::Batched)
    }

    /// Commits an opened batch and delivers it, in order.
    pub(super) fn commit(&mut self, mut batch: Box<InBatch<A>>) {
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
