//! Any sequence of operations beside plain queues; shares, order and delay; a source that reacts, in virtual time.

extern crate std;
use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    id: u32,
    bytes: usize,
    signal: Signal,
    marks: u32,
}

impl Frame {
    fn new(id: u32, bytes: usize) -> Self {
        Self { id, bytes, signal: Signal::Drop, marks: 0 }
    }
}

impl Queued for Frame {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn signal(&mut self) -> Signal {
        self.marks += 1;
        if self.signal == Signal::LostSegment {
            self.bytes -= self.bytes.min(100);
        }
        self.signal
    }
}

fn peer(number: u32) -> PeerSlot {
    PeerSlot::new(number)
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn none(peer: PeerSlot, loss: Loss<Frame>) {
    panic!("{peer:?} lost {loss:?}");
}

fn small(capacity_frames: usize, capacity_bytes: usize) -> IngressQueue<Frame> {
    IngressQueue::new(QueueConfig { capacity_frames, capacity_bytes, ..QueueConfig::default() })
}

fn ids(queue: &mut IngressQueue<Frame>) -> Vec<u32> {
    core::iter::from_fn(|| queue.pop(at(0), &mut none)).map(|popped| popped.frame.id).collect()
}

#[test]
fn frames_of_a_flow_leave_in_order_and_as_they_came() {
    let mut queue = small(8, 1 << 20);
    for id in 0..3 {
        queue.push(Frame::new(id, 1400), peer(5), 77, at(u64::from(id)), &mut none);
    }
    assert_eq!((queue.len(), queue.bytes(), queue.next_peer()), (3, 4200, Some(peer(5))));
    for id in 0..3 {
        let popped = queue.pop(at(9), &mut none).unwrap();
        assert_eq!(
            popped,
            Popped { frame: Frame::new(id, 1400), peer: peer(5), flow: 77, pushed_at: at(u64::from(id)) }
        );
    }
    assert_eq!((queue.pop(at(9), &mut none), queue.next_peer(), queue.is_empty()), (None, None, true));
    assert_eq!((queue.bytes(), queue.high_water()), (0, HighWater { frames: 3, bytes: 4200 }));
}

#[test]
fn memory_that_was_never_needed_is_not_touched() {
    let mut queue = small(64, 1 << 20);
    for id in 0..1000 {
        queue.push(Frame::new(id, 100), peer(id % 2), id % 3, at(0), &mut none);
        queue.push(Frame::new(id, 100), peer(id % 2), id % 3, at(0), &mut none);
        assert_eq!(ids(&mut queue), [id; 2]);
    }
    assert_eq!((queue.entries.len(), queue.peers.touched(), queue.flows.touched()), (2, 2, 6));
    assert_eq!((queue.entries.capacity(), queue.memory_bytes()), (64, small(64, 1 << 20).memory_bytes()));
}

#[test]
fn it_is_full_while_the_largest_frame_might_not_fit() {
    let mut queue = small(3, 200_000);
    queue.push(Frame::new(0, 200_000 - 65_536), peer(0), 0, at(0), &mut none);
    assert!(!queue.is_full());
    queue.push(Frame::new(1, 1), peer(0), 0, at(0), &mut none);
    assert!(queue.is_full(), "in bytes");
    let mut queue = small(3, 200_000);
    for id in 0..3 {
        assert!(!queue.is_full());
        queue.push(Frame::new(id, 1), peer(0), 0, at(0), &mut none);
    }
    assert!(queue.is_full(), "in frames");
    assert!(!small(3, 100).is_full(), "whatever fits an empty one");
}

#[test]
fn the_longest_flow_of_the_largest_peer_makes_room() {
    let mut queue = small(7, 10_000);
    // Peer 0 has the longest flow; peer 1 has more in two.
    let frames =
        [(0, 0, 3050), (1, 0, 1000), (1, 1, 1100), (1, 0, 1000), (1, 1, 1000), (2, 0, 10), (2, 1, 10)];
    for (id, &(owner, flow, bytes)) in (0..).zip(&frames) {
        queue.push(Frame::new(id, bytes), peer(owner), flow, at(0), &mut none);
    }
    let mut lost = Vec::new();
    let mut push = |id, bytes| {
        let mut lose = |peer, loss| lost.push((peer, loss));
        queue.push(Frame::new(id, bytes), peer(2), 2, at(0), &mut lose);
    };
    push(7, 10);
    push(8, 5000);
    push(9, 10_001);
    let overflow = |owner, id, bytes| (peer(owner), Loss::Frame(Frame::new(id, bytes), Cause::Overflow));
    assert_eq!(lost, [overflow(1, 2, 1100), overflow(0, 0, 3050), overflow(2, 9, 10_001)]);
    assert_eq!((queue.len(), queue.bytes()), (7, 8030));
}

#[test]
fn a_batch_is_filled_with_frames_of_one_peer_while_its_turn_lasts() {
    let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 4000, ..QueueConfig::default() });
    for id in 0..6 {
        queue.push(Frame::new(id, 1500), peer(1), 0, at(0), &mut none);
        queue.push(Frame::new(10 + id, 1500), peer(2), 0, at(0), &mut none);
    }
    let mut batch = |first: u32, room: usize| {
        let popped = queue.pop(at(0), &mut none).unwrap();
        assert_eq!(popped.frame.id, first);
        let (mut taken, mut left) = (1, room - popped.frame.bytes);
        while let Some(more) = queue.pop_of(popped.peer, at(0), |frame| frame.bytes <= left, &mut none) {
            assert_eq!(more.frame.id, first + taken);
            (taken, left) = (taken + 1, left - more.frame.bytes);
        }
        taken
    };
    assert_eq!(batch(0, 100_000), 3, "until 4,000 are used up");
    assert_eq!(batch(10, 3_100), 2, "what fits");
    assert_eq!(batch(12, 100_000), 1, "the rest of its turn");
    assert_eq!(batch(3, 100_000), 3, "3,500 and a frame begun");
    assert_eq!(batch(13, 100_000), 3, "alone to the end");
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_turn_that_no_one_waits_for_does_not_end() {
    let mut queue = small(256, 1 << 30);
    for id in 0..200 {
        queue.push(Frame::new(id, 64_000), peer(1), 0, at(0), &mut none);
    }
    let popped = queue.pop(at(0), &mut none).unwrap();
    let more = core::iter::from_fn(|| queue.pop_of(popped.peer, at(0), |_| true, &mut none)).count();
    assert_eq!(more, 199);
}

