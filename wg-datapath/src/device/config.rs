//! Configuration while traffic flows (C133-C140). Every call takes effect at once.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::{
    Control, Endpoint, PresharedKey, PrivateKey, PublicKey, StaticIdentity, Trigger, UnixTime, wipe_stack,
    with_wiped_stack,
};

use super::{Device, Identity, LocalKey, Now};
use crate::allowed_ips::{IpPrefix, PeerSlot, TooManyPrefixes};
use crate::drop::DropReason;
use crate::home::HomeId;
use crate::peer_table::{Peer, PeerId};

/// Why a configuration was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The public key is our own (C134).
    OwnPublicKey,
    /// There are as many peers as there may be.
    TooManyPeers,
    /// There are as many allowed IPs as there may be.
    TooManyAllowedIps,
    /// The peer is gone.
    NoSuchPeer,
    /// The entropy source failed.
    Entropy,
    /// The holder of the private key does not answer.
    KeyUnavailable,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnPublicKey => "public key is our own",
            Self::TooManyPeers => "too many peers",
            Self::TooManyAllowedIps => "too many allowed IPs",
            Self::NoSuchPeer => "no such peer",
            Self::Entropy => "entropy source failed",
            Self::KeyUnavailable => "the holder of the private key does not answer",
        })
    }
}

impl core::error::Error for ConfigError {}

impl From<TooManyPrefixes> for ConfigError {
    fn from(_: TooManyPrefixes) -> Self {
        Self::TooManyAllowedIps
    }
}

