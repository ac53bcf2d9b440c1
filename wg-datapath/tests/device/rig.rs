//! Devices that know each other, over an in-memory network, and a clock that the test moves.
//!
//! Whatever a test does, these hold, or it fails: at every step the index table holds exactly what the peers hold (C43);
//! no counter is used twice with an index (C59); when a run has come to rest, no work waits, and the next deadline lies
//! ahead (C131).

use core::net::SocketAddr;
use core::ops::{Index, IndexMut};
use core::time::Duration;
use std::collections::HashSet;

use wg_datapath::memory::{Datagram, MemoryNetwork};
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::wire::{Message, MessageType, message_type};
use wg_datapath::proto::{Instant, PrivateKey, PublicKey, UnixTime};
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Outcome, Strategy, StrategyKind};
use wg_datapath::{Config, Device, DropReason, IpPrefix, Lane, LaneIo, Now, PeerId, PeerStatus};

use crate::edges::{Entropy, Socket, Tun};
use crate::example::ALL;

/// The ends of a rig, in order.
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;

/// How many of the random cases to go through: a tenth on a machine that is emulated (`cargo xtask test --only portable`).
pub(crate) fn cases(all: u64) -> u64 {
    if std::env::var_os("WG_FEWER_CASES").is_some() { all.div_ceil(10) } else { all }
}

/// The private key of an end.
pub(crate) fn private_key(end: usize) -> PrivateKey {
    PrivateKey::from_bytes([u8::try_from(end + 1).unwrap(); 32])
}

pub(crate) fn public_key(end: usize) -> PublicKey {
    private_key(end).public_key()
}

/// The inner address of an end: 10.0.0.1 for `A`.
pub(crate) fn inner(end: usize) -> [u8; 4] {
    [10, 0, 0, u8::try_from(end + 1).unwrap()]
}

/// The outer address of an end: 192.0.2.1:1000 for `A`.
pub(crate) fn outer(end: usize) -> SocketAddr {
    let number = u8::try_from(end + 1).unwrap();
    ([192, 0, 2, number], u16::from(number) * 1000).into()
}

/// One end: a device with its lane and edges.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) device: Device<RingAead, Entropy>,
    pub(crate) lane: Lane<RingAead>,
    pub(crate) tun: Tun,
    pub(crate) udp: Socket,
    pub(crate) entropy: Entropy,
    pub(crate) budget: Budget,
    strategy: AnyStrategy,
}

impl End {
    /// A device that is up and has its key, and knows nobody.
    pub(crate) fn new(end: usize, network: &MemoryNetwork, config: Config, now: Now) -> Self {
        Self::seeded(end, end as u64, network, config, now)
    }

    /// The same with entropy of its own, as after a restart.
    pub(crate) fn seeded(end: usize, seed: u64, network: &MemoryNetwork, config: Config, now: Now) -> Self {
        let entropy = Entropy::new(seed);
        let mut device = Device::new(config, entropy.clone()).unwrap();
        device.set_private_key(Some(private_key(end)), now);
        device.set_up(true, now);
        Self {
            device,
            lane: Lane::new(),
            tun: Tun::default(),
            udp: Socket::new(network.socket(outer(end))),
            entropy,
            budget: Budget::default(),
            strategy: StrategyKind::default().build(),
        }
    }

    /// Adds another end as a peer.
    pub(crate) fn add(&mut self, other: usize) -> PeerId {
        let peer = self.device.add_peer(public_key(other)).unwrap();
        self.device.add_allowed_ip(peer, prefix(inner(other), 32)).unwrap();
        self.device.set_endpoint(peer, outer(other));
        peer
    }

    /// Takes one turn.
    pub(crate) fn step(&mut self, now: Now) -> Outcome {
        self.lane.readable(true, true);
        let mut io = LaneIo {
            device: &mut self.device,
            lane: &mut self.lane,
            tun: &mut self.tun,
            udp: &mut self.udp,
            now,
        };
        let outcome = self.strategy.step(CoreId(0), self.budget, &mut io);
        self.device.check_invariants();
        outcome
    }

    /// What was delivered since this was last asked.
    pub(crate) fn delivered(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.tun.inner.delivered)
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.device.drops().get(reason)
    }
}

/// Ends that all know each other.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) network: MemoryNetwork,
    pub(crate) ends: Vec<End>,
    pub(crate) now: Now,
    sent: Vec<Datagram>,
    counters: HashSet<(u32, u64)>,
}

impl Index<usize> for Rig {
    type Output = End;

    fn index(&self, end: usize) -> &End {
        &self.ends[end]
    }
}

impl IndexMut<usize> for Rig {
    fn index_mut(&mut self, end: usize) -> &mut End {
        &mut self.ends[end]
    }
}

impl Rig {
    pub(crate) fn new(ends: usize) -> Self {
        Self::with_config(ends, Config::default())
    }

    pub(crate) fn with_config(ends: usize, config: Config) -> Self {
        let mut rig = Self::strangers(ends, config);
        for one in 0..ends {
            for other in (0..ends).filter(|other| *other != one) {
                rig[one].add(other);
            }
        }
        rig
    }

    /// Ends that know nobody.
    pub(crate) fn strangers(ends: usize, config: Config) -> Self {
        let network = MemoryNetwork::default();
        let now =
            Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let ends = (0..ends).map(|end| End::new(end, &network, config, now)).collect();
        Self { network, ends, now, sent: Vec::new(), counters: HashSet::new() }
    }

