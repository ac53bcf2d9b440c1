//! The least one must know of an inner packet: version, addresses, length, ECN.
//!
//! The two directions ask for different things. Going out, only the destination matters and the header must
//! be there at all (C63): [`destination`]. Coming in, a decrypted packet may carry padding, so its own length
//! field says where it ends, and the source is checked (C80, C81): [`parse`]. Lengths are compared as `usize`:
//! an IPv6 payload length near 65,535 plus the header does not fit 16 bits.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow and fail")]
mod tests;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// The version in the first four bits of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The ECN field of an IP header (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// The transport does not understand ECN.
    #[default]
    NotEct,
    /// ECN-capable, codepoint 1.
    Ect1,
    /// ECN-capable, codepoint 0.
    Ect0,
    /// Congestion was experienced on the way.
    Ce,
}

impl Ecn {
    /// Reads the low two bits of a TOS or traffic class byte.
    #[must_use]
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits, as the low end of a TOS or traffic class byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }

    /// What the outer header of a packet with this inner field carries: the same, but no congestion that
    /// did not happen outside (RFC 3168, 9.1.1; C98).
    #[must_use]
    pub const fn outer(self) -> Self {
        match self {
            Self::Ce => Self::Ect0,
            other => other,
        }
    }
}

/// Why bytes are not an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IpError {
    /// The version is neither 4 nor 6.
    NotIp,
    /// The packet ends before its header does.
    TooShort,
    /// The length field names fewer bytes than the header or more than there are.
    BadLength,
}

impl fmt::Display for IpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIp => "neither IPv4 nor IPv6",
            Self::TooShort => "shorter than an IP header",
            Self::BadLength => "the IP length field does not fit the packet",
        })
    }
}

impl core::error::Error for IpError {}

/// A decrypted packet whose header was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpView {
    version: IpVersion,
    src: IpAddr,
    dst: IpAddr,
    total_len: usize,
    ecn: Ecn,
}

impl IpView {
    /// The IP version.
    #[must_use]
    pub const fn version(&self) -> IpVersion {
        self.version
    }

    /// The source address.
    #[must_use]
    pub const fn src(&self) -> IpAddr {
        self.src
    }

    /// The destination address.
    #[must_use]
    pub const fn dst(&self) -> IpAddr {
        self.dst
    }

    /// The length of header and payload; what follows is padding. Never more than was parsed.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.total_len
    }

    /// The ECN field.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        self.ecn
    }
}

/// Where an outgoing packet goes (C63).
///
/// # Errors
///
/// [`IpError::NotIp`] or [`IpError::TooShort`]; the length field is the receiver's business.
#[inline]
pub fn destination(packet: &[u8]) -> Result<IpAddr, IpError> {
    Ok(match Header::split(packet)? {
        Header::V4(header) => v4_dst(header),
        Header::V6(header) => v6_dst(header),
    })
}

/// The ECN field of a packet; [`Ecn::NotEct`] if it is not IP.
#[inline]
#[must_use]
pub fn ecn(packet: &[u8]) -> Ecn {
    match Header::split(packet) {
        Ok(Header::V4(header)) => v4_ecn(header),
        Ok(Header::V6(header)) => v6_ecn(header),
        Err(_) => Ecn::NotEct,
    }
}

/// Checks a decrypted packet and reads its header (C80).
///
/// # Errors
///
/// [`IpError`]: the packet must not be delivered.
///
/// # Examples
///
/// ```
/// use wg_datapath::ip;
///
/// let mut packet = [0; 32]; // 28 bytes and padding
/// packet[0] = 0x45;
/// packet[3] = 28;
/// packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
/// let view = ip::parse(&packet).unwrap();
/// assert_eq!((view.src(), view.total_len()), ([10, 0, 0, 1].into(), 28));
/// assert_eq!(ip::parse(&packet[..27]), Err(ip::IpError::BadLength));
/// ```
#[inline]
pub fn parse(packet: &[u8]) -> Result<IpView, IpError> {
    let view = match Header::split(packet)? {
        Header::V4(header) => {
            let &[_, _, high, low, ..] = header;
            let total_len = usize::from(u16::from_be_bytes([high, low]));
            if total_len < IPV4_HEADER {
                return Err(IpError::BadLength);
            }
            let src = v4_src(header);
            IpView { version: IpVersion::V4, src, dst: v4_dst(header), total_len, ecn: v4_ecn(header) }
        }
        Header::V6(header) => {
            let &[_, _, _, _, high, low, ..] = header;
            let total_len = IPV6_HEADER.saturating_add(usize::from(u16::from_be_bytes([high, low])));
            let src = v6_src(header);
            IpView { version: IpVersion::V6, src, dst: v6_dst(header), total_len, ecn: v6_ecn(header) }
        }
    };
    if view.total_len > packet.len() { Err(IpError::BadLength) } else { Ok(view) }
}

