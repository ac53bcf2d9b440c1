//! What the gateway drops is told, by reason and exactly, whichever lane it died on; `wg` passes over what it does not know.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::process::Command;

use rustix::process::Signal;
use wg_netns::capture::Capture;
use wg_netns::inject::Injector;
use wg_netns::requirements::can_run;
use wg_netns::wg::wg;
use wg_netns::{Family, Launch, Node, Pair, Program, uapi, wait};

/// Datagrams of each kind, each with a port of its own, and some with an index: they come to all lanes.
const MANY: u16 = 30;
/// The discard port.
const DISCARD: u16 = 9;

/// C84: on one lane, on several, and where all threads have one home.
#[test]
fn every_drop_is_told_by_its_reason_whichever_lane_it_died_on() {
    if !can_run() {
        return;
    }
    for arguments in
        ["--threads 1", "--threads 3", "--threads 3 --lanes 2", "--threads 2 --strategy locked-mutex"]
    {
        let pair = pair(arguments);
        let capture = Capture::start(&pair.a.namespace);
        for _ in 0..3 {
            assert!(pair.b.reaches(&pair.a, Family::V4) && pair.a.reaches(&pair.b, Family::V6));
        }
        let is_data = |payload: &[u8]| payload.first() == Some(&4);
        let to = pair.a.endpoint(Family::V4);
        let old = capture.matching(|datagram| datagram.destination == to && is_data(&datagram.payload));
        assert!(old.len() >= 3, "{old:?}");
        let peers = pair.a.tunnel.show().peers;
        let mut expected = dropped(&pair.a);

        let from_b = |datagram: &[u8]| {
            let source = SocketAddr::new(pair.b.second_outer(Family::V4), 0);
            Injector::new(&pair.b.namespace, source, to).send(datagram);
        };
        let mut of_nobody = [0xa5; 64];
        of_nobody[..4].copy_from_slice(&[4, 0, 0, 0]);
        let mut index = 0x9e37_79b9_u32;
        for _ in 0..MANY {
            from_b(&[9, 0, 0, 0, 0, 0, 0, 0]);
            from_b(&[4, 0]);
            // By leaps: the lane is a multiple of the index, and even steps might come to the same one again and again.
            index ^= index << 13;
            index ^= index >> 17;
            index ^= index << 5;
            of_nobody[4..8].copy_from_slice(&index.to_be_bytes());
            from_b(&of_nobody);
        }
        old.iter().for_each(|datagram| from_b(&datagram.payload));
        // To nobody, and from nobody.
        let inside = |last| IpAddr::from(Ipv4Addr::new(10, 1, 0, last));
        pair.b.namespace.ip(&format!("addr add {}/32 dev {}", inside(77), pair.b.interface()));
        for number in 0..MANY {
            let here = SocketAddr::new(pair.a.inner(Family::V4), 5000 + number);
            Injector::new(&pair.a.namespace, here, SocketAddr::new(inside(99), DISCARD)).send(b"to nobody");
        }
        for number in 0..2 {
            let there = SocketAddr::new(pair.a.inner(Family::V4), DISCARD);
            let source = SocketAddr::new(inside(77), 5000 + number);
            Injector::new(&pair.b.namespace, source, there).send(b"from nobody");
        }

        let many = u64::from(MANY);
        for (reason, count) in [
            ("unknown_message_type", many),
            ("message_too_short", many),
            ("unknown_index", many),
            ("replay", old.len() as u64),
            ("no_peer_for_destination", many),
            ("bad_source", 2),
        ] {
            *expected.entry(reason.to_owned()).or_default() += count;
        }
        wait::until(Duration::from_secs(10), || dropped(&pair.a) == expected);
        assert_eq!(dropped(&pair.a), expected, "{arguments}");
        if arguments == "--threads 3" {
            assert!(received(&pair.a).iter().all(|count| *count > 0), "a lane came to nothing");
        }
        assert_wg_reads_it(&pair, &peers);
        assert_told(pair.a, &expected);
    }
}

/// A gateway with these arguments and a peer, to whom what the kernel says to all goes, so that it is not counted.
fn pair(arguments: &str) -> Pair {
    let arguments = arguments.split(' ').map(Into::into).collect();
    let launch = Launch { arguments, log_level: Some("verbose"), ..Launch::from(Program::Gateway) };
    let pair = Pair::new([launch, Launch::from(Program::Gateway)]);
    pair.acquaint(Family::V4);
    let [v4, v6] = Family::BOTH.map(|family| pair.b.inner(family));
    pair.a.tunnel.set(&format!("peer {} allowed-ips {v4}/32,{v6}/128,ff00::/8", pair.b.keys.public));
    pair
}

fn status(node: &Node) -> String {
    uapi::request(node.interface(), "get=1\n\n").expect("an answer")
}

