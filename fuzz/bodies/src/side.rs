//! A peer under test, with its clocks and entropy, driven as a caller should drive it.

use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wg_proto::aead::RustCryptoAead;
use wg_proto::{
    Config, Endpoint, Event, Handled, Instant, Load, Peer, PresharedKey, PrivateKey, PublicKey, ReceiveError,
    UnixTime,
};

use crate::input::Input;
use crate::paper::Pair;

/// The one who begins, in most targets.
pub(crate) static ALICE: LazyLock<Pair> = LazyLock::new(|| Pair::new([0x41; 32]));
/// The other.
pub(crate) static BOB: LazyLock<Pair> = LazyLock::new(|| Pair::new([0x42; 32]));
/// Somebody that neither knows.
pub(crate) static MALLORY: LazyLock<Pair> = LazyLock::new(|| Pair::new([0x4d; 32]));

/// Points of low order, as they may be written.
pub(crate) const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    below_the_prime(0xec),
    below_the_prime(0xed),
    below_the_prime(0xee),
];

const fn small(number: u8) -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = number;
    point
}

/// p is 2^255 - 19: its first byte is 0xed.
const fn below_the_prime(first: u8) -> [u8; 32] {
    let mut point = [0xff; 32];
    (point[0], point[31]) = (first, 0x7f);
    point
}

/// Where a number lives: 192.0.2.n, or an IPv6 address for the odd ones.
pub(crate) fn address(number: u8) -> SocketAddr {
    if number & 1 == 0 {
        ([192, 0, 2, number], 51820).into()
    } else {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)], 51820).into()
    }
}

/// A key with a low-order, masked or honest public part.
pub(crate) fn ephemeral(input: &mut Input<'_>) -> Ephemeral {
    match input.below(6) {
        0 => {
            let public = LOW_ORDER[usize::from(input.below(7))];
            Ephemeral { private: [0x70; 32], public, kind: Kind::LowOrder }
        }
        1 => Ephemeral { private: [0x70; 32], public: input.array(), kind: Kind::Foreign },
        // The highest bit is not part of the number, but of what is hashed (C22).
        2 => {
            let Pair { private, mut public } = *MALLORY;
            public[31] |= 0x80;
            Ephemeral { private, public, kind: Kind::Honest }
        }
        _ => {
            let Pair { private, public } = Pair::new(input.array());
            Ephemeral { private, public, kind: Kind::Honest }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ephemeral {
    pub(crate) private: [u8; 32],
    pub(crate) public: [u8; 32],
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The public key is that of the private one.
    Honest,
    /// Whatever it is multiplied with gives zero.
    LowOrder,
    /// Whose it is nobody knows.
    Foreign,
}

/// A datagram that the peer wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What came of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Packet(Vec<u8>),
    Keepalive,
    Handshake,
}

/// A peer at work.
pub(crate) struct Side {
    pub(crate) peer: Peer<PrivateKey, RustCryptoAead>,
    pub(crate) now: Instant,
    pub(crate) wall: UnixTime,
    pub(crate) events: Vec<Event>,
    rng: ChaCha8Rng,
}

impl Side {
    pub(crate) fn new(
        local: &Pair,
        remote: &[u8; 32],
        psk: [u8; 32],
        endpoint: Option<SocketAddr>,
        seed: u8,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
        let config = Config {
            preshared_key: PresharedKey::from_bytes(psk),
            endpoint,
            ..Config::new(PublicKey::from_bytes(*remote))
        };
        let peer =
            Peer::new(PrivateKey::from_bytes(local.private), config, &mut rng).expect("the key is here");
        let now = Instant::from_nanos(1_000_000_000_000);
        Self { peer, now, wall: UnixTime::new(1_700_000_000, 0), events: Vec::new(), rng }
    }

    /// Gives a datagram to the peer; what it wants sent is left for [`Self::sent`].
    pub(crate) fn handle(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        load: Load,
    ) -> Result<Outcome, ReceiveError> {
        let mut datagram = datagram.to_vec();
        let from = Endpoint::new(from);
        match self.peer.handle(&mut datagram, from, load, self.now, self.wall, &mut self.rng)? {
            Handled::Packet(packet) => Ok(Outcome::Packet(packet.to_vec())),
            Handled::Keepalive => Ok(Outcome::Keepalive),
            Handled::Handshake => Ok(Outcome::Handshake),
        }
    }

    /// Takes everything the peer wants sent and tells.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(event) = self.peer.poll_event() {
            self.events.push(event);
        }
        let mut out = [0; 148];
        while let Some(transmit) = self
            .peer
            .poll_transmit(&mut out, self.now, self.wall, &mut self.rng)
            .expect("148 bytes are enough")
        {
            sent.push(Sent { to: transmit.endpoint.remote, bytes: out[..transmit.len].to_vec() });
            assert!(sent.len() < 16, "a peer never has that much to say");
        }
        sent
    }

    /// Lets time pass from deadline to deadline and returns what was sent in it.
    pub(crate) fn pass(&mut self, by: Duration) -> Vec<Sent> {
        let end = self.now.saturating_add(by);
        let mut sent = Vec::new();
        let mut rounds = 0;
        while let Some(due) = self.peer.poll_timeout().filter(|due| *due <= end) {
            self.step(due.saturating_duration_since(self.now));
            self.peer.handle_timeout(self.now);
            sent.extend(self.sent());
            let next = self.peer.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what was due is done (C131)");
            rounds += 1;
            assert!(rounds < 10_000, "time passes");
        }
        self.step(end.saturating_duration_since(self.now));
        sent
    }

    fn step(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
        let nanos = u64::from(self.wall.nanos()) + u64::from(by.subsec_nanos());
        let secs = self.wall.secs() + by.as_secs() + nanos / 1_000_000_000;
        self.wall = UnixTime::new(secs, u32::try_from(nanos % 1_000_000_000).expect("below a second"));
    }

    /// Seals a packet, if there is a session.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; self.peer.sealed_len(packet.len())];
        self.peer.seal(packet, &mut out, self.now).ok().map(|len| out[..len].to_vec())
    }

    /// All there is to see of the peer, secrets apart: what a refused datagram must leave as it was.
    pub(crate) fn state(&mut self) -> String {
        let indices: Vec<_> = self.peer.sessions_mut().local_indices().collect();
        let mut state = format!("{indices:?} {:?}", self.peer.sessions_mut());
        let (peer, due, endpoint) = (&self.peer, self.peer.poll_timeout(), self.peer.endpoint());
        write!(state, " {peer:?} {due:?} {endpoint:?} {:?}", self.events).expect("a string has room");
        state
    }
}
