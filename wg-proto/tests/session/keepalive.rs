//! Keepalives: the passive one that answers silence, the persistent one that is configured, and the rule for the dead peer.

use core::time::Duration;

use wg_proto::Event;
use wg_proto::aead::RustCryptoAead;

use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

const FLIGHT: Duration = Duration::from_millis(10);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn one_keepalive_each_then_600_seconds_of_silence() {
    // C126: a ping and its answer, then nothing but one passive keepalive (B's packet came last, so it is A's).
    let mut pair = Plain::connected(1);
    pair.run_until(secs(20));
    pair.sent.clear();
    pair.send(A);
    pair.run_for(FLIGHT);
    pair.send(B);
    pair.run_for(secs(600));
    assert_eq!(pair.transcript(), [(A, Kind::Data), (B, Kind::Data), (A, Kind::Keepalive)]);
    assert_eq!(pair.sent[2].at, secs(20) + 2 * FLIGHT + secs(10), "10 s after the data came");
    assert_eq!((pair[A].events.len(), pair[B].events.len()), (2, 2), "Established and, at the end, Expired");
}

#[test]
fn each_side_answers_unanswered_data_with_one_keepalive() {
    // C126: data both ways at once, so that neither answers the other's.
    let mut pair = Plain::connected(2);
    pair.run_until(secs(20));
    pair.sent.clear();
    pair.send(A);
    pair.send(B);
    pair.run_for(secs(500));
    for side in [A, B] {
        assert_eq!(pair.times(side, Kind::Keepalive), [secs(20) + FLIGHT + secs(10)], "{side:?}");
    }
    assert_eq!(pair.sent.len(), 4);
}

#[test]
fn data_while_the_keepalive_waits_earns_one_more() {
    // C117
    let mut pair = Plain::connected(3);
    pair.run_until(secs(20));
    pair.sent.clear();
    for second in [20, 23, 29] {
        pair.run_until(secs(second));
        pair.send(A);
    }
    pair.run_for(secs(400));
    let first = secs(20) + FLIGHT + secs(10);
    assert_eq!(pair.times(B, Kind::Keepalive), [first, first + secs(10)]);
    assert_eq!(pair.times(A, Kind::Keepalive), [], "keepalives are not answered (C79)");
}

#[test]
fn data_sent_in_time_replaces_the_keepalive() {
    let mut pair = Plain::connected(4);
    pair.run_until(secs(20));
    pair.sent.clear();
    pair.send(A);
    pair.run_until(secs(29));
    pair.send(B);
    pair.run_until(secs(38));
    pair.send(A);
    pair.run_until(secs(47));
    assert!(pair.sent.iter().all(|sent| sent.kind() == Kind::Data));
}

#[test]
fn silence_after_data_starts_a_handshake_in_15_seconds() {
    // C125: from the first unanswered packet; later ones do not push it.
    let mut pair = Plain::connected(5);
    pair.run_until(secs(50));
    pair.passes = Box::new(|sent| sent.from == A);
    for second in [50, 55, 60, 64] {
        pair.run_until(secs(second));
        pair.send(A);
    }
    pair.run_until(secs(70));
    let initiation = pair.times(A, Kind::Initiation)[1];
    assert!((secs(65)..=Duration::from_millis(65_333)).contains(&initiation), "{initiation:?}");
}

#[test]
fn silence_is_counted_from_data_and_not_from_the_last_answer() {
    // C125, defect 39: idle for 100 s, one packet, its answer within 10 s: no handshake.
    let mut pair = Plain::connected(6);
    pair.run_until(secs(100));
    pair.send(A);
    pair.run_until(secs(119));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1);
    assert_eq!(pair.times(B, Kind::Keepalive).last(), Some(&(secs(110) + FLIGHT)), "this was the answer");
}

fn persistent(seed: u64, a: u64, b: u64) -> Plain {
    Plain::with(seed, |side, config| {
        config.persistent_keepalive = secs(if side == A { a } else { b });
    })
}

#[test]
fn persistent_keepalive_opens_the_session_by_itself() {
    // C129: it was configured before the peer came up, and nobody has anything to send.
    let mut pair = persistent(7, 25, 0);
    pair.start();
    pair.run_until(secs(1));
    assert!(pair[B].peer.control().last_handshake().is_some());
    assert_eq!(pair.transcript(), [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Keepalive)]);
}

#[test]
fn persistent_keepalive_begins_when_its_endpoint_comes() {
    // C49, C119
    let mut pair = Plain::with(8, |side, config| {
        if side == A {
            config.persistent_keepalive = secs(25);
            config.endpoint = None;
        }
    });
    pair.start();
    pair.run_until(secs(60));
    assert!(pair.sent.is_empty());
    let address = pair[B].address;
    pair[A].peer.set_endpoint(address);
    pair.start();
    pair.run_until(secs(61));
    assert_eq!(pair.transcript(), [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Keepalive)]);
}

