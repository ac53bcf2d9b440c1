//! Long runs over a bad network, every packet accounted for. [`crate::pair`] checks nonces, order of deadlines, duplicates
//! and alterations at every step.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
use wg_proto::{OpenError, ReceiveError};

use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair, Side};

fn bad_network(seed: u64) -> Impairment {
    let share = |of: u64| (seed * 31 % of) as f64 / 100.0;
    Impairment {
        delay: Duration::from_millis(1)..Duration::from_millis(20 + seed * 211 % 3000),
        loss: share(30),
        duplicate: share(20),
        corrupt: share(10),
    }
}

/// Twenty virtual minutes of traffic in bursts and pauses, both ways, then quiet, then a test that all is well.
fn survives<C: Aead>(seed: u64) {
    let mut pair = Pair::<C>::new(seed);
    let mut rng = ChaCha20Rng::seed_from_u64(!seed);
    pair.net.impairment = bad_network(seed);
    while pair.time < Duration::from_secs(1200) {
        let side = if rng.next_u32() % 2 == 0 { A } else { B };
        for _ in 0..rng.next_u32() % 12 {
            pair.send(side);
        }
        let pause = match rng.next_u32() % 20 {
            0 => 30_000,
            1 => 3_000,
            _ => 400,
        };
        pair.run_for(Duration::from_millis(u64::from(rng.next_u32() % pause)));
    }
    pair.run_for(Duration::from_secs(5));

    // The faults stop: traffic flows again within the time of one retransmission (I10).
    pair.net.impairment = Impairment::perfect(Duration::from_millis(20));
    for _ in 0..24 {
        pair.send(A);
        pair.send(B);
        pair.run_for(Duration::from_millis(500));
    }
    for side in [A, B] {
        let last = pair[side.other()].next_packet - 1;
        assert_eq!(pair[side].delivered.last(), Some(&last), "{side:?}, seed {seed}");
        assert!(pair[side].delivered.len() > 300, "{side:?}, seed {seed}: {}", pair[side].delivered.len());
        only_expected_refusals(&pair, side);
    }
    assert!(pair.sent_by(A, Kind::Initiation).len() + pair.sent_by(B, Kind::Initiation).len() >= 8);
}

/// Under these faults some errors must not come up: no key is exhausted, nobody is under load, nobody else speaks.
fn only_expected_refusals<C: Aead>(pair: &Pair<C>, side: Side) {
    for refused in &pair[side].refused {
        let unexpected = matches!(
            refused,
            ReceiveError::Challenged
                | ReceiveError::RateLimited
                | ReceiveError::CookieReply
                | ReceiveError::UnknownPeer
                | ReceiveError::Open(OpenError::CounterLimit)
        );
        assert!(!unexpected, "{refused:?}");
    }
}

#[test]
fn sessions_survive_a_bad_network() {
    for seed in 1..3 {
        survives::<RustCryptoAead>(seed);
    }
    for seed in 3..9 {
        survives::<RingAead>(seed);
    }
}

#[test]
fn every_packet_is_accounted_for() {
    // 5.1: over a network that only delays, less than the interval of packets, nothing is lost across many rekeys.
    let mut pair = Pair::<RingAead>::connected(20);
    pair.net.impairment.delay = Duration::from_millis(1)..Duration::from_millis(90);
    for tenth in 20..8_000 {
        pair.run_until(Duration::from_millis(tenth * 100));
        pair.send(A);
        pair.send(B);
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair[B].delivered, Vec::from_iter(0..pair[A].next_packet));
    assert_eq!(pair[A].delivered, Vec::from_iter(0..pair[B].next_packet));
    assert_eq!((pair[A].refused.len(), pair[B].refused.len()), (0, 0));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 7);
}

#[test]
fn heavy_reordering_within_the_window_loses_nothing() {
    // Delays of up to 3 s at 500 packets a second: packets are overtaken by more than a thousand.
    let mut pair = Pair::<RingAead>::connected(21);
    pair.net.impairment.delay = Duration::from_millis(1)..Duration::from_secs(3);
    for step in 500..2500 {
        pair.run_until(Duration::from_millis(step * 2));
        pair.send(A);
    }
    pair.run_for(Duration::from_secs(5));
    let mut delivered = pair[B].delivered.clone();
    assert!(!delivered.is_sorted());
    delivered.sort_unstable();
    assert_eq!(delivered, Vec::from_iter(0..pair[A].next_packet));
}
