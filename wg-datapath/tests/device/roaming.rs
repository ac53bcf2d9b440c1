//! Where a peer is: it follows what is authentic and new, and answers leave from where the question came to (C87-C90, C94,
//! C96, C140).

use core::net::{IpAddr, SocketAddr};

use wg_datapath::memory::Datagram;
use wg_datapath::proto::{Endpoint, Source};
use wg_datapath::{Config, DropReason};

use crate::edges::Raw;
use crate::forge::{datagram, initiation};
use crate::rig::{A, B, Rig, inner, numbered, outer, packet, private_key, public_key, seconds};

fn elsewhere(last: u8) -> SocketAddr {
    ([203, 0, 113, last], 4000 + u16::from(last)).into()
}

/// How a datagram from `remote` looks that came to local address `local` by an interface.
fn seen(remote: SocketAddr, local: u8, interface: u32) -> Endpoint {
    Endpoint { remote, source: Some(Source { addr: IpAddr::from([10, 99, 0, local]), interface }) }
}

/// What `A` would send to `B`, taken from the wire.
fn taken(rig: &mut Rig, len: usize) -> Datagram {
    rig.sent();
    rig.network.cut(true);
    rig.send(A, B, len);
    rig.run(A);
    rig.network.cut(false);
    rig.sent_one()
}

fn endpoint(rig: &Rig) -> Option<SocketAddr> {
    rig.status(B, A).endpoint
}

fn arrive(rig: &mut Rig, datagram: &Datagram, from: Endpoint) {
    rig[B].udp.raw.push_back(Raw::new(&datagram.bytes, from));
    rig.run(B);
}

/// The endpoint of the one datagram that `B` sends when it has a packet.
fn reply(rig: &mut Rig) -> Endpoint {
    rig[B].udp.left.clear();
    rig.send(B, A, 84);
    rig.run(B);
    let left = core::mem::take(&mut rig[B].udp.left);
    assert_eq!(left.len(), 1);
    left[0]
}

#[test]
fn every_authentic_message_moves_the_endpoint() {
    // C87: initiation, response, data, keepalive.
    let mut rig = Rig::new(2);
    let message = initiation(&private_key(A), &public_key(B), rig.now.wall, 8);
    rig[B].udp.raw.push_back(Raw::new(&message, seen(elsewhere(1), 1, 1)));
    rig.run(B);
    assert_eq!(endpoint(&rig), Some(elsewhere(1)));
    assert_eq!(
        rig[B].udp.left,
        [seen(elsewhere(1), 1, 1)],
        "answered where it came from, from where it came to (C44)"
    );

    rig.pass(seconds(6));
    let peer = rig.peer(B, A);
    rig[B].device.set_endpoint(peer, outer(A));
    rig.send(B, A, 84);
    rig.run(B);
    rig.network.cut(true);
    rig.run(A);
    let response = rig.sent().pop().unwrap();
    assert_eq!(response.bytes.len(), 92);
    arrive(&mut rig, &response, seen(elsewhere(2), 2, 2));
    assert_eq!(endpoint(&rig), Some(elsewhere(2)));
}

#[test]
fn data_and_keepalives_move_the_endpoint_and_answers_follow() {
    // C87, C90
    let mut rig = Rig::with_session();
    let data = taken(&mut rig, 84);
    arrive(&mut rig, &data, seen(elsewhere(1), 7, 3));
    assert_eq!(endpoint(&rig), Some(elsewhere(1)));
    assert_eq!(reply(&mut rig), seen(elsewhere(1), 7, 3), "from the address and interface it came to");

    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.set_persistent_keepalive(peer, 25, now);
    rig.sent();
    rig.network.cut(true);
    rig.run(A);
    let keepalive = rig.sent_one();
    assert_eq!(keepalive.bytes.len(), 32);
    arrive(&mut rig, &keepalive, seen(elsewhere(2), 7, 3));
    assert_eq!(endpoint(&rig), Some(elsewhere(2)));
}

#[test]
fn latest_in_order_of_arrival_counts_not_the_highest_counter() {
    // C87, C88
    let mut rig = Rig::with_session();
    let early = taken(&mut rig, 84);
    let late = taken(&mut rig, 84);
    arrive(&mut rig, &late, seen(elsewhere(2), 1, 1));
    arrive(&mut rig, &early, seen(elsewhere(1), 1, 1));
    assert_eq!(endpoint(&rig), Some(elsewhere(1)));
    assert_eq!(rig[B].delivered().len(), 2);
}

#[test]
fn last_of_a_batch_counts() {
    let mut rig = Rig::with_session();
    for last in 1..=40 {
        let datagram = taken(&mut rig, 84);
        rig[B].udp.raw.push_back(Raw::new(&datagram.bytes, seen(elsewhere(last), last, 1)));
    }
    rig.run(B);
    assert_eq!(rig[B].delivered().len(), 40);
    assert_eq!(reply(&mut rig), seen(elsewhere(40), 40, 1));
}