#[test]
fn what_is_put_back_leaves_first_and_is_charged_once() {
    let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 3000, ..QueueConfig::default() });
    for id in 0..4 {
        queue.push(Frame::new(id, 3000), peer(1), 0, at(0), &mut none);
        queue.push(Frame::new(10 + id, 3000), peer(2), 0, at(0), &mut none);
    }
    let order = halves(&mut queue);
    assert_eq!(order, [0, 0, 10, 10, 1, 1, 11, 11, 2, 2, 12, 12, 3, 3, 13, 13]);
    let mut queue = IngressQueue::new(QueueConfig { flow_quantum: 3000, ..QueueConfig::default() });
    for id in 0..2 {
        queue.push(Frame::new(id, 3000), peer(1), 0, at(0), &mut none);
        queue.push(Frame::new(10 + id, 3000), peer(1), 1, at(0), &mut none);
    }
    assert_eq!(halves(&mut queue), [0, 0, 10, 10, 1, 1, 11, 11], "flows");
}

/// The frames of batches that take half a frame of 3,000 bytes each.
fn halves(queue: &mut IngressQueue<Frame>) -> Vec<u32> {
    let mut order = Vec::new();
    while let Some(mut popped) = queue.pop(at(0), &mut none) {
        order.push(popped.frame.id);
        if popped.frame.bytes == 3000 {
            popped.frame.bytes = 1500;
            queue.push_front(popped).unwrap();
        }
    }
    order
}

#[test]
fn what_is_put_back_late_makes_no_turn_longer() {
    let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 3000, ..QueueConfig::default() });
    queue.push(Frame::new(0, 3000), peer(1), 0, at(0), &mut none);
    let popped = queue.pop(at(0), &mut none).unwrap();
    assert_eq!(queue.pop(at(0), &mut none), None);
    queue.push_front(popped).unwrap();
    queue.push(Frame::new(1, 3000), peer(1), 0, at(0), &mut none);
    queue.push(Frame::new(10, 3000), peer(2), 0, at(0), &mut none);
    assert_eq!(ids(&mut queue), [0, 10, 1]);
}

