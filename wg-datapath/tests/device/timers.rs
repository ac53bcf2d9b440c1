//! Timers at a device with many peers: exact deadlines, and everything that happens at them (C45, C60, C117-C132).

use core::time::Duration;
use std::collections::HashMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::memory::Datagram;
use wg_datapath::proto::wire::MessageType;
use wg_datapath::proto::{Instant, PrivateKey};
use wg_datapath::{Config, DropReason, Now, PeerId};

use crate::rig::{
    A, B, C, Rig, initiations, inner, kind, millis, outer, packet, prefix, public_key, seconds,
};

/// A device with `peers` peers that never answer, each at an address of its own.
struct Hub {
    rig: Rig,
    peers: Vec<PeerId>,
}

impl Hub {
    fn new(peers: u8) -> Self {
        let mut rig = Rig::strangers(1, Config::default());
        let peers = (0..peers)
            .map(|number| {
                let mut key = [9; 32];
                key[1] = number;
                let peer = rig[A].device.add_peer(PrivateKey::from_bytes(key).public_key()).unwrap();
                rig[A].device.add_allowed_ip(peer, prefix([10, 1, 0, number], 32)).unwrap();
                rig[A].device.set_endpoint(peer, ([198, 51, 100, number], 9).into());
                peer
            })
            .collect();
        Self { rig, peers }
    }

    fn send(&mut self, number: u8) {
        self.rig[A].tun.inner.outgoing.push_back(packet(inner(A), [10, 1, 0, number], 84));
    }
}

/// Lets time pass deadline by deadline: nothing happens a nanosecond before one, and each is gone once it was run at.
/// Returns what was sent, with the time since the start.
fn pass_exactly(rig: &mut Rig, by: Duration) -> Vec<(Duration, Datagram)> {
    rig.settle();
    let start = rig.now.instant;
    let end = start.saturating_add(by);
    let mut sent: Vec<_> = rig.sent().into_iter().map(|datagram| (Duration::ZERO, datagram)).collect();
    while let Some(next) = rig.next_timeout().filter(|next| *next <= end) {
        let wait = next.saturating_duration_since(rig.now.instant);
        assert!(wait > Duration::ZERO, "a deadline lies ahead");
        rig.advance(wait - Duration::from_nanos(1));
        rig.settle();
        assert!(rig.sent().is_empty(), "nothing before the deadline");
        assert_eq!(rig.next_timeout(), Some(next));
        rig.advance(Duration::from_nanos(1));
        rig.settle();
        let at = next.saturating_duration_since(start);
        sent.extend(rig.sent().into_iter().map(|datagram| (at, datagram)));
    }
    rig.advance(end.saturating_duration_since(rig.now.instant));
    rig.settle();
    sent
}

#[test]
fn every_silent_peer_gets_twenty_initiations_and_then_no_more() {
    // C118, C119
    let mut hub = Hub::new(24);
    let mut sent = Vec::new();
    for number in 0..24 {
        hub.send(number);
        hub.rig.settle();
        let start = hub.rig.now.instant;
        sent.extend(hub.rig.sent().into_iter().map(|datagram| (start, datagram)));
        hub.rig.advance(millis(171));
    }
    let start = hub.rig.now.instant;
    let later = pass_exactly(&mut hub.rig, seconds(95));
    sent.extend(later.into_iter().map(|(at, datagram)| (start.saturating_add(at), datagram)));
    let early = hub.rig[A].dropped(DropReason::StagedGiveUp);
    assert_eq!(early, 0, "nobody gives up before 100 s");
    let start = hub.rig.now.instant;
    let later = pass_exactly(&mut hub.rig, seconds(24));
    sent.extend(later.into_iter().map(|(at, datagram)| (start.saturating_add(at), datagram)));

    let mut by_peer: HashMap<_, Vec<Instant>> = HashMap::new();
    for (at, datagram) in sent {
        assert_eq!(datagram.bytes.len(), 148);
        by_peer.entry(datagram.to).or_default().push(at);
    }
    assert_eq!(by_peer.len(), 24);
    for times in by_peer.values() {
        assert_eq!(times.len(), 20);
        for pair in times.windows(2) {
            let waited = pair[1].saturating_duration_since(pair[0]);
            assert!((seconds(5)..=millis(5333)).contains(&waited), "{waited:?}");
        }
    }
    assert_eq!(hub.rig[A].dropped(DropReason::StagedGiveUp), 24);
    hub.rig.pass(seconds(3000));
    assert!(hub.rig.sent().is_empty());
    assert_eq!(
        hub.rig[A].device.poll_timeout(),
        None,
        "after the keys were wiped there is nothing to wait for"
    );

    hub.send(7);
    hub.rig.pass(seconds(6));
    assert_eq!(hub.rig.sent().len(), 2, "new traffic begins anew");
}

