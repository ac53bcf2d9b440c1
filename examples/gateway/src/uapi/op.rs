//! One line of a set request, parsed: a key with its value, still to be applied.

use core::net::SocketAddr;

use wg_datapath::IpPrefix;
use wg_proto::{PresharedKey, PrivateKey, PublicKey};
use wg_sched::StrategyKind;

/// One line of a set request.
///
/// The secrets are boxed so that a growing list of lines leaves no copy of them behind; the boxes wipe on drop.
#[derive(Debug)]
pub enum Op {
    /// `private_key`: the device's key, or none.
    PrivateKey(Option<Box<PrivateKey>>),
    /// `listen_port`: 0 leaves the choice to the system.
    ListenPort(u16),
    /// `fwmark`: 0 is none.
    FirewallMark(u32),
    /// `strategy`: how the work is spread over the threads there are; an addition of ours.
    Strategy(StrategyKind),
    /// `replace_peers`: removes every peer.
    ReplacePeers,
    /// `public_key`: the lines that follow are about this peer.
    Peer(PublicKey),
    /// `update_only`: the peer must not be created.
    UpdateOnly,
    /// `remove`: the peer goes, and the rest of its lines with it.
    Remove,
    /// `preshared_key`: all zero is none.
    PresharedKey(Box<PresharedKey>),
    /// `endpoint`.
    Endpoint(Box<EndpointSpec>),
    /// `persistent_keepalive_interval`: seconds, 0 is off.
    PersistentKeepalive(u16),
    /// `replace_allowed_ips`: removes all of the peer's.
    ReplaceAllowedIps,
    /// `allowed_ip`.
    AddAllowedIp(IpPrefix),
    /// `allowed_ip` with a `-` in front.
    RemoveAllowedIp(IpPrefix),
}

/// An endpoint as written: an address, perhaps with a zone that only the system can turn into an interface index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The address and port; a zone written as a number is already its scope id.
    pub address: SocketAddr,
    /// The name of the interface of a scoped IPv6 address.
    pub zone: Option<Box<str>>,
}
