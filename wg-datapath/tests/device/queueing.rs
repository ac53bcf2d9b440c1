//! The queue in front of a tunnel that is full: who has little to say need not wait, nobody takes the place of another, and who
//! waits for long is told.

use wg_datapath::{Discipline, DropReason, Lane};

use crate::example::{Example, Ip, Transport, split};
use crate::rig::{A, B, C, Rig, inner, millis, packet};
use crate::traffic::{Traffic, assert_delivered};

/// The inner receiver of each packet that left, by its outer address.
fn left(rig: &mut Rig) -> Vec<usize> {
    rig.sent().iter().map(|datagram| if datagram.to == crate::rig::outer(B) { B } else { C }).collect()
}

fn three() -> Rig {
    let mut rig = Rig::new(3);
    rig.connect(A, B);
    rig.connect(A, C);
    rig
}

#[test]
fn a_peer_with_one_packet_does_not_wait_for_one_with_hundreds() {
    let mut rig = three();
    (0..500).for_each(|_| rig.send(A, B, 1400));
    rig.send(A, C, 84);
    rig.run(A);
    let left = left(&mut rig);
    let ahead = left.iter().position(|to| *to == C).unwrap();
    // What was read before it, in one drain, and a turn of 64 KiB.
    assert!(ahead <= 128 + 2 * 47, "{ahead}");
    assert_eq!(left.len(), 501);
}

#[test]
fn a_flow_with_one_packet_does_not_wait_for_one_with_hundreds() {
    // Both to one peer, and the socket pushes back, as in a tunnel that is full.
    let mut rig = three();
    let bulk = Example::new(Ip::V4, Transport::Udp, 1300);
    rig[A].udp.inner.capacity = 0;
    rig[A].tun.inner.outgoing.extend(bulk.run(400).iter().map(Example::packet));
    rig.run(A);
    let ping = packet(inner(A), inner(B), 84);
    rig[A].tun.inner.outgoing.push_back(ping);
    rig.run(A);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.run(A);
    let lengths = rig.sent_lengths();
    let ahead = lengths.iter().position(|len| *len < 200).unwrap();
    // The batches that were sealed already, and one turn.
    assert!(ahead < 2 * 47 + 2, "{ahead} of {}", lengths.len());
}

#[test]
fn a_plain_queue_keeps_the_order_of_all_and_makes_nobody_lose_for_a_long_wait() {
    let mut rig = three();
    rig[A].lane = Lane::new().with_discipline(Discipline::Fifo);
    let bulk = Example::new(Ip::V4, Transport::Udp, 1300);
    rig[A].udp.inner.capacity = 0;
    rig[A].tun.inner.outgoing.extend(bulk.run(400).iter().map(Example::packet));
    rig.send(A, C, 84);
    rig.run(A);
    rig.advance(millis(500));
    rig[A].udp.inner.capacity = usize::MAX;
    rig.run(A);
    let left = left(&mut rig);
    assert_eq!((left.len(), left.last()), (401, Some(&C)), "what came last leaves last");
    assert_eq!(rig.drops(A), 0);
}

#[test]
fn two_peers_share_a_tunnel_evenly_whatever_they_send() {
    // Many small packets of one against few large ones of the other.
    let mut rig = three();
    rig[A].udp.inner.capacity = 0;
    (0..300).for_each(|_| rig.send(A, C, 1400));
    (0..700).for_each(|_| rig.send(A, B, 700));
    rig.run(A);
    rig.sent();
    rig[A].udp.inner.capacity = usize::MAX;
    rig.run(A);
    let mut bytes = [0_usize; 4];
    for datagram in rig.sent().iter().take(400) {
        bytes[if datagram.to == crate::rig::outer(B) { B } else { C }] += datagram.bytes.len();
    }
    assert!(bytes[B].abs_diff(bytes[C]) <= 2 * 65_536, "{bytes:?}");
}

/// Sends from A to B, lets all of it leave, and returns the bytes of the largest batch.
fn largest_batch(rig: &mut Rig, traffic: &mut Traffic) -> usize {
    rig[A].udp.runs.clear();
    let expected = traffic.burst(rig, A, &[B], 400, 1420);
    rig.settle();
    assert_delivered(rig, &expected);
    rig[A].udp.runs.iter().copied().max().unwrap()
}

