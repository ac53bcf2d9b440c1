//! The whole walk of a packet, both ways, between two devices.

use wg_datapath::DropReason;

use crate::rig::{A, B, Rig, inner, packet};

#[test]
fn first_packet_brings_up_the_session_and_arrives() {
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].delivered(), [packet(inner(A), inner(B), 84)]);
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig[A].delivered(), [packet(inner(B), inner(A), 84)]);
    assert_eq!(
        rig.sent_lengths(),
        [148, 92, 128, 128],
        "initiation, response, then data: the first packet confirms"
    );
    assert_eq!(rig.drops(A) + rig.drops(B), 0);
}

#[test]
fn ten_pings_count_as_the_kernel_counts() {
    // C74
    let mut rig = Rig::new(2);
    for _ in 0..10 {
        rig.send(A, B, 84);
        rig.settle();
        rig.send(B, A, 84);
        rig.settle();
    }
    assert_eq!(rig.traffic(A, B), (1372, 1428));
    assert_eq!(rig.traffic(B, A), (1428, 1372));
}

#[test]
fn packets_of_a_burst_arrive_in_order_and_staged_ones_first() {
    // C68, C70
    let mut rig = Rig::new(2);
    for len in 100..400 {
        rig.send(A, B, len);
    }
    rig.settle();
    for len in 400..700 {
        rig.send(A, B, len);
    }
    rig.settle();
    let lengths: Vec<usize> = rig[B].delivered().iter().map(Vec::len).collect();
    assert_eq!(lengths, (272..700).collect::<Vec<_>>(), "the last 128 before the session, then all");
    assert_eq!(rig[A].dropped(DropReason::StagedOverflow), 172);
}

#[test]
fn source_of_another_peer_is_refused() {
    // C81, C82
    let mut rig = Rig::new(2);
    rig[A].tun.inner.outgoing.push_back(packet([10, 9, 9, 9], inner(B), 84));
    rig.settle();
    assert!(rig[B].delivered().is_empty());
    assert_eq!(rig[B].dropped(DropReason::BadSource), 1);
    assert!(rig.status(B, A).last_handshake.is_some(), "the session is confirmed all the same");
}

#[test]
fn nothing_goes_to_nobody() {
    let mut rig = Rig::new(2);
    rig[A].tun.inner.outgoing.push_back(packet(inner(A), [192, 168, 0, 1], 84));
    rig[A].tun.inner.outgoing.push_back(vec![0x45; 19]);
    rig[A].tun.inner.outgoing.push_back(vec![0x55; 40]);
    rig.settle();
    assert!(rig.sent().is_empty());
    assert_eq!(rig[A].dropped(DropReason::NoPeerForDestination), 1);
    assert_eq!((rig[A].dropped(DropReason::OutTooShort), rig[A].dropped(DropReason::OutNotIp)), (1, 1));
    assert_eq!(rig.drops(A), 3);
}
