//! Poly1305 by the letter of RFC 8439, section 2.5, on numbers that are doubled and added: slow, and easy to believe.

use core::ops::{Add, Mul};

/// 2^130 - 5, by words, the lowest first.
pub(super) const P: [u64; 3] = [u64::MAX - 4, u64::MAX, 3];

/// How much less than the modulus, for numbers that are next to it.
pub(super) const SHORT_OF_P: [u128; 6] = [1, 2, 3, 4, 5, 6];

/// A number modulo p, below p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element([u64; 3]);

impl From<u128> for Element {
    fn from(number: u128) -> Self {
        words(&number.to_le_bytes())
    }
}

impl Element {
    /// The first half of a one-time key.
    pub(super) fn clamped(key: &[u8; 32]) -> Self {
        let mut r = [0; 16];
        r.copy_from_slice(&key[..16]);
        for at in [3, 7, 11, 15] {
            r[at] &= 15;
        }
        for at in [4, 8, 12] {
            r[at] &= 252;
        }
        Self::from(u128::from_le_bytes(r))
    }

    pub(super) fn double(self) -> Self {
        self + self
    }

    pub(super) fn minus(self, other: Self) -> Self {
        // p - 0 is p, and not below it.
        if other == Self([0; 3]) { self } else { self + Self(subtract(P, other.0)) }
    }

    /// By Fermat: to the power of p - 2.
    pub(super) fn inverse(self) -> Self {
        let exponent = Self([P[0] - 2, P[1], P[2]]);
        (0..130).rev().fold(Self::from(1), |power, bit| {
            let square = power * power;
            if exponent.bit(bit) { square * self } else { square }
        })
    }

    /// The block that this number stands for, if it is one.
    pub(super) fn without_mark(self) -> Option<[u8; 16]> {
        (self.0[2] == 1).then(|| self.low().to_le_bytes())
    }

    fn low(self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 64
    }

    fn bit(self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }
}

impl Add for Element {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = add(self.0, other.0);
        let without = subtract(sum, P);
        // The top word says whether it went below zero.
        Self(if without[2] >> 63 == 0 { without } else { sum })
    }
}

impl Mul for Element {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        (0..130).rev().fold(Self::from(0), |sum, bit| {
            let double = sum.double();
            if other.bit(bit) { double + self } else { double }
        })
    }
}

fn add(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    let mut carry = false;
    core::array::from_fn(|at| {
        let (sum, first) = a[at].overflowing_add(b[at]);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        carry = first | second;
        sum
    })
}

fn subtract(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    let mut borrow = false;
    core::array::from_fn(|at| {
        let (difference, first) = a[at].overflowing_sub(b[at]);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        borrow = first | second;
        difference
    })
}

/// The sum after a text, the last block as long as it is.
pub(super) fn sum(r: Element, text: &[u8]) -> Element {
    text.chunks(16).fold(Element::from(0), |sum, block| {
        let mut marked = [0; 17];
        marked[..block.len()].copy_from_slice(block);
        marked[block.len()] = 1;
        (sum + words(&marked)) * r
    })
}

/// The number that bytes stand for, the lowest first.
fn words(bytes: &[u8]) -> Element {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    Element(core::array::from_fn(|word| u64::from_le_bytes(core::array::from_fn(|at| byte(8 * word + at)))))
}

/// The tag that a sum gives.
pub(super) fn tag(sum: Element, key: &[u8; 32]) -> [u8; 16] {
    let mut s = [0; 16];
    s.copy_from_slice(&key[16..]);
    sum.low().wrapping_add(u128::from_le_bytes(s)).to_le_bytes()
}

/// The tag of a text as it is.
pub(super) fn raw_tag(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    tag(sum(Element::clamped(key), text), key)
}
