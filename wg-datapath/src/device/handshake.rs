//! Handshake messages: the gate, a bounded queue behind it, and the handshake itself, one message at a time.
//!
//! A message enters the queue only with a valid MAC1, so junk cannot fill it. Under load those who have proven where they
//! are, and have a token left, wait apart from all others (C106); see `queue.rs` for what load is. Nothing leaves for an
//! unauthenticated message but a cookie reply under load (C7).

mod queue;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::noise::{IdentifiedInitiation, ReceivedInitiation, TransportKeys};
use wg_proto::wire::{CookieReply, INITIATION_LEN, Initiation, KEEPALIVE_LEN, Message, Response};
use wg_proto::{
    DhError, Endpoint, HandshakeMessage, Keypair, Load, Outgoing, RecvKey, Role, SendKey, StaticIdentity,
    Trigger, Verdict, with_wiped_stack,
};

use super::{Device, Now};
use crate::allowed_ips::PeerSlot;
use crate::drop::DropReason;
use crate::peer_table::PeerId;

pub(super) use queue::HandshakeQueue;
use queue::Waiting;

/// The TOS byte of initiations and responses: AF41, not ECN-capable (C98).
const HANDSHAKE_TOS: u8 = 0x88;

/// Handshake messages whose MAC1 is checked together: enough for the lanes of the hash, few enough for a small frame.
pub(crate) const HANDSHAKE_GROUP: usize = 16;

/// A datagram of control: handshake message, cookie reply or keepalive.
#[derive(Debug)]
pub(crate) struct ControlDatagram {
    pub(crate) bytes: heapless::Vec<u8, INITIATION_LEN>,
    pub(crate) endpoint: Endpoint,
    pub(crate) tos: u8,
    /// Whose counters it goes to; none for a cookie reply.
    pub(crate) peer: Option<PeerId>,
    /// How often the static key had changed when it was made.
    pub(crate) key_changes: u32,
}

impl ControlDatagram {
    fn new(message: &[u8], endpoint: Endpoint, tos: u8, peer: Option<PeerId>, key_changes: u32) -> Self {
        let mut bytes = heapless::Vec::new();
        let fits = bytes.extend_from_slice(message);
        debug_assert!(fits.is_ok(), "no control message is longer than an initiation");
        Self { bytes, endpoint, tos, peer, key_changes }
    }

    /// Tells whether this makes an earlier datagram pointless: it is of the same kind and for the same peer.
    pub(crate) fn replaces(&self, earlier: &Self) -> bool {
        self.peer.is_some() && self.peer == earlier.peer && self.bytes.first() == earlier.bytes.first()
    }
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Takes in handshake messages that may be for us, and cookie replies. What is dropped is counted.
    pub(crate) fn take_handshakes(&mut self, datagrams: &[(&[u8], Endpoint)], now: Now) {
        for datagrams in datagrams.chunks(HANDSHAKE_GROUP) {
            let right = self.verify_mac1(datagrams);
            for ((datagram, from), right) in datagrams.iter().zip(right) {
                if let Err(reason) = self.take_handshake(datagram, *from, right, now) {
                    self.drops.count(reason);
                }
            }
        }
    }

    /// Tells of each datagram whether it is a handshake message with a right MAC1: of all together, as that costs half. Of
    /// one that comes to nothing anyway it is not asked, and the answer is no.
    fn verify_mac1(&self, datagrams: &[(&[u8], Endpoint)]) -> [bool; HANDSHAKE_GROUP] {
        let mut right = [false; HANDSHAKE_GROUP];
        let Some(identity) = &self.identity else { return right };
        let mut asked = [[].as_slice(); HANDSHAKE_GROUP];
        for (asked, (datagram, _)) in asked.iter_mut().zip(datagrams) {
            let message = match Message::parse(datagram) {
                Ok(Message::Initiation(message)) => HandshakeMessage::Initiation(message),
                Ok(Message::Response(message)) => HandshakeMessage::Response(message),
                _ => continue,
            };
            if self.handshakes.has_room_for(&message) {
                *asked = datagram;
            }
        }
        identity.guard.verify_mac1_batch(asked.get(..datagrams.len()).unwrap_or(&asked), &mut right);
        right
    }

