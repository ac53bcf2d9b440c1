//! What the sockets do with errors queued for them. The kernel is made to queue them by IP_RECVERR.

use std::net::UdpSocket;

use wg_datapath::io::Segment;
use wg_datapath::slab::{SlabClass, SlabPool};

use super::*;
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
