//! The configuration file that `wg setconf` reads, compiled to the operations that the configuration protocol applies.
//!
//! ```text
//! file    bytes of the file, bounded, wiped          the only I/O but name resolution
//! parse   bytes -> Conf                              pure; accepts any input and never panics
//!   value   one value: key, port, mark, prefix, endpoint
//! ops     Conf -> Vec<Op>                            names are resolved by a function of the caller
//! ```
//!
//! The grammar is that of `wg` (W1 to W4), as it shows from outside: sections and keys in any case, all white space
//! removed, `#` begins a comment anywhere, a line ends at a NUL byte. What is not given is reset, peers that are not in
//! the file go, and an error anywhere means that nothing is applied. Where it differs:
//!
//! - A port is at most 65535 and has no sign; in `wg` the C library lets it wrap.
//! - `+` and `-` in front of an allowed IP are understood, as by newer versions of `wg`.
//! - There are bounds, [`MAX_FILE_LEN`] and those in [`ErrorKind::TooMany`].
//! - No message repeats a line: it could hold a key.

mod error;
mod file;
mod ops;
mod parse;
mod resolve;
mod value;

use core::net::SocketAddr;

use wg_datapath::IpPrefix;
use wg_proto::{PresharedKey, PrivateKey, PublicKey};

pub use error::{ConfError, ErrorKind};
pub use file::{MAX_FILE_LEN, is_standard_input, is_world_accessible, read};
pub use resolve::{Resolve, ResolveError, Retries, SystemResolver};

/// A configuration file, parsed: what the interface is to become.
///
/// Secrets are boxed so that moving it leaves no copy of them behind; they are wiped when dropped, and do not print.
#[derive(Debug, Default)]
pub struct Conf {
    /// `PrivateKey`; none if it is absent or all zero.
    pub private_key: Option<Box<PrivateKey>>,
    /// `ListenPort`; port 0, the choice of the system, if it is absent.
    pub listen_port: ListenPort,
    /// `FwMark`; 0 is none.
    pub firewall_mark: u32,
    /// The `[Peer]` sections in order, also those that name the same peer again.
    pub peers: Vec<PeerConf>,
    /// Names in lines that a later line replaces. Like `wg`, we take the file only if they can be resolved, too.
    pub superseded: Vec<Name>,
    /// Lines with an allowed IP that has bits set behind its mask, which are dropped; the first 32 of them.
    pub host_bits: Vec<u32>,
}

/// One `[Peer]` section.
#[derive(Debug)]
pub struct PeerConf {
    /// `PublicKey`.
    pub public_key: PublicKey,
    /// `PresharedKey`; all zero is none.
    pub preshared_key: Option<Box<PresharedKey>>,
    /// `Endpoint`.
    pub endpoint: Option<EndpointConf>,
    /// `PersistentKeepalive` in seconds; 0 is off.
    pub persistent_keepalive: Option<u16>,
    /// The allowed IPs that the peer has go first: always, unless the last `AllowedIPs` line has a `+` or `-`.
    pub replace_allowed_ips: bool,
    /// `AllowedIPs` in order.
    pub allowed_ips: Vec<AllowedIpConf>,
}

/// A port to listen on, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenPort {
    /// A number.
    Number(u16),
    /// The name of a service.
    Service(Name),
}

impl Default for ListenPort {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// Where a peer is reached, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointConf {
    /// An address and a port in digits.
    Address(SocketAddr),
    /// Anything else.
    Name(Name),
}

/// What only a resolver can turn into an address or a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The line it is on.
    pub line: u32,
    /// The name of a host, or an address in a form that only the system reads; none for a port to listen on.
    pub host: Option<Box<str>>,
    /// Digits or the name of a service.
    pub port: Box<str>,
}

/// One element of `AllowedIPs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpConf {
    /// The prefix becomes the peer's.
    Add(IpPrefix),
    /// With `-` in front: the prefix is taken from the peer.
    Remove(IpPrefix),
}
