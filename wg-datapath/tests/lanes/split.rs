//! Counters are split: any lane but the home of a peer receives for it.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::proto::UnixTime;
use wg_datapath::sched::{Budget, StrategyKind};
use wg_datapath::{DropReason, RehomeError};

use crate::rig::{Rig, inner, numbers, outer, packet};

/// Counters that go to one lane in a row.
const BLOCK: u32 = 64;

/// A hub of so many lanes whose counters are split, and peers with sessions.
fn rig(lanes: usize, peers: usize) -> Rig {
    let mut rig = Rig::new(lanes, peers);
    rig.connect();
    rig.hub.split(&rig.wire, rig.now);
    rig.settle();
    rig
}

/// Has a peer send packets with these numbers.
pub(crate) fn send(rig: &mut Rig, peer: usize, which: core::ops::Range<u32>) {
    let now = rig.now;
    for number in which {
        let member = &mut rig.peer(peer).members[0];
        member.tun.outgoing.push_back(packet(inner(peer), inner(0), 100, number));
        while member.step(now) {}
    }
}

/// The numbers of what the hub delivered of a peer since it was last asked, all of it at its home.
pub(crate) fn delivered(rig: &mut Rig, peer: usize) -> Vec<u32> {
    let home = rig.hub.home(peer);
    for (lane, member) in rig.hub.members.iter().enumerate() {
        let of_peer = |packet: &&Vec<u8>| packet[12..16] == inner(peer);
        assert!(
            lane == home || !member.tun.delivered.iter().any(|packet| of_peer(&packet)),
            "delivered elsewhere"
        );
    }
    let all = &mut rig.hub.members[home].tun.delivered;
    let (of_peer, others) =
        core::mem::take(all).into_iter().partition(|packet| packet[12..16] == inner(peer));
    *all = others;
    numbers(&of_peer)
}

/// The other lanes than the home of a peer, from the next on: in the order in which they get blocks.
fn receivers(rig: &Rig, peer: usize) -> Vec<usize> {
    let (home, lanes) = (rig.hub.home(peer), rig.hub.members.len());
    (1..lanes).map(|step| (home + step) % lanes).collect()
}

/// Which of the receivers has the first of the next datagrams of the first peer.
fn align(rig: &mut Rig, peer: usize) {
    // The counter of the next datagram is in its last one, up to a whole round of blocks.
    let round = BLOCK * (u32::try_from(rig.hub.members.len()).unwrap() - 1);
    let last = rig.peer(peer).members[0].socket.last()[8..16].try_into().unwrap();
    let next = u32::try_from(u64::from_le_bytes(last)).unwrap() + 1;
    send(rig, peer, 0..(round - next % round) % round);
    rig.settle();
    delivered(rig, peer);
}

#[test]
fn all_that_come_over_any_lane_are_delivered_in_order_whoever_takes_its_turn_when() {
    for lanes in 2..=4 {
        for seed in 0..20 {
            let mut rig = rig(lanes, 3);
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let received: Vec<_> = rig.hub.members.iter().map(|member| member.socket.received).collect();
            let mut sent = [0; 3];
            for _ in 0..200 {
                let peer = 1 + rng.next_u32() as usize % 3;
                let more = rng.next_u32() % 100;
                send(&mut rig, peer, sent[peer - 1]..sent[peer - 1] + more);
                sent[peer - 1] += more;
                let now = rig.now;
                for _ in 0..rng.next_u32() % 8 {
                    let member = rng.next_u32() as usize % lanes;
                    let budget = Budget { batches: 1 + rng.next_u32() % 8, packets: 128 };
                    rig.hub.members[member].step_within(now, budget);
                }
            }
            rig.settle();
            for peer in 1..=3 {
                assert_eq!(
                    delivered(&mut rig, peer),
                    (0..sent[peer - 1]).collect::<Vec<_>>(),
                    "{lanes} {seed}"
                );
            }
            assert_eq!(rig.hub.drops(), 0, "{lanes} {seed}");
            let all = rig.hub.members.iter().zip(received);
            assert!(
                all.map(|(member, before)| member.socket.received - before).all(|received| received > 1000)
            );
        }
    }
}

#[test]
fn what_comes_the_other_way_is_as_before() {
    let mut rig = rig(3, 3);
    for peer in 1..=3 {
        for lane in 0..3 {
            let there = packet(inner(0), inner(peer), 300, 7);
            rig.hub.members[lane].tun.outgoing.push_back(there.clone());
            rig.settle();
            assert_eq!(rig.peer(peer).delivered(), [there]);
        }
    }
}