    /// Takes in a handshake message, if it may be one for us, or a cookie reply.
    ///
    /// Under load the second MAC is looked at here, before anything is queued: who has proven where he is does not wait
    /// behind those who have not.
    fn take_handshake(
        &mut self,
        datagram: &[u8],
        from: Endpoint,
        right_mac1: bool,
        now: Now,
    ) -> Result<(), DropReason> {
        let message = Message::parse(datagram).map_err(|_| DropReason::WrongMessageLength)?;
        if self.identity.is_none() {
            return Err(DropReason::NoPrivateKey);
        }
        let message = match message {
            Message::Initiation(message) => HandshakeMessage::Initiation(message),
            Message::Response(message) => HandshakeMessage::Response(message),
            Message::CookieReply(reply) => {
                return with_wiped_stack(|| self.consume_cookie_reply(&reply, now));
            }
            Message::TransportData(_) => return Err(DropReason::WrongMessageLength),
        };
        // Asked again, as those before it may have filled the queue. It only fills while they are taken in, so that of what
        // has room here MAC1 was looked at.
        if !self.handshakes.has_room_for(&message) {
            return Err(DropReason::HandshakeQueueFull);
        }
        if !right_mac1 {
            return Err(DropReason::InvalidMac1);
        }
        let bytes = heapless::Vec::from_slice(datagram).map_err(|_| DropReason::WrongMessageLength)?;
        let waiting = Waiting { bytes, from };
        let queued = if self.handshakes.load(now.instant) == Load::Normal {
            self.handshakes.push_waiting(waiting)
        } else if self.has_proven(&message, from, now)? {
            return self.handshakes.push_proven(waiting);
        } else {
            self.handshakes.in_vain(now.instant);
            self.handshakes.push_waiting(waiting)
        };
        if queued { Ok(()) } else { Err(DropReason::HandshakeQueueFull) }
    }

    /// Answers one message that came without proof, with a cookie, while the device is under load: work that costs little.
    /// None if none waits, or there is no load.
    pub(crate) fn challenge_next(&mut self, now: Now) -> Option<Option<ControlDatagram>> {
        let waiting = self.handshakes.pop_unproven(now.instant)?;
        Some(self.challenge(waiting, now).unwrap_or_else(|reason| {
            self.drops.count(reason);
            None
        }))
    }

    /// Does one piece of control work, which may be public-key work. None if there was none; what it came to is to be sent
    /// at once.
    pub(crate) fn control_work(&mut self, now: Now) -> Option<Option<ControlDatagram>> {
        let due = self.handle_timeouts(now);
        // By turns, so that a device that comes up with thousands of peers hears the first of them answer.
        let others_turn = core::mem::take(&mut self.own_was_last)
            && (self.handovers.waits() || self.handshakes.has_admitted(now.instant));
        if !others_turn && let Some(datagram) = self.next_own_datagram(now) {
            self.own_was_last = true;
            return Some(Some(datagram));
        }
        if due {
            return Some(None);
        }
        // What was handed over was let in where it came in, and waited there.
        if let Some(answered) = self.consume_handover(now) {
            return Some(answered);
        }
        let waiting = self.handshakes.pop_admitted(now.instant)?;
        Some(self.consume(&waiting, now).unwrap_or_else(|reason| {
            self.drops.count(reason);
            if is_in_vain(reason) {
                self.handshakes.in_vain(now.instant);
            }
            None
        }))
    }

    // --- what this side begins ---

    fn next_own_datagram(&mut self, now: Now) -> Option<ControlDatagram> {
        while let Some(slot) = self.work.front().copied() {
            let Some(peer) = self.peers.at_mut(slot) else {
                self.work.pop_front();
                continue;
            };
            if core::mem::take(&mut peer.initiation_wanted) {
                match self.create_initiation(slot, now) {
                    Ok(None) => {}
                    Ok(datagram) => return datagram,
                    Err(reason) => self.drops.count(reason),
                }
            } else if core::mem::take(&mut peer.keepalive_wanted) {
                if let Some(datagram) = self.create_keepalive(slot, now) {
                    return Some(datagram);
                }
            } else {
                peer.queued = false;
                self.work.pop_front();
            }
        }
        None
    }

