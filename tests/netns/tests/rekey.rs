//! Sessions are renewed under traffic. The tests that wait two minutes, so they stand alone, and all pairs run at once.

use core::net::SocketAddr;
use core::time::Duration;

use wg_netns::lanes::{
    Streams, add_strangers, assert_arrived_split, assert_exchange, follow, lanes, received, received_since,
};
use wg_netns::requirements::can_run;
use wg_netns::udp::{Account, Flow};
use wg_netns::{Family, Node, Pair, Program, wait};

/// C54, C57, C121: the initiator renews the session after 120 s of its age, and no packet of either direction is lost.
#[test]
fn rekey_under_traffic_loses_nothing() {
    if !can_run() {
        return;
    }
    let pairs = [
        [Program::Gateway, Program::peer()],
        [Program::peer(), Program::Gateway],
        [Program::Gateway, Program::Gateway],
    ];
    std::thread::scope(|scope| {
        for programs in pairs {
            scope.spawn(move || {
                for (account, excused) in traffic_across_a_rekey(programs) {
                    assert!(
                        account.sent > 100 * RATE && account.is_perfect_but_for(excused),
                        "{programs:?}, {excused} losses excused: {account:?}"
                    );
                }
            });
        }
    });
}

/// C54, C57: the same where lanes receive for each other on both sides. Each of them opens with the old session, then with the new one.
#[test]
fn rekey_of_lanes_that_split_loses_nothing() {
    if !can_run() {
        return;
    }
    let pair = Pair::new([lanes(3), lanes(3)]);
    for node in [&pair.a, &pair.b] {
        // The other is at home on the second lane.
        add_strangers(node, 1);
        follow(node, "counter-split");
    }
    pair.acquaint(Family::V4);
    assert_exchange(&pair);
    let nodes = [(&pair.a, &pair.b), (&pair.b, &pair.a)];
    let handshakes = || nodes.map(|(node, other)| node.peer(other).latest_handshake);
    let first = handshakes();
    let streams = Streams::start(&pair, 500);
    streams.goes_on("at first");
    let renewed = wait::until(Duration::from_secs(140), || {
        std::thread::sleep(Duration::from_millis(500));
        handshakes().iter().zip(&first).all(|(now, first)| now > first)
    });
    assert!(renewed, "no second handshake");
    let before = nodes.map(|(node, _)| received(node));
    (0..3).for_each(|_| streams.goes_on("with the new session"));
    let accounts = streams.finish();
    assert_arrived_split(&pair, &accounts);
    for ((node, _), before) in nodes.into_iter().zip(&before) {
        let [first, _, third] = received_since(node, before)[..] else { panic!("three lanes") };
        assert!(first > 300 && third > 300, "{first} {third}");
    }
}

/// Packets a second, each way.
const RATE: u64 = 100;

/// What became of either direction, and how many losses of it are excused.
fn traffic_across_a_rekey(programs: [Program; 2]) -> [(Account, u64); 2] {
    let pair = Pair::acquainted(programs, Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    let first = [pair.a.peer(&pair.b).latest_handshake, pair.b.peer(&pair.a).latest_handshake];
    let (there, back) = (flow(&pair.a, &pair.b), flow(&pair.b, &pair.a));
    let renewed = wait::until(Duration::from_secs(140), || {
        std::thread::sleep(Duration::from_millis(500));
        let now = [pair.a.peer(&pair.b).latest_handshake, pair.b.peer(&pair.a).latest_handshake];
        now[0] > first[0] && now[1] > first[1]
    });
    assert!(renewed, "{programs:?}: no second handshake");
    let (at_rekey, enough) = (there.received(), Duration::from_secs(10));
    assert!(wait::until(enough, || there.received() > at_rekey + 3 * RATE), "{programs:?}: traffic stopped");
    [(there.finish(), pair.b.excused_losses()), (back.finish(), pair.a.excused_losses())]
}

fn flow(from: &Node, to: &Node) -> Flow {
    let rate = u32::try_from(RATE).expect("a small number");
    Flow::start(&from.namespace, &to.namespace, SocketAddr::new(to.inner(Family::V4), 4000), rate, 200)
}
