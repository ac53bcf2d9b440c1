//! What the lane does for others, and others for it; see `exchange`.

use core::ops::Range;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;

#[cfg(any(test, feature = "test-util"))]
use super::Lane;
use super::LaneIo;
use crate::batch_aead::BatchAead;
use crate::drop::DropReason;
use crate::exchange::Note;
use crate::home::HomeId;
use crate::io::{RecvSlot, TunIo, UdpIo};
use crate::slab::SlabClass;

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Takes in what other lanes have for this one: frames while there is room for them, everything else always. Tells whether
    /// there was any.
    pub(super) fn take_from_others(&mut self) -> bool {
        // Out of the lane for the moment, as it fills it.
        let Some(mut exchange) = self.lane.exchange.take() else { return false };
        let mut any = false;
        while let Some(note) = exchange.next_note() {
            match note {
                Note::Slab(slab) => self.lane.slabs.put(slab),
                Note::NarrowPath(to, mtu) => self.device.path_is_narrow(to, mtu, self.now.instant),
                Note::Handover(handover) => {
                    any = true;
                    self.device.take_handover(handover, self.now);
                }
            }
        }
        if self.lane.wants_readable() {
            any |= exchange.take_frames(|frame| {
                self.admit_frame(frame);
                self.lane.wants_readable()
            });
        }
        self.lane.exchange = Some(exchange);
        any
    }

    /// Takes in datagrams that came to other lanes for peers whose home is here now, while there are batches for them. Tells whether
    /// there were any.
    pub(super) fn take_trains(&mut self) -> bool {
        let mut any = false;
        while self.lane.has_room_for_trains()
            && let Some(mut train) = self.lane.exchange.as_mut().and_then(|exchange| exchange.next_train())
        {
            any = true;
            self.sort(&mut train);
            // Where nothing of it went to a batch.
            self.lane.slabs.put(train.slab);
        }
        any
    }

    /// Takes all that is in a slot to the home of its peer.
    #[cold]
    #[inline(never)]
    pub(super) fn forward(&mut self, slot: &mut RecvSlot, home: HomeId) {
        if slot.len <= SlabClass::Small.bytes() {
            return self.forward_copy(slot, 0..slot.len, home);
        }
        let slab = core::mem::take(&mut slot.slab);
        self.lend_train(RecvSlot { slab, ..*slot }, home);
    }

    /// Takes a copy of a part of a slot there, which does not hold a large slab for the time it is away.
    #[cold]
    #[inline(never)]
    pub(super) fn forward_copy(&mut self, slot: &RecvSlot, part: Range<usize>, home: HomeId) {
        let len = part.len();
        let class = if len <= SlabClass::Small.bytes() { SlabClass::Small } else { SlabClass::Large };
        let mut slab = self.lane.slabs.take(class).unwrap_or_default();
        if let (Some(copy), Some(part)) = (slab.get_mut(..len), slot.slab.get(part)) {
            copy.copy_from_slice(part);
        }
        self.lend_train(RecvSlot { slab, len, ..*slot }, home);
    }

    fn lend_train(&mut self, train: RecvSlot, home: HomeId) {
        let lent = match &mut self.lane.exchange {
            Some(exchange) if train.len <= train.slab.len() => exchange.lend_train(home, train),
            _ => Err(train),
        };
        if let Err(train) = lent {
            let count = train.len.div_ceil(train.segment_size.clamp(1, train.len.max(1)));
            let count = if train.segment_size == 0 { 1 } else { count };
            self.device.drops.count_many(DropReason::HomeBehind, count as u64);
            self.lane.slabs.put(train.slab);
        }
    }

    /// Gives others what is theirs.
    pub(super) fn give_to_others(&mut self) {
        let Some(exchange) = &mut self.lane.exchange else { return };
        while let Some(slab) = self.lane.slabs.take_stray() {
            exchange.send_home(slab);
        }
        while let Some(handover) = self.device.next_handover() {
            exchange.hand_over(handover);
        }
        exchange.publish();
        self.tell_keys();
    }
}

#[cfg(any(test, feature = "test-util"))]
impl<A> Lane<A> {
    /// Returns how many slabs are out, small and large ones: those that are read and received into among them.
    #[must_use]
    pub const fn slabs_out(&self) -> (usize, usize) {
        (self.slabs.in_use(SlabClass::Small), self.slabs.in_use(SlabClass::Large))
    }

    /// Returns how many slabs are with other lanes.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.exchange.as_ref().map_or(0, |exchange| exchange.lent())
    }
}
