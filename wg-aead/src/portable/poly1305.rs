//! Poly1305, two blocks for each reduction. RFC 8439, section 2.5.
//!
//! ```text
//!   sum = (sum + first) * r^2 + second * r
//! ```
//!
//! The products of both are independent of each other and are added up before they are reduced. The limbs are those of the
//! machine: three of 44 bits where it multiplies 64 bits by 64, five of 26 bits where it does 32 by 32.

#[cfg(any(test, not(target_pointer_width = "64")))]
mod narrow;
#[cfg(any(test, target_pointer_width = "64"))]
mod wide;

use zeroize::Zeroize;

#[cfg(not(target_pointer_width = "64"))]
use self::narrow::{Factor, Number};
#[cfg(target_pointer_width = "64")]
use self::wide::{Factor, Number};

/// Bytes that are absorbed with one reduction.
pub(crate) const PAIR: usize = 32;

/// The tag of a ciphertext without associated data (RFC 8439, section 2.8), in the making.
#[derive(Debug, Default)]
pub(super) struct Poly1305 {
    r: Factor,
    square: Factor,
    sum: Number,
    pad: u128,
}

impl Poly1305 {
    /// Starts with a one-time key: the first words of the keystream.
    pub(super) fn new([r0, r1, pad0, pad1]: [u64; 4]) -> Self {
        let r = Number::new(r0 & 0x0fff_fffc_0fff_ffff, r1 & 0x0fff_fffc_0fff_fffc);
        let factor = Factor::new(r);
        let square = Factor::new(r.times(&factor));
        Self { r: factor, square, sum: Number::default(), pad: join(pad0, pad1) }
    }

    /// Absorbs pairs of blocks.
    #[inline]
    pub(super) fn absorb(&mut self, pairs: &[[u8; PAIR]]) {
        let mut sum = self.sum;
        for pair in pairs {
            let [a, b, c, d] = words(pair);
            sum = sum.add(a, b).times_plus(&self.square, Number::block(c, d), &self.r);
        }
        self.sum = sum;
    }

    /// Absorbs what is left, less than a pair, and the length of all of the text.
    #[inline]
    pub(super) fn finish(&mut self, rest: &[u8], len: usize) -> u128 {
        let mut last = [0; PAIR];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let [a, b, c, d] = words(&last);
        let length = Number::block(0, len as u64);
        let sum = match rest.len().div_ceil(16) {
            0 => self.sum.add(0, len as u64).times(&self.r),
            1 => self.sum.add(a, b).times_plus(&self.square, length, &self.r),
            _ => self.sum.add(a, b).times(&self.r).add(c, d).times_plus(&self.square, length, &self.r),
        };
        let (low, high) = sum.carried();
        // Below 2^130 and, if that was p or more, less p: what carries out of 130 bits when 5 is added.
        let (less, carry) = low.overflowing_add(5);
        let over = (high + u64::from(carry)) >> 2;
        let mask = 0_u128.wrapping_sub(u128::from(over));
        ((low & !mask) | (less & mask)).wrapping_add(self.pad)
    }
}

impl Zeroize for Poly1305 {
    fn zeroize(&mut self) {
        self.r.zeroize();
        self.square.zeroize();
        self.sum.zeroize();
        self.pad.zeroize();
    }
}

fn join(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

/// Two blocks as little-endian words.
#[inline(always)]
fn words(pair: &[u8; PAIR]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(pair.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
