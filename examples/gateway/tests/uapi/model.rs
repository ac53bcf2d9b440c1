//! A device as the documentation describes it, in plain lists: no packets, no tables, no sockets.

use core::net::SocketAddr;

use wg_datapath::IpPrefix;
use wg_gateway::uapi::{
    Configure, Errno, Parser, PeerSnapshot, Request, Snapshot, Step, Transaction, write_get,
};
use wg_proto::{PresharedKey, PrivateKey, PublicKey};
use wg_sched::StrategyKind;

/// The one port that the model refuses.
pub(crate) const TAKEN_PORT: u16 = 22;
/// The one mark that the model refuses.
pub(crate) const REFUSED_MARK: u32 = 666;

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) private_key: Option<PrivateKey>,
    pub(crate) listen_port: u16,
    pub(crate) firewall_mark: u32,
    pub(crate) strategy: StrategyKind,
    pub(crate) peers: Vec<ModelPeer>,
    pub(crate) max_peers: Option<usize>,
    /// What happened to peers, in order.
    pub(crate) events: Vec<Event>,
}

#[derive(Debug)]
pub(crate) struct ModelPeer {
    pub(crate) public_key: PublicKey,
    pub(crate) preshared_key: PresharedKey,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) keepalive: u16,
    pub(crate) allowed_ips: Vec<IpPrefix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Created(u8),
    Refused(u8),
    Removed(u8),
    /// An immediate keepalive; tells whether the endpoint was known.
    Keepalive(u8, bool),
    Configured(u8),
}

/// Peers are told apart in events by the first byte of their key.
fn tag(key: &PublicKey) -> u8 {
    key.as_bytes()[0]
}

impl Model {
    fn find(&mut self, key: PublicKey) -> &mut ModelPeer {
        self.peers
            .iter_mut()
            .find(|peer| peer.public_key == key)
            .expect("a handle is used after its peer was removed")
    }

    /// Feeds one whole request, as a client would send it before it closes its side, and returns the errno.
    pub(crate) fn set(&mut self, body: impl AsRef<[u8]>) -> i32 {
        let mut parser = Parser::new();
        parser.feed(b"set=1\n");
        let parsed = match parser.feed(body.as_ref()) {
            (_, Step::Request(parsed)) => parsed,
            (_, Step::NeedMore) => parser.finish().expect("a set has begun"),
            (_, Step::Close) => panic!("a set has begun"),
        };
        let Request::Set(ops) = parsed.request else { panic!("a set was sent") };
        let mut transaction = Transaction::new(ops, parsed.outcome);
        let answer = loop {
            // In small slices, as in life.
            if let Some(answer) = transaction.run(self, 3) {
                break answer;
            }
        };
        answer.err().map_or(0, Errno::code)
    }

    /// The reply to a get.
    pub(crate) fn get(&self) -> String {
        let mut out = Vec::new();
        write_get(&mut out, Ok(&self.snapshot())).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Both numbers of the device under one look.
    pub(crate) fn mark_and_port(&self) -> (u32, u16) {
        (self.firewall_mark, self.listen_port)
    }

    /// The events since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }
}

impl Configure for Model {
    type Peer = PublicKey;

    fn set_strategy(&mut self, kind: StrategyKind) -> Result<(), Errno> {
        if kind.shares_home() {
            return Err(Errno::INVALID);
        }
        self.strategy = kind;
        Ok(())
    }

    fn set_private_key(&mut self, key: Option<PrivateKey>) {
        self.private_key = key;
        if let Some(own) = self.public_key()
            && self.peer(&own).is_some()
        {
            self.remove_peer(own);
        }
    }

    fn set_listen_port(&mut self, port: u16) -> Result<(), Errno> {
        if port == TAKEN_PORT {
            return Err(Errno::IN_USE);
        }
        self.listen_port = if port == 0 { 43_210 } else { port };
        Ok(())
    }

    fn set_firewall_mark(&mut self, mark: u32) -> Result<(), Errno> {
        if mark == REFUSED_MARK {
            return Err(Errno::IN_USE);
        }
        self.firewall_mark = mark;
        Ok(())
    }

