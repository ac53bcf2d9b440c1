//! The least one must know of an inner packet: version, addresses, length, ECN.
//!
//! The two directions ask for different things. Going out, only the destination matters and the header must
//! be there at all (C63): [`destination`]. Coming in, a decrypted packet may carry padding, so its own length
//! field says where it ends, and the source is checked (C80, C81): [`parse`]. Lengths are compared as `usize`:
//! an IPv6 payload length near 65,535 plus the header does not fit 16 bits.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod ecn;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow and fail")]
mod tests;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ecn::{Combined, Ecn, mark_ce, set_ecn};

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
