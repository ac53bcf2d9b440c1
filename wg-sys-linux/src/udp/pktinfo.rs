//! The local side of a datagram: learnt on receive, pinned on send (`IP_PKTINFO`, `IPV6_PKTINFO`; C90).
//!
//! Only the address is pinned, not the interface: with both, the kernel would go on sending into an interface that the
//! route has left, and nothing would report it. An address that is gone is refused with an error instead, which is how
//! a stale source is found (C91). Link-local IPv6 is the exception, as the address alone means nothing there (C96).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wg_proto::Source;

use super::cmsg::{Cmsg, ControlBuffer};

/// Length of `struct in_pktinfo`: interface, local address for answers, destination of the packet.
const V4_LEN: usize = 12;
/// Length of `struct in6_pktinfo`: address, interface.
const V6_LEN: usize = 20;

/// Reads the local side from a control message, if it is one that tells it.
pub(super) fn decode(message: &Cmsg<'_>) -> Option<Source> {
    match (message.level, message.kind) {
        (libc::SOL_IP, libc::IP_PKTINFO) => {
            let interface = u32::from_ne_bytes(*message.data.first_chunk()?);
            // The second field is the local address even if the packet was a broadcast.
            let addr = Ipv4Addr::from(*message.data.get(4..V4_LEN)?.first_chunk::<4>()?);
            Some(Source { addr: addr.into(), interface })
        }
        (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
            let addr = Ipv6Addr::from(*message.data.first_chunk::<16>()?);
            let interface = u32::from_ne_bytes(*message.data.get(16..V6_LEN)?.first_chunk()?);
            Some(Source { addr: addr.to_canonical(), interface })
        }
        _ => None,
    }
}

/// Adds the source to what goes with a datagram to `remote`. `false` if it cannot be one: wrong family, or no address.
pub(super) fn encode(control: &mut ControlBuffer, source: &Source, remote: &SocketAddr) -> bool {
    match (source.addr.to_canonical(), remote) {
        (IpAddr::V4(addr), SocketAddr::V4(_)) if is_unicast_v4(addr) => {
            let mut data = [0; V4_LEN];
            data[4..8].copy_from_slice(&addr.octets());
            control.push(libc::SOL_IP, libc::IP_PKTINFO, &data);
            true
        }
        (IpAddr::V6(addr), SocketAddr::V6(remote)) if !addr.is_unspecified() && !addr.is_multicast() => {
            let local = addr.is_unicast_link_local() || remote.ip().is_unicast_link_local();
            let interface = if local { source.interface } else { 0 };
            let mut data = [0; V6_LEN];
            data[..16].copy_from_slice(&addr.octets());
            data[16..].copy_from_slice(&interface.to_ne_bytes());
            control.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &data);
            true
        }
        _ => false,
    }
}

fn is_unicast_v4(addr: Ipv4Addr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && !addr.is_broadcast()
}

#[cfg(test)]
mod tests {
    use super::super::cmsg;
    use super::*;

    fn encoded(source: Source, remote: &str) -> Option<(IpAddr, u32)> {
        let mut control = ControlBuffer::new();
        let done = encode(&mut control, &source, &remote.parse().unwrap());
        let pinned = cmsg::iter(control.as_bytes()).find_map(|message| decode(&message));
        assert_eq!(done, pinned.is_some());
        pinned.map(|source| (source.addr, source.interface))
    }

    fn source(addr: &str) -> Source {
        Source { addr: addr.parse().unwrap(), interface: 4 }
    }

    #[test]
    fn address_is_pinned_without_the_interface() {
        assert_eq!(encoded(source("192.0.2.7"), "192.0.2.1:5"), Some(("192.0.2.7".parse().unwrap(), 0)));
        assert_eq!(
            encoded(source("2001:db8::7"), "[2001:db8::1]:5"),
            Some(("2001:db8::7".parse().unwrap(), 0))
        );
    }

    #[test]
    fn link_local_source_keeps_its_interface() {
        // C96
        assert_eq!(encoded(source("fe80::7"), "[fe80::1%4]:5"), Some(("fe80::7".parse().unwrap(), 4)));
    }

    #[test]
    fn source_that_cannot_be_one_is_left_out() {
        for (addr, remote) in [
            ("192.0.2.7", "[2001:db8::1]:5"),
            ("2001:db8::7", "192.0.2.1:5"),
            ("0.0.0.0", "192.0.2.1:5"),
            ("255.255.255.255", "192.0.2.1:5"),
            ("224.0.0.1", "192.0.2.1:5"),
            ("::", "[2001:db8::1]:5"),
            ("ff02::1", "[2001:db8::1]:5"),
        ] {
            assert_eq!(encoded(source(addr), remote), None, "{addr} to {remote}");
        }
    }

    #[test]
    fn mapped_source_counts_as_ipv4() {
        assert_eq!(
            encoded(source("::ffff:192.0.2.7"), "192.0.2.1:5"),
            Some(("192.0.2.7".parse().unwrap(), 0))
        );
    }

    #[test]
    fn answer_address_is_read_not_the_broadcast_it_came_to() {
        let mut data = [0; 12];
        data[..4].copy_from_slice(&3_u32.to_ne_bytes());
        data[4..8].copy_from_slice(&[192, 0, 2, 7]);
        data[8..].copy_from_slice(&[255; 4]);
        let message = Cmsg { level: libc::SOL_IP, kind: libc::IP_PKTINFO, data: &data };
        assert_eq!(decode(&message), Some(Source { addr: "192.0.2.7".parse().unwrap(), interface: 3 }));
    }

    #[test]
    fn short_messages_tell_nothing() {
        for (level, kind, len) in
            [(libc::SOL_IP, libc::IP_PKTINFO, V4_LEN), (libc::SOL_IPV6, libc::IPV6_PKTINFO, V6_LEN)]
        {
            for short in 0..len {
                assert_eq!(decode(&Cmsg { level, kind, data: &[1; V6_LEN][..short] }), None);
            }
        }
    }
}
