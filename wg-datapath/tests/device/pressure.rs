//! Edges that do not do as they are asked: a socket that pushes back or refuses, a host that takes nothing, errors for a
//! moment and for good. What can wait waits, in order; what cannot is counted (C101, C102).

use wg_datapath::io::IoError;
use wg_datapath::proto::PrivateKey;
use wg_datapath::proto::wire::MessageType;
use wg_datapath::{Config, DropReason};

use crate::forge::{datagram, junk_initiation, stranger};
use crate::rig::{
    A, B, C, Rig, initiations, inner, kind, millis, numbered, outer, packet, public_key, seconds,
};
use crate::traffic::{D, Traffic, assert_delivered, star};

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
fn no_more_is_read_than_the_queue_holds_while_the_socket_pushes_back() {
    let mut rig = Rig::with_session();
    rig[A].udp.inner.capacity = 0;
    for _ in 0..10 {
        (0..500).for_each(|_| rig.send(A, B, 1000));
        rig.run(A);
    }
    let waiting = rig[A].tun.inner.outgoing.len();
    assert!(waiting >= 5000 - 1024 - 128, "{waiting} packets still wait where their sender notices");
    assert!(!rig[A].lane.wants_readable());
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert!(rig[A].lane.wants_readable());
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
fn an_end_that_was_told_is_not_met_by_another_call() {
    // How many calls it takes to receive so many datagrams in one turn, without the end being told and with it.
    let calls = |count: usize, tells_end: bool| {
        let mut rig = Rig::with_session();
        rig[B].udp.tells_end = tells_end;
        (0..count).for_each(|_| rig.send(A, B, 100));
        rig.run(A);
        let (before, received) = (rig[B].udp.calls, rig[B].udp.received);
        let now = rig.now;
        while !rig[B].step(now).idle() {
            assert!(rig[B].udp.calls < before + 100, "it does not end");
        }
        assert_eq!(rig[B].udp.received - received, count as u64);
        let taken = rig[B].udp.calls - before;
        assert_eq!(rig[B].delivered().len(), count);
        taken
    };
    // `step` tells of readiness each time: one more call finds out that nothing came.
    assert_eq!(calls(1, false) - calls(1, true), 1);
    assert_eq!(calls(5, false) - calls(5, true), 1);
    // As many as there are slots may not be all.
    let slots = (2..200).find(|count| calls(*count, true) > calls(1, true)).expect("slots are few");
    assert_eq!(calls(slots, true), calls(slots, false));
    assert_eq!(calls(slots + 1, false) - calls(slots + 1, true), 1);
}

#[test]
fn a_tun_that_has_one_frame_each_time_is_seldom_read_in_vain() {
    const FRAMES: u64 = 100;
    let reads = |told_by_level: bool, each: usize| {
        let mut rig = Rig::with_session();
        rig[A].tun.told_by_level = told_by_level;
        let before = rig[A].tun.reads;
        let now = rig.now;
        for _ in 0..FRAMES {
            (0..each).for_each(|_| rig.send(A, B, 100));
            // The executor tells of what is left for as long as there is something.
            let mut waits = true;
            while waits {
                while !rig[A].step(now).idle() {}
                waits = !rig[A].tun.inner.outgoing.is_empty();
            }
        }
        rig.settle();
        assert_eq!(rig[B].delivered().len() as u64, FRAMES * each as u64);
        rig[A].tun.reads - before
    };
    // Every turn, the idle one that ends it too, is told of readiness here: one vain read, and one behind each frame.
    assert!(reads(false, 1) >= 3 * FRAMES);
    assert!(reads(true, 1) <= reads(false, 1) - FRAMES * 2 / 3);
    // Where there are more they are read in one go.
    assert!(reads(true, 10).abs_diff(reads(false, 10)) <= 5);
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
fn a_handshake_that_waits_too_long_is_replaced_by_the_next() {
    // Of those that waited only the newest leaves: the others would be answered in vain.
    let mut rig = Rig::new(2);
    rig[A].udp.inner.capacity = 0;
    rig.send(A, B, 84);
    rig.pass(seconds(20));
    assert!(rig.sent().is_empty());
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148, 92, 128]);
    assert_eq!(rig[B].delivered().len(), 1);
    assert!((2..=4).contains(&rig[A].dropped(DropReason::SendQueueFull)), "{:?}", rig[A].device.drops());
    assert_eq!(rig.traffic(A, B), (92, 148 + 128), "only what left is counted (C73)");
}

