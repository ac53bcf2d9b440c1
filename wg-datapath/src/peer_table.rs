//! Storage of peers: by slot for the datapath, by public key for handshakes, by age for listings.
//!
//! Where several devices share the work, each peer is at home in one of them. All tables hold all peers, in the same slots,
//! as they were added and removed in the same order; but only the home's has more of a peer than its key. To the others it
//! is foreign: `at` and `get` do not find it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use wg_proto::{Control, Keypair, PublicKey, RecvKey, SendKey, Sessions};

use crate::allowed_ips::PeerSlot;
use crate::home::HomeId;
use crate::path_mtu::PathMtu;
use crate::split::{PeerKeys, SplitKey};
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

    /// A number that no other peer has, dense in its lower half.
    pub(crate) const fn number(self) -> u64 {
        (self.generation as u64) << 32 | self.slot.get() as u64
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
    /// It is among those that are active.
    active: bool,
}

/// A peer whose home is another device.
#[derive(Debug)]
struct ForeignPeer {
    id: PeerId,
    sequence: u64,
    key: PublicKey,
    home: HomeId,
}

/// What is in a slot.
#[derive(Debug)]
enum Place<A> {
    Free,
    Local(Box<Peer<A>>),
    Foreign(Box<ForeignPeer>),
}

/// All peers.
#[derive(Debug)]
pub(crate) struct PeerTable<A> {
    slots: Vec<Place<A>>,
    generations: Vec<u32>,
    free: Vec<PeerSlot>,
    /// The peers that data came from or went to since they were last listed. There is room for all.
    active: Vec<PeerSlot>,
    by_key: BTreeMap<PublicKey, PeerSlot>,
    by_sequence: BTreeMap<u64, PeerSlot>,
    next_sequence: u64,
    /// Which home this is.
    home: HomeId,
    /// How many peers each home has.
    homes: Vec<usize>,
}

impl<A> Default for PeerTable<A> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            active: Vec::new(),
            by_key: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            next_sequence: 0,
            home: HomeId::default(),
            homes: vec![0],
        }
    }
}

