//! A device: its static key, its peers, and what they share. All of it belongs to one home core.
//!
//! Where several cores share the work, each has a device, see [`Device::set_home`].
//!
//! Drive it through a [`crate::Lane`], which joins it to a TUN device and sockets; configure it in between with the calls of
//! this module, which take effect at once while traffic flows. It makes no syscall, reads no clock, and draws entropy only
//! from the source it was given.

mod config;
mod handover;
mod handshake;
mod rehome;
mod split;
mod timers;

pub use config::{ConfigError, PeerStatus};
pub(crate) use handover::{HANDOVERS, Handover};
pub(crate) use handshake::{ControlDatagram, HANDSHAKE_GROUP};

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::wire::TRANSPORT_OVERHEAD;
use wg_proto::{
    DhError, Guard, Instant, PrivateKey, PublicKey, RateLimiter, SessionIndex, SharedSecret, StaticIdentity,
    Trigger, UnixTime, wipe_stack,
};

use crate::allowed_ips::{AllowedIps, PeerSlot};
use crate::deadlines::Deadlines;
use crate::drop::DropReason;
use crate::home::HomeId;
use crate::index_table::IndexTable;
use crate::peer_table::{PeerTable, keypair_bytes};
use crate::queue::FlowHash;
use crate::split::ForeignKeys;
use crate::staged::StagedPool;
use crate::stats::DropCounters;
use handover::Handovers;
use handshake::HandshakeQueue;
use split::Untold;

/// Both clocks, read once for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock that counts suspended time.
    pub instant: Instant,
    /// The wall clock.
    pub wall: UnixTime,
}

/// Bounds of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most peers.
    pub max_peers: usize,
    /// The MTU of the TUN device, for padding; 0 if none is known.
    pub mtu: usize,
    /// Memory for packets that wait for a session, all peers together, in bytes.
    pub staged_bytes: usize,
    /// Handshake messages that wait; from an eighth of it on the device is under load.
    pub handshake_queue: usize,
    /// The most allowed IPs, those of all peers together.
    pub max_allowed_ips: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_peers: 1 << 16,
            mtu: 1420,
            staged_bytes: 4 << 20,
            handshake_queue: 1024,
            max_allowed_ips: 1 << 20,
        }
    }
}

/// What an idle peer takes, with its places in all tables; see `wg-datapath/tests/memory.rs`.
const IDLE_PEER: usize = 1536;
/// What an allowed IP takes: two nodes of the table, in blocks that are half full and an arena that has just grown, its owner and
/// its place in the listing.
const ALLOWED_IP: usize = 512;
/// What a device takes that has nothing to do: tables of a few places, and those of the allowed IPs that are there as soon as
/// there are many.
const EMPTY_DEVICE: usize = 64 << 10;

impl Config {
    /// The most memory that a device of these bounds takes, in bytes as they are asked for from the allocator; `A` is the backend
    /// of transport data. A lane has its own: [`Lane::max_memory`](crate::Lane::max_memory).
    ///
    /// ```text
    ///     max_peers       * (1.5 KiB + 3 keypairs, each with its window and two keys
    ///                        + what other lanes know of these keys while counters are split)
    ///   + max_allowed_ips * 512 B
    ///   + staged_bytes    * (1 + one place for each 256 B)
    ///   + handshake_queue * 2 * (a message and where it came from)
    ///   + the limiter, 4,096 sources
    /// ```
    ///
    /// What was allocated is not given back in every case: a table whose prefixes change without end may take a few times as
    /// much as one to which they were added.
    #[must_use]
    pub const fn max_memory<A>(&self) -> usize {
        let peer = IDLE_PEER + 3 * keypair_bytes::<A>() + ForeignKeys::<A>::peer_bytes();
        let messages = if self.handshake_queue < 8 { 8 } else { self.handshake_queue };
        EMPTY_DEVICE
            .saturating_add(self.max_peers.saturating_mul(peer))
            .saturating_add(self.max_allowed_ips.saturating_mul(ALLOWED_IP))
            .saturating_add(StagedPool::max_memory(self.staged_bytes))
            .saturating_add(messages.saturating_mul(HandshakeQueue::BYTES_PER_MESSAGE))
            .saturating_add(LIMITER_SHARDS * size_of::<RateLimiter<SOURCES_PER_SHARD>>())
    }
}

