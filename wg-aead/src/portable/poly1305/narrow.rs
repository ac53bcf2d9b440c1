//! Five limbs of 26 bits, products of 64, and one reduction for two blocks:
//!
//! ```text
//!   (sum + first) * r^2 + second * r
//! ```

use zeroize::Zeroize;

const MASK: u64 = (1 << 26) - 1;

/// A number modulo 2^130 - 5. The limbs may be a few bits longer than they should be.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Number([u32; 5]);

/// A number to multiply by, and its square.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Factor {
    itself: Limbs,
    square: Limbs,
}

/// The limbs of a factor, and the upper ones wrapped around: 2^130 is 5.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
struct Limbs([u32; 5], [u32; 4]);

impl Factor {
    pub(super) fn new(low: u64, high: u64) -> Self {
        let number = Number::new(low, high);
        let itself = Limbs::new(number);
        Self { itself, square: Limbs::new(reduced(number.product(&itself))) }
    }
}

impl Limbs {
    fn new(Number(limbs): Number) -> Self {
        let [_, r1, r2, r3, r4] = limbs;
        Self(limbs, [5 * r1, 5 * r2, 5 * r3, 5 * r4])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "limbs are cut out of wider words")]
impl Number {
    /// 128 bits.
    #[inline(always)]
    fn new(low: u64, high: u64) -> Self {
        let limb = |word: u64| (word & MASK) as u32;
        let middle = low >> 52 | (high << 12);
        Self([limb(low), limb(low >> 26), limb(middle), limb(high >> 14), (high >> 40) as u32])
    }

    /// A whole block of a message: 128 bits, and one above.
    #[inline(always)]
    fn block(low: u64, high: u64) -> Self {
        let Self([a, b, c, d, e]) = Self::new(low, high);
        Self([a, b, c, d, e | 1 << 24])
    }

    #[inline(always)]
    fn add(self, Self(other): Self) -> Self {
        let Self([a, b, c, d, e]) = self;
        Self([a + other[0], b + other[1], c + other[2], d + other[3], e + other[4]])
    }

    /// The sum with a block, times a factor.
    #[inline(always)]
    pub(super) fn absorb(self, [a, b]: [u64; 2], factor: &Factor) -> Self {
        reduced(self.add(Self::block(a, b)).product(&factor.itself))
    }

    /// Two blocks.
    #[inline(always)]
    pub(super) fn absorb_pair(self, [a, b, c, d]: [u64; 4], factor: &Factor) -> Self {
        let first = self.add(Self::block(a, b)).product(&factor.square);
        let second = Self::block(c, d).product(&factor.itself);
        let mut sum = first;
        for (sum, product) in sum.iter_mut().zip(second) {
            *sum += product;
        }
        reduced(sum)
    }

    /// With limbs of up to 28 bits each sum stays below 2^62: 28 and 30 bits, five products, two of those sums.
    #[inline(always)]
    fn product(self, factor: &Limbs) -> [u64; 5] {
        let Self([a, b, c, d, e]) = self;
        let Limbs([r0, r1, r2, r3, r4], [s1, s2, s3, s4]) = *factor;
        let mul = |x: u32, y: u32| u64::from(x) * u64::from(y);
        [
            mul(a, r0) + mul(b, s4) + mul(c, s3) + mul(d, s2) + mul(e, s1),
            mul(a, r1) + mul(b, r0) + mul(c, s4) + mul(d, s3) + mul(e, s2),
            mul(a, r2) + mul(b, r1) + mul(c, r0) + mul(d, s4) + mul(e, s3),
            mul(a, r3) + mul(b, r2) + mul(c, r1) + mul(d, r0) + mul(e, s4),
            mul(a, r4) + mul(b, r3) + mul(c, r2) + mul(d, r1) + mul(e, r0),
        ]
    }

    /// The number below 2^130, as its low 128 bits and the rest. It was less than 2^40 above that: if the first round wraps,
    /// little is left for the second.
    pub(super) fn carried(self) -> (u128, u64) {
        let Self(mut limbs) = self;
        for _ in 0..2 {
            let mut carry = 0;
            for limb in &mut limbs {
                let sum = *limb + carry;
                *limb = sum & MASK as u32;
                carry = sum >> 26;
            }
            limbs[0] += 5 * carry;
        }
        let [a, b, c, d, e] = limbs.map(u128::from);
        let low = a + (b << 26) + (c << 52) + (d << 78);
        let (low, carry) = low.overflowing_add(e << 104);
        (low, (e >> 24) as u64 + u64::from(carry))
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "limbs are cut out of wider words")]
fn reduced([a, b, c, d, e]: [u64; 5]) -> Number {
    let b = b + (a >> 26);
    let c = c + (b >> 26);
    let d = d + (c >> 26);
    let e = e + (d >> 26);
    let low = (a & MASK) + 5 * (e >> 26);
    let limb = |word: u64| (word & MASK) as u32;
    Number([limb(low), limb(b) + (low >> 26) as u32, limb(c), limb(d), limb(e)])
}
