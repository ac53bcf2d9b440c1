//! A hub and its peers: the hub is measured, the peers send to it.

use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use wg_datapath::offload::TunOffloads;
use wg_datapath::proto::{Instant, PrivateKey, UnixTime};
use wg_datapath::sched::{self, AnyStrategy, Budget, CoreId, CoreIo, Strategy as _, StrategyKind};
use wg_datapath::{BatchAead, Config, Device, IpPrefix, Lane, LaneIo, Now};

use super::clock::{Clock, Stage};
use super::edges::{Arrival, Host, Socket, Wire};
use super::traffic::{Flow, Transport};

/// The time between two turns: a session does not grow old in a million of them.
const PAUSE: Duration = Duration::from_micros(100);

/// A device with its lane and edges.
struct End<A> {
    device: Device<A, ChaCha20Rng>,
    lane: Lane<A>,
    host: Host,
    socket: Socket,
    strategy: AnyStrategy,
    clock: Clock,
}

impl<A: BatchAead> End<A> {
    fn new(number: u16, wire: &Rc<RefCell<Wire>>, clock: Clock, now: Now) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(number.into());
        let mut device = Device::new(Config::default(), rng).expect("the source does not fail");
        device.set_private_key(Some(key(number)), now);
        device.set_up(true, now);
        Self {
            device,
            lane: Lane::new(),
            host: Host::new(clock.clone()),
            socket: Socket::new(wire, outer(number), clock.clone()),
            strategy: StrategyKind::Inline.build(),
            clock,
        }
    }

    fn add(&mut self, other: u16) {
        let peer = self.device.add_peer(key(other).public_key()).expect("room for a peer");
        let prefix = IpPrefix::new(inner(other).into(), 32).expect("a prefix");
        self.device.add_allowed_ip(peer, prefix).expect("room for a prefix");
        self.device.set_endpoint(peer, outer(other));
    }

    /// Does all there is to do.
    fn turn(&mut self, now: Now) {
        self.clock.begin();
        self.lane.readable(true, true);
        let mut io = Timed {
            inner: LaneIo {
                device: &mut self.device,
                lane: &mut self.lane,
                tun: &mut self.host,
                udp: &mut self.socket,
                now,
            },
            clock: &self.clock,
            is_inward: false,
        };
        while self.strategy.step(CoreId(0), Budget::default(), &mut io).more {}
        self.clock.end(Stage::Turn);
    }
}

/// A lane whose stages are told to the clock.
struct Timed<'a, I> {
    inner: I,
    clock: &'a Clock,
    /// The round under way is one of datagrams in.
    is_inward: bool,
}

impl<I: CoreIo> CoreIo for Timed<'_, I> {
    type Batch = I::Batch;

    fn poll_udp(&mut self) -> Option<I::Batch> {
        self.is_inward = true;
        self.inner.poll_udp()
    }

    fn poll_tun(&mut self) -> Option<I::Batch> {
        self.is_inward = false;
        self.inner.poll_tun()
    }

    fn packets(&self, batch: &I::Batch) -> u32 {
        self.inner.packets(batch)
    }

    fn crypt(&mut self, batches: &mut [I::Batch]) {
        self.inner.crypt(batches);
    }

    fn send_tun(&mut self, batch: I::Batch) {
        self.inner.send_tun(batch);
        self.clock.end(Stage::Write);
    }

    fn send_udp(&mut self, batch: I::Batch) {
        self.inner.send_udp(batch);
    }

    fn poll_control(&mut self) -> bool {
        self.inner.poll_control()
    }

    fn charge(&mut self, stage: sched::Stage, _batches: u32) {
        self.clock.end(match (stage, self.is_inward) {
            (sched::Stage::Receive, true) => Stage::Sort,
            (sched::Stage::Receive, false) => Stage::Begin,
            (sched::Stage::Crypt, true) => Stage::Open,
            (sched::Stage::Crypt, false) => Stage::Seal,
            (sched::Stage::Send, true) => Stage::Write,
            (sched::Stage::Send, false) => Stage::Send,
            _ => Stage::Turn,
        });
    }
}

/// What one turn carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) peers: u16,
    pub(super) transport: Transport,
    /// Bytes of a packet.
    pub(super) len: usize,
    /// Packets of a frame, and frames of a turn.
    pub(super) frame: usize,
    pub(super) frames: usize,
    /// Frames go through the TUN as they are, not packet by packet.
    pub(super) has_offloads: bool,
    pub(super) arrival: Arrival,
    pub(super) coalesces: bool,
}

impl Load {
    /// Packets of a turn.
    pub(super) const fn packets(&self) -> usize {
        self.frame * self.frames
    }

    fn frames(&self, flow: impl Fn(usize) -> Flow) -> Vec<(Vec<u8>, wg_datapath::offload::Offload)> {
        let mut frames = Vec::new();
        for at in 0..self.frames {
            let (frame, offload) = flow(at).frame(at / usize::from(self.peers) * self.frame);
            if self.has_offloads {
                frames.push((frame, offload));
            } else {
                frames.extend(super::traffic::packets(&frame, &offload));
            }
        }
        frames
    }
}

