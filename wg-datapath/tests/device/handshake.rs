//! Handshake messages at a device: what is accepted, what dies and of what, and that nothing answers a forgery (C7).

use std::collections::HashSet;

use wg_datapath::proto::wire::{Message, MessageType};
use wg_datapath::proto::{PrivateKey, UnixTime};
use wg_datapath::{DropReason, Sum};

use crate::forge::{datagram, initiation, junk_initiation, junk_response, stranger, with_mac1};
use crate::rig::{
    A, B, C, Rig, initiations, inner, kind, millis, outer, packet, private_key, public_key, seconds,
};

/// What a device knows of a peer, for "nothing changed".
fn state(rig: &Rig) -> impl PartialEq + core::fmt::Debug + use<> {
    let status = rig.status(B, A);
    (status.endpoint, status.last_handshake, status.rx_bytes, status.tx_bytes)
}

#[test]
fn bad_messages_die_in_silence_each_of_its_own_reason() {
    // C1, C2, C20, C47, C75, C105, C110
    let mut rig = Rig::new(2);
    let (to, wall) = (public_key(B), rig.now.wall);
    let good = initiation(&private_key(A), &to, wall, 9);
    let tampered = |at: usize| {
        let mut message = good;
        message[at] ^= 1;
        with_mac1(&to, message)
    };
    let low_order = {
        let mut message = good;
        message[8..40].fill(0);
        with_mac1(&to, message)
    };
    let stranger_key = PrivateKey::from_bytes([99; 32]);
    let cookie_reply = [&[3, 0, 0, 0][..], &[7; 60]].concat();
    let data = [&[4, 0, 0, 0][..], &[7; 60]].concat();
    let cases: &[(&[u8], DropReason)] = &[
        (&[], DropReason::MessageTooShort),
        (&[1, 0, 0], DropReason::MessageTooShort),
        (&[5, 0, 0, 0], DropReason::UnknownMessageType),
        (&[&[1, 0, 1, 0], &good[4..]].concat(), DropReason::UnknownMessageType),
        (&good[..147], DropReason::WrongMessageLength),
        (&[&good[..], &[0]].concat(), DropReason::WrongMessageLength),
        (&data[..31], DropReason::WrongMessageLength),
        (&initiation(&private_key(A), &public_key(C), wall, 9), DropReason::InvalidMac1),
        (&[&good[..116], &[0; 32]].concat(), DropReason::InvalidMac1),
        (&low_order, DropReason::LowOrderPoint),
        (&junk_initiation(&to, 1), DropReason::HandshakeDecrypt),
        (&tampered(8), DropReason::HandshakeDecrypt),
        (&tampered(40), DropReason::HandshakeDecrypt),
        (&tampered(88), DropReason::HandshakeDecrypt),
        (&initiation(&stranger_key, &to, wall, 9), DropReason::UnknownPeer),
        (&junk_response(&to, 9), DropReason::UnexpectedResponse),
        (&cookie_reply, DropReason::InvalidCookieReply),
        (&data, DropReason::UnknownIndex),
    ];
    let before = state(&rig);
    for (number, (message, reason)) in (1..).zip(cases) {
        let counted = rig[B].dropped(*reason);
        rig.network.inject(datagram(stranger(), outer(B), message));
        rig.settle();
        assert_eq!(rig[B].dropped(*reason), counted + 1, "case {number}: {:?}", rig[B].device.drops());
        assert_eq!(rig.drops(B), number, "counted once");
        assert!(rig.sent().is_empty(), "case {number} is answered");
    }
    assert_eq!(state(&rig), before);
    rig.network.inject(datagram(outer(A), outer(B), &good));
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92], "and the good one is answered");
}

#[test]
fn replayed_and_older_initiations_are_refused() {
    // C30, C32
    let mut rig = Rig::new(2);
    rig.network.cut(true);
    rig.send(A, B, 84);
    rig.settle();
    let first = rig.sent_one();
    rig.network.inject(first.clone());
    rig.settle();
    assert_eq!(kind(&rig.sent_one()), MessageType::Response);
    let before = state(&rig);

    rig.advance(seconds(1));
    rig.network.inject(first);
    let earlier = UnixTime::new(rig.now.wall.secs() - 2, 999_999_999);
    let older = initiation(&private_key(A), &public_key(B), earlier, 5);
    rig.network.inject(datagram(stranger(), outer(B), &older));
    rig.settle();
    assert_eq!(rig[B].dropped(DropReason::OldTimestamp), 2);
    assert!(rig.sent().is_empty());
    assert_eq!(state(&rig), before);
}

