//! Peers that move from lane to lane, at any time: with traffic both ways, frames of many packets, handshakes, lost and repeated
//! datagrams, sockets that push back, other strategies, peers that are removed and added, and a gateway that goes down or loses its
//! key. Held against a reading of what moves must not change:
//!
//! - packets of one queue arrive in their order, whoever sent them; those of a peer, the ones of each session;
//! - no packet arrives twice, or altered, and each that does not is counted, waits for a session, or was lost on the wire; a move
//!   is no reason;
//! - every lane knows the same home of each peer, and that one alone has it;
//! - at rest nothing is under way, no buffer is with another lane, and no more sessions are known than there may be;
//! - whatever happened, in the end packets get through both ways, and every peer can move to every lane.

mod clear;
mod edges;

use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wg_datapath::{
    Config, Device, DropReason, Exchange, HomeId, IpPrefix, Lane, LaneIo, Now, PeerId, RehomeError,
    rehome as move_home,
};
use wg_proto::{Instant, PrivateKey, UnixTime};
use wg_sched::handoff::Doorbell;
use wg_sched::{
    AnyStrategy, Budget, Capacity, Core, CoreId, Crew, Helper, Homes, Lane as Place, LaneId, Limits, Plan,
    Strategy, StrategyKind, Topology,
};

use self::clear::ClearAead;
use self::edges::{Delivered, Host, Mark, Socket, Wire, socket_of};
use crate::input::Input;

/// What a script may have of each.
const OPERATIONS: usize = 64;
/// Little enough to end a turn with something in every queue.
const LITTLE: Budget = Budget { batches: 2, packets: 16 };
/// Indices of a peer: three sessions and a handshake, and those that another lane forwards.
const INDICES: usize = 2 * 4;
/// Strategies whose lanes have homes of their own, and receive what comes for them alone.
const STRATEGIES: [StrategyKind; 6] = [
    StrategyKind::Inline,
    StrategyKind::Adaptive,
    StrategyKind::Pipelined,
    StrategyKind::PipelinedNoOverlap,
    StrategyKind::NumaPools,
    StrategyKind::EmulatedInline,
];

/// Runs the script that the input describes.
///
/// # Panics
///
/// If a rule is broken.
pub fn rehome(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(&mut input);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        scene.operate(&mut input);
        scene.look();
    }
    scene.end();
}

fn key(number: u8) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[1] = number;
    PrivateKey::from_bytes(bytes)
}

fn outer(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 51820).into()
}

/// A lane with its device and edges.
struct Member {
    device: Device<ClearAead, ChaCha8Rng>,
    lane: Lane<ClearAead>,
    host: Host,
    socket: Socket,
    strategy: AnyStrategy,
    core: CoreId,
}

impl Member {
    fn io(&mut self, now: Now) -> LaneIo<'_, ClearAead, ChaCha8Rng, Host, Socket> {
        let Self { device, lane, host, socket, .. } = self;
        LaneIo { device, lane, tun: host, udp: socket, now }
    }

    fn step(&mut self, now: Now, budget: Budget) -> bool {
        self.lane.readable(true, true);
        let Self { device, lane, host, socket, strategy, core } = self;
        let outcome = strategy.step(*core, budget, &mut LaneIo { device, lane, tun: host, udp: socket, now });
        self.device.check_invariants();
        !outcome.idle()
    }

    fn add(&mut self, number: u8) -> PeerId {
        let id = self.device.add_peer(key(number).public_key()).expect("there is room");
        let prefix = IpPrefix::new([10, 0, 0, number].into(), 32).expect("a prefix");
        self.device.add_allowed_ip(id, prefix).expect("there is room");
        self.device.set_endpoint(id, outer(number));
        id
    }
}

