//! Under load: when it is, cookies both ways, the limiter, and what a flood may not do (C104-C115).

use core::net::SocketAddr;

use wg_datapath::proto::wire::{CookieReply, MessageType};
use wg_datapath::proto::{CookieJar, Mac1Key, PrivateKey, UnixTime};
use wg_datapath::{Config, DropReason};

use crate::edges::Raw;
use crate::forge::{datagram, initiation, junk_initiation, junk_response, stranger};
use crate::rig::{A, B, C, Rig, inner, kind, millis, outer, packet, private_key, public_key, seconds};

/// A device is under load when this many messages wait: an eighth of its queue.
const LOAD: u32 = 10;
const QUEUE: usize = 8 * LOAD as usize;

fn rig() -> Rig {
    Rig::with_config(2, Config { handshake_queue: QUEUE, ..Config::default() })
}

/// Lets this many messages with a right MAC1 wait at `B`.
fn flood(rig: &mut Rig, messages: u32) {
    for number in 0..messages {
        let message = junk_initiation(&public_key(B), number);
        rig.network.inject(datagram(stranger(), outer(B), &message));
    }
}

/// Brings `B` under load, for a second.
fn load(rig: &mut Rig) {
    flood(rig, LOAD);
    rig.run(B);
    let sent = rig.sent();
    assert_eq!(sent.len(), LOAD as usize);
    assert!(sent.iter().all(|datagram| kind(datagram) == MessageType::CookieReply));
}

/// Somebody at an address of his own who asks for cookies and uses them; no peer, so he never gets further than that.
struct Prober {
    at: SocketAddr,
    jar: CookieJar,
    number: u32,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Challenged,
    /// It was worked on, and turned out to be of nobody.
    Admitted,
    Limited,
}

impl Prober {
    fn at(at: SocketAddr) -> Self {
        Self { at, jar: CookieJar::default(), number: 0 }
    }

    fn v4(last: u8) -> Self {
        Self::at(([203, 0, 113, last], 500).into())
    }

    fn v6(network: u16, host: u16) -> Self {
        Self::at(([0x2001, 0xdb8, 0, network, 0, 0, 0, host], 500).into())
    }

    /// Sends a message with whatever cookie he holds, and takes in a cookie that comes back.
    fn knock(&mut self, rig: &mut Rig) -> Fate {
        self.number += 1;
        let key = PrivateKey::from_bytes([99; 32]);
        let stamp = UnixTime::new(rig.now.wall.secs(), 0);
        let mut message = initiation(&key, &public_key(B), stamp, self.number);
        self.jar.write_macs(&Mac1Key::new(&public_key(B)), &mut message, rig.now.instant);
        let (unknown, limited) =
            (rig[B].dropped(DropReason::UnknownPeer), rig[B].dropped(DropReason::RateLimited));
        rig.network.inject(datagram(self.at, outer(B), &message));
        rig.run(B);
        let sent = rig.sent();
        if let [reply] = &*sent {
            assert_eq!((reply.from, reply.to, reply.tos), (outer(B), self.at, 0), "C109");
            let reply = CookieReply::parse(&reply.bytes).expect("a cookie reply");
            assert_eq!(reply.receiver_index().get(), self.number, "the index of the message answered");
            self.jar.consume_reply(&public_key(B), &reply, rig.now.instant).expect("a valid cookie");
            return Fate::Challenged;
        }
        assert!(sent.is_empty(), "{sent:?}");
        let fate = (
            rig[B].dropped(DropReason::UnknownPeer) - unknown,
            rig[B].dropped(DropReason::RateLimited) - limited,
        );
        match fate {
            (1, 0) => Fate::Admitted,
            (0, 1) => Fate::Limited,
            fate => panic!("{fate:?}"),
        }
    }
}

#[test]
fn load_begins_at_an_eighth_of_the_queue_and_lasts_a_second() {
    // C104
    let mut rig = rig();
    flood(&mut rig, LOAD - 1);
    rig.settle();
    assert!(rig.sent().is_empty());
    assert_eq!(rig[B].dropped(DropReason::HandshakeDecrypt), u64::from(LOAD) - 1, "each was worked on");

    load(&mut rig);
    assert_eq!(rig[B].dropped(DropReason::CookieSent), u64::from(LOAD));
    rig.advance(millis(999));
    assert_eq!(Prober::v4(1).knock(&mut rig), Fate::Challenged);
    rig.advance(millis(1));
    assert_eq!(Prober::v4(1).knock(&mut rig), Fate::Admitted);
}

