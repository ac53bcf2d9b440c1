//! Large configurations, and a session beside them.

use core::fmt::Write as _;
use core::time::Duration;

use wg_netns::key::Key;
use wg_netns::node::PORT;
use wg_netns::{Family, Pair, for_each_pair, process};

for_each_pair! {
    /// U8, C136: 130,560 allowed IPs of one peer, set at once, shown again, and routed by.
    fn many_allowed_ips(programs: [Program; 2]) {
        let pair = Pair::new(programs);
        let mut prefixes = Vec::new();
        for high in 0..=255 {
            for low in 0..255 {
                prefixes.push(format!("10.{high}.{low}.0/24"));
                prefixes.push(format!("fd02:0:{high:x}:{low:x}::/64"));
            }
        }
        assert_eq!(prefixes.len(), 130_560);
        let mut configuration = interface_section(&pair.a);
        write_peer(&mut configuration, &pair.b.keys.public, Some(&pair.b.endpoint(Family::V4).to_string()));
        for prefixes in prefixes.chunks(1000) {
            writeln!(configuration, "AllowedIPs = {}", prefixes.join(", ")).expect("writing to a string");
        }
        pair.a.tunnel.setconf(&configuration);
        pair.b.add_peer(&pair.a, None);
        let mut shown = pair.a.peer(&pair.b).allowed_ips;
        shown.sort_unstable();
        // `wg` shortens nothing but a group of zeros, as we write them.
        let mut expected: Vec<String> = prefixes.iter().map(|prefix| canonical(prefix)).collect();
        expected.sort_unstable();
        assert!(shown == expected, "{} prefixes shown", shown.len());
        assert!(pair.a.reaches(&pair.b, Family::V4));
        // They go with their peer.
        pair.a.tunnel.set(&format!("peer {} remove", pair.b.keys.public));
        assert_eq!(pair.a.tunnel.show().peers, []);
    }

    /// C138: 1,000 peers, the last of which is real.
    fn many_peers(programs: [Program; 2]) {
        let mut pair = Pair::new(programs);
        let mut configuration = interface_section(&pair.a);
        for number in 0..1000_u32 {
            write_peer(&mut configuration, &Key::random(), Some(&format!("10.0.0.2:{}", 1000 + number)));
            writeln!(configuration, "AllowedIPs = 10.9.{}.{}/32", number / 250, number % 250).expect("a string");
        }
        write_peer(&mut configuration, &pair.b.keys.public, Some(&pair.b.endpoint(Family::V4).to_string()));
        writeln!(configuration, "AllowedIPs = {}/32", pair.b.inner(Family::V4)).expect("a string");
        pair.a.tunnel.setconf(&configuration);
        pair.b.add_peer(&pair.a, None);
        assert_eq!(pair.a.tunnel.show().peers.len(), 1001);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert!(pair.b.reaches_within(Duration::from_secs(5), &pair.a, Family::V4));
        // Once more, as a change: nobody is lost, and the session goes on.
        let handshake = pair.a.peer(&pair.b).latest_handshake;
        wg_netns::wg::wg(&format!("syncconf {} /dev/stdin", pair.a.interface()), &configuration);
        assert_eq!(pair.a.tunnel.show().peers.len(), 1001);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(pair.a.peer(&pair.b).latest_handshake, handshake);
        assert!(pair.a.tunnel.is_running());
        assert!(process::resident_kib(pair.a.tunnel.pid()).is_some());
    }
}

fn interface_section(node: &wg_netns::Node) -> String {
    format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", node.keys.private)
}

fn write_peer(configuration: &mut String, key: &Key, endpoint: Option<&str>) {
    writeln!(configuration, "[Peer]\nPublicKey = {key}").expect("writing to a string");
    if let Some(endpoint) = endpoint {
        writeln!(configuration, "Endpoint = {endpoint}").expect("writing to a string");
    }
}

/// The prefix as programs print it.
fn canonical(prefix: &str) -> String {
    let (address, length) = prefix.split_once('/').expect("a prefix");
    let address: core::net::IpAddr = address.parse().expect("an address");
    format!("{address}/{length}")
}
