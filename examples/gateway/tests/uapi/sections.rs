//! What a `public_key` line begins, and how its section ends: dummies, removal, creation, the work at the end.

use wg_gateway::uapi::Configure;
use wg_proto::PrivateKey;

use crate::model::{Event, Model};

const EINVAL: i32 = 22;

fn key(byte: u8) -> String {
    format!("public_key={}\n", format!("{byte:02x}").repeat(32))
}

#[test]
fn a_peer_of_our_own_key_is_ignored_with_all_its_lines() {
    // C134
    let mut device = Model { private_key: Some(PrivateKey::from_bytes([5; 32])), ..Model::default() };
    let own: String =
        device.public_key().unwrap().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!(
        "public_key={own}\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nendpoint=192.0.2.1:1\n\
         persistent_keepalive_interval=5\npreshared_key={}\nupdate_only=true\n{}allowed_ip=10.0.0.0/9\n\n",
        "01".repeat(32),
        key(2)
    );
    assert_eq!(device.set(body), 0);
    assert_eq!(device.take_events(), [Event::Created(2), Event::Configured(2)]);
    assert_eq!(device.peers[0].allowed_ips.len(), 1, "the dummy's lines did not go to the next peer");
    // Bad values are judged all the same.
    for line in ["persistent_keepalive_interval=x", "endpoint=[fe80::1%nowhere]:1", "listen_port=1"] {
        assert_eq!(device.set(format!("public_key={own}\n{line}\n\n")), EINVAL, "{line}");
    }
}

#[test]
fn update_only_never_creates() {
    // C139
    let mut device = Model::default();
    assert_eq!(device.set(format!("{}update_only=true\nallowed_ip=10.0.0.0/8\nremove=true\n\n", key(1))), 0);
    assert!(device.take_events().is_empty());

    assert_eq!(device.set(format!("{}\n", key(1))), 0);
    assert_eq!(device.set(format!("{}update_only=true\nallowed_ip=10.0.0.0/8\n\n", key(1))), 0);
    assert_eq!(device.peers[0].allowed_ips.len(), 1, "a known peer is updated");
    assert_eq!(device.take_events(), [Event::Created(1), Event::Configured(1), Event::Configured(1)]);
}

#[test]
fn update_only_behind_other_lines_undoes_a_creation_but_keeps_a_known_peer() {
    let mut device = Model::default();
    let body = format!("{}allowed_ip=10.0.0.0/8\nupdate_only=true\nallowed_ip=10.0.0.0/9\n\n", key(1));
    assert_eq!(device.set(&body), 0);
    assert!(device.peers.is_empty());
    assert_eq!(device.set(format!("{}\n", key(1))), 0);
    assert_eq!(device.set(&body), 0);
    assert_eq!(device.peers[0].allowed_ips.len(), 2);
}

#[test]
fn remove_takes_the_peer_and_the_rest_of_its_lines() {
    let mut device = Model::default();
    assert_eq!(device.set(format!("{}{}\n", key(1), key(2))), 0);
    device.take_events();
    let body = format!(
        "{}persistent_keepalive_interval=9\nremove=true\nallowed_ip=10.0.0.0/8\nremove=true\nupdate_only=true\n\n",
        key(1)
    );
    assert_eq!(device.set(&body), 0);
    assert_eq!(device.take_events(), [Event::Removed(1)], "neither configured nor removed twice");
    assert_eq!(device.set(&body), 0);
    // The keepalive line came first, and only update_only and remove leave an unknown peer uncreated.
    assert_eq!(device.take_events(), [Event::Created(1), Event::Removed(1)]);
    assert_eq!(device.set(format!("{}remove=true\n\n", key(1))), 0);
    assert!(device.take_events().is_empty(), "removing the unknown is no error and no event");
    assert_eq!(device.peers.len(), 1);
}

#[test]
fn the_same_peer_twice_is_one_peer_and_the_later_lines_win() {
    let mut device = Model::default();
    let body = format!(
        "{0}allowed_ip=10.0.0.0/8\nendpoint=192.0.2.1:1\n{0}replace_allowed_ips=true\nendpoint=192.0.2.2:2\n\n",
        key(1)
    );
    assert_eq!(device.set(body), 0);
    assert_eq!(device.peers.len(), 1);
    assert!(device.peers[0].allowed_ips.is_empty());
    assert_eq!(device.peers[0].endpoint, Some("192.0.2.2:2".parse().unwrap()));
}