/// A gateway of several lanes, and peers of one lane each.
struct Scene {
    wire: Rc<RefCell<Wire>>,
    hub: Vec<Member>,
    peers: Vec<Member>,
    now: Now,
    /// The handle of each peer at the gateway, be it there or gone.
    ids: Vec<PeerId>,
    topology: Topology,
    places: Vec<Place>,
    has_key: bool,
    /// What the gateway, and each peer, delivered and nobody has looked at.
    at_hub: Delivered,
    at_peers: Vec<Delivered>,
    /// The number of the next packet from whom to whom, by queue.
    next: BTreeMap<(u8, u8, u8), u32>,
    /// The newest that arrived of them: of a queue, or of a session.
    newest: BTreeMap<(u8, u8, u32), u32>,
    sent: u64,
    delivered: u64,
    /// Control datagrams that may have been dropped before they were sent.
    held: u64,
    /// A peer was removed.
    removed: bool,
    /// Time passed while something was under way.
    aged: bool,
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let now =
            Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let (lanes, peers) = (2 + input.below(2), 1 + input.below(2));
        let wire = Rc::<RefCell<Wire>>::default();
        let at_hub = Delivered::default();
        let cores = (0..lanes.into()).map(|core| Core::alone(core, 0)).collect();
        let places: Vec<_> =
            (0..lanes.into()).map(|lane| Place { id: LaneId(lane), core: CoreId(lane) }).collect();
        let ids = places.iter().map(|place| place.id).collect::<Vec<_>>();
        let helpers = places.iter().map(|place| Helper { core: place.core, lanes: ids.clone() });
        let plan = Plan { lanes: places.clone(), helpers: helpers.collect() };
        let bells: Vec<_> = (0..lanes).map(|_| Arc::new(Doorbell::new(|| {}))).collect();
        let mut crew =
            Crew::new(&plan, Homes::OfLanes, Capacity::default(), |core| Arc::clone(&bells[core.0 as usize]));
        let hub = Exchange::between(bells.clone()).into_iter().zip(&places).map(|(exchange, place)| {
            let (home, count) = (exchange.home(), usize::from(lanes));
            let mut device = device(0, place.core.0, now);
            device.set_home(home, count, move |index| socket_of(index.get(), count) == home.index());
            let mut lane = Lane::among(exchange);
            lane.join(crew.take(place.core).expect("a member for each core"));
            let host = Host { delivered: Rc::clone(&at_hub), ..Host::default() };
            let mut socket = Socket::new(&wire, outer(0), (home.index(), count));
            socket.trains = input.below(2) == 0;
            Member { device, lane, host, socket, strategy: AnyStrategy::default(), core: place.core }
        });
        let hub = hub.collect();
        let peers: Vec<_> = (1..=peers)
            .map(|number| {
                let (device, lane) = (device(number, 0, now), Lane::new());
                let socket = Socket::new(&wire, outer(number), (0, 1));
                let strategy = StrategyKind::Inline.build();
                let mut peer =
                    Member { device, lane, host: Host::default(), socket, strategy, core: CoreId(0) };
                peer.add(0);
                peer
            })
            .collect();
        let at_peers = peers.iter().map(|peer| Rc::clone(&peer.host.delivered)).collect();
        let mut scene = Self {
            wire,
            hub,
            peers,
            now,
            ids: Vec::new(),
            topology: Topology { cores },
            places,
            has_key: true,
            at_hub,
            at_peers,
            next: BTreeMap::new(),
            newest: BTreeMap::new(),
            sent: 0,
            delivered: 0,
            held: 0,
            removed: false,
            aged: false,
        };
        for at in 0..scene.peers.len() {
            let id = scene.add(at);
            scene.ids.push(id);
        }
        scene.switch(STRATEGIES[usize::from(input.byte()) % STRATEGIES.len()]);
        scene
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let (lanes, peers) = (self.hub.len(), self.peers.len());
        let operation = input.below(20);
        let at = usize::from(input.byte());
        let (lane, peer) = (at % lanes, at / 8 % peers);
        match operation {
            0..=2 => self.send_there(lane, peer, input),
            3..=5 => self.send_here(peer, input),
            6..=8 => {
                for _ in 0..=input.below(4) {
                    self.hub[lane].step(self.now, LITTLE);
                }
            }
            9 | 10 => {
                self.peers[peer].step(self.now, LITTLE);
            }
            11..=13 => {
                self.go(peer, usize::from(input.byte()) % (lanes + 1)).ok();
            }
            14 => self.wire.borrow_mut().lose = input.below(32).into(),
            15 => self.wire.borrow_mut().double = input.below(32).into(),
            16 => self.hub[lane].socket.room = input.below(64).into(),
            17 if input.below(2) == 0 => self.wait(Duration::from_millis(u64::from(input.byte()) * 997)),
            17 => {
                // While everything waits where it is.
                self.aged = true;
                self.set_time(self.now.instant.saturating_add(Duration::from_millis(input.byte().into())));
            }
            18 => self.configure(peer, input),
            _ => self.settle(),
        }
    }

    /// Packets to a peer, read on a lane: singly, or as a frame.
    fn send_there(&mut self, lane: usize, peer: usize, input: &mut Input<'_>) {
        let (mark, count, len) = self.take_numbers(0, number(peer), byte(lane), input);
        let outgoing = &mut self.hub[lane].host.outgoing;
        if count > 1 && input.below(3) == 0 {
            let most = u32::try_from(60_000 / len).expect("a few");
            let mut first = 0;
            while first < count {
                let some = most.min(count - first);
                outgoing.push_back(Mark { number: mark.number + first, ..mark }.frame(some, len));
                first += some;
            }
        } else {
            outgoing.extend((0..count).map(|at| Mark { number: mark.number + at, ..mark }.frame(1, len)));
        }
    }

    /// Packets of a peer.
    fn send_here(&mut self, peer: usize, input: &mut Input<'_>) {
        let (mark, count, len) = self.take_numbers(number(peer), 0, 0, input);
        let outgoing = &mut self.peers[peer].host.outgoing;
        outgoing.extend((0..count).map(|at| Mark { number: mark.number + at, ..mark }.frame(1, len)));
    }

    fn take_numbers(&mut self, from: u8, to: u8, queue: u8, input: &mut Input<'_>) -> (Mark, u32, usize) {
        let count = 1 + u32::from(input.byte());
        let len = [32, 32, 200, 1000, 3000][usize::from(input.below(5))];
        (self.mark(from, to, queue, count), count, len)
    }

    fn mark(&mut self, from: u8, to: u8, queue: u8, count: u32) -> Mark {
        let next = self.next.entry((from, to, queue)).or_default();
        let number = core::mem::replace(next, *next + count);
        self.sent += u64::from(count);
        Mark { from, to, queue, number }
    }

    /// Moves a peer, or tries to.
    fn go(&mut self, peer: usize, to: usize) -> Result<(), RehomeError> {
        let before = self.home(peer);
        let mut lanes: Vec<_> = self.hub.iter_mut().map(|member| member.io(self.now)).collect();
        let moved = move_home(&mut lanes, self.ids[peer], HomeId::new(byte(to)));
        let after = match moved {
            Ok(()) => Some(to),
            Err(_) => before,
        };
        assert_eq!(self.home(peer), after);
        match (moved, before) {
            (Err(RehomeError::NoSuchPeer), before) => assert_eq!(before, None),
            (_, None) => panic!("a peer that there is not: {moved:?}"),
            (Err(RehomeError::NoSuchHome), _) => assert_eq!(to, self.hub.len()),
            _ => assert!(to < self.hub.len()),
        }
        moved
    }

    /// Where a peer is at home, which all lanes say alike.
    fn home(&self, peer: usize) -> Option<usize> {
        let said: Vec<_> = self
            .hub
            .iter()
            .map(|member| {
                member.device.homes().find(|(id, _)| *id == self.ids[peer]).map(|(_, home)| home.index())
            })
            .collect();
        assert!(said.iter().all(|home| *home == said[0]), "the lanes do not agree: {said:?}");
        for (lane, member) in self.hub.iter().enumerate() {
            assert_eq!(member.device.status(self.ids[peer]).is_some(), said[0] == Some(lane), "whose it is");
        }
        said[0]
    }

    fn configure(&mut self, peer: usize, input: &mut Input<'_>) {
        match input.below(6) {
            0 | 1 if self.home(peer).is_some() => {
                let id = self.ids[peer];
                (self.held, self.removed) = (self.held + 64, true);
                self.hub.iter_mut().for_each(|member| member.device.remove_peer(id));
            }
            0 | 1 => self.ids[peer] = self.add(peer),
            2 => self.set_up(!self.hub[0].device.is_up()),
            3 => self.set_key(!self.has_key),
            _ => self.switch(STRATEGIES[usize::from(input.byte()) % STRATEGIES.len()]),
        }
    }

    /// Adds a peer to the gateway, at its home first.
    fn add(&mut self, peer: usize) -> PeerId {
        let home = self.hub[0].device.next_home();
        let id = self.hub[home.index()].add(number(peer));
        for member in &mut self.hub {
            assert_eq!(member.add(number(peer)), id, "a handle is the same everywhere");
        }
        id
    }

    fn set_up(&mut self, up: bool) {
        let (now, lanes) = (self.now, self.hub.len() as u64);
        self.held += 64 * lanes;
        self.hub.iter_mut().for_each(|member| member.device.set_up(up, now));
    }

    fn set_key(&mut self, has_key: bool) {
        let (now, lanes) = (self.now, self.hub.len() as u64);
        self.held += 64 * lanes;
        self.has_key = has_key;
        self.hub.iter_mut().for_each(|member| member.device.set_private_key(has_key.then(|| key(0)), now));
    }

    fn switch(&mut self, kind: StrategyKind) {
        let count = u32::try_from(self.places.len()).expect("a few");
        let limits = Limits { lanes: count, cores: count };
        let helpers = kind.build().help(&self.topology, &self.places, &limits);
        let plan = Plan { lanes: self.places.clone(), helpers };
        for member in &mut self.hub {
            member.strategy.switch(kind, &plan, member.core);
            member.lane.place(&plan);
        }
    }

    /// Lets all take turns, with sockets that take everything, until nobody has anything to do.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut worked = false;
            for member in self.hub.iter_mut().chain(&mut self.peers) {
                member.socket.room = usize::MAX;
                worked |= member.step(self.now, Budget::default());
            }
            if !worked && self.hub.iter().all(|member| member.lane.pending() == 0) {
                return self.rests();
            }
        }
        panic!("never comes to rest");
    }

    /// What holds once nobody has anything to do.
    fn rests(&mut self) {
        for member in self.hub.iter_mut().chain(&mut self.peers) {
            assert!(!member.device.has_work(), "work is left over");
            assert!(member.lane.may_sleep(), "something waits in a ring");
            member.lane.awake();
            assert_eq!(member.lane.lent(), 0, "slabs are with others");
            let (small, large) = member.lane.slabs_out();
            assert!(small <= 1 && large <= 64 + 2, "buffers are out: {small} and {large}");
        }
        self.look();
        for member in self.hub.iter().chain(&self.peers) {
            for (reason, count) in member.device.drops().iter() {
                assert!(count == 0 || self.may_drop(reason), "{count} are dropped: {}", reason.name());
            }
        }
        let members = || self.hub.iter().chain(&self.peers);
        let dropped = members().map(|member| data_drops(&member.device)).sum::<u64>();
        let staged = members().map(|member| member.device.staged_count() as u64).sum::<u64>();
        let wire = self.wire.borrow();
        let found = self.delivered + wire.lost + staged;
        let missing = self.sent.checked_sub(found).expect("no more than there were");
        assert!(dropped >= missing, "{missing} packets are missing, of which {dropped} are counted");
        // One datagram dies once, if it carries no packet, too.
        let most = missing + wire.others + self.held;
        assert!(dropped <= most, "{dropped} packets are counted, of which {missing} are missing");
    }

    /// Whether there was an occasion to drop anything for a reason: a move is none.
    fn may_drop(&self, reason: DropReason) -> bool {
        match reason {
            DropReason::StagedRemoved | DropReason::NoPeerForDestination => self.removed,
            DropReason::SessionRetired => self.held > 0 || self.aged,
            DropReason::NoBuffer
            | DropReason::SealFailed
            | DropReason::InvalidTag
            | DropReason::BadSource
            | DropReason::InNotIp
            | DropReason::InTooShort
            | DropReason::InBadLength
            | DropReason::OutMalformedFrame
            | DropReason::OutTooLong
            | DropReason::CounterLimit
            | DropReason::NotASession => false,
            _ => true,
        }
    }

    /// Lets time pass from deadline to deadline.
    fn wait(&mut self, by: Duration) {
        let end = self.now.instant.saturating_add(by);
        loop {
            self.settle();
            let members = self.hub.iter_mut().chain(&mut self.peers);
            match members.filter_map(|member| member.device.poll_timeout()).min() {
                Some(next) if next < end => self.set_time(self.now.instant.max(next)),
                _ => break,
            }
        }
        self.set_time(end);
        self.settle();
    }

    fn set_time(&mut self, instant: Instant) {
        let nanos = instant.as_nanos();
        self.now = Now { instant, wall: UnixTime::new(1_700_000_000 + nanos / 1_000_000_000, 0) };
    }

    /// Holds what was delivered against what was sent.
    fn look(&mut self) {
        let (mut here, mut there) = (self.at_hub.take(), Vec::new());
        for (peer, delivered) in self.at_peers.iter().enumerate() {
            let delivered = delivered.take();
            assert!(delivered.iter().all(|mark| (mark.from, mark.to) == (0, number(peer))), "to another");
            there.extend(delivered);
        }
        assert!(here.iter().all(|mark| mark.to == 0));
        self.delivered += (here.len() + there.len()) as u64;
        here.append(&mut there);
        let wire = self.wire.borrow();
        for mark in here {
            let Mark { from, to, queue, number } = mark;
            // Sessions may overtake each other: they come to different sockets.
            let stream = if from == 0 { queue.into() } else { wire.sealed[&(from, number)] };
            let before = self.newest.insert((from, to, stream), number);
            assert!(before.is_none_or(|before| before < number), "{mark:?} comes behind {before:?}");
        }
        let indices: usize = self.hub.iter().map(|member| member.device.index_count()).sum();
        assert!(indices <= INDICES * self.peers.len(), "{indices} indices are known");
    }

    /// Brings everything up again, and has a packet go each way at every home.
    fn end(&mut self) {
        {
            let mut wire = self.wire.borrow_mut();
            (wire.lose, wire.double) = (0, 0);
        }
        self.settle();
        for peer in 0..self.peers.len() {
            if self.home(peer).is_none() {
                self.ids[peer] = self.add(peer);
            }
        }
        self.set_key(true);
        self.set_up(true);
        // Until every handshake was given up, or came about.
        self.wait(Duration::from_secs(200));
        for to in 0..self.hub.len() {
            for peer in 0..self.peers.len() {
                let before = self.delivered;
                let there = self.mark(0, number(peer), byte(to), 1).frame(1, 100);
                self.hub[to].host.outgoing.push_back(there);
                self.settle();
                let here = self.mark(number(peer), 0, 0, 1).frame(1, 100);
                self.peers[peer].host.outgoing.push_back(here);
                self.settle();
                assert_eq!(self.delivered, before + 2, "nothing gets through");
                assert_eq!(self.go(peer, to), Ok(()), "nothing is under way");
            }
        }
        self.settle();
    }
}