#[test]
fn a_turn_is_not_charged_for_what_was_dropped() {
    let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 3000, ..QueueConfig::default() });
    for id in 0..5 {
        queue.push(Frame::new(id, 3000), peer(1), 0, at(0), &mut none);
        let marked = Frame { signal: Signal::Marked, ..Frame::new(10 + id, 3000) };
        queue.push(marked, peer(2), 0, at(0), &mut none);
    }
    let mut dropped = 0;
    let mut pop = |ms| queue.pop(at(ms * MS), &mut |_, _| dropped += 1).unwrap().frame.id;
    assert_eq!([3, 3, 103, 103, 104, 104, 105].map(&mut pop), [0, 10, 2, 11, 3, 12, 4]);
    assert_eq!(dropped, 1);
}

#[test]
fn what_is_put_back_into_a_full_queue_is_returned() {
    let mut queue = small(2, 3000);
    queue.push(Frame::new(0, 1500), peer(1), 0, at(0), &mut none);
    let popped = queue.pop(at(0), &mut none).unwrap();
    queue.push(Frame::new(1, 1600), peer(1), 0, at(0), &mut none);
    assert_eq!(queue.push_front(popped), Err(popped));
    let less = Popped { frame: Frame::new(0, 1400), ..popped };
    assert_eq!(queue.push_front(less), Ok(()));
    assert_eq!(ids(&mut queue), [0, 1]);
}

#[test]
fn a_peer_that_is_removed_leaves_nothing_and_others_all() {
    let mut queue = small(64, 1 << 20);
    for id in 0..60 {
        queue.push(Frame::new(id, 100), peer(id % 3), id % 5, at(0), &mut none);
    }
    let mut dropped = Vec::new();
    queue.drop_peer(peer(1), |frame| dropped.push(frame.id));
    queue.drop_peer(peer(9), |_| panic!("there is none"));
    dropped.sort_unstable();
    assert_eq!(dropped, (0..60).filter(|id| id % 3 == 1).collect::<Vec<_>>());
    let mut left = ids(&mut queue);
    left.sort_unstable();
    assert_eq!(left, (0..60).filter(|id| id % 3 != 1).collect::<Vec<_>>());
}

/// Pops `rounds` frames of a queue in which every `(peer, flow, bytes)` always has two, and returns the bytes of each source.
fn sent(config: QueueConfig, sources: &[(u32, u32, usize)], rounds: usize) -> Vec<usize> {
    let mut queue = IngressQueue::new(config);
    let mut bytes = std::vec![0; sources.len()];
    for (id, &(owner, flow, bytes)) in (0..).zip(sources).chain((0..).zip(sources)) {
        queue.push(Frame::new(id, bytes), peer(owner), flow, at(0), &mut none);
    }
    for _ in 0..rounds {
        let Popped { frame, peer, flow, .. } = queue.pop(at(0), &mut none).unwrap();
        bytes[frame.id as usize] += frame.bytes;
        queue.push(frame, peer, flow, at(0), &mut none);
    }
    bytes
}

#[test]
fn peers_have_equal_shares_whatever_they_send() {
    // One flow of trains, one of packets, eight of small packets, 40 of packets, two unequal ones.
    let mut sources = std::vec![(0, 0, 64_000), (1, 0, 1400), (4, 0, 9000), (4, 1, 100)];
    sources.extend((0..8).map(|flow| (2, flow, 64)));
    sources.extend((0..40).map(|flow| (3, flow, 1400)));
    for peer_quantum in [1500, 1 << 16] {
        let config = QueueConfig { peer_quantum, ..QueueConfig::default() };
        let sent = sent(config, &sources, 200_000);
        let mut of_peer = [0_usize; 5];
        for (&(owner, ..), bytes) in sources.iter().zip(sent) {
            of_peer[owner as usize] += bytes;
        }
        let (least, most) = (of_peer.iter().min().unwrap(), of_peer.iter().max().unwrap());
        assert!(*least > 1_000_000, "{of_peer:?}");
        // A peer is ahead of another by one quantum and what it began at most, each way.
        assert!(most - least <= 2 * (peer_quantum + 64_000), "{of_peer:?}");
    }
}

#[test]
fn flows_of_a_peer_have_equal_shares_whatever_they_send() {
    let sources = [(0, 0, 64_000), (0, 1, 1400), (0, 2, 64), (0, 3, 9000)];
    let sent = sent(QueueConfig::default(), &sources, 200_000);
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*least > 1_000_000 && most - least <= 2 * (1514 + 64_000), "{sent:?}");
}

