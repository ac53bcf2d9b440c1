//! Sessions are renewed under traffic. The one test that waits two minutes, so it stands alone and runs all pairs at once.

use core::net::SocketAddr;
use core::time::Duration;

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
