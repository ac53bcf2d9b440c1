//! The rules one by one, and any sequence of operations against plain queues.

extern crate std;
use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use super::store::{CLASSES, class_for};
use super::*;

fn peer(slot: u32) -> PeerSlot {
    PeerSlot::new(slot)
}

fn nth(at: usize) -> PeerSlot {
    peer(u32::try_from(at).unwrap())
}

fn drain(staged: &mut StagedPool, peer: PeerSlot) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(packet) = staged.front(peer) {
        packets.push(packet.to_vec());
        staged.pop_front(peer);
    }
    packets
}

fn numbered(number: usize) -> [u8; 8] {
    (number as u64).to_be_bytes()
}

#[test]
fn of_a_thousand_packets_the_last_128_remain_in_order() {
    // C70
    let mut staged = StagedPool::new(1 << 20);
    let mut dropped = 0;
    for number in 0..1000 {
        dropped += staged.push(peer(0), &numbered(number)).dropped;
    }
    assert_eq!((staged.len(peer(0)), dropped), (128, 872));
    let expected: Vec<_> = (872..1000).map(|number| numbered(number).to_vec()).collect();
    assert_eq!(drain(&mut staged, peer(0)), expected);
    assert!(staged.is_empty());
}

#[test]
fn packets_come_back_to_the_front_in_order() {
    // C55
    let mut staged = StagedPool::new(1 << 20);
    for number in 0..5 {
        let _ = staged.push(peer(0), &numbered(number));
    }
    let taken: Vec<_> =
        (0..3).map(|_| (staged.front(peer(0)).unwrap().to_vec(), staged.pop_front(peer(0)))).collect();
    let _ = staged.push(peer(0), &numbered(5));
    for (packet, _) in taken.iter().rev() {
        assert!(staged.push_front(peer(0), packet).stored);
    }
    let expected: Vec<_> = (0..6).map(|number| numbered(number).to_vec()).collect();
    assert_eq!(drain(&mut staged, peer(0)), expected);
}

#[test]
fn a_packet_returned_to_a_full_queue_is_the_oldest_and_goes() {
    let mut staged = StagedPool::new(1 << 20);
    for number in 0..128 {
        let _ = staged.push(peer(0), &numbered(number));
    }
    let returned = staged.push_front(peer(0), &[9]);
    assert_eq!(returned, Pushed { stored: false, dropped: 1, evicted: None });
    assert_eq!((staged.len(peer(0)), staged.front(peer(0))), (128, Some(&numbered(0)[..])));
}

#[test]
fn full_memory_costs_the_longest_queue_its_oldest() {
    let mut staged = StagedPool::new(8 * 256);
    for number in 0..5 {
        let _ = staged.push(peer(1), &numbered(number));
    }
    for number in 0..3 {
        let _ = staged.push(peer(2), &numbered(number));
    }
    assert_eq!(staged.push(peer(3), &[1]), Pushed { stored: true, dropped: 1, evicted: Some(peer(1)) });
    assert_eq!(staged.push(peer(2), &[1]), Pushed { stored: true, dropped: 1, evicted: Some(peer(1)) });
    assert_eq!(staged.push(peer(2), &[1]), Pushed { stored: true, dropped: 1, evicted: Some(peer(2)) });
    assert_eq!([1, 2, 3].map(|slot| staged.len(peer(slot))), [3, 4, 1]);
    assert_eq!(staged.front(peer(1)), Some(&numbered(2)[..]));
    // Returned to a queue that is not the longest, a packet displaces; returned to the longest, it goes.
    assert_eq!(staged.push_front(peer(3), &[0]), Pushed { stored: true, dropped: 1, evicted: Some(peer(2)) });
    assert_eq!(staged.push_front(peer(1), &[0]), Pushed { stored: false, dropped: 1, evicted: None });
    assert_eq!([1, 2, 3].map(|slot| staged.len(peer(slot))), [3, 3, 2]);
}

