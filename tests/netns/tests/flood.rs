//! The rig of `cargo xtask soak flood`, for seconds instead of minutes: what an attack does not do, whatever it costs.

use core::time::Duration;

use wg_netns::echo;
use wg_netns::flood::Kind;
use wg_netns::newcomers::Newcomers;
use wg_netns::site::{Destination, Processors, Site};
use wg_netns::{Family, Program, process, requirements, wait};

/// So few that what is answered can be looked at.
const RATE: u32 = 3000;
/// As long as an attack lasts, and longer than it takes the device to notice.
const TIME: Duration = Duration::from_secs(2);
/// How long a newcomer may take in all: the round of a cookie, and as many again for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn site() -> Option<Site> {
    requirements::can_run().then(|| Site::build(Program::Gateway, Processors::default()))
}

/// Lets the flood run while the peer sends echo requests, and tells by how many KiB the victim grew meanwhile.
fn attack(site: &Site, kind: Kind) -> u64 {
    let pid = site.victim.tunnel.pid();
    let flood = site.flood(Destination::Victim, kind, RATE);
    assert!(wait::until(PATIENCE, || flood.sent() > u64::from(RATE) / 2), "the flood runs");
    let before = process::resident_kib(pid).unwrap();
    let echo = echo::run(&site.peer.namespace, site.inside(), Duration::from_millis(20), TIME, None);
    let after = process::resident_kib(pid).unwrap();
    assert!(flood.finish().sent > u64::from(RATE));
    assert!(echo.loss() < 0.5, "traffic goes on: {} lost", echo.loss());
    let answered = echo.requests.iter().filter(|(_, answer)| answer.is_some()).count();
    assert_eq!(echo.arrivals.len(), answered, "the kernel tells when each came");
    after.saturating_sub(before)
}

#[test]
fn spoofed_initiations_get_cookies_and_nothing_else() {
    // C7, C106, C115, C116, H2, H3
    let Some(site) = site() else { return };
    let session = site.peer.peer_directly(&site.victim).latest_handshake;
    let capture = site.watch_attacker();
    let grown = attack(&site, Kind::RightMac1);
    assert!(grown <= 512, "{grown} KiB more");
    let answers = capture.matching(Site::is_answer);
    assert!(answers.len() > 100, "{} answers", answers.len());
    for answer in &answers {
        assert_eq!((answer.length, &answer.payload[..4]), (64, &[3, 0, 0, 0][..]), "{answer:?}");
    }
    drop(capture);

    // Newcomers get in while it goes on, and the peer did not have to begin anew.
    let flood = site.flood(Destination::Victim, Kind::RightMac1, RATE);
    let sent = flood.sent();
    assert!(wait::until(PATIENCE, || flood.sent() > sent + u64::from(RATE) / 2));
    let (place, moment) = (&site.peer.namespace, Duration::from_millis(1));
    let newcomers = Newcomers::start(place, &site.victim, site.entrance(), 5, moment, None);
    assert!(wait::until(PATIENCE, || newcomers.arrived() == 5), "{} of 5 got in", newcomers.arrived());
    newcomers.finish();
    flood.finish();
    assert!(site.peer.reaches(&site.victim, Family::V4), "and all is well afterwards");
    assert_eq!(site.peer.peer_directly(&site.victim).latest_handshake, session);
}

#[test]
fn wrong_initiations_and_forged_data_get_silence() {
    // C7, C76, C86, C105, H1, H4
    let Some(site) = site() else { return };
    let capture = site.watch_attacker();
    let index = site.live_index();
    for kind in [Kind::WrongMac1, Kind::LiveIndex(index)] {
        let grown = attack(&site, kind);
        assert!(grown <= 512, "{grown} KiB more");
        assert!(site.peer.reaches(&site.victim, Family::V4), "and all is well afterwards");
    }
    assert_eq!(capture.matching(Site::is_answer), []);
}

#[test]
fn verified_sources_are_limited_and_do_no_harm() {
    // C113, H5
    let Some(site) = site() else { return };
    let flood = site.flood(Destination::Victim, Kind::Verified, RATE);
    assert!(wait::until(PATIENCE, || flood.cookies() > 100), "they get cookies");
    flood.finish();
    attack(&site, Kind::Verified);
    assert!(site.peer.reaches(&site.victim, Family::V4), "and all is well afterwards");
}