#[test]
fn a_replay_is_found_at_home_whichever_lane_it_comes_to() {
    let mut rig = rig(3, 1);
    align(&mut rig, 1);
    let home = rig.hub.home(1);
    send(&mut rig, 1, 0..1);
    let replayed = rig.peer(1).members[0].socket.last().to_vec();
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), [0]);
    // To the same lane, to the same call as one that is new, and to the home.
    for splits in [true, true, false] {
        rig.wire.split(splits);
        rig.wire.inject(outer(1), outer(0), &replayed);
        rig.settle();
    }
    rig.wire.split(true);
    rig.wire.inject(outer(1), outer(0), &replayed);
    send(&mut rig, 1, 1..2);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), [1]);
    assert_eq!(rig.hub.members[home].dropped(DropReason::Replay), 4);
    assert_eq!(rig.hub.drops(), 4);
}

#[test]
fn forged_datagrams_cost_the_home_nothing_and_move_nothing() {
    let mut rig = rig(3, 1);
    align(&mut rig, 1);
    let home = rig.hub.home(1);
    send(&mut rig, 1, 0..1);
    let real = rig.peer(1).members[0].socket.last().to_vec();
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), [0]);
    let traffic = rig.hub.members[home].lane.traffic();
    let mut forged = real.clone();
    for (number, counter) in [1 << 40, 1 << 41, 0, u64::from(BLOCK), 5].into_iter().enumerate() {
        forged[8..16].copy_from_slice(&u64::to_le_bytes(counter));
        forged[20] ^= 1;
        rig.wire.inject(outer(9), outer(0), &forged);
        rig.settle();
        let counted: Vec<_> =
            rig.hub.members.iter().map(|member| member.dropped(DropReason::InvalidTag)).collect();
        assert_eq!((counted.iter().sum(), counted[home]), (number as u64 + 1, 0));
    }
    assert_eq!(rig.hub.members[home].lane.traffic(), traffic, "nothing came home");
    // Between real ones, in their batch: what comes after is as if they had not been.
    let (now, lanes) = (rig.now, receivers(&rig, 1));
    send(&mut rig, 1, 1..10);
    forged[8..16].copy_from_slice(&u64::to_le_bytes(u64::from(BLOCK) - 1));
    rig.wire.inject(outer(9), outer(0), &forged);
    send(&mut rig, 1, 10..BLOCK + 10);
    while rig.hub.members[lanes[1]].step(now) {}
    while rig.hub.members[home].step(now) {}
    assert_eq!(delivered(&mut rig, 1), [], "the first lane has what is before");
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (1..BLOCK + 10).collect::<Vec<_>>());
    assert_eq!(rig.hub.dropped(DropReason::InvalidTag), rig.hub.drops());
    // Nor did the peer move to where they came from.
    let id = rig.hub.members[home].device.peer(&crate::rig::public(1)).unwrap();
    let endpoint = rig.hub.members[home].device.status(id).unwrap().endpoint;
    assert_eq!(endpoint, Some(outer(1)));
}

#[test]
fn a_home_that_is_stuck_costs_its_own_peers_packets_and_nobody_else() {
    let mut rig = rig(3, 3);
    let stuck = rig.hub.home(1);
    // Of one datagram each, so that every one is a batch.
    let mut sent = [0; 3];
    for _ in 0..400 {
        rig.now.instant = rig.now.instant.saturating_add(Duration::from_micros(20));
        let now = rig.now;
        for peer in 1..=3 {
            send(&mut rig, peer, sent[peer - 1]..sent[peer - 1] + 1);
            sent[peer - 1] += 1;
            for lane in (0..3).filter(|lane| *lane != stuck) {
                while rig.hub.members[lane].step(now) {}
            }
        }
    }
    for peer in 2..=3 {
        // What came to the sockets of the stuck one waits there, and is waited for no longer than half a millisecond.
        let got = delivered(&mut rig, peer);
        assert!(got.is_sorted() && got.len() > 100, "{}", got.len());
        assert_ne!(rig.hub.home(peer), stuck);
    }
    let behind = rig.hub.dropped(DropReason::HomeBehind);
    assert!(behind > 200, "{behind}");
    assert_eq!(rig.hub.members[stuck].dropped(DropReason::HomeBehind), 0, "counted where they were dropped");
    rig.settle();
    let got = delivered(&mut rig, 1);
    assert!(got.is_sorted());
    assert_eq!(got.len() as u64 + behind, 400);
    assert_eq!(rig.hub.drops(), behind);
}