#[test]
fn a_replay_moves_nothing() {
    // C89
    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(outer(A), 1, 1));
    for last in 1..5 {
        arrive(&mut rig, &datagram, seen(elsewhere(last), 2, 2));
        assert_eq!(endpoint(&rig), Some(outer(A)));
    }
    assert_eq!(rig[B].dropped(DropReason::Replay), 4);
    assert_eq!(reply(&mut rig), seen(outer(A), 1, 1));
}

#[test]
fn a_replay_within_one_batch_moves_nothing_either() {
    // C76, C89: the window is checked again when the packet is taken in.
    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    rig[B].udp.raw.push_back(Raw::new(&datagram.bytes, seen(outer(A), 1, 1)));
    rig[B].udp.raw.push_back(Raw::new(&datagram.bytes, seen(elsewhere(1), 1, 1)));
    rig.run(B);
    assert_eq!(rig[B].delivered().len(), 1);
    assert_eq!(rig[B].dropped(DropReason::Replay), 1);
    assert_eq!(endpoint(&rig), Some(outer(A)));
}

#[test]
fn a_forgery_moves_nothing() {
    // C76, C87
    let mut rig = Rig::with_session();
    let mut datagram = taken(&mut rig, 84);
    *datagram.bytes.last_mut().unwrap() ^= 1;
    arrive(&mut rig, &datagram, seen(elsewhere(1), 1, 1));
    let mut ahead = taken(&mut rig, 84);
    ahead.bytes[8..16].copy_from_slice(&1_000_000_u64.to_le_bytes());
    arrive(&mut rig, &ahead, seen(elsewhere(1), 1, 1));
    assert_eq!(rig[B].dropped(DropReason::InvalidTag), 2);
    assert_eq!(endpoint(&rig), Some(outer(A)));
    let good = taken(&mut rig, 84);
    arrive(&mut rig, &good, seen(outer(A), 1, 1));
    assert_eq!(rig[B].delivered().len(), 1, "the window did not move");
}

#[test]
fn a_replayed_initiation_moves_nothing() {
    // C32, C89
    let mut rig = Rig::new(2);
    let message = initiation(&private_key(A), &public_key(B), rig.now.wall, 8);
    rig.network.inject(datagram(outer(A), outer(B), &message));
    rig.run(B);
    rig.advance(seconds(1));
    rig.network.inject(datagram(elsewhere(1), outer(B), &message));
    rig.run(B);
    assert_eq!(endpoint(&rig), Some(outer(A)));
    assert_eq!(rig.sent().len(), 1);
}

#[test]
fn authentic_packets_with_a_bad_inside_move_the_endpoint_all_the_same() {
    // C82
    let mut rig = Rig::with_session();
    let bad_source = packet([10, 9, 9, 9], inner(B), 84);
    let not_ip = vec![0; 60];
    let bad_length = {
        let mut packet = packet(inner(A), inner(B), 84);
        packet[2..4].copy_from_slice(&200_u16.to_be_bytes());
        packet
    };
    let reasons = [DropReason::BadSource, DropReason::InBadLength];
    for (last, (inside, reason)) in (1..).zip([bad_source, bad_length].into_iter().zip(reasons)) {
        rig.network.cut(true);
        rig[A].tun.inner.outgoing.push_back(inside);
        rig.run(A);
        rig.network.cut(false);
        let datagram = rig.sent_one();
        arrive(&mut rig, &datagram, seen(elsewhere(last), 1, 1));
        assert_eq!(rig[B].dropped(reason), 1);
        assert_eq!(endpoint(&rig), Some(elsewhere(last)));
    }
    rig[A].tun.inner.outgoing.push_back(not_ip);
    rig.run(A);
    assert_eq!(rig[A].dropped(DropReason::OutNotIp), 1);
    assert!(rig[B].delivered().is_empty());
}

#[test]
fn padding_and_more_behind_the_packet_is_cut_off() {
    // C80: whatever follows the length the packet names.
    let mut rig = Rig::with_session();
    let mut long = numbered(inner(A), inner(B), 500, 1);
    long[2..4].copy_from_slice(&100_u16.to_be_bytes());
    rig[A].tun.inner.outgoing.push_back(long.clone());
    rig.settle();
    assert_eq!(rig[B].delivered(), [&long[..100]]);
}

#[test]
fn source_is_forgotten_when_nothing_comes_back() {
    // C90: 15 s without an answer; the address stays.
    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(elsewhere(1), 7, 3));
    assert_eq!(reply(&mut rig), seen(elsewhere(1), 7, 3));
    rig.network.cut(true);
    rig[B].udp.left.clear();
    rig.pass(seconds(16));
    let last = rig[B].udp.left.last().copied();
    assert_eq!(last, Some(Endpoint::new(elsewhere(1))), "the initiation leaves from anywhere");
}

