//! Entropy that follows from a number and remembers none of what it gave: each word is computed where it is wanted.

use core::cell::RefCell;
use core::convert::Infallible;
use std::rc::Rc;

use rand_core::{TryCryptoRng, TryRng};

/// A counter, mixed.
#[derive(Debug)]
pub struct Entropy {
    state: u64,
    draws: Option<Draws>,
}

/// What was drawn in pieces of 32 bytes, where that is to be known.
pub type Draws = Rc<RefCell<Vec<[u8; 32]>>>;

impl Entropy {
    pub(super) fn new(seed: u64, draws: Option<Draws>) -> Self {
        Self { state: seed.wrapping_mul(0xd134_2543_de82_ef95), draws }
    }

    /// SplitMix64.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let word = self.next();
            for (at, byte) in chunk.iter_mut().enumerate() {
                *byte = word.to_le_bytes()[at];
            }
        }
        if let (Some(draws), Ok(key)) = (&self.draws, <[u8; 32]>::try_from(&*out)) {
            draws.borrow_mut().push(key);
        }
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}