#[test]
fn a_session_that_goes_while_its_datagrams_are_under_way_takes_them_along() {
    let mut rig = rig(3, 2);
    align(&mut rig, 1);
    let (home, now, lanes) = (rig.hub.home(1), rig.now, receivers(&rig, 1));
    let known = |rig: &Rig| -> Vec<_> {
        rig.hub.members.iter().map(|member| member.device.foreign_sessions()).collect()
    };
    assert_eq!(known(&rig).iter().sum::<usize>(), 4, "each of two sessions at two others");
    send(&mut rig, 1, 0..3);
    while rig.hub.members[lanes[0]].step(now) {}
    send(&mut rig, 1, 3..5);
    // Opened ones are in the ring, others in the sockets of a lane that has the key yet.
    let id = rig.hub.members[home].device.peer(&crate::rig::public(1)).unwrap();
    rig.hub.configure(|device| device.remove_peer(id));
    while rig.hub.members[lanes[0]].step(now) {}
    rig.settle();
    assert!(rig.hub.delivered().is_empty());
    assert_eq!(rig.hub.members[home].dropped(DropReason::SessionRetired), 5);
    assert_eq!(rig.hub.drops(), 5);
    assert_eq!(known(&rig).iter().sum::<usize>(), 2, "nobody keeps the key");
    // Now they do not even get there.
    send(&mut rig, 1, 5..7);
    rig.settle();
    assert_eq!(rig.hub.members[lanes[0]].dropped(DropReason::UnknownIndex), 2);
}

#[test]
fn sessions_change_and_peers_roam_in_the_middle_of_it() {
    let mut rig = rig(3, 3);
    for round in 0..6_u32 {
        for peer in 1..=3 {
            // The first packet of a new session confirms it, over whatever lane.
            send(&mut rig, peer, round * 300..round * 300 + 1);
            rig.settle();
            send(&mut rig, peer, round * 300 + 1..(round + 1) * 300);
            rig.settle();
            assert_eq!(delivered(&mut rig, peer), (round * 300..(round + 1) * 300).collect::<Vec<_>>());
        }
        let wire = rig.wire.clone();
        rig.peer(2).members[0].socket = wire.socket(outer(20 + round as usize));
        send(&mut rig, 2, 1000..1001);
        rig.settle();
        assert_eq!(delivered(&mut rig, 2), [1000]);
        let there = packet(inner(0), inner(2), 99, round);
        rig.hub.members[0].tun.outgoing.push_back(there.clone());
        rig.settle();
        assert_eq!(rig.peer(2).delivered(), [there], "it is answered where it is");
        rig.pass(if round % 2 == 0 { 130 } else { 200 });
        for peer in 1..=3 {
            rig.peer(peer).delivered();
        }
    }
    assert_eq!(
        rig.hub.drops(),
        0,
        "{:?}",
        rig.hub.members.iter().map(|m| m.device.drops()).collect::<Vec<_>>()
    );
}

