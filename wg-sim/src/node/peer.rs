//! A host of one peer: `wg_proto::Peer` driven as its documentation asks, with what it leaves to the caller.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use wg_datapath::{DropReason, Now, ip};
use wg_proto::aead::RingAead;
use wg_proto::{
    Config, Endpoint, Event, Handled, Instant, Load, Peer, PrivateKey, PublicKey, ReceiveError, SealError,
    UnixTime,
};

use super::{Command, Node, NodeSpec, Outbox};
use crate::draw::Entropy;

/// Packets that wait for a session, at most; then the oldest goes (C70).
const STAGED: usize = 128;

/// A host of one peer.
pub struct PeerNode {
    peer: Peer<PrivateKey, RingAead>,
    remote: PublicKey,
    /// The inner address of the peer: what it may send from, and what is routed to it.
    allowed: Option<IpAddr>,
    load: Load,
    entropy: Entropy,
    staged: VecDeque<Vec<u8>>,
    sealed: Vec<u8>,
}

impl core::fmt::Debug for PeerNode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PeerNode").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl PeerNode {
    /// Makes a host of the first peer of `spec`.
    ///
    /// # Panics
    ///
    /// If there is no peer.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        let [first, ..] = spec.peers[..] else { panic!("a host of one peer has one") };
        let mut entropy = spec.entropy;
        let config = Config { endpoint: Some(first.endpoint), ..Config::new(first.public_key) };
        let peer = match Peer::new(spec.private_key, config, &mut entropy) {
            Ok(peer) => peer,
            Err(error) => panic!("a key held here answers: {error:?}"),
        };
        Self {
            peer,
            remote: first.public_key,
            allowed: Some(first.inner.into()),
            load: Load::Normal,
            entropy,
            staged: VecDeque::new(),
            sealed: Vec::new(),
        }
    }

    /// Does what a caller must after every call: events, what was kept back, datagrams.
    fn settle(&mut self, now: Now, out: &mut Outbox) {
        loop {
            if let Some(event) = self.peer.poll_event() {
                match event {
                    Event::Established => self.flush(now.instant, out),
                    Event::GaveUp => self.drop_staged(DropReason::StagedGiveUp, out),
                    Event::Expired => self.drop_staged(DropReason::StagedZeroed, out),
                    _ => {}
                }
                continue;
            }
            let mut message = [0; 148];
            match self.peer.poll_transmit(&mut message, now.instant, now.wall, &mut self.entropy) {
                Ok(Some(transmit)) => {
                    out.transmit(transmit.endpoint.remote, message.get(..transmit.len).unwrap_or_default());
                }
                Ok(None) => return,
                Err(error) => unreachable!("148 bytes hold every message: {error}"),
            }
        }
    }

    fn flush(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(packet) = self.staged.pop_front() {
            if !self.seal(&packet, now, out) {
                self.staged.push_front(packet);
                return;
            }
        }
    }

    /// Seals and sends a packet, and tells whether it is done with.
    fn seal(&mut self, packet: &[u8], now: Instant, out: &mut Outbox) -> bool {
        let Some(endpoint) = self.peer.endpoint().copied() else { return false };
        self.sealed.resize(self.peer.sealed_len(packet.len()), 0);
        match self.peer.seal(packet, &mut self.sealed, now) {
            Ok(len) => {
                out.transmit(endpoint.remote, self.sealed.get(..len).unwrap_or_default());
                true
            }
            Err(SealError::NoSession) => false,
            Err(error) => unreachable!("the buffer has the length that was asked for: {error}"),
        }
    }

    fn drop_staged(&mut self, reason: DropReason, out: &mut Outbox) {
        if !self.staged.is_empty() {
            out.dropped(reason, self.staged.len() as u64);
            self.staged.clear();
        }
    }
}

