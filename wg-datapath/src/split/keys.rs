//! What the lanes of other homes open a peer's datagrams with.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wg_proto::{RecvKey, SessionIndex};

use crate::allowed_ips::PeerSlot;
use crate::home::HomeId;
use crate::index_table::IndexTable;
use crate::peer_table::PeerId;

/// The keypairs that a peer has at most.
const KEYPAIRS: usize = 3;

/// A session's key to open with.
#[derive(Debug)]
pub(crate) struct SplitKey<A> {
    pub(crate) index: SessionIndex,
    /// Rises with each keypair of the peer.
    pub(crate) keypair: u64,
    pub(crate) key: Arc<RecvKey<A>>,
}

/// All that a peer is received with now. It takes the place of what was told before of the peer in this slot.
#[derive(Debug)]
pub(crate) struct PeerKeys<A> {
    pub(crate) slot: PeerSlot,
    pub(crate) home: HomeId,
    /// Nothing if the home has no peer in the slot.
    pub(crate) peer: Option<PeerId>,
    pub(crate) keys: heapless::Vec<SplitKey<A>, KEYPAIRS>,
}

/// What is received here for other homes.
#[derive(Debug)]
pub(crate) struct ForeignKeys<A> {
    /// By slot; those who have no session are not there.
    peers: Vec<Option<Box<PeerKeys<A>>>>,
    indices: IndexTable,
}

impl<A> Default for ForeignKeys<A> {
    fn default() -> Self {
        Self { peers: Vec::new(), indices: IndexTable::default() }
    }
}

impl<A> ForeignKeys<A> {
    /// What a peer takes: its place, its keys, and twice their places in the table of indices, at most half of which are taken.
    pub(crate) const fn peer_bytes() -> usize {
        2 * size_of::<Option<Box<PeerKeys<A>>>>() + size_of::<PeerKeys<A>>() + KEYPAIRS * 4 * 16
    }

    /// Makes room for peers in so many slots.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if self.peers.len() < slots {
            self.peers.reserve_exact(slots - self.peers.len());
            self.peers.resize_with(slots, || None);
        }
    }

    /// Takes in what a home tells of a peer.
    pub(crate) fn hear(&mut self, told: PeerKeys<A>) {
        let at = told.slot.index();
        self.reserve(at + 1);
        let Some(place) = self.peers.get_mut(at) else { return };
        if told.keys.is_empty() && place.as_ref().is_none_or(|known| known.home != told.home) {
            // The slot is another's by now.
            return;
        }
        for old in place.iter().flat_map(|known| &known.keys) {
            self.indices.free(old.index);
        }
        for new in &told.keys {
            self.indices.insert(new.index, told.slot);
        }
        *place = if told.keys.is_empty() {
            None
        } else if let Some(mut known) = place.take() {
            *known = told;
            Some(known)
        } else {
            Some(Box::new(told))
        };
    }

    /// Finds whose index it is.
    pub(crate) fn lookup(&self, index: SessionIndex) -> Option<(PeerId, HomeId, &SplitKey<A>)> {
        let slot = self.indices.lookup(index)?;
        let known = self.peers.get(slot.index())?.as_ref()?;
        let key = known.keys.iter().find(|key| key.index == index)?;
        Some((known.peer?, known.home, key))
    }

    /// The number of indices that are known.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) const fn len(&self) -> usize {
        self.indices.len()
    }
}
