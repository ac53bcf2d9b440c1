//! Two devices over an in-memory network: the whole walk of a packet, both ways.

mod common;

use common::{Rig, packet};
use wg_datapath::DropReason;

#[test]
fn first_packet_brings_up_the_session_and_arrives() {
    let mut rig = Rig::new();
    rig.a.tun.outgoing.push_back(packet([10, 0, 0, 1], [10, 0, 0, 2], 84));
    rig.settle();
    assert_eq!(rig.b.tun.delivered, [packet([10, 0, 0, 1], [10, 0, 0, 2], 84)]);
    rig.b.tun.outgoing.push_back(packet([10, 0, 0, 2], [10, 0, 0, 1], 84));
    rig.settle();
    assert_eq!(rig.a.tun.delivered, [packet([10, 0, 0, 2], [10, 0, 0, 1], 84)]);
    let lengths: Vec<usize> = rig.network.take_record().iter().map(|datagram| datagram.bytes.len()).collect();
    assert_eq!(lengths, [148, 92, 128, 128], "initiation, response, then data: the first packet confirms");
    assert_eq!(rig.a.device.drops().total() + rig.b.device.drops().total(), 0);
}

#[test]
fn ten_pings_count_as_the_kernel_counts() {
    // C74
    let mut rig = Rig::new();
    for _ in 0..10 {
        rig.a.tun.outgoing.push_back(packet([10, 0, 0, 1], [10, 0, 0, 2], 84));
        rig.settle();
        rig.b.tun.outgoing.push_back(packet([10, 0, 0, 2], [10, 0, 0, 1], 84));
        rig.settle();
    }
    assert_eq!(rig.a.traffic(), (1372, 1428));
    assert_eq!(rig.b.traffic(), (1428, 1372));
}

#[test]
fn packets_of_a_burst_arrive_in_order_and_staged_ones_first() {
    // C68, C70
    let mut rig = Rig::new();
    for len in 100..400 {
        rig.a.tun.outgoing.push_back(packet([10, 0, 0, 1], [10, 0, 0, 2], len));
    }
    rig.settle();
    for len in 400..700 {
        rig.a.tun.outgoing.push_back(packet([10, 0, 0, 1], [10, 0, 0, 2], len));
    }
    rig.settle();
    let lengths: Vec<usize> = rig.b.tun.delivered.iter().map(Vec::len).collect();
    assert_eq!(lengths, (272..700).collect::<Vec<_>>(), "the last 128 before the session, then all");
    assert_eq!(rig.a.device.drops().get(DropReason::StagedOverflow), 172);
}

#[test]
fn source_of_another_peer_is_refused() {
    // C81, C82
    let mut rig = Rig::new();
    rig.a.tun.outgoing.push_back(packet([10, 9, 9, 9], [10, 0, 0, 2], 84));
    rig.settle();
    assert!(rig.b.tun.delivered.is_empty());
    assert_eq!(rig.b.device.drops().get(DropReason::BadSource), 1);
}

#[test]
fn nothing_goes_to_nobody() {
    let mut rig = Rig::new();
    rig.a.tun.outgoing.push_back(packet([10, 0, 0, 1], [192, 168, 0, 1], 84));
    rig.a.tun.outgoing.push_back(vec![0x45; 19]);
    rig.a.tun.outgoing.push_back(vec![0x55; 40]);
    rig.settle();
    assert!(rig.network.take_record().is_empty());
    let drops = rig.a.device.drops();
    assert_eq!(drops.get(DropReason::NoPeerForDestination), 1);
    assert_eq!((drops.get(DropReason::OutTooShort), drops.get(DropReason::OutNotIp)), (1, 1));
}
