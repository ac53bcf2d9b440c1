//! Who speaks without traffic, and who is silent.

use core::time::Duration;

use wg_netns::capture::{Capture, Datagram};
use wg_netns::node::PORT;
use wg_netns::{Family, Pair, Program, for_each_pair};

/// Longer than the 10 s after which data is acknowledged by a keepalive, and than the 15 s of a peer given up.
const QUIET: Duration = Duration::from_secs(28);
/// A little more than a keepalive takes to leave at once.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Lengths of the payload.
const KEEPALIVE: usize = 32;
const INITIATION: usize = 148;

for_each_pair! {
    /// C126: after one ping each side sends at most one keepalive, and then both are silent.
    fn idle_peers_fall_silent(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        let capture = Capture::start(&pair.a.namespace);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        capture.forget();
        std::thread::sleep(QUIET);
        let seen = capture.matching(is_outer);
        assert!(seen.iter().all(|datagram| datagram.payload.len() == KEEPALIVE), "{seen:?}");
        for node in [&pair.a, &pair.b] {
            let sent = seen.iter().filter(|datagram| datagram.source == node.endpoint(Family::V4)).count();
            assert!(sent <= 1, "{sent} keepalives from node {}", node.number);
        }
        assert!(!seen.is_empty(), "the last data was never acknowledged");
    }

    /// C127, C129: switched on, the persistent keepalive begins a session without traffic and goes on in its interval;
    /// switched off, it ends.
    fn persistent_keepalive_begins_at_once(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        let capture = Capture::start(&pair.a.namespace);
        let from_a = |datagram: &Datagram| datagram.source == pair.a.endpoint(Family::V4);
        let keepalive = |datagram: &Datagram| from_a(datagram) && datagram.payload.len() == KEEPALIVE;
        pair.a.tunnel.set(&format!("peer {} persistent-keepalive 2", pair.b.keys.public));
        assert!(capture.find(AT_ONCE, |datagram| from_a(datagram) && datagram.payload.len() == INITIATION).is_some());
        // The first one confirms the key, the others come every two seconds.
        std::thread::sleep(Duration::from_secs(7));
        let count = capture.matching(keepalive).len();
        assert!((3..=5).contains(&count), "{count} keepalives in 7 s");
        assert!(pair.b.peer(&pair.a).latest_handshake > 0);
        pair.a.tunnel.set(&format!("peer {} persistent-keepalive off", pair.b.keys.public));
        // One may have left while `wg` was at work.
        std::thread::sleep(Duration::from_millis(200));
        capture.forget();
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(capture.matching(keepalive), []);
    }

    /// C129: an interface that comes up sends to a peer with a persistent keepalive at once, without traffic.
    fn persistent_keepalive_begins_when_the_interface_comes_up(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        // The packaged wireguard-go does not notice that its interface goes down.
        let (node, other) = match programs[0] {
            Program::Gateway => (&pair.a, &pair.b),
            _ => (&pair.b, &pair.a),
        };
        node.tunnel.set(&format!("peer {} persistent-keepalive 25", other.keys.public));
        assert!(node.reaches(other, Family::V4));
        node.namespace.ip(&format!("link set {} down", node.interface()));
        std::thread::sleep(AT_ONCE);
        let capture = Capture::start(&node.namespace);
        node.namespace.ip(&format!("link set {} up", node.interface()));
        let initiation = capture.find(2 * AT_ONCE, |datagram| {
            datagram.source == node.endpoint(Family::V4) && datagram.payload.len() == INITIATION
        });
        assert!(initiation.is_some());
    }
}

fn is_outer(datagram: &Datagram) -> bool {
    datagram.destination.port() == PORT
}
