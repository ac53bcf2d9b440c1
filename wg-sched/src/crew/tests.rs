//! Members of a crew in one thread.

extern crate std;

use core::sync::atomic::AtomicU32;
use std::vec;

use super::*;
use crate::topology::{Helper, Lane};

/// Lanes on cores 0 and 1; core 1 helps lane 0, core 2 helps both and prefers lane 1.
fn plan() -> Plan {
    let lane = |id| Lane { id: LaneId(id), core: CoreId(id) };
    let helper = |core, lanes: &[u32]| Helper {
        core: CoreId(core),
        lanes: lanes.iter().map(|lane| LaneId(*lane)).collect(),
    };
    Plan { lanes: vec![lane(0), lane(1)], helpers: vec![helper(1, &[0]), helper(2, &[1, 0])] }
}

/// The members, and how often the bell of each was rung.
fn crew(homes: Homes, capacity: Capacity) -> ([Member<u32>; 3], Arc<[AtomicU32; 3]>) {
    let rung: Arc<[AtomicU32; 3]> = Arc::default();
    let mut crew = Crew::new(&plan(), homes, capacity, |core| {
        let rung = Arc::clone(&rung);
        Arc::new(Doorbell::new(move || {
            rung[core.0 as usize].fetch_add(1, Ordering::Relaxed);
        }))
    });
    let members = [0, 1, 2].map(|core| crew.take(CoreId(core)).unwrap());
    assert!(crew.take(CoreId(0)).is_none());
    (members, rung)
}

fn count(rung: &[AtomicU32; 3]) -> [u32; 3] {
    [0, 1, 2].map(|core: usize| rung[core].load(Ordering::Relaxed))
}

#[test]
fn batches_go_to_helpers_alone_and_come_back_to_their_home() {
    let ([mut zero, mut one, mut two], rung) = crew(Homes::OfLanes, Capacity::default());
    let ticket = zero.begin(7, Direction::In, 0).unwrap();
    assert!(zero.is_head(ticket) && !one.is_head(ticket));
    assert_eq!(zero.push(CoreId(0), ticket, 1), Err((ticket, 1)), "there is no ring to itself");
    assert_eq!(zero.push(CoreId(9), ticket, 1), Err((ticket, 1)));
    assert_eq!(one.push(CoreId(0), ticket, 1), Err((ticket, 1)), "core 0 helps nobody");
    zero.push(CoreId(2), ticket, 1).unwrap();
    assert_eq!((zero.pop(), one.pop()), (None, None));
    let theirs = one.begin(7, Direction::In, 0).unwrap();
    assert_ne!(ticket.home, theirs.home);
    one.push(CoreId(2), theirs, 2).unwrap();
    assert!(two.begin(7, Direction::In, 0).is_none(), "it is no home");
    for _ in 0..2 {
        let (ticket, batch) = two.pop().unwrap();
        two.complete(ticket, batch + 10);
    }
    assert_eq!(zero.drain(), Some((Direction::In, 11)));
    assert_eq!(one.drain(), Some((Direction::In, 12)));
    assert_eq!((zero.drain(), zero.pending(), count(&rung)), (None, 0, [0; 3]));
}

#[test]
fn a_full_ring_gives_the_batch_back() {
    let capacity = Capacity { ring: 2, ..Capacity::default() };
    let ([mut zero, mut one, _], _) = crew(Homes::OfLanes, capacity);
    let tickets: Vec<_> = (0..3).map(|_| zero.begin(7, Direction::In, 0).unwrap()).collect();
    zero.push(CoreId(1), tickets[0], 0).unwrap();
    zero.push(CoreId(1), tickets[1], 1).unwrap();
    assert_eq!(zero.push(CoreId(1), tickets[2], 2), Err((tickets[2], 2)));
    assert_eq!(one.pop(), Some((tickets[0], 0)));
    zero.push(CoreId(1), tickets[2], 2).unwrap();
}

#[test]
fn offers_are_stolen_by_preference_and_taken_back_oldest_first() {
    let capacity = Capacity { offers: 2, ..Capacity::default() };
    let ([mut zero, mut one, mut two], _) = crew(Homes::OfLanes, capacity);
    for batch in 0..2 {
        let ticket = zero.begin(7, Direction::In, 0).unwrap();
        zero.offer(ticket, batch).unwrap();
        let ticket = one.begin(7, Direction::In, 0).unwrap();
        one.offer(ticket, 10 + batch).unwrap();
    }
    let ticket = zero.begin(7, Direction::In, 0).unwrap();
    assert_eq!(zero.offer(ticket, 2), Err((ticket, 2)));
    assert_eq!(zero.room(), 253);
    let batch = |taken: Option<(Ticket, u32)>| taken.map(|(_, batch)| batch);
    assert_eq!(zero.steal(), None, "core 0 helps nobody");
    assert_eq!(batch(two.steal()), Some(10));
    assert_eq!(batch(one.steal()), Some(0));
    zero.offer(ticket, 2).unwrap();
    assert_eq!((batch(zero.reclaim()), batch(zero.reclaim()), zero.reclaim()), (Some(1), Some(2), None));
    assert_eq!(batch(two.steal()), Some(11));
    assert_eq!((two.steal(), two.reclaim()), (None, None));
    for number in 3..5 {
        zero.offer(ticket, number).unwrap();
    }
    assert_eq!((batch(zero.reclaim_newest()), batch(zero.reclaim_newest())), (Some(4), Some(3)));
}

