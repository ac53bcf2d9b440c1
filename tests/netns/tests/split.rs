//! The gateway with lanes that receive for each other: counters are split, by choice or by itself, while sessions change and peers roam.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread;

use wg_netns::lanes::{
    Streams, acquainted_at, add_strangers, assert_arrived_split, assert_exchange, assert_one_arrived_split,
    exchange_under, follow, lanes, received, received_since, with,
};
use wg_netns::node::PORT;
use wg_netns::relay::Relay;
use wg_netns::requirements::can_run;
use wg_netns::stream::Stream;
use wg_netns::tcp::{self, Limit};
use wg_netns::udp::Flow;
use wg_netns::{Family, Node, Pair, process, uapi, wait};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn counters_of_a_tunnel_are_split_over_threads_and_joined_again() {
    if can_run() {
        let mut pair = Pair::new([with(&["--threads", "3", "--strategy", "counter-split"]), lanes(3)]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        let strategies = ["counter-split", "adaptive", "counter-split", "inline", "counter-split"];
        let accounts = exchange_under(&pair, &strategies, 1);
        assert_arrived_split(&pair, &accounts);
        for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
            let address = SocketAddr::new(to.inner(Family::V4), 4010);
            let report =
                tcp::transfer(&from.namespace, &to.namespace, address, Limit::Bytes(5_000_000), |_, _| ());
            assert!(report.expect("a transfer").intact);
        }
        follow(&pair.a, "adaptive");
        let ended = || pair.a.tunnel.log().contains("all datagrams come home");
        assert!(wait::until(Duration::from_secs(5), ended), "{}", pair.a.tunnel.log());
        assert!(pair.a.tunnel.is_running() && pair.b.tunnel.is_running());
    }
}

#[test]
fn a_large_tunnel_is_split_without_being_asked_and_joined_again_and_streams_stay_intact() {
    if can_run() {
        // Behind all others, so that the home has always something to do.
        let splits = with(&["--threads", "4", "--auto-split", "on", "--nice", "19", "--real-time", "off"]);
        let pair = Pair::new([splits, lanes(1)]);
        pair.acquaint(Family::V4);
        let status = || uapi::request(pair.a.interface(), "get=1\n\n").expect("an answer");
        assert!(status().contains("\nstrategy=adaptive\nstrategy_in_effect=adaptive\n"), "{}", status());
        let began = || pair.a.tunnel.log().matches("other lanes receive for [").count();
        let ended = || pair.a.tunnel.log().matches("each lane receives for itself again").count();
        let home = || pair.a.tunnel.log().matches("all datagrams come home").count();
        let (from, to) = (&pair.b.namespace, &pair.a.namespace);
        let address = |port| SocketAddr::new(pair.a.inner(Family::V4), port);
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            // Streams, each of which says at its end whether it is intact. Each has a port of its own: a program that is just being
            // started may hold that of the one before.
            for first in 4002..4006_u16 {
                let ends = &ends;
                scope.spawn(move || {
                    let ports = (first..).step_by(4);
                    for port in ports.take_while(|_| !ends.load(Ordering::Relaxed)) {
                        let limit = Limit::Time(Duration::from_secs(1));
                        let report = tcp::transfer(from, to, address(port), limit, |_, _| ());
                        assert!(report.expect("a transfer").intact);
                    }
                });
            }
            let was_split = wait::until(Duration::from_secs(30), || began() > 0);
            let was_joined = was_split && wait::until(Duration::from_secs(30), || ended() > 0);
            ends.store(true, Ordering::Relaxed);
            assert!(was_split, "{}", pair.a.tunnel.log());
            // Whether it is worth it depends on who else wants the processors; without a load it is not.
            assert!(
                was_joined || wait::until(Duration::from_secs(30), || ended() > 0),
                "{}",
                pair.a.tunnel.log()
            );
        });
        assert!(wait::until(Duration::from_secs(30), || home() == began()), "{}", pair.a.tunnel.log());
        let text = status();
        assert!(text.contains("\nstrategy=adaptive\nstrategy_in_effect=adaptive\n"), "{text}");
        assert!(!text.contains("lane_split="), "{text}");
        assert!(received(&pair.a).iter().filter(|count| **count > 0).count() > 1, "others received");
        assert_exchange(&pair);
        assert_eq!(pair.a.tunnel.show().peers.len(), 1, "`wg` reads it");
    }
}