#[test]
fn among_equals_the_queue_that_waited_longest_loses() {
    let mut staged = StagedPool::new(4 * 256);
    for slot in [4, 2, 9, 1] {
        let _ = staged.push(peer(slot), &[0]);
    }
    let losers: Vec<_> = (20..24).map(|slot| staged.push(peer(slot), &[0]).evicted.unwrap().get()).collect();
    assert_eq!(losers, [4, 2, 9, 1]);
}

#[test]
fn a_packet_that_can_never_fit_displaces_nobody() {
    let mut staged = StagedPool::new(4096);
    let _ = staged.push(peer(0), &[1]);
    for len in [2049, 5000, 65_536, 65_537, 1 << 20] {
        let refused = Pushed { stored: false, dropped: 1, evicted: None };
        assert_eq!(staged.push(peer(1), &std::vec![0; len]), refused);
        assert_eq!(staged.push_front(peer(1), &std::vec![0; len]), refused);
    }
    assert_eq!((staged.packets(), staged.front(peer(0))), (1, Some(&[1][..])));
}

#[test]
fn the_longest_packet_is_kept_whole() {
    let mut staged = StagedPool::new(64 << 10);
    let packet: Vec<u8> = (0..65_535_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert!(staged.push(peer(0), &packet).stored);
    assert_eq!(staged.front(peer(0)), Some(&packet[..]));
    assert_eq!(staged.push(peer(1), &packet[1..]).evicted, Some(peer(0)));
    assert_eq!(staged.front(peer(1)), Some(&packet[1..]));
}

#[test]
fn memory_moves_between_sizes_and_stays_bounded() {
    let max = 64 << 10;
    let mut staged = StagedPool::new(max);
    let tables = staged.memory_bytes();
    for len in [200, 60_000, 1500, 9000, 1, 40_000] {
        for slot in 0..300 {
            assert!(staged.push(peer(slot), &std::vec![7; len]).stored);
            assert!(staged.memory_bytes() <= tables + max + 600 * size_of::<Queue>());
        }
        assert_eq!(staged.packets(), (max / CLASSES[class_for(len).unwrap()]).min(300));
    }
    let before = staged.packets();
    assert_eq!((staged.clear_all(), staged.packets()), (before, 0));
    let held = staged.memory_bytes();
    staged.release_unused();
    assert_eq!(held - staged.memory_bytes(), 64 << 10);
}

#[test]
fn steady_traffic_reuses_its_chunks() {
    let mut staged = StagedPool::new(1 << 20);
    let mut places = std::collections::HashSet::new();
    for round in 0..100 {
        for number in 0..8 {
            let _ = staged.push(peer(round % 3), &std::vec![1; 100 + 400 * (number % 2)]);
            places.insert(staged.front(peer(round % 3)).unwrap().as_ptr());
        }
        assert_eq!(staged.clear(peer(round % 3)), 8);
    }
    let steady = staged.memory_bytes();
    let _ = staged.push(peer(0), &[1; 100]);
    assert_eq!(staged.memory_bytes(), steady);
    assert!(places.len() <= 8, "{} chunks", places.len());
}

#[test]
fn unknown_peers_have_nothing() {
    let mut staged = StagedPool::new(4096);
    assert_eq!((staged.len(peer(5)), staged.front(peer(5))), (0, None));
    assert!(!staged.pop_front(peer(5)));
    assert_eq!((staged.clear(peer(5)), staged.clear_all()), (0, 0));
    assert!(staged.push(peer(5), &[]).stored);
    assert_eq!((staged.front(peer(5)), staged.len(peer(4))), (Some(&[][..]), 0));
}

/// Plain queues under the same rules.
#[derive(Default)]
struct Model {
    queues: [VecDeque<Vec<u8>>; PEERS],
    /// When each queue got its present length.
    since: [usize; PEERS],
    clock: usize,
}

const PEERS: usize = 5;

impl Model {
    fn used(&self) -> usize {
        self.queues.iter().flatten().map(|packet| CLASSES[class_for(packet.len()).unwrap()]).sum()
    }

    fn longest(&self) -> usize {
        (0..PEERS).max_by_key(|&at| (self.queues[at].len(), usize::MAX - self.since[at])).unwrap()
    }

    fn changed(&mut self, at: usize) {
        self.clock += 1;
        self.since[at] = self.clock;
    }

    fn pop(&mut self, at: usize) -> bool {
        let popped = self.queues[at].pop_front().is_some();
        self.changed(at);
        popped
    }

    fn push(&mut self, at: usize, packet: Vec<u8>, front: bool, max: usize) -> Pushed {
        let mut pushed = Pushed::default();
        let Some(size) = class_for(packet.len()).map(|class| CLASSES[class]).filter(|&size| size <= max)
        else {
            return Pushed { dropped: 1, ..pushed };
        };
        if self.queues[at].len() == 128 {
            if front {
                return Pushed { dropped: 1, ..pushed };
            }
            self.pop(at);
            pushed = Pushed { dropped: 1, evicted: Some(nth(at)), ..pushed };
        }
        while self.used() + size > max {
            let longest = self.longest();
            if front && self.queues[longest].len() == self.queues[at].len() {
                return Pushed { dropped: pushed.dropped + 1, ..pushed };
            }
            self.pop(longest);
            pushed.dropped += 1;
            pushed.evicted = Some(nth(longest));
        }
        if front {
            self.queues[at].push_front(packet)
        } else {
            self.queues[at].push_back(packet)
        }
        self.changed(at);
        Pushed { stored: true, ..pushed }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize, usize),
    PushFront(usize, usize),
    Pop(usize),
    Clear(usize),
    ClearAll,
    ReleaseUnused,
    /// A burst of small packets, to reach the limit of a peer.
    Burst(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![6 => 0..300_usize, 3 => 300..3000_usize, 1 => 3000..70_000_usize];
    let at = 0..PEERS;
    prop_oneof![
        12 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Push(at, len)),
        4 => (at.clone(), len).prop_map(|(at, len)| Op::PushFront(at, len)),
        6 => at.clone().prop_map(Op::Pop),
        1 => at.clone().prop_map(Op::Burst),
        1 => at.prop_map(Op::Clear),
        1 => prop_oneof![4 => Just(Op::ReleaseUnused), 1 => Just(Op::ClearAll)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_sequence_matches_plain_queues(
        max in prop_oneof![Just(2000_usize), Just(20_000), Just(100_000), Just(400_000)],
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let (mut staged, mut model) = (StagedPool::new(max), Model::default());
        let mut number = 0_u8;
        for op in ops {
            let mut packet = |len| { number = number.wrapping_add(1); std::vec![number; len] };
            match op {
                Op::Push(to, len) => {
                    let packet = packet(len);
                    prop_assert_eq!(staged.push(nth(to), &packet), model.push(to, packet, false, max));
                }
                Op::PushFront(to, len) => {
                    let packet = packet(len);
                    prop_assert_eq!(staged.push_front(nth(to), &packet), model.push(to, packet, true, max));
                }
                Op::Burst(to) => for _ in 0..100 {
                    let packet = packet(9);
                    prop_assert_eq!(staged.push(nth(to), &packet), model.push(to, packet, false, max));
                },
                Op::Pop(from) => prop_assert_eq!(staged.pop_front(nth(from)), model.pop(from)),
                Op::Clear(of) => {
                    prop_assert_eq!(staged.clear(nth(of)), core::mem::take(&mut model.queues[of]).len());
                }
                Op::ClearAll => {
                    let all = core::mem::take(&mut model.queues);
                    prop_assert_eq!(staged.clear_all(), all.iter().map(VecDeque::len).sum::<usize>());
                }
                Op::ReleaseUnused => staged.release_unused(),
            }
            for (slot, queue) in (0..).zip(&model.queues) {
                prop_assert_eq!((staged.len(peer(slot)), staged.front(peer(slot))), (queue.len(), queue.front().map(|packet| &packet[..])));
            }
            prop_assert_eq!(staged.packets(), model.queues.iter().map(VecDeque::len).sum::<usize>());
        }
        for (slot, queue) in (0..).zip(model.queues) {
            prop_assert_eq!(drain(&mut staged, peer(slot)), Vec::from(queue));
        }
    }
}
