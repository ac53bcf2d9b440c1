//! From the receiver index of a message to the peer it belongs to.
//!
//! Indices are drawn from all 32 bits, at random, and are unique among the live handshakes and keypairs of the device; they
//! carry nothing about the peer (C41, C42). Being random already, an index is its own hash: open addressing with
//! linear probing, and deletion that closes the gap, so that no tombstones pile up. At most four belong to a peer (C43).
//! Where there are several devices, an index is drawn again until its datagrams come to this one. Which that is must hang
//! on all its bits and a secret, so that nobody learns more from it than that two indices have the same home.

use alloc::vec;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::SessionIndex;

use crate::allowed_ips::PeerSlot;
use crate::home::{HomeId, IndexFilter};

/// The least number of places; always a power of two.
const MIN_PLACES: usize = 16;

/// Draws before the entropy source is taken to be broken; of one that is not, that many for each home miss one of e^64 times.
const MAX_DRAWS: usize = 64;
const MAX_FILTERED_DRAWS: usize = MAX_DRAWS * HomeId::MOST;

/// No index could be drawn: the entropy source failed, or gave nothing but what was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIndex;

impl core::fmt::Display for NoIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the entropy source gives no fresh index")
    }
}

impl core::error::Error for NoIndex {}

/// The table of live indices.
#[derive(Debug)]
pub struct IndexTable {
    places: Vec<Option<(SessionIndex, PeerSlot)>>,
    len: usize,
    filter: IndexFilter,
    /// Draws before the source is given up.
    max_draws: usize,
}

impl Default for IndexTable {
    fn default() -> Self {
        Self { places: vec![None; MIN_PLACES], len: 0, filter: IndexFilter::ALL, max_draws: MAX_DRAWS }
    }
}

impl IndexTable {
    /// Makes room for `peers` peers, so that no insertion for them allocates.
    pub fn reserve(&mut self, peers: usize) {
        self.grow_to(peers.saturating_mul(8).next_power_of_two());
    }

    /// Tells whether there is an index whose datagrams come elsewhere.
    pub(crate) fn has_stray(&self) -> bool {
        self.places.iter().flatten().any(|(index, _)| !self.filter.accepts(*index))
    }

    /// Draws only what `accepts` says yes to, from now on: the datagrams of other indices come elsewhere. It is a pure
    /// function that says yes to no less than one index of 256.
    pub fn set_filter(&mut self, accepts: impl Fn(SessionIndex) -> bool + Send + 'static) {
        self.filter = IndexFilter::new(accepts);
        self.max_draws = MAX_FILTERED_DRAWS;
    }

    /// Draws a fresh index for a peer.
    ///
    /// # Errors
    ///
    /// [`NoIndex`] if the entropy source fails or only repeats itself; nothing was inserted.
    pub fn allocate<R: TryCryptoRng + ?Sized>(
        &mut self,
        peer: PeerSlot,
        rng: &mut R,
    ) -> Result<SessionIndex, NoIndex> {
        if self.len.saturating_mul(2) >= self.places.len() {
            self.grow_to(self.places.len().saturating_mul(2));
        }
        // A few million of 2^32 are taken at most, so that a good source is asked twice once in a lifetime.
        for _ in 0..self.max_draws {
            let index = SessionIndex::new(rng.try_next_u32().map_err(|_| NoIndex)?);
            if !self.filter.accepts(index) {
                continue;
            }
            let place = self.find(index);
            if self.places[place].is_none() {
                self.places[place] = Some((index, peer));
                self.len += 1;
                return Ok(index);
            }
        }
        Err(NoIndex)
    }

    /// Tells whether the datagrams of an index come to this device.
    pub(crate) fn accepts(&self, index: SessionIndex) -> bool {
        self.filter.accepts(index)
    }

    /// Enters an index that another device drew, or one that is there already.
    pub(crate) fn insert(&mut self, index: SessionIndex, peer: PeerSlot) {
        if self.len.saturating_mul(2) >= self.places.len() {
            self.grow_to(self.places.len().saturating_mul(2));
        }
        let place = self.find(index);
        self.len += usize::from(self.places[place].is_none());
        self.places[place] = Some((index, peer));
    }

    /// Returns whose index this is.
    #[must_use]
    pub fn lookup(&self, index: SessionIndex) -> Option<PeerSlot> {
        self.places[self.find(index)].map(|(_, peer)| peer)
    }

    /// Frees an index; one that is not there is no error.
    pub fn free(&mut self, index: SessionIndex) {
        let mut gap = self.find(index);
        if self.places[gap].take().is_none() {
            return;
        }
        self.len -= 1;
        // Whatever was pushed past the gap moves back into it.
        let mut next = self.after(gap);
        while let Some((moved, _)) = self.places[next] {
            if self.distance(self.home(moved), next) >= self.distance(gap, next) {
                self.places[gap] = self.places[next].take();
                gap = next;
            }
            next = self.after(next);
        }
    }

