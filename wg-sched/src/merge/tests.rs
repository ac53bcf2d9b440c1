extern crate std;

use proptest::prelude::*;

use super::*;

fn span(first: u64, last: u64) -> Span {
    Span { keypair: 0, first, last }
}

/// Runs of 64 counters, dealt out as the kernel does.
fn run(number: u64) -> Span {
    span(number * 64, number * 64 + 63)
}

#[test]
fn what_is_next_is_given_at_once() {
    let mut merge = CounterMerge::new(2, 4);
    merge.push(1, run(1), 1).unwrap();
    merge.push(0, run(0), 0).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(0));
    assert_eq!(merge.pop(0, |_| true), Some(1), "the other lane's socket is no reason to wait without a gap");
    assert_eq!(merge.pop(0, |_| true), None);
    assert_eq!(merge.deadline(), None);
}

#[test]
fn a_gap_is_waited_for_while_a_lane_lags_but_half_a_millisecond_at_most() {
    let mut merge = CounterMerge::new(3, 4);
    merge.push(2, run(2), 2).unwrap();
    assert_eq!(merge.pop(1000, |lane| lane == 0), None);
    assert_eq!(merge.deadline(), Some(501_000));
    assert_eq!(merge.pop(500_999, |lane| lane == 0), None);
    assert_eq!(merge.pop(501_000, |lane| lane == 0), Some(2));
    assert_eq!(merge.deadline(), None);
    // The next gap has a wait of its own.
    merge.push(2, run(5), 5).unwrap();
    assert_eq!(merge.pop(501_001, |lane| lane == 0), None);
    assert_eq!(merge.deadline(), Some(1_001_001));
}

#[test]
fn a_gap_is_not_waited_for_when_all_sockets_are_empty() {
    let mut merge = CounterMerge::new(3, 4);
    merge.push(2, run(2), 2).unwrap();
    assert_eq!(merge.pop(0, |lane| lane == 2), Some(2), "its own lane brings nothing lower");
}

#[test]
fn a_gap_is_not_waited_for_when_all_lanes_are_past_it() {
    let mut merge = CounterMerge::new(2, 4);
    merge.push(0, run(2), 2).unwrap();
    merge.push(1, run(3), 3).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(2));
}

#[test]
fn what_is_late_is_passed_on_at_once_and_moves_nothing_back() {
    let mut merge = CounterMerge::new(2, 4);
    merge.push(0, run(4), 4).unwrap();
    assert_eq!(merge.pop(0, |_| false), Some(4));
    merge.push(1, run(1), 1).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(1));
    merge.push(0, run(5), 5).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(5), "the next is still that after 4");
}

#[test]
fn what_was_sent_by_another_way_leaves_no_gap() {
    let mut merge = CounterMerge::new(2, 4);
    merge.passed(run(0));
    merge.push(1, run(1), 1).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(1));
    merge.passed(span(0, 10));
    merge.push(0, run(2), 2).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(2), "an older one moves nothing back");
}

#[test]
fn who_was_kept_from_looking_waits_anew_but_not_for_ever() {
    let mut merge = CounterMerge::new(2, 8);
    merge.push(0, run(1), 1).unwrap();
    let lags = |lane| lane == 1;
    assert_eq!(merge.pop(0, lags), None);
    // Late by more than an eighth of a millisecond, again and again.
    let mut now = 0;
    for _ in 0..ANEW {
        now += WAIT + KEPT;
        assert_eq!(merge.pop(now, lags), None);
        assert_eq!(merge.deadline(), Some(now + WAIT));
    }
    assert_eq!(merge.pop(now + WAIT - 1, lags), None);
    assert_eq!(merge.pop(now + WAIT + KEPT, lags), Some(1), "enough of it");
    // A little late is late enough.
    merge.push(0, run(3), 3).unwrap();
    assert_eq!(merge.pop(now, lags), None);
    assert_eq!(merge.pop(now + WAIT + KEPT - 1, lags), Some(3));
}

#[test]
fn a_newer_keypair_waits_for_what_may_come_of_the_older() {
    let of = |keypair, number: u64| Span { keypair, ..run(number) };
    let mut merge = CounterMerge::new(2, 4);
    merge.push(0, of(1, 0), 10).unwrap();
    assert_eq!(merge.pop(0, |lane| lane == 1), None);
    merge.push(1, of(0, 7), 7).unwrap();
    merge.push(1, of(1, 1), 11).unwrap();
    let all: Vec<_> = core::iter::from_fn(|| merge.pop(0, |_| false)).collect();
    assert_eq!(all, [7, 10, 11]);
    // The last one of the older, too late.
    merge.push(1, of(0, 8), 8).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(8));
    merge.push(0, of(1, 2), 12).unwrap();
    assert_eq!(merge.pop(0, |_| true), Some(12), "that moved nothing back");
}

#[test]
fn a_full_lane_gives_the_batch_back() {
    let mut merge = CounterMerge::new(1, 2);
    merge.push(0, run(0), 0).unwrap();
    merge.push(0, run(1), 1).unwrap();
    assert_eq!(merge.push(0, run(2), 2), Err(2));
    assert_eq!(merge.push(1, run(2), 3), Err(3));
    assert_eq!(merge.held(), 2);
}

proptest! {
    /// Lanes that run ahead of each other as they like, with loss: nothing is lost on the way, and within the wait all is in order.
    #[test]
    fn lanes_of_any_pace_come_out_in_order(
        lanes in 1_usize..5,
        lost in proptest::collection::vec(any::<bool>(), 40),
        pace in proptest::collection::vec(0_usize..5, 0..400),
    ) {
        let mut sockets: Vec<VecDeque<usize>> = (0..lanes).map(|lane| {
            (0..40).filter(|run| *run % lanes == lane && !lost[*run]).collect()
        }).collect();
        let expected: Vec<usize> = (0..40).filter(|run| !lost[*run]).collect();
        let mut merge = CounterMerge::new(lanes, 40);
        let mut out = Vec::new();
        let rest = (0..40 * lanes).map(|step| step % lanes);
        for (now, lane) in pace.into_iter().chain(rest).enumerate() {
            if let Some(number) = sockets.get_mut(lane).and_then(VecDeque::pop_front) {
                merge.push(lane, run(number as u64), number).unwrap();
            }
            while let Some(number) = merge.pop(now as u64, |lane| !sockets[lane].is_empty()) {
                out.push(number);
            }
        }
        prop_assert_eq!(merge.held(), 0);
        prop_assert_eq!(out, expected);
    }
}
