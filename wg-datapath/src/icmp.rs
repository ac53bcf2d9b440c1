//! ICMP errors to the sender of an inner packet that cannot be sent on (C100): RFC 792 and RFC 4443.
//!
//! What is written goes back into the TUN, as if it had come from beyond the tunnel. No error is sent about
//!
//! | what | by |
//! |---|---|
//! | a header that is cut short, or whose version, lengths or checksum are wrong | RFC 1812, 4.3.2.7 and 5.2.2 |
//! | a packet that is cut short | as above |
//! | an ICMP error, a redirect, and an ICMP message of a type that is not known to be a query or a reply | RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e.1, e.2) |
//! | an ICMP message, or a chain of IPv6 extension headers, that ends before its type can be read | the same, as it may be an error |
//! | a fragment other than the first | RFC 1122, 3.2.2; in IPv6, as it may be of an error |
//! | a packet to a multicast or broadcast address | RFC 1122, 3.2.2; RFC 4443, 2.4 (e.3), whose exception for packets that are too big is not made use of |
//! | a packet from or to what names no single host: unspecified, loopback, multicast, broadcast, class E | RFC 1122, 3.2.2 and 3.2.1.3; RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e.6) |
//! | a packet from an address to itself | it would be an error from a host to itself |
//!
//! no error is sent
//!
//! | what | by |
//! |---|---|
//! | "too big" about an IPv4 packet that may be fragmented | RFC 792; RFC 1191, 4 |
//! | "too big" about a packet that is no longer than the MTU, or than what every link must carry (68, 1280) | RFC 791, 3.2; RFC 8200, 5 |
//! | from an IPv6 link-local address to one that is not, as nobody may forward it | RFC 4291, 2.5.6 |
//! | more often than [`IcmpLimiter`] allows | RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f) |
//!
//! The directed broadcast address of a subnet looks like any other here.
//!
//! **The source.** A host takes an IPv4 packet from outside that has one of its own addresses as source for a forgery and drops it,
//! so that the address of the tunnel's interface, which the kernel's module uses, would tell a TUN program's own host
//! nothing; with a strict reverse path filter any source fails that is not routed into the tunnel. The destination of the
//! packet passes both, and is what is taken where the caller names no source. RFC 4443, 2.2, asks for an address of the node
//! that answers; the gateway answers in the place of the destination.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow and fail")]
mod tests;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wg_aead::Sum;
use wg_proto::Instant;

/// Room that holds any error: the least MTU of IPv6, which an error must not exceed.
pub const MAX_LEN: usize = 1280;

/// The longest IPv4 error: what every host takes in (RFC 1812, 4.3.2.3).
const MAX_LEN_V4: usize = 576;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;
/// Bytes of an ICMP error before what it quotes.
const ICMP_HEADER: usize = 8;
/// The least MTU of a link that carries IPv4 (RFC 791, 3.2).
const MIN_MTU_V4: u16 = 68;
/// The least MTU of a link that carries IPv6 (RFC 8200, 5).
const MIN_MTU_V6: u16 = 1280;
/// Headers behind that of IPv6 that are looked at; RFC 8200, 4.1, names seven extensions in one packet.
const MAX_HEADERS: usize = 8;
/// The time to live of an error.
const HOP_LIMIT: u8 = 64;
/// Internetwork control, as RFC 1812, 4.3.2.5, asks of errors.
const TOS: u8 = 0xc0;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No peer has the destination, or the peer cannot be written to: it has no endpoint. Host unreachable (3/1) or address
    /// unreachable (1/3), as the kernel's module says in both cases.
    Unreachable,
    /// The packet does not fit. Fragmentation needed (3/4), if it must not be fragmented, or packet too big (2/0).
    PacketTooBig {
        /// The longest packet that would. What is told is never less than every link must carry: 68 in IPv4, 1280 in IPv6.
        mtu: u16,
    },
}

/// Writes an error about `packet` to its sender, and returns its length.
///
/// `packet` is an IP packet as it came from the TUN; bytes behind its end are not looked at. `source` is where the error comes
/// from, see [the module](self); without one, or with one of the other version or that names no host, it comes from the
/// destination of the packet. [`MAX_LEN`] bytes of room are always enough.
///
/// `None` if no error may be sent, by the rules of [the module](self), or there is no room for it.
///
/// # Examples
///
/// ```
/// use wg_datapath::icmp::{self, IcmpError};
///
/// let mut packet = [0; 28]; // A datagram from 10.0.0.1 to 10.9.0.2.
/// packet[..20].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x66, 0xc6, 10, 0, 0, 1, 10, 9, 0, 2]);
/// let mut out = [0; icmp::MAX_LEN];
/// assert_eq!(icmp::write(IcmpError::Unreachable, &packet, None, &mut out), Some(20 + 8 + 28));
/// assert_eq!(out[12..22], [10, 9, 0, 2, 10, 0, 0, 1, 3, 1]);
///
/// // There is no error about an error.
/// let error = out;
/// assert_eq!(icmp::write(IcmpError::Unreachable, &error, None, &mut out), None);
/// ```
#[must_use]
pub fn write(error: IcmpError, packet: &[u8], source: Option<IpAddr>, out: &mut [u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => write_v4(error, packet, source, out),
        6 => write_v6(error, packet, source, out),
        _ => None,
    }
}

