//! What the sockets do with errors queued for them. The kernel is made to queue them by IP_RECVERR.

use std::net::UdpSocket;

use wg_datapath::io::Segment;
use wg_datapath::slab::{SlabClass, SlabPool};

use super::*;
use crate::Feature;
use crate::fault::{Refusals, refuse};
use crate::sockopt::set_int;
use crate::{Events, clock};

/// A socket pair that is told of ICMP errors, and a loopback port where nobody listens.
fn told_of_errors() -> (Udp, Endpoint) {
    let udp = Udp::bind(0, 0).unwrap();
    set_int(udp.socket_v4().unwrap(), libc::SOL_IP, libc::IP_RECVERR, 1).unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (udp, Endpoint::new(closed))
}

fn send(udp: &mut Udp, endpoint: &Endpoint, buffer: &[u8]) -> SendReport {
    let segments = [Segment { offset: 0, len: u32::try_from(buffer.len()).unwrap() }];
    udp.send(&Transmit { endpoint, tos: 0, buffer, segments: &segments })
}

fn slots() -> Vec<RecvSlot> {
    let slab = SlabPool::new(1, 0).take(SlabClass::Small).unwrap();
    vec![RecvSlot::new(slab)]
}

const SENT: SendReport = SendReport { sent: 1, status: SendStatus::Done };

#[test]
fn queued_report_does_not_hide_a_datagram() {
    // C101: ECONNREFUSED of one peer comes before the data of another.
    let (mut udp, closed) = told_of_errors();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut slots = slots();
    for _ in 0..3 {
        assert_eq!(send(&mut udp, &closed, b"?"), SENT);
        client.send_to(b"data", ("127.0.0.1", udp.port())).unwrap();
        assert_eq!(udp.recv(&mut slots), Ok(1));
        assert_eq!(slots[0].len, 4);
    }
}

#[test]
fn queued_report_alone_is_no_error() {
    let (mut udp, closed) = told_of_errors();
    assert_eq!(send(&mut udp, &closed, b"?"), SENT);
    assert_eq!(udp.recv(&mut slots()), Err(IoError::WouldBlock));
}

#[test]
fn queued_report_does_not_cost_the_next_datagram_sent() {
    let (mut udp, closed) = told_of_errors();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(send(&mut udp, &closed, b"?"), SENT);
    let to = Endpoint::new(peer.local_addr().unwrap());
    assert_eq!(send(&mut udp, &to, b"data"), SENT);
    assert_eq!(peer.recv_from(&mut [0; 8]).unwrap().0, 4);
}

#[test]
fn staleness_is_that_of_the_last_send() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = Endpoint::new(peer.local_addr().unwrap());
    let gone = Source { addr: "192.0.2.77".parse().unwrap(), interface: 1 };
    assert_eq!(send(&mut udp, &Endpoint { source: Some(gone), ..to }, b"x"), SENT);
    assert_eq!(send(&mut udp, &to, b"x"), SENT);
    assert!(!udp.take_stale_source());
}

#[test]
fn families_take_turns_and_an_empty_one_waits_its_time() {
    let mut udp = Udp::bind(0, 0).unwrap();
    assert_eq!(udp.order(), [Family::V4, Family::V6]);
    assert_eq!(udp.order(), [Family::V6, Family::V4]);
    udp.v4.quiet_for = Some(0);
    for call in 0..QUIET_CALLS {
        assert_eq!(udp.order(), [Family::V6, Family::V4], "call {call}");
        assert!(udp.v4.quiet_for.is_some());
    }
    let turns = [udp.order(), udp.order()];
    assert!(turns.contains(&[Family::V4, Family::V6]), "then it is asked first again");
    (udp.v4.quiet_for, udp.v6.quiet_for) = (Some(0), Some(0));
    assert_ne!(udp.order(), udp.order(), "both empty: by turns");
}