    /// Returns the number of live indices.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place that holds the index, or the free one where it would go.
    fn find(&self, index: SessionIndex) -> usize {
        let mut place = self.home(index);
        while self.places[place].is_some_and(|(taken, _)| taken != index) {
            place = self.after(place);
        }
        place
    }

    fn home(&self, index: SessionIndex) -> usize {
        index.get() as usize & (self.places.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// Steps from one place forward to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.places.len() - 1)
    }

    fn grow_to(&mut self, places: usize) {
        if places <= self.places.len() {
            return;
        }
        let old = core::mem::replace(&mut self.places, vec![None; places]);
        for (index, peer) in old.into_iter().flatten() {
            let place = self.find(index);
            self.places[place] = Some((index, peer));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashMap;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Infallible, SeedableRng, TryRng};

    use super::*;

    /// Gives the numbers it was given.
    struct Numbers<'a>(&'a [u32]);

    impl TryRng for Numbers<'_> {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            let (first, rest) = self.0.split_first().expect("enough numbers");
            self.0 = rest;
            Ok(*first)
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("indices are 32 bits")
        }
        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            unreachable!("indices are drawn as numbers")
        }
    }

    impl TryCryptoRng for Numbers<'_> {}

    #[test]
    fn a_taken_index_is_drawn_again() {
        // C42
        let mut table = IndexTable::default();
        let mut rng = Numbers(&[7, 7, 7, 0, 0, u32::MAX]);
        let mut draw = |peer| table.allocate(PeerSlot::new(peer), &mut rng).unwrap().get();
        assert_eq!([draw(1), draw(2), draw(3)], [7, 0, u32::MAX]);
        assert_eq!(table.lookup(SessionIndex::new(0)), Some(PeerSlot::new(2)));
    }

    #[test]
    fn a_source_that_only_repeats_itself_is_given_up() {
        let mut table = IndexTable::default();
        let stuck = [7; MAX_DRAWS + 1];
        let mut rng = Numbers(&stuck);
        assert_eq!(table.allocate(PeerSlot::new(1), &mut rng), Ok(SessionIndex::new(7)));
        assert_eq!(table.allocate(PeerSlot::new(2), &mut rng), Err(NoIndex));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_index_whose_datagrams_come_elsewhere_is_drawn_again() {
        let mut table = IndexTable::default();
        table.set_filter(|index| index.get() % 3 == 1);
        let mut rng = Numbers(&[6, 5, 7, 7, 8, 9, 10]);
        let mut draw = || table.allocate(PeerSlot::new(1), &mut rng).unwrap().get();
        assert_eq!([draw(), draw()], [7, 10]);

        let mut table = IndexTable::default();
        table.set_filter(|_| false);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(table.allocate(PeerSlot::new(1), &mut rng), Err(NoIndex));
    }

    #[test]
    fn indices_use_all_bits_evenly() {
        // C42: chi-square over each byte of 65,536 draws; 255 degrees of freedom, 400 is far beyond chance.
        let mut table = IndexTable::default();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut counts = [[0_u32; 256]; 4];
        for _ in 0..65_536 {
            let index = table.allocate(PeerSlot::new(1), &mut rng).unwrap();
            for (count, byte) in counts.iter_mut().zip(index.to_le_bytes()) {
                count[usize::from(byte)] += 1;
            }
        }
        for count in counts {
            let chi: f64 = count.iter().map(|n| (f64::from(*n) - 256.0).powi(2) / 256.0).sum();
            assert!(chi < 400.0, "{chi}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(ops in proptest::collection::vec((any::<bool>(), 0_u32..64, 0_u32..4), 0..400)) {
            // Few numbers, close together and far apart, so that probing runs into each other and wraps.
            let spread = |n: u32| if n.is_multiple_of(2) { n } else { u32::MAX - n * 16 };
            let (mut table, mut model) = (IndexTable::default(), HashMap::new());
            for (insert, n, peer) in ops {
                let index = SessionIndex::new(spread(n));
                if insert && !model.contains_key(&index) {
                    let drawn = table.allocate(PeerSlot::new(peer), &mut Numbers(&[index.get()])).unwrap();
                    prop_assert_eq!(drawn, index);
                    model.insert(index, PeerSlot::new(peer));
                } else if !insert {
                    table.free(index);
                    model.remove(&index);
                }
                prop_assert_eq!(table.len(), model.len());
                for n in 0..64 {
                    let index = SessionIndex::new(spread(n));
                    prop_assert_eq!(table.lookup(index), model.get(&index).copied());
                }
            }
        }
    }
}