/// What there is to know about a peer.
#[derive(Clone, Copy, Debug)]
pub struct PeerStatus<'a> {
    /// Its handle.
    pub id: PeerId,
    /// Its public key.
    pub public_key: PublicKey,
    /// Its pre-shared key.
    pub preshared_key: &'a PresharedKey,
    /// Where it is reached.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 for none.
    pub persistent_keepalive: u16,
    /// The wall-clock time of the last complete handshake.
    pub last_handshake: Option<UnixTime>,
    /// UDP payload bytes received, by the kernel's rules (C83).
    pub rx_bytes: u64,
    /// UDP payload bytes sent (C73).
    pub tx_bytes: u64,
    /// Messages in them, received and sent.
    pub messages: u64,
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    // --- the device ---

    /// Returns the public key of the device, if it has a private one.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.identity.as_ref().map(|identity| identity.public)
    }

    /// Returns the private key, if there is one and it is held here.
    #[must_use]
    pub fn private_key(&self) -> Option<&PrivateKey> {
        match &self.identity.as_ref()?.key {
            LocalKey::Private(key) => Some(key.as_private_key()),
            LocalKey::External(_) => None,
        }
    }

    /// Sets the private key, or removes it. The same key again changes nothing.
    ///
    /// A peer that has the public key of the new one is removed. No session sends any more; all of them receive until
    /// they expire; handshakes may start at once (C133). Staged packets of all peers ask for theirs (C48).
    pub fn set_private_key(&mut self, key: Option<PrivateKey>, now: Now) {
        if self.private_key() == key.as_ref() && (key.is_some() || self.identity.is_none()) {
            return;
        }
        with_wiped_stack(|| self.set_local_key(key.map(|key| LocalKey::Private(D::new(key))), now));
    }

    /// **Gives all secrets of the peers added from now on away** to `log`. See [`wg_proto::KeyLogRecord`].
    #[cfg(feature = "key-log")]
    pub const fn set_key_log(&mut self, log: &'static dyn wg_proto::KeyLog) {
        self.key_log = Some(log);
    }

    /// Sets a static key that is held elsewhere.
    pub fn set_identity(&mut self, identity: Box<dyn StaticIdentity + Send>, now: Now) {
        with_wiped_stack(|| self.set_local_key(Some(LocalKey::External(identity)), now));
    }

    fn set_local_key(&mut self, key: Option<LocalKey<D>>, now: Now) {
        self.identity = key.map(Identity::new);
        self.key_changes = self.key_changes.wrapping_add(1);
        if let Some((own, _)) = self.public_key().and_then(|own| self.peers.by_key(&own)) {
            self.remove_peer(own);
        }
        // Their MAC1 was for the key before.
        let waiting = self.handshakes.clear() + self.handovers.clear();
        let reason = if self.identity.is_some() { DropReason::InvalidMac1 } else { DropReason::NoPrivateKey };
        self.drops.count_many(reason, waiting);
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.sessions.expire_sending();
            let pending = match peer.control.set_identity(self.identity.as_ref()) {
                Ok(pending) => pending,
                Err(_) => {
                    // Without the shared secret there is no handshake; the rest of the state is as after any change.
                    self.drops.count(DropReason::NoPrivateKey);
                    peer.control.set_identity(None::<&Identity<D>>).unwrap_or_default()
                }
            };
            self.free_index(pending);
            if !self.may_handshake(id.slot()) {
                self.drop_staged(id.slot(), DropReason::LowOrderPeer);
            }
            self.start_peer(id.slot(), now);
        }
    }

    /// Returns the MTU that padding must not exceed; 0 if none is known.
    #[must_use]
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// Sets the MTU that padding must not exceed, with the next packet; more than fits a datagram is taken as the most
    /// that does (C99).
    pub const fn set_mtu(&mut self, mtu: usize) {
        self.mtu = super::capped_mtu(mtu);
    }

    /// Brings the device up or down (C129).
    ///
    /// Up: staged packets ask for a session, and so do peers with a persistent keepalive. Down: staged packets are dropped,
    /// timers stopped, handshakes and keys wiped; endpoints, counters, timestamps and the time of the last handshake stay.
    pub fn set_up(&mut self, up: bool, now: Now) {
        if core::mem::replace(&mut self.up, up) == up {
            return;
        }
        for id in self.peers.ids() {
            if up {
                self.start_peer(id.slot(), now);
            } else {
                self.stop_peer(id.slot(), DropReason::StagedDown);
            }
        }
        if !up {
            let waiting = self.handshakes.clear() + self.handovers.clear();
            self.drops.count_many(DropReason::DeviceDown, waiting);
        }
    }

    /// Wipes every key and handshake, as before the machine sleeps (C62). The device stays up and begins anew.
    pub fn zero_all_keys(&mut self) {
        for id in self.peers.ids() {
            self.zero_keys(id.slot());
        }
    }

    /// To be called when this state may run a second time, as after the restore of a snapshot of a virtual machine: no key
    /// there is now is used to send again, nor one that a handshake under way would end in (C61).
    pub fn on_vm_generation_change(&mut self) {
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.sessions.expire_sending();
            let pending = peer.control.clear_handshake();
            self.free_index(pending);
        }
    }

    /// A peer may have become able to talk: its staged packets want a session, or its persistent keepalive does.
    fn start_peer(&mut self, slot: PeerSlot, now: Now) {
        let persistent =
            self.peers.at(slot).is_some_and(|peer| !peer.sessions.persistent_keepalive().is_zero());
        if persistent {
            self.want_keepalive(slot, now);
        } else {
            self.staged_waits(slot, now);
        }
    }

    fn stop_peer(&mut self, slot: PeerSlot, reason: DropReason) {
        self.zero_keys(slot);
        self.drop_staged(slot, reason);
        if let Some(peer) = self.peers.at_mut(slot) {
            let pending = peer.control.stop();
            debug_assert!(pending.is_none(), "the handshake was cleared with the keys");
            peer.sessions.stop_timers();
            (peer.initiation_wanted, peer.keepalive_wanted) = (false, false);
        }
        self.forget_deadline(slot);
    }

    // --- peers ---

    /// Returns the peer that has this key.
    #[must_use]
    pub fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.peers.by_key(key).map(|(id, _)| id)
    }

    /// Returns all peers and where each is at home, the oldest first.
    pub fn homes(&self) -> impl Iterator<Item = (PeerId, HomeId)> {
        self.peers.all()
    }

    /// Returns where the next peer to be added will be at home, see [`Self::set_home`].
    #[must_use]
    pub fn next_home(&self) -> HomeId {
        self.peers.next_home()
    }

    /// Returns the number of peers.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Adds a peer, or returns the one that is there. Where its home is elsewhere, nothing but its key is kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OwnPublicKey`], [`ConfigError::TooManyPeers`], [`ConfigError::Entropy`],
    /// [`ConfigError::KeyUnavailable`].
    pub fn add_peer(&mut self, key: PublicKey) -> Result<PeerId, ConfigError> {
        if let Some((id, _)) = self.peers.by_key(&key) {
            return Ok(id);
        }
        if self.public_key() == Some(key) {
            return Err(ConfigError::OwnPublicKey);
        }
        if self.peers.len() >= self.max_peers {
            return Err(ConfigError::TooManyPeers);
        }
        let home = self.peers.next_home();
        if home != self.peers.home().0 {
            return Ok(self.peers.insert_foreign(key, home));
        }
        let seed = self.rng.try_next_u64().map_err(|_| ConfigError::Entropy)?;
        // A value that is made where a secret was keeps bits of it in what it does not use, such as an absent option: so the
        // stack is clean first, and the shared secret is computed when the peer is in its place.
        wipe_stack();
        let id = with_wiped_stack(|| self.insert_peer(key, seed))?;
        self.make_room();
        Ok(id)
    }

    /// Makes room for everything the peers may need, so that traffic allocates nothing.
    pub(super) fn make_room(&mut self) {
        self.indices.reserve(self.peers.len());
        self.staged.reserve(self.peers.slots());
        self.deadlines.reserve(self.peers.slots());
        self.work.reserve(self.peers.slots().saturating_sub(self.work.len()));
        self.flush.reserve(self.peers.slots().saturating_sub(self.flush.len()));
    }

    fn insert_peer(&mut self, key: PublicKey, seed: u64) -> Result<PeerId, ConfigError> {
        let id = self.peers.insert(Control::new(key, seed), seed.rotate_left(32));
        let Some(peer) = self.peers.get_mut(id) else { return Err(ConfigError::NoSuchPeer) };
        #[cfg(feature = "key-log")]
        peer.control.set_key_log(self.key_log);
        if peer.control.set_identity(self.identity.as_ref()).is_err() {
            self.peers.undo(id);
            return Err(ConfigError::KeyUnavailable);
        }
        Ok(id)
    }

    /// Removes a peer: it is gone from all tables at once, its keys wiped, its staged packets dropped (C137). Gone
    /// already is no error.
    pub fn remove_peer(&mut self, id: PeerId) {
        let slot = id.slot();
        if !self.peers.contains(id) {
            return;
        }
        self.stop_peer(slot, DropReason::StagedRemoved);
        self.stop_forwarding(slot);
        self.allowed_ips.remove_peer(slot);
        // A later peer in the same slot must not find itself queued already.
        self.work.retain(|queued| *queued != slot);
        self.flush.retain(|queued| *queued != slot);
        self.peers.remove(id);
    }

    /// Removes all peers.
    pub fn remove_all_peers(&mut self) {
        // Emptied once, so that no removal searches them.
        self.keep_forwarded(|_, _| false);
        self.work.clear();
        self.flush.clear();
        self.peers.take_active(|_| ());
        for (id, _) in self.peers.all().collect::<Vec<_>>() {
            self.remove_peer(id);
        }
    }

    /// Sets the pre-shared key, from the next handshake on (C135).
    pub fn set_preshared_key(&mut self, id: PeerId, psk: PresharedKey) {
        if let Some(peer) = self.peers.get_mut(id) {
            with_wiped_stack(|| peer.control.set_preshared_key(psk));
        }
    }

    /// Sets where the peer is reached; the next packet goes there (C140). An IPv4-mapped address is taken as IPv4 (C94).
    pub fn set_endpoint(&mut self, id: PeerId, remote: SocketAddr) {
        let remote = match remote {
            SocketAddr::V6(v6) => {
                v6.ip().to_ipv4_mapped().map_or(remote, |ip| SocketAddr::from((ip, v6.port())))
            }
            SocketAddr::V4(_) => remote,
        };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.sessions.set_endpoint(Some(Endpoint::new(remote)));
        }
    }

    /// Forgets the local addresses that all peers are answered from, as when the sockets change (C90, C95).
    pub fn forget_sources(&mut self) {
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.sessions.forget_source();
            }
        }
    }

    /// Forgets the local addresses that `is_stale` says no longer fit, as when routes changed (C90).
    pub fn forget_sources_if(&mut self, mut is_stale: impl FnMut(&Endpoint) -> bool) {
        for id in self.peers.ids() {
            if let Some(peer) = self.peers.get_mut(id)
                && peer.sessions.endpoint().is_some_and(&mut is_stale)
            {
                peer.sessions.forget_source();
            }
        }
    }

    /// Sets the seconds between persistent keepalives, 0 for none; when switched on while the device is up, one is sent
    /// at once (C127).
    pub fn set_persistent_keepalive(&mut self, id: PeerId, seconds: u16, now: Now) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.sessions.set_persistent_keepalive(Duration::from_secs(seconds.into())) && self.up {
            self.want_keepalive(id.slot(), now);
        }
        self.touch(id.slot());
    }

    /// Sends what is staged for a peer, or asks for the session it needs; to be called after a peer was configured (U14).
    ///
    /// A peer with a persistent keepalive that has no session asks for one too: what it lacked until now may have been an
    /// endpoint (C119).
    pub fn peer_configured(&mut self, id: PeerId, now: Now) {
        match self.peers.get(id) {
            Some(peer) if peer.sessions.can_send(now.instant) => self.staged_waits(id.slot(), now),
            Some(_) => self.start_peer(id.slot(), now),
            None => {}
        }
    }

    /// Asks for a handshake with a peer; at most one initiation in 5 s comes of it.
    pub fn initiate(&mut self, id: PeerId, now: Now) {
        if self.peers.get(id).is_some() {
            self.want_handshake(id.slot(), Trigger::Wanted, now);
        }
    }

    /// Removes all allowed IPs of a peer.
    pub fn clear_allowed_ips(&mut self, id: PeerId) {
        if self.peers.contains(id) {
            self.allowed_ips.remove_peer(id.slot());
        }
    }

    /// Gives a prefix to a peer, taking it from whoever had it (C136).
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoSuchPeer`], [`ConfigError::TooManyAllowedIps`].
    pub fn add_allowed_ip(&mut self, id: PeerId, prefix: IpPrefix) -> Result<(), ConfigError> {
        if !self.peers.contains(id) {
            return Err(ConfigError::NoSuchPeer);
        }
        let is_new = self.allowed_ips.insert(prefix, id.slot())?.is_none();
        if is_new && self.allowed_ips.len() > self.max_allowed_ips {
            self.allowed_ips.remove(prefix, id.slot());
            return Err(ConfigError::TooManyAllowedIps);
        }
        Ok(())
    }

    /// Takes a prefix from a peer; one that is not the peer's is no error (C136).
    pub fn remove_allowed_ip(&mut self, id: PeerId, prefix: IpPrefix) {
        if self.peers.contains(id) {
            self.allowed_ips.remove(prefix, id.slot());
        }
    }

    // --- reading ---

    /// Returns all peers whose home is here, the oldest first.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus<'_>> {
        self.peers.iter().map(status)
    }

    /// Tells of each peer whose home this is that data came from, or went to, since the last call, in no order. This takes time
    /// for these only, however many others there are.
    pub fn take_active(&mut self, mut each: impl FnMut(PeerStatus<'_>)) {
        self.peers.take_active(|peer| each(status(peer)));
    }

    /// Returns what there is to know about one peer; nothing if its home is elsewhere, or it is gone.
    #[must_use]
    pub fn status(&self, id: PeerId) -> Option<PeerStatus<'_>> {
        self.peers.get(id).map(status)
    }

    /// Returns the allowed IPs of a peer, in order.
    pub fn allowed_ips(&self, id: PeerId) -> impl Iterator<Item = IpPrefix> + '_ {
        let slot = self.peers.contains(id).then(|| id.slot());
        slot.into_iter().flat_map(|slot| self.allowed_ips.prefixes_of(slot))
    }
}

fn status<A: 'static>(peer: &Peer<A>) -> PeerStatus<'_> {
    PeerStatus {
        id: peer.id,
        public_key: *peer.control.remote_static(),
        preshared_key: peer.control.preshared_key(),
        endpoint: peer.sessions.endpoint().map(|endpoint| endpoint.remote),
        persistent_keepalive: u16::try_from(peer.sessions.persistent_keepalive().as_secs())
            .unwrap_or(u16::MAX),
        last_handshake: peer.control.last_handshake(),
        rx_bytes: peer.stats.rx_bytes,
        tx_bytes: peer.stats.tx_bytes,
        messages: peer.stats.rx_packets.wrapping_add(peer.stats.tx_packets),
    }
}
