//! A session ages: rekey by time and by count, expiry, wiping, and the packets under way at each of them.

use core::time::Duration;

use wg_proto::aead::RustCryptoAead;
use wg_proto::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};
use wg_proto::wire::Message;
use wg_proto::{Event, HandshakeError, OpenError, ReceiveError, SealError};

use crate::host::TestRng;
use crate::netem::Impairment;
use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

const NANO: Duration = Duration::from_nanos(1);

/// When A, the initiator of a connected pair, derived its keys; B did 10 ms earlier.
const A_BORN: Duration = Duration::from_millis(20);
const B_BORN: Duration = Duration::from_millis(10);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn initiator_rekeys_when_it_sends_at_120_seconds() {
    // C121
    let mut pair = Plain::connected(1);
    pair.run_until(A_BORN + secs(120) - NANO);
    pair.send(A);
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1, "the first one only");
    pair.run_until(A_BORN + secs(120));
    pair.send(A);
    assert_eq!(pair.times(A, Kind::Initiation), [Duration::ZERO, A_BORN + secs(120)]);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1, 2], "and the session goes on meanwhile");
    assert_eq!(
        pair[A].peer.sessions_mut().current().unwrap().next_counter(),
        1,
        "the keepalive that confirmed it"
    );
}

#[test]
fn steady_traffic_rekeys_every_two_minutes_without_loss() {
    let mut pair = Plain::connected(2);
    for second in 2..=1000 {
        pair.run_until(secs(second));
        pair.send(A);
        pair.send(B);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered.len(), 1000);
    assert_eq!(pair[A].delivered.len(), 999);
    let initiations = pair.times(A, Kind::Initiation);
    assert_eq!(initiations.len(), 9, "{initiations:?}");
    assert_eq!(
        pair.sent_by(B, Kind::Initiation).len(),
        0,
        "the responder never does by age (C121, defect 49)"
    );
}

#[test]
fn responder_that_sends_all_the_time_does_not_rekey_by_age() {
    // C121: A only answers with keepalives, and rekeys with one of them.
    let mut pair = Plain::connected(3);
    for second in 2..170 {
        pair.run_until(secs(second));
        pair.send(B);
    }
    assert_eq!(pair.sent_by(B, Kind::Initiation).len(), 0);
    let rekey = pair.times(A, Kind::Initiation)[1];
    assert!((secs(120)..secs(131)).contains(&rekey), "{rekey:?}");
}

#[test]
fn initiator_rekeys_when_it_receives_at_165_seconds() {
    // C122: A is silent all the while.
    let mut pair = Plain::connected(4);
    pair.run_until(A_BORN + secs(165) - NANO - Duration::from_millis(10));
    pair.send(B);
    pair.run_for(NANO);
    pair.send(B);
    pair.run_for(Duration::from_millis(10) - NANO);
    assert_eq!(pair[A].delivered, [0]);
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 1, "a nanosecond too young");
    pair.run_for(NANO);
    assert_eq!(pair.times(A, Kind::Initiation).last(), Some(&(A_BORN + secs(165))));
    pair.run_for(secs(1));
    assert_eq!(pair[A].delivered, [0, 1]);
}

#[test]
fn responder_does_not_rekey_when_it_receives_at_165_seconds() {
    // C122: packets of A arrive, its initiations do not.
    let mut pair = Plain::connected(5);
    pair.passes = Box::new(|sent| sent.kind() != Kind::Initiation);
    for second in 166..175 {
        pair.run_until(secs(second));
        pair.send(A);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered.len(), 10);
    assert_eq!(pair.sent_by(B, Kind::Initiation).len(), 0);
}

#[test]
fn keys_are_used_until_exactly_180_seconds() {
    // C56, both directions, each from its own derivation; defect 50.
    let mut pair = Plain::connected(6);
    pair.passes = Box::new(|sent| sent.kind() != Kind::Initiation);
    let flight = Duration::from_millis(10);
    pair.run_until(B_BORN + secs(180) - NANO - flight);
    pair.send(A);
    pair.run_for(NANO);
    pair.send(A);
    pair.run_for(flight - NANO);
    assert_eq!(pair[B].delivered, [0, 1], "arrives a nanosecond before B's key is too old");
    pair.run_for(NANO);
    assert_eq!(pair[B].refused, [ReceiveError::Open(OpenError::Expired)], "exactly 180 s");
    pair.run_until(A_BORN + secs(180) - NANO);
    pair.send(A);
    assert_eq!(pair[A].staged.len(), 0, "A may still send");
    let at = |pair: &Plain, side: Side| pair[side].clock.now(A_BORN + secs(180));
    let now = at(&pair, A);
    assert_eq!(pair[A].peer.seal(&[1; 20], &mut [0; 64], now), Err(SealError::NoSession));
    let now = at(&pair, B);
    assert_eq!(pair[B].peer.seal(&[1; 20], &mut [0; 64], now), Err(SealError::NoSession));
}