/// The limiter knows 4,096 sources, in this many parts of [`SOURCES_PER_SHARD`].
const LIMITER_SHARDS: usize = 16;
const SOURCES_PER_SHARD: usize = 256;

/// The longest packet there is room for in a datagram (C99).
const MAX_MTU: usize = 65_535 - TRANSPORT_OVERHEAD;

const fn capped_mtu(mtu: usize) -> usize {
    if mtu > MAX_MTU { MAX_MTU } else { mtu }
}

/// The static key of the device: here, or held elsewhere.
enum LocalKey<D> {
    Private(D),
    External(Box<dyn StaticIdentity + Send>),
}

impl<D: Dh> LocalKey<D> {
    fn identity(&self) -> &dyn StaticIdentity {
        match self {
            Self::Private(key) => key,
            Self::External(identity) => &**identity,
        }
    }
}

/// The static key and what is derived from it.
pub(crate) struct Identity<D> {
    key: LocalKey<D>,
    public: PublicKey,
    guard: Guard,
}

impl<D: Dh> Identity<D> {
    fn new(key: LocalKey<D>) -> Self {
        let public = key.identity().public_key();
        Self { key, public, guard: Guard::new(&public) }
    }
}

impl<D: Dh> StaticIdentity for Identity<D> {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        self.key.identity().diffie_hellman(their)
    }

    #[cfg(feature = "key-log")]
    fn private_key(&self) -> Option<&PrivateKey> {
        self.key.identity().private_key()
    }
}

/// A WireGuard device. `A` is the backend of transport data, `R` the entropy source, `D` the backend of private keys.
pub struct Device<A, R, D = PrivateKey> {
    pub(crate) identity: Option<Identity<D>>,
    pub(crate) peers: PeerTable<A>,
    pub(crate) indices: IndexTable,
    pub(crate) allowed_ips: AllowedIps,
    pub(crate) staged: StagedPool,
    pub(crate) drops: DropCounters,
    pub(crate) mtu: usize,
    /// Tells inner flows apart.
    pub(crate) flow_hash: FlowHash,
    /// How often the static key changed: what was made under an older one must not leave any more.
    pub(crate) key_changes: u32,
    rng: R,
    up: bool,
    max_peers: usize,
    max_allowed_ips: usize,
    handshakes: HandshakeQueue,
    handovers: Handovers,
    /// Indices that were drawn here of sessions that are elsewhere now.
    forwarded: Vec<SessionIndex>,
    /// What is received here for other homes, and whose keys they are to be told of, while counters are split.
    pub(crate) foreign_keys: ForeignKeys<A>,
    untold: Option<Untold>,
    limiter: Vec<RateLimiter<SOURCES_PER_SHARD>>,
    limiter_key: u64,
    deadlines: Deadlines,
    /// Peers that want an initiation or keepalive sent; each at most once.
    work: VecDeque<PeerSlot>,
    /// Peers whose staged packets may go; each at most once.
    flush: VecDeque<PeerSlot>,
    /// The last piece of control work was one of `work`: a handshake message that waits is next.
    own_was_last: bool,
    #[cfg(feature = "key-log")]
    key_log: Option<&'static dyn wg_proto::KeyLog>,
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Makes a device without a key or peers, and down: see [`Self::set_up`].
    ///
    /// # Errors
    ///
    /// The error of the entropy source, which is asked for the secrets of the limiter and of the hash of flows.
    pub fn new(config: Config, mut rng: R) -> Result<Self, R::Error> {
        let limiter_key = rng.try_next_u64()?;
        let flow_hash = FlowHash::new(rng.try_next_u64()?);
        Ok(Self {
            identity: None,
            peers: PeerTable::default(),
            indices: IndexTable::default(),
            allowed_ips: AllowedIps::new(),
            staged: StagedPool::new(config.staged_bytes),
            drops: DropCounters::default(),
            mtu: capped_mtu(config.mtu),
            flow_hash,
            key_changes: 0,
            rng,
            up: false,
            max_peers: config.max_peers,
            max_allowed_ips: config.max_allowed_ips,
            handshakes: HandshakeQueue::new(config.handshake_queue),
            handovers: Handovers::default(),
            forwarded: Vec::new(),
            foreign_keys: ForeignKeys::default(),
            untold: None,
            limiter: (0..LIMITER_SHARDS).map(|_| RateLimiter::new()).collect(),
            limiter_key,
            deadlines: Deadlines::default(),
            work: VecDeque::new(),
            flush: VecDeque::new(),
            own_was_last: false,
            #[cfg(feature = "key-log")]
            key_log: None,
        })
    }

