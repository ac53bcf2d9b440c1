//! Both sides initiate at once: they must come together, soon and without further traffic (C39, S7 at the scale of CI).

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::aead::RustCryptoAead;

use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

/// Both sides want a session, B a while after A but before it can know; `want` says in which way.
fn crossed(seed: u64, want: fn(&mut Plain, Side)) -> (Plain, Duration) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut up_to = |millis: u64| Duration::from_nanos(rng.next_u64() % (millis * 1_000_000));
    let delay = Duration::from_millis(1) + up_to(999);
    let stagger = up_to(u64::try_from(delay.as_millis()).unwrap());
    let mut pair = Plain::new(seed);
    pair.net.impairment = Impairment::perfect(delay);
    want(&mut pair, A);
    pair.run_for(stagger);
    want(&mut pair, B);
    (pair, delay)
}

fn rounds(pair: &Plain) -> usize {
    pair.times(A, Kind::Initiation).len().max(pair.times(B, Kind::Initiation).len())
}

#[test]
fn simultaneous_initiations_converge_in_the_second_round() {
    let mut latencies = Vec::new();
    for seed in 0..80 {
        let (mut pair, delay) = crossed(seed, Pair::send);
        pair.run_until(Duration::from_secs(12));
        for side in [A, B] {
            assert_eq!(pair[side].delivered, [0], "{side:?} with seed {seed}, delay {delay:?}");
        }
        assert!(rounds(&pair) <= 2, "{} rounds with seed {seed}, delay {delay:?}", rounds(&pair));
        let second = pair.sent.iter().filter(|sent| sent.kind() == Kind::Initiation).count() - 2;
        assert_eq!(second, 1, "one side tries again, the other yields");
        let last = pair.sent.iter().filter(|sent| sent.kind() == Kind::Data).map(|sent| sent.at).max();
        latencies.push(last.unwrap() + delay);
    }
    latencies.sort_unstable();
    assert!(latencies[latencies.len() / 2] <= Duration::from_secs(11), "median {:?}", latencies[40]);
}

#[test]
fn simultaneous_initiations_converge_without_traffic() {
    // Nothing but the timers moves them, and nothing goes on afterwards.
    for seed in 1000..1040 {
        let (mut pair, delay) = crossed(seed, Pair::initiate);
        pair.run_until(Duration::from_secs(12));
        let sent = pair.sent.len();
        pair.run_until(Duration::from_secs(500));
        for side in [A, B] {
            assert!(pair[side].peer.control().last_handshake().is_some(), "seed {seed}, delay {delay:?}");
        }
        assert!(rounds(&pair) <= 2, "seed {seed}, delay {delay:?}");
        assert_eq!(pair.sent.len(), sent, "silence follows, seed {seed}");
    }
}

#[test]
fn simultaneous_initiations_converge_under_traffic() {
    // Whoever yields does so with packets to send as well, or the next try crosses again.
    for seed in 3000..3100 {
        let (mut pair, delay) = crossed(seed, Pair::send);
        while pair.time < Duration::from_secs(12) {
            pair.run_for(Duration::from_millis(100));
            pair.send(A);
            pair.send(B);
        }
        assert!(rounds(&pair) <= 2, "{} rounds with seed {seed}, delay {delay:?}", rounds(&pair));
        for side in [A, B] {
            assert!(pair[side].delivered.len() > 100, "{side:?} with seed {seed}, delay {delay:?}");
        }
    }
}

#[test]
fn simultaneous_initiations_converge_through_loss() {
    // A quarter of everything is lost, so there may be more rounds, but never a stall.
    for seed in 2000..2024 {
        let (mut pair, delay) = crossed(seed, Pair::send);
        pair.net.impairment.loss = 0.25;
        pair.run_until(Duration::from_secs(90));
        let established = |side: Side| pair[side].peer.control().last_handshake().is_some();
        assert!(established(A) && established(B), "seed {seed}, delay {delay:?}");
    }
}

#[test]
fn suppressed_retransmission_is_put_off_and_not_forgotten() {
    // C39 (a), C45: B answered A's initiation after its own, so its retransmission falls within 5 s of the response; its
    // response is lost, and A is silent from then on. B alone has to carry on.
    let mut pair = Plain::new(5);
    pair.net.impairment = Impairment::perfect(Duration::from_millis(900));
    pair.send(B);
    pair.send(A);
    pair.passes = Box::new(|sent| sent.from == B && sent.kind() != Kind::Response);
    pair.run_for(Duration::from_secs(40));
    let times = pair.times(B, Kind::Initiation);
    assert!(times.len() >= 4, "{times:?}");
    assert!(times[1] >= Duration::from_millis(5900), "{times:?}: 5 s after the response, not the initiation");
}
