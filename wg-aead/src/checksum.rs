//! The Internet checksum, as a sum that can be split and put together again. RFC 1071.

use core::ops::{Add, Sub};

/// A one's complement sum of 16-bit words, before it is complemented.
///
/// The sum of a packet is the sum of the sums of its parts, as long as each part but the last has an even length.
///
/// # Examples
///
/// ```
/// use wg_aead::Sum;
///
/// let header = [0x45, 0, 0, 0x54, 0, 0, 0x40, 0, 0x40, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
/// assert_eq!(Sum::of(&header), Sum::of(&header[..8]) + Sum::of(&header[8..]));
/// assert_eq!(Sum::of(&header).checksum(), [0x26, 0xa7]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(
    /// The sum of little-endian words, not folded: the byte order of a one's complement sum may be chosen at the end.
    u64,
);

impl Sum {
    /// The sum of `bytes`; an odd one at the end is followed by a zero.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let (words, last) = bytes.as_chunks::<4>();
        let mut sum = 0;
        for word in words {
            sum += u64::from(u32::from_le_bytes(*word));
        }
        let mut end = [0; 4];
        for (to, from) in end.iter_mut().zip(last) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_le_bytes(end)))
    }

    /// The sum of a big-endian word, as headers have it.
    #[must_use]
    pub const fn of_word(word: u16) -> Self {
        Self(word.swap_bytes() as u64)
    }

    /// A sum of little-endian words or double words.
    #[allow(dead_code, reason = "only some kernels sum up themselves")]
    pub(crate) const fn from_little_endian(sum: u64) -> Self {
        Self(sum)
    }

    /// The same sum of words that begin at the other parity: every byte pair swapped.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self(self.folded().swap_bytes() as u64)
    }

    /// The sum as 16 bits in the order of the packet's bytes.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.folded().to_le_bytes()
    }

    /// The checksum: the complement, with 0 written as 0xffff as UDP demands and every protocol may have it.
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        let checksum = !self.folded();
        // Without a jump, as the packet is a secret: the carry says that it is not zero.
        let (_, is_something) = checksum.overflowing_add(0xffff);
        checksum.wrapping_sub(1 - is_something as u16).to_le_bytes()
    }

    /// Whether bytes that include their checksum are as they were sent.
    #[must_use]
    pub const fn verifies(self) -> bool {
        self.folded() == 0xffff
    }

    #[expect(clippy::cast_possible_truncation, reason = "the last fold leaves 16 bits")]
    const fn folded(self) -> u16 {
        // 64 bits to at most 34, to at most 19, to at most 17, to 16.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        self.folded() % 0xffff == other.folded() % 0xffff
    }
}

impl Eq for Sum {}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(u64::from(self.folded()) + u64::from(other.folded()))
    }
}

impl Sub for Sum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(u64::from(self.folded()) + u64::from(!other.folded()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_complement_and_never_zero() {
        for word in 0..=u16::MAX {
            let expected = if word == u16::MAX { [0xff, 0xff] } else { (!word).to_be_bytes() };
            assert_eq!(Sum::of_word(word).checksum(), expected);
            assert_eq!(Sum::of(&word.to_be_bytes()).checksum(), expected);
        }
    }
}