    /// Makes this one of `homes` devices that share an interface and its peers, each on a core of its own. To be called once,
    /// before there are peers.
    ///
    /// All of them are configured alike: the same calls in the same order, except that one whose [`Self::add_peer`] failed is
    /// not called on the others. The home of a new peer, [`Self::next_home`], is where it is added first. A peer has the same
    /// handle everywhere; what is set of a peer whose home is elsewhere has no effect here, but that its allowed IPs are
    /// known. `reaches` tells whether the datagrams of a session index come to the sockets of this device: no other index
    /// is drawn.
    pub fn set_home(
        &mut self,
        home: HomeId,
        homes: usize,
        reaches: impl Fn(SessionIndex) -> bool + Send + 'static,
    ) {
        self.peers.set_home(home, homes);
        self.handovers = Handovers::new(home, homes);
        if homes > 1 {
            self.indices.set_filter(reaches);
        }
    }

    /// Returns how many packets and datagrams died, by reason.
    #[must_use]
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// Tells whether the device is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    // --- what peers want ---

    /// Someone wants a handshake with a peer; an initiation is sent as soon as the rules allow one.
    pub(crate) fn want_handshake(&mut self, slot: PeerSlot, trigger: Trigger, now: Now) {
        if !self.up {
            return;
        }
        let Some(peer) = self.peers.at_mut(slot) else { return };
        if peer.sessions.endpoint().is_none() {
            // Nowhere to send to: it is wanted again when there is, and what waits for it does not wait for ever (C49).
            if self.staged.len(slot) > 0 {
                peer.control.initiation_unsendable(now.instant);
            } else {
                peer.control.stop_retransmission();
            }
        } else if peer.control.want_initiation(trigger, now.instant) {
            peer.initiation_wanted = true;
            self.queue_work(slot);
        }
        self.touch(slot);
    }

    /// Staged packets wait: they go if there is a session, or a handshake is wanted.
    pub(crate) fn staged_waits(&mut self, slot: PeerSlot, now: Now) {
        if self.staged.len(slot) == 0 {
            return;
        }
        if self.peers.at(slot).is_some_and(|peer| peer.sessions.can_send(now.instant)) {
            self.queue_flush(slot);
        } else {
            self.want_handshake(slot, Trigger::Wanted, now);
        }
    }

    /// A keepalive is wanted, or the handshake it needs; staged packets do as well (C128).
    pub(crate) fn want_keepalive(&mut self, slot: PeerSlot, now: Now) {
        if self.staged.len(slot) > 0 {
            return self.staged_waits(slot, now);
        }
        let Some(peer) = self.peers.at_mut(slot) else { return };
        if peer.sessions.can_send(now.instant) {
            peer.keepalive_wanted = true;
            self.queue_work(slot);
        } else {
            self.want_handshake(slot, Trigger::Wanted, now);
        }
    }

