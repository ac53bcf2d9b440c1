//! Peers whose public key is a point of low order: they can be configured, and nothing is ever sent to them.

use core::time::Duration;

use wg_netns::capture::Capture;
use wg_netns::key::Key;
use wg_netns::{Family, Pair, for_each_pair};

/// The encodings below 2^255 of the points whose order divides eight: 0, 1, the two of order eight, and p-1, p, p+1 for
/// p = 2^255-19. Every shared secret with one of them is zero.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

for_each_pair! {
    /// C20, C21: with a keepalive each second nothing is on the wire for two seconds, while an honest peer works.
    fn nothing_is_sent_to_low_order_keys(programs: [Program; 2]) {
        let pair = Pair::new(programs);
        let capture = Capture::start(&pair.a.namespace);
        let endpoint = pair.b.endpoint(Family::V4);
        for key in LOW_ORDER {
            let key = Key::parse_hex(key).expect("64 digits");
            pair.a.tunnel.set(&format!("peer {key} endpoint {endpoint} persistent-keepalive 1 allowed-ips 10.1.0.0/24"));
        }
        assert_eq!(pair.a.tunnel.show().peers.len(), LOW_ORDER.len());
        std::thread::sleep(Duration::from_secs(2));
        // Traffic for such a peer goes nowhere either.
        assert!(!pair.a.reaches(&pair.b, Family::V4));
        assert_eq!(capture.matching(|datagram| datagram.destination == endpoint), []);
        pair.acquaint(Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
    }
}