#[test]
fn a_session_outlives_a_socket_that_is_always_full() {
    // The sender keeps the socket full: each time it takes a little, there is more.
    let mut rig = Rig::with_session();
    let mut arrived = 0;
    for _ in 0..400 {
        (0..40).for_each(|_| rig.send(A, B, 84));
        rig[A].udp.inner.capacity = 10;
        rig.pass(seconds(1));
        arrived += rig[B].delivered().len();
    }
    assert!(arrived > 400 * 10 - 40, "{arrived} packets in 400 s");
    assert_eq!(rig[B].dropped(DropReason::KeyExpired) + rig.drops(A), 0);
}

#[test]
fn handshakes_that_wait_for_the_socket_are_few_and_follow_the_configuration() {
    // C129, C137
    let silent = |peers: u8| {
        let mut rig = Rig::strangers(1, Config::default());
        let ids: Vec<_> = (0..peers)
            .map(|number| {
                let mut key = [9; 32];
                key[1] = number;
                let peer = rig[A].device.add_peer(PrivateKey::from_bytes(key).public_key()).unwrap();
                rig[A].device.set_endpoint(peer, ([198, 51, 100, number], 9).into());
                let now = rig.now;
                rig[A].device.initiate(peer, now);
                peer
            })
            .collect();
        rig[A].udp.inner.capacity = 0;
        rig.run(A);
        (rig, ids)
    };
    let (mut rig, _) = silent(100);
    let lost = rig[A].dropped(DropReason::SendQueueFull);
    assert_eq!((lost, rig.drops(A)), (36, 36), "64 wait");
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!(rig.sent().len(), 64);

    let (mut rig, ids) = silent(10);
    rig[A].device.remove_peer(ids[3]);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!((rig.sent().len(), rig[A].dropped(DropReason::StagedRemoved), rig.drops(A)), (9, 1, 1));

    let (mut rig, _) = silent(10);
    let now = rig.now;
    rig[A].device.set_up(false, now);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_eq!((rig.sent().len(), rig[A].dropped(DropReason::DeviceDown), rig.drops(A)), (0, 10, 10));
    assert!(!rig[A].lane.wants_writable());
}

#[test]
fn cookie_replies_do_not_wait_for_the_socket() {
    // C116: a flood must not fill what is kept for peers.
    let mut rig = Rig::with_config(2, Config { handshake_queue: 8, ..Config::default() });
    rig[B].udp.inner.capacity = 0;
    for number in 0..8 {
        let message = junk_initiation(&public_key(B), number);
        rig.network.inject(datagram(stranger(), outer(B), &message));
    }
    rig.settle();
    assert!(!rig[B].lane.wants_writable());
    assert_eq!((rig[B].dropped(DropReason::CookieSent), rig[B].dropped(DropReason::SendQueueFull)), (8, 8));
}

#[test]
fn a_refused_handshake_is_counted_and_tried_again_in_its_time() {
    // C102
    let mut rig = Rig::new(2);
    rig[A].udp.inner.refuse = Some(101);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!((rig[A].dropped(DropReason::SendRefused), rig.drops(A)), (1, 1));
    assert_eq!(rig.traffic(A, B), (0, 0));
    rig.pass(millis(5334));
    assert_eq!(rig[B].delivered().len(), 1);
}

#[test]
fn an_initiation_that_waited_for_the_socket_does_not_survive_a_change_of_the_key() {
    // C133
    let mut rig = Rig::new(2);
    rig[A].udp.inner.capacity = 0;
    rig.send(A, B, 84);
    rig.run(A);
    assert!(rig.sent().is_empty() && rig[A].lane.wants_writable());
    let now = rig.now;
    rig[A].device.set_private_key(Some(PrivateKey::from_bytes([77; 32])), now);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.run(A);
    let sent = rig.sent();
    assert_eq!(initiations(&sent), 1, "only that of the new key leaves");
    assert_eq!(rig[A].dropped(DropReason::SendQueueFull), 1);
}
