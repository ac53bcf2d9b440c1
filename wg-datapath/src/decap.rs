//! Datagrams in. The walk, each step marked sequential (on the peer's home, in order) or parallel:
//!
//! 1. parse: type, length; handshake messages go to their queue (sequential)
//! 2. begin: index, age and limit of the key, a look at the window (sequential; moves nothing)
//! 3. open: AEAD (parallel; [`crate::InBatch::open`])
//! 4. commit: window, endpoint, confirmation, timers (sequential; C76)
//! 5. inner header: version, length, source against the whole table (sequential; C80, C81)
//! 6. deliver, and count (sequential)

use alloc::sync::Arc;
use core::ops::Range;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::wire::{TAG_LEN, TRANSPORT_HEADER_LEN};
use wg_proto::{OpenError, RecvKey, SessionIndex, Trigger};

use crate::batch::InSegment;
use crate::device::{Device, Now};
use crate::drop::DropReason;
use crate::ip;
use crate::peer_table::PeerId;

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Finds the key that a datagram claims to be sealed with; nothing moves, as nothing is proven (C75, C76).
    pub(crate) fn begin_in(
        &self,
        index: SessionIndex,
        counter: u64,
        now: Now,
    ) -> Result<(PeerId, &Arc<RecvKey<A>>), DropReason> {
        let slot = self.indices.lookup(index).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peers.at(slot).ok_or(DropReason::UnknownIndex)?;
        match peer.sessions.begin_recv(index, counter, now.instant) {
            Ok(key) => Ok((peer.id, key)),
            Err(OpenError::UnknownIndex) => Err(DropReason::NotASession),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in an opened datagram and returns where in its slab the packet to deliver is; none for a keepalive.
    ///
    /// A packet that fails the checks of its inner header has still moved endpoint and timers (C82).
    pub(crate) fn commit_in(
        &mut self,
        id: PeerId,
        index: SessionIndex,
        segment: &InSegment,
        now: Now,
    ) -> Result<Option<Range<usize>>, DropReason> {
        if !segment.authentic {
            return Err(DropReason::InvalidTag);
        }
        let peer = self.peers.get_mut(id).ok_or(DropReason::SessionRetired)?;
        let content = segment.len.saturating_sub(TRANSPORT_HEADER_LEN + TAG_LEN);
        let received = peer
            .sessions
            .commit_recv(index, segment.counter, content, Some(segment.endpoint), now.instant)
            .map_err(|error| match error {
                OpenError::UnknownIndex => DropReason::SessionRetired,
                error => error.into(),
            })?;
        if content == 0 {
            peer.stats.received(segment.len);
        }
        if received.confirmed {
            peer.control.session_confirmed(now.wall);
            peer.initiation_wanted = false;
        }
        self.free_index(received.retired);
        if received.confirmed {
            self.queue_flush(id.slot());
        }
        if received.rekey_due {
            self.want_handshake(id.slot(), Trigger::Wanted, now);
        }
        if content == 0 {
            return Ok(None);
        }
        let packet = segment
            .slab
            .get(TRANSPORT_HEADER_LEN..TRANSPORT_HEADER_LEN + content)
            .ok_or(DropReason::InBadLength)?;
        let view = ip::parse(packet).map_err(DropReason::incoming)?;
        if self.allowed_ips.lookup(view.src()) != Some(id.slot()) {
            return Err(DropReason::BadSource);
        }
        Ok(Some(TRANSPORT_HEADER_LEN..TRANSPORT_HEADER_LEN + view.total_len()))
    }

    /// Counts a delivered packet by the length of its message (C83).
    pub(crate) fn delivered(&mut self, id: PeerId, message_len: usize) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.stats.received(message_len);
        }
    }
}
