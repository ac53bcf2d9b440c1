//! Storage of peers: by slot for the datapath, by public key for handshakes, by age for listings.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wg_proto::{Control, Keypair, PublicKey, RecvKey, SendKey, Sessions};

use crate::allowed_ips::PeerSlot;
use crate::path_mtu::PathMtu;
use crate::stats::PeerStats;

/// A keypair as the datapath keeps it: the keys behind handles that a batch can hold, all of it on the heap so that
/// an idle peer holds no window.
pub(crate) type SessionKeypair<A> = Box<Keypair<Arc<SendKey<A>>, Arc<RecvKey<A>>>>;

/// What a keypair takes on the heap: itself, with its window, and two keys with their counts.
pub(crate) const fn keypair_bytes<A>() -> usize {
    const WORD: usize = size_of::<usize>();
    size_of::<Keypair<Arc<SendKey<A>>, Arc<RecvKey<A>>>>()
        + (2 * WORD + size_of::<SendKey<A>>()).next_multiple_of(WORD)
        + (2 * WORD + size_of::<RecvKey<A>>()).next_multiple_of(WORD)
}

/// A handle to a peer. It names one peer for ever: a later peer in the same slot has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId {
    slot: PeerSlot,
    generation: u32,
}

impl PeerId {
    pub(crate) const fn slot(self) -> PeerSlot {
        self.slot
    }
}

/// One peer: its three values and its counters.
#[derive(Debug)]
pub(crate) struct Peer<A> {
    pub(crate) id: PeerId,
    sequence: u64,
    pub(crate) control: Control,
    pub(crate) sessions: Sessions<SessionKeypair<A>>,
    pub(crate) stats: PeerStats,
    pub(crate) path_mtu: PathMtu,
    /// Waits in the work queue of the device.
    pub(crate) queued: bool,
    pub(crate) initiation_wanted: bool,
    pub(crate) keepalive_wanted: bool,
    /// Waits for its staged packets to be sent.
    pub(crate) flush_queued: bool,
}

/// All peers.
#[derive(Debug)]
pub(crate) struct PeerTable<A> {
    slots: Vec<Option<Box<Peer<A>>>>,
    generations: Vec<u32>,
    free: Vec<PeerSlot>,
    by_key: BTreeMap<PublicKey, PeerSlot>,
    by_sequence: BTreeMap<u64, PeerSlot>,
    next_sequence: u64,
}

impl<A> Default for PeerTable<A> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            next_sequence: 0,
        }
    }
}

impl<A: 'static> PeerTable<A> {
    /// Adds a peer that is not there yet.
    pub(crate) fn insert(&mut self, control: Control, jitter_seed: u64) -> PeerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            PeerSlot::new(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let id = PeerId { slot, generation: self.generations[slot.index()] };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let replaced = self.by_key.insert(*control.remote_static(), slot);
        debug_assert!(replaced.is_none(), "a key belongs to one peer");
        self.by_sequence.insert(sequence, slot);
        self.slots[slot.index()] = Some(Box::new(Peer {
            id,
            sequence,
            control,
            sessions: Sessions::new(jitter_seed),
            stats: PeerStats::default(),
            path_mtu: PathMtu::default(),
            queued: false,
            initiation_wanted: false,
            keepalive_wanted: false,
            flush_queued: false,
        }));
        id
    }

    /// Removes a peer and returns it, for what it holds to be freed.
    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Box<Peer<A>>> {
        self.get(id)?;
        let peer = self.slots.get_mut(id.slot.index())?.take()?;
        self.by_key.remove(peer.control.remote_static());
        self.by_sequence.remove(&peer.sequence);
        self.generations[id.slot.index()] = id.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(peer)
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer<A>> {
        self.at(id.slot).filter(|peer| peer.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer<A>> {
        self.at_mut(id.slot).filter(|peer| peer.id == id)
    }

    pub(crate) fn at(&self, slot: PeerSlot) -> Option<&Peer<A>> {
        self.slots.get(slot.index())?.as_deref()
    }

    pub(crate) fn at_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer<A>> {
        self.slots.get_mut(slot.index())?.as_deref_mut()
    }

    pub(crate) fn by_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.at(*self.by_key.get(key)?).map(|peer| peer.id)
    }

    /// All peers, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer<A>> {
        self.by_sequence.values().filter_map(|slot| self.at(*slot))
    }

    /// All peers, to be changed, in no order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer<A>> {
        self.slots.iter_mut().flatten().map(|peer| &mut **peer)
    }

    /// The handles of all peers, the oldest first.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.iter().map(|peer| peer.id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The number of slots, used or free.
    pub(crate) const fn slots(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(key: u8) -> Control {
        Control::new(PublicKey::from_bytes([key; 32]), 0)
    }

    #[test]
    fn handle_of_a_removed_peer_names_nobody() {
        let mut table = PeerTable::<()>::default();
        let first = table.insert(control(1), 0);
        assert!(table.remove(first).is_some());
        let second = table.insert(control(2), 0);
        assert_eq!(first.slot(), second.slot(), "the slot is used again");
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert!(table.get(second).is_some());
        assert_eq!(table.by_key(&PublicKey::from_bytes([1; 32])), None);
    }

    #[test]
    fn listing_is_by_age_whatever_the_slot() {
        let mut table = PeerTable::<()>::default();
        let ids: Vec<PeerId> = (1..=3).map(|key| table.insert(control(key), 0)).collect();
        table.remove(ids[0]);
        let newest = table.insert(control(9), 0);
        assert_eq!(table.ids(), [ids[1], ids[2], newest]);
        assert_eq!((table.len(), table.slots()), (3, 3));
    }
}