    fn queue_work(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.at_mut(slot)
            && !core::mem::replace(&mut peer.queued, true)
        {
            self.work.push_back(slot);
        }
    }

    /// A peer has a session: its staged packets may go.
    pub(crate) fn queue_flush(&mut self, slot: PeerSlot) {
        if self.staged.len(slot) > 0
            && let Some(peer) = self.peers.at_mut(slot)
            && !core::mem::replace(&mut peer.flush_queued, true)
        {
            self.flush.push_back(slot);
        }
    }

    /// The next peer whose staged packets may go. It stays in the queue until they are gone or cannot.
    pub(crate) fn next_flush(&self) -> Option<PeerSlot> {
        self.flush.front().copied()
    }

    pub(crate) fn flush_done(&mut self) {
        if let Some(peer) = self.flush.pop_front().and_then(|slot| self.peers.at_mut(slot)) {
            peer.flush_queued = false;
        }
    }

    /// The path to an address does not pass IP packets of more than so many bytes.
    pub(crate) fn path_is_narrow(&mut self, to: SocketAddr, mtu: u16, now: Instant) {
        for peer in self.peers.iter_mut() {
            if peer.sessions.endpoint().is_some_and(|endpoint| endpoint.remote == to) {
                peer.path_mtu.narrow(to.ip(), mtu, now);
            }
        }
    }

    pub(crate) fn drop_staged(&mut self, slot: PeerSlot, reason: DropReason) {
        let dropped = self.staged.clear(slot);
        self.drops.count_many(reason, dropped as u64);
    }

    /// Frees the indices of keypairs that were pushed out.
    pub(crate) fn free_keypairs(&mut self, retired: &wg_proto::Retired) {
        for index in retired {
            self.indices.free(*index);
        }
    }

    pub(crate) fn free_index(&mut self, index: Option<SessionIndex>) {
        if let Some(index) = index {
            self.indices.free(index);
        }
    }

    /// Returns how many packets wait for a session, those of all peers.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn staged_count(&self) -> usize {
        self.peers.iter().map(|peer| self.staged.len(peer.id.slot())).sum()
    }

    /// Returns how many session indices are in use.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub const fn index_count(&self) -> usize {
        self.indices.len()
    }

    /// Moves the next counter of the session that sends to a peer ahead, for tests near the limits.
    #[cfg(feature = "test-util")]
    pub fn set_next_counter(&mut self, id: crate::PeerId, counter: u64) {
        if let Some(current) = self.peers.get_mut(id).and_then(|peer| peer.sessions.current_mut())
            && current.next_counter() < counter
        {
            current.set_next_counter(counter);
        }
    }

    /// Checks what must hold at every step: the index table holds exactly what the peers hold (C43).
    ///
    /// # Panics
    ///
    /// If it does not.
    #[cfg(any(test, feature = "test-util"))]
    pub fn check_invariants(&self) {
        let mut held = 0;
        for peer in self.peers.iter() {
            let indices: Vec<_> = peer.sessions.local_indices().chain(peer.control.pending_index()).collect();
            assert!(indices.len() <= 4, "at most four indices a peer");
            for index in &indices {
                assert_eq!(self.indices.lookup(*index), Some(peer.id.slot()), "index belongs to its peer");
            }
            held += indices.len();
        }
        for index in &self.forwarded {
            assert!(self.elsewhere(*index).is_some(), "what is forwarded has another home");
        }
        held += self.forwarded.len();
        assert_eq!(self.indices.len(), held, "no index is left over");
        assert!(self.work.len() <= self.peers.slots() && self.flush.len() <= self.peers.slots());
    }
}

impl<A, R, D> Drop for Device<A, R, D> {
    fn drop(&mut self) {
        // What is in it wipes itself; what the ciphers left of its last packets does not.
        wipe_stack();
    }
}

impl<A, R, D> fmt::Debug for Device<A, R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("up", &self.up)
            .field("mtu", &self.mtu)
            .field("drops", &self.drops)
            .finish_non_exhaustive()
    }
}
