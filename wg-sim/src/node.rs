//! What the simulator drives: a [`Node`], of which this crate has two and its users may have their own.
//!
//! A node is one host's implementation of WireGuard: whatever owns a `Peer` or a `Device`, keeps packets back, polls, and
//! sends. It is told of datagrams, packets, deadlines and configuration, with the time of its own clocks, and puts into an
//! [`Outbox`] what it does. Each call ends when there is nothing left to do at that time.

mod device;
mod peer;

pub use device::DeviceNode;
pub use peer::{PeerNode, reason_of};

use core::net::{Ipv4Addr, SocketAddr};
use core::ops::Range;

use wg_datapath::{DropReason, Now};
use wg_proto::{Instant, PresharedKey, PrivateKey, PublicKey, UnixTime};

use crate::draw::Entropy;

/// A peer as a node is told of it.
#[derive(Clone, Copy, Debug)]
pub struct PeerSpec {
    /// Its public key.
    pub public_key: PublicKey,
    /// Where it is reached.
    pub endpoint: SocketAddr,
    /// Its inner address, the one allowed IP it has.
    pub inner: Ipv4Addr,
}

/// What a node is made of.
#[derive(Debug)]
pub struct NodeSpec {
    /// The number of its host.
    pub host: u8,
    /// Its private key.
    pub private_key: PrivateKey,
    /// The peers it knows. One that holds a single peer takes the first.
    pub peers: Vec<PeerSpec>,
    /// Its entropy.
    pub entropy: Entropy,
    /// Its clocks.
    pub now: Now,
}

/// A change of configuration, or a command. Peers are named by their public keys; one that is not there is no error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Asks for a handshake.
    Initiate(PublicKey),
    /// Sets where a peer is reached.
    SetEndpoint(PublicKey, SocketAddr),
    /// Sets the seconds between persistent keepalives, 0 for none.
    SetPersistentKeepalive(PublicKey, u16),
    /// Sets the pre-shared key.
    SetPresharedKey(PublicKey, PresharedKey),
    /// Adds a peer that is not there.
    AddPeer(PeerSpec),
    /// Removes a peer.
    RemovePeer(PublicKey),
    /// Gives an inner address to a peer, or takes it away.
    AllowIp(PublicKey, Ipv4Addr, bool),
    /// Sets the private key, or removes it.
    SetPrivateKey(Option<PrivateKey>),
    /// Brings the interface up or down.
    SetUp(bool),
    /// Sets the MTU that padding must not exceed.
    SetMtu(u16),
    /// Wipes every key, as before the machine sleeps.
    ZeroKeys,
    /// The state may run a second time, as after the restore of a snapshot.
    GenerationChanged,
    /// The node is under load, or no longer.
    SetUnderLoad(bool),
    /// Moves the next counter of the session that sends to a peer ahead; one that is there already stays.
    SetCounter(PublicKey, u64),
}

/// One host's implementation of WireGuard.
///
/// What is due comes first: the simulator calls [`Self::timeout`] before any other call at a time that has reached
/// [`Self::next_timeout`].
pub trait Node {
    /// A datagram has come. `datagram` may be changed.
    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox);

    /// A datagram has come, and with it a copy from elsewhere, which stands behind it in what one call of a socket returned.
    ///
    /// A node that takes one datagram after the other has nothing to add.
    fn twins(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        copy_from: SocketAddr,
        now: Now,
        out: &mut Outbox,
    ) {
        let mut copy = datagram.to_vec();
        self.datagram(datagram, from, now, out);
        self.datagram(&mut copy, copy_from, now, out);
    }

    /// The host sends an inner packet: an IPv4 packet, or something shorter.
    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox);

    /// A deadline has come, or any time after it.
    fn timeout(&mut self, now: Now, out: &mut Outbox);

    /// Takes a command, and tells whether the node knows such.
    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool;

    /// Returns when [`Self::timeout`] is next to be called.
    fn next_timeout(&mut self) -> Option<Instant>;

    /// Returns where a peer is reached.
    fn endpoint(&mut self, peer: &PublicKey) -> Option<SocketAddr>;

    /// Returns the wall-clock time of the last complete handshake with a peer.
    fn last_handshake(&mut self, peer: &PublicKey) -> Option<UnixTime>;

    /// Returns how many peers the node has.
    fn peers(&mut self) -> usize;

    /// Returns how many session indices are in use, of handshakes and keypairs.
    fn indices(&mut self) -> usize;

    /// Returns how many inner packets wait for a session.
    fn staged(&mut self) -> usize;

    /// Tells whether the node finds out for itself that it is under load, and may answer with a cookie reply whenever many
    /// handshake messages came.
    fn decides_load(&self) -> bool {
        false
    }

    /// Checks whatever must hold inside, and panics if it does not (I3).
    fn check(&self) {}
}

/// What a node did in one call.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: Vec<(SocketAddr, Range<usize>)>,
    delivered: Vec<Range<usize>>,
    dropped: Vec<(DropReason, u64)>,
}

impl Outbox {
    /// A datagram leaves for `to`.
    pub fn transmit(&mut self, to: SocketAddr, datagram: &[u8]) {
        let range = self.put(datagram);
        self.sent.push((to, range));
    }

    /// An inner packet is delivered to the host.
    pub fn deliver(&mut self, packet: &[u8]) {
        let range = self.put(packet);
        self.delivered.push(range);
    }

    /// Packets or datagrams died: within [`Node::datagram`], the datagram that came, or packets that waited; within
    /// [`Node::packet`], the packet, or others that waited.
    pub fn dropped(&mut self, reason: DropReason, count: u64) {
        self.dropped.push((reason, count));
    }

    /// Returns the datagrams that leave, in order.
    pub fn sent(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.sent.iter().map(|(to, range)| (*to, self.get(range)))
    }

    /// Returns the packets that are delivered, in order.
    pub fn delivered(&self) -> impl Iterator<Item = &[u8]> {
        self.delivered.iter().map(|range| self.get(range))
    }

    /// Returns what died, and how many of each.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.dropped.iter().copied()
    }

    /// Makes room for what a call may come to, so that the memory of nodes can be told from that of the world.
    pub(crate) fn reserve(&mut self) {
        self.bytes.reserve(1 << 18);
        self.sent.reserve(512);
        self.delivered.reserve(16);
        self.dropped.reserve(64);
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn get(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sent.clear();
        self.delivered.clear();
        self.dropped.clear();
    }
}
