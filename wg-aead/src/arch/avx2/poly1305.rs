//! Poly1305 in 64-bit words, one block after the other. RFC 8439, section 2.5.
//!
//! The products go to the scalar multiplier, which the cipher has no use for: two messages are absorbed beside the rounds of the
//! cipher, 32 bytes of each in every double round. One alone would not keep pace, since each block waits for the one before.

use zeroize::Zeroize;

/// The sum and the factor of one message.
#[derive(Clone, Copy, Default, Zeroize)]
pub(super) struct Poly1305 {
    /// The sum, partly reduced: below 2^130 and a few bits.
    h: [u64; 3],
    /// The factor, whose two words are below 2^60. The upper is a multiple of 4.
    r: [u64; 2],
    /// The upper word of the factor times 5/4: what 2^128 times it is, modulo 2^130 - 5.
    s: u64,
}

impl Poly1305 {
    /// Takes the first half of a one-time key.
    #[inline(always)]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let [r0, r1, ..] = words(key);
        let r = [r0 & 0x0fff_fffc_0fff_ffff, r1 & 0x0fff_fffc_0fff_fffc];
        Self { h: [0; 3], r, s: r[1] + (r[1] >> 2) }
    }

    /// Absorbs two blocks.
    #[inline(always)]
    pub(super) fn two_blocks(&mut self, bytes: &[u8; 32]) {
        for block in bytes.as_chunks().0 {
            self.block(u128::from_le_bytes(*block));
        }
    }

    /// Absorbs the end of a message, less than two blocks, and the block of the lengths. RFC 8439, section 2.8.
    #[inline(always)]
    pub(super) fn end(&mut self, mut tail: &[u8], len: usize) {
        if let Some((block, rest)) = tail.split_first_chunk::<16>() {
            self.block(u128::from_le_bytes(*block));
            tail = rest;
        }
        if !tail.is_empty() {
            self.block(padded(tail));
        }
        self.block(pair(0, len as u64));
    }

    /// h = (h + block + 2^128) r
    ///
    /// Carries are written as 128-bit sums, which the compiler makes chains of additions with carry of.
    #[inline(always)]
    fn block(&mut self, block: u128) {
        let [h0, h1, h2] = self.h;
        let (h, carry) = pair(h0, h1).overflowing_add(block);
        let h2 = h2.wrapping_add(1).wrapping_add(u64::from(carry));
        let (h0, h1) = (h as u64, (h >> 64) as u64);
        let Self { r: [r0, r1], s, .. } = *self;
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        // Every sum of two products is below 2^126, and h2 is below 8: nothing wraps.
        let d0 = product(h0, r0).wrapping_add(product(h1, s));
        let d1 = product(h0, r1).wrapping_add(product(h1, r0)).wrapping_add(u128::from(h2.wrapping_mul(s)));
        let d1 = d1.wrapping_add(pair(0, h2.wrapping_mul(r0))).wrapping_add(d0 >> 64);
        // What is above 2^130 counts five.
        let over = (d1 >> 64) as u64;
        let five = (over & !3).wrapping_add(over >> 2);
        let (h, carry) = pair(d0 as u64, d1 as u64).overflowing_add(u128::from(five));
        self.h = [h as u64, (h >> 64) as u64, (over & 3).wrapping_add(u64::from(carry))];
    }

    /// The tag, given the second half of the one-time key.
    #[inline(always)]
    pub(super) fn tag(&self, key: &[u8; 32]) -> [u8; 16] {
        let [_, _, s0, s1] = words(key);
        let [h0, h1, h2] = self.h;
        // Minus p, where that is not negative: plus 5, without what is beyond 2^130. Twice 2^130 it is not: h2 is at most 4.
        let (g0, carry) = h0.overflowing_add(5);
        let (g1, carry) = h1.overflowing_add(u64::from(carry));
        let over = 0_u64.wrapping_sub((h2 + u64::from(carry)) >> 2);
        let (h0, h1) = ((h0 & !over) | (g0 & over), (h1 & !over) | (g1 & over));
        let (h0, carry) = h0.overflowing_add(s0);
        let h1 = h1.wrapping_add(s1).wrapping_add(u64::from(carry));
        pair(h0, h1).to_le_bytes()
    }
}

#[inline(always)]
fn pair(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

#[inline(always)]
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// 1 to 15 bytes, followed by zeros. Loads that overlap, since a copy of so few bytes would be a call.
#[inline(always)]
fn padded(bytes: &[u8]) -> u128 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (len - 8))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
        u128::from(first | last << (8 * (len - 4)))
    } else {
        let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
        u128::from(byte(0) | byte(len / 2) | byte(len - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no ciphertext hits by chance: sums at the ends of the words. The factor is 1, so they can be seen.
    fn tag_of_sum(blocks: &[u128]) -> u128 {
        let mut key = [0; 32];
        key[0] = 1;
        let mut poly = Poly1305::new(&key);
        for block in blocks {
            poly.block(*block);
        }
        u128::from_le_bytes(poly.tag(&key))
    }

    #[test]
    fn what_is_beyond_the_modulus_carries_through_all_words() {
        // 2^128 - 1 and seven times 2^128: 2 p + 9.
        assert_eq!(tag_of_sum(&[u128::MAX, 0, 0, 0, 0, 0, 0]), 9);
    }

    #[test]
    fn sum_is_less_than_the_modulus() {
        // p - 1, p, and p + 4, which is 2^130 - 1.
        assert_eq!(tag_of_sum(&[u128::MAX - 5, 0, 0]), u128::MAX - 5);
        assert_eq!(tag_of_sum(&[u128::MAX - 4, 0, 0]), 0);
        assert_eq!(tag_of_sum(&[u128::MAX, 0, 0]), 4);
    }

    #[test]
    fn short_blocks_are_padded_with_zeros() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        for len in 1..16 {
            let mut block = [0; 16];
            block[..len].copy_from_slice(&bytes[..len]);
            assert_eq!(padded(&bytes[..len]), u128::from_le_bytes(block));
        }
    }
}
