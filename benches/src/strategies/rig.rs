//! A gateway of one thread or several under a strategy, as `wg-gateway` puts it together: a device and a lane for each thread, or
//! by strategies that share homes one for all of them; and counters are split for the strategy that wants it.

use core::hint::spin_loop;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant as Clock;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use wg_datapath::proto::{Endpoint, Instant, PrivateKey, SessionIndex, UnixTime};
use wg_datapath::sched::handoff::Doorbell;
use wg_datapath::sched::{
    AnyStrategy, Budget, Capacity, Core, CoreId, Crew, Helper, Homes, Lane as Place, LaneId, Limits, Member,
    Outcome, Plan, Strategy, StrategyKind, Topology,
};
use wg_datapath::{
    Batch, Config, Device, Exchange, HomeId, HomeState, IpPrefix, Lane, LaneIo, MultiBufferAead, Now,
    SharedHome, SharedIo, Ways, Worker, begin_split,
};
use wg_netns::process::pin_thread;

use super::edges::{Host, Port, Socket, Steering};
use super::remote::Remote;

/// The shortest packet: a header, and a little behind it.
pub(super) const SHORTEST: usize = 28;
/// As in the gateway.
const BUDGET: Budget = Budget { batches: 16, packets: 128 };
const PLACES: u32 = 96;
/// Between two looks of an idle thread at what others sent.
const LOOK: u32 = 256;
const NOW: Now = Now { instant: Instant::from_nanos(1 << 40), wall: UnixTime::new(1_700_000_000, 0) };

type State = HomeState<MultiBufferAead, ChaCha20Rng>;
type Shared = SharedHome<MultiBufferAead, ChaCha20Rng>;

/// What a sample is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Bytes of a packet.
    pub(super) len: usize,
    pub(super) peers: u8,
    /// Packets of a sample.
    pub(super) packets: u64,
}

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the host to peers.
    Out,
    /// From peers to the host.
    In,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Out, Self::In];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// The gateway, and its peers.
pub(super) struct Rig {
    shared: Option<Shared>,
    seats: Vec<Seat>,
    port: Arc<Port>,
    steering: Steering,
    remotes: Vec<(SocketAddr, Remote)>,
    packets: u64,
}

/// What a thread has.
struct Seat {
    part: Part,
    strategy: AnyStrategy,
    core: CoreId,
    host: Host,
    socket: Socket,
    /// Its packets of a sample.
    share: u64,
}

enum Part {
    Own(Box<State>),
    Worker(Box<Worker<MultiBufferAead>>),
}

impl Rig {
    /// Makes it, with a session for each peer.
    pub(super) fn new(kind: StrategyKind, threads: u32, load: Load) -> Self {
        let shares = kind.shares_home();
        let plan = plan(kind, threads);
        let count = plan.lanes.len();
        let homes = if shares { 1 } else { count };
        let steering = Steering { sockets: count, splits: kind.splits_counters() && count > 1 };
        let mut states = states(homes, steering);
        let home_of: Vec<usize> =
            (1..=load.peers).map(|number| add_everywhere(&mut states, number)).collect();
        let members = crew(shares, &plan);
        let (shared, parts): (_, Vec<Part>) = if shares {
            let state = states.remove(0);
            let workers = members.into_iter().map(|member| Part::Worker(Box::new(Worker::new(member))));
            (Some(SharedHome::new(state)), workers.collect())
        } else {
            let join = |(mut state, member): (Box<State>, _)| {
                state.lane.join(member);
                Part::Own(state)
            };
            (None, states.into_iter().zip(members).map(join).collect())
        };
        let port = Port::new(count);
        let seats = parts.into_iter().zip(&plan.lanes).enumerate().map(|(number, (part, lane))| {
            let mut strategy = kind.build();
            strategy.place(&plan, lane.core);
            let (host, socket) = (Host::new(&port, number), Socket::new(&port, number));
            Seat { part, strategy, core: lane.core, host, socket, share: 0 }
        });
        let seats = seats.collect();
        let remotes = (1..=load.peers).map(|number| {
            let gateway = (key(0).public_key(), Endpoint::new(outer(0)));
            let packet = packet(number, 0, load.len);
            (outer(number), Remote::new(key(number), gateway, packet, (number.into(), NOW)))
        });
        let mut rig =
            Self { shared, seats, port, steering, remotes: remotes.collect(), packets: load.packets };
        if steering.splits {
            let home_of = move |index: SessionIndex| {
                HomeId::new(u8::try_from(steering.home_of(index.get())).expect("a rig has few sockets"))
            };
            let mut lanes: Vec<_> = rig.seats.iter_mut().filter_map(Seat::io).collect();
            begin_split(&mut lanes, |home, lane| home != lane, home_of);
        }
        rig.acquaint();
        // Packets come to the home of their peer, as the kernel gives them to the queue that wrote to their flow; those of a shared
        // home to all queues.
        let mut left = load.packets;
        for at in 0..count {
            let is_here = |home: usize| shares || home == at;
            let peers = (1..).zip(&home_of).filter(|(_, home)| is_here(**home));
            let packets: Vec<_> = peers.map(|(number, _)| packet(0, number, load.len)).collect();
            let seat = &mut rig.seats[at];
            let part = if shares { 1 } else { packets.len() as u64 };
            let all = if shares { count as u64 } else { load.peers.into() };
            seat.share = if at + 1 == count { left } else { load.packets * part / all };
            if packets.is_empty() {
                seat.share = 0;
            }
            left -= seat.share;
            seat.host.packets = packets;
        }
        rig.seats[0].share += left;
        rig
    }

