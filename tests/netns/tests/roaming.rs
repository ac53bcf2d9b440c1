//! A node moves: its address or its port changes, and the other side follows the authenticated packets.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use wg_netns::capture::Capture;
use wg_netns::inject::Injector;
use wg_netns::node::PORT;
use wg_netns::{Family, Node, Pair, Program, for_each_pair};

/// The first byte of a data message.
const DATA: u8 = 4;
const SOON: Duration = Duration::from_secs(2);
/// Well before the 15 s after which a silent peer is asked for a new handshake, which would hide a source that is kept too
/// long (C91).
const BEFORE_TIMERS: Duration = Duration::from_secs(8);

for_each_pair! {
    /// C87, C140: the first node loses its address and gets another; its next packets move it at the second.
    fn initiator_changes_its_address(programs: [Program; 2]) {
        for family in Family::BOTH {
            let pair = Pair::acquainted(programs, family);
            assert!(pair.a.reaches(&pair.b, Family::V4));
            changes_its_address(&pair.a, &pair.cable.first, &pair.b, family);
        }
    }

    /// The same for the responder, whose replies were pinned to the address that is now gone (C90).
    fn responder_changes_its_address(programs: [Program; 2]) {
        for family in Family::BOTH {
            let pair = Pair::acquainted(programs, family);
            assert!(pair.a.reaches(&pair.b, Family::V4));
            changes_its_address(&pair.b, &pair.cable.second, &pair.a, family);
        }
    }

    /// C87: after a change of port the peer answers to the new one, without a new handshake.
    fn port_changes(programs: [Program; 2]) {
        for family in Family::BOTH {
            let pair = Pair::acquainted(programs, family);
            assert!(pair.a.reaches(&pair.b, Family::V4));
            let capture = Capture::start(&pair.a.namespace);
            pair.a.tunnel.set("listen-port 7777");
            assert_eq!(pair.a.tunnel.show().listen_port, 7777);
            assert!(pair.a.reaches(&pair.b, Family::V4));
            let expected = SocketAddr::new(pair.a.outer(family), 7777);
            assert_eq!(pair.b.peer(&pair.a).endpoint, Some(expected));
            assert!(pair.b.reaches(&pair.a, Family::V6));
            let other = capture.matching(|datagram| is_outer(datagram.source.ip()) && datagram.payload[0] != DATA);
            assert_eq!(other, []);
        }
    }

    /// C90: a datagram to the second address of a node is answered from that address.
    fn answers_leave_from_the_address_that_was_asked(programs: [Program; 2]) {
        for family in Family::BOTH {
            let pair = Pair::new(programs);
            let asked = SocketAddr::new(pair.b.second_outer(family), PORT);
            pair.a.add_peer(&pair.b, Some(asked));
            pair.b.add_peer(&pair.a, None);
            let capture = Capture::start(&pair.a.namespace);
            assert!(pair.a.reaches(&pair.b, Family::V4));
            assert!(pair.b.reaches(&pair.a, Family::V4));
            let from_b = capture.matching(|datagram| datagram.destination == pair.a.endpoint(family));
            assert!(from_b.len() >= 3, "a response and two data messages: {from_b:?}");
            assert!(from_b.iter().all(|datagram| datagram.source == asked), "{from_b:?}");
            assert_eq!(pair.a.peer(&pair.b).endpoint, Some(asked));
        }
    }

    /// C140: a configured endpoint is where the next packet goes, whatever was learnt before.
    fn configured_endpoint_is_used_at_once(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let capture = Capture::start(&pair.b.namespace);
        let second = SocketAddr::new(pair.b.second_outer(Family::V4), PORT);
        pair.a.add_peer(&pair.b, Some(second));
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert!(capture.find(SOON, |datagram| datagram.destination == second).is_some());
        pair.a.add_peer(&pair.b, Some(pair.b.endpoint(Family::V6)));
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert!(capture.find(SOON, |datagram| datagram.destination == pair.b.endpoint(Family::V6)).is_some());
    }

    /// C89: the copy of a datagram, or of its beginning, sent from another address does not move the peer there.
    fn replay_does_not_move_the_peer(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        let capture = Capture::start(&pair.b.namespace);
        for _ in 0..3 {
            assert!(pair.a.reaches(&pair.b, Family::V4));
        }
        let to_b = capture.matching(|datagram| datagram.destination == pair.b.endpoint(Family::V4));
        assert!(to_b.iter().any(|datagram| datagram.payload[0] == DATA));
        let thief = SocketAddr::new(pair.a.second_outer(Family::V4), 0);
        let thief = Injector::new(&pair.a.namespace, thief, pair.b.endpoint(Family::V4));
        let before = pair.b.peer(&pair.a);
        for datagram in &to_b {
            thief.send(&datagram.payload);
        }
        assert_eq!(thief.answers(Duration::from_millis(500)), Vec::<Vec<u8>>::new());
        assert_eq!(pair.b.peer(&pair.a), before);
        assert!(pair.b.reaches(&pair.a, Family::V4));
    }
}

/// `mover` loses its first address on `link`, keeps the second, and goes on sending to `other`.
fn changes_its_address(mover: &Node, link: &str, other: &Node, family: Family) {
    let prefix = if family == Family::V4 { 24 } else { 64 };
    if family == Family::V4 {
        // Otherwise the kernel takes all addresses of the subnet with the first one.
        mover.namespace.set_sysctl(&format!("ipv4/conf/{link}/promote_secondaries"), "1");
    }
    mover.namespace.ip(&format!("addr del {}/{prefix} dev {link}", mover.outer(family)));
    if mover.tunnel.program() == Program::WireguardGo {
        // It keeps to a source that is gone until its handshake timer fires; here it only has to move, so it is told.
        mover.add_peer(other, Some(other.endpoint(family)));
    }
    assert!(mover.reaches_within(BEFORE_TIMERS, other, Family::V4), "{family:?}: the mover is not heard");
    let expected = SocketAddr::new(mover.second_outer(family), PORT);
    assert_eq!(other.peer(mover).endpoint, Some(expected));
    assert!(other.reaches_within(BEFORE_TIMERS, mover, Family::V6), "{family:?}: the mover is not found");
}

fn is_outer(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..2] == [10, 0],
        IpAddr::V6(address) => address.segments()[0] == 0xfd00,
    }
}