#[test]
fn the_end_of_what_waits_is_known_if_a_call_has_room_left() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut slots: Vec<_> = slots().into_iter().chain(slots()).collect();
    let mut receive = |count: usize| {
        (0..count).for_each(|_| assert_eq!(from.send_to(b"x", ("127.0.0.1", udp.port())).unwrap(), 1));
        let received = udp.recv(&mut slots);
        (received, udp.is_drained())
    };
    assert_eq!(receive(1), (Ok(1), true));
    assert_eq!(receive(2), (Ok(2), false), "there may be more");
    assert_eq!(receive(0), (Err(IoError::WouldBlock), true));
    assert_eq!(receive(3), (Ok(2), false));
    assert_eq!(receive(0), (Ok(1), true));
    assert_eq!((udp.recv(&mut []), udp.is_drained()), (Ok(0), false), "nobody was asked");
}

#[test]
fn writability_is_asked_for_only_while_a_send_is_blocked() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let mut poller = Poller::new().unwrap();
    let mut events = Events::with_capacity(4);
    let mut told = |udp: &mut Udp| {
        udp.register(&poller, Token::new(1)).unwrap();
        poller.wait(&mut events, Some(clock::now())).unwrap();
        events.iter().filter(|event| event.writable).count()
    };
    assert_eq!(told(&mut udp), 0);
    udp.v4.blocked = true;
    assert_eq!(told(&mut udp), 1);
    udp.writable();
    assert_eq!(told(&mut udp), 0);
    udp.v6.blocked = true;
    assert_eq!(told(&mut udp), udp.socket_v6().iter().count());
    udp.rebind(0).unwrap();
    assert_eq!(told(&mut udp), 0, "new sockets are added, and block nothing");
    assert_eq!(udp.v4.interest, Some(Interest::Readable));
}

#[test]
fn local_side_is_read_whatever_the_order_of_messages() {
    let mut control = ControlBuffer::new();
    control.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &0x8b_i32.to_ne_bytes());
    control.push(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[0; 16]);
    let source = Source { addr: "2001:db8::1".parse().unwrap(), interface: 0 };
    assert!(pktinfo::encode(&mut control, &source, &"[2001:db8::2]:1".parse().unwrap()));
    control.push(libc::SOL_UDP, libc::UDP_GRO, &1452_i32.to_ne_bytes());
    assert_eq!(aside(control.as_bytes()), Aside { source: Some(source), ecn: 3, segment_size: 1452 });
    assert_eq!(aside(&[]), Aside::default());
    control.clear();
    control.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &[1]);
    control.push(libc::SOL_IP, libc::IP_TOS, &[]);
    control.push(libc::SOL_UDP, libc::UDP_GRO, &[1, 2]);
    assert_eq!(aside(control.as_bytes()), Aside::default(), "too short to tell");
    control.clear();
    control.push(libc::SOL_UDP, libc::UDP_GRO, &(-1_i32).to_ne_bytes());
    assert_eq!(aside(control.as_bytes()), Aside::default(), "no length");
}

/// Sends datagrams of these lengths, numbered, and returns the report.
fn send_run(udp: &mut Udp, endpoint: &Endpoint, lengths: &[usize]) -> SendReport {
    let mut buffer = Vec::new();
    let mut segments = Vec::new();
    for (n, &len) in lengths.iter().enumerate() {
        let offset = u32::try_from(buffer.len()).unwrap();
        segments.push(Segment { offset, len: u32::try_from(len).unwrap() });
        buffer.resize(buffer.len() + len, u8::try_from(n).unwrap());
    }
    udp.send(&Transmit { endpoint, tos: 0, buffer: &buffer, segments: &segments })
}

/// A peer, and what it receives now: number and length of each datagram.
fn peer() -> (UdpSocket, Endpoint) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    let endpoint = Endpoint::new(peer.local_addr().unwrap());
    (peer, endpoint)
}

fn received(peer: &UdpSocket) -> Vec<(u8, usize)> {
    let mut datagram = [0; 2000];
    let mut received = Vec::new();
    while let Ok(len) = peer.recv(&mut datagram) {
        received.push((datagram[0], len));
    }
    received
}

fn numbered(lengths: &[usize]) -> Vec<(u8, usize)> {
    (0..).zip(lengths.iter().copied()).collect()
}

const fn done(sent: usize) -> SendReport {
    SendReport { sent, status: SendStatus::Done }
}

