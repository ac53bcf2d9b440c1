//! Three limbs of 44, 44 and 42 bits, products of 128 bits.

use zeroize::Zeroize;

const LOW: u64 = (1 << 44) - 1;
const HIGH: u64 = (1 << 42) - 1;

/// A number modulo 2^130 - 5. The limbs may be a few bits longer than they should be.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Number([u64; 3]);

/// A number to multiply by, with what of it wraps around: 2^132 is 20.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Factor {
    limbs: [u64; 3],
    wrapped: [u64; 2],
}

impl Factor {
    pub(super) fn new(Number(limbs): Number) -> Self {
        Self { limbs, wrapped: [20 * limbs[1], 20 * limbs[2]] }
    }
}

impl Number {
    /// 128 bits.
    #[inline(always)]
    pub(super) fn new(low: u64, high: u64) -> Self {
        Self([low & LOW, (low >> 44 | high << 20) & LOW, high >> 24])
    }

    /// A whole block of a message: 128 bits, and one above.
    #[inline(always)]
    pub(super) fn block(low: u64, high: u64) -> Self {
        let Self([a, b, c]) = Self::new(low, high);
        Self([a, b, c | 1 << 40])
    }

    /// The sum with a block.
    #[inline(always)]
    pub(super) fn add(self, low: u64, high: u64) -> Self {
        let (Self(a), Self(b)) = (self, Self::block(low, high));
        Self([a[0] + b[0], a[1] + b[1], a[2] + b[2]])
    }

    #[inline(always)]
    pub(super) fn times(self, factor: &Factor) -> Self {
        reduced(self.product(factor))
    }

    /// `self * factor + other * other_factor`, reduced once.
    #[inline(always)]
    pub(super) fn times_plus(self, factor: &Factor, other: Self, other_factor: &Factor) -> Self {
        let (a, b) = (self.product(factor), other.product(other_factor));
        reduced([a[0] + b[0], a[1] + b[1], a[2] + b[2]])
    }

    /// With limbs of up to 46 bits each sum stays below 2^97: 46 and 49 bits, three products, two of those sums.
    #[inline(always)]
    fn product(self, factor: &Factor) -> [u128; 3] {
        let Self([a, b, c]) = self;
        let Factor { limbs: [r0, r1, r2], wrapped: [s1, s2] } = *factor;
        let mul = |x: u64, y: u64| u128::from(x) * u128::from(y);
        [
            mul(a, r0) + mul(b, s2) + mul(c, s1),
            mul(a, r1) + mul(b, r0) + mul(c, s2),
            mul(a, r2) + mul(b, r1) + mul(c, r0),
        ]
    }

    /// The number below 2^130, as its low 128 bits and the rest. It was less than 2^98 above that: if the first round wraps,
    /// little is left for the second.
    pub(super) fn carried(self) -> (u128, u64) {
        let Self([mut a, mut b, mut c]) = self;
        for _ in 0..2 {
            b += a >> 44;
            a &= LOW;
            c += b >> 44;
            b &= LOW;
            a += 5 * (c >> 42);
            c &= HIGH;
        }
        let low = u128::from(a) + (u128::from(b) << 44);
        let (low, carry) = low.overflowing_add(u128::from(c) << 88);
        (low, (c >> 40) + u64::from(carry))
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "limbs are cut out of wider words")]
fn reduced([a, b, c]: [u128; 3]) -> Number {
    let b = b + u128::from((a >> 44) as u64);
    let c = c + u128::from((b >> 44) as u64);
    let low = (a as u64 & LOW) + 5 * (c >> 42) as u64;
    Number([low & LOW, (b as u64 & LOW) + (low >> 44), c as u64 & HIGH])
}
