//! A hub and its peers, over edges that allocate nothing.

use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wg_datapath::proto::{Instant, PrivateKey, PublicKey, UnixTime};
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};
use wg_datapath::{BatchAead, Config, Device, IpPrefix, Lane, LaneIo, Now};

use crate::edges::{Host, Socket, Wire};

pub(crate) fn key(number: u16) -> PrivateKey {
    let mut bytes = [7; 32];
    // The first byte loses bits when the key is clamped.
    bytes[1..3].copy_from_slice(&number.to_le_bytes());
    PrivateKey::from_bytes(bytes)
}

pub(crate) fn outer(number: u16) -> SocketAddr {
    let [low, high] = number.to_le_bytes();
    ([192, 0, high, low], 1000).into()
}

pub(crate) fn inner(number: u16) -> [u8; 4] {
    let [low, high] = number.to_le_bytes();
    [10, 0, high, low]
}

pub(crate) fn now() -> Now {
    Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) }
}

pub(crate) struct End<A> {
    pub(crate) device: Device<A, ChaCha20Rng>,
    pub(crate) lane: Lane<A>,
    pub(crate) host: Host,
    pub(crate) socket: Socket,
    strategy: AnyStrategy,
}

impl<A: BatchAead> End<A> {
    pub(crate) fn new(number: u16, wire: &Wire) -> Self {
        // Under load from eight waiting messages on.
        Self::with_config(number, wire, Config { handshake_queue: 64, ..Config::default() })
    }

    pub(crate) fn with_config(number: u16, wire: &Wire, config: Config) -> Self {
        let mut device = Device::new(config, ChaCha20Rng::seed_from_u64(number.into())).unwrap();
        device.set_private_key(Some(key(number)), now());
        device.set_up(true, now());
        let host = Host { from: inner(number), ..Host::default() };
        Self::with(device, Lane::new(), host, wire.socket(outer(number)))
    }

    pub(crate) fn with(device: Device<A, ChaCha20Rng>, lane: Lane<A>, host: Host, socket: Socket) -> Self {
        Self { device, lane, host, socket, strategy: StrategyKind::default().build() }
    }

    pub(crate) fn add(&mut self, other: u16, public_key: PublicKey) {
        let peer = self.device.add_peer(public_key).unwrap();
        self.device.add_allowed_ip(peer, IpPrefix::new(inner(other).into(), 32).unwrap()).unwrap();
        self.device.set_endpoint(peer, outer(other));
        self.host.to.push(inner(other));
    }

    pub(crate) fn io(&mut self, now: Now) -> LaneIo<'_, A, ChaCha20Rng, Host, Socket> {
        let Self { device, lane, host, socket, .. } = self;
        LaneIo { device, lane, tun: host, udp: socket, now }
    }

    /// Is run by a strategy from now on.
    pub(crate) fn follow(&mut self, kind: StrategyKind) {
        self.strategy = kind.build();
    }

    pub(crate) fn step(&mut self, now: Now) -> bool {
        self.lane.readable(true, self.socket.waiting() > 0);
        let Self { device, lane, host, socket, .. } = self;
        let mut io = LaneIo { device, lane, tun: host, udp: socket, now };
        !self.strategy.step(CoreId(0), Budget::default(), &mut io).idle()
    }
}

/// A hub and its peers.
pub(crate) struct Star<A> {
    pub(crate) wire: Wire,
    pub(crate) ends: Vec<End<A>>,
    pub(crate) now: Now,
}

impl<A: BatchAead> Star<A> {
    pub(crate) fn new(peers: u16) -> Self {
        let wire = Wire::default();
        let mut ends: Vec<End<A>> = (0..=peers).map(|number| End::new(number, &wire)).collect();
        for peer in 1..=peers {
            ends[0].add(peer, key(peer).public_key());
            ends[usize::from(peer)].add(0, key(0).public_key());
        }
        Self { wire, ends, now: now() }
    }

    pub(crate) fn settle(&mut self) {
        loop {
            let mut any = false;
            for end in &mut self.ends {
                any |= end.step(self.now);
            }
            if !any {
                return;
            }
        }
    }

    /// Packets from the hub to all, and from all to the hub.
    pub(crate) fn exchange(&mut self, packets: usize) {
        for end in &mut self.ends {
            end.host.waiting = packets;
        }
        self.settle();
        self.now.instant = self.now.instant.saturating_add(Duration::from_millis(3));
    }

    pub(crate) fn delivered(&self) -> usize {
        self.ends.iter().map(|end| end.host.delivered).sum()
    }

    /// Sessions first, each begun by the peer, and then all that a lane can hold at once: nothing grows after that.
    pub(crate) fn warm_up(&mut self) {
        for end in &mut self.ends[1..] {
            end.host.waiting = 1;
        }
        self.settle();
        for burst in [700, 1, 2, 3, 10, 30, 64, 200, 700] {
            self.exchange(burst);
            // And the hub behind: as many datagrams at once as it can take in, and then those to the others.
            self.ends[1..].iter_mut().for_each(|end| end.host.waiting = burst);
            while self.ends[1..].iter_mut().any(|end| end.step(self.now)) {}
            self.exchange(burst);
        }
    }
}