#[test]
fn traffic_keeps_the_attempts_alive_and_does_not_speed_them_up() {
    // C119, C120
    let mut hub = Hub::new(1);
    let mut sent = 0;
    for _ in 0..300 {
        hub.send(0);
        hub.rig.pass(seconds(1));
        sent += hub.rig.sent().len();
    }
    assert!((56..=60).contains(&sent), "{sent} initiations in 300 s");
    assert_eq!(hub.rig[A].dropped(DropReason::StagedGiveUp), 0);
}

#[test]
fn a_thousand_deadlines_at_one_instant_are_all_met() {
    let mut hub = Hub::new(250);
    let now = hub.rig.now;
    for peer in hub.peers.clone() {
        hub.rig[A].device.set_persistent_keepalive(peer, 25, now);
    }
    hub.rig.settle();
    assert_eq!(hub.rig.sent().len(), 250, "switched on: one handshake at once for each");
    // One poll that is late for all of them.
    hub.rig.advance(seconds(26));
    hub.rig.settle();
    assert_eq!(hub.rig.sent().len(), 250, "one each, not one for each second missed");
}

#[test]
fn initiator_asks_for_a_new_session_when_it_sends_after_120_seconds() {
    // C121
    let mut rig = Rig::with_session();
    rig.pass(millis(119_999));
    rig.sent();
    for (from, to) in [(A, B), (B, A)] {
        rig.send(from, to, 84);
        rig.settle();
        assert_eq!(rig.sent_lengths(), [128]);
    }
    rig.advance(millis(1));
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [128], "the responder does not ask");
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [128, 148, 92, 32], "the initiator does, and confirms at once");
}

#[test]
fn initiator_that_only_receives_asks_after_165_seconds() {
    // C122: an initiator whose own sends are held back by the socket still notices.
    let mut rig = Rig::with_session();
    rig.pass(millis(164_999));
    rig.sent();
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [128]);
    rig.advance(millis(1));
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [128, 148, 92, 32]);
}

#[test]
fn keys_are_dead_at_180_seconds_sharp() {
    // C56
    let mut rig = Rig::with_session();
    rig.pass(millis(179_999));
    rig.sent();
    rig.network.cut(true);
    rig.send(B, A, 84);
    rig.run(B);
    let data = rig.sent_one();
    assert_eq!(data.bytes.len(), 128);
    rig.advance(millis(1));
    rig.network.inject(data);
    rig.run(A);
    assert_eq!(rig[A].dropped(DropReason::KeyExpired), 1);
    rig.send(B, A, 84);
    rig.run(B);
    assert_eq!(rig.sent_lengths(), [148], "nothing is sent with it either");
}

#[test]
fn after_one_ping_each_side_falls_silent() {
    // C126, C60: at most one keepalive each way, then nothing until the keys are wiped, and then nothing at all.
    let mut rig = Rig::with_session();
    let sent = pass_exactly(&mut rig, seconds(600));
    let keepalives: Vec<_> = sent.iter().map(|(at, datagram)| (*at, datagram.bytes.len())).collect();
    assert_eq!(keepalives, [(seconds(10), 32)], "only the side that heard last");
    assert_eq!(rig.next_timeout(), None);
    for end in [A, B] {
        rig[end].device.check_invariants();
    }
}

#[test]
fn data_that_is_not_answered_gets_one_keepalive_in_ten_seconds() {
    // C117, C126
    let mut rig = Rig::with_session();
    rig.pass(seconds(20));
    rig.sent();
    rig.send(A, B, 84);
    rig.settle();
    rig.advance(seconds(4));
    rig.send(A, B, 84);
    let sent = pass_exactly(&mut rig, seconds(100));
    let from_b: Vec<_> =
        sent.iter().filter(|(_, datagram)| datagram.from == outer(B)).map(|(at, _)| *at).collect();
    assert_eq!(from_b, [seconds(6), seconds(16)], "one for the first packet, one for the other");
}

