//! What the protocol needs of a device: the one trait between text and tunnel, and the state a get prints.

use core::net::SocketAddr;

use wg_datapath::{DropCounters, IpPrefix};
use wg_proto::{PresharedKey, PrivateKey, PublicKey, UnixTime};
use wg_sched::StrategyKind;

use super::Errno;

/// A device that can be configured: a thin layer over `wg_datapath::Device` and its sockets, or a model in tests.
///
/// Every method acts at once. The rules of the protocol (sections, dummies, order) are kept by
/// [`Transaction`](super::Transaction); an implementation only does what each method says.
pub trait Configure {
    /// A handle to a peer, valid until that peer is removed.
    type Peer: Copy;

    /// Sets or removes the private key, with all that follows for peers and sessions (C133).
    fn set_private_key(&mut self, key: Option<PrivateKey>);

    /// Moves the sockets to `port`; 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`Errno::IN_USE`] if the port cannot be had; the sockets then stay where they were (C93).
    fn set_listen_port(&mut self, port: u16) -> Result<(), Errno>;

    /// Sets the firewall mark of the sockets; 0 is none.
    ///
    /// # Errors
    ///
    /// [`Errno::IN_USE`] if the system refuses.
    fn set_firewall_mark(&mut self, mark: u32) -> Result<(), Errno>;

    /// Spreads the work over the threads in another way, while it goes on.
    ///
    /// # Errors
    ///
    /// [`Errno::INVALID`] if the strategy is not for threads.
    fn set_strategy(&mut self, kind: StrategyKind) -> Result<(), Errno>;

    /// Removes every peer.
    fn remove_all_peers(&mut self);

    /// Returns the public key of the device, if it has a key.
    fn public_key(&self) -> Option<PublicKey>;

    /// Finds a peer.
    fn peer(&self, key: &PublicKey) -> Option<Self::Peer>;

    /// Creates a peer that [`Configure::peer`] did not find and that is not the device itself.
    ///
    /// # Errors
    ///
    /// [`Errno::INVALID`] if there are too many peers, as wireguard-go answers.
    fn add_peer(&mut self, key: PublicKey) -> Result<Self::Peer, Errno>;

    /// Removes a peer and everything that belongs to it.
    fn remove_peer(&mut self, peer: Self::Peer);

    /// Sets the pre-shared key for the next handshake; all zero is none (C135).
    fn set_preshared_key(&mut self, peer: Self::Peer, key: PresharedKey);

    /// Sets where the peer is reached; a sticky source is forgotten (C140).
    fn set_endpoint(&mut self, peer: Self::Peer, endpoint: SocketAddr);

    /// Sets the interval of persistent keepalives; going from 0 to more sends one at once.
    ///
    /// Called at the end of a peer's lines, with the last value given, so that the packet it sends finds the endpoint
    /// and the keys of the same request.
    fn set_persistent_keepalive(&mut self, peer: Self::Peer, seconds: u16);

    /// Removes all allowed IPs of a peer.
    fn clear_allowed_ips(&mut self, peer: Self::Peer);

    /// Gives a prefix to a peer, taking it from the peer that has it (C136).
    ///
    /// # Errors
    ///
    /// An [`Errno`] if there is no room.
    fn add_allowed_ip(&mut self, peer: Self::Peer, prefix: IpPrefix) -> Result<(), Errno>;

    /// Takes a prefix from a peer; one that the peer does not have is left alone.
    fn remove_allowed_ip(&mut self, peer: Self::Peer, prefix: IpPrefix);

    /// Finds the index of an interface by name, for a scoped endpoint.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// Ends the lines of one peer, on every way out of a set that did not remove it: the place to start it and to
    /// send what is staged. Does nothing by default.
    fn peer_configured(&mut self, peer: Self::Peer) {
        let _ = peer;
    }

    /// Copies the whole state, for a get.
    fn snapshot(&self) -> Snapshot;
}

/// The state of a device at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The private key, if there is one. Boxed, so that moving the snapshot leaves no copy of it behind.
    pub private_key: Option<Box<PrivateKey>>,
    /// The port in use; 0 is left out of the reply.
    pub listen_port: u16,
    /// The firewall mark; 0 is left out of the reply.
    pub firewall_mark: u32,
    /// How many peers moved to another lane so far; 0 is left out of the reply.
    pub lane_moves: u64,
    /// How many datagrams came to the sockets of each lane so far, if there are several; nothing is left out of the reply.
    pub lane_received: Vec<u64>,
    /// The strategy that was chosen, and that which runs now; nothing is left out of the reply.
    pub strategy: Option<(StrategyKind, StrategyKind)>,
    /// The lanes whose peers others receive for.
    pub lane_split: Vec<usize>,
    /// What all lanes together dropped so far, by reason; zeros are left out of the reply. Boxed, as it is large and the snapshot
    /// is sent to another thread.
    pub dropped: Box<DropCounters>,
    /// The peers, in the order they are to be printed.
    pub peers: Vec<PeerSnapshot>,
}

/// The state of a peer at one moment.
#[derive(Debug)]
pub struct PeerSnapshot {
    /// The peer's public key.
    pub public_key: PublicKey,
    /// The pre-shared key; `None` prints as zeros. Boxed, so that a growing list leaves no copy of it behind.
    pub preshared_key: Option<Box<PresharedKey>>,
    /// Where the peer is reached, if known.
    pub endpoint: Option<SocketAddr>,
    /// The wall-clock time of the last handshake, if there was one.
    pub last_handshake: Option<UnixTime>,
    /// Bytes sent to the peer.
    pub tx_bytes: u64,
    /// Bytes received from the peer.
    pub rx_bytes: u64,
    /// The interval of persistent keepalives in seconds; 0 is off.
    pub persistent_keepalive: u16,
    /// The allowed IPs.
    pub allowed_ips: Vec<IpPrefix>,
}
