//! The order table beside a queue for each stream.

extern crate std;

use std::collections::{BTreeMap, VecDeque};
use std::vec;

use proptest::prelude::*;

use super::*;

const fn stream(peer: u32) -> Stream {
    Stream { peer, direction: Direction::Out }
}

#[test]
fn streams_take_turns_and_do_not_wait_for_each_other() {
    let mut order = OrderTable::new(8);
    let places: Vec<u32> = [1, 1, 1, 2, 2, 3].map(|peer| order.begin(stream(peer), 0).unwrap()).into();
    for at in [0, 1, 2, 3, 4] {
        order.completions().complete(places[at], at, None);
    }
    let all: Vec<_> = core::iter::from_fn(|| order.drain()).map(|(_, batch)| batch).collect();
    assert_eq!(all, [0, 3, 1, 4, 2], "and the third stream waits for its own");
    assert_eq!(order.pending(), 1);
    order.complete(places[5], 5);
    assert_eq!(order.drain(), Some((stream(3), 5)));
}

#[test]
fn no_more_are_under_way_than_there_are_places() {
    let mut order = OrderTable::new(2);
    let first = order.begin(stream(1), 0).unwrap();
    assert!(order.begin(stream(2), 0).is_some());
    assert_eq!(order.begin(stream(3), 0), None);
    order.completions().complete(first, (), None);
    assert_eq!(order.begin(stream(3), 0), None, "it is not drained");
    assert!(order.drain().is_some());
    assert_eq!(order.begin(stream(3), 0), Some(first));
}

#[test]
fn the_table_has_a_place_for_each_of_as_many_streams() {
    let mut order = OrderTable::new(u32::MAX);
    let places: Vec<u32> =
        (0..OrderTable::<u32>::MOST).map(|peer| order.begin(stream(peer), 0).unwrap()).collect();
    assert_eq!(order.begin(stream(0), 0), None);
    places.iter().rev().for_each(|place| order.completions().complete(*place, *place, None));
    assert_eq!(core::iter::from_fn(|| order.drain()).count(), places.len());
}

#[test]
fn what_is_long_under_way_is_noticed_and_delays_its_own_stream_alone() {
    let mut order = OrderTable::new(8);
    let stalled = order.begin(stream(1), 10).unwrap();
    let behind = order.begin(stream(1), 20).unwrap();
    let other = order.begin(stream(2), 30).unwrap();
    order.completions().complete(behind, "behind", None);
    order.completions().complete(other, "other", None);
    assert_eq!(order.overdue(10), Overdue::default(), "not yet");
    assert_eq!(order.overdue(25), Overdue { batches: 1, stream: Some(stream(1)), since: 10 });
    assert_eq!(order.drain(), Some((stream(2), "other")));
    assert_eq!(order.drain(), None);
    order.completions().abandon(stalled, None);
    assert_eq!(order.drain(), Some((stream(1), "behind")));
    assert_eq!((order.overdue(100), order.pending()), (Overdue::default(), 0));
}

#[test]
fn who_was_given_up_is_dropped_when_it_comes_back_and_its_place_is_free_then() {
    let mut order = OrderTable::new(2);
    let lost = order.begin(stream(1), 10).unwrap();
    let behind = order.begin(stream(1), 20).unwrap();
    order.completions().complete(behind, "behind", None);
    assert_eq!((order.give_up(10), order.drain()), (0, None), "not yet");
    assert_eq!(order.give_up(15), 1);
    assert_eq!(order.drain(), Some((stream(1), "behind")));
    assert_eq!((order.drain(), order.pending()), (None, 0));
    let next = order.begin(stream(1), 30).unwrap();
    assert_eq!((next, order.begin(stream(1), 30)), (behind, None), "the place of the other is still its own");
    order.completions().complete(lost, "late", None);
    order.completions().complete(next, "next", None);
    assert_eq!((order.drain(), order.drain()), (Some((stream(1), "next")), None));
    assert!(order.begin(stream(1), 40).is_some() && order.begin(stream(1), 40).is_some());
}

#[test]
fn the_bell_is_rung_for_heads_alone() {
    use core::sync::atomic::AtomicU32;
    let rung = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&rung);
    let bell = Doorbell::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut order = OrderTable::new(8);
    let places = [1, 1, 2].map(|peer| order.begin(stream(peer), 0).unwrap());
    order.completions().complete(places[2], (), Some(&bell));
    assert_eq!(rung.load(Ordering::Relaxed), 0, "it is awake");
    assert!(order.drain().is_some());
    order.publish_heads();
    assert!(bell.may_sleep(|| !order.completions().has_head()));
    order.completions().complete(places[1], (), Some(&bell));
    assert_eq!(rung.load(Ordering::Relaxed), 0, "it is not the first");
    order.completions().complete(places[0], (), Some(&bell));
    assert_eq!(rung.load(Ordering::Relaxed), 1);
    order.publish_heads();
    assert!(!bell.may_sleep(|| !order.completions().has_head()));
}