/// A gateway of four lanes that share one processor with a program that never rests, under streams from one peer that are more than it takes. Tells
/// whether it split before so many bytes had come, and how many had.
fn splits_on_one_processor(auto_split: &str, enough: u64) -> (bool, u64) {
    // Without offloads it has more to do for each byte than who sends.
    let plain = ["--threads", "4", "--real-time", "off", "--offload", "all=off", "--auto-split", auto_split];
    let pair = Pair::new([with(&plain), lanes(1)]);
    let processor = process::processors().first().copied().expect("one");
    process::pin(pair.a.tunnel.pid(), processor).expect("a processor for all threads");
    pair.acquaint(Family::V4);
    assert_exchange(&pair);
    let began = || pair.a.tunnel.log().contains("other lanes receive for [");
    let ends = AtomicBool::new(false);
    let came = thread::scope(|scope| {
        scope.spawn(|| {
            process::pin_thread(Some(processor));
            while !ends.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        });
        let to = |port| SocketAddr::new(pair.a.inner(Family::V4), port);
        let start = |port| Stream::start(&pair.b.namespace, &pair.a.namespace, to(port), [None; 2]);
        let streams: Vec<_> = (4001..4005).map(start).collect();
        let arrived = || streams.iter().flatten().map(Stream::arrived).sum::<u64>();
        let done = wait::until(Duration::from_secs(60), || began() || arrived() >= enough);
        // Before anything may fail: nobody else ends it.
        ends.store(true, Ordering::Relaxed);
        assert!(done, "{} of {enough} came over {streams:?}: {}", arrived(), pair.a.tunnel.log());
        arrived()
    });
    (began(), came)
}

#[test]
fn lanes_that_wait_for_a_processor_are_split_only_if_somebody_says_so() {
    if can_run() {
        let (is_split, came) = splits_on_one_processor("on", u64::MAX);
        assert!(is_split);
        // Had it wanted to, it would have by then, some times over.
        let (is_split, _) = splits_on_one_processor("auto", 5 * came);
        assert!(!is_split);
    }
}

#[test]
fn a_peer_renews_its_session_and_roams_while_all_other_lanes_receive_it() {
    if can_run() {
        // The peer is at home on the second lane. Whatever the processors are, the first and the third do not share one with it alone.
        let mut pair = acquainted_at([3, 1], 1);
        follow(&pair.a, "counter-split");
        assert_exchange(&pair);
        let before = received(&pair.a);
        let to = SocketAddr::new(pair.a.inner(Family::V4), 4001);
        let flow = Flow::start(&pair.b.namespace, &pair.a.namespace, to, 3000, 300);
        let goes_on = |what: &str| {
            let mark = flow.received();
            assert!(wait::until(Duration::from_secs(5), || flow.received() > mark + 400), "{what}");
        };
        goes_on("at first");
        let inside = Family::BOTH.map(|family| {
            format!("allowed_ip={}/{}\n", pair.a.inner(family), if family == Family::V4 { 32 } else { 128 })
        });
        for round in 0..3 {
            // It forgets its session and asks for another, while ours is as it was.
            let old = handshakes(&pair.a);
            let (key, endpoint) = (pair.a.keys.public.hex(), pair.a.endpoint(Family::V4));
            let anew = format!(
                "public_key={key}\nremove=true\npublic_key={key}\nendpoint={endpoint}\n{}",
                inside.concat()
            );
            assert_eq!(uapi::set(pair.b.interface(), &anew).expect("an answer"), 0);
            assert!(wait::until(Duration::from_secs(5), || handshakes(&pair.a) != old), "no handshake");
            goes_on("after a handshake");
            let port = PORT + 1 + round;
            pair.b.tunnel.set(&format!("listen-port {port}"));
            let endpoint = Some(SocketAddr::new(pair.b.outer(Family::V4), port));
            assert!(
                wait::until(Duration::from_secs(5), || pair.a.peer(&pair.b).endpoint == endpoint),
                "{port}"
            );
            goes_on("from another port");
            assert!(pair.a.reaches(&pair.b, Family::V4), "it is answered where it is");
        }
        let account = flow.finish();
        assert_one_arrived_split(&account, &pair.b, &pair.a);
        let more = received_since(&pair.a, &before);
        let [first, home, third] = more[..] else { panic!("{more:?}") };
        assert!(first > 400 && third > 400 && first + third >= account.received, "{more:?}");
        assert!(home < account.received / 4, "handshake messages and little else: {more:?}");
        assert!(pair.a.tunnel.is_running());
    }
}

