//! What happens while a lane does not keep up, and what becomes of what waits for it.

use core::sync::atomic::Ordering;

use wg_datapath::DropReason;

use crate::rig::{Rig, inner, numbers, packet, public};

/// Frames that may be under way between two lanes.
const LENT: usize = 512;

#[test]
fn a_lane_that_is_behind_costs_only_its_own_peers() {
    let mut rig = Rig::new(2, 2);
    rig.connect();
    // All on the second lane: its own peer, number 2, and that of the first lane, which does not run.
    for number in 0..2000 {
        for to in 1..=2 {
            rig.hub.members[1].tun.outgoing.push_back(packet(inner(0), inner(to), 100, number));
        }
    }
    let now = rig.now;
    while rig.hub.members[1].step(now) {
        rig.peers[1].members[0].step(now);
    }
    while rig.peers[1].members[0].step(now) {}
    assert_eq!(numbers(&rig.peer(2).delivered()), (0..2000).collect::<Vec<_>>());
    assert_eq!(rig.hub.members[1].dropped(DropReason::HomeBehind), 2000 - LENT as u64);
    rig.settle();
    assert_eq!(numbers(&rig.peer(1).delivered()), (0..512).collect::<Vec<_>>(), "what it was lent arrives");
    // And then it goes on, as often as one likes.
    for round in 1..=5 {
        for number in 0..500 {
            rig.hub.members[1].tun.outgoing.push_back(packet(inner(0), inner(1), 1400, number));
        }
        rig.settle();
        assert_eq!(rig.peer(1).delivered().len(), 500, "round {round}");
    }
    assert_eq!(rig.hub.drops(), 2000 - LENT as u64);
}

#[test]
fn what_waits_for_a_peer_that_is_removed_is_nobodys() {
    // C137: the slot is used again, by a peer of the same home.
    let mut rig = Rig::new(2, 3);
    rig.connect();
    let old = rig.hub.members[0].device.peer(&public(2)).unwrap();
    for number in 0..10 {
        rig.hub.members[0].tun.outgoing.push_back(packet(inner(0), inner(2), 100, number));
    }
    let now = rig.now;
    rig.hub.members[0].step(now);
    rig.hub.configure(|device| device.remove_peer(old));
    let (new, home) = rig.hub.add(2);
    assert_ne!(old, new);
    assert_eq!(home, 1);
    rig.settle();
    assert_eq!(rig.peer(2).delivered().len(), 0);
    assert_eq!(rig.hub.members[1].dropped(DropReason::StagedRemoved), 10);
}

#[test]
fn a_peer_that_moves_takes_nothing_along_and_goes_on() {
    let mut rig = Rig::new(2, 3);
    rig.connect();
    for (remove, home) in [(1, 1), (2, 0)] {
        let id = rig.hub.members[0].device.peer(&public(remove)).unwrap();
        assert_ne!(rig.hub.home(remove), home);
        rig.hub.configure(|device| device.remove_peer(id));
        // Another takes its place first.
        if remove == 1 {
            assert_eq!(rig.hub.add(9).1, 0);
        }
        assert_eq!(rig.hub.add(remove).1, home);
        rig.pass(10);
        let there = packet(inner(0), inner(remove), 100, 3);
        rig.hub.members[1 - home].tun.outgoing.push_back(there.clone());
        rig.settle();
        assert_eq!(rig.peer(remove).delivered(), [there]);
        if remove == 1 {
            let other = rig.hub.members[0].device.peer(&public(9)).unwrap();
            rig.hub.configure(|device| device.remove_peer(other));
        }
    }
}

#[test]
fn a_bell_is_rung_once_for_a_lane_that_sleeps_and_not_for_one_that_is_awake() {
    let mut rig = Rig::new(2, 2);
    rig.connect();
    let rung = |rig: &Rig| [0, 1].map(|lane: usize| rig.hub.rung[lane].load(Ordering::Relaxed));
    let before = rung(&rig);
    let now = rig.now;
    let send = |rig: &mut Rig| {
        rig.hub.members[0].tun.outgoing.push_back(packet(inner(0), inner(2), 100, 0));
        rig.hub.members[0].step(now);
    };
    send(&mut rig);
    assert_eq!(rung(&rig), before, "it is awake");
    assert!(!rig.hub.members[1].lane.may_sleep(), "something waits");
    rig.settle();
    assert!(rig.hub.members[1].lane.may_sleep());
    (0..3).for_each(|_| send(&mut rig));
    assert_eq!(rung(&rig), [before[0], before[1] + 1], "once");
    rig.hub.members[1].lane.awake();
    rig.settle();
    assert_eq!(rung(&rig), [before[0], before[1] + 1]);
}