#[test]
fn a_lone_loss_delays_nobody_and_a_lane_that_lags_no_longer_than_half_a_millisecond() {
    let mut rig = rig(3, 1);
    align(&mut rig, 1);
    let (home, now, lanes) = (rig.hub.home(1), rig.now, receivers(&rig, 1));
    send(&mut rig, 1, 0..1);
    rig.hub.members[lanes[0]].socket.lose();
    send(&mut rig, 1, 1..3);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), [1, 2]);

    align(&mut rig, 1);
    send(&mut rig, 1, 0..BLOCK + 2);
    while rig.hub.members[lanes[1]].step(now) {}
    while rig.hub.members[home].step(now) {}
    assert_eq!(delivered(&mut rig, 1), []);
    let deadline = rig.hub.members[home].lane.poll_timeout();
    assert_eq!(deadline, Some(now.instant.saturating_add(Duration::from_micros(500))));
    assert!(rig.hub.members[home].lane.may_sleep(), "until then");
    rig.hub.members[home].lane.awake();
    rig.now.instant = rig.now.instant.saturating_add(Duration::from_micros(499));
    let early = rig.now;
    while rig.hub.members[home].step(early) {}
    assert_eq!(delivered(&mut rig, 1), []);
    rig.now.instant = deadline.unwrap();
    let late = rig.now;
    while rig.hub.members[home].step(late) {}
    assert_eq!(delivered(&mut rig, 1), [BLOCK, BLOCK + 1]);
    assert_eq!(rig.hub.members[home].lane.poll_timeout(), None);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (0..BLOCK).collect::<Vec<_>>(), "late, and not lost");
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn counters_are_split_and_joined_under_load_without_loss_and_in_order() {
    for kind in [StrategyKind::Adaptive, StrategyKind::Inline, StrategyKind::Pipelined] {
        let mut rig = Rig::new(3, 2);
        rig.hub.follow(kind);
        rig.connect();
        let now = rig.now;
        let mut sent = 0;
        for round in 0..20 {
            let mut both = |rig: &mut Rig, count: u32| {
                for peer in 1..=2 {
                    send(rig, peer, sent..sent + count);
                }
                sent += count;
            };
            // Some is taken in and some waits when it changes, and the others are quicker than the home.
            both(&mut rig, 200);
            rig.hub.members[round % 3].step_within(now, Budget { batches: 1, packets: 32 });
            rig.hub.split(&rig.wire, now);
            both(&mut rig, 200);
            for lane in [1, 2, 0, 1] {
                rig.hub.members[(lane + round) % 3].step_within(now, Budget { batches: 2, packets: 64 });
            }
            rig.hub.join(&rig.wire, kind);
            assert!(!rig.hub.end_split(now), "something is left");
            both(&mut rig, 200);
            for lane in [0, 1, 0] {
                rig.hub.members[(lane + round) % 3].step(now);
            }
            // Back again before it has ended, once in a while.
            if round % 4 == 3 {
                rig.hub.split(&rig.wire, now);
                both(&mut rig, 130);
                rig.hub.join(&rig.wire, kind);
            }
            rig.settle();
            assert_eq!(
                rig.hub.rehome(1, 1, now).err(),
                (rig.hub.home(1) != 1).then_some(RehomeError::UnderWay)
            );
            assert!(rig.hub.end_split(now), "all have come home");
            assert!(rig.hub.members.iter().all(|member| !member.lane.is_splitting()));
            assert!(rig.hub.members.iter().all(|member| member.device.foreign_sessions() == 0));
            both(&mut rig, 50);
            rig.settle();
        }
        for peer in 1..=2 {
            assert_eq!(delivered(&mut rig, peer), (0..sent).collect::<Vec<_>>(), "{kind}");
        }
        assert_eq!(rig.hub.drops(), 0);
    }
}

/// Has peers send, each so much in a turn that no lane ever finds its socket empty, until the split has ended. Adds up what they sent.
fn end_under_load(rig: &mut Rig, sent: &mut [u32], load: &[u32]) {
    for turn in 0.. {
        assert!(turn < 60, "it does not end");
        rig.now.instant = rig.now.instant.saturating_add(Duration::from_micros(100));
        let now = rig.now;
        for (peer, (sent, more)) in (1..).zip(sent.iter_mut().zip(load)) {
            send(rig, peer, *sent..*sent + more);
            *sent += more;
        }
        // A home goes before those that bring it something.
        for member in rig.hub.members.iter_mut().rev() {
            member.step_within(now, Budget { batches: 1, packets: 64 });
            assert!(member.socket.waiting() > 0, "a lane ran dry");
        }
        if rig.hub.end_split(now) {
            break;
        }
    }
    assert!(rig.hub.members.iter().all(|member| !member.lane.is_splitting()));
}

#[test]
fn a_split_ends_though_no_lane_ever_finds_its_sockets_empty() {
    for kind in [StrategyKind::Adaptive, StrategyKind::Inline, StrategyKind::Pipelined] {
        let mut rig = rig(3, 3);
        let mut homes: Vec<_> = (1..=3).map(|peer| rig.hub.home(peer)).collect();
        homes.sort_unstable();
        assert_eq!(homes, [0, 1, 2], "each lane has one");
        for peer in 1..=3 {
            send(&mut rig, peer, 0..400);
        }
        rig.hub.join(&rig.wire, kind);
        let mut sent = [400; 3];
        end_under_load(&mut rig, &mut sent, &[100; 3]);
        rig.settle();
        for peer in 1..=3 {
            assert_eq!(delivered(&mut rig, peer), (0..sent[peer - 1]).collect::<Vec<_>>(), "{kind}");
        }
        assert_eq!(rig.hub.drops(), 0);
    }
}

