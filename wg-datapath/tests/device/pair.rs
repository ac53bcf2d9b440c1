//! The whole walk of a packet, both ways, between two devices.

use core::net::{Ipv6Addr, SocketAddr};

use wg_datapath::{DropReason, IpPrefix};

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
fn ipv6_passes_within_and_without() {
    let mut rig = Rig::new(2);
    let inside = |end: usize| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::try_from(end).unwrap());
    let outside = |end: usize| SocketAddr::from((inside(end + 0x100), 51820));
    let packet = |from: usize, to: usize, payload: u16| {
        let mut packet = vec![0; 40 + usize::from(payload)];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet[8..24].copy_from_slice(&inside(from).octets());
        packet[24..40].copy_from_slice(&inside(to).octets());
        packet
    };
    for (end, other) in [(A, B), (B, A)] {
        let peer = rig.peer(end, other);
        let prefix = IpPrefix::new(inside(other).into(), 128).unwrap();
        rig[end].device.add_allowed_ip(peer, prefix).unwrap();
        rig[end].device.set_endpoint(peer, outside(other));
        rig[end].udp.inner = rig.network.socket(outside(end));
    }
    for payload in [0, 1, 44, 1380] {
        for (from, to) in [(A, B), (B, A)] {
            rig[from].tun.inner.outgoing.push_back(packet(from, to, payload));
            rig.settle();
            assert_eq!(rig[to].delivered(), [packet(from, to, payload)]);
        }
    }
    assert_eq!(rig.status(A, B).endpoint, Some(outside(B)));
    rig[A].tun.inner.outgoing.push_back(packet(5, B, 10));
    rig.settle();
    assert_eq!(rig[B].dropped(DropReason::BadSource), 1);
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
