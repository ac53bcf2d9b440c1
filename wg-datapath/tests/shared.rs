//! Workers around one home: under the lock of a crew, with a queue and sockets each, over edges that threads can have.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::{Endpoint, Instant, PrivateKey, UnixTime};
use wg_datapath::sched::handoff::Doorbell;
use wg_datapath::sched::{
    Budget, Capacity, CoreId, CoreIo, Crew, Direction, Homes, Lane as Place, LaneId, Plan, Strategy,
    StrategyKind,
};
use wg_datapath::{
    Config, Device, HomeId, HomeState, IpPrefix, Lane, LaneIo, Now, SharedHome, SharedIo, Worker,
};

type State = HomeState<RingAead, ChaCha20Rng>;
type Io<'a> = SharedIo<'a, RingAead, ChaCha20Rng, Host, Socket>;

#[test]
fn what_workers_took_leaves_in_the_order_in_which_they_took_it() {
    let mut rig = Rig::new(2, 1);
    let before: Vec<_> = rig.workers.iter().map(|seat| seat.socket.sent).collect();
    let [a, b] = &mut rig.workers[..] else { panic!("two workers") };
    a.host.outgoing.push_back(packet(1, 0, 0));
    b.host.outgoing.push_back(packet(1, 1, 1));
    let (mut a, mut b) = (a.io(&rig.home), b.io(&rig.home));
    let [mut first, mut second] = [&mut a, &mut b].map(|io| {
        assert!(io.try_acquire());
        let batch = io.poll_tun().expect("a packet");
        let ticket = io.begin(&batch, Direction::Out).expect("a place");
        io.release();
        Some((ticket, batch))
    });
    let finish = |io: &mut Io<'_>, taken: &mut Option<_>| {
        let (ticket, mut batch) = taken.take().expect("a batch");
        io.crypt(core::slice::from_mut(&mut batch));
        io.complete(ticket, batch);
    };
    finish(&mut b, &mut second);
    assert!(b.try_acquire() && b.drain().is_none(), "the other's is first");
    b.release();
    finish(&mut a, &mut first);
    // Whoever comes sends both.
    assert!(b.try_acquire());
    for _ in 0..2 {
        let (direction, batch) = b.drain().expect("a batch");
        assert_eq!(direction, Direction::Out);
        b.send_udp(batch);
    }
    b.release();
    let sent: Vec<_> =
        rig.workers.iter().zip(&before).map(|(seat, before)| seat.socket.sent - before).collect();
    assert_eq!(sent, [0, 2]);
    rig.settle();
    assert_eq!(rig.peers[0].host.numbers(), [(0, 0), (1, 1)]);
}

#[test]
fn who_finds_the_home_taken_sleeps_until_its_bell_rings() {
    let mut rig = Rig::new(2, 1);
    let [a, b] = &mut rig.workers[..] else { panic!("two workers") };
    let mut a = a.io(&rig.home);
    assert!(a.try_acquire());
    assert!(!b.io(&rig.home).try_acquire());
    assert!(b.worker.waits_for_lock() && b.worker.may_sleep(&rig.home));
    assert_eq!(b.rung.load(Ordering::Relaxed), 0);
    a.release();
    assert_eq!(b.rung.load(Ordering::Relaxed), 1);
    b.worker.awake();
    assert!(!b.worker.may_sleep(&rig.home), "it is to be had");
    assert!(b.io(&rig.home).try_acquire());
    assert!(!b.worker.waits_for_lock());
}

#[test]
fn who_had_no_room_for_packets_is_woken_when_there_is() {
    let mut rig = Rig::new(2, 1);
    let [a, b] = &mut rig.workers[..] else { panic!("two workers") };
    a.host.outgoing.extend((0..8000).map(|number| packet(1, 0, number)));
    let mut io = a.io(&rig.home);
    let mut taken = Vec::new();
    assert!(io.try_acquire());
    for _ in 0..100 {
        if let Some(batch) = io.poll_tun() {
            taken.push((io.begin(&batch, Direction::Out).expect("a place"), batch));
        }
    }
    io.release();
    assert!(!a.worker.wants_readable(), "the queue is full");
    let mut io = b.io(&rig.home);
    assert!(io.try_acquire() && io.poll_tun().is_none());
    io.release();
    assert!(!b.worker.wants_readable() && b.worker.may_sleep(&rig.home));

    let mut io = a.io(&rig.home);
    for (ticket, mut batch) in taken {
        io.crypt(core::slice::from_mut(&mut batch));
        io.complete(ticket, batch);
    }
    assert!(io.try_acquire());
    while let Some((_, batch)) = io.drain() {
        io.send_udp(batch);
    }
    let rest = io.poll_tun().expect("what was in the queue");
    assert_eq!(b.rung.load(Ordering::Relaxed), 0);
    io.release();
    drop(rest);
    assert_eq!(b.rung.load(Ordering::Relaxed), 1);
    b.worker.awake();
    assert!(!b.worker.may_sleep(&rig.home), "what it left in its queue fits now");
}

