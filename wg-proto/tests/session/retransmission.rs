//! The other side does not answer: how often to ask, when to stop, and what begins it anew.

use core::time::Duration;

use wg_proto::aead::RustCryptoAead;
use wg_proto::wire::Initiation;
use wg_proto::{Event, HandshakeError, ReceiveError};

use crate::pair::{A, B, Kind, Pair};

type Plain = Pair<RustCryptoAead>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A pair in which nothing of B's arrives.
fn unanswered(seed: u64) -> Plain {
    let mut pair = Plain::new(seed);
    pair.passes = Box::new(|sent| sent.from == A);
    pair
}

#[test]
fn twenty_initiations_then_silence() {
    // C118
    for seed in 0..5 {
        let mut pair = unanswered(seed);
        pair.send(A);
        pair.run_until(secs(2000));
        let times = pair.times(A, Kind::Initiation);
        assert_eq!(times.len(), 20);
        for gap in times.windows(2).map(|pair| pair[1] - pair[0]) {
            assert!((secs(5)..=Duration::from_millis(5333)).contains(&gap), "{gap:?}");
        }
        let gave_up: Vec<_> = pair[A].events.iter().filter(|(_, event)| *event == Event::GaveUp).collect();
        assert_eq!(gave_up.len(), 1);
        assert!((Duration::from_millis(100_000)..=Duration::from_millis(106_660)).contains(&gave_up[0].0));
        assert_eq!(pair.sent_by(A, Kind::Initiation).len(), pair.sent.iter().filter(|s| s.from == A).count());
        assert_eq!(pair.deadline(A), None);
        assert!(pair[A].staged.is_empty(), "the caller was told to drop them");
    }
}

#[test]
fn every_initiation_is_new_from_the_start() {
    // C41, and the rule never to use an ephemeral key twice.
    let mut pair = unanswered(6);
    pair.send(A);
    pair.run_until(secs(200));
    let sent: Vec<_> = pair.sent_by(A, Kind::Initiation).into_iter().map(|sent| &sent.datagram).collect();
    let distinct = |field: fn(&Initiation<'_>) -> Vec<u8>| {
        let mut fields: Vec<_> = sent.iter().map(|sent| field(&Initiation::parse(sent).unwrap())).collect();
        fields.sort_unstable();
        fields.dedup();
        fields.len()
    };
    assert_eq!(distinct(|message| message.unencrypted_ephemeral().to_vec()), 20);
    assert_eq!(distinct(|message| message.sender_index().to_le_bytes().to_vec()), 20);
    assert_eq!(distinct(|message| message.encrypted_timestamp().to_vec()), 20);
}

#[test]
fn traffic_keeps_the_attempts_alive() {
    // C119
    let mut pair = unanswered(7);
    for _ in 0..10 {
        pair.send(A);
        pair.run_for(secs(30));
    }
    assert_eq!(pair[A].count(Event::GaveUp), 0, "300 s of asking");
    let asked = pair.sent_by(A, Kind::Initiation).len();
    assert!((56..=60).contains(&asked), "{asked} and never twice within 5 s");
    pair.run_for(secs(200));
    assert_eq!(pair[A].count(Event::GaveUp), 1, "the last packet's 20 attempts, and no more");
}

#[test]
fn new_traffic_begins_a_new_cycle() {
    // C119
    let mut pair = unanswered(8);
    pair.send(A);
    pair.run_until(secs(300));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 20);
    pair.send(A);
    pair.run_until(secs(600));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 40);
    assert_eq!(pair[A].count(Event::GaveUp), 2);
    pair.passes = Box::new(|_| true);
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [2], "the two before were dropped");
}

#[test]
fn persistent_keepalive_begins_a_new_cycle() {
    // C119: 25 s after the last attempt, again and again, without traffic.
    let mut pair = Plain::with(9, |side, config| {
        config.persistent_keepalive = if side == A { secs(25) } else { Duration::ZERO };
    });
    pair.passes = Box::new(|sent| sent.from == A);
    pair.send(A);
    pair.run_until(secs(1000));
    let cycles = pair[A].count(Event::GaveUp);
    assert!((7..=9).contains(&cycles), "{cycles}");
    pair.passes = Box::new(|_| true);
    pair.run_for(secs(30));
    assert!(pair[B].peer.control().last_handshake().is_some());
}

#[test]
fn answer_to_the_last_initiation_still_counts() {
    let mut pair = unanswered(10);
    pair.send(A);
    pair.run_until(secs(90));
    pair.passes = Box::new(|_| true);
    pair.run_until(secs(100));
    assert_eq!(pair[B].delivered, [0]);
    assert_eq!(pair[A].count(Event::GaveUp), 0);
}

#[test]
fn answer_to_a_replaced_initiation_does_not_count() {
    // C37: its index is gone.
    let mut pair = unanswered(11);
    pair.send(A);
    pair.run_until(secs(1));
    let late = pair.last(B, Kind::Response);
    pair.run_until(secs(6));
    pair.inject(A, &late, "192.0.2.2:51820".parse().unwrap());
    assert_eq!(pair[A].refused, [ReceiveError::Handshake(HandshakeError::Unexpected)]);
}

#[test]
fn own_initiation_waits_5_seconds_after_a_response() {
    // C45, C39: B has answered; the confirmation is lost and A gone. B's wish is put off, not dropped.
    let mut pair = Plain::new(12);
    pair.passes = Box::new(|sent| sent.from == B || sent.kind() == Kind::Initiation);
    pair.initiate(A);
    pair.run_until(secs(1));
    pair.passes = Box::new(|sent| sent.from == B);
    pair.send(B);
    pair.run_until(secs(20));
    let first = pair.times(B, Kind::Initiation)[0];
    assert!((Duration::from_millis(5010)..=Duration::from_millis(5343)).contains(&first), "{first:?}");
}

#[test]
fn wish_for_a_session_asks_once_in_5_seconds_whatever_asks() {
    // C120: a packet every 100 ms.
    let mut pair = unanswered(13);
    for tenth in 0..300 {
        pair.run_until(Duration::from_millis(100 * tenth));
        pair.send(A);
    }
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 6, "at 0, 5+, 10+, 15+, 20+, 25+ s");
}

#[test]
fn restarted_peer_is_met_again_within_15_seconds() {
    // C125, S5: B lost everything. A's packets go nowhere for 15 s; then it asks for a new session.
    let mut pair = Plain::connected(14);
    pair.run_until(secs(30));
    let fresh = Plain::new(14);
    pair.replace(B, fresh);
    pair.send(A);
    pair.run_until(secs(30) + Duration::from_millis(15_400));
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [2], "the one before is lost");
}

#[test]
fn restarted_peer_that_speaks_first_is_met_at_once() {
    // S5: at most one round trip.
    let mut pair = Plain::connected(15);
    pair.run_until(secs(30));
    let fresh = Plain::new(15);
    pair.replace(B, fresh);
    pair.send(B);
    pair.run_for(Duration::from_millis(30));
    assert_eq!(pair[A].delivered, [0]);
}
