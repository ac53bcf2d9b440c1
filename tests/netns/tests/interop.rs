//! Two programs exchange traffic: either side begins, IPv4 and IPv6 outside and inside, preshared keys, packets of every
//! size, streams that must arrive whole.

use core::time::Duration;

use rustix::process::Signal;
use wg_netns::capture::Capture;
use wg_netns::key::Key;
use wg_netns::ping::Ping;
use wg_netns::requirements::can_run;
use wg_netns::tcp::{self, Limit};
use wg_netns::udp::Flow;
use wg_netns::{Family, Node, Pair, Program, for_each_pair, wait};

use core::net::SocketAddr;

/// The first byte of an initiation.
const INITIATION: u8 = 1;

for_each_pair! {
    /// C14, C44, C46, C87: the node that knows the other's endpoint begins; the other learns it and can answer and begin.
    fn first_node_initiates(programs: [Program; 2]) {
        for outside in Family::BOTH {
            let pair = Pair::new(programs);
            pair.a.add_peer(&pair.b, Some(pair.b.endpoint(outside)));
            pair.b.add_peer(&pair.a, None);
            exchange_begun_by(&pair.a, &pair.b, outside);
        }
    }

    /// The same the other way round.
    fn second_node_initiates(programs: [Program; 2]) {
        for outside in Family::BOTH {
            let pair = Pair::new(programs);
            pair.a.add_peer(&pair.b, None);
            pair.b.add_peer(&pair.a, Some(pair.a.endpoint(outside)));
            exchange_begun_by(&pair.b, &pair.a, outside);
        }
    }

    /// C16, C135: equal preshared keys work, and a key on one side only or two different ones give no session at all.
    fn preshared_keys_must_be_equal(programs: [Program; 2]) {
        let key = Key::random();
        for (first, second, agree) in [
            (Some(key), Some(key), true),
            (Some(key), Some(Key::random()), false),
            (Some(key), None, false),
            (None, Some(key), false),
        ] {
            let pair = Pair::acquainted(programs, Family::V4);
            pair.a.set_preshared_key(&pair.b, first);
            pair.b.set_preshared_key(&pair.a, second);
            assert_eq!(pair.a.peer(&pair.b).preshared_key, first);
            assert_eq!(pair.a.reaches(&pair.b, Family::V4), agree, "preshared keys {first:?} and {second:?}");
            for peer in [pair.a.peer(&pair.b), pair.b.peer(&pair.a)] {
                assert_eq!(peer.latest_handshake > 0, agree);
            }
        }
    }

    /// C5, C65, C66, C80: sizes around the padding and the MTU, and inner fragments up to the largest ping there is.
    fn every_size_passes(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        for family in Family::BOTH {
            for payload in [0, 1, 15, 16, 17, 100, 1371, 1372, 1373, 1391, 1392, 1393, 4000, 9000, 65_507] {
                let report = Ping::to(pair.b.inner(family)).payload(payload).run(&pair.a.namespace);
                assert!(report.is_lossless(), "{payload} bytes in {family:?}: {report:?}");
            }
        }
    }

    /// C97: a datagram larger than the link is fragmented outside, whichever protocol carries it.
    fn large_mtu_is_carried_by_outer_fragments(programs: [Program; 2]) {
        for outside in Family::BOTH {
            let pair = Pair::acquainted(programs, outside);
            for node in [&pair.a, &pair.b] {
                node.namespace.ip(&format!("link set {} mtu 9000", node.interface()));
            }
            for payload in [56, 1500, 8972] {
                let report = Ping::to(pair.b.inner(Family::V4)).payload(payload).whole().run(&pair.a.namespace);
                assert!(report.is_lossless(), "{payload} bytes over {outside:?}: {report:?}");
            }
        }
    }

    /// C68: TCP arrives byte for byte, in both directions and both families.
    fn tcp_arrives_whole(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V6);
        for inside in Family::BOTH {
            for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
                let address = SocketAddr::new(to.inner(inside), 4000);
                let report =
                    tcp::transfer(&from.namespace, &to.namespace, address, Limit::Bytes(8 << 20), |_, _| {})
                        .expect("a connection through the tunnel");
                assert!(report.intact, "{report:?}");
            }
        }
    }

    /// C59, C68, C77: numbered packets, both directions at once, each arrives once and in order.
    fn udp_arrives_once_and_in_order(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let flow = |from: &Node, to: &Node| {
            Flow::start(&from.namespace, &to.namespace, SocketAddr::new(to.inner(Family::V6), 4001), 1000, 700)
        };
        let (there, back) = (flow(&pair.a, &pair.b), flow(&pair.b, &pair.a));
        wait::until(Duration::from_secs(20), || there.received() >= 2000 && back.received() >= 2000);
        for (account, receiver) in [(there.finish(), &pair.b), (back.finish(), &pair.a)] {
            let excused = receiver.excused_losses();
            assert!(
                account.sent >= 2000 && account.is_perfect_but_for(excused),
                "to node {}, {excused} losses excused: {account:?}",
                receiver.number
            );
        }
    }
}

/// The control of what is excused above: a `wireguard-go` that stands still for longer than its sockets hold loses just what is
/// counted there.
#[test]
fn losses_of_a_full_socket_are_counted() {
    if !can_run() {
        return;
    }
    let pair = Pair::acquainted([Program::Gateway, Program::WireguardGo], Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    assert_eq!(pair.b.excused_losses(), 0);
    let address = SocketAddr::new(pair.b.inner(Family::V6), 4001);
    let flow = Flow::start(&pair.a.namespace, &pair.b.namespace, address, 1000, 700);
    pair.b.tunnel.signal(Signal::STOP);
    assert!(wait::until(Duration::from_secs(20), || pair.b.excused_losses() >= 100));
    pair.b.tunnel.signal(Signal::CONT);
    let account = flow.finish();
    assert!(account.lost() >= 100 && account.is_perfect_but_for(pair.b.excused_losses()), "{account:?}");
    assert_eq!(pair.a.excused_losses(), 0);
}

fn exchange_begun_by(initiator: &Node, responder: &Node, outside: Family) {
    let capture = Capture::start(&initiator.namespace);
    assert!(initiator.reaches(responder, Family::V4));
    let first = capture.find(Duration::from_secs(1), |datagram| {
        datagram.source.ip().is_ipv4() == (outside == Family::V4) && !datagram.payload.is_empty()
    });
    let first = first.expect("a datagram on the wire");
    assert_eq!((first.payload[0], first.source), (INITIATION, initiator.endpoint(outside)));
    assert_eq!(responder.peer(initiator).endpoint, Some(initiator.endpoint(outside)));
    for inside in Family::BOTH {
        assert!(initiator.reaches(responder, inside));
        assert!(responder.reaches(initiator, inside));
    }
    for peer in [initiator.peer(responder), responder.peer(initiator)] {
        assert!(peer.latest_handshake > 0);
    }
}
