//! Tables of the keypair slots, the limits of age and counter, and the endpoint.

extern crate std;

use core::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::keypair::Inline;
use crate::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};
use crate::noise::TransportKeys;

type Slot = Inline<Keypair<u32, u32>>;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn keypair(role: Role, index: u32, now: Instant) -> Slot {
    let keys = TransportKeys::for_tests(role, SessionIndex::new(index), SessionIndex::new(index + 1000));
    Inline::new(Keypair::new(&keys, index, index, now))
}

fn sessions() -> Sessions<Slot> {
    Sessions::new(1)
}

fn slots(sessions: &Sessions<Slot>) -> [Option<u32>; 3] {
    [&sessions.previous, &sessions.current, &sessions.next]
        .map(|slot| slot.as_deref().map(|keypair| keypair.local_index().get()))
}

fn indices(retired: &Retired) -> Vec<u32> {
    let mut indices: Vec<u32> = retired.iter().map(|index| index.get()).collect();
    indices.sort_unstable();
    indices
}

/// Sessions with chosen slots: previous, current, next.
fn with(previous: bool, current: bool, next: bool) -> Sessions<Slot> {
    let mut sessions = sessions();
    let made = |present: bool, index| present.then(|| keypair(Role::Responder, index, at(0)));
    (sessions.previous, sessions.current, sessions.next) =
        (made(previous, 1), made(current, 2), made(next, 3));
    sessions
}

#[test]
fn initiator_installs_into_current() {
    // C51, all eight states
    for (state, expected, freed) in [
        ((false, false, false), [None, Some(9), None], vec![]),
        ((false, true, false), [Some(2), Some(9), None], vec![]),
        ((true, true, false), [Some(2), Some(9), None], vec![1]),
        ((true, false, false), [None, Some(9), None], vec![1]),
        ((false, false, true), [Some(3), Some(9), None], vec![]),
        ((false, true, true), [Some(3), Some(9), None], vec![2]),
        ((true, true, true), [Some(3), Some(9), None], vec![1, 2]),
        ((true, false, true), [Some(3), Some(9), None], vec![1]),
    ] {
        let mut sessions = with(state.0, state.1, state.2);
        let retired = sessions.install(keypair(Role::Initiator, 9, at(0)));
        assert_eq!((slots(&sessions), indices(&retired)), (expected, freed), "{state:?}");
    }
}

#[test]
fn responder_installs_into_next_and_drops_previous() {
    // C52, all eight states
    for (state, expected, freed) in [
        ((false, false, false), [None, None, Some(9)], vec![]),
        ((false, true, false), [None, Some(2), Some(9)], vec![]),
        ((true, true, false), [None, Some(2), Some(9)], vec![1]),
        ((true, false, false), [None, None, Some(9)], vec![1]),
        ((false, false, true), [None, None, Some(9)], vec![3]),
        ((false, true, true), [None, Some(2), Some(9)], vec![3]),
        ((true, true, true), [None, Some(2), Some(9)], vec![1, 3]),
        ((true, false, true), [None, None, Some(9)], vec![1, 3]),
    ] {
        let mut sessions = with(state.0, state.1, state.2);
        let retired = sessions.install(keypair(Role::Responder, 9, at(0)));
        assert_eq!((slots(&sessions), indices(&retired)), (expected, freed), "{state:?}");
    }
}

#[test]
fn responder_sends_only_after_confirmation() {
    // C53, C54
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    sessions.install(keypair(Role::Responder, 2, at(1)));
    assert_eq!(sessions.begin_send(at(1), Outgoing::Data, 1).unwrap().key, &1, "next does not send");
    let old = sessions.commit_recv(SessionIndex::new(1), 0, 5, None, at(1)).unwrap();
    assert!(!old.confirmed);
    let confirmed = sessions.commit_recv(SessionIndex::new(2), 0, 0, None, at(2)).unwrap();
    assert!(confirmed.confirmed && confirmed.retired.is_none(), "a keepalive confirms too");
    assert_eq!(slots(&sessions), [Some(1), Some(2), None]);
    assert_eq!(sessions.begin_send(at(2), Outgoing::Data, 1).unwrap().key, &2);
    assert!(sessions.commit_recv(SessionIndex::new(1), 1, 5, None, at(2)).is_ok(), "previous still receives");
    assert!(!sessions.commit_recv(SessionIndex::new(2), 1, 0, None, at(2)).unwrap().confirmed);
}