    /// Brings the sessions up: each peer sends a packet.
    fn acquaint(&mut self) {
        let Self { shared, seats, port, steering, remotes, .. } = self;
        let settle = |seats: &mut [Seat]| {
            for _ in 0..100 {
                for seat in &mut *seats {
                    seat.step(shared.as_ref());
                }
            }
        };
        for (from, remote) in &mut *remotes {
            // What is initiated comes to the first.
            seats[0].socket.arrives(*from, remote.initiation(), 0);
            settle(seats);
            let sent = seats.iter_mut().find_map(|seat| seat.socket.outbox.as_mut()?.pop());
            remote.answered(sent.expect("an answer"));
            let sealed = remote.seal();
            seats[steering.receiver_of(sealed)].socket.arrives(*from, sealed, 0);
            settle(seats);
        }
        assert_eq!(port.delivered(), remotes.len() as u64, "every peer has a session");
        seats.iter_mut().for_each(|seat| seat.socket.outbox = None);
    }

    /// Puts into the sockets what the peers send: bursts, in turns.
    fn deal(&mut self) {
        const BURST: u64 = 64;
        let (mut before, mut left) = (self.port.delivered(), self.packets);
        while left > 0 {
            for (from, remote) in &mut self.remotes {
                let burst = left.min(BURST);
                for _ in 0..burst {
                    let sealed = remote.seal();
                    self.seats[self.steering.receiver_of(sealed)].socket.arrives(*from, sealed, before);
                    before += 1;
                }
                left -= burst;
            }
        }
    }

    /// Lets all threads work until all packets of one direction are sent or delivered, and tells how long that took.
    pub(super) fn sample(&mut self, direction: Direction) -> Duration {
        if direction == Direction::In {
            self.deal();
        }
        let port = Arc::clone(&self.port);
        let sum = || match direction {
            Direction::Out => port.sent(),
            Direction::In => port.delivered(),
        };
        let (goal, shared) = (sum() + self.packets, self.shared.as_ref());
        let (ready, start) = (AtomicU32::new(0), OnceLock::<Clock>::new());
        let others = u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX);
        let work = |seat: &mut Seat| {
            pin_thread(Some(seat.core.0 as usize));
            seat.host.left = if direction == Direction::Out { seat.share } else { 0 };
            if seat.core.0 == 0 {
                while ready.load(Ordering::Acquire) < others {
                    spin_loop();
                }
                start.get_or_init(Clock::now);
            } else {
                ready.fetch_add(1, Ordering::Release);
                while start.get().is_none() {
                    spin_loop();
                }
            }
            loop {
                if seat.step(shared).idle() {
                    if sum() >= goal {
                        return Clock::now();
                    }
                    (0..LOOK).for_each(|_| spin_loop());
                }
            }
        };
        let end = thread::scope(|scope| {
            let threads: Vec<_> = self.seats.iter_mut().map(|seat| scope.spawn(|| work(seat))).collect();
            let ends = threads.into_iter().map(|thread| thread.join().expect("no packet is lost"));
            ends.min().expect("there is a thread")
        });
        assert_eq!(sum(), goal, "no packet is lost");
        end.duration_since(*start.get().expect("it has begun"))
    }
}

impl Seat {
    /// Its lane and its edges, if it has one of its own.
    fn io(&mut self) -> Option<LaneIo<'_, MultiBufferAead, ChaCha20Rng, Host, Socket>> {
        let Self { part: Part::Own(state), host, socket, .. } = self else { return None };
        let HomeState { device, lane } = &mut **state;
        Some(LaneIo { device, lane, tun: host, udp: socket, now: NOW })
    }

    fn step(&mut self, shared: Option<&Shared>) -> Outcome {
        let Self { part, strategy, core, host, socket, .. } = self;
        match (part, shared) {
            (Part::Own(state), _) => {
                let HomeState { device, lane } = &mut **state;
                lane.readable(true, true);
                let mut io = LaneIo { device, lane, tun: host, udp: socket, now: NOW };
                strategy.step(*core, BUDGET, &mut io)
            }
            (Part::Worker(worker), Some(home)) => {
                worker.readable(true, true);
                strategy.step(*core, BUDGET, &mut SharedIo::new(worker, home, host, socket, NOW))
            }
            (Part::Worker(_), None) => unreachable!("workers have a home"),
        }
    }
}

