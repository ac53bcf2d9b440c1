//! How long frames of the TUN may be so that what becomes of one fits into one UDP send.
//!
//! A send into several datagrams carries at most 65,507 bytes, so `n = 65,507 / (mtu + overhead)` packets of the MTU. The
//! limit is what `n` packets of UDP have in one frame: headers once, `n` payloads. TCP, with longer headers and what it keeps
//! in reserve, then makes frames of `n` packets, too, at usual MTUs.

/// Bytes that one send over IPv4 may carry.
const MAX_SEND: u32 = 65_507;
/// Headers of IPv4 and UDP.
const HEADERS_V4: u32 = 28;
/// Headers of IPv6 and UDP.
const HEADERS_V6: u32 = 48;
/// The kernel takes none longer by default, and needs room for one packet.
const MAX_FRAME: u32 = 65_536;

/// The longest frames to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameLimits {
    pub(super) v4: u32,
    pub(super) v6: u32,
}

impl FrameLimits {
    pub(super) fn new(mtu: u32, overhead: u32) -> Self {
        let packets = MAX_SEND.checked_div(mtu.saturating_add(overhead)).unwrap_or(1);
        Self { v4: limit(mtu, packets, HEADERS_V4), v6: limit(mtu, packets, HEADERS_V6) }
    }
}

fn limit(mtu: u32, packets: u32, headers: u32) -> u32 {
    let payload = mtu.saturating_sub(headers).saturating_mul(packets);
    payload.saturating_add(headers).clamp(mtu.saturating_add(headers).min(MAX_FRAME), MAX_FRAME)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel's TCP keeps free of the limit, of 64-byte cache lines: `MAX_TCP_HEADER + 1`.
    const TCP_RESERVE: u32 = 320 + 1;

    #[test]
    fn frame_of_the_usual_mtu_makes_45_datagrams() {
        let limits = FrameLimits::new(1420, 32);
        assert_eq!(limits, FrameLimits { v4: 62_668, v6: 61_788 });
        for (limit, headers) in [(limits.v4, 40), (limits.v4, 52), (limits.v6, 60), (limits.v6, 72)] {
            let packets = (limit - TCP_RESERVE) / (1420 - headers);
            assert!((44..=45).contains(&packets), "{packets} with {headers} bytes of headers");
        }
        assert_eq!((limits.v4 - 28) / (1420 - 28), 45);
        assert_eq!((limits.v6 - 48) / (1420 - 48), 45);
    }

    proptest! {
        #[test]
        fn frame_at_the_limit_fits_one_send(mtu in 1280_u32..9100, overhead in 32_u32..48) {
            let limits = FrameLimits::new(mtu, overhead);
            let packets = |limit: u32, headers: u32| (limit - headers).div_ceil(mtu - headers);
            prop_assert!(packets(limits.v4, 28) * (mtu + overhead) <= MAX_SEND);
            prop_assert!(packets(limits.v6, 48) * (mtu + overhead) <= MAX_SEND);
        }

        #[test]
        fn any_mtu_has_a_limit_the_kernel_takes(mtu: u32, overhead: u32) {
            let limits = FrameLimits::new(mtu, overhead);
            prop_assert!(limits.v4 <= MAX_FRAME && limits.v6 <= MAX_FRAME);
        }
    }
}
