//! Packets out. The walk, each step marked sequential (on the peer's home, in order) or parallel:
//!
//! 1. route: version, destination, longest prefix (sequential)
//! 2. begin: session, one range of counters for the batch; or stage and ask for a handshake (sequential)
//! 3. seal: split, headers, checksums, padding, AEAD (parallel; [`crate::Batch::crypt`])
//! 4. send to where the peer is by then, and count what the socket took (sequential)

use core::net::IpAddr;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::{NoSession, Outgoing, Trigger};

use crate::allowed_ips::PeerSlot;
use crate::batch::OutBatch;
use crate::device::{Device, Now};
use crate::drop::DropReason;
use crate::ip;
use crate::peer_table::PeerId;

/// What became of a batch in its begin phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is ready for the crypt phase.
    Ready,
    /// Its packets were staged or dropped, and counted; the batch is empty.
    Kept,
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Finds the peer that owns the destination of a packet (C63, C64). `last` is the last that was found, for the packets of a
    /// drain: many go to where the one before went.
    pub(crate) fn route(
        &self,
        packet: &[u8],
        last: &mut Option<(IpAddr, PeerSlot)>,
    ) -> Result<PeerSlot, DropReason> {
        let destination = ip::destination(packet).map_err(DropReason::outgoing)?;
        if let Some((same, slot)) = *last
            && same == destination
        {
            return Ok(slot);
        }
        let slot = self.allowed_ips.lookup(destination).ok_or(DropReason::NoPeerForDestination)?;
        *last = Some((destination, slot));
        Ok(slot)
    }

    /// Reserves counters for the packets of a batch, or stages them if there is no session (C55, C69, C70).
    pub(crate) fn begin_out(&mut self, batch: &mut OutBatch<A>, now: Now) -> Begun {
        // The peer may have gone since the packets were read, and its slot may be another's by now (C137).
        let Some(slot) = batch.peer.filter(|id| self.peers.get(*id).is_some()).map(PeerId::slot) else {
            self.drops.count_many(DropReason::StagedRemoved, batch.len() as u64);
            return Begun::Kept;
        };
        // What waits longer goes first; the flush of a new session brings it out in order.
        if self.staged.len(slot) == 0 && self.reserve(batch, slot, now) {
            return Begun::Ready;
        }
        if !self.may_handshake(slot) {
            self.drops.count_many(DropReason::LowOrderPeer, batch.len() as u64);
            return Begun::Kept;
        }
        batch.gather();
        for packet in batch.packets() {
            let pushed = self.staged.push(slot, packet);
            self.drops.count_many(DropReason::StagedOverflow, pushed.dropped as u64);
        }
        self.staged_waits(slot, now);
        Begun::Kept
    }

    /// Tells whether packets for a peer are worth staging. Without a private key they are, as one may be set at any time
    /// (C48); with one, a peer that cannot handshake has a public key of low order and never will (C21).
    pub(crate) fn may_handshake(&self, slot: PeerSlot) -> bool {
        self.identity.is_none() || self.peers.at(slot).is_some_and(|peer| peer.control.can_handshake())
    }

    /// Fills an empty batch with staged packets of a peer that has a session again, oldest first.
    pub(crate) fn begin_flush(&mut self, batch: &mut OutBatch<A>, slot: PeerSlot, now: Now) -> Begun {
        if !self.peers.at(slot).is_some_and(|peer| peer.sessions.can_send(now.instant)) {
            if self.staged.len(slot) > 0 {
                self.want_handshake(slot, Trigger::Wanted, now);
            }
            return Begun::Kept;
        }
        while let Some(packet) = self.staged.front(slot) {
            if !batch.push(packet, self.mtu) {
                break;
            }
            self.staged.pop_front(slot);
        }
        if batch.is_empty() || self.reserve(batch, slot, now) {
            return if batch.is_empty() { Begun::Kept } else { Begun::Ready };
        }
        // The last few counters do not do for all of them: back to the front, in order (C55).
        for packet in batch.packets().rev() {
            let pushed = self.staged.push_front(slot, packet);
            self.drops.count_many(DropReason::StagedOverflow, pushed.dropped as u64);
        }
        self.want_handshake(slot, Trigger::Wanted, now);
        Begun::Kept
    }

    fn reserve(&mut self, batch: &mut OutBatch<A>, slot: PeerSlot, now: Now) -> bool {
        let Some(peer) = self.peers.at_mut(slot) else { return false };
        if peer.sessions.endpoint().is_none() {
            return false;
        }
        let Ok(count) = u32::try_from(batch.len()) else { return false };
        match peer.sessions.begin_send(now.instant, Outgoing::Data, count) {
            Err(NoSession) => false,
            Ok(grant) => {
                batch.key = Some(alloc::sync::Arc::clone(grant.key));
                batch.first_counter = grant.first_counter;
                let rekey_due = grant.rekey_due;
                batch.peer = Some(peer.id);
                if rekey_due {
                    self.want_handshake(slot, Trigger::Wanted, now);
                }
                self.touch(slot);
                true
            }
        }
    }
}