#[test]
fn allowed_ips_move_and_go() {
    // C136
    let mut device = Model::default();
    let body = format!(
        "{}allowed_ip=10.0.0.1/8\nallowed_ip=10.0.0.2/8\nallowed_ip=fd00::/8\n{}allowed_ip=10.9.9.9/8\n\n",
        key(1),
        key(2)
    );
    assert_eq!(device.set(body), 0);
    let counts = |device: &Model| device.peers.iter().map(|peer| peer.allowed_ips.len()).collect::<Vec<_>>();
    assert_eq!(counts(&device), [1, 1], "one prefix, one peer");
    assert_eq!(device.set(format!("{}allowed_ip=-10.1.1.1/8\nallowed_ip=-1.0.0.0/8\n\n", key(1))), 0);
    assert_eq!(counts(&device), [1, 1], "a peer cannot take away what is not its own");
    assert_eq!(device.set(format!("{}allowed_ip=-10.1.1.1/8\n\n", key(2))), 0);
    assert_eq!(counts(&device), [1, 0]);
}

#[test]
fn replace_peers_comes_before_the_new_ones() {
    let mut device = Model::default();
    assert_eq!(device.set(format!("{}{}\n", key(1), key(2))), 0);
    device.take_events();
    assert_eq!(device.set(format!("replace_peers=true\n{}\n", key(2))), 0);
    assert_eq!(
        device.take_events(),
        [Event::Removed(1), Event::Removed(2), Event::Created(2), Event::Configured(2)]
    );
}

#[test]
fn a_keepalive_that_is_turned_on_goes_out_when_the_section_is_complete() {
    // U14: the endpoint comes behind the interval and is known all the same.
    for ending in ["\n", "", "public_key=bad\n", "endpoint=bad\n", "nonsense\n", "listen_port=1\n"] {
        let mut device = Model::default();
        let body = format!("{}persistent_keepalive_interval=5\nendpoint=192.0.2.1:1\n{ending}", key(1));
        let errno = device.set(body);
        assert_eq!(errno == 0, ending.trim().is_empty(), "{ending:?}");
        assert_eq!(
            device.take_events(),
            [Event::Created(1), Event::Keepalive(1, true), Event::Configured(1)],
            "after {ending:?}"
        );
    }
    let mut device = Model::default();
    assert_eq!(device.set(format!("{}persistent_keepalive_interval=5\n{}\n", key(1), key(2))), 0);
    assert_eq!(
        device.take_events(),
        [
            Event::Created(1),
            Event::Keepalive(1, false),
            Event::Configured(1),
            Event::Created(2),
            Event::Configured(2)
        ]
    );
}

#[test]
fn a_keepalive_that_was_on_or_ends_off_sends_nothing() {
    let mut device = Model::default();
    let on_and_off =
        format!("{}persistent_keepalive_interval=5\npersistent_keepalive_interval=0\n\n", key(1));
    assert_eq!(device.set(on_and_off), 0);
    assert_eq!(device.take_events(), [Event::Created(1), Event::Configured(1)]);
    let on = format!("{}persistent_keepalive_interval=5\n\n", key(1));
    assert_eq!((device.set(&on), device.take_events().len()), (0, 2));
    assert_eq!((device.set(&on), device.take_events()), (0, vec![Event::Configured(1)]));
}

#[test]
fn a_peer_too_many_is_an_error_and_stops_the_set() {
    let mut device = Model { max_peers: Some(1), ..Model::default() };
    assert_eq!(device.set(format!("{}{}{}\n", key(1), key(2), key(3))), EINVAL);
    assert_eq!(device.take_events(), [Event::Created(1), Event::Configured(1), Event::Refused(2)]);
    assert_eq!(device.set(format!("{}allowed_ip=10.0.0.0/8\n\n", key(2))), EINVAL);
    assert_eq!(device.take_events(), [Event::Refused(2)], "tried once");
    assert_eq!(device.set(format!("{}allowed_ip=10.0.0.0/8\n\n", key(1))), 0);
}

#[test]
fn the_first_error_is_the_answer() {
    // The parser found EPROTO in the second line, but the first one already fails when it is applied.
    let mut device = Model::default();
    assert_eq!(device.set("listen_port=22\nnonsense\n\n"), 98);
    // A peer is created when its lines begin to matter, but it was named in the line before.
    let mut full = Model { max_peers: Some(0), ..Model::default() };
    assert_eq!(full.set(format!("{}nonsense\n\n", key(1))), EINVAL);
}
