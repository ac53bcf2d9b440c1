//! The path MTU to one peer: which inner packets are too long for it (RFC 1191, RFC 8201).
//!
//! The outer packet of an inner one is longer by
//!
//! ```text
//!   | IPv4 20 or IPv6 40 | UDP 8 | header 16 | inner packet, zeros to a multiple of 16 | tag 16 |
//! ```
//!
//! An inner packet that makes it longer than the path takes is fragmented outside or lost; its sender is told to send shorter
//! ones instead ([`crate::icmp`]).
//!
//! News of a narrow path can be forged by whoever knows or guesses addresses and ports of the tunnel. So it never brings the
//! limit below what every host or link must take, 576 bytes of inner IPv4 and 1280 of IPv6; packets up to that are sent, and
//! are fragmented outside where the path really is that narrow. What was heard is forgotten after [`PathMtu::LIFETIME`], and
//! with a change of the peer's address.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use core::net::IpAddr;
use core::time::Duration;

use wg_proto::Instant;
use wg_proto::wire::TRANSPORT_OVERHEAD;

use crate::ip::IpVersion;

/// Bytes of an outer IPv4 header, as Linux sends it, and of the UDP header.
const OUTER_V4: usize = 20 + 8;
/// Bytes of the outer IPv6 and UDP headers.
const OUTER_V6: usize = 40 + 8;
/// What padding rounds up to.
const PADDING: usize = 16;
/// The longest outer packet of any path: IP has 16 bits for its length, and a TUN may have an MTU that leaves no room for more.
const LONGEST: u16 = u16::MAX;

/// What is known of the path to a peer. The default: nothing.
///
/// # Examples
///
/// ```
/// use wg_datapath::PathMtu;
/// use wg_datapath::ip::IpVersion;
/// use wg_datapath::proto::Instant;
///
/// let (peer, now) = ([192, 0, 2, 1].into(), Instant::from_nanos(1));
/// let mut path = PathMtu::default();
/// assert_eq!(path.limit(peer, IpVersion::V4, 1420, now), None);
/// path.narrow(peer, 1400, now);
/// // 1400 - 20 - 8 - 32 = 1340, and 1328 is the multiple of 16 below.
/// assert_eq!(path.limit(peer, IpVersion::V4, 1420, now), Some(1328));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMtu(Option<Narrow>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Narrow {
    to: IpAddr,
    /// The longest outer packet.
    mtu: u16,
    heard: Instant,
}

impl PathMtu {
    /// How long news of a narrow path counts (RFC 1191, 6.3; RFC 8201, 4).
    pub const LIFETIME: Duration = Duration::from_secs(600);

    /// Takes in the news that outer packets of more than `mtu` bytes do not get to `to`, the address of the peer's endpoint.
    ///
    /// While older news counts, a path does not become wider by this (RFC 8201, 4). News that no path can give rise to is ignored.
    pub fn narrow(&mut self, to: IpAddr, mtu: u16, now: Instant) {
        // RFC 1191, 3; RFC 8201, 4.
        let least = if to.is_ipv4() { 68 } else { 1280 };
        let known = self.0.filter(|known| known.counts(to, now));
        if mtu >= least && known.is_none_or(|known| mtu <= known.mtu) {
            self.0 = Some(Narrow { to, mtu, heard: now });
        }
    }

    /// The longest inner packet that is worth sending to `to`, if the path there is narrower than the MTU of the tunnel
    /// (0 if there is none); a longer one is to be refused as too big. A path of which nothing was heard takes what IP does.
    ///
    /// It holds whether packets are padded up to the MTU of the tunnel ([`crate::padded_len`]) or up to this limit.
    #[inline]
    #[must_use]
    pub fn limit(&self, to: IpAddr, inner: IpVersion, tunnel_mtu: usize, now: Instant) -> Option<usize> {
        let mtu = self.0.filter(|known| known.counts(to, now)).map_or(LONGEST, |known| known.mtu);
        let outer = if to.is_ipv4() { OUTER_V4 } else { OUTER_V6 };
        let padded = usize::from(mtu).saturating_sub(outer).saturating_sub(TRANSPORT_OVERHEAD);
        let within = |len: usize| tunnel_mtu != 0 && tunnel_mtu <= len;
        if within(padded) {
            return None;
        }
        // The last multiple of 16: beyond it, padding would go past what passes.
        let limit = (padded & !(PADDING - 1)).max(floor(inner));
        if within(limit) { None } else { Some(limit) }
    }
}

impl Narrow {
    fn counts(&self, to: IpAddr, now: Instant) -> bool {
        self.to == to && now.abs_diff(self.heard) <= PathMtu::LIFETIME
    }
}