#[test]
fn source_is_forgotten_with_each_retransmission() {
    // C90, C118
    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(elsewhere(1), 7, 3));
    rig.network.cut(true);
    rig[B].udp.left.clear();
    rig.advance(seconds(6));
    let (peer, now) = (rig.peer(B, A), rig.now);
    rig[B].device.initiate(peer, now);
    rig.pass(seconds(6));
    let handshakes = core::mem::take(&mut rig[B].udp.left);
    assert_eq!(handshakes[..2], [seen(elsewhere(1), 7, 3), Endpoint::new(elsewhere(1))]);
}

#[test]
fn configured_endpoint_is_where_the_next_packet_goes_without_a_source() {
    // C140
    let mut rig = Rig::with_session();
    assert!(reply(&mut rig).source.is_some());
    let peer = rig.peer(B, A);
    rig[B].device.set_endpoint(peer, elsewhere(9));
    assert_eq!(reply(&mut rig), Endpoint::new(elsewhere(9)));
    assert_eq!(rig.drops(B), 0, "in the same session");
}

#[test]
fn sources_are_forgotten_all_at_once_or_where_they_are_stale() {
    // C90, C95
    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(elsewhere(1), 7, 3));
    rig[B].device.forget_sources_if(|endpoint| endpoint.source.is_some_and(|source| source.interface == 4));
    assert_eq!(reply(&mut rig), seen(elsewhere(1), 7, 3));
    rig[B].device.forget_sources_if(|endpoint| endpoint.source.is_some_and(|source| source.interface == 3));
    assert_eq!(reply(&mut rig), Endpoint::new(elsewhere(1)));

    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(elsewhere(1), 7, 3));
    rig[B].device.forget_sources();
    assert_eq!(reply(&mut rig), Endpoint::new(elsewhere(1)));
}

#[test]
fn a_source_that_the_socket_found_stale_is_not_used_again() {
    // C91: for data and for handshakes.
    let mut rig = Rig::with_session();
    for _ in 0..2 {
        let datagram = taken(&mut rig, 84);
        arrive(&mut rig, &datagram, seen(elsewhere(1), 7, 3));
        rig[B].udp.source_is_stale = true;
        assert_eq!(reply(&mut rig), seen(elsewhere(1), 7, 3));
        assert_eq!(reply(&mut rig), Endpoint::new(elsewhere(1)));
    }
    let mut rig = Rig::new(2);
    let message = initiation(&private_key(A), &public_key(B), rig.now.wall, 8);
    rig[B].udp.raw.push_back(Raw::new(&message, seen(elsewhere(1), 7, 3)));
    rig[B].udp.source_is_stale = true;
    rig.run(B);
    rig.pass(seconds(6));
    rig[B].udp.left.clear();
    rig.send(B, A, 84);
    rig.run(B);
    assert_eq!(rig[B].udp.left, [Endpoint::new(elsewhere(1))]);
}

#[test]
fn a_mapped_address_is_taken_as_ipv4_and_a_zone_is_kept() {
    // C94, C96
    let mut rig = Rig::strangers(2, Config::default());
    let peer = rig[B].device.add_peer(public_key(A)).unwrap();
    rig[B].device.set_endpoint(peer, "[::ffff:192.0.2.1]:1000".parse().unwrap());
    assert_eq!(endpoint(&rig), Some(outer(A)));
    let zoned = core::net::SocketAddrV6::new("fe80::7".parse().unwrap(), 1000, 0, 5).into();
    rig[B].device.set_endpoint(peer, zoned);
    assert_eq!(endpoint(&rig), Some(zoned));

    let mut rig = Rig::with_session();
    let datagram = taken(&mut rig, 84);
    arrive(&mut rig, &datagram, seen(zoned, 1, 5));
    assert_eq!(reply(&mut rig), seen(zoned, 1, 5));
}

#[test]
fn each_side_may_move_again_and_again_under_traffic() {
    let mut rig = Rig::with_session();
    for round in 0..50 {
        // A new address, as a phone has one; its peer learns of it with the first packet.
        let end = if round % 2 == 0 { A } else { B };
        let address = elsewhere(round);
        rig[end].udp.inner = rig.network.socket(address);
        let other = if end == A { B } else { A };
        for (from, to) in [(end, other), (other, end)] {
            rig.send(from, to, 84);
            rig.settle();
            assert_eq!(rig[to].delivered().len(), 1, "round {round}");
        }
        assert_eq!(rig.status(other, end).endpoint, Some(address));
    }
    assert_eq!(rig.drops(A) + rig.drops(B), 0);
}