impl Node for PeerNode {
    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        let from = Endpoint::new(from);
        match self.peer.handle(datagram, from, self.load, now.instant, now.wall, &mut self.entropy) {
            Ok(Handled::Packet(content)) => match ip::parse(content) {
                Ok(view) if Some(view.src()) != self.allowed => out.dropped(DropReason::BadSource, 1),
                Ok(view) => out.deliver(content.get(..view.total_len()).unwrap_or_default()),
                Err(error) => out.dropped(DropReason::incoming(error), 1),
            },
            Ok(_) => {}
            Err(error) => out.dropped(reason_of(error), 1),
        }
        self.settle(now, out);
    }

    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox) {
        match ip::destination(packet) {
            Err(error) => return out.dropped(DropReason::outgoing(error), 1),
            Ok(destination) if Some(destination) != self.allowed => {
                return out.dropped(DropReason::NoPeerForDestination, 1);
            }
            Ok(_) => {}
        }
        // Behind those that wait: the order is kept.
        if !self.staged.is_empty() || !self.seal(packet, now.instant, out) {
            if self.staged.len() >= STAGED {
                self.staged.pop_front();
                out.dropped(DropReason::StagedOverflow, 1);
            }
            self.staged.push_back(packet.to_vec());
            self.peer.initiate(now.instant);
        }
        self.settle(now, out);
    }

    fn timeout(&mut self, now: Now, out: &mut Outbox) {
        self.peer.handle_timeout(now.instant);
        self.settle(now, out);
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool {
        match command {
            Command::Initiate(key) if key == self.remote => self.peer.initiate(now.instant),
            Command::SetEndpoint(key, to) if key == self.remote => self.peer.set_endpoint(to),
            Command::SetPersistentKeepalive(key, seconds) if key == self.remote => {
                self.peer.set_persistent_keepalive(Duration::from_secs(seconds.into()), now.instant);
            }
            Command::SetPresharedKey(key, psk) if key == self.remote => self.peer.set_preshared_key(psk),
            Command::AllowIp(key, inner, allow) if key == self.remote => {
                let inner = Some(IpAddr::V4(inner));
                if allow {
                    self.allowed = inner;
                } else if self.allowed == inner {
                    self.allowed = None;
                }
            }
            Command::SetMtu(mtu) => self.peer.set_mtu(mtu.into()),
            Command::ZeroKeys => {
                self.peer.reset();
                self.drop_staged(DropReason::StagedDown, out);
            }
            Command::GenerationChanged => self.peer.on_vm_generation_change(),
            Command::SetUnderLoad(under) => {
                self.load = if under { Load::UnderLoad } else { Load::Normal };
            }
            Command::SetCounter(key, counter) if key == self.remote => {
                if let Some(current) = self.peer.sessions_mut().current_mut()
                    && current.next_counter() < counter
                {
                    current.set_next_counter(counter);
                }
            }
            _ => return false,
        }
        self.settle(now, out);
        true
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.peer.poll_timeout()
    }

    fn endpoint(&mut self, _peer: &PublicKey) -> Option<SocketAddr> {
        self.peer.endpoint().map(|endpoint| endpoint.remote)
    }

    fn last_handshake(&mut self, _peer: &PublicKey) -> Option<UnixTime> {
        self.peer.control().last_handshake()
    }

    fn peers(&mut self) -> usize {
        1
    }

    fn indices(&mut self) -> usize {
        let pending = usize::from(self.peer.control().pending_index().is_some());
        self.peer.sessions_mut().local_indices().count() + pending
    }

    fn staged(&mut self) -> usize {
        self.staged.len()
    }
}

/// Returns the reason that a refusal of [`Peer::handle`] is to be told by, with [`Outbox::dropped`].
#[must_use]
pub fn reason_of(error: ReceiveError) -> DropReason {
    match error {
        ReceiveError::Parse(error) => error.into(),
        ReceiveError::InvalidMac1 => DropReason::InvalidMac1,
        ReceiveError::Challenged => DropReason::CookieSent,
        ReceiveError::RateLimited => DropReason::RateLimited,
        ReceiveError::Handshake(error) => error.into(),
        ReceiveError::CookieReply => DropReason::InvalidCookieReply,
        ReceiveError::Open(error) => error.into(),
        _ => DropReason::UnknownPeer,
    }
}
