//! What was sent once and comes again, or from elsewhere: replays, roaming, floods.

use core::net::SocketAddr;
use core::time::Duration;

use wg_proto::aead::RustCryptoAead;
use wg_proto::{Event, HandshakeError, OpenError, ReceiveError};

use crate::host::address;
use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair};

type Plain = Pair<RustCryptoAead>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn elsewhere() -> SocketAddr {
    "203.0.113.66:666".parse().unwrap()
}

#[test]
fn replayed_initiation_is_silence() {
    // C30, C33: at once, later, after the session has gone, after a reset.
    let mut pair = Plain::connected(1);
    let initiation = pair.last(A, Kind::Initiation);
    let replay = |pair: &mut Plain, at| {
        pair.run_until(at);
        let (sent, endpoint) = (pair.sent.len(), *pair[B].peer.endpoint().unwrap());
        pair[B].refused.clear();
        pair.inject(B, &initiation, elsewhere());
        assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::OldTimestamp)], "{at:?}");
        assert_eq!(pair.sent.len(), sent);
        assert_eq!(*pair[B].peer.endpoint().unwrap(), endpoint, "C89");
    };
    replay(&mut pair, secs(2));
    replay(&mut pair, secs(300));
    replay(&mut pair, secs(1000));
    pair[B].peer.reset();
    pair.audit_reset(B);
    replay(&mut pair, secs(1001));
}

#[test]
fn older_initiation_that_comes_late_is_silence() {
    // C30: the network delivers the second before the first.
    let mut pair = Plain::new(2);
    pair.passes = Box::new(|_| false);
    pair.send(A);
    pair.run_until(secs(6));
    let [first, second] = pair.sent_by(A, Kind::Initiation)[..] else { panic!("two initiations") };
    let (first, second) = (first.datagram.clone(), second.datagram.clone());
    pair.inject(B, &second, address(0));
    assert_eq!(pair[B].refused, []);
    pair.run_for(secs(1));
    pair.inject(B, &first, address(0));
    assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::OldTimestamp)]);
}

#[test]
fn initiations_within_20_milliseconds_of_an_accepted_one_are_silence() {
    // C31: only an accepted one moves the mark.
    let mut pair = Plain::new(3);
    pair.passes = Box::new(|_| false);
    pair.send(A);
    pair.run_until(secs(30));
    let all: Vec<_> = pair.sent_by(A, Kind::Initiation).iter().map(|sent| sent.datagram.clone()).collect();
    pair.inject(B, &all[0], address(0));
    pair.run_for(Duration::from_nanos(19_999_999));
    pair.inject(B, &all[1], address(0));
    assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::TooSoon)]);
    pair.run_for(Duration::from_nanos(1));
    pair.inject(B, &all[2], address(0));
    assert_eq!((pair[B].refused.len(), pair.sent_by(B, Kind::Response).len()), (1, 2));
}

#[test]
fn replayed_response_is_silence() {
    // C38
    let mut pair = Plain::connected(4);
    let response = pair.last(B, Kind::Response);
    for at in [2, 100, 130] {
        pair.run_until(secs(at));
        let sent = pair.sent.len();
        pair[A].refused.clear();
        pair.inject(A, &response, elsewhere());
        assert_eq!(pair[A].refused, [ReceiveError::Handshake(HandshakeError::Unexpected)]);
        assert_eq!((pair.sent.len(), pair[A].peer.endpoint().unwrap().remote), (sent, address(1)));
    }
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1]);
}

#[test]
fn replayed_data_is_silence_and_moves_no_endpoint() {
    // C89, S4: every datagram of A, from elsewhere, now and across a rekey.
    let mut pair = Plain::connected(5);
    for _ in 0..20 {
        pair.send(A);
    }
    pair.run_for(secs(1));
    let recorded: Vec<_> = pair.sent.iter().filter(|sent| sent.from == A).cloned().collect();
    for at in [5, 122, 250, 800] {
        pair.run_until(secs(at));
        pair.send(A);
        pair.run_for(secs(1));
        let delivered = pair[B].delivered.len();
        for sent in &recorded {
            pair.inject(B, &sent.datagram, elsewhere());
        }
        assert_eq!(pair[B].delivered.len(), delivered);
        assert_eq!(pair[B].peer.endpoint().unwrap().remote, address(0));
    }
    let replayed = |refused: &&ReceiveError| **refused == ReceiveError::Open(OpenError::Replayed);
    assert_eq!(pair[B].refused.iter().filter(replayed).count(), 2 * 21, "while their key lived");
}

