//! Hostile input of every kind: no panic, no answer, each drop counted once, and the next good packet passes (C5-C7, C63,
//! C75-C80, C84).

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::memory::Datagram;
use wg_datapath::proto::Endpoint;
use wg_datapath::proto::wire::{Message, MessageType};
use wg_datapath::{Config, DropReason};

use crate::edges::Raw;
use crate::forge::{datagram, initiation, junk_initiation, stranger, with_mac1};
use crate::insider::Insider;
use crate::rig::{
    A, B, C, Rig, cases, inner, kind, millis, numbered, outer, packet, private_key, public_key, seconds,
};

/// Hands bytes to an end and checks that each of them dies, once, and nothing is said.
fn assert_all_die(rig: &mut Rig, end: usize, junk: &[Vec<u8>]) {
    let (drops, received) = (rig.drops(end), rig[end].udp.received);
    // Little at a time, so that nobody comes under load.
    for some in junk.chunks(64) {
        rig[end].udp.raw.extend(some.iter().map(|bytes| Raw::new(bytes, Endpoint::new(stranger()))));
        rig.run(end);
    }
    assert_eq!(rig[end].udp.received - received, junk.len() as u64);
    assert_eq!(rig.drops(end) - drops, junk.len() as u64, "{:?}", rig[end].device.drops());
    assert!(rig.sent().is_empty(), "answered");
    assert!(rig[end].delivered().is_empty());
}

