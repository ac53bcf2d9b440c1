//! Two peers that shake hands again and again, in a time of their own.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wg_proto::aead::RingAead;
use wg_proto::dh::Dh;
use wg_proto::limits::REPLAY_WORDS;
use wg_proto::{Config, Endpoint, Handled, Instant, Load, Peer, PrivateKey, UnixTime};

type Side<D> = Peer<D, RingAead, REPLAY_WORDS, D>;

/// Time between two handshakes: more than any rule against too many of them asks for.
const INTERVAL: Duration = Duration::from_secs(10);

/// An initiator and a responder, all keys of both with the backend `D`. The calls must come in the order of a handshake.
#[derive(Debug)]
pub struct Pair<D = PrivateKey> {
    initiator: Side<D>,
    responder: Side<D>,
    now: Instant,
    wall: UnixTime,
    rng: ChaCha20Rng,
}

impl<D: Dh> Default for Pair<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Dh> Pair<D> {
    /// Makes two peers that know each other.
    ///
    /// # Panics
    ///
    /// Never: the keys are fixed.
    #[must_use]
    pub fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let [ours, theirs] = [PrivateKey::from_bytes([1; 32]), PrivateKey::from_bytes([2; 32])];
        let config = |key: &PrivateKey, port| Config {
            endpoint: Some(address(port)),
            ..Config::new(key.public_key())
        };
        let (to_responder, to_initiator) = (config(&theirs, 2), config(&ours, 1));
        Self {
            initiator: Peer::sized(D::new(ours), to_responder, &mut rng).expect("a usable key"),
            responder: Peer::sized(D::new(theirs), to_initiator, &mut rng).expect("a usable key"),
            now: Instant::from_nanos(0),
            wall: UnixTime::new(1_700_000_000, 0),
            rng,
        }
    }

    /// Lets time pass until the next handshake is allowed.
    pub fn wait(&mut self) {
        self.now = self.now.saturating_add(INTERVAL);
        self.wall = UnixTime::new(self.wall.secs() + INTERVAL.as_secs(), 0);
    }

    /// The initiator creates an initiation.
    ///
    /// # Panics
    ///
    /// If it does not: [`Pair::wait`] comes first.
    pub fn create_initiation(&mut self) -> [u8; 148] {
        self.initiator.initiate(self.now);
        transmit(&mut self.initiator, self.now, self.wall, &mut self.rng)
    }

    /// The responder consumes it and creates the response.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn consume_initiation(&mut self, mut message: [u8; 148]) -> [u8; 92] {
        handle(&mut self.responder, &mut message, 1, self.now, self.wall, &mut self.rng);
        transmit(&mut self.responder, self.now, self.wall, &mut self.rng)
    }

    /// The initiator consumes the response and creates the keepalive that confirms the key.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn consume_response(&mut self, mut message: [u8; 92]) -> [u8; 32] {
        handle(&mut self.initiator, &mut message, 2, self.now, self.wall, &mut self.rng);
        transmit(&mut self.initiator, self.now, self.wall, &mut self.rng)
    }

    /// The responder consumes the keepalive: both sides can send.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn confirm(&mut self, mut message: [u8; 32]) {
        handle(&mut self.responder, &mut message, 1, self.now, self.wall, &mut self.rng);
    }

    /// All of the above.
    pub fn handshake(&mut self) {
        self.wait();
        let initiation = self.create_initiation();
        let response = self.consume_initiation(initiation);
        let keepalive = self.consume_response(response);
        self.confirm(keepalive);
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn transmit<D: Dh, const N: usize>(
    side: &mut Side<D>,
    now: Instant,
    wall: UnixTime,
    rng: &mut ChaCha20Rng,
) -> [u8; N] {
    let mut out = [0; 148];
    let transmit = side.poll_transmit(&mut out, now, wall, rng).expect("room for any message");
    assert_eq!(transmit.expect("a message").len, N);
    *out.first_chunk().expect("no message is longer")
}

fn handle<D: Dh>(
    side: &mut Side<D>,
    message: &mut [u8],
    from: u16,
    now: Instant,
    wall: UnixTime,
    rng: &mut ChaCha20Rng,
) {
    let handled = side.handle(message, Endpoint::new(address(from)), Load::Normal, now, wall, rng);
    assert!(matches!(handled, Ok(Handled::Handshake | Handled::Keepalive)), "{handled:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_follow_each_other() {
        let mut pair = Pair::<PrivateKey>::new();
        for _ in 0..3 {
            pair.handshake();
        }
        let last = Some(UnixTime::new(1_700_000_030, 0));
        assert_eq!(pair.responder.control().last_handshake(), last);
    }
}