#[test]
fn packets_that_find_an_old_key_wait_for_one_new_session() {
    // C55
    let mut pair = Plain::connected(7);
    pair.run_until(secs(200));
    let before = pair.sent.len();
    for _ in 0..5 {
        pair.send(A);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1, 2, 3, 4, 5], "in order");
    let kinds: Vec<_> = pair.sent[before..].iter().map(|sent| (sent.from, sent.kind())).collect();
    assert_eq!(kinds[..3], [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Data)]);
    assert!(kinds[2..].iter().all(|kind| *kind == (A, Kind::Data)), "{kinds:?}");
}

#[test]
fn responder_may_begin_the_next_session() {
    // Expired on both sides, B has something to say first; roles turn.
    let mut pair = Plain::connected(8);
    pair.run_until(secs(200));
    pair.send(B);
    pair.run_for(secs(1));
    assert_eq!(pair[A].delivered, [0]);
    assert_eq!(pair.sent_by(B, Kind::Initiation).len(), 1);
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1]);
}

#[test]
fn packets_overtaken_by_a_rekey_still_arrive() {
    // C54: packets sealed with the old key come after the new session began.
    let mut pair = Plain::connected(9);
    pair.run_until(secs(121));
    pair.net.impairment = Impairment::perfect(Duration::from_millis(100));
    for _ in 0..10 {
        pair.send(A);
        pair.send(B);
    }
    pair.net.impairment = Impairment::perfect(Duration::from_millis(5));
    pair.send(A);
    pair.run_for(secs(1));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 2);
    assert_eq!((pair[A].delivered.len(), pair[B].delivered.len()), (10, 12));
    assert_eq!((pair[A].refused.len(), pair[B].refused.len()), (0, 0));
}

#[test]
fn all_keys_are_wiped_540_seconds_after_the_last_derivation() {
    // C60
    let mut pair = Plain::connected(10);
    pair.run_until(secs(121));
    pair.send(A);
    pair.run_for(secs(1));
    let derived = secs(121) + A_BORN;
    pair.run_until(derived + secs(540) - NANO);
    assert_eq!((pair[A].count(Event::Expired), pair[A].keypairs()), (0, 2));
    pair.run_until(derived + secs(540));
    for side in [A, B] {
        assert_eq!((pair[side].count(Event::Expired), pair[side].keypairs()), (1, 0), "{side:?}");
    }
    let times: Vec<_> = [A, B].map(|side| pair[side].events.last().copied().unwrap().0).to_vec();
    assert_eq!(times, [derived + secs(540), secs(121) + B_BORN + secs(540)]);
    assert_eq!((pair.deadline(A), pair.deadline(B)), (None, None), "nothing is left to wait for");
    pair.send(B);
    pair.run_for(secs(1));
    assert_eq!(pair[A].delivered, [0], "and a new session may begin");
}

#[test]
fn pending_handshake_is_wiped_540_seconds_after_giving_up() {
    // C60: there never was a session.
    let mut pair = Plain::new(11);
    let passes = |sent: &crate::pair::Sent| sent.kind() != Kind::Response;
    pair.passes = Box::new(passes);
    pair.send(A);
    pair.run_until(secs(120));
    let gave_up = pair[A].events.iter().find(|(_, event)| *event == Event::GaveUp).unwrap().0;
    let response = pair.last(B, Kind::Response);
    pair.run_until(gave_up + secs(540) - NANO);
    assert!(pair[A].peer.control().pending_index().is_some());
    pair.run_until(gave_up + secs(540));
    assert_eq!(pair[A].peer.control().pending_index(), None);
    assert_eq!(pair[A].count(Event::Expired), 1);
    pair.inject(A, &response, "192.0.2.2:51820".parse().unwrap());
    assert_eq!(pair[A].refused, [ReceiveError::Handshake(HandshakeError::Unexpected)]);
}

#[test]
fn giving_up_does_not_put_off_the_wiping_of_a_session() {
    // C60: the timer runs already, from the derivation.
    let mut pair = Plain::connected(16);
    pair.run_until(secs(121));
    pair.passes = Box::new(|_| false);
    pair.send(A);
    pair.run_until(A_BORN + secs(540) - NANO);
    assert_eq!((pair[A].count(Event::GaveUp), pair[A].count(Event::Expired)), (1, 0));
    pair.run_for(NANO);
    assert_eq!((pair[A].count(Event::Expired), pair[A].keypairs()), (1, 0));
}

