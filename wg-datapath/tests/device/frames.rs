//! Frames of many packets through the tunnel: split as they are sealed, merged as they are opened, and none the worse for it.

use wg_datapath::io::IoError;
use wg_datapath::offload::Offload;
use wg_datapath::sched::CoreIo;
use wg_datapath::{Config, DropReason, IpPrefix, LaneIo};

use crate::example::{EVERY, Example, Ip, Transport, complete, is_right, split};
use crate::rig::{A, B, C, End, Rig, seconds};

/// Two ends with a session, offloads, and IPv6 beside IPv4.
fn pair(mtu: usize) -> Rig {
    let mut rig = Rig::with_config(3, Config { mtu, ..Config::default() }).with_offloads();
    for (end, other) in [(A, B), (B, A), (A, C), (C, A)] {
        let peer = rig.peer(end, other);
        let mut address = [0; 16];
        (address[0], address[15]) = (0xfd, u8::try_from(other + 1).unwrap());
        rig[end].device.add_allowed_ip(peer, IpPrefix::new(address.into(), 128).unwrap()).unwrap();
    }
    rig.connect(A, B);
    rig.connect(A, C);
    rig
}

/// A frame and the packets it holds.
fn frame(ip: Ip, transport: Transport, segment: u16, payload: usize) -> (Vec<u8>, Offload, Vec<Vec<u8>>) {
    let example = Example::new(ip, transport, payload);
    let (frame, offload) = (example.frame(), example.offload(segment));
    let packets = split(&frame, &offload).unwrap();
    (frame, offload, packets)
}

#[test]
fn a_frame_arrives_as_its_packets_and_in_few_frames() {
    let mut rig = pair(1420);
    for (ip, transport) in EVERY {
        for (segment, payload) in
            [(1360, 1), (1360, 1360), (1360, 1361), (1360, 60_000), (33, 3000), (536, 65_000)]
        {
            let (frame, offload, packets) = frame(ip, transport, segment, payload);
            rig[A].tun.inner.frames.push_back((frame, offload));
            rig.settle();
            let delivered = rig[B].delivered();
            assert!(delivered.iter().all(|packet| is_right(packet)), "{ip:?} {transport:?} {segment}");
            assert_eq!(delivered, packets, "{ip:?} {transport:?} {segment} {payload}");
            let frames = core::mem::take(&mut rig[B].tun.inner.frames_written);
            let most = if packets.len() > 1 { packets.len().div_ceil(40) + 1 } else { 0 };
            assert!(frames <= most, "{frames} for {} packets", packets.len());
            assert_eq!(frames == 0, packets.len() == 1);
        }
    }
    assert_eq!((rig.drops(A), rig.drops(B)), (0, 0));
}

#[test]
fn a_frame_of_more_packets_than_a_batch_goes_on_where_it_stopped() {
    let mut rig = pair(1420);
    for (segment, payload) in [(8, 8 * 1000), (100, 60_000), (1, 129), (1, 128), (1, 257)] {
        let (frame, offload, packets) = frame(Ip::V4, Transport::Tcp, segment, payload);
        rig[A].tun.inner.frames.push_back((frame.clone(), offload));
        let (other, behind, more) = self::frame(Ip::V4, Transport::Udp, 500, 5000);
        rig[A].tun.inner.frames.push_back((other, behind));
        rig.settle();
        // They are of two flows, which take turns.
        let (tcp, udp): (Vec<_>, Vec<_>) = rig[B].delivered().into_iter().partition(|packet| packet[9] == 6);
        assert_eq!((tcp, udp), (packets, more), "{segment} {payload}");
    }
    assert_eq!(rig.drops(A), 0);
}