#[test]
fn a_batch_is_a_millisecond_of_what_leaves_while_the_socket_pushes_back() {
    let whole = 60_000..=1 << 16;
    let mut rig = Rig::with_session();
    let mut traffic = Traffic::new(1);
    rig[A].udp.held = Some(1 << 20);
    assert!(whole.contains(&largest_batch(&mut rig, &mut traffic)));
    assert_eq!(rig[A].udp.asked.get(), 0, "nobody looks without a reason");

    rig[A].udp.inner.capacity = 0;
    let expected = traffic.burst(&mut rig, A, &[B], 1, 100);
    rig.run(A);
    rig.run(A);
    assert_eq!(rig[A].udp.asked.get(), 1);
    // In ten milliseconds 100,000 bytes leave.
    rig.advance(millis(10));
    rig[A].udp.held = Some((1 << 20) - 100_000);
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_delivered(&mut rig, &expected);
    let largest = largest_batch(&mut rig, &mut traffic);
    assert!((8_500..=10_100).contains(&largest), "{largest}");
    assert_eq!(rig[A].udp.asked.get(), 2, "once a millisecond, however many batches there are");

    // What was handed over meanwhile, some 300,000 bytes in 20 ms, has left as well: a quarter of the mean is new.
    rig.advance(millis(20));
    let largest = largest_batch(&mut rig, &mut traffic);
    assert!((10_200..=13_000).contains(&largest), "{largest}");
    assert_eq!(rig[A].udp.asked.get(), 3);

    // A frame of many packets is cut to pieces of that size, too.
    let mut rig = rig.with_offloads();
    let example = Example::new(Ip::V4, Transport::Tcp, 50_000);
    rig[A].tun.inner.frames.push_back((example.frame(), example.offload(1000)));
    rig[A].udp.runs.clear();
    rig.settle();
    assert!(rig[A].udp.runs.iter().all(|bytes| (900..=13_000).contains(bytes)), "{:?}", rig[A].udp.runs);
    let delivered = rig[B].delivered();
    assert_eq!(delivered, split(&example.frame(), &example.offload(1000)).unwrap());

    // A packet that is longer than that goes all the same.
    rig[A].device.set_mtu(100);
    rig.send(A, B, 40_000);
    rig.settle();
    assert_eq!((rig[B].delivered().len(), rig.drops(A)), (1, 0));
    rig[A].device.set_mtu(1420);

    rig.advance(millis(1));
    rig[A].udp.held = Some(10_000);
    assert!(whole.contains(&largest_batch(&mut rig, &mut traffic)), "it has left");
    rig.advance(millis(1));
    largest_batch(&mut rig, &mut traffic);
    assert_eq!(rig[A].udp.asked.get(), 4);
    assert_eq!(rig.drops(A), 0);
}

#[test]
fn sockets_that_do_not_tell_what_they_hold_have_whole_batches() {
    let mut rig = Rig::with_session();
    let mut traffic = Traffic::new(1);
    rig[A].udp.inner.capacity = 0;
    let expected = traffic.burst(&mut rig, A, &[B], 100, 1420);
    rig.run(A);
    rig.advance(millis(10));
    rig[A].udp.inner.capacity = usize::MAX;
    rig.settle();
    assert_delivered(&mut rig, &expected);
    assert!(largest_batch(&mut rig, &mut traffic) > 60_000);
}

#[test]
fn a_flow_that_waits_for_long_is_marked_or_loses_a_packet() {
    for (tos, marks) in [(2, true), (0, false)] {
        let mut rig = Rig::with_session().with_offloads();
        let example = Example::new(Ip::V4, Transport::Tcp, 50_000).with(|example| example.tos = tos);
        let (frame, offload) = (example.frame(), example.offload(1000));
        let packets = split(&frame, &offload).unwrap().len();
        // A batch every 4 ms: the queue never empties.
        let mut pushed = 0;
        for _ in 0..100 {
            for _ in 0..2 {
                rig[A].tun.inner.frames.push_back((frame.clone(), offload));
                pushed += packets;
            }
            rig[A].udp.inner.capacity = packets;
            rig.run(A);
            rig.pass(millis(4));
            rig.settle();
            if rig[A].lane.wants_readable() {
                continue;
            }
            break;
        }
        rig[A].udp.inner.capacity = usize::MAX;
        rig.settle();
        let delivered = rig[B].delivered();
        let marked = delivered.iter().filter(|packet| packet[1] & 3 == 3).count();
        let lost = rig[A].dropped(DropReason::QueueDelay);
        assert!(delivered.iter().all(|packet| crate::example::is_right(packet)));
        assert_eq!(delivered.len() as u64 + lost, pushed as u64, "in is out and counted losses");
        assert_eq!(rig.drops(A), lost);
        if marks {
            assert!(marked > 0 && lost == 0, "{marked} marked, {lost} lost");
            assert_eq!(marked % packets, 0, "a frame as a whole");
        } else {
            assert!(lost > 0 && marked == 0, "{marked} marked, {lost} lost");
            assert!(lost < packets as u64, "one packet of a frame, not all");
        }
    }
}
