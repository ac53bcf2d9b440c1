//! Who takes a group on a machine with AVX-512: by how many packets there are and how long the longest is, and by nothing else.
//!
//! Sixteen lanes pay where packets fill them. The table was measured on Zen 4, which does a 512-bit instruction in two halves; a
//! processor with full pipes may have use for sixteen lanes sooner.

#[cfg(feature = "ring")]
use crate::arch::avx2::Avx2;
use crate::arch::avx512::Avx512;
#[cfg(feature = "ring")]
use crate::library;
use crate::packet::Group;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// AVX-512, packet by packet.
    Alone,
    /// AVX2: eight lanes.
    Eight,
    /// AVX-512: sixteen lanes.
    Sixteen,
    /// `ring`, packet by packet.
    #[cfg(feature = "ring")]
    Ring,
}

/// Seals a group; `sixteen` does it where that is the choice.
pub(super) fn seal<'g, 'a>(
    kernel: Avx512,
    mixed: bool,
    group: &mut Group<'g, 'a>,
    sixteen: impl FnOnce(&mut Group<'g, 'a>),
) {
    match Choice::to_seal(group, mixed) {
        Choice::Alone => group.iter_mut().for_each(|packet| kernel.seal_one(packet)),
        Choice::Eight => kernel.avx2().seal(group),
        Choice::Sixteen => sixteen(group),
        #[cfg(feature = "ring")]
        Choice::Ring => library::ring::seal_group(group),
    }
}

/// Opens a group; `sixteen` does it where that is the choice.
pub(super) fn open<'g, 'a>(
    kernel: Avx512,
    mixed: bool,
    group: &mut Group<'g, 'a>,
    sixteen: impl FnOnce(&mut Group<'g, 'a>),
) {
    match Choice::to_open(group, mixed) {
        Choice::Alone => group.iter_mut().for_each(|packet| kernel.open_one(packet)),
        Choice::Eight => kernel.avx2().open(group),
        Choice::Sixteen => sixteen(group),
        #[cfg(feature = "ring")]
        Choice::Ring => library::ring::open_group(group),
    }
}

impl Choice {
    fn to_seal(group: &Group<'_, '_>, mixed: bool) -> Self {
        let choice = Self::of(group, mixed);
        #[cfg(feature = "ring")]
        if choice == Self::Eight && Avx2::leaves_sealing_to_ring(group) {
            return Self::Ring;
        }
        choice
    }

    fn to_open(group: &Group<'_, '_>, mixed: bool) -> Self {
        let choice = Self::of(group, mixed);
        #[cfg(feature = "ring")]
        if choice == Self::Eight && Avx2::leaves_opening_to_ring(group) {
            return Self::Ring;
        }
        choice
    }

    fn of(group: &Group<'_, '_>, mixed: bool) -> Self {
        // The longest is the first.
        let Some(longest) = group.get(0) else { return Self::Sixteen };
        let is_short = Avx512::takes_one(longest);
        match (group.len(), longest.blocks()) {
            (1, _) if is_short => Self::Alone,
            (2, _) if is_short && !mixed => Self::Alone,
            _ if !mixed => Self::Sixteen,
            (2, 17..) if cfg!(not(feature = "ring")) => Self::Sixteen,
            // Few packets; and those that, with a block each for their one-time keys, leave most lanes of a pass empty.
            (..=2, _) | (3..=5, ..=6) | (6..=7, 2..=3) | (8, 2) | (9.., 0) => Self::Eight,
            _ => Self::Sixteen,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::key::Key;
    use crate::packet::Packet;

    /// What takes `count` packets of `len` bytes, to be sealed and to be opened.
    fn choices(count: usize, len: usize, mixed: bool) -> [Choice; 2] {
        let key = Key::new(&[7; 32]);
        let mut texts = vec![vec![0; len]; count];
        let packet = |text| Packet::new(&key, 0, text, len, &[], [0; 16]);
        let mut packets: Vec<_> = texts.iter_mut().map(|text| packet(text)).collect();
        let mut group = Group::new();
        for packet in &mut packets {
            assert!(group.push(packet));
        }
        [Choice::to_seal(&group, mixed), Choice::to_open(&group, mixed)]
    }

    /// A packet alone that is long, and two that are long to open.
    const LONG: Choice = {
        #[cfg(feature = "ring")]
        {
            Choice::Ring
        }
        #[cfg(not(feature = "ring"))]
        {
            Choice::Eight
        }
    };

    #[test]
    fn a_packet_alone_shares_no_lanes() {
        assert_eq!(choices(1, 0, true), [Choice::Alone; 2]);
        assert_eq!(choices(1, 448, true), [Choice::Alone; 2]);
        assert_eq!(choices(1, 449, true), [LONG; 2]);
        assert_eq!(choices(1, 65_535, true), [LONG; 2]);
    }

    #[test]
    fn groups_that_leave_lanes_empty_have_eight() {
        for (counts, lens) in
            [(2..=2, 0..=896), (3..=5, 0..=384), (6..=7, 65..=192), (8..=8, 65..=128), (9..=16, 0..=0)]
        {
            for count in counts {
                for len in [*lens.start(), *lens.end()] {
                    assert_eq!(choices(count, len, true), [Choice::Eight; 2], "{count} of {len}");
                }
            }
        }
    }

    #[test]
    fn groups_that_fill_them_have_sixteen() {
        for (count, len) in
            [(3, 385), (5, 1420), (6, 64), (6, 193), (8, 0), (8, 64), (8, 129), (9, 1), (16, 64)]
        {
            assert_eq!(choices(count, len, true), [Choice::Sixteen; 2], "{count} of {len}");
        }
        assert_eq!(choices(4, 65_535, true), [Choice::Sixteen; 2]);
    }

    #[test]
    fn a_pure_kernel_never_leaves_avx_512() {
        for count in 1..=16 {
            for len in [0, 64, 128, 192, 384, 448, 449, 1420, 65_535] {
                let expected = if count <= 2 && len <= 448 { Choice::Alone } else { Choice::Sixteen };
                assert_eq!(choices(count, len, false), [expected; 2], "{count} of {len}");
            }
        }
    }
}