#[test]
fn greatest_timestamp_outlives_keys_and_downtime_but_not_the_peer() {
    // C33
    let mut rig = Rig::new(2);
    let message = initiation(&private_key(A), &public_key(B), rig.now.wall, 5);
    let replay = datagram(outer(A), outer(B), &message);
    rig.network.inject(replay.clone());
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92]);

    rig.pass(seconds(541));
    let now = rig.now;
    rig[B].device.set_up(false, now);
    rig[B].device.set_up(true, now);
    rig.network.inject(replay.clone());
    rig.settle();
    assert_eq!(rig[B].dropped(DropReason::OldTimestamp), 1);

    let peer = rig.peer(B, A);
    rig[B].device.remove_peer(peer);
    rig[B].add(A);
    rig.network.inject(replay);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92]);
}

#[test]
fn initiations_within_twenty_milliseconds_are_refused() {
    // C31
    let mut rig = Rig::new(2);
    let mut stamp = rig.now.wall.secs();
    let mut knock = |rig: &mut Rig| {
        stamp += 1;
        let message = initiation(&private_key(A), &public_key(B), UnixTime::new(stamp, 0), 5);
        rig.network.inject(datagram(outer(A), outer(B), &message));
        rig.settle();
        rig.sent_lengths()
    };
    assert_eq!(knock(&mut rig), [92]);
    rig.advance(millis(19));
    assert!(knock(&mut rig).is_empty());
    assert_eq!(rig[B].dropped(DropReason::InitiationFlood), 1);
    rig.advance(millis(1));
    assert_eq!(knock(&mut rig), [92], "the refused one did not move the mark");
}

#[test]
fn garbage_does_not_end_a_pending_handshake_and_a_response_counts_once() {
    // C37, C38
    let mut rig = Rig::new(2);
    rig.network.cut(true);
    rig.send(A, B, 84);
    rig.settle();
    let request = rig.sent_one();
    let Ok(Message::Initiation(message)) = Message::parse(&request.bytes) else { panic!("{request:?}") };
    let junk = junk_response(&public_key(A), message.sender_index().get());
    for _ in 0..3 {
        rig.network.inject(datagram(outer(B), outer(A), &junk));
    }
    rig.network.inject(request);
    rig.settle();
    assert_eq!(rig[A].dropped(DropReason::HandshakeDecrypt), 3);
    let response = rig.sent_one();
    rig.network.inject(response.clone());
    rig.network.inject(response.clone());
    rig.settle();
    rig.network.inject(response);
    rig.settle();
    assert_eq!(rig[A].dropped(DropReason::UnexpectedResponse), 2);
    assert_eq!(rig.sent_lengths(), [128], "the staged packet confirms the session");
}

#[test]
fn handshake_is_complete_at_the_response_here_and_at_the_first_packet_there() {
    // C46, C53, C123
    let mut rig = Rig::new(2);
    let peer = rig.peer(A, B);
    let now = rig.now;
    rig[A].device.initiate(peer, now);
    rig.run(A);
    rig.advance(seconds(1));
    rig.run(B);
    rig.advance(seconds(1));
    rig.run(A);
    assert_eq!(rig.status(A, B).last_handshake, Some(rig.now.wall));
    assert_eq!(rig.status(B, A).last_handshake, None, "not before the initiator showed its keys");
    rig.advance(seconds(1));
    rig.run(B);
    assert_eq!(rig.status(B, A).last_handshake, Some(rig.now.wall));
    assert_eq!(rig.sent_lengths(), [148, 92, 32], "without staged packets a keepalive confirms");
}

#[test]
fn responder_holds_packets_back_until_the_session_is_confirmed() {
    // C53
    let mut rig = Rig::new(2);
    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.initiate(peer, now);
    rig.run(A);
    rig.run(B);
    rig.send(B, A, 84);
    rig.run(B);
    assert_eq!(rig.sent_lengths(), [148, 92]);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [32, 128], "the keepalive, then what it released");
    assert_eq!(rig[A].delivered().len(), 1);
}

#[test]
fn both_sides_at_once_end_with_a_session() {
    // C39
    let mut rig = Rig::new(2);
    rig.send(A, B, 84);
    rig.send(B, A, 84);
    rig.run(A);
    rig.settle();
    let sent = rig.sent();
    assert_eq!(initiations(&sent), 2, "they crossed: {sent:?}");
    rig.pass(seconds(11));
    assert_eq!((rig[A].delivered().len(), rig[B].delivered().len()), (1, 1));
}