#[test]
fn forged_counter_far_ahead_does_not_move_the_window() {
    // C76, C78
    let mut pair = Plain::connected(6);
    pair.net.impairment = Impairment::perfect(secs(1));
    pair.send(A);
    let mut forged = pair.last(A, Kind::Data);
    for counter in [8193_u64, 1 << 20, 1 << 59, u64::MAX - (1 << 14)] {
        forged[8..16].copy_from_slice(&counter.to_le_bytes());
        pair.inject(B, &forged, elsewhere());
    }
    assert_eq!(pair[B].refused, [ReceiveError::Open(OpenError::Unauthentic); 4]);
    pair.run_for(secs(2));
    assert_eq!(pair[B].delivered, [0, 1]);
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, address(0), "C87");
}

#[test]
fn reordering_to_the_depth_of_the_window_loses_nothing() {
    // C77, defect 30: 8,128 packets overtake one; one more and it is too late.
    for (overtaken_by, delivered) in [(8128, true), (8129, false)] {
        let mut pair = Plain::connected(7);
        pair.net.impairment = Impairment::perfect(secs(5));
        pair.send(A);
        pair.net.impairment = Impairment::perfect(Duration::from_millis(1));
        pair[A].peer.sessions_mut().current_mut().unwrap().set_next_counter(1 + overtaken_by);
        pair.send(A);
        pair.run_for(secs(6));
        assert_eq!(pair[B].delivered.contains(&1), delivered, "overtaken by {overtaken_by}");
    }
}

#[test]
fn endpoint_follows_the_latest_authentic_packet() {
    // C87, C88: data, keepalive and initiation, in the order they come, whatever their counters.
    let mut pair = Plain::connected(8);
    pair.net.impairment = Impairment::perfect(secs(1));
    pair.send(A);
    pair.net.impairment = Impairment::perfect(Duration::from_millis(10));
    let roamed: SocketAddr = "198.51.100.9:1000".parse().unwrap();
    pair[A].address = roamed;
    pair.send(A);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, roamed);
    assert_eq!(pair[B].count(Event::Roamed), 1);
    pair.send(B);
    assert_eq!(pair.sent.last().unwrap().to, roamed);
    pair.run_for(secs(2));
    assert_eq!(pair[A].delivered, [0]);
    assert_eq!(pair[B].delivered, [0, 2, 1]);
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, address(0), "the late one moves it back (C88)");

    pair.run_until(secs(200));
    let again: SocketAddr = "198.51.100.10:2000".parse().unwrap();
    pair[A].address = again;
    pair.initiate(A);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, again, "an initiation moves it");
    assert_eq!(pair.sent_by(B, Kind::Response).last().unwrap().to, again);
}

#[test]
fn responder_that_roams_is_followed() {
    // C87: by its response, and by a keepalive.
    let mut pair = Plain::new(9);
    pair.send(A);
    let roamed: SocketAddr = "[2001:db8::2]:51820".parse().unwrap();
    pair.run_for(Duration::from_millis(5));
    pair.passes = Box::new(|sent| sent.from == A);
    pair.run_for(Duration::from_millis(5));
    let response = pair.last(B, Kind::Response);
    pair.passes = Box::new(|_| true);
    pair[B].address = roamed;
    pair.inject(A, &response, roamed);
    assert_eq!(pair[A].peer.endpoint().unwrap().remote, roamed);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0]);
    pair[B].address = address(1);
    pair.run_for(secs(11));
    assert_eq!(pair.times(B, Kind::Keepalive).len(), 1);
    assert_eq!(pair[A].peer.endpoint().unwrap().remote, address(1));
}

#[test]
fn replayed_initiation_after_a_restart_makes_no_session() {
    // C35: the timestamps are lost, so it is answered once, and moves the endpoint until the next authentic packet.
    let mut pair = Plain::connected(10);
    let initiation = pair.last(A, Kind::Initiation);
    let fresh = Plain::new(10);
    pair.replace(B, fresh);
    pair.run_until(secs(2));
    pair.inject(B, &initiation, elsewhere());
    pair.inject(B, &initiation, elsewhere());
    assert_eq!(pair.sent_by(B, Kind::Response).len(), 2, "one before the restart, one after");
    assert_eq!(pair[B].peer.control().last_handshake(), None);
    assert_eq!(pair[B].count(Event::Established), 0);
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, elsewhere());
    pair.run_for(secs(10));
    assert!(pair[B].peer.sessions_mut().current().is_none());
    pair.run_until(secs(16));
    assert!(pair[B].peer.control().last_handshake().is_some(), "the true A comes back, as nobody answers it");
    assert_eq!(pair[B].peer.endpoint().unwrap().remote, address(0));
}

#[test]
fn reflected_datagrams_are_silence() {
    // What A sent comes back to A.
    let mut pair = Plain::connected(11);
    pair.send(A);
    pair.send(B);
    let of_a: Vec<_> = pair.sent.iter().filter(|sent| sent.from == A).cloned().collect();
    let before = pair.sent.len();
    for sent in &of_a {
        pair.inject(A, &sent.datagram, address(1));
    }
    assert_eq!(pair[A].refused.len(), of_a.len());
    assert_eq!((pair.sent.len(), pair[A].delivered.len()), (before, 0));
}
