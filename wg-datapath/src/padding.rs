//! How long a packet is made before it is sealed, so that its exact length does not show (C65).
//!
//! The rule is `wg-proto`'s, which seals single packets by it; here it is pinned for batches.

pub use wg_proto::padded_len;

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_follow_the_table() {
        // C65
        for (len, mtu, padded) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (15, 1420, 16),
            (16, 1420, 16),
            (17, 1420, 32),
            (84, 1420, 96),
            (1408, 1420, 1408),
            (1409, 1420, 1420),
            (1410, 1420, 1420),
            (1419, 1420, 1420),
            (1420, 1420, 1420),
            (1421, 1420, 1436),
            (2840, 1420, 2840),
            (2841, 1420, 2856),
            (2840 + 1409, 1420, 2840 + 1420),
            (1300, 1300, 1300),
            (1297, 1300, 1300),
            (1296, 1300, 1296),
            (1, 0, 16),
            (1420, 0, 1424),
            (65_535, 0, 65_536),
            (5, 8, 8),
            (9, 8, 16),
            (7, 1, 7),
            (usize::MAX, 0, usize::MAX),
            (usize::MAX, usize::MAX, usize::MAX),
            (20, usize::MAX, 32),
        ] {
            assert_eq!(padded_len(len, mtu), padded, "{len} bytes at MTU {mtu}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn padding_is_short_and_within_the_mtu(len in 0_usize..70_000, mtu in 0_usize..2000) {
            let padded = padded_len(len, mtu);
            prop_assert!(len <= padded && padded < len + 16);
            prop_assert!(len > mtu || mtu == 0 || padded <= mtu);
        }

        #[test]
        fn no_length_panics(len in any::<usize>(), mtu in any::<usize>()) {
            prop_assert!(padded_len(len, mtu) >= len);
        }
    }
}
