//! Entropy that fails or repeats: no handshake is made of it, and none is forgotten (C27, C42).

use core::time::Duration;
use std::collections::VecDeque;

use rand_core::{TryCryptoRng, TryRng};
use wg_proto::aead::RustCryptoAead;
use wg_proto::{
    Config, Endpoint, Handled, HandshakeError, Instant, Load, Peer, PrivateKey, PublicKey, ReceiveError,
    UnixTime,
};

use crate::host::{Broken, TestRng, address};
use crate::pair::{A, B, Kind, Pair};

type Plain = Pair<RustCryptoAead>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn initiator_sends_nothing_and_tries_again() {
    let mut pair = Plain::new(1);
    pair[A].rng.broken = true;
    pair.send(A);
    pair.run_until(secs(12));
    assert_eq!(pair.sent, []);
    pair[A].rng.broken = false;
    pair.run_until(secs(18));
    assert_eq!(pair[B].delivered, [0], "without another word from the caller");
}

#[test]
fn initiator_that_rekeys_tries_again() {
    let mut pair = Plain::connected(2);
    pair.run_until(secs(121));
    pair[A].rng.broken = true;
    pair.send(A);
    pair.run_until(secs(125));
    pair[A].rng.broken = false;
    pair.run_until(secs(130));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 2);
    assert_eq!(pair[B].delivered, [0, 1]);
}

#[test]
fn broken_source_is_not_asked_all_the_time() {
    // The time counts as sent: a packet every 10 ms asks once in 5 s.
    let mut pair = Plain::new(3);
    pair[A].rng.broken = true;
    for _ in 0..400 {
        pair.send(A);
        pair.run_for(Duration::from_millis(10));
    }
    pair[A].rng.broken = false;
    pair.send(A);
    assert_eq!(pair.sent, []);
    pair.run_until(secs(6));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1);
}

#[test]
fn responder_answers_nothing_and_keeps_no_trace() {
    let mut pair = Plain::new(4);
    pair[B].rng.broken = true;
    pair.send(A);
    pair.run_until(secs(1));
    assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::Entropy)]);
    assert_eq!((pair.sent.len(), pair[B].keypairs(), pair.deadline(B)), (1, 0, None));
    pair[B].rng.broken = false;
    let initiation = pair.last(A, Kind::Initiation);
    pair.inject(B, &initiation, address(0));
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0], "the same initiation is good now: its timestamp was not taken");
}

#[test]
fn responder_under_load_hands_out_no_cookie() {
    // C108: a secret of zeros would be a cookie anyone can make.
    let mut pair = Plain::new(5);
    pair[B].load = Load::UnderLoad;
    pair[B].rng.broken = true;
    pair.send(A);
    pair.run_until(secs(1));
    assert_eq!(pair[B].refused, [ReceiveError::Handshake(HandshakeError::Entropy)]);
    assert_eq!(pair.sent.len(), 1);
    pair[B].rng.broken = false;
    pair.run_until(secs(12));
    assert_eq!(pair[B].delivered, [0]);
}

#[test]
fn peer_is_made_without_entropy() {
    // Only jitter is drawn then, and it needs no secrecy.
    let mut rng = TestRng::new(1);
    rng.broken = true;
    let key = PrivateKey::from_bytes([1; 32]);
    assert!(
        Peer::<_, RustCryptoAead>::new(key, Config::new(PublicKey::from_bytes([9; 32])), &mut rng).is_ok()
    );
    assert!(PrivateKey::generate(&mut rng).is_err());
}

/// Gives the numbers of a list for indices, then fails; bytes come from a seed.
struct Indices(VecDeque<u32>, TestRng);

impl TryRng for Indices {
    type Error = Broken;

    fn try_next_u32(&mut self) -> Result<u32, Broken> {
        self.0.pop_front().ok_or(Broken)
    }

    fn try_next_u64(&mut self) -> Result<u64, Broken> {
        self.1.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Broken> {
        self.1.try_fill_bytes(out)
    }
}

impl TryCryptoRng for Indices {}

/// A responder and the initiations that its peer sends, 10 s apart; tells the index of each response.
fn indices_of_responses(drawn: &[u32], initiations: usize) -> Vec<Option<u32>> {
    let mut pair = Plain::new(6);
    pair.passes = Box::new(|_| false);
    pair.send(A);
    pair.run_until(secs(80));
    let mut rng = Indices(drawn.iter().copied().collect(), TestRng::new(1));
    let mut responder = pair.into_peer(B);
    let messages: Vec<_> = responder.1.iter().take(initiations).cloned().collect();
    let mut out = [0; 148];
    let (wall, mut now) = (UnixTime::new(1, 0), Instant::from_nanos(1));
    let answer = |mut message: Vec<u8>| {
        now = now.saturating_add(secs(10));
        let from = Endpoint::new(address(0));
        let handled = responder.0.handle(&mut message, from, Load::Normal, now, wall, &mut rng);
        if handled != Ok(Handled::Handshake) {
            assert_eq!(handled, Err(ReceiveError::Handshake(HandshakeError::Entropy)));
            return None;
        }
        let sent = responder.0.poll_transmit(&mut out, now, wall, &mut rng).unwrap().unwrap();
        assert_eq!(sent.len, 92);
        Some(u32::from_le_bytes(out[4..8].try_into().unwrap()))
    };
    messages.into_iter().map(answer).collect()
}

#[test]
fn index_in_use_is_drawn_again() {
    // C42, C8: zero and the last index are as good as any.
    assert_eq!(indices_of_responses(&[0, 0, 0, u32::MAX, 7], 3), [Some(0), Some(u32::MAX), Some(7)]);
}

#[test]
fn source_that_repeats_itself_makes_no_second_session() {
    assert_eq!(indices_of_responses(&[5; 40], 2), [Some(5), None]);
}
