//! Gateways of one or more lanes on one wire.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wg_datapath::memory::MemoryTun;
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::{Instant, PrivateKey, PublicKey, SessionIndex, UnixTime};
use wg_datapath::sched::handoff::Doorbell;
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};
use wg_datapath::{
    Config, Device, DropReason, Exchange, HomeId, IpPrefix, Lane, LaneIo, Now, PeerId, RehomeError, Ways,
    begin_split, end_split, rehome,
};

use crate::edges::{Socket, Wire, member_of};

pub(crate) fn key(number: usize) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[1] = u8::try_from(number).unwrap();
    PrivateKey::from_bytes(bytes)
}

pub(crate) fn public(number: usize) -> PublicKey {
    key(number).public_key()
}

pub(crate) fn outer(number: usize) -> SocketAddr {
    ([192, 0, 2, u8::try_from(number).unwrap()], 1000).into()
}

pub(crate) fn inner(number: usize) -> [u8; 4] {
    [10, 0, 0, u8::try_from(number).unwrap()]
}

/// A lane at work.
pub(crate) type Io<'a> = LaneIo<'a, RingAead, ChaCha20Rng, MemoryTun, Socket>;

/// One lane with its device and edges.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) device: Device<RingAead, ChaCha20Rng>,
    pub(crate) lane: Lane<RingAead>,
    pub(crate) tun: MemoryTun,
    pub(crate) socket: Socket,
    strategy: AnyStrategy,
}

impl Member {
    pub(crate) fn io(&mut self, now: Now) -> Io<'_> {
        let Self { device, lane, tun, socket, .. } = self;
        LaneIo { device, lane, tun, udp: socket, now }
    }

    /// Takes a turn, and tells whether there was anything to do.
    pub(crate) fn step(&mut self, now: Now) -> bool {
        self.step_within(now, Budget::default())
    }

    /// Takes a turn of no more than so much.
    pub(crate) fn step_within(&mut self, now: Now, budget: Budget) -> bool {
        // By levels, as a poller tells: what was left is told of again, and what was not there is not looked for.
        self.lane.readable(self.tun.is_readable(), self.socket.waiting() > 0);
        let Self { device, lane, tun, socket, strategy } = self;
        let outcome = strategy.step(CoreId(0), budget, &mut LaneIo { device, lane, tun, udp: socket, now });
        self.device.check_invariants();
        !outcome.idle()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.device.drops().get(reason)
    }
}

/// A gateway of several lanes.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) members: Vec<Member>,
    /// How often each bell was rung.
    pub(crate) rung: Vec<Arc<AtomicUsize>>,
}

impl Gateway {
    pub(crate) fn new(number: usize, lanes: usize, wire: &Wire, now: Now) -> Self {
        let rung: Vec<_> = (0..lanes).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let bells = rung.iter().cloned().map(|rung| {
            Arc::new(Doorbell::new(move || {
                rung.fetch_add(1, Ordering::Relaxed);
            }))
        });
        let bells: Vec<_> = bells.collect();
        let ways = Ways::between(&bells);
        let parts = Exchange::between(bells).into_iter().zip(ways);
        let members = parts.enumerate().map(|(home, (exchange, ways))| {
            let rng = ChaCha20Rng::seed_from_u64((number * 100 + home) as u64);
            let mut device = Device::new(Config::default(), rng).unwrap();
            device.set_home(exchange.home(), lanes, move |index| member_of(index.get(), lanes) == home);
            device.set_private_key(Some(key(number)), now);
            device.set_up(true, now);
            let mut lane = Lane::among(exchange);
            lane.join_ways(ways);
            Member {
                device,
                lane,
                tun: MemoryTun::default(),
                socket: wire.member(outer(number), home, lanes),
                strategy: StrategyKind::default().build(),
            }
        });
        Self { members: members.collect(), rung }
    }

    /// Adds another gateway as a peer, and returns its handle and home.
    pub(crate) fn add(&mut self, other: usize) -> (PeerId, usize) {
        let home = self.members[0].device.next_home();
        let id = self.members[home.index()].device.add_peer(public(other)).unwrap();
        self.configure(|device| {
            assert_eq!(device.add_peer(public(other)), Ok(id));
            device.add_allowed_ip(id, IpPrefix::new(inner(other).into(), 32).unwrap()).unwrap();
            device.set_endpoint(id, outer(other));
        });
        (id, home.index())
    }

    /// Does the same to all devices.
    pub(crate) fn configure(&mut self, mut apply: impl FnMut(&mut Device<RingAead, ChaCha20Rng>)) {
        self.members.iter_mut().for_each(|member| apply(&mut member.device));
    }

    /// Gives a peer another home.
    pub(crate) fn rehome(&mut self, other: usize, to: usize, now: Now) -> Result<(), RehomeError> {
        let id = self.members[0].device.peer(&public(other)).unwrap();
        let mut lanes: Vec<_> = self.members.iter_mut().map(|member| member.io(now)).collect();
        let moved = rehome(&mut lanes, id, HomeId::new(u8::try_from(to).unwrap()));
        self.members.iter().for_each(|member| member.device.check_invariants());
        moved
    }

    /// Has all lanes run by a strategy.
    pub(crate) fn follow(&mut self, kind: StrategyKind) {
        self.members.iter_mut().for_each(|member| member.strategy = kind.build());
    }