/// Bounds the errors that are sent, to [`IcmpLimiter::PER_SECOND`] and [`IcmpLimiter::BURST`] at once (RFC 4443, 2.4 (f)).
///
/// Each lane has one, so that nothing is shared. It starts full.
#[derive(Clone, Copy, Debug)]
pub struct IcmpLimiter {
    last: Instant,
    /// Nanoseconds of budget.
    tokens: u64,
}

impl Default for IcmpLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl IcmpLimiter {
    /// Errors a second, in the long run.
    pub const PER_SECOND: u32 = 100;
    /// Errors at once.
    pub const BURST: u32 = 50;

    /// What one error costs.
    const COST: u64 = 1_000_000_000 / Self::PER_SECOND as u64;
    /// What the bucket holds.
    const CAPACITY: u64 = Self::COST * Self::BURST as u64;

    /// Makes a full bucket.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Instant::from_nanos(0), tokens: Self::CAPACITY }
    }

    /// Writes an error as [`write()`] does, if there may be one now. What gets no error costs nothing.
    #[must_use]
    pub fn write(
        &mut self,
        error: IcmpError,
        packet: &[u8],
        source: Option<IpAddr>,
        out: &mut [u8],
        now: Instant,
    ) -> Option<usize> {
        let earned = u64::try_from(now.saturating_duration_since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.last = now;
        self.tokens = self.tokens.saturating_add(earned).min(Self::CAPACITY);
        let left = self.tokens.checked_sub(Self::COST)?;
        let len = write(error, packet, source, out)?;
        self.tokens = left;
        Some(len)
    }
}

fn write_v4(error: IcmpError, packet: &[u8], source: Option<IpAddr>, out: &mut [u8]) -> Option<usize> {
    let &[first, _, high, low, _, _, fragment_high, fragment_low, _, protocol, _, _, ref addresses @ ..] =
        packet.first_chunk::<IPV4_HEADER>()?;
    let header_len = usize::from(first & 0xf).saturating_mul(4);
    let total_len = u16::from_be_bytes([high, low]);
    let packet = packet.get(..total_len.into())?;
    let (header, payload) = packet.split_at_checked(header_len)?;
    if header_len < IPV4_HEADER || !Sum::of(header).verifies() {
        return None;
    }
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    let (may_be_fragmented, offset) = (fragment & 0x4000 == 0, fragment & 0x1fff);
    if offset != 0 || (protocol == ICMP && !is_query_or_reply_v4(*payload.first()?)) {
        return None;
    }
    let &[a, b, c, d, ref dst @ ..] = addresses;
    let (sender, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::from_octets(*dst));
    if !is_host_v4(sender) || !is_host_v4(dst) || sender == dst {
        return None;
    }
    let (kind, code, mtu) = match error {
        IcmpError::Unreachable => (3, 1, 0),
        IcmpError::PacketTooBig { mtu } => {
            let mtu = mtu.max(MIN_MTU_V4);
            if may_be_fragmented || total_len <= mtu {
                return None;
            }
            (3, 4, mtu)
        }
    };
    let source = match source {
        Some(IpAddr::V4(source)) if is_host_v4(source) => source,
        _ => dst,
    };

    let quote = packet.get(..packet.len().min(MAX_LEN_V4 - IPV4_HEADER - ICMP_HEADER))?;
    let message_len = ICMP_HEADER.saturating_add(quote.len());
    let len = IPV4_HEADER.saturating_add(message_len);
    let (header, message) = out.get_mut(..len)?.split_first_chunk_mut::<IPV4_HEADER>()?;
    let [mtu_high, mtu_low] = mtu.to_be_bytes();
    write_message(message, [kind, code, 0, 0, 0, 0, mtu_high, mtu_low], quote, Sum::default())?;
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    let ([sa, sb, sc, sd], [da, db, dc, dd]) = (source.octets(), sender.octets());
    // Not to be fragmented, so that the identification may be 0 (RFC 6864).
    let before = [0x45, TOS, high, low, 0, 0, 0x40, 0, HOP_LIMIT, ICMP, 0, 0, sa, sb, sc, sd, da, db, dc, dd];
    *header = before;
    let [_, _, _, _, _, _, _, _, _, _, checksum @ .., _, _, _, _, _, _, _, _] = header;
    *checksum = Sum::of(&before).checksum();
    Some(len)
}