#[test]
fn responses_count_and_are_challenged_as_initiations_are() {
    // C104, C106
    let mut rig = rig();
    for number in 0..LOAD {
        let message = junk_response(&public_key(B), number);
        rig.network.inject(datagram(stranger(), outer(B), &message));
    }
    rig.settle();
    assert_eq!(rig.sent_lengths(), [64; LOAD as usize]);
}

#[test]
fn without_load_the_second_mac_does_not_matter() {
    // C105
    let mut rig = rig();
    let mut message = initiation(&private_key(A), &public_key(B), rig.now.wall, 1);
    message[132..].fill(0xee);
    rig.network.inject(datagram(outer(A), outer(B), &message));
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92]);
}

#[test]
fn under_load_a_wrong_first_mac_is_silence() {
    // C106
    let mut rig = rig();
    load(&mut rig);
    let mut message = junk_initiation(&public_key(B), 1);
    message[116] ^= 1;
    rig.network.inject(datagram(stranger(), outer(B), &message));
    rig.settle();
    assert!(rig.sent().is_empty());
    assert_eq!(rig[B].dropped(DropReason::InvalidMac1), 1);
}

#[test]
fn challenged_peer_comes_back_with_the_cookie_and_not_before_its_time() {
    // C106, C109, C110: no immediate retransmission, no counter, no endpoint; the next scheduled message is admitted.
    let mut rig = rig();
    load(&mut rig);
    rig.send(A, B, 84);
    rig.settle();
    let sent = rig.sent();
    assert_eq!(
        sent.iter().map(kind).collect::<Vec<_>>(),
        [MessageType::Initiation, MessageType::CookieReply]
    );
    assert_eq!(sent[0].bytes[4..8], sent[1].bytes[4..8], "receiver index of the answer");
    assert_eq!(sent[0].bytes[132..], [0; 16], "no cookie yet");
    assert_eq!((rig.traffic(A, B), rig.traffic(B, A)), ((0, 148), (0, 0)));
    assert_eq!(rig.status(B, A).endpoint, Some(outer(A)));

    rig.pass(millis(4999));
    assert!(rig.sent().is_empty());
    load(&mut rig);
    rig.pass(millis(334));
    let sent = rig.sent();
    assert_eq!(
        sent.iter().map(kind).collect::<Vec<_>>(),
        [MessageType::Initiation, MessageType::Response, MessageType::TransportData]
    );
    assert_ne!(sent[0].bytes[132..], [0; 16], "with the cookie");
    assert_eq!(rig[B].delivered(), [packet(inner(A), inner(B), 84)]);
}

#[test]
fn challenged_responder_answers_the_next_initiation_with_its_cookie() {
    // C112: the initiator is the one under load.
    let mut rig = rig();
    rig.send(B, A, 84);
    rig.run(B);
    rig.run(A);
    rig.sent();
    flood(&mut rig, LOAD);
    rig.run(B);
    let challenges: Vec<_> = rig.sent().into_iter().filter(|reply| reply.to == outer(A)).collect();
    assert!(matches!(&*challenges, [reply] if kind(reply) == MessageType::CookieReply), "{challenges:?}");
    rig.settle();
    assert!(rig[A].delivered().is_empty());

    rig.pass(millis(4999));
    load(&mut rig);
    rig.pass(millis(334));
    let sent = rig.sent();
    let response = sent.iter().find(|datagram| kind(datagram) == MessageType::Response).expect("a response");
    assert_ne!(response.bytes[76..], [0; 16], "with the cookie");
    assert_eq!(rig[A].delivered().len(), 1);
}

#[test]
fn a_cookie_is_good_for_one_address_and_port() {
    // C107
    let mut rig = rig();
    load(&mut rig);
    let mut prober = Prober::v4(1);
    assert_eq!(prober.knock(&mut rig), Fate::Challenged);
    for elsewhere in [([203, 0, 113, 1], 501), ([203, 0, 113, 2], 500)] {
        let moved = Prober { at: elsewhere.into(), ..prober };
        prober = moved;
        assert_eq!(prober.knock(&mut rig), Fate::Challenged, "{elsewhere:?}");
    }
    assert_eq!(prober.knock(&mut rig), Fate::Admitted);
}

