//! A device that only keeps what it is told, in plain lists: what the configuration targets configure.

use core::net::SocketAddr;

use wg_datapath::IpPrefix;
use wg_gateway::uapi::{Configure, Errno, PeerSnapshot, Snapshot};
use wg_proto::{PresharedKey, PrivateKey, PublicKey};

use crate::paper::Pair;

/// The one port that is taken.
pub(crate) const TAKEN_PORT: u16 = 22;
/// The one mark that is refused.
pub(crate) const REFUSED_MARK: u32 = 666;
/// The most peers.
pub(crate) const MAX_PEERS: usize = 4;

/// The lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) private_key: Option<[u8; 32]>,
    pub(crate) listen_port: u16,
    pub(crate) firewall_mark: u32,
    pub(crate) peers: Vec<Peer>,
}

/// A peer of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) public_key: [u8; 32],
    pub(crate) preshared_key: [u8; 32],
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) keepalive: u16,
    pub(crate) allowed_ips: Vec<IpPrefix>,
    /// How often its lines came to an end.
    pub(crate) ends: usize,
}

impl Configured {
    pub(crate) fn own_key(&self) -> Option<[u8; 32]> {
        self.private_key.map(|key| Pair::new(key).public)
    }

    pub(crate) fn find(&self, key: &[u8; 32]) -> Option<usize> {
        self.peers.iter().position(|peer| peer.public_key == *key)
    }

    /// A peer that is there: a handle is not used after its peer was removed.
    pub(crate) fn peer_mut(&mut self, key: &[u8; 32]) -> &mut Peer {
        let at = self.find(key).expect("a handle is valid until its peer is removed");
        &mut self.peers[at]
    }

    pub(crate) fn set_key(&mut self, key: Option<[u8; 32]>) {
        self.private_key = key;
        if let Some(at) = self.own_key().and_then(|own| self.find(&own)) {
            self.peers.remove(at);
        }
    }

    pub(crate) fn add(&mut self, key: [u8; 32]) -> bool {
        assert!(self.find(&key).is_none() && self.own_key() != Some(key), "the caller has looked");
        let room = self.peers.len() < MAX_PEERS;
        if room {
            self.peers.push(Peer {
                public_key: key,
                preshared_key: [0; 32],
                endpoint: None,
                keepalive: 0,
                allowed_ips: Vec::new(),
                ends: 0,
            });
        }
        room
    }

    pub(crate) fn give(&mut self, key: &[u8; 32], prefix: IpPrefix) {
        for peer in self.peers.iter_mut().filter(|peer| peer.public_key != *key) {
            peer.allowed_ips.retain(|other| *other != prefix);
        }
        let own = &mut self.peer_mut(key).allowed_ips;
        if !own.contains(&prefix) {
            own.push(prefix);
        }
    }
}

impl Configure for Configured {
    type Peer = [u8; 32];

    fn set_strategy(&mut self, _kind: wg_sched::StrategyKind) -> Result<(), Errno> {
        Ok(())
    }

    fn set_private_key(&mut self, key: Option<PrivateKey>) {
        self.set_key(key.map(|key| *key.as_bytes()));
    }

    fn set_listen_port(&mut self, port: u16) -> Result<(), Errno> {
        if port == TAKEN_PORT {
            return Err(Errno::IN_USE);
        }
        self.listen_port = port;
        Ok(())
    }

    fn set_firewall_mark(&mut self, mark: u32) -> Result<(), Errno> {
        if mark == REFUSED_MARK {
            return Err(Errno::IN_USE);
        }
        self.firewall_mark = mark;
        Ok(())
    }

    fn remove_all_peers(&mut self) {
        self.peers.clear();
    }

    fn public_key(&self) -> Option<PublicKey> {
        self.own_key().map(PublicKey::from_bytes)
    }

    fn peer(&self, key: &PublicKey) -> Option<[u8; 32]> {
        self.find(key.as_bytes()).map(|_| *key.as_bytes())
    }

    fn add_peer(&mut self, key: PublicKey) -> Result<[u8; 32], Errno> {
        if self.add(*key.as_bytes()) { Ok(*key.as_bytes()) } else { Err(Errno::INVALID) }
    }

    fn remove_peer(&mut self, peer: [u8; 32]) {
        self.peer_mut(&peer);
        self.peers.retain(|other| other.public_key != peer);
    }

    fn set_preshared_key(&mut self, peer: [u8; 32], key: PresharedKey) {
        self.peer_mut(&peer).preshared_key = *key.as_bytes();
    }

    fn set_endpoint(&mut self, peer: [u8; 32], endpoint: SocketAddr) {
        self.peer_mut(&peer).endpoint = Some(endpoint);
    }

    fn set_persistent_keepalive(&mut self, peer: [u8; 32], seconds: u16) {
        self.peer_mut(&peer).keepalive = seconds;
    }

    fn clear_allowed_ips(&mut self, peer: [u8; 32]) {
        self.peer_mut(&peer).allowed_ips.clear();
    }

    fn add_allowed_ip(&mut self, peer: [u8; 32], prefix: IpPrefix) -> Result<(), Errno> {
        self.peer_mut(&peer);
        self.give(&peer, prefix);
        Ok(())
    }

    fn remove_allowed_ip(&mut self, peer: [u8; 32], prefix: IpPrefix) {
        self.peer_mut(&peer).allowed_ips.retain(|other| *other != prefix);
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }

    fn peer_configured(&mut self, peer: [u8; 32]) {
        self.peer_mut(&peer).ends += 1;
    }

    fn snapshot(&self) -> Snapshot {
        let peer = |peer: &Peer| PeerSnapshot {
            public_key: PublicKey::from_bytes(peer.public_key),
            preshared_key: Some(Box::new(PresharedKey::from_bytes(peer.preshared_key))),
            endpoint: peer.endpoint,
            last_handshake: None,
            tx_bytes: 0,
            rx_bytes: 0,
            persistent_keepalive: peer.keepalive,
            allowed_ips: peer.allowed_ips.clone(),
        };
        Snapshot {
            private_key: self.private_key.map(|key| Box::new(PrivateKey::from_bytes(key))),
            listen_port: self.listen_port,
            firewall_mark: self.firewall_mark,
            lane_moves: 0,
            lane_received: Vec::new(),
            strategy: None,
            lane_split: Vec::new(),
            dropped: Box::default(),
            peers: self.peers.iter().map(peer).collect(),
        }
    }
}