/// Pops a frame, and pushes it again if it is one of a backlog.
fn pop_and_refill(queue: &mut IngressQueue<Frame>) -> u32 {
    let Popped { frame, peer, flow, .. } = queue.pop(at(0), &mut none).unwrap();
    if frame.id < 1000 {
        queue.push(frame, peer, flow, at(0), &mut none);
    }
    frame.id
}

#[test]
fn a_sparse_flow_does_not_wait_behind_a_backlog() {
    // The rest of a flow's turn leaves before it, or the rest of a peer's, or the turn of the other peer and the rest of a flow's.
    for (peers, owner, most) in [(1, 0, 1514), (2, 9, 4 * 1514), (2, 0, 6 * 1514)] {
        let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 4 * 1514, ..QueueConfig::default() });
        for id in 0..200 {
            queue.push(Frame::new(id, 1514), peer(id % peers), id % 7, at(0), &mut none);
        }
        for round in 0..50 {
            (0..100 + round).for_each(|_| assert!(pop_and_refill(&mut queue) < 200));
            queue.push(Frame::new(1000, 84), peer(owner), 99, at(0), &mut none);
            let others =
                core::iter::from_fn(|| Some(pop_and_refill(&mut queue))).take_while(|&id| id != 1000);
            let before = 1514 * others.count();
            assert!(before <= most, "round {round}, peer {owner}: {before}");
        }
    }
}

#[test]
fn a_flow_that_is_always_new_starves_no_one() {
    // It sends its next frame as soon as the last has left, in the same name and in ever new ones.
    for (owner, renames) in [(0, false), (0, true), (1, false), (1, true)] {
        let mut queue = IngressQueue::new(QueueConfig {
            peer_quantum: 1514,
            capacity_frames: 512,
            ..QueueConfig::default()
        });
        for id in 0..100 {
            queue.push(Frame::new(id, 1514), peer(0), 1, at(0), &mut none);
        }
        let (mut name, mut sneaky, mut honest) = (100, 0, 0);
        queue.push(Frame::new(1000, 1514), peer(owner), name, at(0), &mut none);
        while honest < 50 {
            if queue.pop(at(0), &mut none).unwrap().frame.id == 1000 {
                sneaky += 1;
                name += u32::from(renames);
                queue.push(Frame::new(1000, 1514), peer(owner), name, at(0), &mut none);
                if renames && owner == 0 && sneaky > 200 {
                    break;
                }
            } else {
                honest += 1;
            }
        }
        // Whoever has a new flow for each packet goes first within one peer, as in RFC 8290; but not before other peers.
        assert_eq!(sneaky > 60, renames && owner == 0, "peer {owner}, {renames}: {sneaky}");
    }
}

#[test]
fn a_flow_that_comes_and_goes_has_no_more_than_its_share() {
    // It sends its next frame when another has left after its last: it is empty when its turn comes. It is of the same peer, or
    // of another; the turns are of one frame.
    for owner in [0, 1] {
        let mut queue = IngressQueue::new(QueueConfig { peer_quantum: 1514, ..QueueConfig::default() });
        for id in 0..40 {
            // Four flows of one peer, or of four.
            let (owner, flow) = if owner == 0 { (0, id % 4) } else { (10 + id % 4, 0) };
            queue.push(Frame::new(id, 1514), peer(owner), flow, at(0), &mut none);
        }
        let mut others = 0;
        for _ in 0..100 {
            queue.push(Frame::new(1000, 1514), peer(owner), 99, at(0), &mut none);
            while pop_and_refill(&mut queue) != 1000 {
                others += 1;
            }
            assert_ne!(pop_and_refill(&mut queue), 1000);
            others += 1;
        }
        assert!(others >= 390, "{others} of the other four");
    }
}

#[test]
fn a_train_loses_a_segment_and_is_counted_without_it() {
    let config = QueueConfig { target: Duration::from_millis(1), ..QueueConfig::default() };
    let mut queue = IngressQueue::new(config);
    for id in 0..10 {
        let frame = Frame { signal: Signal::LostSegment, ..Frame::new(id, 20_000) };
        queue.push(frame, peer(3), 0, at(0), &mut none);
    }
    let mut losses = 0;
    let mut lose = |owner, loss| {
        assert_eq!((owner, loss), (peer(3), Loss::Segment));
        losses += 1;
    };
    assert_eq!(queue.pop(at(MS), &mut lose).unwrap().frame.bytes, 20_000);
    assert_eq!(queue.pop_of(peer(3), at(101 * MS), |_| false, &mut lose), None);
    assert_eq!((queue.len(), queue.bytes()), (9, 179_900));
    let popped = queue.pop(at(101 * MS), &mut lose).unwrap();
    assert_eq!((popped.frame.bytes, queue.bytes()), (19_900, 160_000));
    // It was told once, also if it is put back and comes again when the next signal is due.
    queue.push_front(popped).unwrap();
    assert_eq!((queue.pop(at(301 * MS), &mut lose), queue.bytes()), (Some(popped), 160_000));
    assert_eq!(losses, 1);
}