/// Packets a second, each way.
const RATE: u32 = 2000;

#[test]
fn a_peer_of_lanes_that_split_roams_under_traffic_both_ways_and_nothing_is_lost() {
    if can_run() {
        for family in Family::BOTH {
            roams_while_split(family);
        }
    }
}

/// C87, C90: both sides split, and one of them is seen at another port, then at another address, and back again.
fn roams_while_split(outside: Family) {
    let mut pair = Pair::new([lanes(3), lanes(3)]);
    // At home on the second lane of either side.
    [&pair.a, &pair.b].into_iter().for_each(|node| add_strangers(node, 1));
    let behind = &pair.b.namespace;
    let inside = SocketAddr::new(
        if outside == Family::V4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() },
        7000,
    );
    let (first, second) = (pair.b.outer(outside), pair.b.second_outer(outside));
    let mut relay = Relay::start(behind, inside, SocketAddr::new(first, 7001), pair.a.endpoint(outside));
    pair.a.add_peer(&pair.b, None);
    pair.b.add_peer(&pair.a, Some(inside));
    [&pair.a, &pair.b].into_iter().for_each(|node| follow(node, "counter-split"));
    assert!(pair.b.reaches_within(SOON, &pair.a, Family::V4));
    let before = [&pair.a, &pair.b].map(received);
    let handshake = handshakes(&pair.a);
    let streams = Streams::start(&pair, RATE);
    streams.goes_on("at first");
    for place in [(first, 7002), (second, 7002), (second, 7003), (first, 7003)].map(SocketAddr::from) {
        relay.roam(behind, place);
        let is_there = || pair.a.peer(&pair.b).endpoint == Some(place);
        assert!(wait::until(SOON, is_there), "{place}: {:?}", pair.a.peer(&pair.b).endpoint);
        streams.goes_on("from another place");
        assert!(pair.b.reaches(&pair.a, Family::V6));
        assert!(is_there(), "and stays");
    }
    streams.goes_on("at last");
    let accounts = streams.finish();
    assert_arrived_split(&pair, &accounts);
    // It was answered wherever it was, in the same session.
    let counts = relay.counts();
    assert!(counts.len() == 5 && counts.iter().flatten().all(|count| *count > 300), "{counts:?}");
    assert_eq!(handshakes(&pair.a), handshake);
    for (node, before) in [&pair.a, &pair.b].into_iter().zip(&before) {
        let [first, _, third] = received_since(node, before)[..] else { panic!("three lanes") };
        assert!(first > 400 && third > 400, "{first} {third}");
    }
    assert!(pair.a.tunnel.is_running() && pair.b.tunnel.is_running());
}

/// The last handshake of the peers of a node, to the nanosecond.
fn handshakes(node: &Node) -> Vec<String> {
    let status = uapi::request(node.interface(), "get=1\n\n").expect("an answer");
    status.lines().filter(|line| line.starts_with("last_handshake_time")).map(Into::into).collect()
}