/// A lane on each thread, and who helps whom.
fn plan(kind: StrategyKind, threads: u32) -> Plan {
    let topology = Topology { cores: (0..threads).map(|core| Core::alone(core, 0)).collect() };
    let lanes: Vec<_> = (0..threads).map(|core| Place { id: LaneId(core), core: CoreId(core) }).collect();
    let limits = Limits { lanes: threads, cores: threads };
    let helpers = kind.build().help(&topology, &lanes, &limits);
    Plan { lanes, helpers }
}

fn crew(shares: bool, plan: &Plan) -> Vec<Member<Batch<MultiBufferAead>>> {
    let lanes: Vec<_> = plan.lanes.iter().map(|lane| lane.id).collect();
    let helpers = plan.lanes.iter().map(|lane| Helper { core: lane.core, lanes: lanes.clone() });
    let all = Plan { lanes: plan.lanes.clone(), helpers: helpers.collect() };
    let capacity = Capacity { places: PLACES, ..Capacity::default() };
    let homes = if shares { Homes::Shared } else { Homes::OfLanes };
    let mut members: Vec<_> =
        Crew::new(&all, homes, capacity, |_| Arc::new(Doorbell::new(|| ()))).into_members().collect();
    if !shares {
        members.iter_mut().for_each(|member| member.place(plan));
    }
    members
}

/// The devices of so many homes.
fn states(homes: usize, steering: Steering) -> Vec<Box<State>> {
    if homes == 1 {
        // Sessions come to any socket.
        let device = device(0, HomeId::default(), 1, |_| true);
        return vec![Box::new(HomeState { device, lane: Lane::new() })];
    }
    let bells: Vec<_> = (0..homes).map(|_| Arc::new(Doorbell::new(|| ()))).collect();
    let ways: Vec<Option<Ways<_>>> = if steering.splits {
        Ways::between(&bells).into_iter().map(Some).collect()
    } else {
        bells.iter().map(|_| None).collect()
    };
    let states = Exchange::between(bells).into_iter().zip(ways).map(|(exchange, ways)| {
        let home = exchange.home();
        let device =
            device(home.index() as u64, home, homes, move |index| steering.home_of(index) == home.index());
        let mut lane = Lane::among(exchange);
        if let Some(ways) = ways {
            lane.join_ways(ways);
        }
        Box::new(HomeState { device, lane })
    });
    states.collect()
}

fn device(
    seed: u64,
    home: HomeId,
    homes: usize,
    is_here: impl Fn(u32) -> bool + Send + Sync + 'static,
) -> Device<MultiBufferAead, ChaCha20Rng> {
    let rng = ChaCha20Rng::seed_from_u64(seed);
    let mut device = Device::new(Config::default(), rng).expect("the source does not fail");
    device.set_home(home, homes, move |index| is_here(index.get()));
    device.set_private_key(Some(key(0)), NOW);
    device.set_up(true, NOW);
    device
}

/// Adds a peer to all devices, and tells which is its home.
fn add_everywhere(states: &mut [Box<State>], number: u8) -> usize {
    let home = states[0].device.next_home().index();
    // First at its home.
    add(&mut states[home].device, number);
    for (at, state) in states.iter_mut().enumerate() {
        if at != home {
            add(&mut state.device, number);
        }
    }
    home
}

fn add(device: &mut Device<MultiBufferAead, ChaCha20Rng>, other: u8) {
    let peer = device.add_peer(key(other).public_key()).expect("room for a peer");
    let prefix = IpPrefix::new(inner(other).into(), 32).expect("a prefix");
    device.add_allowed_ip(peer, prefix).expect("room for a prefix");
    device.set_endpoint(peer, outer(other));
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number + 1; 32])
}

fn outer(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 51820).into()
}

const fn inner(number: u8) -> [u8; 4] {
    [10, 0, 0, number]
}

/// A UDP packet of so many bytes.
fn packet(from: u8, to: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    let length = |len: usize| u16::try_from(len).expect("no packet is longer").to_be_bytes();
    packet[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet[2..4].copy_from_slice(&length(len));
    packet[12..16].copy_from_slice(&inner(from));
    packet[16..20].copy_from_slice(&inner(to));
    packet[24..26].copy_from_slice(&length(len - 20));
    packet
}