/// Two runs, the first of more than 64 datagrams.
fn two_runs() -> Vec<usize> {
    [vec![96; 100], vec![600; 30]].concat()
}

#[test]
fn kernel_that_takes_64_datagrams_a_message_gets_64() {
    // C103
    let mut udp = Udp::bind(0, 0).unwrap();
    udp.v4.gso = Gso::up_to(128);
    let (peer, to) = peer();
    let _refusing = refuse(Refusals { segments_above: Some((64, libc::EINVAL)), ..Refusals::default() });
    for _ in 0..2 {
        assert_eq!(send_run(&mut udp, &to, &two_runs()), done(130));
        assert_eq!(received(&peer), numbered(&two_runs()));
        assert_eq!(udp.max_segments().0, 64);
    }
    let told = Downgrade { feature: Feature::UdpLongTrains, errno: libc::EINVAL };
    assert_eq!((udp.take_downgrade(), udp.take_downgrade()), (Some(told), None));
}

#[test]
fn refused_segmentation_is_switched_off_step_by_step_and_nothing_is_lost() {
    // C103
    for (errno, steps) in [
        (libc::EIO, &[Feature::UdpGso][..]),
        (libc::EINVAL, &[Feature::UdpLongTrains, Feature::UdpGso]),
        (libc::EMSGSIZE, &[Feature::UdpGso]),
    ] {
        let mut udp = Udp::bind(0, 0).unwrap();
        udp.v4.gso = Gso::up_to(128);
        let (peer, to) = peer();
        let refusing = refuse(Refusals { segments_above: Some((1, errno)), ..Refusals::default() });
        for _ in 0..2 {
            assert_eq!(send_run(&mut udp, &to, &[96; 250]), done(250));
            assert_eq!(received(&peer), numbered(&[96; 250]), "error {errno}");
        }
        for &feature in steps {
            assert_eq!(udp.take_downgrade(), Some(Downgrade { feature, errno }));
        }
        assert_eq!(udp.take_downgrade(), None);
        assert_eq!(udp.max_segments().0, 1);
        drop(refusing);
        // New sockets may find it otherwise.
        udp.rebind(0).unwrap();
        assert!(udp.max_segments().0 > 1);
    }
}

#[test]
fn narrow_link_is_no_downgrade() {
    for errno in [libc::EINVAL, libc::EMSGSIZE] {
        let mut udp = Udp::bind(0, 0).unwrap();
        let (peer, to) = peer();
        let _refusing = refuse(Refusals { segment_size_above: Some((1000, errno)), ..Refusals::default() });
        let lengths = [vec![1400; 20], vec![96; 20]].concat();
        for _ in 0..2 {
            assert_eq!(send_run(&mut udp, &to, &lengths), done(40));
            assert_eq!(received(&peer), numbered(&lengths));
        }
        assert_eq!(udp.v4.gso.limits(to.remote.ip(), Family::V4).segment_size, 1399);
        assert_eq!(udp.take_downgrade(), None);
        assert!(udp.max_segments().0 >= 64);
    }
}

#[test]
fn messages_taken_in_part_are_resumed_behind_the_last_datagram_taken() {
    // C102
    let mut udp = Udp::bind(0, 0).unwrap();
    let (peer, to) = peer();
    let lengths = [vec![96; 100], vec![97; 30], vec![5], vec![1400; 12]].concat();
    for take in 1..4 {
        let _refusing = refuse(Refusals { take_messages: Some(take), ..Refusals::default() });
        assert_eq!(send_run(&mut udp, &to, &lengths), done(143));
        assert_eq!(received(&peer), numbered(&lengths));
    }
}

#[test]
fn full_queue_and_firewall_are_told_of_a_message_as_of_a_datagram() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let (peer, to) = peer();
    let refuse_once = |errno| refuse(Refusals { sends: Some((1, errno)), ..Refusals::default() });
    for (errno, status) in
        [(libc::EAGAIN, SendStatus::WouldBlock), (libc::EPERM, SendStatus::Dropped(libc::EPERM))]
    {
        let _refusing = refuse_once(errno);
        assert_eq!(send_run(&mut udp, &to, &[96; 40]), SendReport { sent: 0, status });
        assert_eq!(received(&peer), []);
        assert_eq!(send_run(&mut udp, &to, &[96; 40]), done(40));
        assert_eq!(received(&peer), numbered(&[96; 40]));
    }
    let _refusing = refuse_once(libc::EINTR);
    assert_eq!(send_run(&mut udp, &to, &[96; 40]), done(40));
    assert_eq!(received(&peer), numbered(&[96; 40]));
    assert_eq!(udp.take_downgrade(), None);
}