    /// Has counters split from now on, by those that receive for each home as the wire knows them.
    pub(crate) fn split(&mut self, wire: &Wire, now: Now) {
        wire.split(true);
        let count = self.members.len();
        let receives =
            |home: HomeId, lane: HomeId| wire.receivers(home.index(), count).contains(&lane.index());
        let mut lanes: Vec<_> = self.members.iter_mut().map(|member| member.io(now)).collect();
        let home_of =
            move |index: SessionIndex| HomeId::new(u8::try_from(member_of(index.get(), count)).unwrap());
        begin_split(&mut lanes, receives, home_of);
        drop(lanes);
        self.follow(StrategyKind::CounterSplit);
    }

    /// Has counters split no longer; what was dealt out is yet to come.
    pub(crate) fn join(&mut self, wire: &Wire, kind: StrategyKind) {
        wire.split(false);
        // A socket knows how much there may be, and not how much there is.
        let most = |waiting: usize| if waiting > 0 { 2 * waiting } else { 0 };
        self.members.iter_mut().for_each(|member| member.lane.counters_joined(most(member.socket.waiting())));
        self.follow(kind);
    }

    /// Ends the split if nothing of it is left.
    pub(crate) fn end_split(&mut self, now: Now) -> bool {
        end_split(&mut self.members.iter_mut().map(|member| member.io(now)).collect::<Vec<_>>())
    }

    /// Where a peer is at home.
    pub(crate) fn home(&self, other: usize) -> usize {
        let id = self.members[0].device.peer(&public(other)).unwrap();
        let home: Vec<HomeId> =
            self.members[0].device.homes().filter(|(found, _)| *found == id).map(|(_, home)| home).collect();
        assert_eq!(home.len(), 1);
        home[0].index()
    }

    /// Datagrams sent by each lane.
    pub(crate) fn sent(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.socket.sent).collect()
    }

    /// Everything delivered since this was last asked.
    pub(crate) fn delivered(&mut self) -> Vec<Vec<u8>> {
        self.members.iter_mut().flat_map(|member| core::mem::take(&mut member.tun.delivered)).collect()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.members.iter().map(|member| member.dropped(reason)).sum()
    }

    pub(crate) fn drops(&self) -> u64 {
        self.members.iter().map(|member| member.device.drops().total()).sum()
    }
}

/// A gateway of several lanes, number 0, and others of one lane that know it, and that it knows.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) wire: Wire,
    pub(crate) hub: Gateway,
    /// The others, of which the first is number 1.
    pub(crate) peers: Vec<Gateway>,
    pub(crate) now: Now,
}

impl Rig {
    pub(crate) fn new(lanes: usize, peers: usize) -> Self {
        let wire = Wire::default();
        let now =
            Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let mut hub = Gateway::new(0, lanes, &wire, now);
        let peers = (1..=peers).map(|number| {
            hub.add(number);
            let mut peer = Gateway::new(number, 1, &wire, now);
            peer.add(0);
            peer
        });
        let peers = peers.collect();
        Self { wire, hub, peers, now }
    }

    pub(crate) fn peer(&mut self, number: usize) -> &mut Gateway {
        &mut self.peers[number - 1]
    }

    /// Lets all take turns until nobody has anything to do.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        for _ in 0..10_000 {
            let all =
                self.hub.members.iter_mut().chain(self.peers.iter_mut().flat_map(|peer| &mut peer.members));
            if !all.map(|member| member.step(now)).fold(false, |any, worked| any | worked) {
                for member in &mut self.hub.members {
                    assert!(!member.device.has_work(), "work is left over");
                    assert!(member.lane.may_sleep(), "something waits in a ring");
                    member.lane.awake();
                }
                return;
            }
        }
        panic!("never comes to rest");
    }

    /// Sends a packet of each peer, which brings up all sessions.
    pub(crate) fn connect(&mut self) {
        for number in 1..=self.peers.len() {
            let hello = packet(inner(number), inner(0), 84, 0);
            self.peer(number).members[0].tun.outgoing.push_back(hello.clone());
            self.settle();
            assert_eq!(self.hub.delivered(), [hello]);
        }
    }

    /// Lets the time pass from deadline to deadline.
    pub(crate) fn pass(&mut self, seconds: u64) {
        let end = self.now.instant.saturating_add(Duration::from_secs(seconds));
        self.now.wall = UnixTime::new(self.now.wall.secs() + seconds, 0);
        loop {
            self.settle();
            let peers = self.peers.iter_mut().flat_map(|peer| &mut peer.members);
            let members = self.hub.members.iter_mut().chain(peers);
            match members.filter_map(|member| member.device.poll_timeout()).min() {
                Some(next) if next < end => self.now.instant = next,
                _ => break,
            }
        }
        self.now.instant = end;
        self.settle();
    }
}

/// An IPv4 packet of `len` bytes, at least 24, with a number in it.
pub(crate) fn packet(from: [u8; 4], to: [u8; 4], len: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

/// The numbers in packets.
pub(crate) fn numbers(packets: &[Vec<u8>]) -> Vec<u32> {
    packets.iter().map(|packet| u32::from_be_bytes(packet[20..24].try_into().unwrap())).collect()
}
