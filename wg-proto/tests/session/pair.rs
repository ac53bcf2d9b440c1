//! Two peers, a network between them and a virtual time that jumps from one due thing to the next.
//!
//! Whatever a test does, these hold at every step, or it fails: no (key, counter) is used twice (C59); no packet comes
//! twice, altered, or unsent; a host initiates at most once in 5 s after any handshake message of its own (C45, C120);
//! nothing is sent with a key of 180 s (C56); after a poll the next deadline lies ahead, and nothing spins (C131); a host
//! never has more than three keypairs (C43).

use core::net::SocketAddr;
use core::ops::{Index, IndexMut};
use core::time::Duration;
use std::collections::{HashMap, HashSet};

use wg_proto::aead::Aead;
use wg_proto::wire::Message;
use wg_proto::{Config, Endpoint, Event, Handled, Peer, PrivateKey, PublicKey, SealError, SessionIndex};

use crate::host::{Host, TestRng, address, number_of, packet};
use crate::netem::{InFlight, Netem};

/// A host of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    A,
    B,
}

pub(crate) use Side::{A, B};

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            A => B,
            B => A,
        }
    }
}

/// What kind a sent datagram is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response,
    CookieReply,
    Keepalive,
    Data,
}

/// A datagram that a host handed to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) from: Side,
    pub(crate) to: SocketAddr,
    pub(crate) datagram: Vec<u8>,
}

impl Sent {
    pub(crate) fn kind(&self) -> Kind {
        match Message::parse(&self.datagram).unwrap() {
            Message::Initiation(_) => Kind::Initiation,
            Message::Response(_) => Kind::Response,
            Message::CookieReply(_) => Kind::CookieReply,
            Message::TransportData(message) if message.ciphertext().len() == 16 => Kind::Keepalive,
            Message::TransportData(_) => Kind::Data,
        }
    }
}

pub(crate) struct Pair<C> {
    /// The virtual time.
    pub(crate) time: Duration,
    pub(crate) net: Netem,
    /// Tells of each datagram whether the network takes it.
    pub(crate) passes: Box<dyn FnMut(&Sent) -> bool>,
    /// Every datagram sent, whether it arrived or not.
    pub(crate) sent: Vec<Sent>,
    hosts: [Host<C>; 2],
    audit: Audit,
}

impl<C> Index<Side> for Pair<C> {
    type Output = Host<C>;

    fn index(&self, side: Side) -> &Host<C> {
        &self.hosts[side as usize]
    }
}

impl<C> IndexMut<Side> for Pair<C> {
    fn index_mut(&mut self, side: Side) -> &mut Host<C> {
        &mut self.hosts[side as usize]
    }
}

