//! Changes while traffic flows: keys, peers, preshared keys, ports, marks, MTU, the interface itself.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::net::UdpSocket;

use wg_netns::capture::Capture;
use wg_netns::key::{Key, KeyPair};
use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::udp::Flow;
use wg_netns::{Family, Namespace, Node, Pair, Program, for_each_pair, wait, wg};

/// Less than the 5 s until a handshake is tried again: what works within it did not need a second attempt.
const FIRST_ATTEMPT: Duration = Duration::from_secs(4);
/// A second attempt after 5 s and its jitter, and the machine's share.
const SECOND_ATTEMPT: Duration = Duration::from_secs(12);

for_each_pair! {
    /// C133: a new private key on one side, its public key on the other, and the next ping passes.
    fn key_change_is_followed_at_once(programs: [Program; 2]) {
        let mut pair = Pair::acquainted(programs, Family::V4);
        for _ in 0..2 {
            assert!(pair.a.reaches_within(SECOND_ATTEMPT, &pair.b, Family::V4));
            pair.b.tunnel.set(&format!("peer {} remove", pair.a.keys.public));
            pair.a.keys = KeyPair::generate();
            pair.b.add_peer(&pair.a, Some(pair.a.endpoint(Family::V4)));
            pair.a.tunnel.set_with_input("private-key /dev/stdin", &pair.a.keys.private.to_string());
            assert!(pair.a.reaches_within(FIRST_ATTEMPT, &pair.b, Family::V4));
            assert!(pair.b.reaches(&pair.a, Family::V6));
        }
    }

    /// C133: setting the same private key again changes nothing.
    fn same_key_again_keeps_the_session(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let capture = Capture::start(&pair.a.namespace);
        pair.a.tunnel.set_with_input("private-key /dev/stdin", &pair.a.keys.private.to_string());
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(handshake_messages(&capture), 0);
    }

    /// C133, C134: a peer whose key becomes our own is removed, and one with our own key is never added.
    fn own_key_is_no_peer(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        pair.a.tunnel.set(&format!("peer {} allowed-ips 10.5.0.0/16", pair.a.keys.public));
        assert_eq!(pair.a.tunnel.show().peers.len(), 1);
        let other = KeyPair::generate();
        pair.a.tunnel.set(&format!("peer {} allowed-ips 10.6.0.0/16", other.public));
        pair.a.tunnel.set_with_input("private-key /dev/stdin", &other.private.to_string());
        let status = pair.a.tunnel.show();
        assert!(status.peer(&other.public).is_none() && status.peer(&pair.b.keys.public).is_some());
    }

    /// C48: without a private key nothing is sent; with the first one, staged traffic goes out.
    fn removed_key_silences(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        // The packaged wireguard-go goes on with a key of zeros.
        let (subject, other) = gateway_first(&pair);
        subject.tunnel.set("private-key /dev/null");
        assert_eq!(subject.tunnel.show().private_key, None);
        let capture = Capture::start(&subject.namespace);
        assert!(!subject.reaches(other, Family::V4));
        assert_eq!(capture.matching(|datagram| datagram.destination.port() == PORT), []);
        subject.tunnel.set_with_input("private-key /dev/stdin", &subject.keys.private.to_string());
        assert!(capture.find(FIRST_ATTEMPT, |datagram| datagram.destination.port() == PORT).is_some());
        assert!(subject.reaches_within(SECOND_ATTEMPT, other, Family::V4));
    }

    /// C23: a private key is clamped when it is stored, and shown so.
    fn private_key_is_shown_clamped(programs: [Program; 2]) {
        let pair = Pair::new(programs);
        let key = Key::from_bytes([0xff; 32]);
        assert!(key.to_string().starts_with('/') && key.clamped().to_string().starts_with('+'));
        pair.a.tunnel.set_with_input("private-key /dev/stdin", &key.to_string());
        assert_eq!(pair.a.tunnel.show().private_key, Some(key.clamped()));
        // A public key is kept as it is, whatever its highest bit (C22).
        pair.a.tunnel.set(&format!("peer {key}"));
        assert!(pair.a.tunnel.show().peer(&key).is_some());
    }

    /// C137, C139: a removed peer is gone for both directions; removing it again is no error; added again, it works.
    fn removed_peer_is_gone(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        for _ in 0..2 {
            pair.a.tunnel.set(&format!("peer {} remove", pair.b.keys.public));
        }
        assert_eq!(pair.a.tunnel.show().peers, []);
        assert!(!pair.a.reaches(&pair.b, Family::V4));
        assert!(!pair.b.reaches(&pair.a, Family::V4));
        pair.a.add_peer(&pair.b, Some(pair.b.endpoint(Family::V4)));
        assert!(pair.a.reaches_within(SECOND_ATTEMPT, &pair.b, Family::V4));
    }

    /// C135: a preshared key is for the next handshake. The live session goes on; the next one needs it on both sides.
    fn preshared_key_change_waits_for_the_next_handshake(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        let (subject, other) = gateway_first(&pair);
        assert!(subject.reaches(other, Family::V4));
        let key = Key::random();
        subject.set_preshared_key(other, Some(key));
        assert!(subject.reaches(other, Family::V4), "the live session has ended");
        drop_session(subject);
        assert!(!subject.reaches(other, Family::V4), "a session in spite of unequal keys");
        other.set_preshared_key(subject, Some(key));
        assert!(subject.reaches_within(SECOND_ATTEMPT, other, Family::V4));
        drop_session(subject);
        for (node, other) in [(subject, other), (other, subject)] {
            node.set_preshared_key(other, None);
        }
        assert!(subject.reaches_within(SECOND_ATTEMPT, other, Family::V4));
        assert_eq!(subject.peer(other).preshared_key, None);
    }

    /// C93: the port changes again and again under traffic in both directions. The side that changes loses nothing that
    /// it sends; what is sent to it finds the new port.
    fn port_changes_under_traffic(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let flow = |from: &Node, to: &Node| {
            Flow::start(&from.namespace, &to.namespace, SocketAddr::new(to.inner(Family::V4), 4000), 500, 100)
        };
        let (from_mover, to_mover) = (flow(&pair.a, &pair.b), flow(&pair.b, &pair.a));
        for port in [7001, 7002, 7003, 7004] {
            let (sent, arrived) = (from_mover.received(), to_mover.received());
            assert!(wait::until(FIRST_ATTEMPT, || from_mover.received() > sent + 100), "before port {port}");
            pair.a.tunnel.set(&format!("listen-port {port}"));
            let moved = SocketAddr::new(pair.a.outer(Family::V4), port);
            assert!(wait::until(FIRST_ATTEMPT, || pair.b.peer(&pair.a).endpoint == Some(moved)));
            assert!(wait::until(FIRST_ATTEMPT, || to_mover.received() > arrived + 100), "deaf on port {port}");
        }
        let (from_mover, to_mover) = (from_mover.finish(), to_mover.finish());
        assert_eq!((to_mover.duplicated, to_mover.reordered, to_mover.corrupted), (0, 0, 0));
        if pair.a.tunnel.program() == Program::Gateway {
            assert!(from_mover.is_perfect(), "{from_mover:?}");
            assert!(to_mover.lost() < 100, "{to_mover:?}");
        }
    }

    /// C93: a port that somebody has, in either family, is refused, and the old port goes on working.
    fn taken_port_is_refused(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        // The packaged wireguard-go closes its socket first and is left without one.
        let (subject, other) = gateway_first(&pair);
        assert!(subject.reaches(other, Family::V4));
        for (address, port) in [("0.0.0.0:7100", 7100), ("[::]:7101", 7101)] {
            let taken = subject.namespace.enter(|| UdpSocket::bind(address)).expect("a free port");
            let refused = wg::try_wg(&format!("set {} listen-port {port}", subject.interface()), "");
            assert!(refused.is_err_and(|failure| failure.output.contains("Address already in use")));
            assert_eq!(subject.tunnel.show().listen_port, PORT);
            assert!(subject.reaches(other, Family::V4) && other.reaches(subject, Family::V6));
            drop(taken);
            // Until the program that another test is just starting has closed its copy, which takes some time on a busy machine.
            let set = || wg::try_wg(&format!("set {} listen-port {port}", subject.interface()), "").is_ok();
            assert!(wait::until(FIRST_ATTEMPT, set));
            assert!(subject.reaches(other, Family::V4));
            subject.tunnel.set(&format!("listen-port {PORT}"));
            assert!(subject.reaches(other, Family::V4));
        }
    }

    /// C92: port 0 picks one, and the same for both families.
    fn port_zero_picks_one(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        pair.a.tunnel.set("listen-port 0");
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let port = pair.a.tunnel.show().listen_port;
        assert_ne!(port, 0);
        for address in [format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
            let free = pair.a.namespace.enter(|| UdpSocket::bind(&address));
            assert!(free.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse), "{address}");
        }
    }

    /// C95: the mark is on every datagram, handshake and data, until it is taken off.
    fn mark_is_on_every_datagram(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        pair.a.namespace.ip("rule add fwmark 0x1234 blackhole");
        pair.a.tunnel.set("fwmark 0x1234");
        assert_eq!(pair.a.tunnel.show().fwmark, 0x1234);
        let capture = Capture::start(&pair.a.namespace);
        assert!(!pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(capture.matching(|datagram| datagram.destination.port() == PORT), []);
        pair.a.tunnel.set("fwmark off");
        assert!(pair.a.reaches_within(SECOND_ATTEMPT, &pair.b, Family::V4));
        pair.a.tunnel.set("fwmark 0x1234");
        assert!(!pair.a.reaches(&pair.b, Family::V4));
        pair.a.tunnel.set("fwmark 0");
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(pair.a.tunnel.show().fwmark, 0);
    }

    /// C65, C99: the padding never exceeds the MTU, and follows its change at once.
    fn padding_follows_the_mtu(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let capture = Capture::start(&pair.a.namespace);
        for mtu in [1420, 1300, 1305, 1419, 1420, 576] {
            for node in [&pair.a, &pair.b] {
                node.namespace.ip(&format!("link set {} mtu {mtu}", node.interface()));
            }
            // The program hears of it from the kernel, some moments later.
            let padded = wait::until(FIRST_ATTEMPT, || {
                capture.forget();
                let ping = Ping::to(pair.b.inner(Family::V4)).payload(mtu - 28).whole().run(&pair.a.namespace);
                assert!(ping.is_lossless(), "MTU {mtu}: {ping:?}");
                let lengths: Vec<usize> =
                    capture.matching(|datagram| datagram.destination.port() == PORT).iter().map(|d| d.length).collect();
                lengths == [mtu + 32, mtu + 32]
            });
            assert!(padded, "MTU {mtu}: {:?}", capture.matching(|_| true));
        }
    }

    /// C129: taken down, the program is silent and deaf; taken up, it begins a new session at once.
    fn interface_goes_down_and_up(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        // The packaged wireguard-go does not notice that its interface goes down.
        let (subject, other) = gateway_first(&pair);
        assert!(subject.reaches(other, Family::V4));
        let before = subject.peer(other);
        take_down(subject);
        assert!(!other.reaches(subject, Family::V4));
        let during = subject.peer(other);
        assert_eq!((during.rx_bytes, during.tx_bytes), (before.rx_bytes, before.tx_bytes));
        assert_eq!((during.endpoint, during.latest_handshake), (before.endpoint, before.latest_handshake));
        let capture = Capture::start(&subject.namespace);
        subject.namespace.ip(&format!("link set {} up", subject.interface()));
        assert!(subject.reaches_within(SECOND_ATTEMPT, other, Family::V4));
        assert!(handshake_messages(&capture) >= 2);
        assert!(other.reaches(subject, Family::V4));
    }

    /// The interface moves to another namespace; the sockets stay where the program is.
    fn interface_moves_to_another_namespace(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        // The packaged wireguard-go does not hear of changes from there.
        let (subject, other) = gateway_first(&pair);
        assert!(subject.reaches(other, Family::V4));
        let inside = Namespace::new();
        subject.namespace.ip(&format!("link set {} netns {}", subject.interface(), inside.name()));
        subject.take_up(&inside);
        let reaches = |from: &Namespace, to: &Node| {
            wait::until(SECOND_ATTEMPT, || Ping::to(to.inner(Family::V4)).patience(Duration::from_secs(1)).run(from).received == 1)
        };
        assert!(reaches(&inside, other));
        assert!(other.reaches(subject, Family::V4));
        // What the kernel tells about the interface must reach the program from there as well.
        inside.ip(&format!("link set {} mtu 1300", subject.interface()));
        let capture = Capture::start(&subject.namespace);
        let padded = wait::until(FIRST_ATTEMPT, || {
            Ping::to(other.inner(Family::V4)).payload(1300 - 28).run(&inside);
            capture.find(Duration::ZERO, |datagram| datagram.length == 1300 + 32).is_some()
        });
        assert!(padded, "the MTU is not heard of");
        inside.ip(&format!("link set {} down", subject.interface()));
        assert!(!other.reaches(subject, Family::V4));
        inside.ip(&format!("link set {} up", subject.interface()));
        assert!(reaches(&inside, other));
        inside.ip(&format!("link set {} netns {}", subject.interface(), subject.namespace.name()));
        subject.take_up(&subject.namespace);
        assert!(reaches(&subject.namespace, other));
    }

    /// W4: `setconf` replaces the peers, `addconf` adds to them, `syncconf` leaves a live session alone.
    fn whole_configurations(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let shown = wg::wg(&format!("showconf {}", pair.a.interface()), "");
        let stranger = Key::random();
        let more = format!("[Peer]\nPublicKey = {stranger}\nAllowedIPs = 10.7.0.0/16\n");
        wg::wg(&format!("addconf {} /dev/stdin", pair.a.interface()), &more);
        assert_eq!(pair.a.tunnel.show().peers.len(), 2);
        let capture = Capture::start(&pair.a.namespace);
        wg::wg(&format!("syncconf {} /dev/stdin", pair.a.interface()), &shown);
        assert_eq!(pair.a.tunnel.show().peers.len(), 1);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(handshake_messages(&capture), 0, "the session did not outlive `syncconf`");
        pair.a.tunnel.setconf(&(shown.clone() + &more));
        assert_eq!(pair.a.tunnel.show().peers.len(), 2);
        assert!(pair.a.reaches_within(SECOND_ATTEMPT, &pair.b, Family::V4));
        pair.a.tunnel.setconf(&shown);
        assert!(pair.a.tunnel.show().peer(&stranger).is_none());
    }
}

