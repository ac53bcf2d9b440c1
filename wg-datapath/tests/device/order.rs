//! The packets of a peer arrive in the order they were sent in, each once, whatever stands between (C68): batches of other
//! peers, ends of slabs, handshakes, new sessions.

use wg_datapath::sched::Budget;
use wg_datapath::{Config, DropReason};

use crate::rig::{A, B, C, Rig, inner, numbered, packet, seconds};
use crate::traffic::{D, Traffic, assert_delivered, star};

#[test]
fn packets_of_three_peers_keep_their_order_at_any_length() {
    for mtu in [1280, 1420, 1501, 9000, 65_000] {
        let mut rig = star(mtu);
        let mut traffic = Traffic::new(mtu as u64);
        for count in [1, 63, 64, 65, 130, 700] {
            let expected = traffic.burst(&mut rig, A, &[B, C, D], count, mtu);
            rig.settle();
            assert_delivered(&mut rig, &expected);
        }
        assert_eq!(rig.drops(A), 0);
    }
}

#[test]
fn packets_from_three_peers_keep_their_order_too() {
    for mtu in [1420, 9000] {
        let mut rig = star(mtu);
        let mut traffic = Traffic::new(mtu as u64);
        let mut sent =
            [B, C, D].map(|from| traffic.burst(&mut rig, from, &[A], 200, mtu).remove(&A).unwrap());
        // They take turns, so that what waits at `A` is mixed.
        for end in [B, C, D] {
            rig[end].budget = Budget { batches: 1, ..Budget::default() };
        }
        let now = rig.now;
        while (B..=D).any(|end| !rig[end].tun.inner.outgoing.is_empty()) {
            (B..=D).for_each(|end| {
                rig[end].step(now);
            });
        }
        rig.settle();
        for packet in rig[A].delivered() {
            let from = usize::from(packet[15]) - 1;
            assert_eq!(sent[from - B].remove(0), packet, "from end {from}");
        }
        assert!(sent.iter().all(Vec::is_empty), "nothing is missing");
    }
}

#[test]
fn packets_up_to_the_longest_there_is_pass() {
    // A datagram carries 65,507 bytes: 32 of overhead, and 65,475 of packet.
    let mut rig = star(65_475);
    let lengths =
        [65_475, 1, 65_474, 65_000, 32_000, 32_000, 33_536, 65_475, 20_000, 45_000].map(|len| len.max(24));
    let packets: Vec<_> =
        (0..).zip(lengths).map(|(number, len)| numbered(inner(A), inner(B), len, number)).collect();
    rig[A].tun.inner.outgoing.extend(packets.clone());
    rig.settle();
    assert_eq!(rig[B].delivered(), packets);
    assert!(rig.sent_lengths().into_iter().all(|len| len <= 65_507));
}

#[test]
fn a_packet_of_the_mtu_fits_the_end_of_a_slab_to_the_byte() {
    // The first four and the small ones leave exactly as much room as the last one takes.
    let mtu = 1501;
    let mut rig = star(mtu);
    let mut lengths = vec![mtu; 4];
    lengths.extend([1488; 38]);
    lengths.extend([128, mtu, 100]);
    let packets: Vec<_> =
        (0..).zip(lengths).map(|(number, len)| numbered(inner(A), inner(B), len, number)).collect();
    rig[A].tun.inner.outgoing.extend(packets.clone());
    rig.settle();
    assert_eq!(rig[A].dropped(DropReason::OutTooLong), 0);
    assert_eq!(rig[B].delivered(), packets);
}

#[test]
fn a_thousand_packets_before_the_session_leave_the_last_128_of_each_peer() {
    // C70
    let mut rig = Rig::with_config(4, Config { mtu: 9000, staged_bytes: 16 << 20, ..Config::default() });
    let mut expected = Traffic::new(4).burst(&mut rig, A, &[B, C, D], 1000, 9000);
    let mut dropped = 0;
    for packets in expected.values_mut() {
        dropped += packets.len() - 128;
        packets.drain(..packets.len() - 128);
    }
    rig.run(A);
    rig.settle();
    assert_delivered(&mut rig, &expected);
    assert_eq!((rig[A].dropped(DropReason::StagedOverflow), rig.drops(A)), (dropped as u64, dropped as u64));
}

#[test]
fn traffic_both_ways_passes_every_rekey_without_loss() {
    // C50-C55: 400 s, three rekeys.
    let mut rig = Rig::new(2);
    rig.connect(A, B);
    let mut traffic = Traffic::new(5);
    for _ in 0..400 {
        let there = traffic.burst(&mut rig, A, &[B], 20, 600);
        let back = traffic.burst(&mut rig, B, &[A], 20, 600);
        rig.settle();
        assert_delivered(&mut rig, &there);
        assert_delivered(&mut rig, &back);
        rig.pass(seconds(1));
    }
    let responses = rig.sent_lengths().into_iter().filter(|len| *len == 92).count();
    assert_eq!(responses, 3);
    assert_eq!(rig.drops(A) + rig.drops(B), 0);
}

#[test]
fn packets_of_two_sessions_of_a_peer_are_delivered_as_they_arrive() {
    let mut rig = Rig::with_session();
    let lost = |rig: &mut Rig, numbers: &[u32]| {
        rig.network.cut(true);
        for number in numbers {
            rig[A].tun.inner.outgoing.push_back(numbered(inner(A), inner(B), 84, *number));
        }
        rig.run(A);
        rig.network.cut(false);
        let sent = rig.sent();
        assert_eq!(sent.len(), numbers.len());
        sent
    };
    let old = lost(&mut rig, &[1, 3]);
    rig.pass(seconds(120));
    rig.connect(A, B);
    let new = lost(&mut rig, &[2, 4]);
    for datagram in [&old[0], &new[0], &old[1], &new[1]] {
        rig.network.inject(datagram.clone());
    }
    rig.run(B);
    let numbers: Vec<u8> = rig[B].delivered().iter().map(|packet| packet[23]).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_session_may_change_between_any_two_turns() {
    // One batch a turn, so that the new session comes between the batches of one burst.
    let mut rig = star(1420);
    let mut traffic = Traffic::new(6);
    for end in [A, B, C, D] {
        rig[end].budget = Budget { batches: 1, ..Budget::default() };
    }
    for _ in 0..4 {
        rig.pass(seconds(120));
        for end in A..=D {
            rig[end].delivered();
        }
        let expected = traffic.burst(&mut rig, A, &[B, C, D], 1000, 1420);
        let back = traffic.burst(&mut rig, B, &[A], 1000, 1420);
        let now = rig.now;
        for _ in 0..1000 {
            (A..=D).for_each(|end| {
                rig[end].step(now);
            });
        }
        rig.settle();
        assert_delivered(&mut rig, &expected);
        assert_delivered(&mut rig, &back);
        assert!(rig.sent_lengths().contains(&92), "a new session");
    }
}

#[test]
fn junk_from_the_host_hides_no_packet_behind_it() {
    // A turn that only drops is not idle: one call to the strategy comes to the packet at the end.
    let mut rig = Rig::with_session();
    for _ in 0..1000 {
        rig[A].tun.inner.outgoing.push_back(packet(inner(A), [192, 168, 7, 7], 60));
    }
    rig.send(A, B, 84);
    let now = rig.now;
    rig[A].step(now);
    assert_eq!(rig.sent_lengths(), [128]);
    assert_eq!(rig[A].dropped(DropReason::NoPeerForDestination), 1000);
}