#[test]
fn unanswered_data_leads_to_a_handshake_after_fifteen_seconds() {
    // C125
    let mut rig = Rig::with_session();
    rig.pass(seconds(20));
    rig.sent();
    rig.network.cut(true);
    rig.send(A, B, 84);
    rig.settle();
    rig.advance(seconds(14));
    rig.send(A, B, 84);
    let sent = pass_exactly(&mut rig, seconds(2));
    let (at, datagram) = sent.last().unwrap();
    assert_eq!(kind(datagram), MessageType::Initiation);
    assert!((seconds(1)..=millis(1333)).contains(at), "counted from the first packet: {at:?}");
}

#[test]
fn persistent_keepalive_keeps_its_interval() {
    // C127
    let mut rig = Rig::with_session();
    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.set_persistent_keepalive(peer, 25, now);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [32], "switched on: one at once");
    let sent = pass_exactly(&mut rig, seconds(110));
    let times: Vec<_> = sent.iter().map(|(at, datagram)| (at.as_secs(), datagram.bytes.len())).collect();
    assert_eq!(times, [(25, 32), (50, 32), (75, 32), (100, 32)]);

    rig.send(B, A, 84);
    rig.settle();
    rig.sent();
    let now = rig.now;
    rig[A].device.set_persistent_keepalive(peer, 7, now);
    let sent = pass_exactly(&mut rig, seconds(10));
    assert_eq!(sent[0].0, seconds(10), "the new interval counts from the next packet: here the passive one");
    let sent = pass_exactly(&mut rig, seconds(7));
    assert!(sent.iter().any(|(at, _)| *at == seconds(7)));

    let now = rig.now;
    rig[A].device.set_persistent_keepalive(peer, 0, now);
    rig.sent();
    rig.pass(seconds(500));
    let from_a: Vec<_> = rig.sent().into_iter().filter(|datagram| datagram.from == outer(A)).collect();
    assert!(from_a.is_empty(), "{from_a:?}");
}

#[test]
fn persistent_keepalive_never_gives_up() {
    // C119
    let mut hub = Hub::new(1);
    let now = hub.rig.now;
    hub.rig[A].device.set_persistent_keepalive(hub.peers[0], 25, now);
    hub.rig.pass(seconds(3600));
    let sent = hub.rig.sent().len();
    assert!((570..=600).contains(&sent), "{sent} initiations in an hour: twenty, a pause of 25 s, and again");
}

#[test]
fn keys_and_what_waits_go_after_nine_minutes() {
    // C60
    let mut rig = Rig::with_session();
    rig.network.cut(true);
    rig.send(B, A, 84);
    rig.run(B);
    let old = rig.sent_one();
    rig.pass(seconds(500));
    rig.sent();
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148]);
    rig.pass(millis(39_999));
    rig.network.inject(old.clone());
    rig.run(A);
    assert_eq!((rig[A].dropped(DropReason::KeyExpired), rig.drops(A)), (1, 1), "known by its index still");
    rig.pass(millis(1));
    assert_eq!((rig[A].dropped(DropReason::StagedZeroed), rig.drops(A)), (1, 2));
    rig.network.inject(old);
    rig.run(A);
    assert_eq!((rig[A].dropped(DropReason::UnknownIndex), rig.drops(A)), (1, 3), "the index is free");
    assert!(rig.status(A, B).last_handshake.is_some(), "the time of the handshake stays");
}

#[test]
fn a_session_that_is_used_outlives_nine_minutes() {
    // C60: the timer starts again with each session.
    let mut rig = Rig::with_session();
    for _ in 0..120 {
        rig.pass(seconds(10));
        rig.send(A, B, 84);
        rig.settle();
        assert_eq!(rig[B].delivered().len(), 1);
    }
    assert_eq!(rig.drops(A) + rig.drops(B), 0);
}

#[test]
fn down_stops_everything_and_up_begins_anew() {
    // C129
    let mut rig = Rig::new(3);
    rig.connect(A, B);
    let now = rig.now;
    let peer = rig.peer(A, C);
    rig.network.cut(true);
    rig[A].device.set_persistent_keepalive(peer, 25, now);
    (0..5).for_each(|_| rig.send(A, C, 84));
    rig.settle();
    let before = (rig.traffic(A, B), rig.status(A, B).last_handshake, rig.status(A, B).endpoint);
    rig.sent();
    rig.network.cut(false);

    rig[A].device.set_up(false, now);
    assert!(!rig[A].device.is_up());
    assert_eq!((rig[A].dropped(DropReason::StagedDown), rig.drops(A)), (5, 5));
    assert_eq!((rig[A].device.poll_timeout(), rig[A].device.has_work()), (None, false));
    rig[A].device.set_up(false, now);
    rig.send(B, A, 84);
    rig.pass(seconds(4));
    assert_eq!(rig[A].dropped(DropReason::DeviceDown), 1);
    let from_a = rig.sent().iter().filter(|datagram| datagram.from == outer(A)).count();
    assert_eq!(from_a, 0);

    let now = rig.now;
    rig[A].device.set_up(true, now);
    rig.settle();
    let sent = rig.sent();
    assert_eq!(sent[0].to, outer(C), "the persistent keepalive, although its last initiation is 4 s old");
    assert_eq!(sent.iter().map(|datagram| datagram.bytes.len()).collect::<Vec<_>>(), [148, 92, 32]);
    assert_eq!((rig.traffic(A, B), rig.status(A, B).last_handshake, rig.status(A, B).endpoint), before);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148, 92, 128]);
}

