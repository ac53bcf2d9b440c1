//! Peers that change their home while their packets flow.

use proptest::prelude::*;
use wg_datapath::RehomeError;
use wg_datapath::sched::Budget;

use crate::rig::{Rig, inner, numbers, packet, public};

/// Little enough to end a turn with packets in every queue.
const LITTLE: Budget = Budget { batches: 2, packets: 16 };

#[test]
fn a_session_goes_on_at_another_home_and_the_next_comes_there_by_itself() {
    let mut rig = Rig::new(3, 3);
    rig.connect();
    assert_eq!(rig.hub.home(1), 0);
    for (round, to) in [(1, 2), (2, 1), (3, 0), (4, 0), (5, 2)] {
        rig.hub.rehome(1, to, rig.now).unwrap();
        assert_eq!(rig.hub.home(1), to);
        for lane in 0..3 {
            let before = rig.hub.sent();
            let there = packet(inner(0), inner(1), 300, round);
            rig.hub.members[lane].tun.outgoing.push_back(there.clone());
            rig.settle();
            assert_eq!(rig.peer(1).delivered(), [there], "round {round}, read on {lane}");
            assert!(rig.hub.sent()[to] > before[to]);
        }
        let here = packet(inner(1), inner(0), 99, round);
        rig.peer(1).members[0].tun.outgoing.push_back(here.clone());
        rig.settle();
        assert_eq!(rig.hub.members[to].tun.delivered, [here], "round {round}");
        rig.hub.delivered();
    }
    // In another session no lane but the home hears of it.
    rig.pass(200);
    rig.connect();
    let received: Vec<_> = rig.hub.members.iter().map(|member| member.socket.received).collect();
    for number in 0..9 {
        let here = packet(inner(1), inner(0), 99, number);
        rig.peer(1).members[0].tun.outgoing.push_back(here);
        rig.settle();
    }
    assert_eq!(numbers(&rig.hub.members[2].tun.delivered), (0..9).collect::<Vec<_>>());
    for (lane, (member, before)) in rig.hub.members.iter().zip(received).enumerate() {
        assert_eq!(member.socket.received > before, lane == 2, "lane {lane}");
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn who_received_or_sent_data_is_told_of_once_by_the_home_it_has_then() {
    let mut rig = Rig::new(2, 3);
    rig.connect();
    let told = |rig: &mut Rig, lane: usize| {
        let mut told = Vec::new();
        rig.hub.members[lane].device.take_active(|peer| told.push(peer.public_key));
        told
    };
    let all = |rig: &mut Rig| [told(rig, 0), told(rig, 1)];
    all(&mut rig);
    // One only sends, one only receives, and one has nothing to do.
    let here = packet(inner(1), inner(0), 99, 0);
    rig.peer(1).members[0].tun.outgoing.push_back(here);
    let there = packet(inner(0), inner(2), 99, 0);
    rig.hub.members[0].tun.outgoing.push_back(there);
    rig.settle();
    let homes = [1, 2].map(|peer| rig.hub.home(peer));
    let mut expected = [Vec::new(), Vec::new()];
    expected[homes[0]].push(public(1));
    expected[homes[1]].push(public(2));
    assert_eq!(all(&mut rig), expected);
    assert_eq!(all(&mut rig), [[], []]);
    // What moves takes nothing along.
    let here = packet(inner(1), inner(0), 99, 1);
    rig.peer(1).members[0].tun.outgoing.push_back(here.clone());
    rig.settle();
    let (from, to) = (homes[0], 1 - homes[0]);
    rig.hub.rehome(1, to, rig.now).unwrap();
    assert_eq!(all(&mut rig), [[], []]);
    rig.peer(1).members[0].tun.outgoing.push_back(here);
    rig.settle();
    assert_eq!((told(&mut rig, from), told(&mut rig, to)), (vec![], vec![public(1)]));
    // And who is removed is forgotten.
    let there = packet(inner(0), inner(2), 99, 1);
    rig.hub.members[0].tun.outgoing.push_back(there);
    rig.settle();
    rig.hub.configure(|device| device.remove_all_peers());
    assert_eq!(all(&mut rig), [[], []]);
}

#[test]
fn what_waits_moves_along_in_its_order() {
    let mut rig = Rig::new(2, 1);
    rig.connect();
    let (there, here) =
        (|next| packet(inner(0), inner(1), 100, next), |next| packet(inner(1), inner(0), 100, next));
    let mut next = 0;
    for round in 0..20 {
        for lane in 0..2 {
            // A flow stays on its queue.
            if lane == usize::from(round >= 10) {
                rig.hub.members[lane].tun.outgoing.extend((next..next + 200).map(there));
            }
        }
        rig.peer(1).members[0].tun.outgoing.extend((next..next + 200).map(here));
        next += 200;
        let now = rig.now;
        for _ in 0..2 {
            rig.peer(1).members[0].step_within(now, LITTLE);
            rig.hub.members.iter_mut().for_each(|member| {
                member.step_within(now, LITTLE);
            });
        }
        rig.hub.rehome(1, 1 - rig.hub.home(1), now).unwrap();
        if round == 9 {
            rig.settle();
        }
    }
    rig.settle();
    assert_eq!(numbers(&rig.peer(1).delivered()), (0..next).collect::<Vec<_>>());
    let mut delivered = numbers(&rig.hub.delivered());
    delivered.sort_unstable();
    assert_eq!(delivered, (0..next).collect::<Vec<_>>());
    assert_eq!(rig.hub.drops(), 0, "{:?}", rig.hub.members[0].device.drops());
}

#[test]
fn a_peer_stays_where_the_answer_to_its_handshake_comes() {
    let mut rig = Rig::new(2, 1);
    let now = rig.now;
    rig.hub.members[0].tun.outgoing.extend((0..5).map(|next| packet(inner(0), inner(1), 100, next)));
    rig.hub.members[0].step(now);
    assert_eq!(rig.hub.rehome(1, 1, now), Err(RehomeError::UnderWay));
    assert_eq!(rig.hub.rehome(1, 2, now), Err(RehomeError::NoSuchHome));
    rig.settle();
    assert_eq!(numbers(&rig.peer(1).delivered()), [0, 1, 2, 3, 4]);
    rig.hub.rehome(1, 1, now).unwrap();
    assert_eq!(rig.hub.home(1), 1);
}

#[test]
fn staged_packets_move_along() {
    let mut rig = Rig::new(2, 1);
    let now = rig.now;
    // No handshake is under way before a key is there.
    rig.hub.configure(|device| device.set_private_key(None, now));
    rig.hub.members[1].tun.outgoing.extend((0..5).map(|next| packet(inner(0), inner(1), 100, next)));
    rig.settle();
    rig.hub.rehome(1, 1, now).unwrap();
    rig.hub.configure(|device| device.set_private_key(Some(crate::rig::key(0)), now));
    rig.settle();
    assert_eq!(numbers(&rig.peer(1).delivered()), [0, 1, 2, 3, 4]);
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn nothing_is_left_of_a_peer_that_moved_and_was_removed() {
    let mut rig = Rig::new(3, 2);
    rig.connect();
    for to in [1, 2, 1] {
        rig.hub.rehome(1, to, rig.now).unwrap();
    }
    let id = rig.hub.members[0].device.peer(&public(1)).unwrap();
    rig.hub.configure(|device| device.remove_peer(id));
    rig.hub.members.iter().for_each(|member| member.device.check_invariants());
    assert_eq!(rig.hub.rehome(2, 0, rig.now), Ok(()));
    let indices: usize = rig.hub.members.iter().map(|member| member.device.index_count()).sum();
    // That of the other, where it is and where it was.
    assert_eq!(indices, 2);
    rig.hub.configure(wg_datapath::Device::remove_all_peers);
    assert!(rig.hub.members.iter().all(|member| member.device.index_count() == 0));
}

#[test]
fn old_indices_are_forgotten_with_their_sessions() {
    let mut rig = Rig::new(2, 1);
    for _ in 0..10 {
        for _ in 0..3 {
            rig.connect();
            rig.pass(130);
        }
        let to = 1 - rig.hub.home(1);
        rig.hub.rehome(1, to, rig.now).unwrap();
        let indices: usize = rig.hub.members.iter().map(|member| member.device.index_count()).sum();
        assert!(indices <= 6, "{indices}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whoever_moves_whenever_no_packet_is_lost_and_none_is_overtaken(
        lanes in 2_usize..5,
        moves in prop::collection::vec((1_usize..4, 0_usize..4, 0_u32..60, 0_usize..4), 1..40),
    ) {
        let mut rig = Rig::new(lanes, 3);
        rig.connect();
        let mut sent = [0_u32; 4];
        let mut moved = 0;
        for (number, to, burst, steps) in moves {
            let first = sent[number];
            sent[number] += burst;
            let range = first..first + burst;
            rig.hub.members[number % lanes].tun.outgoing.extend(range.clone().map(|next| packet(inner(0), inner(number), 200, next)));
            rig.peer(number).members[0].tun.outgoing.extend(range.map(|next| packet(inner(number), inner(0), 200, next)));
            let now = rig.now;
            for _ in 0..steps {
                for peer in &mut rig.peers {
                    peer.members[0].step_within(now, LITTLE);
                }
                for member in &mut rig.hub.members {
                    member.step_within(now, LITTLE);
                }
            }
            match rig.hub.rehome(number, to, now) {
                Ok(()) => moved += 1,
                Err(error) => prop_assert!(to >= lanes || error == RehomeError::UnderWay, "{error}"),
            }
        }
        rig.settle();
        for (number, sent) in sent.iter().enumerate().skip(1) {
            let all: Vec<_> = (0..*sent).collect();
            prop_assert_eq!(numbers(&rig.peer(number).delivered()), all);
        }
        for member in &rig.hub.members {
            for number in 1..4 {
                let of_it = member.tun.delivered.iter().filter(|packet| packet[12..16] == inner(number));
                prop_assert!(numbers(&of_it.cloned().collect::<Vec<_>>()).is_sorted());
            }
        }
        let (mut delivered, all) = (rig.hub.delivered(), sent.iter().sum::<u32>());
        prop_assert_eq!(u32::try_from(delivered.len()), Ok(all));
        delivered.sort();
        delivered.dedup();
        prop_assert_eq!(u32::try_from(delivered.len()), Ok(all));
        prop_assert_eq!(rig.hub.drops(), 0, "after {} moves", moved);
    }
}