fn set_counter(pair: &mut Plain, side: Side, counter: u64) {
    pair[side].peer.sessions_mut().current_mut().unwrap().set_next_counter(counter);
}

fn counters(pair: &Plain, side: Side) -> Vec<u64> {
    let counter = |sent: &&crate::pair::Sent| match Message::parse(&sent.datagram).unwrap() {
        Message::TransportData(message) => message.counter(),
        _ => panic!("no data"),
    };
    pair.sent_by(side, Kind::Data).iter().map(counter).collect()
}

#[test]
fn either_side_rekeys_by_count_of_messages() {
    // C57
    for side in [A, B] {
        let mut pair = Plain::connected(12);
        pair.run_until(secs(10));
        let before = pair.sent_by(side, Kind::Initiation).len();
        set_counter(&mut pair, side, REKEY_AFTER_MESSAGES - 1);
        pair.send(side);
        assert_eq!(pair.sent_by(side, Kind::Initiation).len(), before, "2^60 messages are in order");
        pair.send(side);
        assert_eq!(pair.sent_by(side, Kind::Initiation).len(), before + 1, "{side:?}");
        pair.run_for(secs(1));
        assert_eq!(pair[side].peer.sessions_mut().current().unwrap().next_counter(), 1);
    }
}

#[test]
fn no_counter_from_the_reject_limit_on_is_sent() {
    // C58, C55, defect 33
    let mut pair = Plain::connected(13);
    pair.run_until(secs(10));
    let last = REJECT_AFTER_MESSAGES - 1;
    set_counter(&mut pair, A, last);
    for _ in 0..3 {
        pair.send(A);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1, 2, 3], "the last counter there is, then a new session");
    assert_eq!(counters(&pair, A), [0, last, 0, 1]);
}

#[test]
fn no_counter_from_the_reject_limit_on_is_accepted() {
    // C58: a peer that does not stop, here because its counter is set back behind our back.
    let mut pair = Plain::connected(14);
    pair.send(A);
    let mut beyond = pair.last(A, Kind::Data);
    for counter in [REJECT_AFTER_MESSAGES, u64::MAX - 1, u64::MAX] {
        beyond[8..16].copy_from_slice(&counter.to_le_bytes());
        pair[B].refused.clear();
        pair.inject(B, &beyond, "192.0.2.1:51820".parse().unwrap());
        assert_eq!(pair[B].refused, [ReceiveError::Open(OpenError::CounterLimit)]);
    }
    pair.run_for(secs(1));
    assert_eq!(pair[B].delivered, [0, 1], "the window has not moved");
}

/// A pair stopped at `snapshot`, and what each of two copies of one side sends from there on, by key and counter.
fn run_copies(side: Side, snapshot: Duration) -> [Vec<(u32, u64)>; 2] {
    [1, 2].map(|copy| {
        let mut pair = Plain::new(15);
        pair.send(A);
        pair.run_until(snapshot);
        pair[side].peer.on_vm_generation_change();
        // From here on the copies live apart, and so does whoever they talk to.
        for host in [A, B] {
            pair[host].rng = TestRng::new(copy * 100 + host as u64);
        }
        let before = pair.sent.len();
        for _ in 0..3 {
            pair.send(side);
            pair.run_for(secs(10));
        }
        let other = &pair[side.other()];
        assert!(other.delivered.len() >= 3, "{side:?} at {snapshot:?}: the connection comes back");
        let nonce = |sent: &crate::pair::Sent| match Message::parse(&sent.datagram).unwrap() {
            Message::TransportData(message) => Some((message.receiver_index().get(), message.counter())),
            _ => None,
        };
        pair.sent[before..].iter().filter(|sent| sent.from == side).filter_map(nonce).collect()
    })
}

#[test]
fn restored_snapshots_never_share_a_nonce() {
    // C61, defect 9: a session, a handshake that waits for its response, a session not yet confirmed.
    for (side, millis) in [(A, 1000), (B, 1000), (A, 5), (A, 15), (B, 15), (B, 25)] {
        let [first, second] = run_copies(side, Duration::from_millis(millis));
        let shared: Vec<_> = first.iter().filter(|nonce| second.contains(nonce)).collect();
        assert!(shared.is_empty(), "{side:?} at {millis} ms: {shared:?}");
    }
}