#[test]
fn a_frame_that_was_looked_at_and_did_not_fit_signals_once() {
    let mut queue = small(64, 1 << 20);
    for id in 0..10 {
        let frame = Frame { signal: Signal::Marked, ..Frame::new(id, 1400) };
        queue.push(frame, peer(3), 0, at(0), &mut none);
    }
    queue.pop(at(3 * MS), &mut none).unwrap();
    for ms in [103, 203, 303, 403] {
        assert_eq!(queue.pop_of(peer(3), at(ms * MS), |frame| frame.marks != 1, &mut none), None);
    }
    assert_eq!(
        queue.pop(at(500 * MS), &mut none).unwrap().frame,
        Frame { signal: Signal::Marked, marks: 1, ..Frame::new(1, 1400) }
    );
}

#[test]
fn places_of_classes_suffice_for_any_names() {
    // Every frame has a new flow and a new peer; some wait for long.
    let mut queue = small(8, 1 << 20);
    let memory = queue.memory_bytes();
    for id in 0..5000 {
        queue.push(Frame::new(id, 10), peer(id), id * 7919 % 1000, at(0), &mut none);
        check(&queue);
        if queue.len() == 8 || id % 3 == 0 {
            queue.pop(at(0), &mut none).unwrap();
            check(&queue);
        }
    }
    assert_eq!(queue.memory_bytes(), memory, "nothing was allocated");
}

/// The rule of `class.rs`, and that the counts are those of what is there.
fn check(queue: &IngressQueue<Frame>) {
    let (mut frames, mut bytes, mut flows, mut peers) = (0, 0, 0, 0);
    for id in queue.peers.each(&queue.turns) {
        let peer = queue.peers.at(id);
        peers += usize::from(peer.frames != 0);
        (frames, bytes) = (frames + peer.frames as usize, bytes + peer.bytes);
        let (mut peer_frames, mut peer_bytes) = (0, 0);
        for flow in queue.flows.each(&peer.state) {
            let flow = queue.flows.at(flow);
            assert_eq!(flow.state.peer, id);
            flows += usize::from(flow.frames != 0);
            (peer_frames, peer_bytes) = (peer_frames + flow.frames, peer_bytes + flow.bytes);
        }
        assert_eq!((peer_frames, peer_bytes), (peer.frames, peer.bytes));
    }
    assert_eq!((frames, bytes), (queue.len, queue.bytes));
    queue.flows.check(flows);
    queue.peers.check(peers);
}

/// What became of a source of one flow that keeps `window` packets of 1,500 bytes on their way, twice as many each round trip,
/// then one more,
/// and half when it learns of congestion; its egress sends a packet every 120 microseconds (100 Mbit/s).
struct Responsive {
    /// The shortest wait of each second: what stands in the queue all the time.
    standing: Vec<u64>,
    /// Packets sent in the last five seconds, of the 41,666 that could have been.
    sent: usize,
    marked: usize,
    dropped: usize,
}

