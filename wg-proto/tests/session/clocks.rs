//! Clocks that step, stand still or sleep. The wall clock is only in the timestamps of initiations; the monotonic one
//! moves everything else.

use core::time::Duration;

use wg_proto::Event;
use wg_proto::aead::RustCryptoAead;

use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Ten sessions, one after the other has expired; before each, `disturb`.
fn ten_sessions(mut disturb: impl FnMut(&mut Plain, u64)) {
    let mut pair = Plain::new(1);
    for session in 0..10 {
        disturb(&mut pair, session);
        pair.send(A);
        pair.run_for(secs(1));
        assert_eq!(pair[B].delivered.len() as u64, session + 1, "session {session}");
        assert_eq!(pair.sent_by(A, Kind::Initiation).len() as u64, session + 1, "at the first attempt");
        pair.run_for(secs(200));
    }
}

#[test]
fn wall_clock_that_steps_back_locks_nobody_out() {
    // C34, defect 57: every time by more than has passed.
    ten_sessions(|pair, _| pair[A].clock.step_wall(-HOUR));
}

#[test]
fn wall_clock_that_stands_still_locks_nobody_out() {
    // C34
    ten_sessions(|pair, _| pair[A].clock.wall_stands_still = true);
}

#[test]
fn wall_clock_that_was_ten_years_ahead_locks_nobody_out() {
    // C34: within the life of the process.
    ten_sessions(|pair, session| {
        let step = if session % 2 == 0 { TEN_YEARS } else { -TEN_YEARS };
        pair[A].clock.step_wall(step);
    });
}

#[test]
fn wall_clock_before_1970_and_at_the_end_of_time_is_harmless() {
    for seconds in [-2_000_000_000, 4_000_000_000_000_000_000] {
        let mut pair = Plain::new(2);
        pair[A].clock.step_wall(seconds);
        pair[B].clock.step_wall(seconds);
        for _ in 0..3 {
            pair.send(A);
            pair.run_for(secs(200));
        }
        assert_eq!(pair[B].delivered, [0, 1, 2], "{seconds}");
    }
}

#[test]
fn responders_wall_clock_does_not_matter() {
    ten_sessions(|pair, session| pair[B].clock.step_wall(if session % 2 == 0 { -HOUR } else { 3 * HOUR }));
}

#[test]
fn rekeys_go_on_while_the_wall_clock_steps() {
    // C34 with traffic: no packet is lost for it.
    let mut pair = Plain::connected(3);
    for second in 2..800 {
        pair.run_until(secs(second));
        if second % 50 == 0 {
            pair[A].clock.step_wall(if second % 100 == 0 { -TEN_YEARS } else { HOUR });
            pair[B].clock.step_wall(-HOUR);
        }
        pair.send(A);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered.len(), 799);
}

#[test]
fn suspended_time_counts() {
    // C62, defect 44: the machine slept for 8 h; its session is over, and nothing is sent with it.
    for sleeper in [A, B] {
        let mut pair = Plain::connected(4);
        pair[sleeper].clock.step_monotonic(8 * HOUR);
        pair.send(sleeper);
        assert_eq!(pair.sent.last().unwrap().kind(), Kind::Initiation, "{sleeper:?}");
        pair.run_for(secs(1));
        let other = &pair[sleeper.other()].delivered;
        assert_eq!(other.last(), Some(&(pair[sleeper].next_packet - 1)));
        assert_eq!(pair[sleeper].count(Event::Expired), 1, "once");
    }
}

#[test]
fn monotonic_clock_that_goes_back_freezes_and_recovers() {
    // C132, S6, defect 41: whatever state it is in.
    for side in [A, B] {
        for seconds in [1, 60, HOUR, TEN_YEARS] {
            for state in [0, 5, 15, 1000, 130_000, 185_000] {
                let mut pair = Plain::new(5);
                pair.send(A);
                pair.run_until(Duration::from_millis(state));
                pair[side].clock.step_monotonic(-seconds);
                traffic(&mut pair, 3);
                pair[side].clock.step_monotonic(seconds);
                let before = delivered(&pair);
                traffic(&mut pair, 12);
                assert!(
                    delivered(&pair).iter().zip(before).all(|(now, before)| *now > before),
                    "{side:?} by {seconds} s at {state} ms: right again for 12 s"
                );
            }
        }
    }
}

#[test]
fn monotonic_clock_that_was_ahead_and_is_right_again_recovers() {
    // C132, S6: what was noted while the clock was ahead must not hold until it gets there again. Traffic one way only, in
    // either direction, with the session of then still there or not.
    for side in [A, B] {
        for sender in [A, B] {
            for seconds in [6, 170, HOUR, TEN_YEARS] {
                for loses_session in [false, true] {
                    let mut pair = Plain::connected(8);
                    pair[side].clock.step_monotonic(seconds);
                    traffic(&mut pair, 20);
                    if loses_session {
                        let other = side.other();
                        pair.replace(other, Plain::new(8));
                    }
                    pair[side].clock.step_monotonic(-seconds);
                    let before = pair[sender.other()].delivered.len();
                    for _ in 0..22 {
                        pair.send(sender);
                        pair.run_for(secs(1));
                    }
                    let arrived = pair[sender.other()].delivered.len() - before;
                    assert!(arrived > 0, "{side:?} was {seconds} s ahead, {sender:?} sends, {loses_session}");
                }
            }
        }
    }
}

#[test]
fn monotonic_clock_that_jumps_ahead_recovers() {
    // S6
    for side in [A, B] {
        for seconds in [1, 179, 180, HOUR, TEN_YEARS] {
            for state in [0, 5, 15, 1000, 130_000] {
                let mut pair = Plain::new(6);
                pair.send(A);
                pair.run_until(Duration::from_millis(state));
                pair[side].clock.step_monotonic(seconds);
                traffic(&mut pair, 1);
                let before = delivered(&pair);
                traffic(&mut pair, 11);
                assert!(
                    delivered(&pair).iter().zip(before).all(|(now, before)| *now > before),
                    "{side:?} by {seconds} s at {state} ms"
                );
            }
        }
    }
}

#[test]
fn clock_at_the_end_of_its_range_does_not_overflow() {
    // C132: 584 years after its origin.
    let mut pair = Plain::new(7);
    for side in [A, B] {
        let now = pair[side].clock.now(Duration::ZERO).as_nanos();
        let until_the_end = i64::try_from((u64::MAX - now) / 1_000_000_000).unwrap();
        pair[side].clock.step_monotonic(until_the_end - 100);
    }
    pair.send(A);
    pair.run_for(secs(1));
    pair.send(B);
    pair.run_for(secs(90));
    assert_eq!((pair[A].delivered.len(), pair[B].delivered.len()), (1, 1));
}

/// A packet a second each way.
fn traffic(pair: &mut Plain, seconds: u64) {
    for _ in 0..seconds {
        pair.send(A);
        pair.send(B);
        pair.run_for(secs(1));
    }
}

fn delivered(pair: &Plain) -> [usize; 2] {
    [A, B].map(|side: Side| pair[side].delivered.len())
}
