//! How an address becomes a search key: the bits the table walks, six at a time.
//!
//! A step of the walk takes [`STRIDE`] bits, and the direct table replaces the steps down to
//! [`Key::DIRECT`]. IPv4 keys carry [`Address::PAD`] zero bits in front, so that 16 address bits
//! end on a step and the direct table can have its natural size.

use core::fmt::Debug;

/// Bits of the key consumed by one node.
pub(super) const STRIDE: u8 = 6;

/// An address in the form it is stored in; sorts in numeric order.
pub(super) trait Address: Copy + Ord + Debug {
    type Key: Key;
    /// Zero bits in front of the address in its key.
    const PAD: u8;
    const FIRST: Self;
    const LAST: Self;

    fn key(self) -> Self::Key;
}

/// A left-aligned bit string.
pub(super) trait Key: Copy + Eq + Debug + Default {
    /// Depth that the direct table leads to; a multiple of [`STRIDE`].
    const DIRECT: u8;
    /// How many keys the direct table distinguishes.
    const SLOTS: usize;
    /// Prefixes from which on the direct table is worth its memory.
    const DIRECT_MIN: usize;

    /// Leading bits that both keys share.
    fn common(self, other: Self) -> u8;
    /// The key with all bits from `len` on cleared.
    fn masked(self, len: u8) -> Self;
    /// The [`STRIDE`] bits that start at `depth`; zeros past the end of the key.
    fn chunk(self, depth: u8) -> u32;
    /// The first [`Key::DIRECT`] bits.
    fn slot(self) -> usize;
    /// The lowest key with this slot.
    fn from_slot(slot: usize) -> Self;
}

impl Address for u32 {
    type Key = u64;
    const PAD: u8 = 2;
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;

    fn key(self) -> u64 {
        u64::from(self) << 30
    }
}

/// The bytes of an IPv6 address: a `u128` would align every stored prefix to 16.
impl Address for [u8; 16] {
    type Key = u128;
    const PAD: u8 = 0;
    const FIRST: Self = [0; 16];
    const LAST: Self = [0xff; 16];

    fn key(self) -> u128 {
        u128::from_be_bytes(self)
    }
}

/// A bit string that an integer holds; `$direct_min` prefixes make its direct table worth the memory.
macro_rules! key {
    ($integer:ty, $bits:literal, $direct:literal, $slots:expr, $direct_min:literal) => {
        impl Key for $integer {
            const DIRECT: u8 = $direct;
            const SLOTS: usize = $slots;
            const DIRECT_MIN: usize = $direct_min;

            #[inline]
            #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            #[inline]
            fn masked(self, len: u8) -> Self {
                self & !Self::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn chunk(self, depth: u8) -> u32 {
                ((self << depth) >> ($bits - STRIDE)) as u32
            }

            #[inline]
            fn slot(self) -> usize {
                (self >> ($bits - Self::DIRECT)) as usize
            }

            #[inline]
            fn from_slot(slot: usize) -> Self {
                (slot as Self) << ($bits - Self::DIRECT)
            }
        }
    };
}

key!(u64, 64, 18, 1 << 16, 4096);
key!(u128, 128, 12, 1 << 12, 512);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_ipv4_bits_end_on_a_step() {
        assert_eq!((u64::DIRECT - u32::PAD, u64::DIRECT % STRIDE), (16, 0));
        assert_eq!(u128::DIRECT % STRIDE, 0);
        assert_eq!(0x0a01_0203_u32.key().slot(), 0x0a01);
        assert_eq!(u64::from_slot(0x0a01), 0x0a01_0000_u32.key());
        assert_eq!(u32::MAX.key().slot(), u64::SLOTS - 1);
        assert_eq!([0xff; 16].key().slot(), u128::SLOTS - 1);
    }

    #[test]
    fn chunks_cover_the_key_and_end_in_zeros() {
        let key = u32::MAX.key();
        assert_eq!([0, 6, 18, 24, 30].map(|depth| key.chunk(depth)), [0b1111, 63, 63, 63, 0b11_1100]);
        let key = [0xff; 16].key();
        assert_eq!([0, 6, 120, 126].map(|depth| key.chunk(depth)), [63, 63, 63, 0b11_0000]);
    }

    #[test]
    fn masks_reach_from_nothing_to_everything() {
        assert_eq!((u64::MAX.masked(0), u64::MAX.masked(64)), (0, u64::MAX));
        assert_eq!((u128::MAX.masked(0), u128::MAX.masked(128)), (0, u128::MAX));
        assert_eq!(u128::MAX.masked(1), 1 << 127);
        assert_eq!((7_u64.common(7), 7_u64.common(6), u128::MAX.common(0)), (64, 63, 0));
    }
}
