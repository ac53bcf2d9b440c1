//! Packets out: from the TUN queue into batches, and from sealed batches to the socket. Order is kept throughout.

use alloc::boxed::Box;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;

use super::{DRAIN, LaneIo, OPEN_BATCHES};
use crate::allowed_ips::PeerSlot;
use crate::batch::OutBatch;
use crate::drop::DropReason;
use crate::encap::Begun;
use crate::io::{IoError, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use crate::slab::SlabClass;

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: Aead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Reads the TUN queue to its end, or until the batches that may be open are full, and tells whether it read anything.
    pub(super) fn drain_tun(&mut self) -> bool {
        let mut last = None;
        let mut any = false;
        for _ in 0..DRAIN {
            let Some(at) = self.open_batch(last) else { break };
            let mtu = self.device.mtu;
            let most = self.read_room();
            let Some(room) = self.lane.ready_out.get_mut(at).and_then(|(_, batch)| batch.room(most)) else {
                break;
            };
            let whole = room.len();
            let read = self.tun.read(room);
            any |= read.is_ok();
            let len = match read {
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
        any
    }

    /// The room a read must have: more than the MTU, so that a packet that fills it is known to be cut, and more than was
    /// usual, as the MTU may just have grown.
    fn read_room(&self) -> usize {
        self.device.mtu.max(1500).saturating_add(1)
    }

    /// The batch to read the next packet into: that of the last one, if it has room and there is a place left for a peer
    /// that has none; else an empty one.
    fn open_batch(&mut self, last: Option<usize>) -> Option<usize> {
        let most = self.read_room();
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
        let owner = self.device.peers.at(slot).map(|peer| peer.id);
        let newest =
            self.lane.ready_out.iter().rposition(|(owner, batch)| *owner == slot && !batch.is_empty());
        let newest = newest.filter(|newest| {
            self.lane.ready_out.get_mut(*newest).is_some_and(|(_, batch)| batch.room(len).is_some())
        });
        let to = match newest {
            Some(newest) => newest,
            None if self.lane.ready_out.get(at).is_some_and(|(_, batch)| batch.is_empty()) => {
                let (_, mut batch) = self.lane.ready_out.remove(at)?;
                batch.peer = owner;
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
                if let Some((_, batch)) = self.lane.ready_out.back_mut() {
                    batch.peer = owner;
                }
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
    pub(super) fn flush_staged(&mut self) -> Option<Box<OutBatch<A>>> {
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
    pub(super) fn transmit(&mut self, mut batch: Box<OutBatch<A>>) {
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

    /// Goes on with what the socket did not take, control before data, and tells whether all of it is gone now.
    pub(super) fn resume(&mut self) -> bool {
        if !self.resume_control() {
            return false;
        }
        let Some(mut batch) = self.lane.blocked.take() else { return true };
        if self.push_out(&mut batch) {
            self.recycle_out(batch);
            true
        } else {
            self.lane.blocked = Some(batch);
            false
        }
    }

    /// Hands the rest of a batch to the socket, and tells whether all of it is done with. It goes to where its peer is now:
    /// much may have happened while the socket pushed back.
    fn push_out(&mut self, batch: &mut OutBatch<A>) -> bool {
        let rest = batch.segments.len().saturating_sub(batch.sent) as u64;
        if !self.device.is_up() {
            self.device.drops.count_many(DropReason::DeviceDown, rest);
            return true;
        }
        let Some(peer) = batch.peer.and_then(|id| self.device.peers.get_mut(id)) else {
            self.device.drops.count_many(DropReason::StagedRemoved, rest);
            return true;
        };
        let Some(mut endpoint) = peer.sessions.endpoint().copied() else {
            self.device.drops.count_many(DropReason::NoEndpoint, rest);
            return true;
        };
        while let Some(segments) = batch.segments.get(batch.sent..).filter(|rest| !rest.is_empty()) {
            let transmit = Transmit { endpoint: &endpoint, tos: 0, buffer: &batch.slab, segments };
            let SendReport { sent, status } = self.udp.send(&transmit);
            let taken = segments.get(..sent).unwrap_or(segments);
            for segment in taken {
                peer.stats.sent(segment.len as usize);
            }
            if self.udp.take_stale_source() {
                peer.sessions.forget_source();
                endpoint.source = None;
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

    pub(super) fn recycle_out(&mut self, mut batch: Box<OutBatch<A>>) {
        self.lane.slabs.put(batch.recycle());
        if self.lane.spare_out.len() < self.lane.spare_out.capacity() {
            self.lane.spare_out.push(batch);
        }
    }
}
