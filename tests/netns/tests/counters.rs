//! The byte counters are exact: a user who bills by them, or compares both ends, must not find a difference.

use core::time::Duration;

use wg_netns::ping::Ping;
use wg_netns::{Family, Pair, for_each_pair, uapi};

/// UDP payload of a handshake, of a ping of 84 bytes (padded to 96, plus 32) and of a keepalive.
const INITIATION: u64 = 148;
const RESPONSE: u64 = 92;
const PING: u64 = 128;
const KEEPALIVE: u64 = 32;

for_each_pair! {
    /// C73, C74, C83: ten pings after a fresh handshake. The initiator may have sent one keepalive to confirm the key.
    fn ten_pings_count_exactly(programs: [Program; 2]) {
        for outside in Family::BOTH {
            let pair = Pair::acquainted(programs, outside);
            let report = Ping::to(pair.b.inner(Family::V4)).count(10).run(&pair.a.namespace);
            assert!(report.is_lossless(), "{report:?}");
            let (first, second) = (pair.a.peer(&pair.b), pair.b.peer(&pair.a));
            assert_eq!(first.rx_bytes, 1372);
            assert!([1428, 1460].contains(&first.tx_bytes), "{} bytes sent", first.tx_bytes);
            assert_eq!((second.rx_bytes, second.tx_bytes), (first.tx_bytes, first.rx_bytes));
            assert_eq!((1372, 1428, 1460), (10 * PING + RESPONSE, 10 * PING + INITIATION, 1428 + KEEPALIVE));
        }
    }

    /// C74: what `wg` shows is what the socket says, during traffic in both directions as well.
    fn both_reports_agree(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        for family in Family::BOTH {
            assert!(pair.a.reaches(&pair.b, family) && pair.b.reaches(&pair.a, family));
        }
        for node in [&pair.a, &pair.b] {
            let direct = uapi::get(node.interface()).expect("the state of the tunnel");
            assert_eq!(direct, node.tunnel.show());
            assert_eq!(direct.private_key, Some(node.keys.private));
            assert_eq!(direct.peers.len(), 1);
        }
    }

    /// C83: sizes on both sides of the padding and of the MTU count as they are on the wire.
    fn padding_counts_on_both_sides(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        // Bytes of the inner packet, and of the datagram that carries it.
        for (packet, datagram) in [(28, 64), (32, 64), (33, 80), (1408, 1440), (1409, 1452), (1420, 1452)] {
            let before = [pair.a.peer(&pair.b), pair.b.peer(&pair.a)];
            let report = Ping::to(pair.b.inner(Family::V4))
                .payload(packet - 28)
                .count(3)
                .interval(Duration::from_millis(10))
                .run(&pair.a.namespace);
            assert!(report.is_lossless(), "{report:?}");
            for (node, other, before) in [(&pair.a, &pair.b, &before[0]), (&pair.b, &pair.a, &before[1])] {
                let after = node.peer(other);
                assert_eq!(after.rx_bytes - before.rx_bytes, 3 * datagram, "received, packets of {packet}");
                assert_eq!(after.tx_bytes - before.tx_bytes, 3 * datagram, "sent, packets of {packet}");
            }
        }
    }
}