#[test]
fn what_was_due_before_the_device_went_down_is_due_no_more() {
    // C129: else the silence of before would count the attempts of a new handshake anew.
    let mut rig = Rig::with_session();
    rig.network.cut(true);
    rig.send(A, B, 84);
    rig.pass(seconds(1));
    let now = rig.now;
    rig[A].device.set_up(false, now);
    rig[A].device.set_up(true, now);
    rig.sent();
    rig.send(A, B, 84);
    rig.pass(seconds(110));
    let sent: Vec<_> = rig.sent().into_iter().filter(|datagram| datagram.from == outer(A)).collect();
    assert_eq!((sent.len(), initiations(&sent)), (20, 20));
}

#[test]
fn what_is_staged_while_down_goes_when_it_is_up() {
    // C129
    let mut rig = Rig::new(2);
    let now = rig.now;
    rig[A].device.set_up(false, now);
    rig.send(A, B, 84);
    rig.settle();
    assert!(rig.sent().is_empty());
    rig[A].device.set_up(true, now);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn a_removed_peer_never_fires() {
    // C130
    let mut hub = Hub::new(30);
    let now = hub.rig.now;
    for number in 0..30 {
        hub.send(number);
        let peer = hub.peers[usize::from(number)];
        hub.rig[A].device.set_persistent_keepalive(peer, 1 + u16::from(number) % 9, now);
    }
    hub.rig.pass(seconds(13));
    hub.rig.sent();
    for peer in hub.peers.iter().step_by(2) {
        hub.rig[A].device.remove_peer(*peer);
    }
    hub.rig.pass(seconds(120));
    let sent = hub.rig.sent();
    assert!(sent.len() > 15 * 20);
    assert!(
        sent.iter()
            .all(|datagram| matches!(datagram.to.ip(), core::net::IpAddr::V4(ip) if ip.octets()[3] % 2 == 1))
    );
    hub.rig[A].device.remove_all_peers();
    assert_eq!(hub.rig.next_timeout(), None);
}

#[test]
fn one_poll_after_hours_does_not_burst() {
    // C131, and 44 of the known defects
    let mut rig = Rig::with_session();
    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.set_persistent_keepalive(peer, 1, now);
    rig.settle();
    rig.sent();
    rig.advance(seconds(8 * 3600));
    rig.run(A);
    assert_eq!(rig.sent_lengths(), [148], "one handshake for all that was missed");
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92, 32]);
}

#[test]
fn keys_that_are_overdue_meet_no_packet() {
    // C60, C62: what came during a suspend is not opened with keys that should be gone.
    let mut rig = Rig::with_session();
    rig.send(B, A, 84);
    rig.run(B);
    rig.advance(seconds(541));
    rig.run(A);
    assert!(rig[A].delivered().is_empty());
    assert_eq!((rig[A].dropped(DropReason::UnknownIndex), rig.drops(A)), (1, 1));
}

#[test]
fn a_clock_that_goes_backwards_stops_timers_and_nothing_else() {
    // C132
    let mut rig = Rig::with_session();
    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.set_persistent_keepalive(peer, 5, now);
    rig.settle();
    rig.sent();
    let back = Now { instant: Instant::from_nanos(1), ..now };
    for _ in 0..10 {
        rig[A].step(back);
        rig[B].step(back);
    }
    assert!(rig.sent().is_empty());
    rig[A].tun.inner.outgoing.push_back(packet(inner(A), inner(B), 84));
    rig[A].step(back);
    rig[B].step(back);
    assert_eq!(rig[B].delivered().len(), 1);
    rig.now = now;
    rig.pass(seconds(5));
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
    let end = Now { instant: Instant::from_nanos(u64::MAX - 1), ..now };
    rig[B].step(end);
}