#[derive(Clone, Debug)]
enum Op {
    Begin(u32),
    /// Completes or gives up one of those under way, by others or at home.
    Complete(prop::sample::Index),
    CompleteHere(prop::sample::Index),
    Abandon(prop::sample::Index),
    /// Gives up all that are under way, or brings one of them back.
    GiveUp,
    ComeBack(prop::sample::Index),
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (0..4_u32).prop_map(Op::Begin),
        3 => index().prop_map(Op::Complete),
        1 => index().prop_map(Op::CompleteHere),
        1 => index().prop_map(Op::Abandon),
        1 => Just(Op::GiveUp),
        1 => index().prop_map(Op::ComeBack),
        5 => Just(Op::Drain),
    ]
}

/// The batches of a stream that were begun, and what became of each: done, given up, or nothing yet.
type Queue = VecDeque<(u32, Option<bool>)>;

/// What was given up leaves with nobody noticing.
fn skip(queue: &mut Queue) {
    while matches!(queue.front(), Some((_, Some(false)))) {
        queue.pop_front();
    }
}

/// Drains one from both.
fn drain(order: &mut OrderTable<u32>, queues: &mut BTreeMap<u32, Queue>) -> Result<bool, TestCaseError> {
    let drained = order.drain();
    queues.values_mut().for_each(skip);
    match drained {
        Some((stream, batch)) => {
            let first = queues.get_mut(&stream.peer).and_then(VecDeque::pop_front);
            prop_assert_eq!(first, Some((batch, Some(true))));
        }
        None => {
            let ready = queues.values().any(|queue| matches!(queue.front(), Some((_, Some(true)))));
            prop_assert!(!ready, "one could leave");
            let left = queues.values().map(VecDeque::len).sum::<usize>();
            prop_assert_eq!(order.pending() as usize, left);
        }
    }
    Ok(drained.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_is_like_a_queue_for_each_stream(ops in prop::collection::vec(op(), 1..300), places in 1..70_u32) {
        let mut order = OrderTable::new(places);
        let mut queues: BTreeMap<u32, Queue> = BTreeMap::new();
        let (mut out, mut lost, mut next) = (vec![], vec![], 0);
        for op in ops {
            match op {
                Op::Begin(peer) => {
                    let room = order.room() > 0;
                    let place = order.begin(stream(peer), 0);
                    prop_assert_eq!(place.is_some(), room);
                    if let Some(place) = place {
                        queues.entry(peer).or_default().push_back((next, None));
                        out.push((place, peer, next));
                        next += 1;
                    }
                }
                Op::GiveUp => {
                    prop_assert_eq!(order.give_up(u64::MAX) as usize, out.len());
                    for (_, fate) in queues.values_mut().flatten() {
                        fate.get_or_insert(false);
                    }
                    lost.append(&mut out);
                }
                Op::ComeBack(index) if !lost.is_empty() => {
                    let (place, _, number) = lost.swap_remove(index.index(lost.len()));
                    order.completions().complete(place, number, None);
                }
                Op::Drain => {
                    drain(&mut order, &mut queues)?;
                }
                Op::Complete(index) | Op::CompleteHere(index) | Op::Abandon(index) if !out.is_empty() => {
                    let (place, peer, number) = out.swap_remove(index.index(out.len()));
                    match op {
                        Op::CompleteHere(_) => order.complete(place, number),
                        Op::Abandon(_) => order.completions().abandon(place, None),
                        _ => order.completions().complete(place, number, None),
                    }
                    let queue = queues.entry(peer).or_default();
                    if let Some((_, fate)) = queue.iter_mut().find(|(other, _)| *other == number) {
                        *fate = Some(!matches!(op, Op::Abandon(_)));
                    }
                }
                _ => {}
            }
            order.check_invariants();
        }
        order.give_up(u64::MAX);
        for (_, fate) in queues.values_mut().flatten() {
            fate.get_or_insert(false);
        }
        for (place, ..) in out.into_iter().chain(lost) {
            order.completions().abandon(place, None);
        }
        while drain(&mut order, &mut queues)? {}
        prop_assert_eq!((order.pending(), order.room()), (0, places));
    }
}