fn write_v6(error: IcmpError, packet: &[u8], source: Option<IpAddr>, out: &mut [u8]) -> Option<usize> {
    let &[_, _, _, _, high, low, next_header, _, ref addresses @ ..] = packet.first_chunk::<IPV6_HEADER>()?;
    let total_len = IPV6_HEADER.saturating_add(u16::from_be_bytes([high, low]).into());
    let packet = packet.get(..total_len)?;
    if may_be_error_v6(next_header, packet.get(IPV6_HEADER..)?) {
        return None;
    }
    let (sender, dst) = addresses.split_first_chunk::<16>()?;
    let (sender, dst) = (Ipv6Addr::from_octets(*sender), Ipv6Addr::from_octets(*dst.first_chunk()?));
    if !is_host_v6(sender) || !is_host_v6(dst) || sender == dst {
        return None;
    }
    let (kind, code, mtu) = match error {
        IcmpError::Unreachable => (1, 3, 0),
        IcmpError::PacketTooBig { mtu } => {
            let mtu = mtu.max(MIN_MTU_V6);
            if total_len <= usize::from(mtu) {
                return None;
            }
            (2, 0, mtu)
        }
    };
    let source = match source {
        Some(IpAddr::V6(source)) if is_host_v6(source) => source,
        _ => dst,
    };
    if source.is_unicast_link_local() && !sender.is_unicast_link_local() {
        return None;
    }

    let quote = packet.get(..packet.len().min(MAX_LEN - IPV6_HEADER - ICMP_HEADER))?;
    let message_len = ICMP_HEADER.saturating_add(quote.len());
    let len = IPV6_HEADER.saturating_add(message_len);
    let (header, message) = out.get_mut(..len)?.split_first_chunk_mut::<IPV6_HEADER>()?;
    let message_len = u16::try_from(message_len).ok()?;
    let pseudo_header = total([
        Sum::of(&source.octets()),
        Sum::of(&sender.octets()),
        Sum::of_word(message_len),
        Sum::of_word(ICMPV6.into()),
    ]);
    let [mtu_high, mtu_low] = mtu.to_be_bytes();
    write_message(message, [kind, code, 0, 0, 0, 0, mtu_high, mtu_low], quote, pseudo_header)?;
    let [high, low] = message_len.to_be_bytes();
    let (fixed, addresses) = header.split_first_chunk_mut::<8>()?;
    *fixed = [0x60, 0, 0, 0, high, low, ICMPV6, HOP_LIMIT];
    let (from, to) = addresses.split_first_chunk_mut::<16>()?;
    *from = source.octets();
    *to.first_chunk_mut()? = sender.octets();
    Some(len)
}

/// Writes the ICMP message into all of `message`.
fn write_message(
    message: &mut [u8],
    header: [u8; ICMP_HEADER],
    quote: &[u8],
    pseudo_header: Sum,
) -> Option<()> {
    let (place, rest) = message.split_first_chunk_mut::<ICMP_HEADER>()?;
    let [kind, code, _, _, unused_high, unused_low, mtu_high, mtu_low] = header;
    let [high, low] = total([pseudo_header, Sum::of(&header), Sum::of(quote)]).checksum();
    *place = [kind, code, high, low, unused_high, unused_low, mtu_high, mtu_low];
    (rest.len() == quote.len()).then(|| rest.copy_from_slice(quote))
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "sums are folded before they are added, and cannot overflow"
)]
fn total<const N: usize>(sums: [Sum; N]) -> Sum {
    sums.into_iter().fold(Sum::default(), |total, sum| total + sum)
}

/// Whether an ICMP type is known and no error: echo, router discovery, timestamp, information, address mask, extended echo.
const fn is_query_or_reply_v4(kind: u8) -> bool {
    matches!(kind, 0 | 8..=10 | 13..=18 | 42 | 43)
}

/// Whether an IPv6 payload is an ICMP error or redirect, or may be one that cannot be seen.
fn may_be_error_v6(mut next_header: u8, mut payload: &[u8]) -> bool {
    for _ in 0..MAX_HEADERS {
        let (next, len) = match (next_header, payload) {
            // Hop by hop, routing, destination options, mobility, host identity, shim: length in units of 8 bytes after the
            // first 8.
            (0 | 43 | 60 | 135 | 139 | 140, &[next, units, ..]) => {
                (next, usize::from(units).saturating_add(1).saturating_mul(8))
            }
            // A fragment; only the first has what follows.
            (44, &[next, _, high, low, ..]) if u16::from_be_bytes([high, low]) & 0xfff8 == 0 => (next, 8),
            // Authentication: in units of 4 bytes after the first 8.
            (51, &[next, units, ..]) => (next, usize::from(units).saturating_add(2).saturating_mul(4)),
            // Errors are the types below 128 (RFC 4443, 2.1); 137 is the redirect.
            (ICMPV6, &[kind, ..]) => return kind < 128 || kind == 137,
            (0 | 43 | 44 | 51 | ICMPV6 | 60 | 135 | 139 | 140, _) => return true,
            _ => return false,
        };
        let Some(rest) = payload.get(len..) else { return true };
        (next_header, payload) = (next, rest);
    }
    true
}

/// Whether an address may be that of one host on another.
const fn is_host_v4(addr: Ipv4Addr) -> bool {
    // This network, loopback, multicast, and class E with the broadcast address.
    !matches!(addr.octets(), [0 | 127 | 224.., ..])
}

/// Whether an address may be that of one host on another.
const fn is_host_v6(addr: Ipv6Addr) -> bool {
    !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast())
}
