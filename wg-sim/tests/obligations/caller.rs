//! A host of one peer whose caller neglects one duty of `docs/obligations.md`, or none.

use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::rc::Rc;

use wg_datapath::{DropReason, Now, ip};
use wg_proto::aead::RingAead;
use wg_proto::limits::UNDER_LOAD_HOLD;
use wg_proto::{
    Config, DhError, Endpoint, Event, Handled, Instant, Load, Peer, PrivateKey, PublicKey, SealError,
    SharedSecret, StaticIdentity, UnixTime,
};
use wg_sim::node::reason_of;
use wg_sim::{Command, Entropy, Node, NodeSpec, Outbox};

/// The duty that a caller neglects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neglect {
    Nothing,
    /// `handle_timeout` is never called.
    Timers,
    /// `poll_transmit` is called when a packet is to be sent, and not after a datagram came.
    Transmits,
    /// A packet that finds no session is thrown away.
    Staging,
    /// A packet that finds no session is kept, and no session asked for.
    Wish,
    /// `poll_transmit` comes before the packets that were kept.
    Order,
    /// What was kept stays when the handshake is given up.
    Stale,
    /// A packet is delivered with its padding.
    Trim,
    /// A packet is delivered whatever address it comes from.
    Source,
    /// Load is always said to be normal.
    Load,
}

/// Handshake messages in a second above which senders must prove their address.
const MAX_HANDSHAKES: u32 = 50;

/// A private key that counts what is asked of it.
#[derive(Debug)]
struct Counting(PrivateKey, Rc<Cell<u64>>);

impl StaticIdentity for Counting {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        self.1.set(self.1.get() + 1);
        StaticIdentity::diffie_hellman(&self.0, their)
    }
}

pub(crate) struct Caller {
    peer: Peer<Counting, RingAead>,
    neglect: Neglect,
    allowed: IpAddr,
    entropy: Entropy,
    staged: VecDeque<Vec<u8>>,
    handshakes: (Instant, u32),
}

impl Caller {
    /// A caller with the first peer of `spec`; `multiplications` counts those with the static key.
    pub(crate) fn new(spec: NodeSpec, neglect: Neglect, multiplications: &Rc<Cell<u64>>) -> Self {
        let mut entropy = spec.entropy;
        let config =
            Config { endpoint: Some(spec.peers[0].endpoint), ..Config::new(spec.peers[0].public_key) };
        let identity = Counting(spec.private_key, Rc::clone(multiplications));
        Self {
            peer: Peer::new(identity, config, &mut entropy).unwrap(),
            neglect,
            allowed: spec.peers[0].inner.into(),
            entropy,
            staged: VecDeque::new(),
            handshakes: (spec.now.instant, 0),
        }
    }

    fn settle(&mut self, now: Now, out: &mut Outbox) {
        if self.neglect == Neglect::Order {
            self.transmit(now, out);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Established => {
                    for packet in core::mem::take(&mut self.staged) {
                        self.send(packet, now, out);
                    }
                }
                Event::GaveUp | Event::Expired if self.neglect != Neglect::Stale => {
                    if !self.staged.is_empty() {
                        out.dropped(DropReason::StagedGiveUp, self.staged.len() as u64);
                    }
                    self.staged.clear();
                }
                _ => {}
            }
        }
        self.transmit(now, out);
    }

    fn transmit(&mut self, now: Now, out: &mut Outbox) {
        let mut message = [0; 148];
        while let Some(sent) =
            self.peer.poll_transmit(&mut message, now.instant, now.wall, &mut self.entropy).unwrap()
        {
            out.transmit(sent.endpoint.remote, &message[..sent.len]);
        }
    }

    fn send(&mut self, packet: Vec<u8>, now: Now, out: &mut Outbox) {
        let mut datagram = vec![0; self.peer.sealed_len(packet.len())];
        match self.peer.seal(&packet, &mut datagram, now.instant) {
            Ok(_) => out.transmit(self.peer.endpoint().unwrap().remote, &datagram),
            Err(SealError::NoSession) if self.neglect == Neglect::Staging => {
                out.dropped(DropReason::StagedOverflow, 1);
                self.peer.initiate(now.instant);
            }
            Err(SealError::NoSession) => {
                self.staged.push_back(packet);
                if self.neglect != Neglect::Wish {
                    self.peer.initiate(now.instant);
                }
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn load(&mut self, datagram: &[u8], now: Instant) -> Load {
        if now.saturating_duration_since(self.handshakes.0) >= UNDER_LOAD_HOLD {
            self.handshakes = (now, 0);
        }
        self.handshakes.1 += u32::from(matches!(datagram.first(), Some(1 | 2)));
        let flooded = self.handshakes.1 > MAX_HANDSHAKES && self.neglect != Neglect::Load;
        if flooded { Load::UnderLoad } else { Load::Normal }
    }
}

impl Node for Caller {
    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        let load = self.load(datagram, now.instant);
        let from = Endpoint::new(from);
        match self.peer.handle(datagram, from, load, now.instant, now.wall, &mut self.entropy) {
            Ok(Handled::Packet(content)) => match ip::parse(content) {
                Ok(view) if view.src() != self.allowed && self.neglect != Neglect::Source => {
                    out.dropped(DropReason::BadSource, 1);
                }
                Ok(_) if self.neglect == Neglect::Trim => out.deliver(content),
                Ok(view) => out.deliver(&content[..view.total_len()]),
                Err(error) => out.dropped(DropReason::incoming(error), 1),
            },
            Ok(_) => {}
            Err(error) => out.dropped(reason_of(error), 1),
        }
        if self.neglect != Neglect::Transmits {
            self.settle(now, out);
        }
    }

    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox) {
        self.send(packet.to_vec(), now, out);
        self.settle(now, out);
    }

    fn timeout(&mut self, now: Now, out: &mut Outbox) {
        self.peer.handle_timeout(now.instant);
        self.settle(now, out);
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool {
        match command {
            Command::Initiate(_) => self.peer.initiate(now.instant),
            Command::SetEndpoint(_, to) => self.peer.set_endpoint(to),
            Command::SetPersistentKeepalive(_, seconds) => {
                self.peer
                    .set_persistent_keepalive(core::time::Duration::from_secs(seconds.into()), now.instant);
            }
            Command::SetMtu(mtu) => self.peer.set_mtu(mtu.into()),
            Command::ZeroKeys => self.peer.reset(),
            // It sees for itself, but the simulator has to know.
            Command::SetUnderLoad(_) => {}
            _ => return false,
        }
        self.settle(now, out);
        true
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.peer.poll_timeout().filter(|_| self.neglect != Neglect::Timers)
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
        self.peer.sessions().local_indices().count() + pending
    }

    fn staged(&mut self) -> usize {
        self.staged.len()
    }
}
