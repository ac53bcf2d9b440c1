//! The gateway with several lanes: peers of every home, and whatever happens to the interface, to all lanes at once.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::fs;
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use wg_netns::key::{Key, KeyPair};
use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::process::policies;
use wg_netns::quota::Quota;
use wg_netns::requirements::can_run;
use wg_netns::tcp::{self, Limit};
use wg_netns::udp::{Account, Flow};
use wg_netns::{Family, Launch, Namespace, Node, Pair, Program, Tunnel, uapi, wait};

fn lanes(count: usize) -> Launch {
    let arguments = vec!["--threads".into(), count.to_string()];
    Launch { arguments, ..Launch::from(Program::Gateway) }
}

/// Two nodes of as many lanes, where the other is the last of so many peers of each: its home is the one of that number.
fn acquainted_at(lane_counts: [usize; 2], home: usize) -> Pair {
    let pair = Pair::new(lane_counts.map(lanes));
    for node in [&pair.a, &pair.b] {
        (0..home).for_each(|_| node.tunnel.set(&format!("peer {}", Key::random())));
    }
    pair.acquaint(Family::V4);
    pair
}

fn assert_exchange(pair: &Pair) {
    for inside in Family::BOTH {
        assert!(pair.a.reaches_within(Duration::from_secs(6), &pair.b, inside));
        assert!(pair.b.reaches(&pair.a, inside));
    }
}

/// The threads of a program that move packets.
fn threads(tunnel: &Tunnel) -> usize {
    threads_named("lane", tunnel)
}

fn threads_named(prefix: &str, tunnel: &Tunnel) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", tunnel.pid())).expect("its threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn one_lane_needs_no_thread_and_each_of_several_has_one() {
    if can_run() {
        let namespace = Namespace::new();
        for (count, expected) in [(1, 0), (2, 2), (5, 5)] {
            let tunnel = Tunnel::start(lanes(count), &namespace);
            assert!(wait::until(Duration::from_secs(5), || threads(&tunnel) == expected), "{count}");
        }
    }
}

/// Whether this machine lets root have real-time threads.
fn has_real_time() -> bool {
    Command::new("chrt").args(["--rr", "1", "true"]).status().is_ok_and(|status| status.success())
}

#[test]
fn lanes_that_rest_are_real_time_unless_told_otherwise_or_under_a_quota() {
    if !can_run() || !has_real_time() || Quota::new(0.5).is_err() {
        return;
    }
    let arguments = ["--threads", "2", "--real-time", "off"].map(Into::into).to_vec();
    let ordinary = Launch { arguments, ..Launch::from(Program::Gateway) };
    let pair = Pair::new([lanes(2), ordinary]);
    pair.acquaint(Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    let [a, b] = [&pair.a, &pair.b].map(|node| node.tunnel.pid());
    let real_time = |pid| policies(pid).into_iter().filter(|policy| *policy == 2).count();
    assert!(wait::until(Duration::from_secs(5), || real_time(a) == 2), "{:?}", policies(a));
    assert_eq!(real_time(b), 0);
    let quota = Quota::new(0.5).unwrap();
    quota.add(a).unwrap();
    assert_eq!(real_time(a), 0);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    // Well over a window, and idle.
    thread::sleep(Duration::from_millis(50));
    assert!(pair.a.reaches(&pair.b, Family::V4));
    assert_eq!(real_time(a), 0);
}

#[test]
fn pinned_lanes_stay_on_their_processors() {
    if can_run() {
        let arguments = ["--threads", "2", "--pin"].map(Into::into).to_vec();
        let pinned = Launch { arguments, ..Launch::from(Program::Gateway) };
        let pair = Pair::new([pinned, lanes(1)]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        let allowed = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).expect("its state");
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
                line.split_whitespace().nth(1).expect("a value").to_owned()
            };
            field("Name:").starts_with("lane").then(|| field("Cpus_allowed_list:"))
        };
        let tasks = fs::read_dir(format!("/proc/{}/task", pair.a.tunnel.pid())).expect("its threads");
        let allowed: Vec<_> = tasks.filter_map(|task| allowed(task.expect("a thread"))).collect();
        assert_eq!(allowed.len(), 2);
        assert!(allowed.iter().all(|list| list.parse::<u32>().is_ok()), "{allowed:?}");
    }
}

