use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::merge::CounterMerge;
use crate::merge::WAIT;

const LANES: usize = 3;

const fn span(keypair: u64, first: u64, last: u64) -> Span {
    Span { keypair, first, last }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A lane brings the next counters of a peer: so many are missing before, so many are there.
    Push { lane: usize, peer: u64, missing: u64, len: u64, rekeys: bool },
    /// Time passes, and then lanes say whether they have more.
    Pass { time: u64, comes: [bool; LANES] },
}

fn event() -> impl Strategy<Value = Event> {
    let push =
        (0..LANES, 0..5_u64, 0..3_u64, 1..65_u64, 0..20_u32).prop_map(|(lane, peer, missing, len, one)| {
            Event::Push { lane, peer, missing, len, rekeys: one == 0 }
        });
    let pass =
        (0..WAIT * 3 / 2, any::<[bool; LANES]>()).prop_map(|(time, comes)| Event::Pass { time, comes });
    prop_oneof![4 => push, 1 => pass]
}

proptest! {
    #[test]
    fn each_tunnel_is_merged_as_by_a_merge_of_its_own(events in proptest::collection::vec(event(), 0..200)) {
        const DEPTH: usize = 8;
        let mut merge = SharedMerge::new(LANES, DEPTH);
        // Those of its own have room for all.
        let mut oracles: Vec<_> = (0..5).map(|_| CounterMerge::new(LANES, 1000)).collect();
        let mut next = [[(0, 0); LANES]; 5];
        let (mut now, mut number, mut held) = (0, 0, [0; LANES]);
        for event in events {
            match event {
                Event::Push { lane, peer, missing, len, rekeys } => {
                    let (keypair, counter) = &mut next[usize::try_from(peer).unwrap()][lane];
                    if rekeys {
                        (*keypair, *counter) = (*keypair + 1, 0);
                    }
                    let first = *counter + missing;
                    *counter = first + len;
                    // No two lanes have the same one.
                    let scaled = |counter| counter * LANES as u64 + lane as u64;
                    let span = span(*keypair, scaled(first), scaled(first + len - 1));
                    number += 1;
                    prop_assert_eq!(merge.has_room(lane), held[lane] < DEPTH);
                    let pushed = merge.push(lane, peer, span, (peer, lane, number));
                    prop_assert_eq!(pushed.is_ok(), held[lane] < DEPTH);
                    if pushed.is_ok() {
                        held[lane] += 1;
                        oracles[usize::try_from(peer).unwrap()].push(lane, span, (peer, lane, number)).unwrap();
                    }
                }
                Event::Pass { time, comes } => {
                    now += time;
                    while let Some(batch) = merge.pop().or_else(|| merge.pop_over_gap(now, &comes)) {
                        held[batch.1] -= 1;
                        let oracle = &mut oracles[usize::try_from(batch.0).unwrap()];
                        prop_assert_eq!(oracle.pop(now, |lane| comes[lane]), Some(batch));
                    }
                    for oracle in &mut oracles {
                        prop_assert_eq!(oracle.pop(now, |lane| comes[lane]), None);
                    }
                    let deadline = oracles.iter().filter_map(CounterMerge::deadline).min();
                    prop_assert_eq!(merge.deadline(), deadline);
                    prop_assert_eq!(merge.is_empty(), held == [0; LANES]);
                }
            }
        }
    }
}

#[test]
fn tunnels_take_turns() {
    let mut merge = SharedMerge::new(1, 8);
    for (peer, first) in [(1, 0), (1, 1), (1, 2), (2, 0), (3, 0)] {
        merge.push(0, peer, span(0, first, first), (peer, first)).unwrap();
    }
    let order: Vec<_> = core::iter::from_fn(|| merge.pop()).collect();
    assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2)]);
}

#[test]
fn more_tunnels_than_places_are_known_as_long_as_they_hold_something_and_then_forgotten_in_turn() {
    let mut merge = SharedMerge::new(2, 2);
    // Four places, five tunnels.
    for peer in 0..1000_u64 {
        merge.push(0, peer << 32, span(0, 0, 9), peer).unwrap();
        assert_eq!(merge.pop(), Some(peer));
        let known = peer.saturating_sub(4)..=peer;
        for other in known {
            merge.push(1, other << 32, span(0, 10, 19), other).unwrap();
            let popped = merge.pop();
            if other + 5 > peer {
                assert_eq!(popped, Some(other), "its next counter is known");
            }
            merge.push(1, other << 32, span(0, 0, 9), other).unwrap();
            assert_eq!(merge.pop(), Some(other), "what is late is not waited for");
        }
    }
    // One that is forgotten waits as one behind a gap does.
    merge.push(0, 3 << 32, span(0, 30, 39), 3).unwrap();
    assert_eq!((merge.pop(), merge.pop_over_gap(5, &[false, true])), (None, None));
    assert_eq!(merge.deadline(), Some(5 + WAIT));
    assert_eq!(
        merge.pop_over_gap(6, &[true, false]),
        Some(3),
        "the lane that has it cannot bring lower ones"
    );
}
