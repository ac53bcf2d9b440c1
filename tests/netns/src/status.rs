//! The state of a running tunnel, as its program reports it.

use core::net::SocketAddr;

use crate::key::Key;

/// What `wg show IF dump` and a UAPI `get` have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The private key, none if not set.
    pub private_key: Option<Key>,
    /// The UDP port, 0 if none.
    pub listen_port: u16,
    /// The mark of outer packets, 0 if none.
    pub fwmark: u32,
    /// The peers in the order of the report.
    pub peers: Vec<PeerStatus>,
}

/// One peer of a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its public key.
    pub public_key: Key,
    /// Its preshared key, none if all zero.
    pub preshared_key: Option<Key>,
    /// Where it is, if known.
    pub endpoint: Option<SocketAddr>,
    /// Its allowed IPs as text, such as `10.0.0.0/8`, in the order of the report.
    pub allowed_ips: Vec<String>,
    /// The latest handshake in seconds of Unix time, 0 if never.
    pub latest_handshake: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Seconds between persistent keepalives, 0 if off.
    pub persistent_keepalive: u16,
}

impl Status {
    /// The peer with that key.
    pub fn peer(&self, public_key: &Key) -> Option<&PeerStatus> {
        self.peers.iter().find(|peer| peer.public_key == *public_key)
    }
}

impl PeerStatus {
    pub(crate) const fn new(public_key: Key) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            allowed_ips: Vec::new(),
            latest_handshake: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            persistent_keepalive: 0,
        }
    }
}