#[test]
fn peers_of_every_home_exchange_traffic() {
    if can_run() {
        for (lane_counts, home) in [([2, 2], 0), ([2, 1], 1), ([3, 2], 1), ([3, 3], 2)] {
            let pair = acquainted_at(lane_counts, home);
            assert_exchange(&pair);
            // Several streams, whose flows the kernel spreads over the queues.
            for port in 4000..4003 {
                let address = SocketAddr::new(pair.b.inner(Family::V4), port);
                let (from, to) = (&pair.a.namespace, &pair.b.namespace);
                let report = tcp::transfer(from, to, address, Limit::Bytes(3_000_000), |_, _| ());
                assert!(report.expect("a transfer").intact, "{lane_counts:?}, home {home}");
            }
            let peer = pair.a.peer(&pair.b);
            assert!(peer.latest_handshake > 0 && peer.tx_bytes > 9_000_000, "{peer:?}");
        }
    }
}

#[test]
fn all_lanes_follow_the_interface_its_port_its_mark_and_its_key() {
    if can_run() {
        follow_interface(acquainted_at([2, 2], 1));
    }
}

#[test]
fn lanes_that_split_counters_follow_the_interface_its_port_its_mark_and_its_key() {
    if can_run() {
        let pair = acquainted_at([3, 3], 1);
        for node in [&pair.a, &pair.b] {
            assert_eq!(uapi::set(node.interface(), "strategy=counter-split\n").expect("an answer"), 0);
        }
        follow_interface(pair);
    }
}

fn follow_interface(mut pair: Pair) {
    assert_exchange(&pair);
    let interface = pair.a.interface().to_owned();
    let show = |node: &Node, what: &str| wg_netns::wg::wg(&format!("show {} {what}", node.interface()), "");
    for round in 0..2 {
        pair.a.namespace.ip(&format!("link set {interface} down"));
        assert!(!pair.b.reaches(&pair.a, Family::V4));
        pair.a.namespace.ip(&format!("link set {interface} up"));
        pair.a.namespace.ip(&format!("addr replace {}/64 dev {interface} nodad", pair.a.inner(Family::V6)));
        assert_exchange(&pair);
        // The other learns the port from what comes from it.
        let port = PORT + 1 + round;
        pair.a.tunnel.set(&format!("listen-port {port}"));
        assert_eq!(show(&pair.a, "listen-port").trim(), port.to_string());
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert_exchange(&pair);
        pair.a.tunnel.set(&format!("fwmark {}", 100 + round));
        assert_exchange(&pair);
    }
    pair.a.keys = KeyPair::generate();
    pair.a.tunnel.set_with_input("private-key /dev/stdin", &pair.a.keys.private.to_string());
    let endpoint = SocketAddr::new(pair.a.outer(Family::V4), PORT + 2);
    pair.b.add_peer(&pair.a, Some(endpoint));
    assert_exchange(&pair);
    assert!(pair.a.tunnel.is_running());
}

/// C92: a port that others have is refused, if they would share it or not.
#[test]
fn taken_port_is_refused() {
    if can_run() {
        for [first, second] in [[2, 2], [1, 2], [2, 1]] {
            let namespace = Namespace::new();
            let owner = Tunnel::start(lanes(first), &namespace);
            let other = Tunnel::start(lanes(second), &namespace);
            for tunnel in [&owner, &other] {
                namespace.ip(&format!("link set {} up", tunnel.interface()));
            }
            owner.set(&format!("listen-port {PORT}"));
            let refused = uapi::set(other.interface(), &format!("listen_port={PORT}\n"));
            assert_eq!(refused.expect("an answer").unsigned_abs(), 98, "{first} and {second} lanes");
            other.set(&format!("listen-port {}", PORT + 1));
        }
    }
}

