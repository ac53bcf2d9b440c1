//! Packets that were merged and split are the packets, and a frame that was split and merged is the frame; whatever they are.

use proptest::prelude::*;
use wg_datapath::{Coalescer, Sum};

use super::example::{
    ACK, ALL, CWR, ECE, EVERY, Example, FIN, Ip, PSH, SYN, Transport, complete, is_right, merge, split,
};

/// What is wrong with a packet, beyond its fields.
#[derive(Clone, Copy, Debug)]
enum Twist {
    None,
    /// A byte is another, and the checksums stay.
    Byte(usize, u8),
    /// It ends here.
    Cut(usize),
    /// A field of 0.
    NoChecksum,
}

/// The next packets of one flow.
#[derive(Clone, Debug)]
struct Run {
    flow: usize,
    count: usize,
    size: usize,
    /// A change of the last of them, which stays for the flow or not.
    change: u8,
    twist: Twist,
}

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        6 => Just(Twist::None),
        1 => (0..120_usize, 1..=255_u8).prop_map(|(at, mask)| Twist::Byte(at, mask)),
        1 => (0..100_usize).prop_map(Twist::Cut),
        1 => Just(Twist::NoChecksum),
    ]
}

fn run(flows: usize) -> impl Strategy<Value = Run> {
    let size = prop_oneof![Just(100_usize), Just(99), 0..40_usize, Just(1400)];
    (0..flows, 1..6_usize, size, 0..60_u8, twist()).prop_map(|(flow, count, size, change, twist)| Run {
        flow,
        count,
        size,
        change,
        twist,
    })
}

fn change(example: &mut Example, change: u8) {
    match change {
        0 => example.flags |= PSH,
        1 => example.flags |= FIN,
        2 => example.flags |= CWR,
        3 => example.flags ^= ECE,
        4 => example.flags |= SYN,
        5 => example.fragment ^= 0x2000,
        6 => example.fragment ^= 3,
        7 => example.fragment ^= 0x4000,
        8 => example.extra = if example.extra.is_empty() { vec![1, 0, 1, 4, 0, 0, 0, 0] } else { Vec::new() },
        9 => example.options = if example.options.is_empty() { vec![1; 12] } else { Vec::new() },
        10 => example.ack += 1,
        11 => example.window += 1,
        12 => example.sequence = example.sequence.wrapping_sub(1),
        13 => example.id = example.id.wrapping_sub(1),
        14 => example.tos ^= 1,
        15 => example.ttl ^= 1,
        16 => example.label ^= 1,
        17 => example.payload.truncate(7),
        18 => example.payload.clear(),
        19 => example.urgent ^= 1,
        20 => example.reserved ^= 2,
        _ => {}
    }
}

const NO_FLOW: usize = 64;

/// A batch: packets, each with the number of its flow.
fn batch(runs: Vec<Run>) -> Vec<(usize, Vec<u8>)> {
    let mut flows: Vec<Example> = (0..NO_FLOW)
        .map(|number| {
            let (ip, transport) = EVERY[number % 4];
            Example::new(ip, transport, 0).with(|example| {
                example.ports[0] += u16::try_from(number).unwrap();
                example.hosts[0] = u8::try_from(number / 16).unwrap();
                example.id = 0xfff0;
                example.sequence = u32::MAX - 2000;
            })
        })
        .collect();
    let mut packets = Vec::new();
    for run in runs {
        let flow = &mut flows[run.flow];
        for at in 0..run.count {
            flow.payload = (0..run.size).map(|n| u8::try_from((n * 7 + at) % 256).unwrap()).collect();
            flow.flags &= ACK | ECE;
            let is_last = at + 1 == run.count;
            if is_last {
                change(flow, run.change);
            }
            let mut packet = flow.packet();
            match run.twist {
                Twist::Byte(at, mask) if is_last && at < packet.len() => packet[at] ^= mask,
                Twist::Cut(at) if is_last => packet.truncate(at),
                Twist::NoChecksum => {
                    let field = flow.checksum().start + flow.checksum().offset;
                    packet[field..field + 2].fill(0);
                }
                _ => {}
            }
            // One that shows another flow, or none, is of none.
            let shown = if flow.ip == Ip::V4 { [0..1, 9..10, 12..24] } else { [0..1, 6..7, 8..44] };
            let right = flow.packet();
            let is_shown = shown.into_iter().all(|bytes| packet.get(bytes.clone()) == right.get(bytes));
            packets.push((if is_shown { run.flow } else { NO_FLOW }, packet));
            *flow = flow.next();
        }
    }
    packets.truncate(128);
    packets
}

