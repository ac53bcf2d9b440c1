//! The outer header: what the network between two peers sees and may change.

use wg_netns::capture::{Capture, Datagram};
use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::{Family, Pair, Program, for_each_pair};

/// Expedited handling for the handshake: AF41, not ECN capable.
const HANDSHAKE_CLASS: u8 = 0x88;
const DATA: u8 = 4;

for_each_pair! {
    /// C98: handshake messages are marked AF41. Data never shows the DSCP of its inner packet; of its ECN field it shows
    /// nothing or, by RFC 6040, the field itself, CE as ECT(0).
    fn traffic_class_of_what_the_gateway_sends(programs: [Program; 2]) {
        for outside in Family::BOTH {
            let pair = Pair::acquainted(programs, outside);
            let capture = Capture::start(&pair.a.namespace);
            for inside in Family::BOTH {
                // DSCP 46 with each ECN field, and what of it shows outside.
                for (inner, outer) in [(0xb8, 0), (0xb9, 1), (0xba, 2), (0xbb, 2)] {
                    let ping = Ping::to(pair.b.inner(inside)).traffic_class(inner);
                    capture.forget();
                    assert!(ping.run(&pair.a.namespace).is_lossless());
                    for (node, program) in [(&pair.a, programs[0]), (&pair.b, programs[1])] {
                        if program != Program::Gateway {
                            // They mark nothing.
                            continue;
                        }
                        let sent = capture.matching(|datagram| datagram.source == node.endpoint(outside));
                        assert!(sent.iter().any(is_data), "{sent:?}");
                        for datagram in &sent {
                            // An answer to a ping carries the class of the ping.
                            let good = if is_data(datagram) {
                                [0, outer].contains(&datagram.traffic_class)
                            } else {
                                datagram.traffic_class == HANDSHAKE_CLASS
                            };
                            assert!(good, "{inside:?} {inner:#x}: {datagram:?}");
                        }
                    }
                }
            }
        }
    }

    /// C97: outer IPv4 may be fragmented on its way.
    fn outer_packets_may_be_fragmented(programs: [Program; 2]) {
        let pair = Pair::acquainted(programs, Family::V4);
        let capture = Capture::start(&pair.a.namespace);
        assert!(Ping::to(pair.b.inner(Family::V4)).payload(1392).count(2).run(&pair.a.namespace).is_lossless());
        let seen = capture.matching(|datagram| datagram.destination.port() == PORT);
        for (node, program) in [(&pair.a, programs[0]), (&pair.b, programs[1])] {
            let mut sent = seen.iter().filter(|datagram| datagram.source == node.endpoint(Family::V4));
            assert!(program != Program::Gateway || sent.all(|datagram| !datagram.dont_fragment), "{seen:?}");
        }
    }
}

fn is_data(datagram: &Datagram) -> bool {
    datagram.payload.first() == Some(&DATA)
}
