//! Words of 64 bits, products of 128.
//!
//! Limbs of 44 bits and two blocks for each reduction have the shorter chain of dependent steps, but three times the
//! instructions: too many for the registers of x86-64, and slower.

use zeroize::Zeroize;

/// A number below 2^130 + 2^64: two words and what is above.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Number([u64; 3]);

/// A number to multiply by, whose words have no high bits and whose second has no low ones.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Factor {
    words: [u64; 2],
    /// The second word, wrapped around: 2^128 is 5 / 4.
    wrapped: u64,
}

impl Factor {
    pub(super) fn new(low: u64, high: u64) -> Self {
        Self { words: [low, high], wrapped: high + (high >> 2) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "words are cut out of wider ones")]
impl Number {
    /// The sum with a block, times a factor.
    #[inline(always)]
    pub(super) fn absorb(self, [low, high]: [u64; 2], factor: &Factor) -> Self {
        let Self([a, b, c]) = self;
        let first = u128::from(a) + u128::from(low);
        let second = u128::from(b) + u128::from(high) + (first >> 64);
        let (a, b, c) = (first as u64, second as u64, c + (second >> 64) as u64 + 1);

        // The factor is below 2^60, so c is below 8 and no sum overflows.
        let mul = |x: u64, y: u64| u128::from(x) * u128::from(y);
        let Factor { words: [r0, r1], wrapped } = *factor;
        let first = mul(a, r0) + mul(b, wrapped);
        let second = mul(a, r1) + mul(b, r0) + u128::from(c * wrapped) + (first >> 64);
        let third = c * r0 + (second >> 64) as u64;

        let wraps = (third >> 2) + (third & !3);
        let first = u128::from(first as u64) + u128::from(wraps);
        let second = u128::from(second as u64) + (first >> 64);
        Self([first as u64, second as u64, (third & 3) + (second >> 64) as u64])
    }

    /// Two blocks.
    #[inline(always)]
    pub(super) fn absorb_pair(self, [a, b, c, d]: [u64; 4], factor: &Factor) -> Self {
        self.absorb([a, b], factor).absorb([c, d], factor)
    }

    /// The number below 2^130, as its low 128 bits and the rest.
    pub(super) fn carried(self) -> (u128, u64) {
        let Self([a, b, c]) = self;
        let low = u128::from(a) | u128::from(b) << 64;
        let (low, carry) = low.overflowing_add(u128::from(5 * (c >> 2)));
        (low, (c & 3) + u64::from(carry))
    }
}