#[test]
fn only_those_who_sleep_are_called_and_no_more_than_wanted() {
    let ([mut zero, mut one, mut two], rung) = crew(Homes::OfLanes, Capacity::default());
    zero.call(2);
    assert_eq!(count(&rung), [0, 0, 0]);
    assert!(one.may_sleep() && two.may_sleep());
    zero.call(1);
    zero.call(0);
    assert_eq!(count(&rung).iter().sum::<u32>(), 1);
    zero.call(5);
    assert_eq!(count(&rung), [0, 1, 1]);
    zero.call(5);
    assert_eq!(count(&rung), [0, 1, 1], "they are rung once");
}

#[test]
fn nobody_sleeps_beside_work() {
    let ([mut zero, mut one, mut two], rung) = crew(Homes::OfLanes, Capacity::default());
    let ticket = zero.begin(7, Direction::In, 0).unwrap();
    zero.offer(ticket, 1).unwrap();
    assert!(!zero.may_sleep() && !one.may_sleep() && !two.may_sleep());
    let (ticket, batch) = two.steal().unwrap();
    assert!(zero.may_sleep() && one.may_sleep());
    two.complete(ticket, batch);
    assert_eq!(count(&rung), [1, 0, 0]);
    assert!(!zero.may_sleep(), "it has something to drain");
    assert!(zero.drain().is_some() && zero.may_sleep());
    zero.awake();
    let ticket = zero.begin(7, Direction::In, 0).unwrap();
    zero.push(CoreId(1), ticket, 1).unwrap();
    assert_eq!(count(&rung), [1, 1, 0]);
    assert!(!one.may_sleep());
}

#[test]
fn a_shared_home_belongs_to_whoever_acquires_it() {
    let ([mut zero, mut one, mut two], _) = crew(Homes::Shared, Capacity::default());
    assert!(zero.begin(7, Direction::In, 0).is_none(), "it was not acquired");
    assert!(two.try_acquire() && !zero.try_acquire());
    assert!(two.try_acquire(), "it has it already");
    let ticket = two.begin(7, Direction::In, 0).unwrap();
    two.release();
    one.complete(ticket, 1);
    assert!(!one.may_sleep(), "somebody has to drain it");
    assert!(zero.try_acquire());
    assert_eq!(zero.drain(), Some((Direction::In, 1)));
    zero.release();
    assert!(one.may_sleep());
}

#[test]
fn nobody_sleeps_beside_what_was_left_under_the_lock() {
    let ([mut zero, mut one, _], _) = crew(Homes::Shared, Capacity::default());
    assert!(zero.try_acquire());
    for batch in 0..2 {
        let ticket = zero.begin(7, Direction::In, 0).unwrap();
        zero.complete(ticket, batch);
    }
    assert!(zero.drain().is_some());
    zero.release();
    assert!(!zero.may_sleep() && !one.may_sleep());
    assert!(one.try_acquire() && one.drain().is_some());
    one.release();
    assert!(zero.may_sleep() && one.may_sleep());
}

#[test]
fn who_found_the_lock_taken_is_woken_by_its_release_one_at_a_time() {
    let ([mut zero, mut one, mut two], rung) = crew(Homes::Shared, Capacity::default());
    assert!(zero.try_acquire() && !one.try_acquire() && !two.try_acquire());
    assert!(one.may_sleep() && two.may_sleep());
    zero.release();
    assert_eq!(count(&rung), [0, 1, 0]);
    one.awake();
    assert!(one.try_acquire());
    one.release();
    assert_eq!(count(&rung), [0, 1, 1]);
    assert!(one.may_sleep(), "it has got what it wanted");
    assert!(!two.may_sleep(), "the lock is free, and it wants it");
    assert!(two.try_acquire());
    two.release();
    assert_eq!(count(&rung), [0, 1, 1]);
}

#[test]
fn a_home_of_its_own_is_always_acquired() {
    let ([mut zero, _, mut two], _) = crew(Homes::OfLanes, Capacity::default());
    assert!(zero.try_acquire() && two.try_acquire());
    zero.release();
    assert!(zero.begin(7, Direction::In, 0).is_some());
}

#[test]
fn a_batch_that_stays_away_is_noticed() {
    let ([mut zero, mut one, _], _) = crew(Homes::OfLanes, Capacity::default());
    let ticket = zero.begin(7, Direction::In, 1000).unwrap();
    zero.push(CoreId(1), ticket, 1).unwrap();
    assert_eq!(zero.overdue(1500, 500).batches, 0);
    let stream = Stream { peer: 7, direction: Direction::In };
    let expected = Overdue { batches: 1, stream: Some(stream), since: 1000 };
    assert_eq!(zero.overdue(1501, 500), expected);
    let (ticket, _) = one.pop().unwrap();
    one.abandon(ticket);
    assert_eq!(zero.give_up(9999, 500), 0, "it is not missed any more");
    assert_eq!((zero.overdue(9999, 500).batches, zero.drain(), zero.pending()), (0, None, 0));
}
