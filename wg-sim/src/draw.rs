//! What chance decides: a generator for the world, and entropy for the nodes. Both from seeds, so that a run repeats.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

/// Mixes two numbers into one that looks like neither (the finisher of SplitMix64).
#[must_use]
pub const fn mix(one: u64, other: u64) -> u64 {
    let mut mixed = one ^ other.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A generator that the world draws its faults from.
#[derive(Clone, Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// Makes the generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Draws any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws from zero up to, and without, `end`; zero if `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// Draws from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Draws an index into something of `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Draws whether something of `per_mille` out of a thousand happens. Nothing is drawn if it cannot.
    pub fn happens(&mut self, per_mille: u16) -> bool {
        per_mille != 0 && self.below(1000) < u64::from(per_mille)
    }

    /// Draws one of a list.
    ///
    /// # Panics
    ///
    /// If the list is empty.
    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// Fills `out` with bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

/// Entropy of one node, from a seed; its clones are the same source, and it can be made to fail.
///
/// Not for use outside of simulations: whoever knows the seed knows every key.
#[derive(Clone, Debug)]
pub struct Entropy(Rc<Source>);

#[derive(Debug)]
struct Source {
    rng: RefCell<ChaCha8Rng>,
    broken: Cell<bool>,
}

/// The entropy source failed, as it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenEntropy;

impl core::fmt::Display for BrokenEntropy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("entropy source is broken")
    }
}

impl core::error::Error for BrokenEntropy {}

impl Entropy {
    /// Makes the source of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Source { rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)), broken: Cell::new(false) }))
    }

    /// Lets every call fail from now on, or none.
    pub fn set_broken(&self, broken: bool) {
        self.0.broken.set(broken);
    }

    /// Tells whether every call fails.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.broken.get()
    }

    fn check(&self) -> Result<(), BrokenEntropy> {
        if self.is_broken() { Err(BrokenEntropy) } else { Ok(()) }
    }
}

impl TryRng for Entropy {
    type Error = BrokenEntropy;

    fn try_next_u32(&mut self) -> Result<u32, BrokenEntropy> {
        self.check().map(|()| self.0.rng.borrow_mut().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, BrokenEntropy> {
        self.check().map(|()| self.0.rng.borrow_mut().next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), BrokenEntropy> {
        self.check().map(|()| self.0.rng.borrow_mut().fill_bytes(out))
    }
}

impl TryCryptoRng for Entropy {}