fn responsive(config: QueueConfig, signal: Signal, round_trip: u64) -> Responsive {
    const GAP: u64 = 120_000;
    const SECONDS: usize = 15;
    let mut queue =
        IngressQueue::new(QueueConfig { capacity_frames: 4096, capacity_bytes: 8 << 20, ..config });
    let mut outcome = Responsive { standing: std::vec![u64::MAX; SECONDS], sent: 0, marked: 0, dropped: 0 };
    let (mut window, mut on_their_way, mut deaf_until, mut is_slow_start) = (10.0_f64, 0.0, 0, true);
    // When the source learns of a packet, and whether of congestion.
    let mut answers: VecDeque<(u64, bool)> = VecDeque::new();
    for now in (0_u64..).map(|sent| sent * GAP).take_while(|&now| now < SECONDS as u64 * 1000 * MS) {
        while answers.front().is_some_and(|&(when, _)| when <= now) {
            let (_, congested) = answers.pop_front().unwrap();
            on_their_way -= 1.0;
            if !congested {
                window += if is_slow_start { 1.0 } else { 1.0 / window };
            } else if now >= deaf_until {
                window = (window / 2.0).max(2.0);
                (deaf_until, is_slow_start) = (now + round_trip, false);
            }
        }
        while on_their_way < window && !queue.is_full() {
            queue.push(Frame { signal, ..Frame::new(0, 1500) }, peer(0), 0, at(now), &mut none);
            on_their_way += 1.0;
        }
        let mut lost = 0;
        let popped = queue.pop(at(now), &mut |_, loss| {
            assert!(matches!(loss, Loss::Frame(_, Cause::Congestion)));
            lost += 1;
        });
        outcome.dropped += lost;
        answers.extend((0..lost).map(|_| (now + round_trip, true)));
        let Some(Popped { frame, pushed_at, .. }) = popped else { continue };
        let second = usize::try_from(now / (1000 * MS)).unwrap();
        outcome.standing[second] = outcome.standing[second].min(now - pushed_at.as_nanos());
        outcome.sent += usize::from(second >= SECONDS - 5);
        outcome.marked += frame.marks as usize;
        answers.push_back((now + round_trip, frame.marks != 0));
    }
    outcome
}

#[test]
fn the_queue_of_a_responsive_source_does_not_stand_above_the_target() {
    let config = QueueConfig::default();
    for signal in [Signal::Marked, Signal::Drop] {
        for round_trip in [1, 20, 40] {
            let Responsive { standing, sent, marked, dropped } = responsive(config, signal, round_trip * MS);
            let (signals, others) =
                if signal == Signal::Marked { (marked, dropped) } else { (dropped, marked) };
            assert!(signals > 0 && others == 0);
            assert!(standing[5..].iter().all(|&wait| wait < 3 * MS), "{round_trip} ms: {standing:?}");
            assert!(sent > 41_666 * 3 / 4, "{round_trip} ms: {sent}");
        }
    }
    let never = QueueConfig { target: Duration::from_secs(4), ..config };
    assert!(responsive(never, Signal::Drop, MS).standing[14] > 20 * MS, "without, it stands");
}

#[derive(Clone, Debug)]
enum Op {
    Push { peer: u32, flow: u32, bytes: usize, signal: Signal },
    Pop { ms: u64, put_back: Option<usize> },
    PopOf { peer: u32, most: usize },
    DropPeer(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let signal = prop_oneof![Just(Signal::Marked), Just(Signal::LostSegment), Just(Signal::Drop)];
    let flow = prop_oneof![0..4_u32, 0..100_u32];
    prop_oneof![
        8 => (0..5_u32, flow, 0..2000_usize, signal)
            .prop_map(|(peer, flow, bytes, signal)| Op::Push { peer, flow, bytes, signal }),
        4 => (0..40_u64, prop::option::of(1..2000_usize)).prop_map(|(ms, put_back)| Op::Pop { ms, put_back }),
        2 => (0..5_u32, 0..2000_usize).prop_map(|(peer, most)| Op::PopOf { peer, most }),
        1 => (0..5_u32).prop_map(Op::DropPeer),
    ]
}

/// Plain queues: identity and bytes of the frames of each flow.
#[derive(Default)]
struct Model {
    flows: BTreeMap<(PeerSlot, u32), VecDeque<(u32, usize)>>,
}

impl Model {
    fn bytes_of(&self, peer: PeerSlot) -> usize {
        self.flows
            .iter()
            .filter(|(name, _)| name.0 == peer)
            .flat_map(|(_, flow)| flow)
            .map(|frame| frame.1)
            .sum()
    }

    fn frames(&self) -> usize {
        self.flows.values().map(VecDeque::len).sum()
    }

    fn bytes(&self) -> usize {
        self.flows.values().flatten().map(|frame| frame.1).sum()
    }

    /// Takes the frame out of where it is, which must be the head of a flow.
    fn remove(&mut self, peer: PeerSlot, frame: Frame) -> (u32, usize) {
        let (&(_, name), flow) = self
            .flows
            .iter_mut()
            .find(|((owner, _), flow)| *owner == peer && flow.front().is_some_and(|head| head.0 == frame.id))
            .expect("it was pushed, and is the head of a flow of this peer");
        (name, flow.pop_front().unwrap().1)
    }