/// Every truncation, some extensions, and every flip of one bit among the first `matter` bytes.
fn mutants(genuine: &[u8], matter: usize) -> Vec<Vec<u8>> {
    let flips = (0..matter * 8).map(|bit| {
        let mut bytes = genuine.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let truncations = (0..genuine.len()).map(|len| genuine[..len].to_vec());
    let extensions = [1, 4, 15, 16, 17, 1000, 60_000].map(|more| [genuine, &vec![0; more]].concat());
    flips.chain(truncations).chain(extensions).collect()
}

/// Lets one end send while the network is cut, and returns what it sent.
fn taken(rig: &mut Rig, end: usize) -> Vec<Datagram> {
    rig.sent();
    rig.network.cut(true);
    rig.run(end);
    rig.network.cut(false);
    rig.sent()
}

fn one(mut datagrams: Vec<Datagram>) -> Datagram {
    assert_eq!(datagrams.len(), 1, "{datagrams:?}");
    datagrams.remove(0)
}

#[test]
fn no_mutant_of_an_initiation_is_answered() {
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    let genuine = one(taken(&mut rig, A));
    // What comes behind MAC1 does not matter (C105).
    assert_all_die(&mut rig, B, &mutants(&genuine.bytes, 132));
    rig.network.inject(genuine);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn no_mutant_of_a_response_is_taken() {
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    rig.run(A);
    let genuine = one(taken(&mut rig, B));
    assert_eq!(kind(&genuine), MessageType::Response);
    assert_all_die(&mut rig, A, &mutants(&genuine.bytes, 76));
    rig.network.inject(genuine);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn no_mutant_of_a_cookie_reply_is_taken() {
    let mut rig = Rig::with_config(2, Config { handshake_queue: 8, ..Config::default() });
    rig.send(A, B, 84);
    rig.run(A);
    let genuine = one(taken(&mut rig, B));
    assert_eq!(kind(&genuine), MessageType::CookieReply);
    assert_all_die(&mut rig, A, &mutants(&genuine.bytes, 64));
    rig.network.inject(genuine);
    rig.settle();
    rig.pass(millis(5334));
    let mac2 = |datagram: &Datagram| datagram.bytes.len() == 148 && datagram.bytes[132..] != [0; 16];
    assert!(rig.sent().iter().any(mac2), "the cookie is used");
}

#[test]
fn no_mutant_of_data_or_a_keepalive_is_taken() {
    let mut rig = Rig::with_session();
    rig.send(A, B, 84);
    let data = one(taken(&mut rig, A));
    rig.pass(seconds(10));
    let keepalive = {
        let (peer, now) = (rig.peer(A, B), rig.now);
        rig[A].device.set_persistent_keepalive(peer, 25, now);
        one(taken(&mut rig, A))
    };
    assert_eq!((data.bytes.len(), keepalive.bytes.len()), (128, 32));
    let before = (rig.status(B, A).endpoint, rig.traffic(B, A));
    for genuine in [&data, &keepalive] {
        assert_all_die(&mut rig, B, &mutants(&genuine.bytes, genuine.bytes.len()));
    }
    assert_eq!((rig.status(B, A).endpoint, rig.traffic(B, A)), before);
    rig.network.inject(data);
    rig.network.inject(keepalive);
    rig.run(B);
    assert_eq!(rig[B].delivered().len(), 1);
    assert_eq!(rig.traffic(B, A).0, before.1.0 + 128 + 32);
}

#[test]
fn no_mutant_with_its_first_mac_made_right_is_taken() {
    // An attacker who knows our public key can do this. All but the sender index is authentic: that one names him.
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    let request: [u8; 148] = one(taken(&mut rig, A)).bytes.try_into().unwrap();
    let flips = |from: usize, to: usize| (from * 8..to * 8).step_by(7);
    let mutants: Vec<_> = flips(8, 116)
        .map(|bit| {
            let mut message = request;
            message[bit / 8] ^= 1 << (bit % 8);
            with_mac1(&public_key(B), message).to_vec()
        })
        .collect();
    assert_all_die(&mut rig, B, &mutants);

    rig.network.inject(datagram(outer(A), outer(B), &request));
    let response: [u8; 92] = one(taken(&mut rig, B)).bytes.try_into().unwrap();
    let mutants: Vec<_> = flips(8, 60)
        .map(|bit| {
            let mut message = response;
            message[bit / 8] ^= 1 << (bit % 8);
            with_mac1(&public_key(A), message).to_vec()
        })
        .collect();
    assert_all_die(&mut rig, A, &mutants);
    rig.network.inject(datagram(outer(B), outer(A), &response));
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn a_hundred_thousand_random_datagrams_change_nothing() {
    // C7, C86
    let mut rig = Rig::with_session();
    let live = {
        rig.send(A, B, 84);
        let data = one(taken(&mut rig, A));
        let index = data.bytes[4..8].to_vec();
        rig.network.inject(data);
        rig.run(B);
        rig[B].delivered();
        index
    };
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut below = |end: u32| rng.next_u32() % end;
    let mut junk = Vec::new();
    let junk_datagrams = cases(100_000);
    for _ in 0..junk_datagrams {
        let len = match below(8) {
            0 => below(4),
            1 => below(33),
            2 => [148, 92, 64, 32][below(4) as usize],
            3 if below(50) == 0 => below(65_536),
            _ => below(200),
        };
        let mut bytes: Vec<u8> = (0..len).map(|_| below(256).to_le_bytes()[0]).collect();
        if below(4) != 0 && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[below(6).to_le_bytes()[0], 0, 0, 0]);
        }
        if below(2) == 0 && bytes.len() >= 12 {
            let at = if bytes[0] == 2 { 8 } else { 4 };
            bytes[at..at + 4].copy_from_slice(&live);
        }
        junk.push(bytes);
    }
    let before = (rig.status(B, A).endpoint, rig.traffic(B, A), rig.next_timeout());
    assert_all_die(&mut rig, B, &junk);
    assert_eq!((rig.status(B, A).endpoint, rig.traffic(B, A), rig.next_timeout()), before);
    for reason in [DropReason::InvalidTag, DropReason::UnknownIndex, DropReason::InvalidMac1] {
        assert!(rig[B].dropped(reason) > junk_datagrams / 200, "{reason}: {:?}", rig[B].device.drops());
    }
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn slots_as_no_socket_should_fill_them_are_dropped_and_counted() {
    // C6
    let mut rig = Rig::with_session();
    rig.send(A, B, 84);
    let good = one(taken(&mut rig, A)).bytes;
    let from = Endpoint::new(outer(A));
    let odd = [
        (Raw { truncated: true, ..Raw::new(&good, from) }, DropReason::Truncated),
        (Raw { endpoint: None, ..Raw::new(&good, from) }, DropReason::NoSource),
        (Raw { len: 73_729, ..Raw::new(&good, from) }, DropReason::Truncated),
        (Raw { len: usize::MAX, ..Raw::new(&good, from) }, DropReason::Truncated),
        (Raw { truncated: true, endpoint: None, len: usize::MAX, bytes: vec![] }, DropReason::Truncated),
        (Raw::new(&[], from), DropReason::MessageTooShort),
        (Raw::new(&[4; 65_600], from), DropReason::UnknownMessageType),
        (Raw::new(&[&[4, 0, 0, 0][..], &[9; 65_596]].concat(), from), DropReason::UnknownIndex),
        (Raw::new(&[&good[..16], &vec![9; 65_584]].concat(), from), DropReason::InvalidTag),
        (Raw::new(&[&good[..8], &[0xff; 100]].concat(), from), DropReason::CounterLimit),
    ];
    for (number, (raw, reason)) in (1..).zip(odd) {
        let counted = rig[B].dropped(reason);
        rig[B].udp.raw.push_back(raw);
        rig.run(B);
        assert_eq!((rig[B].dropped(reason), rig.drops(B)), (counted + 1, number), "case {number}, {reason}");
    }
    rig[B].udp.raw.push_back(Raw::new(&good, from));
    rig.run(B);
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn index_of_a_handshake_is_no_session() {
    // C75
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    let request = one(taken(&mut rig, A));
    let Ok(Message::Initiation(message)) = Message::parse(&request.bytes) else { panic!("{request:?}") };
    let index = message.sender_index().to_le_bytes();
    let data = [&[4, 0, 0, 0], &index[..], &[0; 24]].concat();
    assert_all_die(&mut rig, A, &[data]);
    assert_eq!(rig[A].dropped(DropReason::NotASession), 1);
}

#[test]
fn what_an_authentic_peer_sends_is_looked_at_all_the_same() {
    // C63, C80, C81, C84
    let mut rig = Rig::new(2);
    let mut insider = Insider::connect(&mut rig, A);
    let v4 = |total: u16, len: usize| {
        let mut packet = packet(inner(A), inner(B), len.max(20));
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet.truncate(len);
        packet
    };
    let v6 = |payload: u16, len: usize| {
        let mut packet = vec![0; len];
        packet[0] = 0x60;
        if let Some(length) = packet.get_mut(4..6) {
            length.copy_from_slice(&payload.to_be_bytes());
        }
        packet
    };
    let bad = [
        (vec![0], DropReason::InNotIp),
        (vec![0x50; 100], DropReason::InNotIp),
        (vec![0xf0; 60], DropReason::InNotIp),
        (vec![0x45], DropReason::InTooShort),
        (v4(19, 19), DropReason::InTooShort),
        (v4(19, 20), DropReason::InBadLength),
        (v4(0, 100), DropReason::InBadLength),
        (v4(101, 100), DropReason::InBadLength),
        (v4(65_535, 1420), DropReason::InBadLength),
        (v6(0, 39), DropReason::InTooShort),
        (v6(1, 40), DropReason::InBadLength),
        // These wrap if the header is added in 16 bits.
        (v6(65_495, 39), DropReason::InTooShort),
        (v6(65_496, 100), DropReason::InBadLength),
        (v6(65_535, 1420), DropReason::InBadLength),
        (v6(0, 40), DropReason::BadSource),
        (packet(inner(B), inner(A), 84), DropReason::BadSource),
        (packet(inner(C), inner(B), 84), DropReason::BadSource),
    ];
    for (number, (content, reason)) in (1..).zip(bad) {
        let (counted, received) = (rig[B].dropped(reason), rig.traffic(B, A).0);
        let raw = insider.seal(&rig, &content);
        rig[B].udp.raw.push_back(raw);
        rig.run(B);
        assert_eq!((rig[B].dropped(reason), rig.drops(B)), (counted + 1, number), "case {number}, {reason}");
        assert_eq!(rig.traffic(B, A).0, received, "not counted as received (C83)");
    }
    assert!(rig[B].delivered().is_empty());
    for (content, len) in
        [(v4(20, 20), 20), (v4(20, 1000), 20), (v4(1420, 1420), 1420), (v4(65_475, 65_475), 65_475)]
    {
        let raw = insider.seal(&rig, &content);
        rig[B].udp.raw.push_back(raw);
        rig.run(B);
        assert_eq!(rig[B].delivered(), [&content[..len]]);
    }
}

#[test]
fn far_ahead_and_far_behind_in_one_session() {
    // C77, C78: through the device, a jump of the counter costs only what is too old.
    let mut rig = Rig::with_session();
    let mut datagrams = Vec::new();
    for number in 0..8200 {
        rig[A].tun.inner.outgoing.push_back(numbered(inner(A), inner(B), 24, number));
        if number % 64 == 63 {
            datagrams.extend(taken(&mut rig, A));
        }
    }
    datagrams.extend(taken(&mut rig, A));
    assert_eq!(datagrams.len(), 8200);
    let newest = datagrams.pop().unwrap();
    rig.network.inject(newest);
    rig.run(B);
    // The newest is number 8199: 71 is 8128 behind it, and the last that counts.
    for datagram in datagrams.iter().rev() {
        rig.network.inject(datagram.clone());
    }
    rig.run(B);
    assert_eq!(rig[B].delivered().len(), 8200 - 71);
    assert_eq!((rig[B].dropped(DropReason::Replay), rig.drops(B)), (71, 71));
    datagrams.iter().for_each(|datagram| rig.network.inject(datagram.clone()));
    rig.run(B);
    assert_eq!(rig.drops(B), 71 + 8199);
}

#[test]
fn every_datagram_is_accounted_for_once() {
    // Received = delivered + handshake messages and keepalives taken + drops, over ten minutes of a network that loses,
    // doubles, corrupts and reorders.
    for seed in 0..3 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut below = |end: u32| rng.next_u32() % end;
        let mut rig = Rig::new(2);
        let mut bytes = [0; 2];
        let mut delivered = [0; 2];
        let mut responses = [0; 2];
        let mut number = 0;
        for _ in 0..600 {
            for _ in 0..below(8) {
                number += 1;
                for (from, to) in [(A, B), (B, A)] {
                    rig[from].tun.inner.outgoing.push_back(numbered(inner(from), inner(to), 100, number));
                }
            }
            rig.network.cut(true);
            for _ in 0..8 {
                for (end, other) in [(A, B), (B, A)] {
                    rig.run(end);
                    let mut sent = rig.sent();
                    responses[end] +=
                        sent.iter().filter(|datagram| datagram.bytes.len() == 92).count() as u64;
                    if sent.len() > 1 && below(2) == 0 {
                        sent.reverse();
                    }
                    for mut datagram in sent {
                        match below(20) {
                            0 => continue,
                            1 => rig.network.inject(datagram.clone()),
                            2 => {
                                let at = below(u32::try_from(datagram.bytes.len()).unwrap()) as usize;
                                datagram.bytes[at] ^= 0x10;
                            }
                            3 => datagram.from = stranger(),
                            _ => {}
                        }
                        datagram.to = outer(other);
                        rig.network.inject(datagram);
                    }
                }
            }
            for end in [A, B] {
                for packet in rig[end].delivered() {
                    delivered[end] += 1;
                    bytes[end] += 144;
                    assert_eq!(packet.len(), 100);
                }
            }
            rig.advance(seconds(1));
        }
        rig.settle();
        for end in [A, B] {
            delivered[end] += rig[end].delivered().len() as u64;
            bytes[end] = delivered[end] * 144;
            // Each initiation taken was answered; what else was taken is responses and keepalives.
            let initiations = responses[end];
            let others = rig[end].udp.received - rig.drops(end) - delivered[end] - initiations;
            let rest = rig.traffic(end, 1 - end).0 - bytes[end] - 148 * initiations - 32 * others;
            assert!(rest.is_multiple_of(60) && rest / 60 <= others, "seed {seed}: {rest} of {others}");
            let taken = rest / 60;
            assert!(taken <= responses[1 - end], "more responses than there were");
            assert!(
                delivered[end] > 500 && rig.drops(end) > 50,
                "seed {seed}: {:?}",
                rig[end].device.drops()
            );
        }
    }
}

#[test]
fn a_flood_hides_no_packet_behind_it() {
    // One call to the strategy comes to the packet at the end.
    let mut rig = Rig::with_session();
    rig.send(A, B, 84);
    let good = one(taken(&mut rig, A));
    for number in 0..500 {
        rig.network.inject(datagram(stranger(), outer(B), &[9; 40]));
        rig.network.inject(datagram(stranger(), outer(B), &junk_initiation(&public_key(A), number)));
    }
    rig.network.inject(good);
    let now = rig.now;
    rig[B].step(now);
    assert_eq!(rig[B].delivered().len(), 1);
    assert_eq!(rig.drops(B), 1000);
}

#[test]
fn a_thousand_initiations_of_a_peer_leave_one_handshake() {
    // C31, C43: whoever has a peer's key can keep us busy, and no more than that.
    let mut rig = Rig::new(2);
    let wall = rig.now.wall;
    for number in 0..300 {
        rig.advance(millis(21));
        let stamp = wg_datapath::proto::UnixTime::new(wall.secs() + u64::from(number), 0);
        let message = initiation(&private_key(A), &public_key(B), stamp, number);
        rig.network.inject(datagram(outer(A), outer(B), &message));
        rig.run(B);
    }
    assert_eq!(rig.sent().len(), 300);
    assert_eq!(rig.drops(B), 0);
    rig.pass(seconds(600));
    assert_eq!(rig.next_timeout(), None);
}
