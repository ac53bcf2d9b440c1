//! The device with its sockets, as the configuration protocol sees it.

use core::net::SocketAddr;

use getrandom::SysRng;
use wg_datapath::{Config, ConfigError, Device, IpPrefix, Now, PeerId};
use wg_proto::{PresharedKey, PrivateKey, PublicKey};
use wg_sys_linux::{Error, Offloads, clock, interface_index};

use crate::log::PeerName;
use crate::sockets::Sockets;
use crate::uapi::{Configure, Errno, PeerSnapshot, Snapshot};

/// The backend of transport data.
pub(crate) type TunnelAead = wg_datapath::MultiBufferAead;

/// The backend of X25519.
#[cfg(feature = "aws-lc")]
pub(crate) type TunnelDh = wg_proto::dh::AwsLcDh;
#[cfg(not(feature = "aws-lc"))]
pub(crate) type TunnelDh = PrivateKey;

/// The device as the gateway makes it.
pub(crate) type TunnelDevice = Device<TunnelAead, SysRng, TunnelDh>;

/// A device and its sockets.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) device: TunnelDevice,
    pub(crate) sockets: Sockets,
    /// The interface is up. The device is too, unless its port could not be had.
    interface_up: bool,
}

/// Reads both clocks.
pub(crate) fn read_clocks() -> Now {
    Now { instant: clock::now(), wall: clock::wall() }
}

impl Tunnel {
    /// Makes a device without a key or peers, and down.
    pub(crate) fn new(mtu: usize, offloads: Offloads) -> Result<Self, getrandom::Error> {
        let device = Device::new(Config { mtu, ..Config::default() }, SysRng)?;
        Ok(Self { device, sockets: Sockets::new(offloads), interface_up: false })
    }

    /// Follows the interface up.
    pub(crate) fn up(&mut self) {
        self.interface_up = true;
        // Another port will be a new chance.
        let _ = self.start();
    }

    /// Opens the sockets, then starts the device, so that what it sends can leave.
    fn start(&mut self) -> Result<(), Error> {
        let opened = self.sockets.open();
        match &opened {
            Ok(()) => {
                self.device.set_up(true, read_clocks());
                tracing::debug!("device up, listening on port {}", self.sockets.port());
            }
            Err(error) => tracing::error!("device stays down, port {}: {error}", self.sockets.port()),
        }
        opened
    }

    /// Follows the interface down.
    pub(crate) fn down(&mut self) {
        self.interface_up = false;
        self.device.set_up(false, read_clocks());
        self.device.forget_sources();
        self.sockets.close();
        tracing::debug!("device down");
    }
}

impl Configure for Tunnel {
    type Peer = PeerId;

    fn set_private_key(&mut self, key: Option<PrivateKey>) {
        self.device.set_private_key(key, read_clocks());
    }

    fn set_listen_port(&mut self, port: u16) -> Result<(), Errno> {
        self.sockets.set_port(port).map_err(|error| {
            tracing::error!("port {port}: {error}");
            Errno::IN_USE
        })?;
        self.device.forget_sources();
        if self.interface_up && !self.device.is_up() {
            self.start().map_err(|_| Errno::IN_USE)?;
        }
        Ok(())
    }

    fn set_firewall_mark(&mut self, mark: u32) -> Result<(), Errno> {
        self.sockets.set_mark(mark).map_err(|error| {
            tracing::error!("mark {mark:#x}: {error}");
            Errno::IN_USE
        })?;
        self.device.forget_sources();
        Ok(())
    }

    fn remove_all_peers(&mut self) {
        self.device.remove_all_peers();
    }

    fn public_key(&self) -> Option<PublicKey> {
        self.device.public_key()
    }

    fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.device.peer(key)
    }

    fn add_peer(&mut self, key: PublicKey) -> Result<PeerId, Errno> {
        let added = self.device.add_peer(key).map_err(|error| match error {
            ConfigError::Entropy => Errno::IO,
            _ => Errno::INVALID,
        })?;
        tracing::debug!("{} added", PeerName(&key));
        Ok(added)
    }

    fn remove_peer(&mut self, peer: PeerId) {
        self.device.remove_peer(peer);
    }

    fn set_preshared_key(&mut self, peer: PeerId, key: PresharedKey) {
        self.device.set_preshared_key(peer, key);
    }

    fn set_endpoint(&mut self, peer: PeerId, endpoint: SocketAddr) {
        self.device.set_endpoint(peer, endpoint);
    }

    fn set_persistent_keepalive(&mut self, peer: PeerId, seconds: u16) {
        self.device.set_persistent_keepalive(peer, seconds, read_clocks());
    }

    fn clear_allowed_ips(&mut self, peer: PeerId) {
        self.device.clear_allowed_ips(peer);
    }

    fn add_allowed_ip(&mut self, peer: PeerId, prefix: IpPrefix) -> Result<(), Errno> {
        self.device.add_allowed_ip(peer, prefix).map_err(|_| Errno::INVALID)
    }

    fn remove_allowed_ip(&mut self, peer: PeerId, prefix: IpPrefix) {
        self.device.remove_allowed_ip(peer, prefix);
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        interface_index(name)
    }

    fn peer_configured(&mut self, peer: PeerId) {
        self.device.peer_configured(peer, read_clocks());
    }

    fn snapshot(&self) -> Snapshot {
        let peers = self.device.peers().map(|peer| PeerSnapshot {
            public_key: peer.public_key,
            preshared_key: (!peer.preshared_key.is_none()).then(|| Box::new(peer.preshared_key.duplicate())),
            endpoint: peer.endpoint,
            last_handshake: peer.last_handshake,
            tx_bytes: peer.tx_bytes,
            rx_bytes: peer.rx_bytes,
            persistent_keepalive: peer.persistent_keepalive,
            allowed_ips: self.device.allowed_ips(peer.id).collect(),
        });
        Snapshot {
            private_key: self.device.private_key().map(|key| Box::new(key.duplicate())),
            listen_port: self.sockets.port(),
            firewall_mark: self.sockets.mark(),
            peers: peers.collect(),
        }
    }
}
