//! One side of a [`crate::pair::Pair`]: a peer, its clocks, its entropy, and what a caller keeps for it.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{HashSet, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use wg_proto::aead::Aead;
use wg_proto::{Config, Event, Instant, Load, Peer, PrivateKey, ReceiveError, UnixTime};

/// Entropy from a seed that can be made to fail.
pub(crate) struct TestRng {
    rng: ChaCha20Rng,
    pub(crate) broken: bool,
}

#[derive(Debug)]
pub(crate) struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("entropy source is broken")
    }
}

impl core::error::Error for Broken {}

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), broken: false }
    }

    fn check(&self) -> Result<(), Broken> {
        if self.broken { Err(Broken) } else { Ok(()) }
    }
}

impl TryRng for TestRng {
    type Error = Broken;

    fn try_next_u32(&mut self) -> Result<u32, Broken> {
        self.check().map(|()| self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Broken> {
        self.check().map(|()| self.rng.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Broken> {
        self.check().map(|()| self.rng.fill_bytes(out))
    }
}

impl TryCryptoRng for TestRng {}

/// The clocks of a host, each as nanoseconds ahead of the virtual time since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) monotonic: i128,
    pub(crate) wall: i128,
    pub(crate) wall_stands_still: bool,
}

impl Clock {
    fn new(number: u8) -> Self {
        Self {
            // Far from zero, and not the same on both hosts.
            monotonic: (1 + i128::from(number)) * 1_000_000_000_000_000,
            wall: 1_700_000_000_000_000_000 + i128::from(number) * 77_000_000_000,
            wall_stands_still: false,
        }
    }

    pub(crate) fn now(&self, time: Duration) -> Instant {
        Instant::from_nanos(u64::try_from(time.as_nanos().cast_signed() + self.monotonic).unwrap_or(0))
    }

    /// When the virtual time will be, or was, for an instant of this host.
    pub(crate) fn time_of(&self, instant: Instant) -> Duration {
        let nanos = i128::from(instant.as_nanos()) - self.monotonic;
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    pub(crate) fn wall(&self, time: Duration) -> UnixTime {
        let elapsed = if self.wall_stands_still { 0 } else { time.as_nanos().cast_signed() };
        let nanos = u128::try_from(self.wall + elapsed).unwrap_or(0);
        UnixTime::new(
            u64::try_from(nanos / 1_000_000_000).unwrap(),
            u32::try_from(nanos % 1_000_000_000).unwrap(),
        )
    }

    pub(crate) fn step_monotonic(&mut self, seconds: i64) {
        self.monotonic += i128::from(seconds) * 1_000_000_000;
    }

    pub(crate) fn step_wall(&mut self, seconds: i64) {
        self.wall += i128::from(seconds) * 1_000_000_000;
    }
}

pub(crate) struct Host<C> {
    pub(crate) peer: Peer<PrivateKey, C>,
    pub(crate) rng: TestRng,
    pub(crate) clock: Clock,
    pub(crate) address: SocketAddr,
    pub(crate) load: Load,
    /// Packets that found no session, oldest first.
    pub(crate) staged: VecDeque<u64>,
    /// Numbers of the packets that came, in order.
    pub(crate) delivered: Vec<u64>,
    pub(crate) keepalives: usize,
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) refused: Vec<ReceiveError>,
    pub(crate) next_packet: u64,
    /// Of the other host, for the check that nothing comes twice.
    pub(crate) seen: HashSet<u64>,
}

impl<C: Aead> Host<C> {
    pub(crate) fn new(seed: u64, number: u8, identity: PrivateKey, config: Config) -> Self {
        let mut rng = TestRng::new(seed.wrapping_mul(2).wrapping_add(number.into()));
        Self {
            peer: Peer::new(identity, config, &mut rng).unwrap(),
            rng,
            clock: Clock::new(number),
            address: address(number),
            load: Load::Normal,
            staged: VecDeque::new(),
            delivered: Vec::new(),
            keepalives: 0,
            events: Vec::new(),
            refused: Vec::new(),
            next_packet: 0,
            seen: HashSet::new(),
        }
    }

    pub(crate) fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|(_, told)| *told == event).count()
    }

    /// The number of keypairs held.
    pub(crate) fn keypairs(&mut self) -> usize {
        self.peer.sessions_mut().local_indices().count()
    }
}

pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number + 1], 51820))
}

/// The content of packet `number`: its length and every byte follow from it.
pub(crate) fn packet(number: u64) -> Vec<u8> {
    let len = 20 + usize::try_from(number * 37 % 1381).unwrap();
    let mut packet: Vec<u8> = number.to_be_bytes().to_vec();
    packet.extend((8..len as u64).map(|at| u8::try_from((number ^ (at * 131)) % 251).unwrap()));
    packet
}

/// The number of a packet that came, if it is whole and its padding is zero.
pub(crate) fn number_of(content: &[u8]) -> u64 {
    let number = u64::from_be_bytes(content[..8].try_into().unwrap());
    let expected = packet(number);
    let (content, padding) = content.split_at(expected.len());
    assert_eq!(content, expected, "packet {number} is as it was sent");
    assert!(padding.len() < 16 && padding.iter().all(|byte| *byte == 0), "padding of packet {number}");
    number
}
