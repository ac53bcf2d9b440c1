//! Which packets are merged, rule by rule (defect 26).

use wg_datapath::offload::{Offload, TunOffloads};
use wg_datapath::{Coalescer, MAX_MERGED, Sum};

use super::example::{
    ACK, ALL, CWR, ECE, EVERY, Example, FIN, Ip, PSH, RST, SYN, Transport, URG, complete, groups, groups_of,
    merge,
};

const APART: [&[usize]; 2] = [&[0], &[1]];

fn flow(ip: Ip, transport: Transport) -> Example {
    Example::new(ip, transport, 100)
}

#[test]
fn packets_that_follow_each_other_become_the_frame_that_was_split() {
    for (ip, transport) in EVERY {
        let whole = flow(ip, transport).with(|example| {
            example.payload = (0..=255).cycle().take(443).collect();
            example.options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        });
        let mut packets = Vec::new();
        let mut next = whole.clone();
        for piece in whole.payload.chunks(100) {
            next.payload = piece.to_vec();
            packets.push(next.packet());
            next = next.next();
        }
        let merged = merge(&mut Coalescer::default(), ALL, &packets);
        assert_eq!(merged, [(vec![0, 1, 2, 3, 4], whole.frame(), whole.offload(100))]);
    }
}

#[test]
fn packets_of_different_flows_or_headers_stay_apart() {
    type Change = (&'static str, fn(&mut Example));
    let any: [Change; 7] = [
        ("source", |example| example.hosts[0] = 9),
        ("destination", |example| example.hosts[1] = 9),
        ("source port", |example| example.ports[0] += 1),
        ("destination port", |example| example.ports[1] += 1),
        ("DSCP", |example| example.tos ^= 0x80),
        ("ECN", |example| example.tos ^= 1),
        ("TTL", |example| example.ttl += 1),
    ];
    let v4: [Change; 4] = [
        ("DF", |example| example.fragment = 0),
        ("reserved bit", |example| example.fragment |= 0x8000),
        ("identification that stays", |example| example.id -= 1),
        ("identification that jumps", |example| example.id += 1),
    ];
    let v6: [Change; 1] = [("flow label", |example| example.label += 1)];
    let tcp: [Change; 12] = [
        ("gap", |example| example.sequence += 1),
        ("overlap", |example| example.sequence -= 1),
        ("acknowledgment", |example| example.ack += 1),
        ("window", |example| example.window += 1),
        ("urgent pointer", |example| example.urgent = 1),
        ("reserved bits", |example| example.reserved = 1),
        ("ECE", |example| example.flags |= ECE),
        ("no ACK", |example| example.flags &= !ACK),
        ("timestamp", |example| example.options[7] += 1),
        ("length of options", |example| example.options.truncate(8)),
        ("no options", |example| example.options.clear()),
        ("protocol", |example| example.transport = Transport::Udp),
    ];
    for (ip, transport) in EVERY {
        let first =
            flow(ip, transport).with(|example| example.options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(groups(&[first.clone(), first.next()]), [[0, 1]]);
        let own = if ip == Ip::V4 { &v4[..] } else { &v6 };
        let of_transport = if transport == Transport::Tcp { &tcp[..] } else { &[] };
        for (what, change) in any.iter().chain(own).chain(of_transport) {
            assert_eq!(groups(&[first.clone(), first.next().with(change)]), APART, "{what}");
        }
    }
}

#[test]
fn without_df_packets_are_merged_as_well() {
    let first = flow(Ip::V4, Transport::Udp).with(|example| example.fragment = 0);
    assert_eq!(groups(&first.run(3)), [[0, 1, 2]]);
}

#[test]
fn the_fields_that_count_wrap_around() {
    let first = flow(Ip::V4, Transport::Tcp).with(|example| {
        example.id = 0xfffe;
        example.sequence = u32::MAX - 120;
    });
    assert_eq!(groups(&first.run(4)), [[0, 1, 2, 3]]);
}

#[test]
fn a_shorter_packet_ends_the_group_and_a_longer_one_begins_the_next() {
    for (ip, transport) in EVERY {
        let size = |example: &Example, len: usize| example.next().with(|next| next.payload.resize(len, 7));
        let a = flow(ip, transport);
        let b = size(&a, 99);
        let c = size(&b, 99);
        let d = size(&c, 100);
        assert_eq!(groups(&[a, b, c, d]), [&[0, 1][..], &[2], &[3]]);
    }
}

#[test]
fn psh_and_fin_end_the_group_and_stand_on_the_frame() {
    for ip in [Ip::V4, Ip::V6] {
        for last in [PSH, FIN, PSH | FIN] {
            let mut packets = flow(ip, Transport::Tcp).run(5);
            packets[2].flags |= last;
            let bytes: Vec<_> = packets.iter().map(Example::packet).collect();
            let merged = merge(&mut Coalescer::default(), ALL, &bytes);
            assert_eq!(
                merged.iter().map(|(numbers, ..)| &numbers[..]).collect::<Vec<_>>(),
                [&[0, 1, 2][..], &[3, 4]]
            );
            let flags: Vec<_> = merged.iter().map(|(_, frame, _)| frame[packets[0].start() + 13]).collect();
            assert_eq!(flags, [ACK | last, ACK]);
        }
    }
}

#[test]
fn a_first_packet_with_psh_stays_alone() {
    let mut packets = flow(Ip::V4, Transport::Tcp).run(3);
    packets[0].flags |= PSH;
    assert_eq!(groups(&packets), [&[0][..], &[1, 2]]);
}

#[test]
fn syn_rst_urg_and_cwr_stay_alone_and_end_the_group() {
    for ip in [Ip::V4, Ip::V6] {
        for flag in [SYN, RST, URG, CWR] {
            let mut packets = flow(ip, Transport::Tcp).run(5);
            packets[2].flags |= flag;
            assert_eq!(groups(&packets), [&[0, 1][..], &[2], &[3, 4]], "{flag}");
            // Where all have it, too.
            packets.iter_mut().for_each(|packet| packet.flags |= flag);
            assert_eq!(groups(&packets).len(), 5, "{flag}");
        }
    }
}

#[test]
fn ece_that_all_have_is_merged() {
    let first = flow(Ip::V6, Transport::Tcp).with(|example| example.flags |= ECE);
    assert_eq!(groups(&first.run(3)), [[0, 1, 2]]);
}

#[test]
fn packets_without_payload_stay_alone_and_end_the_group() {
    for (ip, transport) in EVERY {
        let first = flow(ip, transport);
        let empty = first.next().with(|example| example.payload.clear());
        let then = empty.next().with(|example| example.payload = first.payload.clone());
        assert_eq!(groups(&[first, empty, then.clone(), then.next()]), [&[0][..], &[1], &[2, 3]]);
    }
}

#[test]
fn checksums_that_are_wrong_keep_a_packet_alone_and_end_the_group() {
    for (ip, transport) in EVERY {
        let mut packets: Vec<_> = flow(ip, transport).run(5).iter().map(Example::packet).collect();
        let example = flow(ip, transport);
        let (start, len) = (example.start(), packets[2].len());
        let network = if ip == Ip::V4 { &[1, 5, 8, 10, 11][..] } else { &[] };
        let field = start + example.checksum().offset;
        for at in [start + 4, field, field + 1, example.header_len(), len - 1].iter().chain(network) {
            packets[2][*at] ^= 0x10;
            assert_eq!(groups_of(&packets), [&[0, 1][..], &[2], &[3, 4]], "byte {at}");
            packets[2][*at] ^= 0x10;
        }
    }
}

#[test]
fn a_header_that_is_not_right_is_not_made_up_for_by_the_payload() {
    let mut packets: Vec<_> = flow(Ip::V4, Transport::Udp).run(5).iter().map(Example::packet).collect();
    let apart = [&[0, 1][..], &[2], &[3, 4]];
    let add = |packet: &mut [u8], at: usize, what: u16| {
        let word = u16::from_be_bytes([packet[at], packet[at + 1]]).wrapping_add(what);
        packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
    };
    let right = packets[2].clone();
    // The header checksum one more, the payload one less.
    add(&mut packets[2], 10, 1);
    add(&mut packets[2], 40, u16::MAX);
    assert_eq!(groups_of(&packets), apart);
    // The length one less, its checksum one more.
    packets[2] = right.clone();
    add(&mut packets[2], 2, u16::MAX);
    add(&mut packets[2], 10, 1);
    assert_eq!(groups_of(&packets), apart);
    // Padding that was not trimmed.
    packets[2] = [&right[..], &[0; 4]].concat();
    assert_eq!(groups_of(&packets), apart);
}

#[test]
fn a_header_checksum_of_ffff_keeps_a_packet_alone() {
    // It is right where 0 is, but would come back as 0.
    let first = flow(Ip::V4, Transport::Tcp).with(|example| example.id = 0);
    let missing = u16::from_be_bytes([first.packet()[10], first.packet()[11]]);
    let packets = first.with(|example| example.id = missing - 2).run(5);
    let mut packets: Vec<_> = packets.iter().map(Example::packet).collect();
    assert_eq!(packets[2][10..12], [0, 0]);
    assert_eq!(groups_of(&packets), [[0, 1, 2, 3, 4]]);
    packets[2][10..12].fill(0xff);
    assert_eq!(groups_of(&packets), [&[0, 1][..], &[2], &[3, 4]]);
}

#[test]
fn a_tcp_header_that_is_too_short_keeps_a_packet_alone() {
    for ip in [Ip::V4, Ip::V6] {
        let packets = flow(ip, Transport::Tcp).run(5).into_iter().zip(0_u32..).map(|(example, at)| {
            // The four bytes that are short of a header count as payload.
            let mut packet = example.with(|example| example.sequence += 4 * at).frame();
            packet[example.start() + 12] = 0x40;
            complete(&mut packet, example.checksum());
            packet
        });
        assert_eq!(groups_of(&packets.collect::<Vec<_>>()).len(), 5);
    }
}

#[test]
fn a_checksum_of_zero_keeps_a_packet_alone() {
    // In UDP there is none; in TCP it is right, but would come back as 0xffff.
    for (ip, transport) in EVERY {
        let mut packets = flow(ip, transport).run(5);
        let field = packets[2].checksum().start + packets[2].checksum().offset;
        let bytes = packets[2].packet();
        let checksum = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        // Adds what is missing to a word of the payload.
        let word = u16::from_be_bytes([packets[2].payload[0], packets[2].payload[1]]);
        let (sum, carry) = word.overflowing_add(checksum);
        packets[2].payload[..2].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        let mut bytes: Vec<_> = packets.iter().map(Example::packet).collect();
        assert_eq!(bytes[2][field..field + 2], [0xff, 0xff]);
        assert_eq!(groups_of(&bytes), [[0, 1, 2, 3, 4]]);
        bytes[2][field..field + 2].fill(0);
        assert_eq!(groups_of(&bytes), [&[0, 1][..], &[2], &[3, 4]]);
    }
}

#[test]
fn the_sum_of_the_plaintext_is_believed_with_its_padding() {
    for (ip, transport) in EVERY {
        let packets: Vec<_> = flow(ip, transport).with(|first| first.payload.truncate(77)).run(2);
        let packets: Vec<_> = packets.iter().map(Example::packet).collect();
        let count = |sum: &dyn Fn(&[u8]) -> Sum| {
            let mut plan = Coalescer::default();
            plan.clear(ALL);
            for packet in &packets {
                assert!(plan.push(packet, sum(packet)));
            }
            plan.groups().count()
        };
        assert_eq!(count(&|packet| Sum::of(&[packet, &[0; 13]].concat())), 1);
        assert_eq!(count(&|packet| Sum::of(packet) + Sum::of_word(1)), 2);
        assert_eq!(count(&|_| Sum::default()), 2);
    }
}

#[test]
fn a_udp_length_that_is_not_true_keeps_a_datagram_alone() {
    for ip in [Ip::V4, Ip::V6] {
        let mut packets: Vec<_> = flow(ip, Transport::Udp).run(5).iter().map(Example::packet).collect();
        let start = flow(ip, Transport::Udp).start();
        // The checksum stays right.
        packets[2][start + 5] -= 1;
        let low = packets[2][start + 7];
        packets[2][start + 7] = low.wrapping_add(1);
        if low == 0xff {
            packets[2][start + 6] += 1;
        }
        assert_eq!(groups_of(&packets), [&[0, 1][..], &[2], &[3, 4]]);
    }
}

#[test]
fn what_hides_its_flow_ends_all_groups_between_its_addresses() {
    for (ip, transport) in EVERY {
        let (a, b) = (flow(ip, transport), flow(ip, transport).with(|example| example.ports = [1, 2]));
        let elsewhere = flow(ip, transport).with(|example| example.hosts = [7, 8]);
        let hidden: Vec<Example> = match ip {
            Ip::V4 => vec![
                a.with(|example| example.fragment = 0x2000),
                a.with(|example| example.fragment = 1),
                a.with(|example| example.extra = vec![1; 4]),
            ],
            Ip::V6 => vec![a.with(|example| example.extra = vec![1, 1, 1, 4, 1, 1, 1, 1])],
        };
        for hidden in hidden {
            let batch =
                [&a, &b, &elsewhere, &hidden, &a.next(), &b.next(), &elsewhere.next(), &a.next().next()];
            let expected: [&[usize]; 6] = [&[0], &[1], &[2, 6], &[3], &[4, 7], &[5]];
            assert_eq!(groups(&batch.map(Clone::clone)), expected);
            assert_eq!(groups(&[hidden.clone(), hidden.next()]), APART);
        }
    }
}

#[test]
fn icmp_ends_no_group() {
    for (ip, protocol) in [(Ip::V4, 1), (Ip::V6, 58)] {
        let mut packets: Vec<_> = flow(ip, Transport::Tcp).run(3).iter().map(Example::packet).collect();
        packets[1] = flow(ip, Transport::Udp).packet();
        packets[1][if ip == Ip::V4 { 9 } else { 6 }] = protocol;
        packets[2] = flow(ip, Transport::Tcp).next().packet();
        assert_eq!(groups_of(&packets), [&[0, 2][..], &[1]]);
    }
}

#[test]
fn only_frames_that_can_be_written_are_made() {
    for (ip, transport) in EVERY {
        let packets: Vec<_> = flow(ip, transport).run(3).iter().map(Example::packet).collect();
        let count = |offloads| merge(&mut Coalescer::default(), offloads, &packets).len();
        let own = TunOffloads {
            checksum: true,
            tcp4: (ip, transport) == EVERY[0],
            udp4: (ip, transport) == EVERY[1],
            tcp6: (ip, transport) == EVERY[2],
            udp6: (ip, transport) == EVERY[3],
        };
        let others = TunOffloads {
            checksum: true,
            tcp4: !own.tcp4,
            tcp6: !own.tcp6,
            udp4: !own.udp4,
            udp6: !own.udp6,
        };
        assert_eq!((count(own), count(others)), (1, 3));
        assert_eq!((count(TunOffloads { checksum: false, ..ALL }), count(TunOffloads::default())), (3, 3));
    }
}

#[test]
fn a_single_packet_is_written_as_it_is() {
    for (ip, transport) in EVERY {
        let packet = flow(ip, transport).packet();
        let merged = merge(&mut Coalescer::default(), ALL, core::slice::from_ref(&packet));
        assert_eq!(merged, [(vec![0], packet, Offload::default())]);
    }
}

#[test]
fn a_frame_holds_at_most_65535_bytes() {
    for (ip, transport) in EVERY {
        let room = 65_535 - flow(ip, transport).header_len();
        let size = room / 3 + 1;
        let first = flow(ip, transport).with(|example| example.payload = vec![5; size]);
        let mut packets = first.run(3);
        packets[2].payload.truncate(room - 2 * size);
        assert_eq!(groups(&packets), [[0, 1, 2]]);
        packets[2].payload.push(5);
        assert_eq!(groups(&packets), [&[0, 1][..], &[2]]);
    }
}

#[test]
fn a_batch_holds_128_packets_which_may_be_one_frame() {
    assert_eq!(MAX_MERGED, 128);
    let packets: Vec<_> = flow(Ip::V4, Transport::Udp).run(129).iter().map(Example::packet).collect();
    let mut plan = Coalescer::default();
    assert_eq!(merge(&mut plan, ALL, &packets[..128]).len(), 1);
    assert!(!plan.push(&packets[128], Sum::of(&packets[128])));
    assert_eq!(plan.groups().map(|group| group.packets().count()).collect::<Vec<_>>(), [128]);
}

#[test]
fn interleaved_flows_grow_side_by_side() {
    let flows: Vec<Vec<Example>> = (0..8)
        .map(|port| flow(Ip::V4, Transport::Tcp).with(|example| example.ports[0] += port).run(16))
        .collect();
    let batch: Vec<Example> = (0..128).map(|at| flows[at % 8][at / 8].clone()).collect();
    let expected: Vec<Vec<usize>> = (0..8).map(|first| (0..16).map(|at| first + 8 * at).collect()).collect();
    assert_eq!(groups(&batch), expected);
}

#[test]
fn a_cleared_plan_remembers_nothing() {
    let mut plan = Coalescer::default();
    let first = flow(Ip::V4, Transport::Tcp);
    let hidden = first.with(|example| example.fragment = 0x2000);
    merge(&mut plan, ALL, &[first.packet(), hidden.packet()]);
    let packets: Vec<_> = first.next().run(2).iter().map(Example::packet).collect();
    let merged = merge(&mut plan, ALL, &packets);
    assert_eq!(merged.iter().map(|(numbers, ..)| numbers.clone()).collect::<Vec<_>>(), [[0, 1]]);
    assert_eq!(merge(&mut plan, ALL, &[]), []);

    // Nor does what hides a flow elsewhere bring back what hid one here.
    let elsewhere = hidden.with(|example| example.hosts = [7, 8]);
    let merged = merge(&mut plan, ALL, &[first.packet(), elsewhere.packet(), first.next().packet()]);
    assert_eq!(merged.iter().map(|(numbers, ..)| &numbers[..]).collect::<Vec<_>>(), [&[0, 2][..], &[1]]);
}

#[test]
fn frames_are_written_into_enough_room_and_from_the_same_packets_only() {
    let packets: Vec<_> = flow(Ip::V6, Transport::Udp).run(3).iter().map(Example::packet).collect();
    let mut plan = Coalescer::default();
    merge(&mut plan, ALL, &packets);
    let group = plan.groups().next().unwrap();
    let mut out = vec![0; group.frame_len() + 5];
    assert_eq!(group.write(|at| &packets[at], &mut out), Some(348));
    assert_eq!(group.write(|at| &packets[at], &mut out[..347]), None);
    assert_eq!(group.write(|at| &packets[at][..at + 146], &mut out), None);
    assert_eq!(group.write(|_| &[], &mut out), None);
    assert_eq!(group.header_len(), 48);
    assert!(group.write_header(&mut out[..48]));
    assert!(!group.write_header(&mut out[..47]));
}
