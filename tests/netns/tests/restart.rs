//! A program dies and returns; the other side, which knows nothing of it, finds it again.

use core::time::Duration;

use wg_netns::{Family, Pair, for_each_pair, wait};

/// The other side notices by 15 s without an answer and at most 333 ms of jitter (C125), then a handshake follows; the
/// rest is for the machine.
const NOTICE: Duration = Duration::from_secs(25);

for_each_pair! {
    /// C35, C39: the restarted side speaks first and is back at once, whoever began the session before.
    fn restarted_side_speaks(programs: [Program; 2]) {
        let mut pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        for _ in 0..2 {
            pair.a.kill();
            assert!(!pair.b.reaches(&pair.a, Family::V4));
            pair.a.start_again();
            pair.a.add_peer(&pair.b, Some(pair.b.endpoint(Family::V4)));
            assert!(pair.a.reaches_within(Duration::from_secs(10), &pair.b, Family::V4));
            assert!(pair.b.reaches(&pair.a, Family::V4));
        }
    }

    /// C125: the restarted side is silent and does not even know where its peer is; the peer's traffic brings it back.
    fn surviving_side_speaks(programs: [Program; 2]) {
        let mut pair = Pair::acquainted(programs, Family::V4);
        assert!(pair.a.reaches(&pair.b, Family::V4));
        let before = pair.a.peer(&pair.b).latest_handshake;
        pair.b.kill();
        pair.b.start_again();
        pair.b.add_peer(&pair.a, None);
        assert!(pair.a.reaches_within(NOTICE, &pair.b, Family::V4), "not back after {NOTICE:?}");
        assert!(pair.a.peer(&pair.b).latest_handshake > before);
    }

    /// U3, U4: `kill -9` leaves the socket behind, and the next start under the same name takes it over.
    fn stale_socket_is_taken_over(programs: [Program; 2]) {
        let mut pair = Pair::acquainted(programs, Family::V6);
        pair.a.kill();
        assert!(pair.a.tunnel.socket().exists());
        pair.a.start_again();
        pair.a.add_peer(&pair.b, Some(pair.b.endpoint(Family::V6)));
        assert!(wait::until(Duration::from_secs(10), || pair.a.reaches(&pair.b, Family::V6)));
        assert!(pair.a.tunnel.socket().exists());
    }
}