    fn create_initiation(&mut self, slot: PeerSlot, now: Now) -> Result<Option<ControlDatagram>, DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownPeer)?;
        let endpoint = *peer.sessions.endpoint().ok_or(DropReason::NoEndpoint)?;
        // Asked again, as a response may have left since it was wanted (C45); it is put off then.
        if !peer.control.want_initiation(Trigger::Retransmission, now.instant) {
            self.touch(slot);
            return Ok(None);
        }
        let Ok(index) = self.indices.allocate(slot, &mut self.rng) else {
            peer.control.initiation_failed(now.instant);
            self.touch(slot);
            return Err(DropReason::NoEntropy);
        };
        let created = with_wiped_stack(|| {
            peer.control.create_initiation::<D, _>(
                &identity.public,
                index,
                now.instant,
                now.wall,
                &mut self.rng,
            )
        });
        match created {
            Ok((message, replaced)) => {
                peer.sessions.handshake_sent(now.instant);
                let datagram =
                    ControlDatagram::new(&message, endpoint, HANDSHAKE_TOS, Some(peer.id), self.key_changes);
                self.free_index(replaced);
                self.touch(slot);
                Ok(Some(datagram))
            }
            Err(error) => {
                self.indices.free(index);
                self.touch(slot);
                Err(error.into())
            }
        }
    }

    fn create_keepalive(&mut self, slot: PeerSlot, now: Now) -> Option<ControlDatagram> {
        let peer = self.peers.at_mut(slot)?;
        let endpoint = *peer.sessions.endpoint()?;
        let id = peer.id;
        let Ok(grant) = peer.sessions.begin_send(now.instant, Outgoing::Keepalive, 1) else {
            self.want_handshake(slot, Trigger::Wanted, now);
            return None;
        };
        let mut message = [0; KEEPALIVE_LEN];
        let sealed = grant.key.seal_in_place(grant.first_counter, &mut message);
        if grant.rekey_due {
            self.want_handshake(slot, Trigger::Wanted, now);
        }
        self.touch(slot);
        if sealed.is_err() {
            self.drops.count(DropReason::SealFailed);
            return None;
        }
        Some(ControlDatagram::new(&message, endpoint, 0, Some(id), self.key_changes))
    }

    // --- what the other side began ---

    fn consume(&mut self, waiting: &Waiting, now: Now) -> Result<Option<ControlDatagram>, DropReason> {
        match Message::parse(&waiting.bytes).map_err(|_| DropReason::WrongMessageLength)? {
            Message::Initiation(message) => {
                with_wiped_stack(|| self.consume_initiation(&message, waiting.from, now))
            }
            Message::Response(message) => {
                with_wiped_stack(|| self.consume_response(&message, waiting.from, now)).map(|()| None)
            }
            Message::CookieReply(_) | Message::TransportData(_) => Err(DropReason::WrongMessageLength),
        }
    }

    /// The gate under load: tells whether the sender has proven where he is, and if so takes one of his tokens (C106).
    fn has_proven(
        &mut self,
        message: &HandshakeMessage<'_>,
        from: Endpoint,
        now: Now,
    ) -> Result<bool, DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        if !identity.guard.verify_mac2(message, from.remote, now.instant) {
            return Ok(false);
        }
        let shard = shard_of(from.remote.ip(), self.limiter_key, self.limiter.len());
        let limiter = self.limiter.get_mut(shard).ok_or(DropReason::RateLimited)?;
        if limiter.allow(from.remote.ip(), now.instant) {
            return Ok(true);
        }
        self.handshakes.in_vain(now.instant);
        Err(DropReason::RateLimited)
    }

    /// Makes the cookie reply to a message without proof. One that came with it before there was load goes on.
    fn challenge(&mut self, waiting: Waiting, now: Now) -> Result<Option<ControlDatagram>, DropReason> {
        let message = match Message::parse(&waiting.bytes).map_err(|_| DropReason::WrongMessageLength)? {
            Message::Initiation(message) => HandshakeMessage::Initiation(message),
            Message::Response(message) => HandshakeMessage::Response(message),
            Message::CookieReply(_) | Message::TransportData(_) => {
                return Err(DropReason::WrongMessageLength);
            }
        };
        if self.has_proven(&message, waiting.from, now)? {
            return self.handshakes.push_proven(waiting).map(|()| None);
        }
        let identity = self.identity.as_mut().ok_or(DropReason::NoPrivateKey)?;
        match identity.guard.challenge(&message, waiting.from.remote, now.instant, &mut self.rng) {
            Verdict::Challenge(reply) => {
                self.drops.count(DropReason::CookieSent);
                Ok(Some(ControlDatagram::new(&reply, waiting.from, 0, None, self.key_changes)))
            }
            _ => Err(DropReason::CookieFailed),
        }
    }

    fn consume_initiation(
        &mut self,
        message: &Initiation<'_>,
        from: Endpoint,
        now: Now,
    ) -> Result<Option<ControlDatagram>, DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let received = ReceivedInitiation::begin(&identity.public, message);
        let es = identity.diffie_hellman(received.static_dh()).map_err(no_secret)?;
        let identified = received.open_static(&es).map_err(DropReason::from)?;
        let (_, home) = self.peers.by_key(identified.remote_static()).ok_or(DropReason::UnknownPeer)?;
        if home != self.peers.home().0 {
            return self.hand_over(message, from, es, home).map(|()| None);
        }
        self.answer_initiation(identified, from, now).map(Some)
    }

    /// Authenticates, checks and answers an initiation of a peer whose home is here.
    pub(super) fn answer_initiation(
        &mut self,
        identified: IdentifiedInitiation,
        from: Endpoint,
        now: Now,
    ) -> Result<ControlDatagram, DropReason> {
        let (id, _) = self.peers.by_key(identified.remote_static()).ok_or(DropReason::UnknownPeer)?;
        let slot = id.slot();
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownPeer)?;
        let initiation = peer.control.authenticate(identified).map_err(DropReason::from)?;
        let timestamp = initiation.timestamp();
        peer.control.check_initiation(timestamp, now.instant).map_err(DropReason::from)?;
        let index = self.indices.allocate(slot, &mut self.rng).map_err(|_| DropReason::NoEntropy)?;
        let created = peer.control.create_response::<D, _>(initiation, index, &mut self.rng).and_then(
            |(keys, mut response)| {
                let superseded = peer.control.commit_initiation(timestamp, &mut response, now.instant)?;
                Ok((keys, response, superseded))
            },
        );
        let (keys, response, superseded) = match created {
            Ok(created) => created,
            Err(error) => {
                self.indices.free(index);
                return Err(error.into());
            }
        };
        peer.sessions.handshake_received(now.instant);
        peer.sessions.roam(from);
        peer.sessions.handshake_sent(now.instant);
        peer.stats.received(INITIATION_LEN);
        self.install(slot, &keys, now);
        self.free_index(superseded);
        self.touch(slot);
        Ok(ControlDatagram::new(&response, from, HANDSHAKE_TOS, Some(id), self.key_changes))
    }

    fn consume_response(
        &mut self,
        message: &Response<'_>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let slot = self.indices.lookup(message.receiver_index()).ok_or(DropReason::UnexpectedResponse)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnexpectedResponse)?;
        let received = peer.control.begin_response(message).map_err(DropReason::from)?;
        let se = identity.diffie_hellman(received.static_dh()).map_err(no_secret)?;
        let keys = received.finish::<D>(&se, peer.control.preshared_key()).map_err(DropReason::from)?;
        peer.control.commit_response(&keys, now.instant, now.wall).map_err(DropReason::from)?;
        peer.sessions.roam(from);
        peer.sessions.handshake_received(now.instant);
        peer.stats.received(message.as_bytes().len());
        self.install(slot, &keys, now);
        // The responder may not send before it heard from us under the new key: staged packets, or a keepalive (C46).
        self.want_keepalive(slot, now);
        self.touch(slot);
        Ok(())
    }

    fn consume_cookie_reply(&mut self, message: &CookieReply<'_>, now: Now) -> Result<(), DropReason> {
        let slot = self.indices.lookup(message.receiver_index()).ok_or(DropReason::InvalidCookieReply)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::InvalidCookieReply)?;
        peer.control.consume_cookie_reply(message, now.instant).map_err(|_| DropReason::InvalidCookieReply)
    }

    fn install(&mut self, slot: PeerSlot, keys: &TransportKeys, now: Now) {
        let Some(peer) = self.peers.at_mut(slot) else { return };
        let send = Arc::new(SendKey::new(keys.send_key(), keys.remote_index()));
        let recv = Arc::new(RecvKey::new(keys.recv_key()));
        // A session that can send makes an initiation that still waits unnecessary.
        peer.initiation_wanted &= keys.role() == Role::Responder;
        let retired = peer.sessions.install(Box::new(Keypair::new(keys, send, recv, now.instant)));
        self.free_keypairs(&retired);
        self.keys_changed(slot);
    }

    /// Counts a control datagram that the socket took (C73).
    pub(crate) fn control_sent(&mut self, datagram: &ControlDatagram) {
        if let Some(peer) = datagram.peer.and_then(|id| self.peers.get_mut(id)) {
            peer.stats.sent(datagram.bytes.len());
        }
    }
}

/// Which part of the limiter a source belongs to: by its address or /64, mixed with a secret so that none can be aimed at.
fn shard_of(source: IpAddr, key: u64, shards: usize) -> usize {
    let network = match source {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
        }
    };
    let mixed = (network ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29) ^ key.rotate_left(17)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    usize::try_from(mixed >> 40).unwrap_or(0).checked_rem(shards).unwrap_or(0)
}

const fn no_secret(error: DhError) -> DropReason {
    match error {
        DhError::LowOrder => DropReason::LowOrderPoint,
        _ => DropReason::NoPrivateKey,
    }
}

/// Whether a message that died of this was worked on in vain: it cost public-key work.
pub(super) const fn is_in_vain(reason: DropReason) -> bool {
    !matches!(
        reason,
        DropReason::NoPrivateKey | DropReason::WrongMessageLength | DropReason::UnexpectedResponse
    )
}

#[cfg(test)]
mod tests;