#[test]
fn a_frame_of_64_kib_leaves_in_one_run_unless_others_wait() {
    for (ip, mtu, header) in [(Ip::V4, 1420, 40), (Ip::V6, 1420, 60), (Ip::V4, 1280, 40), (Ip::V6, 1280, 60)]
    {
        let mut rig = pair(mtu);
        let segment = u16::try_from(mtu - header).unwrap();
        let (frame, offload, packets) = frame(ip, Transport::Tcp, segment, 65_535 - 2 * header);
        let sealed: usize =
            packets.iter().map(|packet| packet.len().next_multiple_of(16).min(mtu) + 32).sum();
        assert!(sealed > 1 << 16, "it is longer than what leaves in one message: {sealed}");

        rig[A].udp.runs.clear();
        rig[A].tun.inner.frames.push_back((frame.clone(), offload));
        rig.settle();
        assert_eq!(rig[A].udp.runs, [sealed], "{ip:?} {mtu}");
        assert_eq!(rig[B].delivered(), packets);
        assert_eq!(rig[B].tun.inner.frames_written, 1, "and is one frame again");

        // Where another waits behind it the rest leaves with that.
        rig[A].udp.runs.clear();
        (0..2).for_each(|_| rig[A].tun.inner.frames.push_back((frame.clone(), offload)));
        rig.settle();
        assert_eq!(rig[A].udp.runs.iter().sum::<usize>(), 2 * sealed);
        assert!(rig[A].udp.runs.len() <= 3, "{:?}", rig[A].udp.runs);
        assert!(rig[A].udp.runs[0] <= 1 << 16);
        assert_eq!(rig[B].delivered().len(), 2 * packets.len());
        assert_eq!((rig.drops(A), rig.drops(B)), (0, 0));
    }
}

#[test]
fn a_frame_of_too_many_packets_for_one_slab_loses_none() {
    let mut rig = pair(576);
    let (frame, offload, packets) = frame(Ip::V4, Transport::Tcp, 536, 65_000);
    rig[A].udp.runs.clear();
    rig[A].tun.inner.frames.push_back((frame, offload));
    rig.settle();
    assert_eq!(rig[A].udp.runs.len(), 2, "{:?}", rig[A].udp.runs);
    assert_eq!(rig[B].delivered(), packets);
}

#[test]
fn a_lone_packet_gets_its_checksum() {
    // As a kernel leaves it to be done, whether it is short or long.
    let mut rig = pair(1420);
    for (ip, transport) in EVERY {
        for payload in [0, 1, 7, 300, 1340, 5000, 20_001] {
            let example = Example::new(ip, transport, payload);
            let offload = Offload { checksum: Some(example.checksum()), segmentation: None };
            rig[A].tun.inner.frames.push_back((example.frame(), offload));
            rig.settle();
            assert_eq!(rig[B].delivered(), [example.packet()]);
        }
    }
}

#[test]
fn frames_wait_for_a_session_as_packets() {
    let mut rig = pair(1420);
    rig.pass(seconds(200));
    for (ip, transport) in EVERY {
        rig.pass(seconds(200));
        rig[B].delivered();
        let (frame, offload, packets) = frame(ip, transport, 1000, 20_000);
        rig[A].tun.inner.frames.push_back((frame, offload));
        let example = Example::new(ip, transport, 600);
        let lone = Offload { checksum: Some(example.checksum()), segmentation: None };
        rig[A].tun.inner.frames.push_back((example.frame(), lone));
        rig.settle();
        assert_eq!(rig[B].delivered(), [packets, vec![example.packet()]].concat(), "{ip:?} {transport:?}");
    }
}

