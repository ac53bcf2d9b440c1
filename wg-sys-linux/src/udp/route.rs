//! When a sticky IPv4 source has gone stale because the route to the peer has moved to another interface (C90).
//!
//! Such a source is still a valid address, so sending with it does not fail; it only makes answers come back the old
//! way. The kernel's own WireGuard compares interfaces at each route lookup. A program has no such moment: it hears of
//! changes and then asks for the route of each peer that has a source. For IPv6 the kernel makes no such comparison
//! either, and a lost address is found when sending.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use wg_proto::Endpoint;

use crate::Error;
use crate::netlink::{Request, Socket, attributes, u32_at};

/// The masks of the groups for interfaces, IPv4 addresses, IPv4 routes and IPv4 rules.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80;

const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_MARK: u16 = 16;

/// Tells when routes may have changed, and whether a sticky source still fits its route.
#[derive(Debug)]
pub struct RouteWatch {
    broadcasts: Socket,
    query: Socket,
}

impl RouteWatch {
    /// Starts to listen for changes in the network namespace of this thread, which must be that of the UDP sockets.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn open() -> Result<Self, Error> {
        let open = |groups| Socket::open(groups).map_err(Error::during("watch the routes"));
        Ok(Self { broadcasts: open(GROUPS)?, query: open(0)? })
    }

    /// Tells whether anything changed since the last call. Call it when the descriptor is readable, and if so ask
    /// [`is_stale`](Self::is_stale) for each peer that has a source.
    pub fn changed(&mut self) -> bool {
        self.broadcasts.drain()
    }

    /// Tells whether the endpoint's source must be forgotten: its IPv4 route with this source, under this fwmark, is
    /// gone or leaves by another interface than the source was learnt on.
    pub fn is_stale(&mut self, endpoint: &Endpoint, fwmark: u32) -> bool {
        let Some(source) = endpoint.source.filter(|source| source.interface != 0) else { return false };
        let (IpAddr::V4(from), SocketAddr::V4(to)) = (source.addr, endpoint.remote) else { return false };
        self.interface_of(from, *to.ip(), fwmark) != Some(source.interface)
    }

    /// The interface by which packets between these addresses leave.
    fn interface_of(&mut self, from: Ipv4Addr, to: Ipv4Addr, fwmark: u32) -> Option<u32> {
        // `struct rtmsg`: family, two prefix lengths, and nothing else that a query needs.
        let mut header = [0; 12];
        header[0] = u8::try_from(libc::AF_INET).ok()?;
        (header[1], header[2]) = (32, 32);
        let mut request = Request::query(RTM_GETROUTE, &header)
            .attribute(RTA_DST, &to.octets())
            .attribute(RTA_SRC, &from.octets());
        if fwmark != 0 {
            request = request.attribute(RTA_MARK, &fwmark.to_ne_bytes());
        }
        let answer = self.query.ask(request).ok()?;
        let (_, interface) = attributes(answer.get(header.len()..)?).find(|&(kind, _)| kind == RTA_OIF)?;
        u32_at(interface, 0)
    }
}

/// Readable when something may have changed.
impl AsFd for RouteWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.broadcasts.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use wg_proto::Source;

    use super::*;

    fn endpoint(remote: &str, source: &str, interface: u32) -> Endpoint {
        let source = Source { addr: source.parse().unwrap(), interface };
        Endpoint { remote: remote.parse().unwrap(), source: Some(source) }
    }

    #[test]
    fn source_fits_only_the_interface_of_its_route() {
        // Loopback always has index 1.
        let mut routes = RouteWatch::open().unwrap();
        assert!(!routes.is_stale(&endpoint("127.0.0.1:9", "127.0.0.2", 1), 0));
        assert!(routes.is_stale(&endpoint("127.0.0.1:9", "127.0.0.2", 7), 0));
        assert!(routes.is_stale(&endpoint("127.0.0.1:9", "192.0.2.77", 1), 0), "no such address here");
    }

    #[test]
    fn endpoints_without_an_ipv4_source_are_never_stale() {
        let mut routes = RouteWatch::open().unwrap();
        assert!(!routes.is_stale(&Endpoint::new("127.0.0.1:9".parse().unwrap()), 0));
        assert!(!routes.is_stale(&endpoint("[::1]:9", "::1", 7), 0));
        assert!(!routes.is_stale(&endpoint("127.0.0.1:9", "127.0.0.2", 0), 0), "interface unknown");
    }
}
