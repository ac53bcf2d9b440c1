//! Deadlines of all peers, and what happens at them.
//!
//! A peer's deadline moves with nearly every packet, mostly later. The heap is told only when it moves earlier; an entry
//! that turns out to be early is put where it belongs when it comes up. So the deadline reported is exact, and the cost
//! is one heap operation for each deadline that passes, not for each packet.

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::{HandshakeDue, Instant, Trigger, with_wiped_stack};

use super::{Device, Now};
use crate::allowed_ips::PeerSlot;
use crate::drop::DropReason;
use crate::peer_table::Peer;

/// Peers whose deadlines are handled in one piece of control work.
const PEERS_AT_ONCE: usize = 16;

impl<A: 'static> Peer<A> {
    fn next_timeout(&self) -> Option<Instant> {
        [self.control.poll_timeout(), self.sessions.poll_timeout()].into_iter().flatten().min()
    }
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Returns the exact instant at which the device next has something to do on its own.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        loop {
            let (reported, slot) = self.deadlines.peek()?;
            let actual = self.peers.at(slot).and_then(Peer::next_timeout);
            if actual == Some(reported) {
                return actual;
            }
            self.deadlines.set(slot, actual);
        }
    }

    /// Tells whether control work waits that needs no deadline: handshake messages, initiations, keepalives, flushes.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.work.is_empty()
            || !self.flush.is_empty()
            || !self.handshakes.is_empty()
            || self.handovers.waits()
    }

    /// A peer's timers may have moved.
    pub(crate) fn touch(&mut self, slot: PeerSlot) {
        let Some(next) = self.peers.at(slot).and_then(Peer::next_timeout) else { return };
        if self.deadlines.get(slot).is_none_or(|reported| next < reported) {
            self.deadlines.set(slot, Some(next));
        }
    }

    pub(super) fn forget_deadline(&mut self, slot: PeerSlot) {
        self.deadlines.remove(slot);
    }

    /// Does what is due for a few peers, and tells whether there was any.
    pub(crate) fn handle_timeouts(&mut self, now: Now) -> bool {
        let mut any = false;
        for _ in 0..PEERS_AT_ONCE {
            let Some(slot) = self.deadlines.pop_due(now.instant) else { break };
            any = true;
            self.handle_peer_timeout(slot, now);
            let next = self.peers.at(slot).and_then(Peer::next_timeout);
            debug_assert!(next.is_none_or(|next| next > now.instant), "what was due is done");
            self.deadlines.set(slot, next);
        }
        any
    }

    fn handle_peer_timeout(&mut self, slot: PeerSlot, now: Now) {
        while let Some(due) =
            self.peers.at_mut(slot).and_then(|peer| peer.control.handle_timeout(now.instant))
        {
            match due {
                HandshakeDue::Retransmit => {
                    if let Some(peer) = self.peers.at_mut(slot) {
                        peer.sessions.forget_source();
                    }
                    self.want_handshake(slot, Trigger::Retransmission, now);
                }
                HandshakeDue::GiveUp => {
                    if let Some(peer) = self.peers.at_mut(slot) {
                        peer.sessions.handshake_given_up();
                    }
                    self.drop_staged(slot, DropReason::StagedGiveUp);
                }
                HandshakeDue::ZeroKeys => {
                    self.zero_keys(slot);
                    self.drop_staged(slot, DropReason::StagedZeroed);
                }
            }
        }
        let Some(peer) = self.peers.at_mut(slot) else { return };
        let due = peer.sessions.handle_timeout(now.instant);
        if due.keepalive {
            self.want_keepalive(slot, now);
        }
        if due.no_answer {
            self.want_handshake(slot, Trigger::Wanted, now);
        }
    }

    /// Wipes all keys and the handshake of a peer.
    pub(super) fn zero_keys(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.at_mut(slot) else { return };
        let (pending, keypairs) =
            with_wiped_stack(|| (peer.control.clear_handshake(), peer.sessions.zero_keys()));
        self.free_index(pending);
        self.free_keypairs(&keypairs);
        if !keypairs.is_empty() {
            self.keys_changed(slot);
        }
    }
}
