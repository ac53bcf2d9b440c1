//! Datagrams in. The walk, each step marked sequential (on the peer's home, in order) or parallel:
//!
//! 1. parse: type, length; handshake messages go to their queue (sequential)
//! 2. begin: index, age and limit of the key, a look at the window (sequential; moves nothing)
//! 3. open: AEAD (parallel; [`crate::Batch::crypt`])
//! 4. commit: window, endpoint, confirmation, timers (sequential; C76)
//! 5. inner header: version, length, source against the whole table (sequential; C80, C81)
//! 6. deliver, and count (sequential)

use alloc::sync::Arc;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::wire::TRANSPORT_OVERHEAD;
use wg_proto::{Endpoint, OpenError, RecvKey, SessionIndex, Trigger};

use crate::device::{Device, Now};
use crate::drop::DropReason;
use crate::home::HomeId;
use crate::ip;
use crate::peer_table::PeerId;
use crate::split::SplitKey;

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

    /// The same for a datagram whose home may be elsewhere, while counters are split: there the key is all that is known.
    pub(crate) fn begin_split_in(
        &self,
        index: SessionIndex,
        counter: u64,
        now: Now,
    ) -> Result<BegunIn<'_, A>, DropReason> {
        let own = self.peers.home().0;
        match self.begin_in(index, counter, now) {
            Ok((peer, key)) => {
                let sessions = self.peers.get(peer).map(|peer| &peer.sessions);
                let keypair = sessions.and_then(|sessions| sessions.keypair(index));
                let keypair = keypair.map_or(0, |keypair| keypair.derived().as_nanos());
                Ok(BegunIn { peer, home: own, keypair, key })
            }
            Err(reason) => match self.foreign_keys.lookup(index) {
                Some((peer, home, SplitKey { keypair, key, .. })) => {
                    Ok(BegunIn { peer, home, keypair: *keypair, key })
                }
                None => Err(reason),
            },
        }
    }

    /// Takes in an opened datagram and returns the length of the packet to deliver; none for a keepalive.
    ///
    /// `content` is what was sealed. A packet that fails the checks of its inner header has still moved endpoint and timers
    /// (C82).
    pub(crate) fn commit_in(
        &mut self,
        id: PeerId,
        index: SessionIndex,
        datagram: &Opened<'_>,
        now: Now,
    ) -> Result<Option<usize>, DropReason> {
        let peer = self.peers.get_mut(id).ok_or(DropReason::SessionRetired)?;
        let &Opened { counter, content, endpoint } = datagram;
        let received = peer
            .sessions
            .commit_recv(index, counter, content.len(), endpoint.copied(), now.instant)
            .map_err(|error| match error {
                OpenError::UnknownIndex => DropReason::SessionRetired,
                error => error.into(),
            })?;
        if content.is_empty() {
            peer.stats.received(TRANSPORT_OVERHEAD);
        }
        if received.confirmed {
            peer.control.session_confirmed(now.wall);
            peer.initiation_wanted = false;
        }
        self.free_index(received.retired);
        if received.retired.is_some() {
            self.keys_changed(id.slot());
        }
        if received.confirmed {
            self.queue_flush(id.slot());
        }
        if received.rekey_due {
            self.want_handshake(id.slot(), Trigger::Wanted, now);
        }
        if content.is_empty() {
            return Ok(None);
        }
        let view = ip::parse(content).map_err(DropReason::incoming)?;
        if self.allowed_ips.lookup(view.src()) != Some(id.slot()) {
            return Err(DropReason::BadSource);
        }
        Ok(Some(view.total_len()))
    }

    /// Counts delivered packets by the length of their messages (C83).
    pub(crate) fn delivered(&mut self, id: PeerId, packets: u64, message_bytes: u64) {
        if let Some(peer) = self.peers.get_active(id) {
            peer.stats.received_many(packets, message_bytes);
        }
    }
}

/// Whose a datagram claims to be.
#[derive(Debug)]
pub(crate) struct BegunIn<'a, A> {
    pub(crate) peer: PeerId,
    pub(crate) home: HomeId,
    /// Rises with each keypair of the peer.
    pub(crate) keypair: u64,
    pub(crate) key: &'a Arc<RecvKey<A>>,
}

/// A datagram whose tag verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) counter: u64,
    /// What was sealed: a packet and its padding, or nothing.
    pub(crate) content: &'a [u8],
    /// Where it came from, if the peer's endpoint is to follow it.
    pub(crate) endpoint: Option<&'a Endpoint>,
}