impl<A: 'static> PeerTable<A> {
    /// Makes this one of the tables of `homes` devices, that of `home`. There are no peers yet.
    pub(crate) fn set_home(&mut self, home: HomeId, homes: usize) {
        debug_assert!(self.by_key.is_empty(), "peers have their home already");
        self.home = home;
        self.homes = vec![0; homes.max(home.index() + 1)];
    }

    /// Which home this is, and of how many.
    pub(crate) const fn home(&self) -> (HomeId, usize) {
        (self.home, self.homes.len())
    }

    /// Where the next peer will be at home: with those who have the fewest peers. All tables say the same.
    pub(crate) fn next_home(&self) -> HomeId {
        let fewest = self.homes.iter().enumerate().min_by_key(|(_, peers)| **peers);
        fewest.map_or(self.home, |(home, _)| HomeId::from_index(home))
    }

    /// Adds a peer that is not there yet, whose home is here.
    pub(crate) fn insert(&mut self, control: Control, jitter_seed: u64) -> PeerId {
        let (id, sequence) = self.enter(*control.remote_static(), self.home);
        self.slots[id.slot.index()] = Place::Local(Box::new(Peer {
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
            active: false,
        }));
        id
    }

    /// Adds a peer that is not there yet, whose home is another.
    pub(crate) fn insert_foreign(&mut self, key: PublicKey, home: HomeId) -> PeerId {
        let (id, sequence) = self.enter(key, home);
        self.slots[id.slot.index()] = Place::Foreign(Box::new(ForeignPeer { id, sequence, key, home }));
        id
    }

    /// Finds a slot for a new peer and enters it everywhere else.
    fn enter(&mut self, key: PublicKey, home: HomeId) -> (PeerId, u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Place::Free);
            self.generations.push(0);
            self.active.reserve(self.slots.len() - self.active.len());
            PeerSlot::new(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let replaced = self.by_key.insert(key, slot);
        debug_assert!(replaced.is_none(), "a key belongs to one peer");
        self.by_sequence.insert(sequence, slot);
        if let Some(peers) = self.homes.get_mut(home.index()) {
            *peers += 1;
        }
        (PeerId { slot, generation: self.generations[slot.index()] }, sequence)
    }

    /// Gives a peer another home than this one, and returns what was here of it.
    pub(crate) fn send_away(&mut self, id: PeerId, home: HomeId) -> Option<Box<Peer<A>>> {
        let (_, old) = self.find(id.slot).filter(|(found, _)| *found == id)?;
        let (key, sequence) = match self.slots.get(id.slot.index())? {
            Place::Local(peer) => (*peer.control.remote_static(), peer.sequence),
            Place::Foreign(peer) => (peer.key, peer.sequence),
            Place::Free => return None,
        };
        self.count_move(old, home);
        let place = Place::Foreign(Box::new(ForeignPeer { id, sequence, key, home }));
        match core::mem::replace(&mut self.slots[id.slot.index()], place) {
            Place::Local(mut peer) => {
                self.forget_active(&mut peer);
                Some(peer)
            }
            Place::Free | Place::Foreign(_) => None,
        }
    }

    /// Makes this the home of a peer, with what was at its old one.
    pub(crate) fn take_in(&mut self, peer: Box<Peer<A>>) {
        let id = peer.id;
        if let Some((_, old)) = self.find(id.slot).filter(|(found, _)| *found == id) {
            self.count_move(old, self.home);
            self.slots[id.slot.index()] = Place::Local(peer);
        }
    }

    fn count_move(&mut self, from: HomeId, to: HomeId) {
        self.homes[from.index()] -= 1;
        self.homes[to.index()] += 1;
    }

    /// Removes a peer, with all that it holds.
    pub(crate) fn remove(&mut self, id: PeerId) {
        if self.take_out(id) {
            self.generations[id.slot.index()] = id.generation.wrapping_add(1);
        }
    }

    /// Takes back the addition of the newest peer, which nobody has heard of: all is as if it had never been.
    pub(crate) fn undo(&mut self, id: PeerId) {
        if self.take_out(id) {
            self.next_sequence -= 1;
        }
    }

    fn take_out(&mut self, id: PeerId) -> bool {
        let Some((_, home)) = self.find(id.slot).filter(|(found, _)| *found == id) else { return false };
        let mut place = core::mem::replace(&mut self.slots[id.slot.index()], Place::Free);
        if let Place::Local(peer) = &mut place {
            self.forget_active(peer);
        }
        let (key, sequence) = match &place {
            Place::Local(peer) => (*peer.control.remote_static(), peer.sequence),
            Place::Foreign(peer) => (peer.key, peer.sequence),
            Place::Free => return false,
        };
        self.by_key.remove(&key);
        self.by_sequence.remove(&sequence);
        if let Some(peers) = self.homes.get_mut(home.index()) {
            *peers -= 1;
        }
        self.free.push(id.slot);
        true
    }

    /// The peer in a slot, and its home.
    pub(crate) fn find(&self, slot: PeerSlot) -> Option<(PeerId, HomeId)> {
        match self.slots.get(slot.index())? {
            Place::Free => None,
            Place::Local(peer) => Some((peer.id, self.home)),
            Place::Foreign(peer) => Some((peer.id, peer.home)),
        }
    }

    /// What the peer in a slot is received with, for the lanes of other homes; nothing if its home is not here.
    pub(crate) fn keys_of(&self, slot: PeerSlot) -> PeerKeys<A> {
        let mut told = PeerKeys { slot, home: self.home, peer: None, keys: heapless::Vec::new() };
        if let Some(peer) = self.at(slot) {
            told.peer = Some(peer.id);
            for keypair in peer.sessions.local_indices().filter_map(|index| peer.sessions.keypair(index)) {
                let (index, keypair, key) =
                    (keypair.local_index(), keypair.derived().as_nanos(), Arc::clone(keypair.recv_key()));
                // There is room for all that a peer has.
                let _ = told.keys.push(SplitKey { index, keypair, key });
            }
        }
        told
    }

    /// Tells whether there is this peer, here or elsewhere.
    pub(crate) fn contains(&self, id: PeerId) -> bool {
        self.find(id.slot).is_some_and(|(found, _)| found == id)
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer<A>> {
        self.at(id.slot).filter(|peer| peer.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer<A>> {
        self.at_mut(id.slot).filter(|peer| peer.id == id)
    }

    /// The same of one that data came from or goes to.
    pub(crate) fn get_active(&mut self, id: PeerId) -> Option<&mut Peer<A>> {
        let Some(Place::Local(peer)) = self.slots.get_mut(id.slot.index()) else { return None };
        if peer.id != id {
            return None;
        }
        if !peer.active {
            peer.active = true;
            self.active.push(id.slot);
        }
        Some(peer)
    }

    /// Tells of each peer that was active since the last call.
    pub(crate) fn take_active(&mut self, mut each: impl FnMut(&Peer<A>)) {
        for slot in self.active.drain(..) {
            if let Some(Place::Local(peer)) = self.slots.get_mut(slot.index()) {
                peer.active = false;
                each(peer);
            }
        }
    }

    fn forget_active(&mut self, peer: &mut Peer<A>) {
        if core::mem::take(&mut peer.active) {
            self.active.retain(|slot| *slot != peer.id.slot);
        }
    }

    pub(crate) fn at(&self, slot: PeerSlot) -> Option<&Peer<A>> {
        match self.slots.get(slot.index())? {
            Place::Local(peer) => Some(peer),
            Place::Free | Place::Foreign(_) => None,
        }
    }

    pub(crate) fn at_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer<A>> {
        match self.slots.get_mut(slot.index())? {
            Place::Local(peer) => Some(peer),
            Place::Free | Place::Foreign(_) => None,
        }
    }

    /// The peer that has this key, here or elsewhere.
    pub(crate) fn by_key(&self, key: &PublicKey) -> Option<(PeerId, HomeId)> {
        self.find(*self.by_key.get(key)?)
    }

    /// The handles of all peers, here or elsewhere, the oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PeerId, HomeId)> {
        self.by_sequence.values().filter_map(|slot| self.find(*slot))
    }

    /// The peers whose home is here, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer<A>> {
        self.by_sequence.values().filter_map(|slot| self.at(*slot))
    }

    /// The peers whose home is here, to be changed, in no order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer<A>> {
        self.slots.iter_mut().filter_map(|place| match place {
            Place::Local(peer) => Some(&mut **peer),
            Place::Free | Place::Foreign(_) => None,
        })
    }

    /// The handles of the peers whose home is here, the oldest first.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.iter().map(|peer| peer.id).collect()
    }

    /// The number of peers, here and elsewhere.
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
        table.remove(first);
        let second = table.insert(control(2), 0);
        assert_eq!(first.slot(), second.slot(), "the slot is used again");
        table.remove(first);
        assert!(table.get(first).is_none() && table.get(second).is_some());
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

    #[test]
    fn active_peers_are_told_of_once_and_those_that_are_gone_not_at_all() {
        let mut table = PeerTable::<()>::default();
        table.set_home(HomeId::default(), 2);
        let ids: Vec<PeerId> = (1..=5).map(|key| table.insert(control(key), 0)).collect();
        let told = |table: &mut PeerTable<()>| {
            let mut told = Vec::new();
            table.take_active(|peer| told.push(peer.id));
            told
        };
        assert_eq!(told(&mut table), []);
        for at in [3, 1, 3, 0, 1, 4] {
            assert!(table.get_active(ids[at]).is_some_and(|peer| peer.id == ids[at]));
        }
        let room = table.active.capacity();
        assert!(room >= 5);
        // One is removed, and another has its slot; one goes to another home and comes back.
        table.remove(ids[3]);
        assert!(table.get_active(ids[3]).is_none());
        let other = table.insert(control(6), 0);
        assert_eq!(other.slot(), ids[3].slot());
        let peer = table.send_away(ids[1], HomeId::from_index(1)).unwrap();
        assert!(table.get_active(ids[1]).is_none());
        table.take_in(peer);
        assert_eq!(told(&mut table), [ids[0], ids[4]]);
        assert_eq!(told(&mut table), []);
        for id in [ids[0], ids[1], ids[2], other, ids[4]] {
            table.get_active(id);
        }
        assert_eq!(table.active.capacity(), room, "there was room for all");
        assert_eq!(told(&mut table), [ids[0], ids[1], ids[2], other, ids[4]]);
    }

    /// The tables of as many homes, after the same operations: add the peer of a key, or remove it.
    fn tables(homes: usize, operations: &[u8]) -> Vec<PeerTable<()>> {
        let homes = (0..homes).map(HomeId::from_index).map(|home| {
            let mut table = PeerTable::default();
            table.set_home(home, homes);
            for key in operations {
                match table.by_key(&PublicKey::from_bytes([*key; 32])) {
                    Some((id, _)) => table.remove(id),
                    None if table.next_home() == home => {
                        table.insert(control(*key), 0);
                    }
                    None => {
                        table.insert_foreign(PublicKey::from_bytes([*key; 32]), table.next_home());
                    }
                }
            }
            table
        });
        homes.collect()
    }

    #[test]
    fn tables_agree_on_slots_and_homes_and_each_peer_is_in_one() {
        let tables = tables(3, &[1, 2, 3, 4, 5, 6, 7, 2, 5, 8, 9, 9, 2, 1, 10, 11, 12]);
        let all: Vec<_> = tables[0].all().collect();
        assert_eq!(all.len(), 9);
        for (home, table) in tables.iter().enumerate() {
            assert_eq!(table.all().collect::<Vec<_>>(), all);
            let here: Vec<_> = all.iter().filter(|(_, at)| at.index() == home).map(|(id, _)| *id).collect();
            assert_eq!(table.ids(), here);
            assert!(all.iter().all(|(id, at)| table.get(*id).is_some() == (at.index() == home)));
            assert!(all.iter().all(|(id, _)| table.contains(*id)));
            assert_eq!(here.len(), 3, "they are spread evenly");
        }
    }

    #[test]
    fn what_is_undone_leaves_the_tables_alike() {
        let mut tables = tables(2, &[1, 2, 3, 1]);
        let id = tables[0].insert(control(9), 0);
        tables[0].undo(id);
        assert!(!tables[0].contains(id));
        let ids = tables
            .iter_mut()
            .map(|table| table.insert_foreign(PublicKey::from_bytes([4; 32]), HomeId::from_index(1)));
        let ids: Vec<_> = ids.collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(tables[0].all().collect::<Vec<_>>(), tables[1].all().collect::<Vec<_>>());
    }
}
