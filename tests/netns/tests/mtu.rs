//! The MTU of the tunnel and of the link outside change while a stream runs through it (C99).

use core::net::SocketAddr;
use core::time::Duration;

use wg_netns::ping::Ping;
use wg_netns::requirements::can_run;
use wg_netns::tcp::{self, Limit};
use wg_netns::{Family, Node, Pair, Program, wait};

/// The smallest that the family may have, the largest that an interface takes, and odd ones between.
const fn mtus(family: Family) -> [u32; 8] {
    let least = match family {
        Family::V4 => 576,
        // With less the kernel takes IPv6 off the interface.
        Family::V6 => 1280,
    };
    [1420, least, 65_535, 1337, least + 1, 9001, 65_503, 1500]
}

/// How long the stream runs, and each MTU holds.
const RUN: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(40);

fn set(node: &Node, link: &str, mtu: u32) {
    node.namespace.ip(&format!("link set {link} mtu {mtu}"));
}

/// Runs a stream, and changes both MTUs under it.
fn stream_survives(outside: Family, inside: Family) {
    let pair = Pair::acquainted([Program::Gateway; 2], outside);
    let (tunnel, link) = (mtus(inside), mtus(outside));
    // The connection begins with the longest segments there are.
    for (node, end) in [(&pair.a, &pair.cable.first), (&pair.b, &pair.cable.second)] {
        set(node, node.interface(), 65_535);
        set(node, end, 65_535);
    }
    assert!(pair.a.reaches(&pair.b, inside));
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let address = SocketAddr::new(pair.b.inner(inside), 4000);
            let (from, to) = (&pair.a.namespace, &pair.b.namespace);
            tcp::transfer(from, to, address, Limit::Time(RUN), |_, _| ())
        });
        // All pairs of the two, as far as the time goes: one of them goes round a place further each time.
        for round in 0.. {
            if stream.is_finished() {
                break;
            }
            let (first, second) = (tunnel[round % 8], link[(round + round / 8) % 8]);
            for (node, end) in [(&pair.a, &pair.cable.first), (&pair.b, &pair.cable.second)] {
                set(node, node.interface(), first);
                set(node, end, second);
            }
            std::thread::sleep(PAUSE);
        }
        let report = stream.join().expect("the stream").expect("a stream that does not stand still");
        assert!(report.intact && report.bytes > 1 << 20, "{report:?}");
    });
    // Whatever the last ones were, what comes next finds its way.
    for mtu in mtus(inside) {
        for node in [&pair.a, &pair.b] {
            set(node, node.interface(), mtu);
        }
        let whole = usize::try_from(mtu.min(9000)).expect("small") - 48;
        let ping = || Ping::to(pair.b.inner(inside)).payload(whole).run(&pair.a.namespace).is_lossless();
        assert!(wait::until(Duration::from_secs(5), ping), "MTU {mtu}");
    }
}

/// The longest packets of the interface are longer than a datagram can carry: their sender learns what passes.
#[test]
fn stream_at_any_mtu_that_stays_arrives_whole() {
    if can_run() {
        for (outside, inside) in [(Family::V4, Family::V4), (Family::V6, Family::V6)] {
            for mtu in mtus(inside) {
                let pair = Pair::acquainted([Program::Gateway; 2], outside);
                for node in [&pair.a, &pair.b] {
                    set(node, node.interface(), mtu);
                }
                let (from, to) = (&pair.a.namespace, &pair.b.namespace);
                let address = SocketAddr::new(pair.b.inner(inside), 4000);
                let report = tcp::transfer(from, to, address, Limit::Bytes(2 << 20), |_, _| ());
                assert!(report.expect("a stream that does not stand still").intact, "MTU {mtu}");
            }
        }
    }
}

#[test]
fn stream_over_ipv4_survives_changes_of_both_mtus() {
    if can_run() {
        Family::BOTH.into_iter().for_each(|inside| stream_survives(Family::V4, inside));
    }
}

#[test]
fn stream_over_ipv6_survives_changes_of_both_mtus() {
    if can_run() {
        Family::BOTH.into_iter().for_each(|inside| stream_survives(Family::V6, inside));
    }
}