#[test]
fn frames_of_two_peers_and_packets_between_them_keep_their_order() {
    let mut rig = pair(1420);
    let mut expected = [vec![], vec![]];
    for round in 0..40_u8 {
        for (at, end) in [(0, B), (1, C)] {
            let host = u8::try_from(end + 1).unwrap();
            let payload = usize::from(round) * 157 % 9000 + 1;
            let example = Example::new(Ip::V4, Transport::Tcp, payload)
                .with(|example| (example.hosts, example.ports) = ([1, host], [u16::from(round) % 3, 80]));
            let (frame, offload) = (example.frame(), example.offload(1000));
            expected[at].extend(split(&frame, &offload).unwrap());
            rig[A].tun.inner.frames.push_back((frame, offload));
            if round % 3 == 0 {
                rig.run(A);
            }
        }
    }
    rig.settle();
    for (end, expected) in [B, C].into_iter().zip(expected) {
        let delivered = rig[end].delivered();
        for port in 0..3_u8 {
            let of = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                packets.iter().filter(|packet| packet[21] == port).cloned().collect()
            };
            assert_eq!(of(&delivered), of(&expected), "flow {port} to {end}");
        }
        assert_eq!(delivered.len(), expected.len());
    }
}

#[test]
fn a_frame_whose_headers_are_not_what_was_said_dies_alone() {
    let mut rig = pair(1420);
    let (frame, offload, packets) = frame(Ip::V4, Transport::Tcp, 1000, 5000);
    let mut wrong = frame.clone();
    wrong[9] = 17;
    for frame in [frame.clone(), wrong, frame] {
        rig[A].tun.inner.frames.push_back((frame, offload));
    }
    rig.settle();
    assert_eq!(rig[B].delivered(), [packets.clone(), packets].concat());
    assert_eq!((rig[A].dropped(DropReason::OutMalformedFrame), rig.drops(A)), (1, 1));
}

#[test]
fn a_frame_that_goes_nowhere_is_as_many_drops_as_packets() {
    let mut rig = pair(1420);
    let example = Example::new(Ip::V4, Transport::Tcp, 5000).with(|example| example.hosts = [1, 99]);
    rig[A].tun.inner.frames.push_back((example.frame(), example.offload(1000)));
    rig.settle();
    assert_eq!((rig[A].dropped(DropReason::NoPeerForDestination), rig.drops(A)), (5, 5));
}

#[test]
fn frames_of_middle_size_leave_room_for_what_is_left_of_the_last() {
    // Of some ten frames each, so many batches are under way that there is a slab for nothing else.
    let mut rig = pair(1420);
    let mut expected = Vec::new();
    for _ in 0..400 {
        let (frame, offload, packets) = frame(Ip::V4, Transport::Udp, 1000, 7000);
        rig[A].tun.inner.frames.push_back((frame, offload));
        expected.extend(packets);
    }
    let now = rig.now;
    let End { device, lane, tun, udp, .. } = &mut rig[A];
    lane.readable(true, true);
    let mut io = LaneIo { device, lane, tun, udp, now };
    let mut held = Vec::new();
    while let Some(batch) = io.poll_tun() {
        held.push(batch);
    }
    assert!(held.len() > 5);
    io.crypt(&mut held);
    held.into_iter().for_each(|batch| io.send_udp(batch));
    rig.settle();
    assert_eq!(rig.drops(A), 0);
    assert!(rig[B].delivered() == expected);
}

#[test]
fn a_frame_that_the_host_refuses_is_written_packet_by_packet() {
    let mut rig = pair(1420);
    let (frame, offload, packets) = frame(Ip::V6, Transport::Udp, 800, 8000);
    rig[B].tun.write_errors.push_back(IoError::Transient(22));
    rig[A].tun.inner.frames.push_back((frame, offload));
    rig.settle();
    assert_eq!(rig[B].delivered(), packets);
    assert_eq!((rig[B].tun.inner.frames_written, rig.drops(B)), (0, 0));
    assert_eq!(rig.traffic(B, A).0, rig.traffic(A, B).1, "each packet is counted once");
}