/// The threads of the strategies: nothing is lost, and packets of one peer that one queue had keep their order.
#[test]
fn threads_lose_nothing_and_overtake_nothing() {
    const EACH: u32 = if cfg!(miri) { 50 } else { 20_000 };
    for kind in StrategyKind::ALL.iter().filter(|kind| kind.shares_home()) {
        let mut rig = Rig::new(3, 2);
        for (queue, seat) in (0..).zip(&mut rig.workers) {
            seat.host.outgoing.extend((0..EACH).map(|number| packet(1 + number % 2, queue, number)));
        }
        let home = &rig.home;
        let left = AtomicUsize::new(rig.workers.len());
        thread::scope(|scope| {
            for (core, seat) in (0..).zip(&mut rig.workers) {
                let left = &left;
                scope.spawn(move || {
                    let mut strategy = kind.build();
                    let mut open = true;
                    while left.load(Ordering::Relaxed) > 0 {
                        let outcome = strategy.step(CoreId(core), Budget::default(), &mut seat.io(home));
                        let done = outcome.idle() && !seat.worker.waits_for_lock();
                        if open && done && seat.host.outgoing.is_empty() {
                            open = false;
                            left.fetch_sub(1, Ordering::Relaxed);
                        }
                        if outcome.idle() {
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        rig.settle();
        for (at, peer) in (0..).zip(&mut rig.peers) {
            let numbers = peer.host.numbers();
            for queue in 0..3 {
                let of_queue: Vec<_> =
                    numbers.iter().filter(|(from, _)| *from == queue).map(|(_, number)| *number).collect();
                let expected: Vec<_> = (0..EACH).filter(|number| number % 2 == at).collect();
                assert_eq!(of_queue, expected, "{kind}, queue {queue}");
            }
        }
        let home = rig.home.take().expect("nobody has it");
        assert_eq!(home.device.drops().total(), 0, "{kind}");
    }
}

/// A gateway whose workers share a home, number 0, and others with a lane of their own.
struct Rig {
    home: SharedHome<RingAead, ChaCha20Rng>,
    workers: Vec<Seat>,
    peers: Vec<Peer>,
}

/// What a worker has.
struct Seat {
    worker: Worker<RingAead>,
    host: Host,
    socket: Socket,
    /// How often its bell rang.
    rung: Arc<AtomicUsize>,
}

struct Peer {
    state: State,
    host: Host,
    socket: Socket,
}

impl Rig {
    /// Makes it, with a session between it and each of the others.
    fn new(workers: u32, peers: u8) -> Self {
        let wire = Wire::default();
        let mut hub = state(0);
        for number in 1..=peers {
            add(&mut hub.device, number);
        }
        let peers = (1..=peers).map(|number| {
            let mut state = state(number);
            add(&mut state.device, 0);
            let socket = Socket { sent: 0, wire: wire.clone(), own: outer(number) };
            Peer { state, host: Host::default(), socket }
        });
        let cores: Vec<_> = (0..workers).map(CoreId).collect();
        let lanes = cores.iter().map(|core| Place { id: LaneId(core.0), core: *core }).collect();
        let rung: Vec<_> = cores.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let bell = |CoreId(core)| {
            let rung = Arc::clone(&rung[core as usize]);
            Arc::new(Doorbell::new(move || {
                rung.fetch_add(1, Ordering::Relaxed);
            }))
        };
        let plan = Plan { lanes, helpers: Vec::new() };
        let crew = Crew::new(&plan, Homes::Shared, Capacity::default(), bell);
        let seats = crew.into_members().zip(&rung).map(|(member, rung)| Seat {
            worker: Worker::new(member),
            host: Host::default(),
            socket: Socket { sent: 0, wire: wire.clone(), own: outer(0) },
            rung: Arc::clone(rung),
        });
        let mut rig =
            Self { home: SharedHome::new(Box::new(hub)), workers: seats.collect(), peers: peers.collect() };
        for (number, peer) in (0..).zip(&mut rig.peers) {
            peer.host.outgoing.push_back(packet(0, 9 + number, 0));
        }
        rig.settle();
        let delivered: usize = rig.workers.iter_mut().map(|seat| seat.host.numbers().len()).sum();
        assert_eq!(delivered, rig.peers.len(), "each has a session");
        rig
    }

    /// Lets all take turns until nobody has anything to do.
    fn settle(&mut self) {
        let mut strategy = StrategyKind::LockedMutex.build();
        let mut own = StrategyKind::Inline.build();
        loop {
            let mut idle = true;
            for (core, seat) in (0..).zip(&mut self.workers) {
                idle &= strategy.step(CoreId(core), Budget::default(), &mut seat.io(&self.home)).idle();
            }
            for Peer { state, host, socket } in &mut self.peers {
                let HomeState { device, lane } = state;
                lane.readable(true, true);
                let mut io = LaneIo { device, lane, tun: host, udp: socket, now: NOW };
                idle &= own.step(CoreId(0), Budget::default(), &mut io).idle();
            }
            if idle {
                return;
            }
        }
    }
}

impl Seat {
    fn io<'a>(&'a mut self, home: &'a SharedHome<RingAead, ChaCha20Rng>) -> Io<'a> {
        self.worker.readable(true, true);
        SharedIo::new(&mut self.worker, home, &mut self.host, &mut self.socket, NOW)
    }
}

const NOW: Now =
    Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([7 + number; 32])
}

fn outer(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 1000).into()
}

fn state(number: u8) -> State {
    let rng = ChaCha20Rng::seed_from_u64(number.into());
    let mut device = Device::new(Config::default(), rng).expect("a device");
    device.set_home(HomeId::default(), 1, |_| true);
    device.set_private_key(Some(key(number)), NOW);
    device.set_up(true, NOW);
    HomeState { device, lane: Lane::new() }
}

fn add(device: &mut Device<RingAead, ChaCha20Rng>, other: u8) {
    let peer = device.add_peer(key(other).public_key()).expect("a peer");
    let inner = [10, 0, 0, other].into();
    device.add_allowed_ip(peer, IpPrefix::new(inner, 32).expect("an address")).expect("room");
    device.set_endpoint(peer, outer(other));
}

/// An IPv4 packet to a number, with that of the queue it is read from, and one of its own. Those to number 0 come from the
/// number after that of the queue over 9.
fn packet(to: u32, queue: u32, number: u32) -> Vec<u8> {
    let mut packet = vec![0x5a; 60];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&60_u16.to_be_bytes());
    let from = if to == 0 { 1 + u8::try_from(queue - 9).expect("few") } else { 0 };
    packet[12..16].copy_from_slice(&[10, 0, 0, from]);
    packet[16..20].copy_from_slice(&[10, 0, 0, u8::try_from(to).expect("few")]);
    packet[20..24].copy_from_slice(&queue.to_be_bytes());
    packet[24..28].copy_from_slice(&number.to_be_bytes());
    packet
}

/// A queue of a TUN device.
#[derive(Debug, Default)]
struct Host {
    outgoing: VecDeque<Vec<u8>>,
    delivered: Vec<Vec<u8>>,
}

impl Host {
    /// Queue and number of each packet delivered since this was last asked.
    fn numbers(&mut self) -> Vec<(u32, u32)> {
        let word =
            |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
        self.delivered.drain(..).map(|packet| (word(&packet, 20), word(&packet, 24))).collect()
    }
}

impl TunIo for Host {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        let packet = self.outgoing.pop_front().ok_or(IoError::WouldBlock)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.delivered.push(packet.to_vec());
        Ok(())
    }
}

type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

/// Datagrams under way, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<VecDeque<Datagram>>>);

/// One of the sockets on an address: any of them may receive what comes there.
#[derive(Debug)]
struct Socket {
    wire: Wire,
    own: SocketAddr,
    sent: usize,
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut wire = self.wire.0.lock().expect("nobody panicked");
        let mut received = 0;
        // What is for others stays, in its order; here all that is under way is for few.
        while received < slots.len() && wire.front().is_some_and(|(_, to, _)| *to == self.own) {
            let Some((from, _, bytes)) = wire.pop_front() else { break };
            let slot = &mut slots[received];
            slot.slab[..bytes.len()].copy_from_slice(&bytes);
            (slot.len, slot.truncated, slot.endpoint) = (bytes.len(), false, Some(Endpoint::new(from)));
            received += 1;
        }
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let mut wire = self.wire.0.lock().expect("nobody panicked");
        for segment in transmit.segments {
            let bytes = &transmit.buffer[segment.offset as usize..][..segment.len as usize];
            wire.push_back((self.own, transmit.endpoint.remote, bytes.to_vec()));
        }
        self.sent += transmit.segments.len();
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }
}
