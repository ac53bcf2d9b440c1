//! Random configuration as fast as the socket takes it, while packets flow: every request is answered, and who is not
//! touched loses nothing.

use core::fmt::Write as _;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use wg_netns::key::{Key, KeyPair};
use wg_netns::node::PORT;
use wg_netns::requirements::can_run;
use wg_netns::udp::Flow;
use wg_netns::{Family, Pair, Program, uapi};

/// Strangers that come, change and go.
const STRANGERS: usize = 24;
const REQUESTS: u32 = 3000;

fn below(rng: &mut ChaCha20Rng, end: u32) -> u32 {
    rng.next_u32() % end
}

/// A section about one of `strangers`: added, changed in some attributes, or removed.
fn section(rng: &mut ChaCha20Rng, strangers: &[Key]) -> String {
    let stranger = below(rng, u32::try_from(strangers.len()).expect("a small number"));
    let mut body = format!("public_key={}\n", strangers[stranger as usize].hex());
    if below(rng, 6) == 0 {
        return body + "remove=true\n";
    }
    let (low, port) = (below(rng, 250), 1 + below(rng, 65_535));
    for _ in 0..below(rng, 5) {
        let line = match below(rng, 7) {
            0 => format!("preshared_key={}\n", Key::from_bytes([low.to_le_bytes()[0]; 32]).hex()),
            1 => format!("endpoint=10.0.0.{}:{port}\n", 3 + low % 250),
            2 => format!("endpoint=[fd00::{:x}]:{port}\n", 3 + low),
            3 => format!("persistent_keepalive_interval={}\n", low % 3),
            4 => "replace_allowed_ips=true\n".to_owned(),
            // Never what belongs to the other node; the same ones again and again, so that they move.
            5 => format!("allowed_ip=10.7.{}.0/24\n", low % 16),
            _ => format!("allowed_ip=fd07:{:x}::/32\n", low % 16),
        };
        body += &line;
    }
    body
}

/// R3, defects 2, 19 and 23: thousands of changes of other peers, and questions between them.
#[test]
fn a_storm_of_configuration_costs_an_untouched_peer_no_packet() {
    if !can_run() {
        return;
    }
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    assert!(pair.a.reaches(&pair.b, Family::V4), "a session before the storm");
    let address = (pair.b.inner(Family::V4), 9000).into();
    let flow = Flow::start(&pair.a.namespace, &pair.b.namespace, address, 500, 200);
    let back = (pair.a.inner(Family::V6), 9000).into();
    let reverse = Flow::start(&pair.b.namespace, &pair.a.namespace, back, 500, 200);

    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let strangers: Vec<Key> = (0..STRANGERS).map(|_| KeyPair::generate().public).collect();
    for number in 0..REQUESTS {
        let mut body = String::new();
        for _ in 0..=below(&mut rng, 3) {
            body += &section(&mut rng, &strangers);
        }
        let answer = uapi::set(pair.a.interface(), &body);
        assert_eq!(
            answer.expect("an answer within the patience of the socket"),
            0,
            "request {number}:\n{body}"
        );
        if number % 16 == 0 {
            let status = uapi::get(pair.a.interface()).expect("the state");
            assert!(status.peer(&pair.b.keys.public).is_some(), "the other node is still a peer");
            assert!(status.peers.len() <= STRANGERS + 1);
        }
    }
    for (flow, way) in [(flow, "out"), (reverse, "back")] {
        let account = flow.finish();
        assert!(account.is_perfect(), "{way}: {account:?}");
    }
}

/// Defect 19: what is changed may touch everybody: keys, ports, marks, all peers at once. Traffic may suffer, answers may
/// not, and in the end the tunnel is as configured.
#[test]
fn a_storm_of_every_change_leaves_no_request_unanswered() {
    if !can_run() {
        return;
    }
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    let address = (pair.b.inner(Family::V4), 9000).into();
    let flow = Flow::start(&pair.a.namespace, &pair.b.namespace, address, 500, 200);
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let strangers: Vec<Key> = (0..STRANGERS).map(|_| KeyPair::generate().public).collect();
    for number in 0..REQUESTS / 4 {
        let mut body = match below(&mut rng, 8) {
            0 => format!("private_key={}\n", KeyPair::generate().private.hex()),
            // The key that makes the other node this one: that peer goes (C133).
            1 => format!("private_key={}\n", pair.b.keys.private.hex()),
            2 => format!("listen_port={}\n", 20_000 + below(&mut rng, 100)),
            3 => format!("fwmark={}\n", below(&mut rng, 3)),
            4 => "replace_peers=true\n".to_owned(),
            _ => String::new(),
        };
        body += &section(&mut rng, &strangers);
        assert_eq!(uapi::set(pair.a.interface(), &body).expect("an answer"), 0, "request {number}:\n{body}");
        uapi::get(pair.a.interface()).expect("the state");
    }
    flow.finish();
    let mut body = format!("private_key={}\nlisten_port={PORT}\nfwmark=0\n", pair.a.keys.private.hex());
    writeln!(body, "replace_peers=true").expect("writing to a string");
    assert_eq!(uapi::set(pair.a.interface(), &body).expect("an answer"), 0);
    pair.acquaint(Family::V4);
    assert!(pair.a.reaches_within(core::time::Duration::from_secs(20), &pair.b, Family::V4));
}
