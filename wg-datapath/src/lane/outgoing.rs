//! Packets out: from the TUN into the queue of the lane, from there into batches, and from sealed batches to the socket. The
//! order of a peer's packets is kept throughout.

use alloc::boxed::Box;
use core::net::IpAddr;

use rand_core::TryCryptoRng;
use wg_proto::Instant;
use wg_proto::dh::Dh;

use super::{DRAIN, Lane, LaneIo, OUT_BATCHES};
use crate::allowed_ips::PeerSlot;
use crate::batch::OutBatch;
use crate::batch_aead::BatchAead;
use crate::drop::DropReason;
use crate::encap::Begun;
use crate::frame::OutFrame;
use crate::icmp::{self, IcmpError};
use crate::io::{Frame, IoError, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use crate::ip::IpVersion;
use crate::peer_table::Peer;
use crate::queue::{Cause, Loss, Popped};
use crate::segment::Segmenter;
use crate::slab::{SlabClass, SlabPool};
use crate::stats::DropCounters;

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Reads the TUN queue to its end or to what is likely to be it, or until the queue of the lane is full, and tells whether it read anything.
    pub(super) fn drain_tun(&mut self) -> bool {
        let (mut any, mut route) = (false, None);
        for at in 0..DRAIN {
            if self.lane.queue_is_full() || !self.refill_inbox() {
                break;
            }
            let (small, large) = &mut self.lane.inbox;
            let small = if self.lane.expects_large { &mut [][..] } else { &mut small[..] };
            let read = self.tun.read_frame(small, large);
            any |= read.is_ok();
            if at == 1 {
                self.lane.edge.probe.found(read.is_ok());
            }
            match read {
                Ok(frame) => {
                    self.lane.pieces = self.lane.pieces.wrapping_add(1);
                    if let Err(reason) = self.enqueue(frame, &mut route) {
                        self.device.drops.count(reason);
                    }
                    if at == 0 && self.tun.is_told_by_level() && !self.lane.edge.probe.is_due() {
                        self.lane.edge.tun_drained = true;
                        break;
                    }
                }
                Err(IoError::WouldBlock) => {
                    self.lane.edge.tun_drained = true;
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

    /// Routes a frame that was read, and takes it in, or counts the packets it holds. One that is not understood is an error.
    fn enqueue(&mut self, frame: Frame, route: &mut Option<(IpAddr, PeerSlot)>) -> Result<(), DropReason> {
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
        let segmenter = Segmenter::new(bytes, &offload).map_err(|_| DropReason::OutMalformedFrame)?;
        let found = self
            .device
            .route(bytes, route)
            .and_then(|slot| self.device.peers.find(slot).ok_or(DropReason::NoPeerForDestination));
        let slab = core::mem::take(slab);
        let (peer, home) = match found {
            Ok(found) => found,
            Err(reason) => {
                if reason == DropReason::NoPeerForDestination {
                    self.tell(IcmpError::Unreachable, slab.get(..len).unwrap_or_default());
                }
                self.device.drops.count_many(reason, segmenter.count() as u64);
                self.lane.slabs.put(slab);
                return Ok(());
            }
        };
        let frame = OutFrame::new(slab, len, segmenter, peer);
        if home == self.device.peers.home().0 {
            self.admit_frame(frame);
            return Ok(());
        }
        let lent = match &mut self.lane.exchange {
            Some(exchange) => exchange.lend(home, frame),
            None => Err(frame),
        };
        if let Err(frame) = lent {
            self.drop_frame(frame, DropReason::HomeBehind);
        }
        Ok(())
    }

    /// Takes in a frame of a peer whose home is here, wherever it was read, if it can get there.
    pub(super) fn admit_frame(&mut self, frame: OutFrame) {
        let Some(peer) = self.device.peers.get(frame.peer) else {
            return self.drop_frame(frame, DropReason::StagedRemoved);
        };
        let len = frame.segmenter().packet_len(0);
        match Fit::of(peer, frame.bytes(), len, self.device.mtu, self.now.instant) {
            Fit::Fits => {}
            Fit::Nowhere => {
                self.tell(IcmpError::Unreachable, frame.bytes());
            }
            // What may be fragmented on the way goes on.
            Fit::TooBig(mtu) => {
                if self.tell(IcmpError::PacketTooBig { mtu }, frame.bytes()) {
                    return self.drop_frame(frame, DropReason::OutTooBig);
                }
            }
        }
        self.push(frame);
    }

    /// Tells the sender of a packet what becomes of it, if he is to be told. Whether he hears it or not: the packet itself is
    /// counted.
    fn tell(&mut self, error: IcmpError, packet: &[u8]) -> bool {
        let mut out = [0; icmp::MAX_LEN];
        let told = self.lane.icmp.write(error, packet, None, &mut out, self.now.instant);
        if let Some(Err(error @ IoError::Fatal(_))) =
            told.and_then(|len| out.get(..len)).map(|packet| self.tun.write(packet))
        {
            self.lane.fatal = Some(error);
        }
        told.is_some()
    }

    fn drop_frame(&mut self, frame: OutFrame, reason: DropReason) {
        self.device.drops.count_many(reason, frame.remaining() as u64);
        self.lane.slabs.put(frame.into_slab());
    }

    /// Puts a frame into the queue.
    pub(super) fn push(&mut self, frame: OutFrame) {
        let (slot, flow) = (frame.peer.slot(), self.device.flow_hash.flow(frame.bytes()));
        self.lane.queued_large += usize::from(frame.is_large());
        let Lane { queue, slabs, queued_large, .. } = &mut *self.lane;
        queue.push(frame, slot, flow, self.now.instant, &mut |_, loss| {
            count_loss(loss, &mut self.device.drops, slabs, queued_large);
        });
    }

    /// A batch to fill; none while as many as may be are under way.
    fn empty_batch(&mut self) -> Option<Box<OutBatch<A>>> {
        if self.lane.out_under_way >= OUT_BATCHES {
            return None;
        }
        let slab = self.lane.slabs.take(SlabClass::Large)?;
        self.lane.out_under_way += 1;
        let mut batch = self.lane.spare_out.pop().unwrap_or_default();
        batch.slab = slab;
        Some(batch)
    }

    /// The next packets of one peer, as many as it has in its turn and fit.
    pub(super) fn next_batch(&mut self) -> Option<Box<OutBatch<A>>> {
        // Frames of middle size keep many slabs with the batches that are under way: the last frame of this one may need another.
        if self.lane.queue.is_empty() || self.lane.slabs.spare(SlabClass::Large) < 2 {
            return None;
        }
        let mut batch = self.empty_batch()?;
        if self.lane.burst.is_due(self.now.instant) {
            self.look_at_sockets();
        }
        batch.cap = self.lane.burst.bytes(self.device.mtu);
        while let Some(popped) = self.pop_for(&batch) {
            let Popped { mut frame, peer, flow, pushed_at } = popped;
            batch.peer = Some(frame.peer);
            if batch.take(&mut frame, self.device.mtu) == 0 {
                // Not even one packet fits an empty slab.
                self.device.drops.count_many(DropReason::OutTooLong, frame.remaining() as u64);
                self.lane.slabs.put(frame.into_slab());
                continue;
            }
            // Behind nothing else it would be a batch of its own.
            if frame.remaining() > 0 && self.lane.queue.is_empty() {
                batch.take_rest(&mut frame, self.device.mtu);
            }
            let rest = frame.remaining();
            if rest > 0 && !self.put_back(&frame, peer, flow, pushed_at) {
                self.device.drops.count_many(DropReason::NoBuffer, rest as u64);
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

    /// Puts what is left of a frame to the head of its flow, in a slab of its own.
    fn put_back(&mut self, frame: &OutFrame, peer: PeerSlot, flow: u32, pushed_at: Instant) -> bool {
        let Lane { queue, slabs, queued_large, .. } = &mut *self.lane;
        let Some(mut slab) = slabs.take(SlabClass::Large) else { return false };
        let Some(frame) = frame.rest_into(&mut slab) else {
            slabs.put(slab);
            return false;
        };
        match queue.push_front(Popped { frame, peer, flow, pushed_at }) {
            Ok(()) => *queued_large += 1,
            Err(Popped { frame, .. }) => {
                slabs.put(frame.into_slab());
                return false;
            }
        }
        true
    }

    /// The next frame for a batch: that of whoever has its turn, or another of the same peer if it fits.
    fn pop_for(&mut self, batch: &OutBatch<A>) -> Option<Popped<OutFrame>> {
        let Lane { queue, slabs, queued_large, .. } = &mut *self.lane;
        let (now, mtu) = (self.now.instant, self.device.mtu);
        let lost = &mut |_, loss| count_loss(loss, &mut self.device.drops, slabs, queued_large);
        let popped = match batch.peer {
            None => queue.pop(now, lost),
            Some(peer) => {
                let fits = |frame: &OutFrame| frame.peer == peer && batch.fits(frame, mtu);
                queue.pop_of(peer.slot(), now, fits, lost)
            }
        }?;
        *queued_large -= usize::from(popped.frame.is_large());
        Some(popped)
    }

    /// Takes the staged packets of a peer that has a session, before anything newer is read.
    pub(super) fn flush_staged(&mut self) -> Option<Box<OutBatch<A>>> {
        while let Some(slot) = self.device.next_flush() {
            let mut batch = self.empty_batch()?;
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
        let Some(peer) = batch.peer.and_then(|id| self.device.peers.get_active(id)) else {
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
            let mut bytes = 0;
            for segment in taken {
                peer.stats.sent(segment.len as usize);
                bytes += segment.len as usize;
            }
            self.lane.burst.handed(bytes, self.now.instant);
            if self.udp.take_stale_source() {
                peer.sessions.forget_source();
                endpoint.source = None;
            }
            let taken = taken.len();
            batch.sent += taken;
            match status {
                SendStatus::Done => {}
                SendStatus::WouldBlock => {
                    if self.lane.burst.is_due_when_blocked(self.now.instant) {
                        self.look_at_sockets();
                    }
                    return false;
                }
                SendStatus::Dropped(_) => {
                    self.device.drops.count(DropReason::SendRefused);
                    batch.sent += 1;
                }
            }
        }
        true
    }

    /// Takes in what the sockets hold, which bounds the next batches.
    #[cold]
    fn look_at_sockets(&mut self) {
        if let Some(held) = self.udp.unsent() {
            self.lane.burst.look(held, self.device.mtu, self.now.instant);
        }
    }

    pub(super) fn recycle_out(&mut self, mut batch: Box<OutBatch<A>>) {
        batch.recycle(|slab| self.lane.slabs.put(slab));
        self.lane.out_under_way -= 1;
        if self.lane.spare_out.len() < self.lane.spare_out.capacity() {
            self.lane.spare_out.push(batch);
        }
    }
}

/// Whether packets can get to a peer.
#[derive(Clone, Copy, Debug)]
enum Fit {
    Fits,
    /// There is no endpoint to send them to. They wait for one all the same (C49).
    Nowhere,
    /// They are longer than this, which the path passes.
    TooBig(u16),
}

impl Fit {
    fn of<A: 'static>(peer: &Peer<A>, packet: &[u8], len: usize, mtu: usize, now: Instant) -> Self {
        let Some(endpoint) = peer.sessions.endpoint() else { return Self::Nowhere };
        let version =
            if packet.first().is_some_and(|first| first >> 4 == 6) { IpVersion::V6 } else { IpVersion::V4 };
        match peer.path_mtu.limit(endpoint.remote.ip(), version, mtu, now) {
            Some(limit) if len > limit => Self::TooBig(u16::try_from(limit).unwrap_or(u16::MAX)),
            _ => Self::Fits,
        }
    }
}

/// Counts what the queue lost, and takes its slab back.
fn count_loss(
    loss: Loss<OutFrame>,
    drops: &mut DropCounters,
    slabs: &mut SlabPool,
    queued_large: &mut usize,
) {
    let (frame, reason) = match loss {
        Loss::Segment => return drops.count(DropReason::QueueDelay),
        Loss::Frame(frame, Cause::Congestion) => (frame, DropReason::QueueDelay),
        Loss::Frame(frame, Cause::Overflow) => (frame, DropReason::QueueOverflow),
    };
    drops.count_many(reason, frame.remaining() as u64);
    *queued_large -= usize::from(frame.is_large());
    slabs.put(frame.into_slab());
}