#[test]
fn a_split_ends_under_load_with_gaps_and_a_peer_whose_datagrams_come_to_where_it_was() {
    let mut rig = Rig::new(3, 4);
    rig.connect();
    let (now, from) = (rig.now, rig.hub.home(1));
    assert_eq!(rig.hub.home(4), from, "another that keeps the lane busy");
    rig.hub.rehome(1, (from + 1) % 3, now).unwrap();
    let mut sent = [0; 4];
    for _ in 0..3 {
        rig.hub.split(&rig.wire, now);
        for peer in 1..=4 {
            send(&mut rig, peer, sent[peer - 1]..sent[peer - 1] + 400);
            sent[peer - 1] += 400;
        }
        let now = rig.now;
        rig.hub.members.iter_mut().for_each(|member| {
            member.step_within(now, Budget { batches: 1, packets: 64 });
        });
        rig.hub.join(&rig.wire, StrategyKind::Adaptive);
        // Of what waits in each lane, one is lost.
        rig.hub.members.iter().for_each(|member| member.socket.lose());
        end_under_load(&mut rig, &mut sent, &[10, 100, 100, 100]);
        rig.settle();
        let mut got = 0;
        for peer in 1..=4 {
            let numbers = delivered(&mut rig, peer);
            assert!(numbers.is_sorted());
            assert_eq!(numbers.last(), Some(&(sent[peer - 1] - 1)));
            got += numbers.len();
        }
        assert_eq!(got + 3, sent.iter().sum::<u32>() as usize);
        sent = [0; 4];
    }
    assert_eq!(rig.hub.drops(), 0);
}

/// Two nodes of two lanes, each of which receives for the other of its node, and a peer of each.
fn nodes() -> Rig {
    let mut rig = Rig::new(4, 4);
    rig.wire.name_receivers(&[&[1], &[0], &[3], &[2]]);
    rig.connect();
    rig
}

#[test]
fn lanes_that_are_not_named_receive_nothing_and_know_no_keys() {
    let mut rig = nodes();
    rig.hub.split(&rig.wire, rig.now);
    for peer in 1..=4 {
        let received: Vec<_> = rig.hub.members.iter().map(|member| member.socket.received).collect();
        send(&mut rig, peer, 0..500);
        rig.settle();
        assert_eq!(delivered(&mut rig, peer), (0..500).collect::<Vec<_>>());
        let other = rig.hub.home(peer) ^ 1;
        for (lane, before) in received.into_iter().enumerate() {
            let more = if lane == other { 500 } else { 0 };
            assert_eq!(rig.hub.members[lane].socket.received, before + more, "{lane} for {peer}");
        }
    }
    assert!(rig.hub.members.iter().all(|member| member.device.foreign_sessions() == 1));
    // New ones as well.
    rig.pass(130);
    for peer in 1..=4 {
        send(&mut rig, peer, 500..700);
        rig.settle();
        assert_eq!(delivered(&mut rig, peer), (500..700).collect::<Vec<_>>());
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn what_is_sent_has_counter_after_counter_whether_what_comes_is_split_or_not() {
    // Why a split is safe with any peer: its window sees what it would see without.
    let mut rig = Rig::new(4, 1);
    rig.connect();
    let (home, mut counters) = (rig.hub.home(1), Vec::new());
    for kind in [StrategyKind::Adaptive, StrategyKind::CounterSplit].into_iter().cycle().take(8) {
        let now = rig.now;
        match kind {
            StrategyKind::CounterSplit => rig.hub.split(&rig.wire, now),
            _ => rig.hub.join(&rig.wire, kind),
        }
        for _ in 0..300 {
            let number = u32::try_from(counters.len()).unwrap();
            let there = packet(inner(0), inner(1), 100, number);
            rig.hub.members[number as usize % 4].tun.outgoing.push_back(there);
            send(&mut rig, 1, 2 * number..2 * number + 2);
            let step = |rig: &mut Rig| {
                rig.hub.members.iter_mut().map(|member| member.step(now)).fold(false, |any, one| any | one)
            };
            while step(&mut rig) {}
            let last = rig.hub.members[home].socket.last();
            counters.push(u64::from_le_bytes(last[8..16].try_into().unwrap()));
        }
        rig.settle();
        // It has ended, or is to begin.
        let _ = rig.hub.end_split(now);
    }
    let first = counters[0];
    assert_eq!(counters, (first..first + 2400).collect::<Vec<_>>());
    assert_eq!(rig.peer(1).delivered().len(), 2400);
    assert_eq!(delivered(&mut rig, 1), (0..4800).collect::<Vec<_>>(), "and what comes is in order");
}

#[test]
fn a_home_waits_for_nobody_who_does_not_receive_for_it() {
    let mut rig = nodes();
    rig.hub.split(&rig.wire, rig.now);
    let (now, home) = (rig.now, rig.hub.home(1));
    send(&mut rig, 1, 0..1);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), [0]);
    // Of a peer on the other node, whose receiver has it in its sockets all the while.
    let elsewhere = (2..=4).find(|peer| rig.hub.home(*peer) / 2 != home / 2).unwrap();
    send(&mut rig, elsewhere, 0..1);
    send(&mut rig, 1, 1..2);
    rig.hub.members[home ^ 1].socket.lose();
    send(&mut rig, 1, 2..4);
    for lane in [home ^ 1, home] {
        while rig.hub.members[lane].step(now) {}
    }
    assert_eq!(delivered(&mut rig, 1), [2, 3]);
    rig.settle();
    assert_eq!(delivered(&mut rig, elsewhere), [0]);
}

