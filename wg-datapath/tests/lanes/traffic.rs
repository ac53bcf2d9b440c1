//! Packets of every peer on every lane.

use wg_datapath::{DropReason, Sum};

use crate::rig::{Rig, inner, numbers, outer, packet};

#[test]
fn a_packet_read_on_any_lane_leaves_from_the_home_of_its_peer() {
    for lanes in 1..=4 {
        let mut rig = Rig::new(lanes, 5);
        rig.connect();
        for number in 1..=5 {
            let home = rig.hub.home(number);
            assert_eq!(home, (number - 1) % lanes, "peers are spread evenly");
            for lane in 0..lanes {
                let before = rig.hub.sent();
                let there = packet(inner(0), inner(number), 300, 7);
                rig.hub.members[lane].tun.outgoing.push_back(there.clone());
                rig.settle();
                assert_eq!(rig.peer(number).delivered(), [there]);
                let sent: Vec<_> =
                    rig.hub.sent().iter().zip(before).map(|(sent, before)| sent - before).collect();
                let expected: Vec<_> = (0..lanes).map(|lane| usize::from(lane == home)).collect();
                assert_eq!(sent, expected, "peer {number} of {lanes} lanes, read on {lane}");
            }
        }
        assert_eq!(rig.hub.drops(), 0);
    }
}

#[test]
fn a_datagram_comes_to_the_home_and_is_delivered_there() {
    // C42: the index was drawn so that it does.
    let mut rig = Rig::new(3, 6);
    for rekey in 0..5 {
        for number in 1..=6 {
            let here = packet(inner(number), inner(0), 99, rekey);
            rig.peer(number).members[0].tun.outgoing.push_back(here.clone());
            rig.settle();
            let home = rig.hub.home(number);
            for (lane, member) in rig.hub.members.iter_mut().enumerate() {
                let delivered = core::mem::take(&mut member.tun.delivered);
                assert_eq!(delivered.len(), usize::from(lane == home));
                assert!(delivered.iter().all(|packet| *packet == here));
            }
        }
        // The next is sent in another session.
        rig.pass(200);
    }
    assert_eq!(rig.hub.drops(), 0, "{:?}", rig.hub.members[0].device.drops());
}

#[test]
fn both_ends_may_have_several_lanes_and_either_may_begin() {
    let mut rig = Rig::new(3, 4);
    // Responses and cookie replies come to the home as well.
    for number in 1..=4 {
        let lane = number % 3;
        let there = packet(inner(0), inner(number), 200, 1);
        rig.hub.members[lane].tun.outgoing.push_back(there.clone());
        rig.settle();
        assert_eq!(rig.peer(number).delivered(), [there]);
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn packets_of_a_flow_keep_their_order() {
    let mut rig = Rig::new(4, 4);
    rig.connect();
    // The flow of a peer is read on another lane than that of the next, in bursts of any length.
    let mut sent = 0;
    for burst in [1, 3, 128, 129, 400, 2, 77] {
        for number in 1..=4 {
            let queue = &mut rig.hub.members[(number + 1) % 4].tun.outgoing;
            queue.extend((sent..).take(burst).map(|next| packet(inner(0), inner(number), 24 + burst, next)));
        }
        sent += u32::try_from(burst).unwrap();
        // Lanes run apart from each other for a while.
        let now = rig.now;
        for lane in [2, 0, 0, 3, 1, 2] {
            rig.hub.members[lane].step(now);
        }
        rig.settle();
    }
    for number in 1..=4 {
        assert_eq!(numbers(&rig.peer(number).delivered()), (0..sent).collect::<Vec<_>>());
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn the_source_of_a_packet_is_checked_against_all_peers() {
    // C81: the address belongs to a peer of another home.
    let mut rig = Rig::new(2, 2);
    rig.connect();
    rig.peer(1).members[0].tun.outgoing.push_back(packet(inner(2), inner(0), 84, 0));
    rig.settle();
    assert!(rig.hub.delivered().is_empty());
    assert_eq!(rig.hub.dropped(DropReason::BadSource), 1);
}

#[test]
fn packets_without_a_session_wait_at_the_home() {
    let mut rig = Rig::new(2, 2);
    for number in 0..5 {
        rig.hub.members[0].tun.outgoing.push_back(packet(inner(0), inner(2), 84, number));
    }
    rig.settle();
    assert_eq!(numbers(&rig.peer(2).delivered()), [0, 1, 2, 3, 4]);
    assert_eq!((rig.hub.home(2), rig.hub.drops()), (1, 0));
}

#[test]
fn what_any_socket_hears_of_a_path_is_heeded_at_the_home_of_its_peer() {
    // C100: the first socket heard it, the second lane has the peer, and the first reads the packet.
    let mut rig = Rig::new(3, 3);
    rig.connect();
    let mut long = packet(inner(0), inner(2), 1400, 0);
    finish_header(&mut long);
    rig.hub.members[0].tun.outgoing.push_back(long.clone());
    rig.settle();
    assert_eq!(rig.peer(2).delivered(), [long.clone()]);

    rig.hub.members[0].socket.path = Some((outer(2), 1280));
    rig.settle();
    rig.hub.members[0].tun.outgoing.push_back(long);
    rig.settle();
    assert!(rig.peer(2).delivered().is_empty());
    assert_eq!(rig.hub.members[1].dropped(DropReason::OutTooBig), 1);
    let told = core::mem::take(&mut rig.hub.members[1].tun.delivered);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][20..22], [3, 4], "destination unreachable, fragmentation needed");
}

#[test]
fn senders_to_nowhere_are_told_by_whoever_knows() {
    let mut rig = Rig::new(2, 2);
    let mut stray = packet(inner(0), [192, 0, 2, 77], 100, 0);
    finish_header(&mut stray);
    rig.hub.members[1].tun.outgoing.push_back(stray);
    rig.settle();
    assert_eq!(rig.hub.members[1].dropped(DropReason::NoPeerForDestination), 1);
    let told = rig.hub.delivered();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][20], 3, "destination unreachable");
}

/// Makes a whole UDP packet of it, with a right checksum of the header: of another nobody is told anything.
fn finish_header(packet: &mut [u8]) {
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 17]);
    packet[10..12].fill(0);
    let sum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum);
}