    fn lose(&mut self, peer: PeerSlot, loss: Loss<Frame>) {
        let Loss::Frame(frame, cause) = loss else { return };
        let of_peer = self.bytes_of(peer);
        let (flow, bytes) = self.remove(peer, frame);
        if cause == Cause::Overflow {
            assert!(self.flows.keys().all(|name| self.bytes_of(name.0) <= of_peer), "of the peer with most");
            let len = |flow: &VecDeque<(u32, usize)>| flow.iter().map(|frame| frame.1).sum::<usize>();
            let longest =
                self.flows.iter().filter(|(name, _)| name.0 == peer).map(|(_, flow)| len(flow)).max();
            assert!(Some(len(&self.flows[&(peer, flow)]) + bytes) >= longest, "of its longest flow");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_loses_nothing_in_silence_and_keeps_order_and_bounds(
        ops in prop::collection::vec(op(), 0..250),
        frames in 1..10_usize,
        capacity_bytes in prop_oneof![Just(6000_usize), Just(1 << 20)],
        flow_quantum in 0..3000_usize,
        peer_quantum in 0..6000_usize,
    ) {
        let config = QueueConfig {
            capacity_frames: frames,
            capacity_bytes,
            frame_bytes: 2000,
            flow_quantum,
            peer_quantum,
            ..QueueConfig::default()
        };
        let mut queue = IngressQueue::new(config);
        let mut model = Model::default();
        let (mut now, mut high) = (0, HighWater::default());
        for (id, op) in (0..).zip(ops) {
            match op {
                Op::Push { peer: owner, flow, bytes, signal } => {
                    let was_full = queue.is_full();
                    let frame = Frame { signal, ..Frame::new(id, bytes) };
                    let mut lost = 0;
                    queue.push(frame, peer(owner), flow, at(now), &mut |peer, loss| {
                        lost += 1;
                        model.lose(peer, loss);
                    });
                    prop_assert!(was_full || lost == 0);
                    model.flows.entry((peer(owner), flow)).or_default().push_back((id, bytes));
                }
                Op::Pop { ms, put_back } => {
                    now += ms * MS;
                    let popped = queue.pop(at(now), &mut |peer, loss| model.lose(peer, loss));
                    prop_assert_eq!(popped.is_none(), model.frames() == 0);
                    let Some(mut popped) = popped else { continue };
                    let (flow, bytes) = model.remove(popped.peer, popped.frame);
                    prop_assert_eq!(popped.flow, flow);
                    let less = popped.frame.signal == Signal::LostSegment && popped.frame.marks != 0;
                    prop_assert!(popped.frame.bytes == bytes || less && popped.frame.bytes < bytes);
                    if let Some(rest) = put_back.filter(|&rest| rest <= popped.frame.bytes) {
                        popped.frame.bytes = rest;
                        let (name, entry) = ((popped.peer, popped.flow), (popped.frame.id, rest));
                        prop_assert!(queue.push_front(popped).is_ok());
                        model.flows.get_mut(&name).unwrap().push_front(entry);
                    }
                }
                Op::PopOf { peer: owner, most } => {
                    let fits = |frame: &Frame| frame.bytes <= most;
                    let popped = queue.pop_of(peer(owner), at(now), fits, &mut |peer, loss| model.lose(peer, loss));
                    if let Some(popped) = popped {
                        prop_assert_eq!(popped.peer, peer(owner));
                        prop_assert!(popped.frame.bytes <= most);
                        model.remove(popped.peer, popped.frame);
                    }
                }
                Op::DropPeer(owner) => {
                    queue.drop_peer(peer(owner), |frame| {
                        model.remove(peer(owner), frame);
                    });
                    prop_assert_eq!(model.bytes_of(peer(owner)), 0);
                }
            }
            check(&queue);
            prop_assert_eq!(queue.len(), model.frames());
            prop_assert!(queue.bytes() <= model.bytes(), "trains that lost a packet have fewer");
            prop_assert!(queue.len() <= frames && queue.bytes() <= capacity_bytes);
            prop_assert_eq!(queue.is_empty(), queue.next_peer().is_none());
            high = HighWater { frames: high.frames.max(queue.len()), bytes: high.bytes.max(queue.bytes()) };
            prop_assert!(queue.high_water().frames >= high.frames && queue.high_water().bytes >= high.bytes);
        }
    }
}