#[test]
fn cookies_die_with_their_secret_after_two_minutes() {
    // C108
    let mut rig = rig();
    load(&mut rig);
    let mut early = Prober::v4(1);
    assert_eq!(early.knock(&mut rig), Fate::Challenged);
    rig.advance(seconds(114));
    load(&mut rig);
    let mut late = Prober::v4(2);
    assert_eq!(late.knock(&mut rig), Fate::Challenged);
    assert_eq!((early.knock(&mut rig), late.knock(&mut rig)), (Fate::Admitted, Fate::Admitted));
    rig.advance(seconds(6));
    load(&mut rig);
    assert_eq!(late.knock(&mut rig), Fate::Challenged, "its cookie is fresh, the secret is not");
    assert_eq!(late.knock(&mut rig), Fate::Admitted);
}

#[test]
fn each_source_has_its_own_tokens() {
    // C113, C114
    let mut rig = rig();
    load(&mut rig);
    let (mut greedy, mut modest) = (Prober::v4(1), Prober::v4(2));
    assert_eq!((greedy.knock(&mut rig), modest.knock(&mut rig)), (Fate::Challenged, Fate::Challenged));
    let fates: Vec<_> = (0..7).map(|_| greedy.knock(&mut rig)).collect();
    assert_eq!(fates.iter().filter(|fate| **fate == Fate::Admitted).count(), 5, "{fates:?}");
    assert_eq!(fates[5..], [Fate::Limited, Fate::Limited]);
    assert_eq!(modest.knock(&mut rig), Fate::Admitted);
    rig.advance(millis(50));
    assert_eq!((greedy.knock(&mut rig), greedy.knock(&mut rig)), (Fate::Admitted, Fate::Limited));
}

#[test]
fn a_verified_source_has_one_place_in_the_queue() {
    // C114, H5: the newer message replaces the one that waits, so that many sources do not fill the queue.
    let mut rig = rig();
    load(&mut rig);
    let mut provers: Vec<Prober> = (0..80).map(Prober::v4).collect();
    assert_eq!(provers.len(), QUEUE);
    for prober in &mut provers {
        assert_eq!(prober.knock(&mut rig), Fate::Challenged);
    }
    // Three times each before the device has its turn: as many sources as the queue holds all have their message in it.
    let mut message = initiation(&PrivateKey::from_bytes([99; 32]), &public_key(B), rig.now.wall, 1);
    for _ in 0..3 {
        for prober in &mut provers {
            prober.jar.write_macs(&Mac1Key::new(&public_key(B)), &mut message, rig.now.instant);
            rig.network.inject(datagram(prober.at, outer(B), &message));
        }
    }
    rig.run(B);
    assert_eq!(rig[B].dropped(DropReason::HandshakeQueueFull), 0);
    let (worked_on, replaced) =
        (rig[B].dropped(DropReason::UnknownPeer), rig[B].dropped(DropReason::RateLimited));
    assert_eq!(worked_on + replaced, 3 * QUEUE as u64);
    assert!(worked_on >= QUEUE as u64 && replaced > QUEUE as u64, "{worked_on} {replaced}");
}

#[test]
fn an_ipv6_network_has_one_bucket() {
    // C113
    let mut rig = rig();
    load(&mut rig);
    for host in 0..7 {
        let mut prober = Prober::v6(1, host);
        assert_eq!(prober.knock(&mut rig), Fate::Challenged);
        let expected = if host < 5 { Fate::Admitted } else { Fate::Limited };
        assert_eq!(prober.knock(&mut rig), expected, "host {host} of the /64");
    }
    let mut other = Prober::v6(2, 0);
    assert_eq!((other.knock(&mut rig), other.knock(&mut rig)), (Fate::Challenged, Fate::Admitted));
}

#[test]
fn a_verified_source_of_its_own_does_not_use_up_that_of_others() {
    // C114: however many sources spend their tokens, a new one has its own.
    let mut rig = rig();
    load(&mut rig);
    for last in 0..100 {
        let mut prober = Prober::v4(last);
        assert_eq!((prober.knock(&mut rig), prober.knock(&mut rig)), (Fate::Challenged, Fate::Admitted));
    }
}

#[test]
fn the_queue_is_bounded_and_what_does_not_fit_is_counted() {
    // C72, C116
    let mut rig = Rig::with_config(2, Config { handshake_queue: 8, ..Config::default() });
    flood(&mut rig, 300);
    rig.settle();
    let full = rig[B].dropped(DropReason::HandshakeQueueFull);
    let answered = rig[B].dropped(DropReason::CookieSent);
    assert_eq!((full + answered, rig.drops(B)), (300, 300), "{:?}", rig[B].device.drops());
    assert_eq!(rig.sent().len() as u64, answered);
    assert!(full > 200, "eight of each call's worth fit: {full}");
}

