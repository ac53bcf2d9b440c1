//! What a sender on this host is told of packets that go nowhere, or not as long as they are (C100, C99).

use wg_datapath::{Config, DropReason};

use crate::example::{Example, Ip, Transport, split};
use crate::rig::{A, B, Rig, outer, prefix, public_key, seconds};

fn udp(ip: Ip, to: u8, payload: usize) -> Vec<u8> {
    Example::new(ip, Transport::Udp, payload).with(|example| example.hosts = [1, to]).packet()
}

/// Type and code of each ICMP error that end `A` was told.
fn told(rig: &mut Rig) -> Vec<[u8; 2]> {
    rig[A]
        .delivered()
        .iter()
        .filter_map(|packet| match packet[0] >> 4 {
            4 if packet[9] == 1 => Some([packet[20], packet[21]]),
            6 if packet[6] == 58 => Some([packet[40], packet[41]]),
            _ => None,
        })
        .collect()
}

#[test]
fn a_packet_for_nobody_is_answered_and_counted() {
    // C100
    let mut rig = Rig::with_session();
    rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 77, 10));
    rig[A].tun.inner.outgoing.push_back(udp(Ip::V6, 77, 10));
    rig.settle();
    assert_eq!(told(&mut rig), [[3, 1], [1, 3]]);
    assert_eq!((rig[A].dropped(DropReason::NoPeerForDestination), rig.drops(A)), (2, 2));
    assert!(rig.sent().is_empty());
}

#[test]
fn a_packet_for_a_peer_without_endpoint_is_answered_and_waits() {
    // C49, C100
    let mut rig = Rig::strangers(2, Config::default());
    let peer = rig[A].device.add_peer(public_key(B)).unwrap();
    rig[A].device.add_allowed_ip(peer, prefix([10, 0, 0, 2], 32)).unwrap();
    rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 2, 10));
    rig.settle();
    assert_eq!(told(&mut rig), [[3, 1]]);
    assert_eq!((rig[A].device.staged_count(), rig.drops(A)), (1, 0));
}

#[test]
fn errors_are_few_however_many_packets_go_nowhere() {
    let mut rig = Rig::with_session();
    for _ in 0..500 {
        rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 77, 10));
    }
    rig.settle();
    assert_eq!(told(&mut rig).len(), 50);
    assert_eq!(rig[A].dropped(DropReason::NoPeerForDestination), 500);
    rig.pass(seconds(1));
    rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 77, 10));
    rig.settle();
    assert_eq!(told(&mut rig).len(), 1);
}

#[test]
fn a_packet_longer_than_the_path_is_refused_with_what_would_pass() {
    let mut rig = Rig::with_session();
    let passes = |rig: &mut Rig, payload: usize| {
        rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 2, payload));
        rig.settle();
        rig[B].delivered().len()
    };
    assert_eq!(passes(&mut rig, 1300), 1);
    rig[A].udp.path_news.push_back((outer(B), 1300));
    rig.settle();
    // 1300 less outer headers of 28 and 32 of ours, down to a multiple of 16.
    assert_eq!(passes(&mut rig, 1232 - 28), 1);
    assert_eq!(passes(&mut rig, 1232 - 27), 0);
    let error = rig[A].delivered().remove(0);
    assert_eq!((error[20], error[21], &error[26..28]), (3, 4, &1232_u16.to_be_bytes()[..]));
    assert_eq!((rig[A].dropped(DropReason::OutTooBig), rig.drops(A)), (1, 1));
    // One that may be fragmented outside goes on.
    let may = Example::new(Ip::V4, Transport::Udp, 1300).with(|example| example.fragment = 0).packet();
    rig[A].tun.inner.outgoing.push_back(may);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
    // After ten minutes the path has another chance (RFC 1191, 6.3).
    rig.pass(seconds(601));
    assert_eq!(passes(&mut rig, 1300), 1);
}

#[test]
fn a_packet_longer_than_any_datagram_carries_is_refused_with_what_would_pass() {
    // C99: an MTU may be as large as the kernel lets it.
    let mut rig = Rig::with_session();
    rig[A].device.set_mtu(65_535);
    for (payload, fits) in [(65_472 - 28, true), (65_472 - 27, false)] {
        rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 2, payload));
        rig.settle();
        assert_eq!(rig[B].delivered().len(), usize::from(fits), "{payload}");
    }
    let error = rig[A].delivered().remove(0);
    assert_eq!((error[20], error[21], &error[26..28]), (3, 4, &65_472_u16.to_be_bytes()[..]));
    assert_eq!(rig[A].dropped(DropReason::OutTooBig), 1);
}

#[test]
fn a_frame_whose_packets_are_longer_than_the_path_is_refused_too() {
    let mut rig = Rig::with_session().with_offloads();
    rig[A].udp.path_news.push_back((outer(B), 1280));
    rig.settle();
    for (segment, fits) in [(1100, true), (1300, false)] {
        let example = Example::new(Ip::V4, Transport::Tcp, 20_000);
        let (frame, offload) = (example.frame(), example.offload(segment));
        let packets = split(&frame, &offload).unwrap();
        rig[A].tun.inner.frames.push_back((frame, offload));
        rig.settle();
        let delivered = rig[B].delivered();
        if fits {
            assert_eq!(delivered, packets);
        } else {
            assert!(delivered.is_empty());
            assert_eq!(told(&mut rig), [[3, 4]]);
        }
    }
}

#[test]
fn news_of_a_path_is_that_of_the_peer_there() {
    let mut rig = Rig::with_session();
    rig[A].udp.path_news.push_back((outer(7), 600));
    rig.settle();
    rig[A].tun.inner.outgoing.push_back(udp(Ip::V4, 2, 1300));
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}