#[test]
fn three_devices_with_rekeys_never_repeat_an_index() {
    // C41, C42, C43; the index table is checked at every step.
    let mut rig = Rig::new(3);
    let mut seen = HashSet::new();
    for _ in 0..40 {
        for (from, to) in [(A, B), (B, C), (C, A), (B, A)] {
            rig.send(from, to, 100);
        }
        rig.pass(seconds(30));
        for datagram in rig.sent() {
            let index = match Message::parse(&datagram.bytes).unwrap() {
                Message::Initiation(message) => message.sender_index(),
                Message::Response(message) => message.sender_index(),
                _ => continue,
            };
            assert!(seen.insert(index), "{index:?} twice");
        }
    }
    assert!(seen.len() >= 3 * 2 * 8, "{} indices in 20 minutes", seen.len());
    let delivered: Vec<usize> = (0..3).map(|end| rig[end].delivered().len()).collect();
    assert_eq!(delivered, [80, 40, 40]);
}

#[test]
fn an_index_that_is_taken_is_drawn_again() {
    // C42
    let mut rig = Rig::new(3);
    rig[A].entropy.next_indices(&[77]);
    rig.connect(A, B);
    rig[A].entropy.next_indices(&[77, 77, 0]);
    rig.send(A, C, 84);
    rig.settle();
    let sent = rig.sent();
    let Ok(Message::Initiation(message)) = Message::parse(&sent[0].bytes) else { panic!("{sent:?}") };
    assert_eq!(message.sender_index().get(), 0, "a legal index (C8)");
    assert_eq!(rig[C].delivered().len(), 1);
}

#[test]
fn handshake_messages_carry_their_class_and_data_the_ecn_bits_of_the_packet() {
    // C98
    let mut rig = Rig::new(2);
    for inner_tos in [0xb8, 0xb9, 0xba, 0xbb, 0] {
        let mut packet = packet(inner(A), inner(B), 84);
        packet[1] = inner_tos;
        rig[A].tun.inner.outgoing.push_back(packet);
        rig.settle();
    }
    let tos: Vec<u8> = rig.sent().iter().map(|datagram| datagram.tos).collect();
    assert_eq!(
        tos,
        [0x88, 0x88, 0, 1, 2, 2, 0],
        "congestion that happened before the tunnel is not told outside"
    );
}

#[test]
fn packets_of_one_batch_leave_with_the_ecn_bits_of_each() {
    // C98
    let mut rig = Rig::with_session();
    let inner_tos = [0, 2, 2, 0, 1, 3, 3, 0];
    for tos in inner_tos {
        let mut packet = packet(inner(A), inner(B), 84);
        packet[1] = tos;
        rig[A].tun.inner.outgoing.push_back(packet);
    }
    rig.settle();
    let tos: Vec<u8> = rig.sent().iter().map(|datagram| datagram.tos).collect();
    assert_eq!(tos, [0, 2, 2, 0, 1, 2, 2, 0]);
    let delivered: Vec<u8> = rig[B].delivered().iter().map(|packet| packet[1]).collect();
    assert_eq!(delivered, inner_tos);
}

#[test]
fn congestion_outside_is_told_to_who_understands_it() {
    // C98: outer bits, inner bits, delivered bits
    for (outer_ecn, inner_ecn, delivered) in
        [(3, 0, 0), (3, 1, 3), (3, 2, 3), (3, 3, 3), (2, 0, 0), (1, 2, 2), (0, 2, 2), (0, 3, 3)]
    {
        let mut rig = Rig::with_session();
        let mut packet = packet(inner(A), inner(B), 84);
        packet[1] = inner_ecn;
        packet[10..12].fill(0);
        let checksum = Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum);
        rig.network.cut(true);
        rig[A].tun.inner.outgoing.push_back(packet);
        rig.settle();
        rig.network.cut(false);
        let mut datagram = rig.sent().remove(0);
        datagram.tos = outer_ecn;
        rig.network.inject(datagram);
        rig.settle();
        let packets = rig[B].delivered();
        assert_eq!(packets[0][1], delivered, "{outer_ecn} around {inner_ecn}");
        assert!(Sum::of(&packets[0][..20]).verifies());
    }
}

#[test]
fn a_peer_without_endpoint_is_not_written_to_until_it_writes() {
    // C49
    let mut rig = Rig::strangers(2, wg_datapath::Config::default());
    rig[B].add(A);
    let peer = rig[A].device.add_peer(public_key(B)).unwrap();
    rig[A].device.add_allowed_ip(peer, crate::rig::prefix(inner(B), 32)).unwrap();
    for _ in 0..200 {
        rig.send(A, B, 84);
    }
    rig.pass(seconds(90));
    assert!(rig.sent().is_empty());
    assert_eq!(rig[A].dropped(DropReason::StagedOverflow), 72, "staging is bounded");
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig.status(A, B).endpoint, Some(outer(B)));
    assert_eq!(rig[B].delivered().len(), 128);
}
