//! The gateway with several lanes: peers of every home, and whatever happens to the interface, to all lanes at once.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::fs;
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use wg_netns::key::{Key, KeyPair};
use wg_netns::lanes::{acquainted_at, add_strangers, assert_exchange, exchange_under, follow, lanes, with};
use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::process::policies;
use wg_netns::quota::Quota;
use wg_netns::requirements::can_run;
use wg_netns::tcp::{self, Limit};
use wg_netns::udp::{Account, Flow};
use wg_netns::{Family, Namespace, Node, Pair, Tunnel, uapi, wait};

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
    let pair = Pair::new([lanes(2), with(&["--threads", "2", "--real-time", "off"])]);
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
        let pair = Pair::new([with(&["--threads", "2", "--pin"]), lanes(1)]);
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
        [&pair.a, &pair.b].into_iter().for_each(|node| follow(node, "counter-split"));
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
        let last = with(&["--threads", "2", "--nice", "19", "--real-time", "off"]);
        let pair = Pair::new([last, lanes(1)]);
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
        let helped = with(&["--threads", "3", "--lanes", "1", "--strategy", "pipelined"]);
        let pair = Pair::new([helped.clone(), helped]);
        pair.acquaint(Family::V4);
        assert_exchange(&pair);
        for account in exchange_under(&pair, &STRATEGIES, 1) {
            assert!(account.is_perfect(), "{account:?}");
        }
        let refused = uapi::set(pair.a.interface(), "strategy=locked-spin\n");
        assert_eq!(refused.expect("an answer"), -22, "threads have homes");
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
            let shared = with(&["--threads", "3", "--strategy", own]);
            let mut pair = Pair::new([shared.clone(), shared]);
            [&pair.a, &pair.b].into_iter().for_each(|node| add_strangers(node, 2));
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