#[test]
fn every_way_to_end_ends_all_lanes() {
    if can_run() {
        let causes: [fn(&Pair); 3] = [
            |pair| pair.a.tunnel.signal(Signal::TERM),
            |pair| drop(pair.a.namespace.ip(&format!("link del {}", pair.a.interface()))),
            |pair| fs::remove_file(pair.a.tunnel.socket()).expect("the socket"),
        ];
        for cause in causes {
            let mut pair = acquainted_at([3, 1], 2);
            assert_exchange(&pair);
            cause(&pair);
            let status = pair.a.tunnel.wait_for_end();
            assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", pair.a.tunnel.log());
            assert!(!pair.a.namespace.has_interface(pair.a.interface()));
        }
    }
}

/// Starts one more tunnel on the side of `b`, on a port and with an inner address of its own, and makes it a peer of `a`.
fn start_beside(pair: &Pair, number: u8) -> (Tunnel, IpAddr) {
    let (keys, port) = (KeyPair::generate(), PORT + u16::from(number));
    let inner = IpAddr::from([10, 1, 0, number]);
    let there = &pair.b.namespace;
    let tunnel = Tunnel::start(lanes(1), there);
    let interface = tunnel.interface();
    let own = format!("private_key={}\nlisten_port={port}\n", keys.private.hex());
    assert_eq!(uapi::set(interface, &own).expect("an answer"), 0);
    there.ip(&format!("addr add {inner}/32 dev {interface}"));
    there.ip(&format!("link set {interface} up"));
    // What answers from its address leaves by it.
    there.ip(&format!("rule add from {inner} lookup {port}"));
    there.ip(&format!("route add default dev {interface} table {port}"));
    let (a, b) = (pair.a.endpoint(Family::V4), SocketAddr::new(pair.b.outer(Family::V4), port));
    tunnel.set(&format!(
        "peer {} endpoint {a} allowed-ips {}/32",
        pair.a.keys.public,
        pair.a.inner(Family::V4)
    ));
    pair.a.tunnel.set(&format!("peer {} endpoint {b} allowed-ips {inner}/32", keys.public));
    (tunnel, inner)
}

#[test]
fn busy_peers_of_one_lane_become_level_and_no_packet_of_theirs_is_overtaken() {
    if can_run() {
        // Behind all others, so that it has always something to do.
        let arguments = ["--threads", "2", "--nice", "19", "--real-time", "off"].map(Into::into).to_vec();
        let pair = Pair::new([Launch { arguments, ..Launch::from(Program::Gateway) }, lanes(1)]);
        // All that are real are at home in the first lane.
        pair.acquaint(Family::V4);
        pair.a.tunnel.set(&format!("peer {}", Key::random()));
        let (_second, inner) = start_beside(&pair, 3);
        let (from, to) = (&pair.a.namespace, &pair.b.namespace);
        let addresses = [pair.b.inner(Family::V4), inner];
        for address in addresses {
            let ping = || Ping::to(address).patience(Duration::from_secs(1)).run(from).received == 1;
            assert!(wait::until(Duration::from_secs(6), ping), "{address}");
        }
        let there = addresses.map(|inner| Flow::start(from, to, SocketAddr::new(inner, 4001), 1000, 200));
        // What comes for the session of a peer that moved is forwarded.
        let back = Flow::start(to, from, SocketAddr::new(pair.a.inner(Family::V4), 4003), 1000, 200);
        let moved = || pair.a.tunnel.log().matches("moves from lane 0 to lane 1").count();
        thread::scope(|scope| {
            for inner in addresses {
                let limit = Limit::Time(Duration::from_secs(6));
                scope.spawn(move || {
                    let report = tcp::transfer(from, to, SocketAddr::new(inner, 4002), limit, |_, _| ());
                    assert!(report.expect("a transfer").intact);
                });
            }
            assert!(wait::until(Duration::from_secs(6), || moved() > 0), "{}", pair.a.tunnel.log());
        });
        for flow in there.into_iter().chain([back]) {
            let account = flow.finish();
            // Threads that come behind all others get no processor for a tenth of a second at a time beside other tests, and the
            // socket is full of the streams by then: how much is lost says how busy the machine is. That a move loses nothing is
            // shown where nobody waits, in `wg-datapath/tests/lanes/rehome.rs`; here the flow must go on.
            assert!(account.received * 2 >= account.sent, "{account:?}");
            let rest = [account.reordered, account.duplicated, account.corrupted, account.refused];
            assert!(rest.iter().all(|count| *count == 0), "{account:?}");
        }
        // One of the two: with both it would be as it was.
        assert_eq!(moved(), 1, "{}", pair.a.tunnel.log());
        assert!(!pair.a.tunnel.log().contains("moves from lane 1"));
        let status = uapi::request(pair.a.interface(), "get=1\n\n").expect("an answer");
        assert!(status.contains("\nlane_moves=1\n"), "{status}");
        assert_eq!(pair.a.tunnel.show().peers.len(), 3, "`wg` reads it");
    }
}