    /// Lets all ends have the offloads of a modern kernel: trains of datagrams, and frames of every kind.
    pub(crate) fn with_offloads(mut self) -> Self {
        for end in &mut self.ends {
            end.udp.inner.trains = true;
            end.tun.inner.offloads = ALL;
        }
        self
    }

    /// Two ends with a session, and nothing of how it came about left in the records.
    pub(crate) fn with_session() -> Self {
        let mut rig = Self::new(2);
        rig.connect(A, B);
        rig
    }

    /// Sends a packet each way, which brings up a session.
    pub(crate) fn connect(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.send(from, to, 84);
            self.settle();
            assert_eq!(self[to].delivered(), [packet(inner(from), inner(to), 84)]);
        }
        self.sent();
        self[one].udp.left.clear();
        self[other].udp.left.clear();
    }

    /// The handle of one end's peer.
    pub(crate) fn peer(&self, end: usize, other: usize) -> PeerId {
        self[end].device.peer(&public_key(other)).expect("a peer")
    }

    pub(crate) fn status(&self, end: usize, other: usize) -> PeerStatus<'_> {
        let id = self.peer(end, other);
        self[end].device.peers().find(|status| status.id == id).expect("a peer")
    }

    /// Bytes received and sent.
    pub(crate) fn traffic(&self, end: usize, other: usize) -> (u64, u64) {
        let status = self.status(end, other);
        (status.rx_bytes, status.tx_bytes)
    }

    /// Gives a packet of `len` bytes to a TUN device.
    pub(crate) fn send(&mut self, from: usize, to: usize, len: usize) {
        self[from].tun.inner.outgoing.push_back(packet(inner(from), inner(to), len));
    }

    /// Lets one end take turns until it has nothing to do.
    pub(crate) fn run(&mut self, end: usize) -> bool {
        let now = self.now;
        let end = &mut self[end];
        let mut worked = false;
        for _ in 0..100_000 {
            let outcome = end.step(now);
            if outcome.idle() {
                self.watch();
                return worked;
            }
            worked = true;
        }
        panic!("never comes to rest");
    }

    /// Lets all ends run until none has anything to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut worked = false;
            for end in 0..self.ends.len() {
                worked |= self.run(end);
            }
            if !worked {
                return self.check_rest();
            }
        }
        panic!("the ends never come to rest");
    }

    fn check_rest(&mut self) {
        let now = self.now.instant;
        for end in &mut self.ends {
            assert!(!end.device.has_work() || end.lane.wants_writable(), "work is left over");
            let next = end.device.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "what was due is done: {next:?} at {now:?}");
        }
    }

    /// Takes in what was sent and checks that no counter was used twice.
    fn watch(&mut self) {
        for datagram in self.network.take_record() {
            if let Ok(Message::TransportData(message)) = Message::parse(&datagram.bytes) {
                let counter = (message.receiver_index().get(), message.counter());
                assert!(self.counters.insert(counter), "counter {counter:?} was used twice");
            }
            self.sent.push(datagram);
        }
    }

    /// Everything that was sent since this was last asked, lost or not.
    pub(crate) fn sent(&mut self) -> Vec<Datagram> {
        self.watch();
        core::mem::take(&mut self.sent)
    }

    /// The lengths of what was sent since this was last asked.
    pub(crate) fn sent_lengths(&mut self) -> Vec<usize> {
        self.sent().iter().map(|datagram| datagram.bytes.len()).collect()
    }

    /// The one datagram sent since this was last asked.
    pub(crate) fn sent_one(&mut self) -> Datagram {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "one datagram: {sent:?}");
        sent.remove(0)
    }

    /// When any end next has something to do.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        self.ends.iter_mut().filter_map(|end| end.device.poll_timeout()).min()
    }

    /// Moves both clocks without letting anyone run.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now.instant = self.now.instant.saturating_add(by);
        let nanos = u64::from(self.now.wall.nanos()) + u64::from(by.subsec_nanos());
        let secs = self.now.wall.secs() + by.as_secs() + nanos / 1_000_000_000;
        self.now.wall = UnixTime::new(secs, u32::try_from(nanos % 1_000_000_000).unwrap());
    }

    /// Lets the time pass from deadline to deadline.
    pub(crate) fn pass(&mut self, by: Duration) {
        self.settle();
        let end = self.now.instant.saturating_add(by);
        while let Some(next) = self.next_timeout().filter(|next| *next <= end) {
            self.advance(next.saturating_duration_since(self.now.instant));
            self.settle();
        }
        self.advance(end.saturating_duration_since(self.now.instant));
        self.settle();
    }

    /// The sum of all drops of an end.
    pub(crate) fn drops(&self, end: usize) -> u64 {
        self[end].device.drops().total()
    }
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn prefix(addr: [u8; 4], len: u8) -> IpPrefix {
    IpPrefix::new(addr.into(), len).unwrap()
}

/// What kind a datagram is of.
pub(crate) fn kind(datagram: &Datagram) -> MessageType {
    message_type(&datagram.bytes).unwrap()
}

/// How many of the datagrams are initiations.
pub(crate) fn initiations(sent: &[Datagram]) -> usize {
    sent.iter().filter(|datagram| kind(datagram) == MessageType::Initiation).count()
}

/// An IPv4 packet of `len` bytes.
pub(crate) fn packet(from: [u8; 4], to: [u8; 4], len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet
}

/// An IPv4 packet of `len` bytes, at least 24, with a number in it.
pub(crate) fn numbered(from: [u8; 4], to: [u8; 4], len: usize, number: u32) -> Vec<u8> {
    let mut packet = packet(from, to, len);
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}
