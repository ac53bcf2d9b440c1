extern crate std;

use alloc::vec;
use alloc::vec::Vec;

use super::*;

const MILLISECOND: u64 = 1_000_000;

fn lane(node: u32, busy: u32, periods: u32) -> LaneLoad {
    LaneLoad { node: NodeId(node), busy, periods }
}

fn peer(home: usize, share: u32) -> PeerLoad {
    PeerLoad { home, share, pending: 0, moved: None }
}

#[test]
fn a_lane_that_is_busy_for_three_periods_gives_a_peer_away() {
    let mut lanes = [LaneLoad::idle(NodeId(0)), LaneLoad::idle(NodeId(0))];
    let peers = [peer(0, 500), peer(0, 450)];
    for _ in 0..2 {
        lanes[0].observe(950);
        assert_eq!(rebalance(&lanes, &peers, [1, 1], 0), None);
    }
    lanes[0].observe(950);
    assert_eq!(rebalance(&lanes, &peers, [1, 1], 0), Some(Move { peer: 0, to: 1 }), "what levels them best");
    lanes[0].observe(900);
    assert_eq!(rebalance(&lanes, &peers, [1, 1], 0), None, "not busy");
}

#[test]
fn a_home_moves_only_with_an_empty_order_and_rests_after() {
    let lanes = [lane(0, 1000, 9), lane(0, 0, 0)];
    let mut peers = [PeerLoad { pending: 1, ..peer(0, 500) }];
    assert_eq!(rebalance(&lanes, &peers, [0, 0], 0), None);
    peers[0] = PeerLoad { moved: Some(5), ..peer(0, 500) };
    assert_eq!(rebalance(&lanes, &peers, [0, 0], 5 + 100 * MILLISECOND - 1), None);
    assert!(rebalance(&lanes, &peers, [0, 0], 5 + 100 * MILLISECOND).is_some());
}

#[test]
fn the_less_busy_of_two_is_chosen_and_not_the_least_of_all() {
    let lanes = [lane(0, 1000, 3), lane(0, 500, 0), lane(0, 400, 0), lane(0, 0, 0)];
    let peers = [peer(0, 100)];
    let to = |random| rebalance(&lanes, &peers, random, 0).map(|chosen| chosen.to);
    assert_eq!(to([0, 1]), Some(2));
    assert_eq!(to([1, 0]), Some(2));
    assert_eq!(to([0, 0]), Some(1), "otherwise all would go to one");
    assert_eq!(to([2, 4]), Some(3));
}

#[test]
fn the_node_is_left_only_when_no_lane_of_it_will_do() {
    let peers = [peer(0, 100)];
    let lanes = [lane(0, 1000, 3), lane(1, 0, 0), lane(0, 700, 0)];
    assert_eq!(rebalance(&lanes, &peers, [0, 1], 0).map(|chosen| chosen.to), Some(2));
    let lanes = [lane(0, 1000, 3), lane(1, 0, 0), lane(0, 800, 0)];
    assert_eq!(rebalance(&lanes, &peers, [0, 1], 0).map(|chosen| chosen.to), Some(1));
}

#[test]
fn nothing_moves_to_where_it_would_be_worse_or_as_bad() {
    let lanes = [lane(0, 1000, 3), lane(0, 700, 0)];
    assert_eq!(rebalance(&lanes, &[peer(0, 300)], [0, 0], 0), None);
    assert_eq!(rebalance(&lanes, &[peer(0, 299)], [0, 0], 0), Some(Move { peer: 0, to: 1 }));
    assert_eq!(rebalance(&[lane(0, 1000, 3)], &[peer(0, 1000)], [0, 0], 0), None, "a lane alone");
    assert_eq!(rebalance(&[], &[], [0, 0], 0), None);
}

/// A machine whose cores work for the peers they have, up to all of their time; what a peer gets of a core that has too much is
/// its part of what all there want.
fn measure(lanes: &mut [LaneLoad], peers: &mut [PeerLoad], wanted: &[u32]) {
    for (at, lane) in lanes.iter_mut().enumerate() {
        let total: u32 =
            peers.iter().zip(wanted).filter(|(peer, _)| peer.home == at).map(|(_, wanted)| wanted).sum();
        for (peer, wanted) in peers.iter_mut().zip(wanted).filter(|(peer, _)| peer.home == at) {
            peer.share = if total > 1000 { wanted * 1000 / total } else { *wanted };
        }
        lane.observe(total.min(1000));
    }
}

#[test]
fn all_homes_on_one_core_are_level_within_a_second_and_stay_so() {
    for seed in 0..20_u64 {
        let mut state = seed * 2 + 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut lanes: Vec<LaneLoad> = (0..8).map(|lane| LaneLoad::idle(NodeId(lane / 4))).collect();
        // Nine tenths of what the machine can do, in 64 peers of different weights.
        let mut peers = vec![peer(0, 0); 64];
        let wanted: Vec<u32> = (0..64).map(|at| 75 + 75 * (at % 3) / 2).collect();
        let (mut moves, mut late) = (0, 0);
        for period in 0..300_u64 {
            let now = period * 10 * MILLISECOND;
            measure(&mut lanes, &mut peers, &wanted);
            let (least, most) =
                (lanes.iter().map(|lane| lane.busy).min(), lanes.iter().map(|lane| lane.busy).max());
            if period >= 100 {
                assert!(most.unwrap() * 10 <= least.unwrap() * 13, "seed {seed}, period {period}: {lanes:?}");
            }
            let (mut copies, mut told) = (lanes.clone(), peers.clone());
            for peer in &mut told {
                // Some are under way whenever one looks.
                peer.pending = u32::from(random() % 4 == 0);
            }
            while let Some(chosen) = rebalance(&copies, &told, [random(), random()], now) {
                assert!(peers[chosen.peer].moved.is_none_or(|moved| now - moved >= 100 * MILLISECOND));
                assert_eq!(told[chosen.peer].pending, 0);
                chosen.note(&mut copies, &mut told, now);
                peers[chosen.peer].home = chosen.to;
                peers[chosen.peer].moved = Some(now);
                moves += 1;
                late += u32::from(period >= 100);
            }
        }
        assert!((40..200).contains(&moves), "seed {seed}: {moves} moves");
        assert!(late < 20, "seed {seed}: {late} moves of a level load");
    }
}