#[test]
fn strategies_change_under_traffic_and_nothing_is_lost_or_overtaken() {
    if can_run() {
        const STRATEGIES: [&str; 8] = [
            "adaptive",
            "counter-split",
            "pipelined",
            "emulated-inline",
            "numa-pools",
            "pipelined-no-overlap",
            "inline",
            "numa-pools-no-overlap",
        ];
        let arguments =
            ["--threads", "3", "--lanes", "1", "--strategy", "pipelined"].map(Into::into).to_vec();
        let helped = Launch { arguments, ..Launch::from(Program::Gateway) };
        let pair = Pair::new([helped.clone(), helped]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        let to = |node: &Node, port| SocketAddr::new(node.inner(Family::V4), port);
        let there = Flow::start(&pair.a.namespace, &pair.b.namespace, to(&pair.b, 4001), RATE, 1000);
        let back = Flow::start(&pair.b.namespace, &pair.a.namespace, to(&pair.a, 4002), RATE, 200);
        for name in STRATEGIES {
            for node in [&pair.a, &pair.b] {
                assert_eq!(
                    uapi::set(node.interface(), &format!("strategy={name}\n")).expect("an answer"),
                    0,
                    "{name}"
                );
            }
            let mark = there.received();
            assert!(wait::until(Duration::from_secs(5), || there.received() > mark + 400), "{name}");
        }
        for flow in [there, back] {
            let account = flow.finish();
            assert!(account.is_perfect(), "{account:?}");
        }
        let refused = uapi::set(pair.a.interface(), "strategy=locked-spin\n");
        assert_eq!(refused.expect("an answer"), -22, "threads have homes");
    }
}

/// Packets a second, each way: what gateways built without optimisation move on a processor that others use, too.
const RATE: u32 = 2000;

/// Streams of numbered packets both ways while both sides take up the strategies of a list, a few times.
fn exchange_under(pair: &Pair, strategies: &[&str], rounds: usize) -> [Account; 2] {
    let to = |node: &Node, port| SocketAddr::new(node.inner(Family::V4), port);
    let there = Flow::start(&pair.a.namespace, &pair.b.namespace, to(&pair.b, 4001), RATE, 1000);
    let back = Flow::start(&pair.b.namespace, &pair.a.namespace, to(&pair.a, 4002), RATE, 200);
    for name in strategies.iter().cycle().take(rounds * strategies.len()) {
        for node in [&pair.a, &pair.b] {
            let answer = uapi::set(node.interface(), &format!("strategy={name}\n"));
            assert_eq!(answer.expect("an answer"), 0, "{name}");
        }
        let marks = (there.received(), back.received());
        let moved = || there.received() > marks.0 + 400 && back.received() > marks.1 + 400;
        assert!(wait::until(Duration::from_secs(5), moved), "{name}");
    }
    [there.finish(), back.finish()]
}

/// What came from a node to another over several lanes, on a machine that may be busy.
fn assert_arrived_split(account: &Account, from: &Node, to: &Node) {
    // A thread that waits for a processor for more than half a millisecond is not waited for. In order whoever waits is
    // `wg-datapath/tests/lanes/split.rs`.
    assert!(account.reordered * 20 <= account.received, "{account:?}");
    // Where it is the home that waits, the others have no place for what they receive; and what stands too long before a tunnel is
    // dropped. Both are counted.
    let dropped = [to.dropped().get("home_behind").copied(), from.dropped().get("queue_delay").copied()];
    let dropped = dropped.into_iter().flatten().sum();
    let but_for_order = Account { reordered: 0, ..account.clone() };
    assert!(but_for_order.is_perfect_but_for(dropped), "{dropped} dropped: {account:?}");
}

#[test]
fn counters_of_a_tunnel_are_split_over_threads_and_joined_again() {
    if can_run() {
        let arguments = ["--threads", "3", "--strategy", "counter-split"].map(Into::into).to_vec();
        let split = Launch { arguments, ..Launch::from(Program::Gateway) };
        let mut pair = Pair::new([split, lanes(3)]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        let strategies = ["counter-split", "adaptive", "counter-split", "inline", "counter-split"];
        let [there, back] = exchange_under(&pair, &strategies, 1);
        for (account, from, to) in [(there, &pair.a, &pair.b), (back, &pair.b, &pair.a)] {
            assert_arrived_split(&account, from, to);
        }
        for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
            let address = SocketAddr::new(to.inner(Family::V4), 4010);
            let report =
                tcp::transfer(&from.namespace, &to.namespace, address, Limit::Bytes(5_000_000), |_, _| ());
            assert!(report.expect("a transfer").intact);
        }
        assert_eq!(uapi::set(pair.a.interface(), "strategy=adaptive\n").expect("an answer"), 0);
        let ended = || pair.a.tunnel.log().contains("all datagrams come home");
        assert!(wait::until(Duration::from_secs(5), ended), "{}", pair.a.tunnel.log());
        assert!(pair.a.tunnel.is_running() && pair.b.tunnel.is_running());
    }
}

#[test]
fn a_large_tunnel_is_split_without_being_asked_and_joined_again_and_streams_stay_intact() {
    if can_run() {
        // Behind all others, so that the home has always something to do.
        let arguments = ["--threads", "4", "--auto-split", "on", "--nice", "19", "--real-time", "off"];
        let splits =
            Launch { arguments: arguments.map(Into::into).to_vec(), ..Launch::from(Program::Gateway) };
        let pair = Pair::new([splits, lanes(1)]);
        pair.acquaint(Family::V4);
        let status = || uapi::request(pair.a.interface(), "get=1\n\n").expect("an answer");
        assert!(status().contains("\nstrategy=adaptive\nstrategy_in_effect=adaptive\n"), "{}", status());
        let began = || pair.a.tunnel.log().matches("other lanes receive for [").count();
        let ended = || pair.a.tunnel.log().matches("each lane receives for itself again").count();
        let home = || pair.a.tunnel.log().matches("all datagrams come home").count();
        let (from, to) = (&pair.b.namespace, &pair.a.namespace);
        let address = |port| SocketAddr::new(pair.a.inner(Family::V4), port);
        let ends = core::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            // Streams, each of which says at its end whether it is intact. Each has a port of its own: a program that is just being
            // started may hold that of the one before.
            for first in 4002..4006_u16 {
                let ends = &ends;
                scope.spawn(move || {
                    let ports = (first..).step_by(4);
                    for port in ports.take_while(|_| !ends.load(core::sync::atomic::Ordering::Relaxed)) {
                        let limit = Limit::Time(Duration::from_secs(1));
                        let report = tcp::transfer(from, to, address(port), limit, |_, _| ());
                        assert!(report.expect("a transfer").intact);
                    }
                });
            }
            let was_split = wait::until(Duration::from_secs(30), || began() > 0);
            let was_joined = was_split && wait::until(Duration::from_secs(30), || ended() > 0);
            ends.store(true, core::sync::atomic::Ordering::Relaxed);
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

/// How many datagrams each lane of a gateway received so far.
fn received(node: &Node) -> Vec<u64> {
    let status = uapi::request(node.interface(), "get=1\n\n").expect("an answer");
    let lines = status.lines().filter_map(|line| line.strip_prefix("lane_received="));
    let count = |(lane, line): (usize, &str)| {
        let count = line.strip_prefix(&format!("{lane} ")).expect("lanes in their order");
        count.parse().expect("a number")
    };
    lines.enumerate().map(count).collect()
}

/// The last handshake of the peers of a node, to the nanosecond.
fn handshakes(node: &Node) -> Vec<String> {
    let status = uapi::request(node.interface(), "get=1\n\n").expect("an answer");
    status.lines().filter(|line| line.starts_with("last_handshake_time")).map(Into::into).collect()
}

#[test]
fn a_peer_renews_its_session_and_roams_while_all_other_lanes_receive_it() {
    if can_run() {
        // The peer is at home on the second lane. Whatever the processors are, the first and the third do not share one with it alone.
        let mut pair = acquainted_at([3, 1], 1);
        assert_eq!(uapi::set(pair.a.interface(), "strategy=counter-split\n").expect("an answer"), 0);
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
        assert_arrived_split(&account, &pair.b, &pair.a);
        let more: Vec<_> =
            received(&pair.a).into_iter().zip(before).map(|(after, before)| after - before).collect();
        let [first, home, third] = more[..] else { panic!("{more:?}") };
        assert!(first > 400 && third > 400 && first + third >= account.received, "{more:?}");
        assert!(home < account.received / 4, "handshake messages and little else: {more:?}");
        assert!(pair.a.tunnel.is_running());
    }
}

#[test]
fn one_thread_takes_up_every_strategy() {
    if can_run() {
        let pair = Pair::new([lanes(1), lanes(1)]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        let all = [
            "adaptive",
            "locked-mutex",
            "pipelined",
            "locked-spin",
            "emulated-inline",
            "numa-pools",
            "pipelined-no-overlap",
            "inline",
            "counter-split",
            "numa-pools-no-overlap",
        ];
        for account in exchange_under(&pair, &all, 1) {
            assert!(account.is_perfect(), "{account:?}");
        }
    }
}

#[test]
fn workers_share_a_home_and_lose_nothing() {
    if can_run() {
        for (own, other) in [("locked-mutex", "locked-spin"), ("locked-spin", "locked-mutex")] {
            let arguments = ["--threads", "3", "--strategy", own].map(Into::into).to_vec();
            let shared = Launch { arguments, ..Launch::from(Program::Gateway) };
            let mut pair = Pair::new([shared.clone(), shared]);
            for node in [&pair.a, &pair.b] {
                (0..2).for_each(|_| node.tunnel.set(&format!("peer {}", Key::random())));
            }
            pair.acquaint(Family::V4);
            assert_exchange(&pair);
            assert_eq!(threads_named("worker", &pair.a.tunnel), 3);
            for account in exchange_under(&pair, &[other, own], 3) {
                // Behind the lock, two processors may hand packets to the kernel at once: there some may overtake.
                let late = account.reordered;
                assert!(late * 100 <= account.received, "{account:?}");
                assert!(Account { reordered: 0, ..account.clone() }.is_perfect(), "{account:?}");
            }
            // Several streams, whose flows the kernel spreads over the queues.
            for port in 4010..4013 {
                let address = SocketAddr::new(pair.b.inner(Family::V4), port);
                let (from, to) = (&pair.a.namespace, &pair.b.namespace);
                let report = tcp::transfer(from, to, address, Limit::Bytes(3_000_000), |_, _| ());
                assert!(report.expect("a transfer").intact, "{own}");
            }
            assert_exchange(&pair);
            let refused = uapi::set(pair.a.interface(), "strategy=inline\n").expect("an answer");
            assert_eq!(refused, -22, "its peers would have to be spread");
            assert!(pair.a.tunnel.is_running() && pair.b.tunnel.is_running());
        }
    }
}