/// The nodes, a gateway first. With two of them node 1 is.
fn gateway_first(pair: &Pair) -> (&Node, &Node) {
    match pair.a.tunnel.program() {
        Program::Gateway => (&pair.a, &pair.b),
        _ => (&pair.b, &pair.a),
    }
}

/// Ends the session of `node`, so that its next packet needs a handshake.
fn drop_session(node: &Node) {
    take_down(node);
    node.namespace.ip(&format!("link set {} up", node.interface()));
    assert!(wait::until(FIRST_ATTEMPT, || !port_is_free(node)), "the port is not bound again");
}

/// Takes the interface down and waits until the program has heard of it, which shows in its closed sockets.
fn take_down(node: &Node) {
    node.namespace.ip(&format!("link set {} down", node.interface()));
    assert!(wait::until(FIRST_ATTEMPT, || port_is_free(node)), "the port is still bound");
}

/// Looks at the table of sockets. To try to bind the port would take it from a program that is about to.
fn port_is_free(node: &Node) -> bool {
    let table = node.namespace.enter(|| fs::read_to_string("/proc/thread-self/net/udp"));
    let port = format!(":{PORT:04X}");
    let local = |line: &str| line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&port));
    !table.expect("the table of sockets").lines().any(local)
}

fn handshake_messages(capture: &Capture) -> usize {
    capture.matching(|d| d.destination.port() == PORT && matches!(d.payload.first(), Some(1 | 2))).len()
}
