//! Whose keys the lanes of other homes are to be told of, while counters are split; see `split`.

use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;

use super::Device;
use crate::allowed_ips::PeerSlot;
use crate::split::{ForeignKeys, PeerKeys};

const BITS: usize = 64;

/// Slots of peers whose keys changed since the others were told: a bit each.
#[derive(Debug, Default)]
pub(super) struct Untold {
    slots: Vec<u64>,
    count: usize,
}

impl Untold {
    fn reserve(&mut self, slots: usize) {
        if self.slots.len() * BITS < slots {
            self.slots.resize(slots.div_ceil(BITS), 0);
        }
    }

    fn add(&mut self, slot: PeerSlot) {
        self.reserve(slot.index() + 1);
        let (word, bit) = (&mut self.slots[slot.index() / BITS], 1 << (slot.index() % BITS));
        self.count += usize::from(*word & bit == 0);
        *word |= bit;
    }

    fn take(&mut self) -> Option<PeerSlot> {
        if self.count == 0 {
            return None;
        }
        let at = self.slots.iter().position(|word| *word != 0)?;
        let bit = self.slots[at].trailing_zeros();
        self.slots[at] &= self.slots[at] - 1;
        self.count -= 1;
        Some(PeerSlot::new(u32::try_from(at * BITS).ok()? + bit))
    }
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Has others told of all keys, and of what changes from now on.
    pub(crate) fn begin_telling(&mut self) {
        let mut untold = Untold::default();
        untold.reserve(self.peers.slots());
        self.peers.iter().for_each(|peer| untold.add(peer.id.slot()));
        self.untold = Some(untold);
        self.foreign_keys.reserve(self.peers.slots());
    }

    /// Tells whether a session is at home here whose datagrams come to another lane.
    pub(crate) fn has_stray(&self) -> bool {
        self.indices.has_stray()
    }

    /// Forgets what others told, and tells them nothing more.
    pub(crate) fn end_telling(&mut self) {
        self.untold = None;
        self.foreign_keys = ForeignKeys::default();
    }

    /// Sessions of a peer came or went.
    pub(crate) fn keys_changed(&mut self, slot: PeerSlot) {
        if let Some(untold) = &mut self.untold {
            untold.add(slot);
        }
    }

    /// Tells whether others are to be told something.
    pub(crate) fn has_untold(&self) -> bool {
        self.untold.as_ref().is_some_and(|untold| untold.count > 0)
    }

    /// Returns how many sessions of other homes are received here.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub const fn foreign_sessions(&self) -> usize {
        self.foreign_keys.len()
    }

    /// Takes the next peer whose keys others are to be told of.
    pub(crate) fn next_untold(&mut self) -> Option<PeerSlot> {
        self.untold.as_mut()?.take()
    }

    /// What a peer is received with now.
    pub(crate) fn keys_of(&self, slot: PeerSlot) -> PeerKeys<A> {
        self.peers.keys_of(slot)
    }
}