#[test]
fn failed_packets_change_nothing() {
    // C76, C89
    let mut sessions = sessions();
    sessions.install(keypair(Role::Responder, 2, at(1)));
    let here = Endpoint::new("192.0.2.1:1".parse().unwrap());
    let there = Endpoint::new("192.0.2.2:2".parse().unwrap());
    sessions.commit_recv(SessionIndex::new(2), 7, 1, Some(here), at(1)).unwrap();
    let replayed = sessions.commit_recv(SessionIndex::new(2), 7, 1, Some(there), at(1));
    assert_eq!(replayed.err(), Some(OpenError::Replayed));
    assert_eq!(sessions.endpoint(), Some(&here), "a replay does not move the endpoint");
    assert_eq!(sessions.begin_recv(SessionIndex::new(3), 0, at(1)).err(), Some(OpenError::UnknownIndex));
    assert!(sessions.commit_recv(SessionIndex::new(2), 6, 1, Some(there), at(1)).unwrap().roamed, "C88");
}

#[test]
fn keys_end_at_exactly_180_seconds() {
    // C56
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    let before = Instant::from_nanos(at(180).as_nanos() - 1);
    assert!(sessions.begin_recv(SessionIndex::new(1), 0, before).is_ok());
    assert!(sessions.begin_send(before, Outgoing::Data, 1).is_ok());
    assert_eq!(sessions.begin_recv(SessionIndex::new(1), 0, at(180)).err(), Some(OpenError::Expired));
    assert!(sessions.begin_send(at(180), Outgoing::Data, 1).is_err());
    assert_eq!(
        sessions.commit_recv(SessionIndex::new(1), 9, 1, None, at(180)).err(),
        Some(OpenError::Expired)
    );
}

#[test]
fn counters_end_at_the_reject_limit_and_ask_for_a_rekey_before() {
    // C57, C58, C69
    let mut sessions = sessions();
    sessions.install(keypair(Role::Responder, 1, at(0)));
    sessions.commit_recv(SessionIndex::new(1), 0, 0, None, at(0)).unwrap();
    let set =
        |sessions: &mut Sessions<Slot>, counter| sessions.current_mut().unwrap().set_next_counter(counter);
    set(&mut sessions, REKEY_AFTER_MESSAGES - 1);
    assert!(!sessions.begin_send(at(0), Outgoing::Data, 1).unwrap().rekey_due);
    assert!(sessions.begin_send(at(0), Outgoing::Data, 1).unwrap().rekey_due);
    assert!(!sessions.begin_send(at(1), Outgoing::Data, 1).unwrap().rekey_due, "said once in 5 s");
    assert!(sessions.begin_send(at(5), Outgoing::Data, 1).unwrap().rekey_due);
    set(&mut sessions, REJECT_AFTER_MESSAGES - 3);
    assert!(sessions.begin_send(at(6), Outgoing::Data, 4).is_err(), "all of a batch or none");
    let grant = sessions.begin_send(at(6), Outgoing::Data, 3).unwrap();
    assert_eq!(grant.first_counter, REJECT_AFTER_MESSAGES - 3);
    assert!(sessions.begin_send(at(6), Outgoing::Data, 1).is_err());
    let last = REJECT_AFTER_MESSAGES - 1;
    assert!(sessions.begin_recv(SessionIndex::new(1), last, at(6)).is_ok());
    for counter in [last + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(
            sessions.begin_recv(SessionIndex::new(1), counter, at(6)).err(),
            Some(OpenError::CounterLimit)
        );
    }
}

