//! The packets of a peer arrive in the order they were sent in, each once, whatever stands between (C68): batches of other
//! peers, ends of slabs, sockets that push back or refuse, handshakes, new sessions.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::io::IoError;
use wg_datapath::proto::wire::MessageType;
use wg_datapath::sched::Budget;
use wg_datapath::{Config, DropReason};

use crate::forge::{datagram, junk_initiation, stranger};
use crate::rig::{A, B, C, Rig, initiations, inner, kind, numbered, outer, packet, public_key, seconds};

const D: usize = 3;

/// What was sent to whom, in order.
type Expected = BTreeMap<usize, Vec<Vec<u8>>>;

/// Packets from one end to others, in random order, of random lengths, each with its number.
struct Traffic {
    rng: ChaCha20Rng,
    number: u32,
}

impl Traffic {
    fn new(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), number: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    /// Mostly the longest and the shortest, as in real life.
    fn len(&mut self, max: usize) -> usize {
        match self.below(4) {
            0 => max,
            1 => 24 + self.below(100),
            _ => 24 + self.below(max - 23),
        }
    }

    fn burst(&mut self, rig: &mut Rig, from: usize, to: &[usize], count: usize, max: usize) -> Expected {
        let mut expected = Expected::new();
        for _ in 0..count {
            let to = to[self.below(to.len())];
            self.number += 1;
            let packet = numbered(inner(from), inner(to), self.len(max), self.number);
            rig[from].tun.inner.outgoing.push_back(packet.clone());
            expected.entry(to).or_default().push(packet);
        }
        expected
    }
}

fn assert_delivered(rig: &mut Rig, expected: &Expected) {
    for (to, packets) in expected {
        let delivered = rig[*to].delivered();
        let numbers =
            |packets: &[Vec<u8>]| packets.iter().map(|packet| packet[20..24].to_vec()).collect::<Vec<_>>();
        assert_eq!(numbers(&delivered), numbers(packets), "numbers at end {to}");
        assert_eq!(delivered, *packets, "bytes at end {to}");
    }
}

/// Four ends; `A` has a session with each of the others.
fn star(mtu: usize) -> Rig {
    let mut rig = Rig::with_config(4, Config { mtu, ..Config::default() });
    for other in [B, C, D] {
        rig.connect(A, other);
    }
    rig
}

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
            rig[end].budget = Budget { batches: 1 };
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
fn a_socket_may_push_back_at_any_datagram() {
    // C102
    const COUNT: usize = 150;
    let mut rig = star(1420);
    let mut traffic = Traffic::new(1);
    for capacity in 0..=COUNT {
        let expected = traffic.burst(&mut rig, A, &[B, C, D], COUNT, 400);
        rig[A].udp.inner.capacity = capacity;
        rig.run(A);
        assert_eq!(rig.sent().len(), capacity);
        assert_eq!(rig[A].lane.wants_writable(), capacity < COUNT);
        rig[A].udp.inner.capacity = usize::MAX;
        rig.settle();
        assert!(!rig[A].lane.wants_writable());
        assert_delivered(&mut rig, &expected);
        rig.sent();
    }
    assert_eq!(rig.drops(A), 0);
}

#[test]
fn a_socket_may_push_back_again_and_again() {
    let mut rig = star(1420);
    let mut traffic = Traffic::new(2);
    let expected = traffic.burst(&mut rig, A, &[B, C, D], 600, 1420);
    let mut rounds = 0;
    while rig.sent().len() == 1 || rounds == 0 {
        rig[A].udp.inner.capacity = 1;
        rig.run(A);
        rounds += 1;
    }
    assert_eq!(rounds, 601, "one datagram each time");
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_delivered(&mut rig, &expected);
}

#[test]
fn nothing_is_read_while_the_socket_pushes_back() {
    let mut rig = Rig::with_session();
    rig[A].udp.inner.capacity = 0;
    for _ in 0..10 {
        (0..500).for_each(|_| rig.send(A, B, 1000));
        rig.run(A);
    }
    let waiting = rig[A].tun.inner.outgoing.len();
    assert!(waiting >= 5000 - 128, "{waiting} packets still wait where their sender notices");
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(rig[B].delivered().len(), 5000);
}

#[test]
fn a_refused_datagram_is_skipped_and_counted_wherever_it_is() {
    // C73
    const COUNT: usize = 70;
    let mut rig = Rig::with_session();
    for refused in 0..COUNT {
        let packets: Vec<_> =
            (0..).take(COUNT).map(|number| numbered(inner(A), inner(B), 100, number)).collect();
        rig[A].tun.inner.outgoing.extend(packets.iter().take(refused).cloned());
        rig.run(A);
        let (_, sent) = rig.traffic(A, B);
        rig[A].udp.inner.refuse = Some(101);
        rig[A].tun.inner.outgoing.extend(packets.iter().skip(refused).cloned());
        rig.settle();
        assert_eq!(rig.drops(A), refused as u64 + 1);
        let (_, sent) = (sent, rig.traffic(A, B).1 - sent);
        assert_eq!(sent, 144 * (COUNT - refused - 1) as u64, "what was refused is not counted as sent");
        let mut expected = packets;
        expected.remove(refused);
        assert_eq!(rig[B].delivered(), expected);
    }
    assert_eq!(rig[A].dropped(DropReason::SendRefused), COUNT as u64);
}