/// What an inner packet may have whatever is said of the path: RFC 791, 3.1, and RFC 8200, 5.
const fn floor(inner: IpVersion) -> usize {
    match inner {
        IpVersion::V4 => 576,
        IpVersion::V6 => 1280,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padded_len;

    const V4: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    const NOW: Instant = Instant::from_nanos(5_000_000_000_000);

    fn after(secs: u64) -> Instant {
        NOW.saturating_add(Duration::from_secs(secs))
    }

    fn heard(to: IpAddr, mtu: u16) -> PathMtu {
        let mut path = PathMtu::default();
        path.narrow(to, mtu, NOW);
        path
    }

    #[test]
    fn limits_follow_the_table() {
        let (four, six) = (IpVersion::V4, IpVersion::V6);
        for (to, outer, inner, tunnel, limit) in [
            // Ethernet carries a full tunnel, over either version.
            (V4, 1500, four, 1420, None),
            (V6, 1500, four, 1420, None),
            (V6, 1499, four, 1420, Some(1408)),
            (V4, 1480, six, 1420, None),
            (V4, 1479, six, 1420, Some(1408)),
            // PPPoE.
            (V4, 1492, four, 1420, None),
            (V6, 1492, four, 1420, Some(1408)),
            (V6, 1488, four, 1420, Some(1408)),
            (V6, 1487, four, 1420, Some(1392)),
            (V4, 1400, four, 1420, Some(1328)),
            (V4, 1400, six, 1420, Some(1328)),
            // A tunnel of its own narrow MTU needs no less than that.
            (V4, 1400, four, 1340, None),
            (V4, 1400, four, 1280, None),
            (V6, 1280, four, 1420, Some(1200)),
            // The floors.
            (V6, 1280, six, 1420, Some(1280)),
            (V6, 1280, six, 1280, None),
            (V4, 576, four, 1420, Some(576)),
            (V4, 68, four, 1420, Some(576)),
            (V4, 68, six, 1420, Some(1280)),
            (V4, 68, four, 500, None),
            // No MTU is known.
            (V4, 1500, four, 0, Some(1440)),
            (V4, u16::MAX, four, 0, Some(65_472)),
            (V4, 9000, four, 65_503, Some(8928)),
            // What is below what every link must carry is no news.
            (V4, 67, four, 1420, None),
            (V4, 0, four, 1420, None),
            (V6, 1279, four, 1420, None),
            (V6, 0, six, 1420, None),
        ] {
            let path = heard(to, outer);
            assert_eq!(path.limit(to, inner, tunnel, NOW), limit, "{outer} to {to}, {inner:?} in {tunnel}");
        }
    }

    #[test]
    fn limit_is_the_longest_that_passes_padded() {
        for (to, header) in [(V4, 28), (V6, 48)] {
            for tunnel in [0, 1280, 1400, 1419, 1420, 1421, 1440, 8920] {
                for outer in 1280..1560_u16 {
                    let passes = |len| header + 32 + padded_len(len, tunnel) <= usize::from(outer);
                    let longest = if tunnel == 0 { 9000 } else { tunnel };
                    // All up to it pass, and not one more.
                    let expected = (0..=longest).find(|len| !passes(*len)).map(|len| len - 1);
                    let limit = heard(to, outer).limit(to, IpVersion::V4, tunnel, NOW);
                    assert_eq!(limit, expected, "{outer} to {to}, tunnel {tunnel}");
                }
            }
        }
    }

    #[test]
    fn path_without_news_takes_what_ip_has_a_length_for() {
        for (to, tunnel, limit) in [
            (V4, 1420, None),
            (V4, 65_475, None),
            (V4, 65_476, Some(65_472)),
            (V4, 65_535, Some(65_472)),
            (V6, 65_455, None),
            (V6, 65_535, Some(65_440)),
        ] {
            for inner in [IpVersion::V4, IpVersion::V6] {
                assert_eq!(PathMtu::default().limit(to, inner, tunnel, NOW), limit, "{tunnel} to {to}");
            }
        }
    }

    #[test]
    fn path_does_not_widen_while_news_counts() {
        let limit = |path: &PathMtu, now| path.limit(V4, IpVersion::V4, 1420, now);
        let mut path = heard(V4, 1400);
        path.narrow(V4, 1450, after(1));
        assert_eq!(limit(&path, after(1)), Some(1328));
        path.narrow(V4, 1300, after(2));
        assert_eq!(limit(&path, after(2)), Some(1232));
        path.narrow(V4, 1450, after(603));
        assert_eq!(limit(&path, after(603)), Some(1376));
    }

    #[test]
    fn news_is_forgotten_after_ten_minutes() {
        let mut path = heard(V4, 1400);
        let limit = |path: &PathMtu, now| path.limit(V4, IpVersion::V4, 1420, now);
        assert_eq!(limit(&path, after(600)), Some(1328));
        assert_eq!(limit(&path, after(601)), None);
        // Said again, it counts for as long again.
        path.narrow(V4, 1400, after(500));
        assert_eq!(limit(&path, after(1100)), Some(1328));
        assert_eq!(limit(&path, after(1101)), None);
        // A clock that was set back by more than that makes old news of it, and not news without end (C132).
        assert_eq!(limit(&heard(V4, 1400), Instant::from_nanos(0)), None);
    }

    #[test]
    fn news_is_of_one_address() {
        let mut path = heard(V4, 1300);
        let other = [192, 0, 2, 2].into();
        assert_eq!(path.limit(other, IpVersion::V4, 1420, NOW), None);
        assert_eq!(path.limit(V6, IpVersion::V4, 1420, NOW), None);
        path.narrow(other, 1400, NOW);
        assert_eq!(path.limit(other, IpVersion::V4, 1420, NOW), Some(1328));
        assert_eq!(path.limit(V4, IpVersion::V4, 1420, NOW), None);
    }
}