#[test]
fn a_wall_clock_that_steps_back_does_not_lock_the_peer_out() {
    // C34
    let mut rig = Rig::with_session();
    rig.pass(seconds(200));
    let wall = rig.now.wall;
    rig.now.wall = wg_datapath::proto::UnixTime::new(wall.secs() - 86_400, 0);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

/// Three devices with traffic now and then over a network that is cut now and then.
fn faults(seed: u64, length: Duration) -> Vec<(Duration, Datagram)> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut rig = Rig::new(3);
    let mut sent = Vec::new();
    let mut passed = Duration::ZERO;
    let (peer, now) = (rig.peer(C, A), rig.now);
    rig[C].device.set_persistent_keepalive(peer, 25, now);
    while passed < length {
        for (from, to) in [(A, B), (B, A), (B, C), (C, B), (A, C), (C, A)] {
            if rng.next_u32().is_multiple_of(4) {
                rig.send(from, to, 84);
            }
        }
        let cut = rng.next_u32().is_multiple_of(3);
        rig.network.cut(cut);
        let turn = millis(u64::from(rng.next_u32() % 30_000));
        sent.extend(pass_exactly(&mut rig, turn).into_iter().map(|(at, datagram)| (passed + at, datagram)));
        passed += turn;
    }
    // When the faults are over, everybody gets through.
    rig.network.cut(false);
    rig.pass(seconds(16));
    (0..3).for_each(|end| drop(rig[end].delivered()));
    for (from, to) in [(A, B), (B, C), (C, A)] {
        rig.send(from, to, 84);
    }
    rig.pass(seconds(11));
    (0..3).for_each(|end| assert!(!rig[end].delivered().is_empty(), "seed {seed}, end {end}"));
    sent
}

#[test]
fn faults_break_no_deadline_and_no_limit() {
    // C45, C120, C131
    for seed in 0..4 {
        let sent = faults(seed, seconds(1200));
        let mut last: HashMap<_, Duration> = HashMap::new();
        for (at, datagram) in &sent {
            let handshake = matches!(kind(datagram), MessageType::Initiation | MessageType::Response);
            if !handshake {
                continue;
            }
            let before = last.insert((datagram.from, datagram.to), *at);
            let waited = before.map(|before| *at - before);
            assert!(
                kind(datagram) == MessageType::Response || waited.is_none_or(|waited| waited >= seconds(5)),
                "seed {seed}: an initiation {waited:?} after the last handshake message"
            );
        }
        assert!(sent.len() > 100);
    }
}

#[test]
fn the_same_seed_gives_the_same_schedule() {
    // C131
    assert_eq!(faults(77, seconds(300)), faults(77, seconds(300)));
}

#[test]
fn endpoint_that_comes_late_starts_nothing_by_itself_and_everything_with_the_next_wish() {
    // C49, U14: configuration says when it is done.
    let mut rig = Rig::strangers(2, Config::default());
    rig[B].add(A);
    let now = rig.now;
    let peer = rig[A].device.add_peer(public_key(B)).unwrap();
    rig[A].device.add_allowed_ip(peer, prefix(inner(B), 32)).unwrap();
    rig.send(A, B, 84);
    rig.settle();
    rig[A].device.set_endpoint(peer, outer(B));
    rig[A].device.peer_configured(peer, now);
    rig.settle();
    assert_eq!(initiations(&rig.sent()), 1);
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn packets_for_a_peer_without_an_endpoint_are_given_up_too() {
    // C49, C118: they do not wait for ever, to come out hours later.
    let mut rig = Rig::strangers(1, Config::default());
    let peer = rig[A].device.add_peer(public_key(B)).unwrap();
    rig[A].device.add_allowed_ip(peer, prefix(inner(B), 32)).unwrap();
    rig.send(A, B, 84);
    rig.settle();
    rig.pass(seconds(99));
    assert_eq!(rig[A].dropped(DropReason::StagedGiveUp), 0);
    rig.pass(seconds(9));
    assert_eq!(rig[A].dropped(DropReason::StagedGiveUp), 1);
    assert!(rig.sent().is_empty(), "there was nowhere to send to");

    rig.send(A, B, 84);
    rig.settle();
    rig[A].device.set_endpoint(peer, outer(B));
    let now = rig.now;
    rig[A].device.peer_configured(peer, now);
    rig.settle();
    assert_eq!(initiations(&rig.sent()), 1, "once there is somewhere, at once");
}