#[test]
fn a_checksum_that_is_wrong_is_for_the_receiver_to_see() {
    // Merging would declare it right (defect 26).
    let mut rig = pair(1420);
    let mut packets: Vec<_> =
        Example::new(Ip::V4, Transport::Tcp, 700).run(9).iter().map(Example::packet).collect();
    packets[4][60] ^= 1;
    rig[A].tun.inner.outgoing.extend(packets.clone());
    rig.settle();
    assert_eq!(rig[B].delivered(), packets);
    assert_eq!(rig[B].tun.inner.frames_written, 2);
}

#[test]
fn congestion_outside_is_told_inside_a_merged_frame() {
    // C98: a traffic class is no part of the checksum of IPv6, and the sum that the cipher made is.
    for ip in [Ip::V4, Ip::V6] {
        let mut rig = pair(1420);
        let examples = Example::new(ip, Transport::Tcp, 900).run(8);
        rig.sent();
        rig.network.cut(true);
        rig[A].tun.inner.outgoing.extend(examples.iter().map(Example::packet));
        rig.settle();
        rig.network.cut(false);
        for mut datagram in rig.sent() {
            datagram.tos = 3;
            rig.network.inject(datagram);
        }
        rig.settle();
        let marked: Vec<_> = examples.iter().map(|example| example.with(|e| e.tos |= 3).packet()).collect();
        assert_eq!(rig[B].delivered(), marked);
        assert_eq!(rig[B].tun.inner.frames_written, 1);
    }
}

#[test]
fn a_train_of_two_sessions_is_told_apart_and_keeps_its_order() {
    // Datagrams of B and C behind one address, and of two sessions of one peer, in one train (C68).
    let mut rig = pair(1420);
    let numbered = |count: usize, host: u8| -> Vec<Vec<u8>> {
        let first = Example::new(Ip::V4, Transport::Udp, 200).with(|example| example.hosts = [host, 1]);
        first.run(count).iter().map(Example::packet).collect()
    };
    rig.sent();
    rig.network.cut(true);
    for (end, host) in [(B, 2), (C, 3)] {
        rig[end].tun.inner.outgoing.extend(numbered(20, host));
        rig.run(end);
    }
    let mut datagrams = rig.sent();
    rig.network.cut(false);
    let of_c = datagrams.split_off(20);
    // One from each in turn, all from one address: the second peer has roamed there, so to say.
    let from = datagrams[0].from;
    for pair in datagrams.into_iter().zip(of_c) {
        for mut datagram in [pair.0, pair.1] {
            datagram.from = from;
            rig.network.inject(datagram);
        }
    }
    rig.settle();
    let delivered = rig[A].delivered();
    for host in [2, 3] {
        let own: Vec<_> = delivered.iter().filter(|packet| packet[15] == host).cloned().collect();
        assert_eq!(own, numbered(20, host));
    }
    assert_eq!(rig.drops(A), 0);
}

#[test]
fn odd_mtus_carry_frames() {
    // From the least to the most, the padding never beyond the MTU (C65).
    for mtu in [576, 577, 1279, 1280, 1281, 1419, 1500, 9000, 65_535] {
        let mut rig = pair(mtu);
        for (ip, transport) in EVERY {
            let headers = Example::new(ip, transport, 0).header_len();
            let segment = u16::try_from((mtu - headers).min(60_000)).unwrap();
            let (frame, offload, packets) = frame(ip, transport, segment, 65_000);
            rig[A].tun.inner.frames.push_back((frame, offload));
            rig.settle();
            assert_eq!(rig[B].delivered(), packets, "{mtu} {ip:?} {transport:?}");
        }
        let longest = rig.sent_lengths().into_iter().max().unwrap();
        assert!(longest <= mtu + 32, "{longest} at {mtu}");
        assert_eq!(rig.drops(A), 0);
    }
}

#[test]
fn completed_by_hand_is_completed_by_the_tunnel() {
    // The reference of these tests against that of RFC 1071.
    let example = Example::new(Ip::V4, Transport::Udp, 77);
    let mut packet = example.frame();
    complete(&mut packet, example.checksum());
    assert!(is_right(&packet));
}
