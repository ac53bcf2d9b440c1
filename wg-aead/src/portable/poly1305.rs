//! Poly1305. RFC 8439, section 2.5.
//!
//! Numbers are cut as the machine multiplies: into words of 64 bits, or into limbs of 26.

#[cfg(any(test, not(target_pointer_width = "64")))]
#[cfg_attr(target_pointer_width = "64", allow(dead_code, reason = "tested everywhere"))]
mod narrow;
#[cfg(any(test, target_pointer_width = "64"))]
#[cfg_attr(not(target_pointer_width = "64"), allow(dead_code, reason = "tested everywhere"))]
mod wide;

use zeroize::Zeroize;

#[cfg(not(target_pointer_width = "64"))]
use self::narrow::{Factor, Number};
#[cfg(target_pointer_width = "64")]
use self::wide::{Factor, Number};

/// Bytes that are absorbed at a time.
pub(crate) const PAIR: usize = 32;

/// The tag of a ciphertext without associated data (RFC 8439, section 2.8), in the making.
#[derive(Debug, Default)]
pub(crate) struct Poly1305 {
    r: Factor,
    sum: Number,
    pad: u128,
}

impl Poly1305 {
    /// Starts with a one-time key: the first words of the keystream.
    pub(crate) fn start(&mut self, [r0, r1, pad0, pad1]: [u64; 4]) {
        self.r = Factor::new(r0 & 0x0fff_fffc_0fff_ffff, r1 & 0x0fff_fffc_0fff_fffc);
        self.sum = Number::default();
        self.pad = u128::from(pad0) | u128::from(pad1) << 64;
    }

    /// Absorbs pairs of blocks.
    #[inline(always)]
    pub(crate) fn absorb(&mut self, pairs: &[[u8; PAIR]]) {
        let mut sum = self.sum;
        for pair in pairs {
            sum = sum.absorb_pair(words(pair), &self.r);
        }
        self.sum = sum;
    }

    /// Absorbs what is left, less than a pair, and the length of all of the text.
    pub(crate) fn finish(&mut self, rest: &[u8], len: usize) -> u128 {
        let mut last = [0; PAIR];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let [a, b, c, d] = words(&last);
        let len = len as u64;
        let sum = match rest.len().div_ceil(16) {
            0 => self.sum.absorb([0, len], &self.r),
            1 => self.sum.absorb_pair([a, b, 0, len], &self.r),
            _ => self.sum.absorb_pair([a, b, c, d], &self.r).absorb([0, len], &self.r),
        };
        reduced(sum.carried()).wrapping_add(self.pad)
    }
}

/// The low 128 bits of a number modulo 2^130 - 5 that is below 2^130.
fn reduced((low, high): (u128, u64)) -> u128 {
    // Adding 5 carries out of 130 bits if the number is that or more.
    let (less, carry) = low.overflowing_add(5);
    let over = (high + u64::from(carry)) >> 2;
    let mask = 0_u128.wrapping_sub(u128::from(over));
    (low & !mask) | (less & mask)
}

impl Zeroize for Poly1305 {
    fn zeroize(&mut self) {
        self.r.zeroize();
        self.sum.zeroize();
        self.pad.zeroize();
    }
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

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "random numbers are cut")]
mod tests {
    use super::{narrow, reduced, wide};

    /// What both ways to cut numbers make of the same blocks, one by one and in pairs.
    fn results(r: [u64; 2], blocks: &[[u64; 2]]) -> [u128; 4] {
        let [low, high] = [r[0] & 0x0fff_fffc_0fff_ffff, r[1] & 0x0fff_fffc_0fff_fffc];
        let (wide_r, narrow_r) = (wide::Factor::new(low, high), narrow::Factor::new(low, high));
        let (mut wide, mut narrow) = (wide::Number::default(), narrow::Number::default());
        for block in blocks {
            (wide, narrow) = (wide.absorb(*block, &wide_r), narrow.absorb(*block, &narrow_r));
        }
        let (mut wide_pairs, mut narrow_pairs) = (wide::Number::default(), narrow::Number::default());
        let (pairs, last) = blocks.as_chunks::<2>();
        for [[a, b], [c, d]] in pairs {
            wide_pairs = wide_pairs.absorb_pair([*a, *b, *c, *d], &wide_r);
            narrow_pairs = narrow_pairs.absorb_pair([*a, *b, *c, *d], &narrow_r);
        }
        for block in last {
            wide_pairs = wide_pairs.absorb(*block, &wide_r);
            narrow_pairs = narrow_pairs.absorb(*block, &narrow_r);
        }
        [wide.carried(), wide_pairs.carried(), narrow.carried(), narrow_pairs.carried()].map(reduced)
    }

    #[test]
    fn numbers_may_be_cut_either_way() {
        let ones = [u64::MAX; 2];
        // 2^130 - 5 less the bit above a block, and what is around it.
        let edges = [[u64::MAX - 4, u64::MAX], [u64::MAX - 5, u64::MAX], [0, 0], [5, 0], [4, 0], ones];
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..2000_u64 {
            let r = match round % 4 {
                0 => ones,
                1 => [1, 0],
                2 => [round, 4],
                _ => [random(), random()],
            };
            let mut blocks = [[0; 2]; 9];
            for block in &mut blocks {
                let choice = random() as usize;
                *block = edges.get(choice % 9).copied().unwrap_or_else(|| [random(), random()]);
            }
            let blocks = &blocks[..round as usize % 10];
            let [first, others @ ..] = results(r, blocks);
            assert_eq!(others, [first; 3], "{r:x?} {blocks:x?}");
        }
    }

    #[test]
    fn what_is_not_below_the_prime_is_reduced() {
        assert_eq!(reduced((u128::MAX - 4, 3)), 0);
        assert_eq!(reduced((u128::MAX - 5, 3)), u128::MAX - 5);
        assert_eq!(reduced((u128::MAX, 3)), 4);
        assert_eq!(reduced((u128::MAX, 2)), u128::MAX);
        assert_eq!(reduced((7, 0)), 7);
    }
}