#[test]
fn only_the_initiator_rekeys_by_age() {
    // C121
    for (role, expected) in [(Role::Initiator, true), (Role::Responder, false)] {
        let mut sessions = sessions();
        sessions.install(keypair(role, 1, at(0)));
        if role == Role::Responder {
            sessions.commit_recv(SessionIndex::new(1), 0, 0, None, at(0)).unwrap();
        }
        assert!(!sessions.begin_send(at(119), Outgoing::Data, 1).unwrap().rekey_due);
        assert_eq!(sessions.begin_send(at(120), Outgoing::Data, 1).unwrap().rekey_due, expected);
    }
}

#[test]
fn receiving_rekeys_once_from_165_seconds() {
    // C122
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    let mut receive =
        |counter, now| sessions.commit_recv(SessionIndex::new(1), counter, 1, None, now).unwrap().rekey_due;
    assert!(!receive(0, at(164)));
    assert!(receive(1, at(165)));
    assert!(!receive(2, at(166)));
}

#[test]
fn counters_are_contiguous_and_never_repeat() {
    // C59
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    let mut expected = 0;
    for count in [1, 64, 1, 128, 3] {
        assert_eq!(sessions.begin_send(at(1), Outgoing::Data, count).unwrap().first_counter, expected);
        expected += u64::from(count);
    }
}

#[test]
fn expired_sending_still_receives() {
    // C61, C133
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    sessions.install(keypair(Role::Responder, 2, at(0)));
    sessions.expire_sending();
    assert!(sessions.begin_send(at(1), Outgoing::Data, 1).is_err());
    assert!(sessions.commit_recv(SessionIndex::new(1), 0, 1, None, at(1)).is_ok());
    assert!(sessions.commit_recv(SessionIndex::new(2), 0, 1, None, at(1)).unwrap().confirmed);
    assert!(sessions.begin_send(at(1), Outgoing::Data, 1).is_err(), "confirmed, yet not for sending");
}

#[test]
fn zeroing_returns_every_keypair() {
    // C43, C60
    let mut sessions = with(true, true, true);
    assert_eq!(sessions.local_indices().count(), 3);
    assert_eq!(indices(&sessions.zero_keys()), [1, 2, 3]);
    assert_eq!(sessions.local_indices().count(), 0);
}

/// A key that tells where it was dropped.
struct Located(Rc<RefCell<Vec<usize>>>);

impl Drop for Located {
    fn drop(&mut self) {
        self.0.borrow_mut().push(core::ptr::from_ref(self).addr());
    }
}

#[test]
fn keys_are_wiped_where_they_stand() {
    // C25: a keypair that is moved out and dropped elsewhere leaves its keys in the place it had.
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let mut sessions = Sessions::new(1);
    let install = |sessions: &mut Sessions<Inline<Keypair<Located, ()>>>, role, index| {
        let keys = TransportKeys::for_tests(role, SessionIndex::new(index), SessionIndex::new(0));
        sessions.install(Inline::new(Keypair::new(&keys, Located(Rc::clone(&dropped)), (), at(0))));
    };
    for index in 0..3 {
        install(&mut sessions, Role::Initiator, index);
    }
    for index in 10..13 {
        install(&mut sessions, Role::Responder, index);
    }
    let confirmed = sessions.commit_recv(SessionIndex::new(12), 0, 0, None, at(1)).unwrap();
    assert!(confirmed.confirmed);
    install(&mut sessions, Role::Responder, 13);
    install(&mut sessions, Role::Initiator, 14);
    sessions.zero_keys();
    let start = core::ptr::from_ref(&sessions).addr();
    let within = start..start + size_of_val(&sessions);
    let dropped = dropped.borrow();
    assert_eq!(dropped.len(), 8);
    assert!(dropped.iter().all(|place| within.contains(place)), "{dropped:x?} in {within:x?}");
}

#[test]
fn keepalive_without_a_session_is_not_repeated() {
    // C117: the initiation that goes out instead cancels the timer, as anything sent does.
    let mut sessions = sessions();
    sessions.install(keypair(Role::Initiator, 1, at(0)));
    sessions.expire_sending();
    for second in [1, 2] {
        sessions.commit_recv(SessionIndex::new(1), second, 9, None, at(second)).unwrap();
    }
    assert!(sessions.handle_timeout(at(11)).keepalive);
    sessions.handshake_sent(at(11));
    assert_eq!(sessions.poll_timeout(), None);
}
