//! Cryptokey routing: which peer gets a packet, and from which peer a packet is taken.

use core::time::Duration;

use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::{Family, Namespace, Node, Pair, Program, for_each_pair, veth};

for_each_pair! {
    /// C64, C136: the longest prefix decides; an allowed IP given to another peer leaves the first one.
    fn prefix_moves_from_peer_to_peer(programs: [Program; 2]) {
        let (pair, third) = triangle(programs);
        let shared = "10.4.0.4";
        for node in [&pair.b, &third] {
            node.namespace.ip(&format!("addr add {shared}/32 dev {}", node.interface()));
        }
        pair.a.namespace.ip(&format!("route add {shared}/32 dev {}", pair.a.interface()));
        let counts = || [pair.a.peer(&pair.b).rx_bytes, pair.a.peer(&third).rx_bytes];
        let answered_by = || {
            let before = counts();
            let ping = Ping::to(shared.parse().expect("an address")).patience(Duration::from_secs(2));
            if ping.run(&pair.a.namespace).received == 0 {
                return None;
            }
            let after = counts();
            assert!((after[0] > before[0]) != (after[1] > before[1]), "{before:?} {after:?}");
            Some(if after[0] > before[0] { pair.b.number } else { third.number })
        };
        let give = |node: &Node, prefix: &str| {
            // Beside what the peer has, whatever `wg` has to write for that.
            let mut all = pair.a.peer(node).allowed_ips;
            all.push(prefix.to_owned());
            pair.a.tunnel.set(&format!("peer {} allowed-ips {}", node.keys.public, all.join(",")));
        };
        assert_eq!(answered_by(), None);
        give(&pair.b, "10.4.0.0/16");
        assert_eq!(answered_by(), Some(pair.b.number));
        give(&third, "10.4.0.4/32");
        assert_eq!(answered_by(), Some(third.number), "a longer prefix");
        give(&pair.b, "10.4.0.4/32");
        assert_eq!(answered_by(), Some(pair.b.number), "the same prefix, moved back");
        assert!(!pair.a.peer(&third).allowed_ips.contains(&"10.4.0.4/32".to_owned()));
        // Host bits are masked, so this is the same prefix as before and moves it.
        give(&third, "10.4.255.1/16");
        assert!(pair.a.peer(&third).allowed_ips.contains(&"10.4.0.0/16".to_owned()));
        assert!(!pair.a.peer(&pair.b).allowed_ips.contains(&"10.4.0.0/16".to_owned()));
        pair.a.tunnel.set(&format!("peer {} allowed-ips {}/32", pair.b.keys.public, pair.b.inner(Family::V4)));
        assert_eq!(answered_by(), Some(third.number), "the rest of what the first peer had is gone");
    }

    /// C81, C82: a packet whose source belongs to another peer, or to nobody, is not delivered, even from a peer that has
    /// a shorter prefix around that source.
    fn source_of_another_peer_is_refused(programs: [Program; 2]) {
        let (pair, third) = triangle(programs);
        pair.a.tunnel.set(&format!("peer {} allowed-ips 0.0.0.0/0,::/0", pair.b.keys.public));
        let stolen = third.inner(Family::V4);
        assert!(pair.b.reaches(&pair.a, Family::V4));
        assert!(third.reaches(&pair.a, Family::V4));
        pair.b.namespace.ip(&format!("addr add {stolen}/32 dev {}", pair.b.interface()));
        let ping_from = |source: &str| {
            let mut command = pair.b.namespace.command("ping");
            command.args(["-n", "-c", "3", "-i", "0.1", "-W", "1", "-I", source, &pair.a.inner(Family::V4).to_string()]);
            let before = delivered(&pair.a.namespace, pair.a.interface());
            assert_eq!(command.output().expect("running ping").status.success(), source != stolen.to_string());
            delivered(&pair.a.namespace, pair.a.interface()) - before
        };
        assert_eq!(ping_from(&stolen.to_string()), 0, "spoofed packets reached the interface");
        assert_eq!(ping_from(&pair.b.inner(Family::V4).to_string()), 3);
        // The session has taken no harm, and the peer is still where it is.
        assert_eq!(pair.a.peer(&pair.b).endpoint, Some(pair.b.endpoint(Family::V4)));
    }
}

/// A pair whose first node has a third one as a peer, on a cable of its own; the third runs what the second runs.
fn triangle(programs: [Program; 2]) -> (Pair, Node) {
    let pair = Pair::acquainted(programs, Family::V4);
    let third = Node::new(programs[1], 3);
    let cable = veth::connect(&pair.a.namespace, &third.namespace);
    pair.a.namespace.ip(&format!("addr add 10.2.0.1/24 dev {}", cable.first));
    third.namespace.ip(&format!("addr add 10.2.0.3/24 dev {}", cable.second));
    let endpoint = |address: &str| Some(format!("{address}:{PORT}").parse().expect("an endpoint"));
    pair.a.add_peer(&third, endpoint("10.2.0.3"));
    third.add_peer(&pair.a, endpoint("10.2.0.1"));
    assert!(pair.a.reaches(&pair.b, Family::V4) && pair.a.reaches(&third, Family::V4));
    (pair, third)
}

/// How many packets the program has written to its interface.
fn delivered(namespace: &Namespace, interface: &str) -> u64 {
    let table =
        namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("the counters");
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{interface}:")));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|count| count.parse().ok())
        .expect("a counter")
}
