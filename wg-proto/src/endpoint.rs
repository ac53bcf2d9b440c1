//! Where a peer is reached: its address, and the local address its datagrams come to.
//!
//! The endpoint moves only by authenticated, non-replayed packets and by configuration (C87-C89).

use core::net::{IpAddr, SocketAddr};

/// The local side of a received datagram, used as the source of answers (`pktinfo`, C90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The local address the datagram was sent to.
    pub addr: IpAddr,
    /// The index of the interface it came in by; 0 if unknown.
    pub interface: u32,
}

/// The outer address of a peer, with the local source to answer from, if one was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's address and port, with the scope id of a link-local IPv6 address.
    pub remote: SocketAddr,
    /// The sticky source; `None` lets the kernel choose.
    pub source: Option<Source>,
}

impl Endpoint {
    /// Makes an endpoint without a sticky source, as configuration does.
    #[must_use]
    pub const fn new(remote: SocketAddr) -> Self {
        Self { remote, source: None }
    }
}
