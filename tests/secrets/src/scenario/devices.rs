//! Two devices of `wg-datapath` with their lanes, over a network in memory.

use core::net::SocketAddr;
use core::time::Duration;

use rand_core::TryRng as _;
use wg_datapath::BatchAead;
use wg_datapath::memory::{Datagram, MemoryNetwork, MemoryTun, MemoryUdp};
use wg_datapath::proto::dh::Dh;
use wg_datapath::proto::with_wiped_stack;
use wg_datapath::proto::{Instant, PresharedKey, PrivateKey, PublicKey, UnixTime};
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Strategy as _, StrategyKind};
use wg_datapath::{Config, Device, IpPrefix, Lane, LaneIo, Now, PeerId};

use super::{Draws, Entropy, PORT, Record, Scenario, Stage, address};

/// Handshake messages that may wait; under load from two on.
const QUEUE: usize = 16;

/// The two sides; none when they were dropped.
#[derive(Debug)]
pub struct Devices<A, D = PrivateKey> {
    sides: Option<[Side<A, D>; 2]>,
    network: MemoryNetwork,
    now: Now,
    record: Option<Record>,
    /// An initiation of the first side, to be sent again by an attacker.
    replay: Option<Datagram>,
}

#[derive(Debug)]
struct Side<A, D> {
    device: Device<A, Entropy, D>,
    lane: Lane<A>,
    tun: MemoryTun,
    udp: MemoryUdp,
    strategy: AnyStrategy,
    keys: Entropy,
}

impl<A: BatchAead + core::fmt::Debug, D: Dh> Scenario for Devices<A, D> {
    fn make(record: bool) -> Box<Self> {
        let network = MemoryNetwork::default();
        let now =
            Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let record = record.then(Record::default);
        let draws = record.as_ref().map(|record| &record.draws);
        let sides = [0, 1].map(|side| Side::new(side, &network, now, draws));
        let mut devices = Box::new(Self { sides: Some(sides), network, now, record, replay: None });
        with_wiped_stack(|| {
            devices.set_private_key(0);
            devices.set_private_key(1);
            devices.introduce();
            devices.change_psk();
        });
        devices
    }

    fn go(&mut self, stage: Stage) {
        match stage {
            Stage::Configured => {}
            Stage::Initiated => {
                self.network.cut(true);
                self.send(0);
                self.network.cut(false);
            }
            Stage::Session => {
                self.pass(6);
                self.talk();
            }
            Stage::Rekeyed => {
                self.pass(121);
                self.talk();
            }
            Stage::Cookie => self.rekey_with_cookie(),
            Stage::Expired => self.pass(600),
            Stage::Preshared => {
                with_wiped_stack(|| self.change_psk());
                self.talk();
            }
            Stage::KeyChanged => {
                self.pass(6);
                self.forget();
                with_wiped_stack(|| self.set_private_key(0));
                self.introduce();
            }
            Stage::Again => {
                with_wiped_stack(|| self.change_psk());
                self.talk();
            }
            Stage::Dropped => {
                self.sides = None;
                self.network = MemoryNetwork::default();
            }
        }
    }

    fn record(&mut self) -> Record {
        self.listen();
        self.record.take().unwrap_or_default()
    }
}

impl<A: BatchAead + core::fmt::Debug, D: Dh> Devices<A, D> {
    /// Gives a side a new static key.
    fn set_private_key(&mut self, side: usize) {
        let now = self.now;
        let Some(sides) = &mut self.sides else { return };
        let Ok(key) = PrivateKey::generate(&mut sides[side].keys);
        if let Some(record) = &mut self.record {
            record.statics.push((side, *key.as_bytes()));
        }
        sides[side].device.set_private_key(Some(key), now);
    }

    fn publics(&self) -> Option<[PublicKey; 2]> {
        let [a, b] = self.sides.as_ref()?;
        Some([a.device.public_key()?, b.device.public_key()?])
    }

    fn peer(&self, side: usize) -> Option<PeerId> {
        self.sides.as_ref()?[side].device.peer(&self.publics()?[1 - side])
    }

    /// Makes each the peer of the other.
    fn introduce(&mut self) {
        let Some(publics) = self.publics() else { return };
        let Some(sides) = &mut self.sides else { return };
        for (number, side) in sides.iter_mut().enumerate() {
            let added = side.device.add_peer(publics[1 - number]);
            let Ok(peer) = added else { unreachable!("{added:?}") };
            let all = IpPrefix::new([10, 0, 0, 0].into(), 8).unwrap_or_else(|error| unreachable!("{error}"));
            let allowed = side.device.add_allowed_ip(peer, all);
            assert_eq!(allowed, Ok(()));
            side.device.set_endpoint(peer, socket(1 - number));
        }
    }