#[test]
fn a_peer_that_moved_from_another_node_is_received_where_its_datagrams_come() {
    let mut rig = nodes();
    let (now, from) = (rig.now, rig.hub.home(1));
    rig.hub.rehome(1, (from + 2) % 4, now).unwrap();
    rig.hub.split(&rig.wire, now);
    send(&mut rig, 1, 0..500);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (0..500).collect::<Vec<_>>());
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn what_a_lane_could_not_hear_the_key_of_it_takes_home() {
    let mut rig = rig(3, 1);
    let stalled = receivers(&rig, 1)[0];
    assert_ne!(stalled, 0, "initiations come to the first");
    // The peer asks for one session after the other, so many that the lane that does not listen has no room to hear of more.
    for _ in 0..300 {
        rig.now.instant = rig.now.instant.saturating_add(Duration::from_secs(1));
        rig.now.wall = UnixTime::new(rig.now.wall.secs() + 1, 0);
        let now = rig.now;
        let peer = rig.peer(1);
        let hub = peer.members[0].device.peer(&crate::rig::public(0)).unwrap();
        peer.configure(|device| device.remove_peer(hub));
        peer.add(0);
        send(&mut rig, 1, 0..1);
        for _ in 0..3 {
            for lane in (0..3).filter(|lane| *lane != stalled) {
                while rig.hub.members[lane].step(now) {}
            }
            while rig.peer(1).members[0].step(now) {}
        }
        while rig.hub.members[stalled].socket.waiting() > 0 {
            rig.hub.members[stalled].socket.lose();
        }
    }
    assert_eq!(rig.hub.drops(), 0);
    send(&mut rig, 1, 0..500);
    rig.settle();
    let mut got = delivered(&mut rig, 1);
    // What goes home another way may be late.
    got.sort_unstable();
    assert_eq!(got, (0..500).collect::<Vec<_>>());
    // By now the lane has heard, and opens it.
    let known: Vec<_> = rig.hub.members.iter().map(|member| member.device.foreign_sessions()).collect();
    assert!(known[1] > 0 && known[1] == known[2], "{known:?}");
    send(&mut rig, 1, 500..1000);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (500..1000).collect::<Vec<_>>());
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn a_peer_that_moved_before_is_received_by_any_lane() {
    let mut rig = Rig::new(3, 1);
    rig.connect();
    let (now, to) = (rig.now, (rig.hub.home(1) + 1) % 3);
    rig.hub.rehome(1, to, now).unwrap();
    rig.hub.split(&rig.wire, now);
    send(&mut rig, 1, 0..500);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (0..500).collect::<Vec<_>>());
    rig.hub.join(&rig.wire, StrategyKind::Adaptive);
    rig.settle();
    assert!(rig.hub.end_split(now));
    send(&mut rig, 1, 500..600);
    rig.settle();
    assert_eq!(delivered(&mut rig, 1), (500..600).collect::<Vec<_>>());
    assert_eq!(rig.hub.drops(), 0);
}
