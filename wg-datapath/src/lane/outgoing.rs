//! Packets out: from the TUN into the queue of the lane, from there into batches, and from sealed batches to the socket. The
//! order of a peer's packets is kept throughout.

use alloc::boxed::Box;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;

use super::{DRAIN, LaneIo};
use crate::batch::OutBatch;
use crate::batch_aead::BatchAead;
use crate::drop::DropReason;
use crate::encap::Begun;
use crate::frame::OutFrame;
use crate::io::{Frame, IoError, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use crate::segment::Segmenter;
use crate::slab::SlabClass;

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Reads the TUN queue to its end, or until the queue of the lane is full, and tells whether it read anything.
    pub(super) fn drain_tun(&mut self) -> bool {
        let mut any = false;
        for _ in 0..DRAIN {
            if self.lane.queue_is_full() || !self.refill_inbox() {
                break;
            }
            let (small, large) = &mut self.lane.inbox;
            let small = if self.lane.expects_large { &mut [][..] } else { &mut small[..] };
            let read = self.tun.read_frame(small, large);
            any |= read.is_ok();
            match read {
                Ok(frame) => {
                    if let Err(reason) = self.enqueue(frame) {
                        self.device.drops.count(reason);
                    }
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
            }
        }
        any
    }

    /// Puts slabs to where the next frame is read to.
    fn refill_inbox(&mut self) -> bool {
        let (small, large) = &mut self.lane.inbox;
        for (slab, class) in [(small, SlabClass::Small), (large, SlabClass::Large)] {
            if slab.is_empty() {
                let Some(taken) = self.lane.slabs.take(class) else { return false };
                *slab = taken;
            }
        }
        true
    }

    /// Routes a frame that was read, and takes it in.
    fn enqueue(&mut self, frame: Frame) -> Result<(), DropReason> {
        let (small, large) = &mut self.lane.inbox;
        let Frame { len, offload } = frame;
        if len >= large.len() {
            return Err(DropReason::OutTooLong);
        }
        let is_small = len <= small.len();
        if is_small
            && core::mem::take(&mut self.lane.expects_large)
            && let (Some(small), Some(packet)) = (small.get_mut(..len), large.get(..len))
        {
            small.copy_from_slice(packet);
        }
        self.lane.expects_large = !is_small;
        let slab = if is_small { small } else { large };
        let bytes = slab.get(..len).ok_or(DropReason::OutTooLong)?;
        let slot = self.device.route(bytes)?;
        let peer = self.device.peers.at(slot).map(|peer| peer.id).ok_or(DropReason::NoPeerForDestination)?;
        let segmenter = Segmenter::new(bytes, &offload).map_err(|_| DropReason::OutMalformedFrame)?;
        let frame = OutFrame::new(core::mem::take(slab), len, segmenter, peer);
        self.lane.queued_bytes += frame.held();
        self.lane.queue.push_back(frame);
        Ok(())
    }

    /// The next packets of one peer, as many as there are and fit.
    pub(super) fn next_batch(&mut self) -> Option<Box<OutBatch<A>>> {
        let peer = self.lane.queue.front()?.peer;
        let mut batch = self.lane.spare_out.pop().unwrap_or_default();
        let Some(slab) = self.lane.slabs.take(SlabClass::Large) else {
            self.lane.spare_out.push(batch);
            return None;
        };
        (batch.slab, batch.peer) = (slab, Some(peer));
        let mtu = self.device.mtu;
        while let Some(mut frame) = self.lane.queue.pop_front() {
            let bytes = frame.held();
            if frame.peer != peer || batch.take(&mut frame, mtu) == 0 {
                if batch.is_empty() {
                    // Not even the first packet fits an empty slab.
                    self.lane.queued_bytes -= bytes;
                    self.device.drops.count_many(DropReason::OutTooLong, frame.remaining() as u64);
                    self.lane.slabs.put(frame.into_slab());
                    continue;
                }
                self.lane.queue.push_front(frame);
                break;
            }
            self.lane.queued_bytes -= bytes;
            let rest = frame.remaining();
            if rest > 0 {
                let slab = self.lane.slabs.take(SlabClass::Large);
                match slab.and_then(|slab| frame.rest_into(slab)) {
                    Some(rest) => {
                        self.lane.queued_bytes += rest.held();
                        self.lane.queue.push_front(rest);
                    }
                    None => self.device.drops.count_many(DropReason::NoBuffer, rest as u64),
                }
            }
            batch.keep(frame);
            if rest > 0 {
                break;
            }
        }
        if batch.is_empty() {
            self.recycle_out(batch);
            return None;
        }
        Some(batch)
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
        let failed = batch.drop_failed();
        self.device.drops.count_many(DropReason::SealFailed, failed as u64);
        if self.lane.wants_writable() || !self.push_out(&mut batch) {
            self.lane.blocked.push_back(batch);
        } else {
            self.recycle_out(batch);
        }
    }

    /// Goes on with what the socket did not take, control before data, and tells whether all of it is gone now.
    pub(super) fn resume(&mut self) -> bool {
        if !self.resume_control() {
            return false;
        }
        while let Some(mut batch) = self.lane.blocked.pop_front() {
            if !self.push_out(&mut batch) {
                self.lane.blocked.push_front(batch);
                return false;
            }
            self.recycle_out(batch);
        }
        true
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
        while let Some((segments, tos)) = batch.unsent() {
            let transmit = Transmit { endpoint: &endpoint, tos, buffer: &batch.slab, segments };
            let SendReport { sent, status } = self.udp.send(&transmit);
            let taken = segments.get(..sent).unwrap_or(segments);
            for segment in taken {
                peer.stats.sent(segment.len as usize);
            }
            if self.udp.take_stale_source() {
                peer.sessions.forget_source();
                endpoint.source = None;
            }
            let taken = taken.len();
            batch.sent += taken;
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
        batch.recycle(|slab| self.lane.slabs.put(slab));
        if self.lane.spare_out.len() < self.lane.spare_out.capacity() {
            self.lane.spare_out.push(batch);
        }
    }
}