    /// Removes the first side from the peers of the second.
    fn forget(&mut self) {
        let peer = self.peer(1);
        if let (Some([_, b]), Some(peer)) = (&mut self.sides, peer) {
            b.device.remove_peer(peer);
        }
    }

    fn change_psk(&mut self) {
        let peers = [self.peer(0), self.peer(1)];
        let ([Some(one), Some(other)], Some([a, b])) = (peers, &mut self.sides) else { return };
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        let Ok(()) = a.keys.try_fill_bytes(&mut *bytes);
        if let Some(record) = &mut self.record {
            record.psks.push(*bytes);
        }
        a.device.set_preshared_key(one, PresharedKey::from_bytes(*bytes));
        b.device.set_preshared_key(other, PresharedKey::from_bytes(*bytes));
    }

    /// An attacker repeats an old initiation until the second side is under load, and what the first sends then is
    /// answered by a cookie, which it uses in the next.
    fn rekey_with_cookie(&mut self) {
        self.pass(125);
        for _ in 0..2 {
            for _ in 0..3 {
                if let Some(replay) = &self.replay {
                    self.network.inject(replay.clone());
                }
            }
            self.send(0);
            self.pass(6);
        }
        self.talk();
    }

    fn send(&mut self, from: usize) {
        if let Some(sides) = &mut self.sides {
            sides[from].tun.outgoing.push_back(packet(from));
        }
        self.settle();
    }

    /// Packets each way, after the handshake that they may need.
    fn talk(&mut self) {
        let delivered = |sides: &Option<[Side<A, D>; 2]>| {
            sides.as_ref().map(|sides| sides.each_ref().map(|side| side.tun.delivered.len()))
        };
        let before = delivered(&self.sides);
        for from in [0, 1, 0, 1, 0] {
            self.send(from);
            self.pass(6);
        }
        assert_eq!(delivered(&self.sides), before.map(|[a, b]| [a + 2, b + 3]), "packets each way");
    }

    fn pass(&mut self, seconds: u64) {
        self.settle();
        let end = self.now.instant.saturating_add(Duration::from_secs(seconds));
        loop {
            let Some(sides) = &mut self.sides else { return };
            let next = sides.iter_mut().filter_map(|side| side.device.poll_timeout()).min().unwrap_or(end);
            let next = next.min(end).max(self.now.instant);
            let nanos = next.as_nanos() - 1_000_000_000_000;
            let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
            self.now =
                Now { instant: next, wall: UnixTime::new(1_700_000_000 + nanos / 1_000_000_000, rest) };
            self.settle();
            if next == end {
                return;
            }
        }
    }

    fn settle(&mut self) {
        let now = self.now;
        let Some(sides) = &mut self.sides else { return };
        while sides.iter_mut().any(|side| side.step(now)) {}
        self.listen();
    }

    /// Takes in what was sent.
    fn listen(&mut self) {
        for datagram in self.network.take_record() {
            let from = usize::from(datagram.from != socket(0));
            if datagram.bytes[0] == 1 && from == 0 {
                self.replay = Some(datagram.clone());
            }
            if let Some(record) = self.record.as_mut().filter(|_| datagram.bytes[0] < 4) {
                record.wire.push((from, datagram.bytes));
            }
        }
    }
}

impl<A: BatchAead + core::fmt::Debug, D: Dh> Side<A, D> {
    fn new(side: usize, network: &MemoryNetwork, now: Now, draws: Option<&Draws>) -> Self {
        let config = Config { handshake_queue: QUEUE, ..Config::default() };
        let seed = side as u64;
        let Ok(mut device) = Device::new(config, Entropy::new(seed + 10, draws.cloned()));
        device.set_up(true, now);
        Self {
            device,
            lane: Lane::new(),
            tun: MemoryTun::default(),
            udp: network.socket(socket(side)),
            strategy: StrategyKind::default().build(),
            keys: Entropy::new(seed + 20, None),
        }
    }

    fn step(&mut self, now: Now) -> bool {
        self.lane.readable(true, true);
        let mut io = LaneIo {
            device: &mut self.device,
            lane: &mut self.lane,
            tun: &mut self.tun,
            udp: &mut self.udp,
            now,
        };
        !self.strategy.step(CoreId(0), Budget::default(), &mut io).idle()
    }
}

fn socket(side: usize) -> SocketAddr {
    (address(side), PORT).into()
}

/// An IPv4 packet of a side to the other.
fn packet(from: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; 100];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 100]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    if from == 1 {
        packet[12..20].rotate_left(4);
    }
    packet
}