/// Marks an ECN-capable packet as having experienced congestion, and mends the IPv4 checksum (C98).
///
/// True if the packet carries the mark afterwards. One that is not ECN-capable, or not IP, is left alone.
pub fn mark_ce(packet: &mut [u8]) -> bool {
    match ecn(packet) {
        Ecn::NotEct => return false,
        Ecn::Ce => return true,
        Ecn::Ect0 | Ecn::Ect1 => {}
    }
    match packet {
        [first, tos, rest @ ..] if *first >> 4 == 4 => {
            let before = u16::from_be_bytes([*first, *tos]);
            *tos |= Ecn::Ce.bits();
            let after = u16::from_be_bytes([*first, *tos]);
            if let [_, _, _, _, _, _, _, _, high, low, ..] = rest {
                let checksum = u16::from_be_bytes([*high, *low]);
                [*high, *low] = updated_checksum(checksum, before, after).to_be_bytes();
            }
            true
        }
        [_, class_and_flow, ..] => {
            *class_and_flow |= Ecn::Ce.bits() << 4;
            true
        }
        _ => false,
    }
}

/// A header of which every byte is there.
enum Header<'a> {
    V4(&'a [u8; IPV4_HEADER]),
    V6(&'a [u8; IPV6_HEADER]),
}

impl<'a> Header<'a> {
    #[inline]
    fn split(packet: &'a [u8]) -> Result<Self, IpError> {
        let Some(first) = packet.first() else { return Err(IpError::TooShort) };
        match first >> 4 {
            4 => packet.first_chunk().map(Self::V4).ok_or(IpError::TooShort),
            6 => packet.first_chunk().map(Self::V6).ok_or(IpError::TooShort),
            _ => Err(IpError::NotIp),
        }
    }
}

fn v4_src(&[_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..]: &[u8; IPV4_HEADER]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn v4_dst(&[.., a, b, c, d]: &[u8; IPV4_HEADER]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn v4_ecn(&[_, tos, ..]: &[u8; IPV4_HEADER]) -> Ecn {
    Ecn::from_tos(tos)
}

fn v6_src(&[_, _, _, _, _, _, _, _, ref addresses @ ..]: &[u8; IPV6_HEADER]) -> IpAddr {
    let (src, _) = split_addresses(addresses);
    IpAddr::V6(Ipv6Addr::from_octets(src))
}

fn v6_dst(&[_, _, _, _, _, _, _, _, ref addresses @ ..]: &[u8; IPV6_HEADER]) -> IpAddr {
    let (_, dst) = split_addresses(addresses);
    IpAddr::V6(Ipv6Addr::from_octets(dst))
}

fn v6_ecn(&[_, class_and_flow, ..]: &[u8; IPV6_HEADER]) -> Ecn {
    Ecn::from_tos(class_and_flow >> 4)
}

fn split_addresses(addresses: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    let (first, second) = addresses.split_at(16);
    src.copy_from_slice(first);
    dst.copy_from_slice(second);
    (src, dst)
}

/// The Internet checksum after one 16-bit word of the data changed (RFC 1624, equation 3).
fn updated_checksum(checksum: u16, before: u16, after: u16) -> u16 {
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum.wrapping_add(u16::from(carry))
    };
    !add(add(!checksum, !before), after)
}