/// The hub and its peers.
pub(super) struct Tunnel<A> {
    hub: End<A>,
    peers: Vec<End<A>>,
    wire: Rc<RefCell<Wire>>,
    load: Load,
    now: Now,
    pub(super) clock: Clock,
}

impl<A: BatchAead> Tunnel<A> {
    /// Makes both sides, with a session for each peer.
    pub(super) fn new(load: Load) -> Self {
        let now = Now { instant: Instant::from_nanos(1 << 40), wall: UnixTime::new(1_700_000_000, 0) };
        let (clock, off) = (Clock::new(), Clock::new());
        let wire = Wire::new();
        let mut hub = End::new(0, &wire, clock.clone(), now);
        let peers: Vec<End<A>> = (1..=load.peers)
            .map(|number| {
                let mut peer = End::new(number, &wire, off.clone(), now);
                hub.add(number);
                peer.add(0);
                peer
            })
            .collect();
        let mut tunnel = Self { hub, peers, wire, load, now, clock };
        tunnel.acquaint();
        tunnel.wire.borrow_mut().arrival = load.arrival;
        let offload = load.has_offloads && load.coalesces;
        tunnel.hub.host.offloads =
            TunOffloads { checksum: offload, tcp4: offload, tcp6: offload, udp4: offload, udp6: offload };
        let flow = |from, to, count| Flow {
            from: inner(from),
            to: inner(to),
            transport: load.transport,
            len: load.len,
            count,
        };
        let number = |at: usize| 1 + u16::try_from(at).unwrap_or_default() % load.peers;
        tunnel.hub.host.frames = Rc::new(load.frames(|at| flow(0, number(at), load.frame)));
        tunnel.hub.host.next = usize::MAX;
        let each = Load { frames: load.frames / usize::from(load.peers), peers: 1, ..load };
        for (peer, number) in tunnel.peers.iter_mut().zip(1..) {
            peer.host.frames = Rc::new(each.frames(|_| flow(number, 0, load.frame)));
        }
        tunnel.hub.socket.is_sink = true;
        tunnel
    }

    /// A packet of each peer, and what that leads to.
    fn acquaint(&mut self) {
        for (peer, number) in self.peers.iter_mut().zip(1..) {
            let flow =
                Flow { from: inner(number), to: inner(0), transport: Transport::Udp, len: 64, count: 1 };
            peer.host.frames = Rc::new(vec![flow.frame(0)]);
        }
        for _ in 0..4 {
            self.peers.iter_mut().for_each(|peer| peer.turn(self.now));
            self.hub.turn(self.now);
        }
        assert_eq!(self.hub.host.packets, self.peers.len(), "{:?}", self.hub.device.drops());
    }

    /// The host of the hub sends; `turn` is what is measured.
    pub(super) fn outward(&mut self, turn: impl FnOnce(&mut dyn FnMut())) {
        self.now.instant = self.now.instant.saturating_add(PAUSE);
        let before = self.hub.socket.datagrams;
        self.hub.host.next = 0;
        turn(&mut || self.hub.turn(self.now));
        let sent = self.hub.socket.datagrams - before;
        assert_eq!(sent, self.load.packets(), "{:?}", self.hub.device.drops());
    }

    /// The peers send; `turn`, in which the hub receives that, is what is measured.
    pub(super) fn inward(&mut self, turn: impl FnOnce(&mut dyn FnMut())) {
        self.now.instant = self.now.instant.saturating_add(PAUSE);
        for peer in &mut self.peers {
            peer.host.next = 0;
            peer.turn(self.now);
        }
        let (packets, bytes) = (self.hub.host.packets, self.hub.host.bytes);
        turn(&mut || self.hub.turn(self.now));
        let (packets, bytes) = (self.hub.host.packets - packets, self.hub.host.bytes - bytes);
        let expected = (self.load.packets(), self.load.packets() * self.load.len);
        assert_eq!((packets, bytes), expected, "{:?}", self.hub.device.drops());
    }

    /// Has the host of the hub write its frames to two buffers, as a lane has it do: what the edge itself costs.
    pub(super) fn read_alone(&mut self, small: &mut [u8], large: &mut [u8]) {
        use wg_datapath::io::TunIo as _;
        self.hub.host.next = 0;
        while self.hub.host.read_frame(small, large).is_ok() {
            core::hint::black_box(&mut *small);
            core::hint::black_box(&mut *large);
        }
    }

    /// Writes to the TUN so far.
    pub(super) const fn writes(&self) -> usize {
        self.hub.host.writes
    }
}

fn key(number: u16) -> PrivateKey {
    let mut bytes = [7; 32];
    // The first byte loses bits when the key is clamped.
    bytes[1..3].copy_from_slice(&number.to_le_bytes());
    PrivateKey::from_bytes(bytes)
}

fn outer(number: u16) -> SocketAddr {
    let [low, high] = number.to_le_bytes();
    ([192, 0, high, low], 1000).into()
}

fn inner(number: u16) -> [u8; 4] {
    let [low, high] = number.to_le_bytes();
    [10, 0, high, low]
}