#[test]
fn a_flood_of_strangers_does_not_keep_a_verified_peer_out() {
    // C115, and 60 of the known defects: who has a cookie does not wait behind those who have none, however many there are.
    let mut rig = Rig::new(2);
    let junk: Vec<_> = (0..1500)
        .map(|number| datagram(stranger(), outer(B), &junk_initiation(&public_key(B), number)))
        .collect();
    // A cookie first, from a device that is under load and has caught up.
    junk[..200].iter().for_each(|datagram| rig.network.inject(datagram.clone()));
    rig.run(B);
    rig.send(A, B, 84);
    rig.settle();
    assert!(rig.sent().iter().any(|reply| reply.to == outer(A)), "a cookie");

    // Its next message comes behind so many that the queue is full.
    junk.iter().for_each(|datagram| rig.network.inject(datagram.clone()));
    rig.advance(millis(5334));
    rig.run(A);
    junk.iter().for_each(|datagram| rig.network.inject(datagram.clone()));
    rig.settle();
    assert!(rig[B].dropped(DropReason::HandshakeQueueFull) > 0, "{:?}", rig[B].device.drops());
    assert_eq!(rig[B].delivered().len(), 1, "{:?}", rig[B].device.drops());
}

#[test]
fn a_device_that_keeps_up_hands_a_cookie_to_everybody() {
    // C106: as many as come in by one call and are not more than that.
    let mut rig = rig();
    load(&mut rig);
    rig[B].budget.batches = 1;
    let now = rig.now;
    for burst in 0..20 {
        flood(&mut rig, 60);
        rig[B].step(now);
        assert_eq!(rig.sent().len(), 60, "burst {burst}");
    }
}

#[test]
fn strangers_among_much_data_get_their_cookies() {
    // C115: a device that is busy with data is behind all the time, and yet answers a flood that is a small part of it.
    let mut rig = Rig::with_session();
    flood(&mut rig, 300);
    rig.run(B);
    let (calls, strangers) = (40, 4);
    for _ in 0..calls {
        flood(&mut rig, strangers);
        (0..60).for_each(|_| rig.send(A, B, 84));
        rig.run(A);
    }
    rig.sent();
    let now = rig.now;
    rig[B].budget.batches = 1;
    while rig[B].tun.inner.delivered.len() < 60 * calls {
        rig[B].step(now);
    }
    // All but those of the last turn.
    let (cookies, turn) = (rig.sent().len(), 4);
    assert!(cookies >= (calls - turn) * strangers as usize, "{cookies}");
}

#[test]
fn data_behind_a_flood_is_fetched_before_cookies_are_made() {
    // C115: a cookie costs several times what dropping a message does, and everybody can ask for one.
    let mut rig = Rig::with_session();
    let (calls, each) = (40, 64);
    flood(&mut rig, calls * each);
    rig.send(A, B, 84);
    rig.run(A);
    let now = rig.now;
    rig[B].budget.batches = 1;
    while rig[B].tun.inner.delivered.is_empty() {
        rig[B].step(now);
    }
    let cookies = rig.sent_lengths().iter().filter(|len| **len == 64).count();
    // Four for each call, and when the last of it is fetched as many as there is time for.
    assert!(cookies <= (4 * calls + each) as usize, "{cookies} before the packet");
    assert!(cookies > 100, "but some, by chance: nobody is kept out for good");
    // With nothing more behind, those who still wait are answered.
    rig.settle();
    assert!(rig.sent().len() > 500);
}

#[test]
fn what_finds_no_room_and_proves_nothing_is_not_even_hashed() {
    // C72, C115
    let mut rig = rig();
    let mut wrong = junk_initiation(&public_key(B), 1);
    wrong[116] ^= 1;
    let wrong = datagram(stranger(), outer(B), &wrong);
    // Whole calls, the last of them with these at its end.
    flood(&mut rig, 40 * 64 - 8);
    (0..8).for_each(|_| rig.network.inject(wrong.clone()));
    rig.settle();
    assert_eq!(rig[B].dropped(DropReason::InvalidMac1), 0);
    assert_eq!(
        rig[B].dropped(DropReason::HandshakeQueueFull) + rig[B].dropped(DropReason::CookieSent),
        40 * 64
    );
    rig.network.inject(wrong);
    rig.settle();
    assert_eq!(rig[B].dropped(DropReason::InvalidMac1), 1, "with room it is");
}