/// Everything that must hold for a batch; returns how many frames it makes.
fn check(plan: &mut Coalescer, batch: &[(usize, Vec<u8>)]) -> Result<usize, TestCaseError> {
    let packets: Vec<Vec<u8>> = batch.iter().map(|(_, packet)| packet.clone()).collect();
    let merged = merge(plan, ALL, &packets);
    let firsts: Vec<usize> = merged.iter().map(|(numbers, ..)| numbers[0]).collect();
    prop_assert!(firsts.is_sorted(), "groups come in the order of their first packets");
    let mut order: Vec<usize> = merged.iter().flat_map(|(numbers, ..)| numbers.iter().copied()).collect();
    for flow in 0..NO_FLOW {
        prop_assert!(order.iter().filter(|at| batch[**at].0 == flow).is_sorted(), "order within flow {flow}");
    }
    order.sort_unstable();
    prop_assert!(order.iter().copied().eq(0..packets.len()), "every packet is there once");
    for (numbers, frame, offload) in &merged {
        prop_assert!(frame.len() <= 65_535);
        if let Some(checksum) = offload.checksum {
            let mut whole = frame.clone();
            complete(&mut whole, checksum);
            prop_assert!(is_right(&whole), "a frame has the sum of its pseudo header");
        }
        let again = split(frame, offload).unwrap();
        let expected: Vec<Vec<u8>> = numbers.iter().map(|at| packets[*at].clone()).collect();
        prop_assert_eq!(again, expected);
    }
    Ok(merged.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn merged_and_split_are_the_packets(
        few in prop::collection::vec(run(4), 0..40),
        many in prop::collection::vec(run(64), 0..100),
    ) {
        let mut plan = Coalescer::default();
        check(&mut plan, &batch(few))?;
        check(&mut plan, &batch(many))?;
    }

    #[test]
    fn split_and_merged_is_the_frame(
        kind in 0..4_usize,
        size in prop_oneof![1..200_u16, Just(1448_u16)],
        segments in 2..=128_usize,
        missing in any::<u16>(),
        (id, sequence, tos, flags) in (any::<u16>(), any::<u32>(), any::<u8>(), 0..8_u8),
        options in 0..=10_usize,
        seed in any::<u8>(),
    ) {
        let (ip, transport) = EVERY[kind];
        let segments = segments.min(64_000 / usize::from(size));
        let len = segments * usize::from(size) - usize::from(missing % size);
        let frame = Example::new(ip, transport, len).with(|example| {
            (example.id, example.sequence, example.tos) = (id, sequence, tos);
            example.flags = ACK | [0, FIN, PSH, ECE][usize::from(flags % 4)] | [0, PSH][usize::from(flags / 4)];
            example.options = vec![1; options * 4];
            example.payload.iter_mut().for_each(|byte| *byte = byte.wrapping_add(seed));
        });
        let offload = frame.offload(size);
        let packets = split(&frame.frame(), &offload).unwrap();
        prop_assert_eq!(packets.len(), segments);
        prop_assert!(packets.iter().all(|packet| is_right(packet)));
        let merged = merge(&mut Coalescer::default(), ALL, &packets);
        prop_assert_eq!(merged, [((0..segments).collect(), frame.frame(), offload)]);
    }

    #[test]
    fn no_bytes_panic(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..20)) {
        let mut plan = Coalescer::default();
        plan.clear(ALL);
        for packet in &packets {
            prop_assert!(plan.push(packet, Sum::of(packet)));
        }
        prop_assert_eq!(plan.groups().map(|group| group.packets().count()).sum::<usize>(), packets.len());
    }
}

#[test]
fn what_is_checked_is_often_merged() {
    // So that the properties are not about packets that stay alone.
    let runs = (0..32).map(|at| Run { flow: at % 4, count: 4, size: 100, change: 60, twist: Twist::None });
    let frames = check(&mut Coalescer::default(), &batch(runs.collect())).unwrap();
    assert_eq!(frames, 4);
}

#[test]
fn flows_that_share_a_bucket_keep_their_order() {
    // More flows than the table has places, twice over.
    let mut packets = Vec::new();
    for round in 0..2_u32 {
        for port in 0..64_u16 {
            let example = Example::new(Ip::V4, Transport::Tcp, 10).with(|example| {
                example.ports[1] += 257 * port;
                example.id = u16::try_from(round).unwrap();
                example.sequence = 10 * round;
            });
            packets.push((usize::from(port), example.packet()));
        }
    }
    let frames = check(&mut Coalescer::default(), &packets).unwrap();
    assert!((64..128).contains(&frames), "most of them find each other: {frames}");
}
