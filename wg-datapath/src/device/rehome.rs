//! A peer changes its home, see [`rehome`](crate::rehome): what of it is in the devices.
//!
//! ```text
//!   sockets 0 --> device 0: peer                           device 1
//!   sockets 0 --> device 0: its indices --trains-- ring -> device 1: peer     sockets 1 --> device 1
//!                                                                               the next session
//! ```
//!
//! All that there is of the peer moves, by its box: keys are not copied. The sockets its datagrams come to stay those of the
//! session, whose index cannot change, so the device that drew it keeps the index and forwards what comes for it; the next
//! session has an index of the new home, and with the last old one the detour ends.

use alloc::boxed::Box;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::SessionIndex;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;

use super::{Device, Now};
use crate::allowed_ips::PeerSlot;
use crate::drop::DropReason;
use crate::home::HomeId;
use crate::peer_table::{Peer, PeerId};

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// The device that a session is at whose index was drawn here, if that is another.
    pub(crate) fn elsewhere(&self, index: SessionIndex) -> Option<HomeId> {
        let (_, home) = self.peers.find(self.indices.lookup(index)?)?;
        (home != self.peers.home().0).then_some(home)
    }

    /// Tells whether a peer is in the middle of something that only this device can end: the answer to its handshake comes here.
    pub(crate) fn is_bound(&self, id: PeerId) -> bool {
        self.handovers.waits() || self.peers.get(id).is_none_or(|peer| peer.control.pending_index().is_some())
    }

    /// Gives a peer another home, and returns what is here of it but its staged packets.
    pub(crate) fn send_away(&mut self, id: PeerId, home: HomeId) -> Option<Box<Peer<A>>> {
        let mut peer = self.peers.send_away(id, home)?;
        let slot = id.slot();
        self.work.retain(|queued| *queued != slot);
        self.flush.retain(|queued| *queued != slot);
        (peer.queued, peer.flush_queued) = (false, false);
        self.forget_deadline(slot);
        for index in peer.sessions.local_indices() {
            if self.indices.accepts(index) {
                self.forwarded.push(index);
            } else {
                self.indices.free(index);
            }
        }
        Some(peer)
    }

    /// Takes in a peer whose home is here from now on.
    pub(crate) fn take_in(&mut self, peer: Box<Peer<A>>) {
        let slot = peer.id.slot();
        self.make_room();
        for index in peer.sessions.local_indices() {
            self.forwarded.retain(|forwarded| *forwarded != index);
            self.indices.insert(index, slot);
        }
        let wants = peer.initiation_wanted || peer.keepalive_wanted;
        self.peers.take_in(peer);
        if wants {
            self.queue_work(slot);
        }
        self.touch(slot);
    }

    /// Takes in the staged packets of a peer that was taken in.
    pub(crate) fn take_staged(&mut self, from: &mut Self, slot: PeerSlot, now: Now) {
        while let Some(packet) = from.staged.front(slot) {
            let pushed = self.staged.push(slot, packet);
            self.drops.count_many(DropReason::StagedOverflow, pushed.dropped as u64);
            from.staged.pop_front(slot);
        }
        self.staged_waits(slot, now);
    }

    /// What is forwarded: the indices, and whose they are.
    pub(crate) fn forwarded(&self) -> Vec<(SessionIndex, PeerSlot, HomeId)> {
        let whose = |index: &SessionIndex| {
            let (id, home) = self.peers.find(self.indices.lookup(*index)?)?;
            Some((*index, id.slot(), home))
        };
        self.forwarded.iter().filter_map(whose).collect()
    }

    /// Tells whether a peer whose home is here has a session of this index.
    pub(crate) fn has_session(&self, index: SessionIndex, slot: PeerSlot) -> bool {
        self.indices.lookup(index) == Some(slot) && self.peers.at(slot).is_some()
    }

    /// Forwards no more to the peer that was in a slot.
    pub(super) fn stop_forwarding(&mut self, slot: PeerSlot) {
        self.keep_forwarded(|_, other| other != slot);
    }

    /// Forwards only what is to be kept.
    pub(crate) fn keep_forwarded(&mut self, keep: impl Fn(SessionIndex, PeerSlot) -> bool) {
        let indices = &mut self.indices;
        self.forwarded.retain(|index| {
            let kept = indices.lookup(*index).is_some_and(|slot| keep(*index, slot));
            if !kept {
                indices.free(*index);
            }
            kept
        });
    }
}
