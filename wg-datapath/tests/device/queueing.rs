//! The queue in front of a tunnel that is full: who has little to say need not wait, nobody takes the place of another, and who
//! waits for long is told.

use wg_datapath::DropReason;

use crate::example::{Example, Ip, Transport, split};
use crate::rig::{A, B, C, Rig, inner, millis, packet};

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