#[test]
fn loss_in_a_full_queue_is_told_by_neither_family() {
    // The IPv6 socket hears of it, as IPV6_RECVERR is set there.
    let mut udp = Udp::bind(0, 0).unwrap();
    let Ok(peer) = UdpSocket::bind("[::1]:0") else {
        return println!("SKIPPED loss_in_a_full_queue_is_told_by_neither_family: no IPv6 here");
    };
    peer.set_nonblocking(true).unwrap();
    let to = Endpoint::new(peer.local_addr().unwrap());
    let _refusing = refuse(Refusals { sends: Some((1, libc::ENOBUFS)), ..Refusals::default() });
    let lengths = [vec![96; 40], vec![97; 5]].concat();
    assert_eq!(send_run(&mut udp, &to, &lengths), done(45));
    assert_eq!(received(&peer), numbered(&lengths)[40..], "the first message was lost as a whole");
}

#[test]
fn queue_that_fills_up_after_a_refused_message_is_no_downgrade_yet() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let (peer, to) = peer();
    // The second refusal meets the first datagram of the message, alone.
    let refusing = refuse(Refusals { sends: Some((2, libc::EINVAL)), ..Refusals::default() });
    let report = send_run(&mut udp, &to, &[96; 40]);
    assert_eq!(report, SendReport { sent: 0, status: SendStatus::Dropped(libc::EINVAL) });
    drop(refusing);
    assert_eq!(udp.take_downgrade(), None, "the datagrams do not pass either");
    assert_eq!(send_run(&mut udp, &to, &[96; 40]), done(40));
    assert_eq!(received(&peer), numbered(&[96; 40]));
}

#[test]
fn kernel_without_the_options_is_told_of_at_once() {
    let refusals = Refusals {
        udp_segment: Some(libc::ENOPROTOOPT),
        udp_gro: Some(libc::ENOPROTOOPT),
        ..Refusals::default()
    };
    let _refusing = refuse(refusals);
    let mut udp = Udp::bind_with(0, 0, Offloads::ALL).unwrap();
    assert_eq!(udp.max_segments(), (1, 1));
    let mut told = Vec::new();
    while let Some(Downgrade { feature, errno }) = udp.take_downgrade() {
        assert_eq!(errno, libc::ENOPROTOOPT);
        told.push(feature);
    }
    let sockets = udp.socket_v4().iter().count() + udp.socket_v6().iter().count();
    assert_eq!(told, [Feature::UdpGro, Feature::UdpGso].repeat(sockets));
    let (peer, to) = peer();
    assert_eq!(send_run(&mut udp, &to, &two_runs()), done(130));
    assert_eq!(received(&peer), numbered(&two_runs()));

    let mut off = Udp::bind_with(0, 0, Offloads::NONE).unwrap();
    assert_eq!((off.max_segments(), off.take_downgrade()), ((1, 1), None), "not asked for, not missed");
}

#[test]
fn refusals_allocate_nothing() {
    let mut udp = Udp::bind(0, 0).unwrap();
    udp.v4.gso = Gso::up_to(128);
    let (_peer, to) = peer();
    let buffer = [0; 9600];
    let segments: Vec<_> = (0..100).map(|n| Segment { offset: n * 96, len: 96 }).collect();
    for limit in [64, 1] {
        let _refusing =
            refuse(Refusals { segments_above: Some((limit, libc::EINVAL)), ..Refusals::default() });
        let before = wg_tally::allocator::calls();
        let report = udp.send(&Transmit { endpoint: &to, tos: 0, buffer: &buffer, segments: &segments });
        assert_eq!((report, wg_tally::allocator::calls() - before), (done(100), 0));
        assert_eq!(udp.max_segments().0, limit);
    }
}