#[test]
fn persistent_keepalive_comes_after_its_interval_of_silence() {
    // C127
    let mut pair = persistent(8, 25, 0);
    pair.send(A);
    pair.run_until(secs(40));
    // B's passive keepalive at 10.03 s was the last traversal; A's own follow every 25 s.
    let expected = [secs(35) + Duration::from_millis(40)];
    assert_eq!(pair.times(A, Kind::Keepalive), expected);
    pair.send(B);
    pair.run_until(secs(60));
    let passive = secs(40) + FLIGHT + secs(10);
    assert_eq!(pair.times(A, Kind::Keepalive)[1..], [passive], "what came pushed the persistent one");
    pair.run_until(passive + secs(26));
    assert_eq!(pair.times(A, Kind::Keepalive)[2..], [passive + secs(25)]);
}

#[test]
fn persistent_keepalive_keeps_a_session_for_ever() {
    let mut pair = persistent(9, 25, 0);
    pair.send(A);
    pair.run_until(secs(3600));
    assert_eq!((pair[A].count(Event::Expired), pair[B].count(Event::Expired)), (0, 0));
    let kept: Vec<_> = pair.sent.iter().filter(|sent| sent.from == A).map(|sent| sent.at).collect();
    assert!(kept[2..].windows(2).all(|pair| pair[1] - pair[0] <= secs(26)), "{kept:?}");
    let initiations = pair.sent_by(A, Kind::Initiation).len();
    assert!((24..=30).contains(&initiations), "{initiations}: one in 125 s or so");
}

#[test]
fn both_sides_may_keep_alive() {
    // The two timers move each other, and there is never more than there need be.
    let mut pair = persistent(10, 10, 10);
    pair.send(A);
    pair.run_until(secs(1000));
    let keepalives = pair.sent.iter().filter(|sent| sent.kind() == Kind::Keepalive).count();
    assert!((95..=210).contains(&keepalives), "{keepalives}");
}

#[test]
fn persistent_keepalive_changes_while_up() {
    // C127: 0 to n sends one at once; n to m acts at the next traversal; n to 0 stops.
    let mut pair = Plain::connected(11);
    pair.run_until(secs(30));
    pair.sent.clear();
    let set = |pair: &mut Plain, interval| {
        let now = pair[A].clock.now(pair.time);
        pair[A].peer.set_persistent_keepalive(interval, now);
        pair.start();
    };
    set(&mut pair, secs(20));
    assert_eq!(pair.transcript(), [(A, Kind::Keepalive)]);
    pair.run_until(secs(45));
    set(&mut pair, secs(5));
    pair.run_until(secs(57));
    assert_eq!(pair.times(A, Kind::Keepalive), [secs(30), secs(50), secs(55)]);
    set(&mut pair, Duration::ZERO);
    pair.run_until(secs(100));
    assert_eq!(pair.sent.len(), 3);
}

#[test]
fn keepalive_without_a_session_asks_for_one() {
    // A passive keepalive that comes due after the session has ended.
    let mut pair = Plain::connected(12);
    pair.passes = Box::new(|sent| sent.kind() != Kind::Initiation);
    pair.run_until(secs(175));
    pair.send(A);
    pair.run_until(secs(184));
    pair.passes = Box::new(|_| true);
    pair.run_until(secs(200));
    let initiators: Vec<Side> =
        pair.sent.iter().filter(|sent| sent.kind() == Kind::Initiation).map(|sent| sent.from).collect();
    assert!(initiators.len() >= 2, "{initiators:?}");
    assert!(pair[B].peer.control().last_handshake() > Some(pair[B].clock.wall(secs(180))));
}

#[test]
fn reset_wipes_and_stops_everything_until_asked() {
    // C62, C129
    let mut pair = persistent(13, 10, 0);
    pair.send(A);
    pair.run_until(secs(5));
    pair[A].peer.reset();
    pair.audit_reset(A);
    assert_eq!((pair[A].keypairs(), pair.deadline(A)), (0, None));
    let before = pair.sent_by(A, Kind::Initiation).len();
    pair.run_until(secs(6));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), before);
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1], "5 s after the last handshake message need not be waited for");
}

#[test]
fn wish_for_a_session_that_waits_while_the_peer_begins_one_is_dropped() {
    // C45: B wants a session from the start, but the first thing its caller sees is A's initiation.
    let mut pair = persistent(14, 0, 25);
    pair.send(A);
    pair.run_until(secs(20));
    assert_eq!(pair.sent_by(B, Kind::Initiation).len(), 0);
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1);
    assert_eq!(pair[B].delivered, [0]);
}

#[test]
fn wish_for_a_session_that_waits_is_put_off_when_the_peer_falls_silent() {
    // C39, C45: as before, but A's confirmation is lost.
    let mut pair = persistent(15, 0, 25);
    pair.passes = Box::new(|sent| sent.from == B || sent.kind() == Kind::Initiation);
    pair.send(A);
    pair.run_until(secs(20));
    let first = pair.times(B, Kind::Initiation)[0];
    assert!((secs(5)..Duration::from_millis(5400)).contains(&first), "{first:?}");
}
