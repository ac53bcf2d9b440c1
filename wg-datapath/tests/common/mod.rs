//! Two devices, a network, and a clock that the test moves.

use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wg_datapath::memory::{MemoryNetwork, MemoryTun, MemoryUdp};
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::{Instant, PrivateKey, UnixTime};
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};
use wg_datapath::{Config, Device, IpPrefix, Lane, LaneIo, Now, PeerId};

/// One end: a device with its lane and edges.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) device: Device<RingAead, ChaCha20Rng>,
    pub(crate) lane: Lane<RingAead>,
    pub(crate) tun: MemoryTun,
    pub(crate) udp: MemoryUdp,
    #[allow(dead_code, reason = "not every test file configures the peer")]
    pub(crate) peer: PeerId,
    strategy: AnyStrategy,
}

impl End {
    /// Runs until there is nothing to do, and tells whether there was anything.
    pub(crate) fn run(&mut self, now: Now) -> bool {
        self.lane.readable(true, true);
        let mut io = LaneIo {
            device: &mut self.device,
            lane: &mut self.lane,
            tun: &mut self.tun,
            udp: &mut self.udp,
            now,
        };
        let outcome = self.strategy.step(CoreId(0), Budget::default(), &mut io);
        self.device.check_invariants();
        !outcome.idle()
    }

    /// Bytes received and sent, of the one peer.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let status = self.device.peers().next().expect("one peer");
        (status.rx_bytes, status.tx_bytes)
    }
}

/// Two ends that know each other: `a` is 10.0.0.1, `b` is 10.0.0.2.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) network: MemoryNetwork,
    pub(crate) a: End,
    pub(crate) b: End,
    pub(crate) now: Now,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let network = MemoryNetwork::default();
        let now = Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let key = |seed| PrivateKey::from_bytes([seed; 32]);
        let addresses: [SocketAddr; 2] = ["192.0.2.1:1000".parse().unwrap(), "192.0.2.2:2000".parse().unwrap()];
        let end = |own: u8, other: u8| {
            let rng = ChaCha20Rng::seed_from_u64(own.into());
            let mut device = Device::new(Config::default(), rng).unwrap();
            device.set_private_key(Some(key(own)), now);
            let peer = device.add_peer(key(other).public_key()).unwrap();
            let inner = IpPrefix::new([10, 0, 0, other].into(), 32).unwrap();
            device.add_allowed_ip(peer, inner).unwrap();
            device.set_endpoint(peer, addresses[usize::from(other) - 1]);
            device.set_up(true, now);
            End {
                device,
                lane: Lane::new(),
                tun: MemoryTun::default(),
                udp: network.socket(addresses[usize::from(own) - 1]),
                peer,
                strategy: StrategyKind::Inline.build(),
            }
        };
        Self { a: end(1, 2), b: end(2, 1), network, now }
    }

    /// Runs both ends until neither has anything to do.
    pub(crate) fn settle(&mut self) {
        while self.a.run(self.now) | self.b.run(self.now) {}
    }

    /// Moves both clocks.
    #[allow(dead_code, reason = "not every test file moves the clock")]
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now.instant = self.now.instant.saturating_add(by);
        let nanos = u64::from(self.now.wall.nanos()) + u64::from(by.subsec_nanos());
        let secs = self.now.wall.secs() + by.as_secs() + nanos / 1_000_000_000;
        self.now.wall = UnixTime::new(secs, u32::try_from(nanos % 1_000_000_000).unwrap());
    }
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
