//! Socket addresses as the kernel lays them out, to and from [`SocketAddr`].
//!
//! Flow labels are zero both ways (C97). The scope id stays with link-local addresses and is dropped from others, where
//! it would make equal endpoints differ (C96). IPv4-mapped addresses become IPv4 (C94).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Length of `struct sockaddr_in6`, the longer of the two.
pub(super) const CAPACITY: usize = 28;
/// Length of `struct sockaddr_in`.
const V4_LEN: usize = 16;

#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const FAMILY_V4: u16 = libc::AF_INET as u16;
#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// A `struct sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct RawAddress {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl RawAddress {
    /// Lays out an address; the caller has normalised it.
    pub(super) fn new(address: &SocketAddr) -> Self {
        let mut bytes = [0; CAPACITY];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let len = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                V4_LEN
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                CAPACITY
            }
        };
        Self { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Reads an address the kernel wrote; `None` for any other family or a short one.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    if family == FAMILY_V4 {
        let address = Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?);
        return Some(SocketAddrV4::new(address, port).into());
    }
    if family == FAMILY_V6 {
        let address = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
        let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
        return Some(normalise(SocketAddrV6::new(address, port, 0, scope).into()));
    }
    None
}

/// The one form of an address in which equal endpoints are equal: no mapped address, no flow label, a scope id only
/// where it means something.
pub(super) fn normalise(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = address else { return address };
    match v6.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddrV4::new(v4, v6.port()).into(),
        IpAddr::V6(ip) => {
            let scope = if ip.is_unicast_link_local() { v6.scope_id() } else { 0 };
            SocketAddrV6::new(ip, v6.port(), 0, scope).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn round_trip(address: SocketAddr) -> Option<SocketAddr> {
        decode(RawAddress::new(&address).as_bytes())
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1:51820", "0.0.0.0:0", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            assert_eq!(round_trip(parse(text)), Some(parse(text)), "{text}");
        }
    }

    #[test]
    fn layout_has_the_length_of_the_kernel_structures() {
        assert_eq!(RawAddress::new(&parse("1.2.3.4:5")).as_bytes().len(), size_of::<libc::sockaddr_in>());
        assert_eq!(RawAddress::new(&parse("[::1]:5")).as_bytes().len(), size_of::<libc::sockaddr_in6>());
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        // C94
        assert_eq!(normalise(parse("[::ffff:192.0.2.1]:7")), parse("192.0.2.1:7"));
        assert_eq!(round_trip(parse("[::ffff:192.0.2.1]:7")), Some(parse("192.0.2.1:7")));
    }

    #[test]
    fn scope_and_flow_are_kept_only_where_they_mean_something() {
        // C96
        let with =
            |ip: &str, flow, scope| SocketAddr::V6(SocketAddrV6::new(ip.parse().unwrap(), 9, flow, scope));
        assert_eq!(normalise(with("fe80::1", 5, 3)), with("fe80::1", 0, 3));
        assert_eq!(normalise(with("2001:db8::1", 5, 3)), with("2001:db8::1", 0, 0));
    }

    #[test]
    fn short_or_foreign_addresses_are_none() {
        let v4 = RawAddress::new(&parse("1.2.3.4:5"));
        let v6 = RawAddress::new(&parse("[::1]:5"));
        for len in 0..8 {
            assert_eq!(decode(&v4.as_bytes()[..len]), None);
        }
        for len in 0..28 {
            assert_eq!(decode(&v6.as_bytes()[..len]), None);
        }
        assert_eq!(decode(&[0xff; 28]), None);
    }
}
