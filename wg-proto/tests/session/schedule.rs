//! The deadline a peer tells is exact, one late poll is enough, and the same seed gives the same run (C131).

use core::time::Duration;

use wg_proto::aead::RustCryptoAead;

use crate::host::address;
use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair, Sent, Side};

type Plain = Pair<RustCryptoAead>;

const NANO: Duration = Duration::from_nanos(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A pair that uses every timer: keepalives of both kinds, rekeys, losses, a peer that goes away.
fn eventful(seed: u64) -> Plain {
    let mut pair = Plain::with(seed, |side, config| {
        config.persistent_keepalive = if side == A { secs(60) } else { Duration::ZERO };
    });
    pair.net.impairment = Impairment {
        delay: Duration::from_millis(5)..Duration::from_millis(400),
        loss: 0.1,
        duplicate: 0.05,
        corrupt: 0.0,
    };
    pair.send(A);
    pair
}

#[test]
fn deadline_is_exact() {
    // A nanosecond before it nothing happens; at it, something does, and it is gone.
    let mut pair = eventful(1);
    let mut checked = 0;
    while pair.time < secs(900) {
        if pair.time > secs(300) {
            pair.passes = Box::new(|_| false);
        } else if checked % 5 == 0 {
            pair.send(B);
        }
        let next =
            [A, B].into_iter().filter_map(|side| Some((pair.deadline(side)?, side))).min_by_key(|at| at.0);
        let Some((deadline, side)) = next else { break };
        pair.run_until(deadline - NANO);
        if pair.deadline(side) != Some(deadline) {
            continue;
        }
        let sent = pair.sent.len();
        pair.handle_timeout(side);
        assert_eq!(
            (pair.deadline(side), pair.sent.len()),
            (Some(deadline), sent),
            "{side:?} at {deadline:?}"
        );
        pair.run_until(deadline);
        assert!(pair.deadline(side).is_none_or(|next| next > deadline), "{side:?} at {deadline:?}");
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn one_late_poll_is_enough_and_does_not_burst() {
    // After hours without a poll: at most one message of each side, and the next deadline lies ahead.
    for seed in 0..10 {
        for before in [1, 8, 100, 125, 170, 300, 600] {
            let mut pair = eventful(seed);
            pair.run_until(secs(before / 2));
            pair.send(B);
            pair.run_until(secs(before));
            pair.skip(secs(4 * 3600));
            pair.sent.clear();
            for side in [A, B] {
                pair.handle_timeout(side);
                assert!(pair.deadline(side).is_none_or(|next| next > pair.time));
                let sent = pair.sent.iter().filter(|sent| sent.from == side).count();
                assert!(sent <= 1, "seed {seed}, {before} s: {sent} at once");
            }
        }
    }
}

#[test]
fn polling_all_the_time_changes_nothing() {
    // Polls that are not due are no events.
    let run = |polled: bool| {
        let mut pair = eventful(3);
        for tenth in 1..3000 {
            pair.run_until(Duration::from_millis(tenth * 100));
            if tenth % 70 == 0 {
                pair.send(B);
            }
            if polled {
                pair.handle_timeout(A);
                pair.handle_timeout(B);
            }
        }
        pair.sent
    };
    assert_eq!(run(false), run(true));
}

fn trace(seed: u64) -> Vec<Sent> {
    let mut pair = eventful(seed);
    for second in 1..300 {
        pair.run_until(secs(second));
        if second % 7 == 0 {
            pair.send(if second % 2 == 0 { A } else { B });
        }
    }
    pair.sent
}

#[test]
fn same_seed_gives_the_same_run() {
    assert_eq!(trace(11), trace(11));
    assert_ne!(trace(11), trace(12));
}

#[test]
fn idle_peer_has_no_deadline() {
    let mut pair = Plain::new(4);
    assert_eq!((pair.deadline(A), pair.deadline(B)), (None, None));
    for side in [A, B] {
        pair.handle_timeout(side);
    }
    pair.run_until(secs(100_000));
    assert_eq!(pair.sent, []);
}

#[test]
fn jitter_differs_between_peers() {
    // Retransmissions of two peers that began at once drift apart.
    let times = |side: Side| {
        let mut pair = Plain::new(5);
        pair.passes = Box::new(|_| false);
        pair.send(side);
        pair.run_until(secs(50));
        pair.times(side, Kind::Initiation)
    };
    let (a, b) = (times(A), times(B));
    assert_eq!(a[0], b[0]);
    assert!(a[1..].iter().zip(&b[1..]).all(|(a, b)| a != b), "{a:?} {b:?}");
}

#[test]
fn call_before_a_late_poll_delays_the_session_and_no_more() {
    // The caller woke up after hours and asked for a session before it let the timers do what was due, which is to wipe
    // the keys and this handshake; and the other side woke up too.
    let mut pair = Plain::connected(6);
    pair.skip(secs(4 * 3600));
    let (now, wall) = (pair[A].clock.now(pair.time), pair[A].clock.wall(pair.time));
    let host = &mut pair[A];
    host.peer.initiate(now);
    let mut out = [0; 148];
    assert!(host.peer.poll_transmit(&mut out, now, wall, &mut host.rng).unwrap().is_some());
    pair.handle_timeout(A);
    pair.inject(B, &out, address(0));
    pair.run_for(secs(12));
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1]);
}