#[test]
fn a_flood_that_is_worked_on_as_it_comes_is_held_off_too() {
    // C104, A1: the queue never fills, but nothing comes of the work.
    let mut rig = rig();
    let mut answered = 0;
    for number in 0..1000 {
        let message = junk_initiation(&public_key(B), number);
        rig.network.inject(datagram(stranger(), outer(B), &message));
        rig.run(B);
        answered += rig.sent().len();
        rig.advance(millis(10));
    }
    assert_eq!(rig[B].dropped(DropReason::HandshakeDecrypt), u64::from(LOAD));
    assert_eq!(answered, 1000 - LOAD as usize);
    // And a second after the last of it everybody is served again.
    rig.advance(seconds(1));
    assert_eq!(Prober::v4(1).knock(&mut rig), Fate::Admitted);
}

#[test]
fn handshakes_of_peers_are_no_load_however_many_come_one_by_one() {
    // C114: only what was in vain counts.
    let mut rig = Rig::with_config(3, Config { handshake_queue: 64, ..Config::default() });
    for _ in 0..20 {
        for peer in [A, C] {
            let now = rig.now;
            let id = rig.peer(peer, B);
            rig[peer].device.initiate(id, now);
            rig.settle();
        }
        assert!(rig.sent().iter().all(|datagram| kind(datagram) != MessageType::CookieReply));
        rig.advance(millis(5334));
    }
}

#[test]
fn traffic_goes_on_during_a_flood() {
    // C115
    let mut rig = Rig::with_session();
    for round in 0..4 {
        flood(&mut rig, 400);
        rig.send(A, B, 84);
        rig.run(A);
        flood(&mut rig, 400);
        rig.send(B, A, 84);
        let now = rig.now;
        let mut steps = 0;
        while rig[B].tun.inner.delivered.is_empty() {
            rig[B].step(now);
            steps += 1;
            assert!(steps < 20, "round {round}");
        }
        rig.settle();
        assert_eq!((rig[A].delivered().len(), rig[B].delivered().len()), (1, 1));
    }
}

#[test]
fn own_initiations_take_turns_with_the_messages_of_others() {
    // C115: as when a device comes up with many peers.
    let mut rig = Rig::new(2);
    let now = rig.now;
    for number in 0..100 {
        let key = PrivateKey::from_bytes([number + 100; 32]).public_key();
        let peer = rig[A].device.add_peer(key).unwrap();
        rig[A].device.set_endpoint(peer, stranger());
        rig[A].device.initiate(peer, now);
    }
    rig.send(B, A, 84);
    rig.run(B);
    rig.sent();
    rig[A].budget.batches = 1;
    for _ in 0..4 {
        rig[A].step(now);
    }
    let lengths = rig.sent_lengths();
    assert_eq!(lengths.iter().filter(|len| **len == 92).count(), 1, "{lengths:?}");
    assert!(lengths.contains(&148), "nor do the others starve: {lengths:?}");
    rig.settle();
    assert_eq!(rig[A].delivered().len(), 1);
}

#[test]
fn without_entropy_there_is_no_cookie_and_no_answer() {
    // C27, C106
    let mut rig = rig();
    rig[B].entropy.run_dry(true);
    flood(&mut rig, LOAD);
    rig.settle();
    assert!(rig.sent().is_empty());
    assert_eq!(rig[B].dropped(DropReason::CookieFailed), u64::from(LOAD));
}

#[test]
fn a_cookie_reply_moves_no_endpoint_and_counts_no_byte() {
    // C87, C110
    let mut rig = rig();
    load(&mut rig);
    rig.send(A, B, 84);
    rig.run(A);
    rig.network.cut(true);
    rig.run(B);
    let reply = rig.sent().pop().unwrap();
    assert_eq!(kind(&reply), MessageType::CookieReply);
    for times in 0..3 {
        let from = wg_datapath::proto::Endpoint::new(stranger());
        rig[A].udp.raw.push_back(Raw::new(&reply.bytes, from));
        rig.run(A);
        assert_eq!(rig[A].dropped(DropReason::InvalidCookieReply), times, "one reply for each message");
        assert_eq!(rig.status(A, B).endpoint, Some(outer(B)));
        assert_eq!(rig.traffic(A, B), (0, 148));
    }
}