fn dropped(node: &Node) -> BTreeMap<String, u64> {
    let status = status(node);
    let device = status.split("public_key=").next().expect("its beginning");
    let lines = device.lines().filter_map(|line| line.strip_prefix("dropped="));
    let count = |line: &str| {
        let (reason, count) = line.split_once(' ').expect("a reason and a count");
        (reason.to_owned(), count.parse().expect("a number"))
    };
    let drops: BTreeMap<_, _> = lines.map(count).collect();
    assert!(drops.values().all(|count| *count > 0), "{drops:?}");
    drops
}

fn received(node: &Node) -> Vec<u64> {
    let status = status(node);
    let lines = status.lines().filter_map(|line| line.strip_prefix("lane_received="));
    lines.map(|line| line.split_once(' ').expect("a lane").1.parse().expect("a number")).collect()
}

/// The real `wg` shows what it showed before, but for what the peer had sent since.
fn assert_wg_reads_it(pair: &Pair, before: &[wg_netns::status::PeerStatus]) {
    let interface = pair.a.interface();
    let after = pair.a.tunnel.show();
    assert_eq!(after.private_key, Some(pair.a.keys.private));
    assert_eq!(after.peers.len(), 1);
    let (after, before) = (&after.peers[0], &before[0]);
    assert_eq!((after.public_key, after.endpoint), (before.public_key, before.endpoint));
    assert_eq!((&after.allowed_ips, after.latest_handshake), (&before.allowed_ips, before.latest_handshake));
    let shown = wg(&format!("show {interface}"), "");
    assert!(shown.contains(&format!("peer: {}", pair.b.keys.public)), "{shown}");
    assert!(shown.contains("latest handshake: ") && !shown.contains("dropped"), "{shown}");
    let configuration = wg(&format!("showconf {interface}"), "");
    assert!(configuration.contains("[Peer]") && !configuration.contains("dropped"), "{configuration}");
}

/// Whoever may read the socket is told of all that was dropped; whoever reads the log, of what answers no guess.
fn assert_told(mut node: Node, drops: &BTreeMap<String, u64>) {
    let shown = Command::new(Program::Gateway.path()).args(["ctl", "show", node.interface()]).output();
    let shown = shown.expect("the program runs");
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.starts_with("strategy ") && shown.contains("\nin effect "), "{shown}");
    let is_secret = |reason: &str| ["replay", "unknown_index"].contains(&reason);
    for (reason, count) in drops {
        let note = if is_secret(reason) { " (not to be published)" } else { "" };
        assert!(shown.contains(&format!("\ndropped {count} {reason}{note}\n")), "{shown}");
    }
    assert_eq!(shown.matches("dropped").count(), drops.len(), "{shown}");
    node.tunnel.signal(Signal::TERM);
    assert!(node.tunnel.wait_for_end().is_some_and(|status| status.success()));
    let log = node.tunnel.log();
    let lists: Vec<_> = log.lines().filter_map(|line| line.split_once("dropped: ")).collect();
    let [(_, list)] = lists[..] else { panic!("one line says what was dropped:\n{log}") };
    let told = list.split(", ").map(|entry| {
        let (reason, count) = entry.split_once(' ').expect("a reason and a count");
        (reason.to_owned(), count.parse().expect("a number"))
    });
    let public = drops.iter().filter(|(reason, _)| !is_secret(reason));
    assert_eq!(told.collect::<BTreeMap<String, u64>>(), public.map(|(k, v)| (k.clone(), *v)).collect());
}

#[test]
fn a_gateway_that_dropped_nothing_says_so_and_other_programs_say_nothing() {
    if !can_run() {
        return;
    }
    for (program, expected) in
        [(Program::Gateway, Some("nothing was dropped\n")), (Program::WireguardGo, None)]
    {
        let namespace = wg_netns::Namespace::new();
        let arguments = if program == Program::Gateway { "--threads 1 --strategy adaptive" } else { "" };
        let arguments = arguments.split_whitespace().map(Into::into).collect();
        let mut tunnel = wg_netns::Tunnel::start(Launch { arguments, ..Launch::from(program) }, &namespace);
        let shown = Command::new(Program::Gateway.path()).args(["ctl", "show", tunnel.interface()]).output();
        let shown = shown.expect("the program runs");
        assert_eq!(shown.status.success(), expected.is_some(), "{shown:?}");
        let text = String::from_utf8(shown.stdout).expect("text");
        assert_eq!(
            text,
            expected.map(|drops| format!("strategy adaptive\nin effect inline\n{drops}")).unwrap_or_default()
        );
        tunnel.signal(Signal::TERM);
        assert!(tunnel.wait_for_end().is_some());
        assert!(!tunnel.log().contains("dropped: "), "{}", tunnel.log());
    }
}