impl<C: Aead> Pair<C> {
    /// Two hosts that know each other's key and address.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, |_, _| {})
    }

    /// The same, after `configure` was at both configurations.
    pub(crate) fn with(seed: u64, mut configure: impl FnMut(Side, &mut Config)) -> Self {
        let mut rng = TestRng::new(seed ^ 0x6b65_7973);
        let keys = [A, B].map(|_| PrivateKey::generate(&mut rng).unwrap());
        let publics = keys.each_ref().map(PrivateKey::public_key);
        let hosts = keys.into_iter().zip([A, B]).map(|(key, side)| {
            let other = side.other() as u8;
            let mut config = Config::new(publics[usize::from(other)]);
            config.endpoint = Some(address(other));
            configure(side, &mut config);
            Host::new(seed, side as u8, key, config)
        });
        let Ok(hosts) = hosts.collect::<Vec<_>>().try_into() else { panic!("a pair is two") };
        Self {
            time: Duration::ZERO,
            net: Netem::new(seed),
            passes: Box::new(|_| true),
            sent: Vec::new(),
            hosts,
            audit: Audit::default(),
        }
    }

    /// A pair with a session that A began, at rest: the first packet has come.
    pub(crate) fn connected(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.send(A);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair[B].delivered, [0]);
        pair
    }

    // --- what a test does ---

    /// The host has its next packet to send, and drives its peer as a caller should.
    pub(crate) fn send(&mut self, side: Side) {
        self.catch_up(side);
        let number = self[side].next_packet;
        self[side].next_packet += 1;
        if !self.seal(side, number) {
            self[side].staged.push_back(number);
            self.initiate(side);
        }
        self.settle(side);
    }

    /// The host asks for a session.
    pub(crate) fn initiate(&mut self, side: Side) {
        self.catch_up(side);
        let time = self.time;
        let host = &mut self[side];
        host.peer.initiate(host.clock.now(time));
        self.settle(side);
    }

    /// A datagram comes to a host, from `from`, now.
    pub(crate) fn inject(&mut self, side: Side, datagram: &[u8], from: SocketAddr) {
        let datagram = InFlight { from, to: self[side].address, datagram: datagram.to_vec() };
        self.deliver(datagram);
    }

    /// Takes from both hosts what they want sent, as after a change of their configuration.
    pub(crate) fn start(&mut self) {
        self.settle(A);
        self.settle(B);
    }

    /// A host was told to forget when it last sent a handshake message.
    pub(crate) fn audit_reset(&mut self, side: Side) {
        self.audit.forget(side);
    }

    /// A host starts anew, as that of `other` is: same keys, same address, everything else forgotten.
    pub(crate) fn replace(&mut self, side: Side, other: Self) {
        let Self { hosts: [a, b], .. } = other;
        let mut fresh = if side == A { a } else { b };
        fresh.clock = self[side].clock;
        fresh.rng = TestRng::new(0x6672_6573_6800 + self.sent.len() as u64);
        fresh.next_packet = self[side].next_packet;
        self[side] = fresh;
        self.audit.forget(side);
    }

    /// Runs until `end`, and everything due then is done.
    pub(crate) fn run_until(&mut self, end: Duration) {
        let mut steps_without_progress = 0;
        loop {
            let timers = [A, B].map(|side| self.deadline(side));
            let next = [self.net.next_arrival(), timers[0], timers[1]].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            steps_without_progress = if next > self.time { 0 } else { steps_without_progress + 1 };
            assert!(steps_without_progress < 10_000, "spins at {:?}", self.time);
            self.time = self.time.max(next);
            while let Some(datagram) = self.net.take_arrived(self.time) {
                self.deliver(datagram);
            }
            for side in [A, B] {
                self.catch_up(side);
            }
        }
        self.time = end;
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.time + duration);
    }

    /// Lets time pass without any poll: a host that sleeps, or a caller that is late.
    pub(crate) fn skip(&mut self, duration: Duration) {
        self.time += duration;
    }

    /// Polls the timers of a host, due or not.
    pub(crate) fn handle_timeout(&mut self, side: Side) {
        let time = self.time;
        let host = &mut self[side];
        host.peer.handle_timeout(host.clock.now(time));
        self.settle(side);
    }

    // --- what it looks at ---

    /// The virtual time of a host's next deadline.
    pub(crate) fn deadline(&self, side: Side) -> Option<Duration> {
        let host = &self[side];
        host.peer.poll_timeout().map(|at| host.clock.time_of(at))
    }

    /// The datagrams of one kind that a host sent.
    pub(crate) fn sent_by(&self, side: Side, kind: Kind) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.from == side && sent.kind() == kind).collect()
    }

    /// When a host sent datagrams of one kind.
    pub(crate) fn times(&self, side: Side, kind: Kind) -> Vec<Duration> {
        self.sent_by(side, kind).iter().map(|sent| sent.at).collect()
    }

    /// The last datagram of one kind that a host sent.
    pub(crate) fn last(&self, side: Side, kind: Kind) -> Vec<u8> {
        self.sent_by(side, kind).last().unwrap_or_else(|| panic!("no {kind:?}")).datagram.clone()
    }

    /// The peer of one side, with the initiations that the other has sent to it.
    pub(crate) fn into_peer(self, side: Side) -> (Peer<PrivateKey, C>, Vec<Vec<u8>>) {
        let sent = self.sent_by(side.other(), Kind::Initiation);
        let initiations = sent.into_iter().map(|sent| sent.datagram.clone()).collect();
        let [a, b] = self.hosts;
        (if side == A { a.peer } else { b.peer }, initiations)
    }

    /// Who sent what, in order.
    pub(crate) fn transcript(&self) -> Vec<(Side, Kind)> {
        self.sent.iter().map(|sent| (sent.from, sent.kind())).collect()
    }

    pub(crate) fn public_key(&self, side: Side) -> PublicKey {
        *self[side.other()].peer.control().remote_static()
    }

    // --- how it works ---

    fn deliver(&mut self, mut datagram: InFlight) {
        let time = self.time;
        let Some(side) = [A, B].into_iter().find(|side| self[*side].address == datagram.to) else { return };
        self.catch_up(side);
        let sent_by_other = self[side.other()].next_packet;
        let host = &mut self[side];
        let (now, wall) = (host.clock.now(time), host.clock.wall(time));
        let from = Endpoint::new(datagram.from);
        match host.peer.handle(&mut datagram.datagram, from, host.load, now, wall, &mut host.rng) {
            Ok(Handled::Packet(content)) => {
                let number = number_of(content);
                assert!(number < sent_by_other, "packet {number} was never sent");
                assert!(host.seen.insert(number), "packet {number} came twice");
                host.delivered.push(number);
            }
            Ok(Handled::Keepalive) => host.keepalives += 1,
            Ok(Handled::Handshake) => {}
            Err(error) => host.refused.push(error),
        }
        assert!(host.keypairs() <= 3);
        self.settle(side);
    }

    /// What is due comes first.
    fn catch_up(&mut self, side: Side) {
        if self.deadline(side).is_some_and(|at| at <= self.time) {
            self.handle_timeout(side);
        }
    }

    /// Does what a caller must after every call: events, staged packets, datagrams; then looks at the deadline.
    fn settle(&mut self, side: Side) {
        let time = self.time;
        loop {
            let host = &mut self[side];
            if let Some(event) = host.peer.poll_event() {
                host.events.push((time, event));
                match event {
                    Event::Established => self.flush(side),
                    Event::GaveUp | Event::Expired => host.staged.clear(),
                    _ => {}
                }
                continue;
            }
            let (now, wall) = (host.clock.now(time), host.clock.wall(time));
            let mut out = [0; 148];
            let Some(transmit) = host.peer.poll_transmit(&mut out, now, wall, &mut host.rng).unwrap() else {
                break;
            };
            self.transmit(side, transmit.endpoint.remote, out[..transmit.len].to_vec());
        }
        let host = &self[side];
        let now = host.clock.now(time);
        assert!(host.peer.poll_timeout().is_none_or(|at| at > now), "a deadline that has passed");
    }

    fn flush(&mut self, side: Side) {
        while let Some(number) = self[side].staged.pop_front() {
            if !self.seal(side, number) {
                self[side].staged.push_front(number);
                break;
            }
        }
    }

    fn seal(&mut self, side: Side, number: u64) -> bool {
        let time = self.time;
        let host = &mut self[side];
        let packet = packet(number);
        let mut out = vec![0; host.peer.sealed_len(packet.len())];
        match host.peer.seal(&packet, &mut out, host.clock.now(time)) {
            Ok(len) => {
                assert_eq!(len, out.len());
                if let Some(endpoint) = host.peer.endpoint().copied() {
                    self.transmit(side, endpoint.remote, out);
                }
                true
            }
            Err(SealError::NoSession) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn transmit(&mut self, side: Side, to: SocketAddr, datagram: Vec<u8>) {
        let host = &self[side];
        let from = host.address;
        let sent = Sent { at: self.time, from: side, to, datagram };
        self.audit.check(&sent, Duration::from_nanos(host.clock.now(self.time).as_nanos()));
        if (self.passes)(&sent) {
            self.net.send(self.time, InFlight { from, to, datagram: sent.datagram.clone() });
        }
        self.sent.push(sent);
    }
}

/// The rules that every sent datagram is held to, by the clock of its sender.
#[derive(Default)]
struct Audit {
    used: HashSet<(Side, SessionIndex, u64)>,
    keys_born: HashMap<(Side, SessionIndex), Duration>,
    last_handshake_message: HashMap<Side, Duration>,
}

impl Audit {
    /// A host that started anew does not know when it last spoke.
    fn forget(&mut self, side: Side) {
        self.last_handshake_message.remove(&side);
    }

    fn check(&mut self, sent: &Sent, time: Duration) {
        match Message::parse(&sent.datagram).unwrap() {
            Message::Initiation(_) => {
                let last = self.last_handshake_message.insert(sent.from, time);
                let waited = last.map(|last| time.abs_diff(last));
                assert!(
                    waited.is_none_or(|waited| waited >= Duration::from_secs(5)),
                    "{sent:?} after {waited:?}"
                );
            }
            Message::Response(message) => {
                self.last_handshake_message.insert(sent.from, time);
                self.keys_born.insert((sent.from, message.receiver_index()), time);
            }
            Message::CookieReply(_) => {}
            Message::TransportData(message) => {
                let key = (sent.from, message.receiver_index());
                let born = *self.keys_born.entry(key).or_insert(time);
                assert!(
                    time.saturating_sub(born) < Duration::from_secs(180),
                    "{sent:?} with a key of {born:?}"
                );
                assert!(self.used.insert((key.0, key.1, message.counter())), "nonce used twice: {sent:?}");
            }
        }
    }
}