#[test]
fn a_refused_datagram_within_a_batch_is_skipped_too() {
    let mut rig = Rig::with_session();
    for blocked_at in 0..64 {
        let packets: Vec<_> = (0..64).map(|number| numbered(inner(A), inner(B), 100, number)).collect();
        rig[A].tun.inner.outgoing.extend(packets.clone());
        rig[A].udp.inner.capacity = blocked_at;
        rig.run(A);
        (rig[A].udp.inner.capacity, rig[A].udp.inner.refuse) = (usize::MAX, Some(101));
        rig.settle();
        let mut expected = packets;
        expected.remove(blocked_at);
        assert_eq!(rig[B].delivered(), expected);
    }
    assert_eq!((rig[A].dropped(DropReason::SendRefused), rig.drops(A)), (64, 64));
}

#[test]
fn staged_packets_go_first_also_when_the_socket_pushes_back() {
    // C55, C70
    let mut rig = Rig::with_config(4, Config::default());
    let mut traffic = Traffic::new(3);
    let mut expected = traffic.burst(&mut rig, A, &[B, C, D], 200, 1420);
    rig.run(A);
    // The responses are there, and the socket takes three datagrams at a time from now on.
    (B..=D).for_each(|end| {
        rig.run(end);
    });
    for _ in 0..20 {
        rig[A].udp.inner.capacity = 3;
        rig.run(A);
        for (to, packets) in traffic.burst(&mut rig, A, &[B, C, D], 20, 1420) {
            expected.get_mut(&to).unwrap().extend(packets);
        }
    }
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_delivered(&mut rig, &expected);
    assert_eq!(rig.drops(A), 0);
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
        rig[end].budget = Budget { batches: 1 };
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
fn a_host_that_does_not_take_a_packet_loses_that_one() {
    let mut rig = Rig::with_session();
    let errors = [None, Some(IoError::WouldBlock), None, Some(IoError::Transient(5)), None];
    for (number, error) in (0..).zip(errors) {
        rig[A].tun.inner.outgoing.push_back(numbered(inner(A), inner(B), 84, number));
        rig.run(A);
        rig[B].tun.write_errors.extend(error);
        rig.settle();
    }
    let numbers: Vec<u8> = rig[B].delivered().iter().map(|packet| packet[23]).collect();
    assert_eq!(numbers, [0, 2, 4]);
    assert_eq!(rig[B].dropped(DropReason::TunQueueFull), 1);
    assert_eq!(rig[B].dropped(DropReason::TunRefused), 1);
    assert_eq!(rig.traffic(B, A).0, 148 + 128 * 4, "only what was delivered counts (C83)");
}

#[test]
fn an_error_for_a_moment_ends_nothing() {
    // C101
    let mut rig = Rig::with_session();
    for errno in [4, 11, 12, 100, 101, 105, 111] {
        rig[A].tun.read_errors.push_back(IoError::Transient(errno));
        rig[B].udp.receive_errors.push_back(IoError::Transient(errno));
        rig.send(A, B, 84);
        rig.settle();
        rig.settle();
        assert_eq!(rig[B].delivered(), [packet(inner(A), inner(B), 84)]);
        assert_eq!((rig[A].lane.fatal(), rig[B].lane.fatal()), (None, None));
    }
}

#[test]
fn an_edge_that_is_gone_ends_the_lane_and_says_so() {
    let gone = IoError::Fatal(77);
    let mut rig = Rig::with_session();
    rig[A].tun.read_errors.push_back(gone);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[A].lane.fatal(), Some(gone));
    assert!(rig.sent().is_empty(), "nothing is read any more");

    let mut rig = Rig::with_session();
    rig[B].udp.receive_errors.push_back(gone);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].lane.fatal(), Some(gone));

    let mut rig = Rig::with_session();
    rig[B].tun.write_errors.push_back(gone);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[B].lane.fatal(), Some(gone));
    assert_eq!(rig.drops(B), 1);
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

#[test]
fn a_handshake_leaves_before_the_data_that_keeps_the_socket_full() {
    let mut rig = Rig::with_session();
    rig.pass(seconds(121));
    rig.sent();
    rig[A].udp.inner.capacity = 0;
    rig.send(A, B, 1000);
    rig.run(A);
    rig.send(A, B, 1000);
    // The retransmission takes the place of the initiation that waits.
    rig.advance(seconds(6));
    rig.run(A);
    assert!(rig[A].lane.wants_writable());
    rig[A].udp.inner.capacity = 1;
    rig.run(A);
    assert_eq!(kind(&rig.sent_one()), MessageType::Initiation);
    assert!(rig[A].lane.wants_writable());
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(initiations(&rig.sent()), 0);
    assert_eq!((rig[B].delivered().len(), rig[A].dropped(DropReason::SendQueueFull)), (2, 1));
    assert!(!rig[A].lane.wants_writable());
}

#[test]
fn control_that_waits_for_the_socket_does_not_outlast_its_peer_or_the_interface() {
    let waiting = || {
        let mut rig = Rig::new(2);
        rig[A].udp.inner.capacity = 0;
        rig.send(A, B, 100);
        rig.run(A);
        assert!(rig[A].lane.wants_writable());
        rig
    };
    let mut rig = waiting();
    let peer = rig.peer(A, B);
    rig[A].device.remove_peer(peer);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(rig.sent().len(), 0);

    let mut rig = waiting();
    let now = rig.now;
    rig[A].device.set_up(false, now);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(rig.sent().len(), 0);
    assert!(!rig[A].lane.wants_writable());
}

#[test]
fn cookie_replies_do_not_wait_for_the_socket() {
    let mut rig = Rig::new(2);
    rig[A].udp.inner.capacity = 0;
    for number in 0..500 {
        rig.network.inject(datagram(stranger(), outer(A), &junk_initiation(&public_key(A), number)));
    }
    rig.run(A);
    assert!(rig[A].dropped(DropReason::SendQueueFull) > 0);
    assert!(!rig[A].lane.wants_writable(), "nothing of a flood is kept");
}