fn device(number: u8, lane: u32, now: Now) -> Device<ClearAead, ChaCha8Rng> {
    let config = Config { max_peers: 4, staged_bytes: 1 << 16, handshake_queue: 1024, ..Config::default() };
    let rng = ChaCha8Rng::seed_from_u64(u64::from(number) << 8 | u64::from(lane));
    let mut device = Device::new(config, rng).expect("it has entropy");
    device.set_private_key(Some(key(number)), now);
    device.set_up(true, now);
    device
}

/// The number of a peer, by its place.
fn number(peer: usize) -> u8 {
    byte(peer) + 1
}

fn byte(small: usize) -> u8 {
    u8::try_from(small).expect("a small number")
}

/// Drops that may be of packets.
fn data_drops(device: &Device<ClearAead, ChaCha8Rng>) -> u64 {
    let is_handshake = |reason: DropReason| {
        matches!(
            reason,
            DropReason::NoPrivateKey
                | DropReason::InvalidMac1
                | DropReason::CookieSent
                | DropReason::CookieFailed
                | DropReason::RateLimited
                | DropReason::HandshakeQueueFull
                | DropReason::UnknownPeer
                | DropReason::OldTimestamp
                | DropReason::InitiationFlood
                | DropReason::HandshakeDecrypt
                | DropReason::UnexpectedResponse
                | DropReason::InvalidCookieReply
                | DropReason::SendQueueFull
        )
    };
    device.drops().iter().filter(|(reason, _)| !is_handshake(*reason)).map(|(_, count)| count).sum()
}