    fn remove_all_peers(&mut self) {
        for key in self.peers.iter().map(|peer| peer.public_key).collect::<Vec<_>>() {
            self.remove_peer(key);
        }
    }

    fn public_key(&self) -> Option<PublicKey> {
        self.private_key.as_ref().map(PrivateKey::public_key)
    }

    fn peer(&self, key: &PublicKey) -> Option<PublicKey> {
        self.peers.iter().map(|peer| peer.public_key).find(|known| known == key)
    }

    fn add_peer(&mut self, key: PublicKey) -> Result<PublicKey, Errno> {
        assert!(self.peer(&key).is_none() && self.public_key() != Some(key), "the caller has looked");
        if self.max_peers.is_some_and(|max| self.peers.len() >= max) {
            self.events.push(Event::Refused(tag(&key)));
            return Err(Errno::INVALID);
        }
        self.events.push(Event::Created(tag(&key)));
        self.peers.push(ModelPeer {
            public_key: key,
            preshared_key: PresharedKey::default(),
            endpoint: None,
            keepalive: 0,
            allowed_ips: Vec::new(),
        });
        Ok(key)
    }

    fn remove_peer(&mut self, key: PublicKey) {
        self.find(key);
        self.events.push(Event::Removed(tag(&key)));
        self.peers.retain(|peer| peer.public_key != key);
    }

    fn set_preshared_key(&mut self, key: PublicKey, psk: PresharedKey) {
        self.find(key).preshared_key = psk;
    }

    fn set_endpoint(&mut self, key: PublicKey, endpoint: SocketAddr) {
        self.find(key).endpoint = Some(endpoint);
    }

    fn set_persistent_keepalive(&mut self, key: PublicKey, seconds: u16) {
        let peer = self.find(key);
        let before = core::mem::replace(&mut peer.keepalive, seconds);
        if before == 0 && seconds != 0 {
            let event = Event::Keepalive(tag(&key), peer.endpoint.is_some());
            self.events.push(event);
        }
    }

    fn clear_allowed_ips(&mut self, key: PublicKey) {
        self.find(key).allowed_ips.clear();
    }

    fn add_allowed_ip(&mut self, key: PublicKey, prefix: IpPrefix) -> Result<(), Errno> {
        // A list a hundred thousand long is searched only where the prefix can be someone else's.
        if self.peers.len() > 1 {
            for peer in self.peers.iter_mut().filter(|peer| peer.public_key != key) {
                peer.allowed_ips.retain(|other| *other != prefix);
            }
        }
        let own = &mut self.find(key).allowed_ips;
        if own.len() > 1000 || !own.contains(&prefix) {
            own.push(prefix);
        }
        Ok(())
    }

    fn remove_allowed_ip(&mut self, key: PublicKey, prefix: IpPrefix) {
        self.find(key).allowed_ips.retain(|other| *other != prefix);
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }

    fn peer_configured(&mut self, key: PublicKey) {
        self.find(key);
        self.events.push(Event::Configured(tag(&key)));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            strategy: None,
            lane_split: Vec::new(),
            dropped: Box::default(),
            private_key: self.private_key.as_ref().map(|key| Box::new(key.duplicate())),
            listen_port: self.listen_port,
            firewall_mark: self.firewall_mark,
            lane_moves: 0,
            lane_received: Vec::new(),
            peers: self.peers.iter().map(ModelPeer::snapshot).collect(),
        }
    }
}

impl ModelPeer {
    fn snapshot(&self) -> PeerSnapshot {
        PeerSnapshot {
            public_key: self.public_key,
            preshared_key: (!self.preshared_key.is_none()).then(|| Box::new(self.preshared_key.duplicate())),
            endpoint: self.endpoint,
            last_handshake: None,
            tx_bytes: 0,
            rx_bytes: 0,
            persistent_keepalive: self.keepalive,
            allowed_ips: self.allowed_ips.clone(),
        }
    }
}
