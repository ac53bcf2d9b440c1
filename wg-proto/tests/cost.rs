//! What a peer spends on the messages of others: multiplications on the curve and looks at a tag, counted.
//!
//! One test, as the multiplications of a process have one counter.

use core::net::SocketAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::aead::RustCryptoAead;
use wg_proto::{
    Config, Endpoint, Handled, Instant, Load, Mac1Key, Peer, PrivateKey, ReceiveError, UnixTime,
    multiplications,
};
use wg_tally::aead::{CountingAead, passes};

struct Host {
    peer: Peer<PrivateKey, CountingAead<RustCryptoAead>>,
    at: SocketAddr,
    rng: ChaCha20Rng,
}

fn now() -> Instant {
    Instant::from_nanos(5_000_000_000)
}

const WALL: UnixTime = UnixTime::new(1_700_000_000, 0);

impl Host {
    fn new(own: u8, other: u8) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(own.into());
        let at = |number| ([192, 0, 2, number], 51820).into();
        let remote = PrivateKey::from_bytes([other; 32]).public_key();
        let config = Config { endpoint: Some(at(other)), ..Config::new(remote) };
        let peer = Peer::new(PrivateKey::from_bytes([own; 32]), config, &mut rng).unwrap();
        Self { peer, at: at(own), rng }
    }

    fn handle(&mut self, datagram: &[u8], from: SocketAddr, load: Load) -> Result<(), ReceiveError> {
        let mut datagram = datagram.to_vec();
        let from = Endpoint::new(from);
        self.peer.handle(&mut datagram, from, load, now(), WALL, &mut self.rng).map(|_: Handled<'_>| ())
    }

    fn transmit(&mut self) -> Vec<u8> {
        let mut out = [0; 148];
        let transmit = self.peer.poll_transmit(&mut out, now(), WALL, &mut self.rng).unwrap();
        out[..transmit.map_or(0, |transmit| transmit.len)].to_vec()
    }
}

/// What was spent by `work`.
fn spent(work: impl FnOnce()) -> (usize, u64) {
    let before = (multiplications(), passes());
    work();
    (multiplications() - before.0, passes() - before.1)
}

#[test]
fn each_message_costs_what_it_proves() {
    // C47, C76, C86, C105, C106, A1
    let (mut a, mut b) = (Host::new(1, 2), Host::new(2, 1));
    let stranger = SocketAddr::from(([203, 0, 113, 1], 1));
    let to_b = Mac1Key::new(&PrivateKey::from_bytes([2; 32]).public_key());
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut junk = |kind: u8, len: usize, right_mac1: bool| {
        let mut message = vec![0; len];
        rng.fill_bytes(&mut message);
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        if right_mac1 {
            to_b.write(&mut message);
            message[len - 16..].fill(0);
        }
        message
    };

    // An honest handshake: of each side an ephemeral key and the three of four secrets that are not precomputed, shared by
    // the two messages.
    a.peer.initiate(now());
    let mut initiation = Vec::new();
    assert_eq!(spent(|| initiation = a.transmit()), (2, 0), "e, es");
    assert_eq!(spent(|| b.handle(&initiation, a.at, Load::Normal).unwrap()), (4, 0), "es; e, ee, se");
    let response = b.transmit();
    assert_eq!(spent(|| a.handle(&response, b.at, Load::Normal).unwrap()), (2, 0), "ee, se");
    let keepalive = a.transmit();
    assert_eq!(spent(|| b.handle(&keepalive, a.at, Load::Normal).unwrap()), (0, 1));

    for load in [Load::Normal, Load::UnderLoad] {
        // Without a right MAC1 nothing is spent, and nothing for a response or cookie reply to nothing.
        for message in [junk(1, 148, false), junk(2, 92, false), junk(3, 64, false), junk(4, 100, false)] {
            assert_eq!(spent(|| assert!(b.handle(&message, stranger, load).is_err())), (0, 0), "{load:?}");
        }
        assert_eq!(spent(|| assert!(b.handle(&junk(2, 92, true), stranger, load).is_err())), (0, 0));
    }
    // With it one, which shows that there is nothing in it; under load none.
    for (load, each) in [(Load::Normal, 1), (Load::UnderLoad, 0)] {
        for _ in 0..200 {
            let message = junk(1, 148, true);
            assert_eq!(spent(|| assert!(b.handle(&message, stranger, load).is_err())), (each, 0), "{load:?}");
            b.transmit();
        }
    }
    // A replay costs what it takes to see its timestamp.
    assert_eq!(spent(|| assert!(b.handle(&initiation, stranger, Load::Normal).is_err())), (1, 0));

    // Forged data: one look at the tag for a live index, none for what was seen before.
    let mut forged = keepalive.clone();
    for counter in 1..1000_u64 {
        forged[8..16].copy_from_slice(&(counter << 30).to_le_bytes());
        assert_eq!(spent(|| assert!(b.handle(&forged, stranger, Load::Normal).is_err())), (0, 1));
    }
    assert_eq!(spent(|| assert!(b.handle(&keepalive, stranger, Load::Normal).is_err())), (0, 0));
    let mut next = [0; 32];
    let len = a.peer.seal(&[], &mut next, now()).unwrap();
    assert!(b.handle(&next[..len], a.at, Load::Normal).is_ok(), "the window has not moved");
}
