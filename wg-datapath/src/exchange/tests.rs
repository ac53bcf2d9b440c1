//! The exchange between parts in one thread and in several.

extern crate std;

use core::time::Duration;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::vec;

use super::*;
use crate::allowed_ips::PeerSlot;
use crate::offload::Offload;
use crate::peer_table::PeerTable;
use crate::segment::Segmenter;
use crate::slab::SlabPool;

/// A lane that takes in whatever there is.
const ROOM: Room = Room { frames: true, trains: true };

/// How many frames to send: a tenth on a machine that is emulated (`cargo xtask test --only portable`).
fn frames(all: u32) -> u32 {
    if std::env::var_os("WG_FEWER_CASES").is_some() { all / 10 } else { all }
}

/// The parts of as many lanes, and what their bells ring.
fn parts(lanes: usize) -> (Vec<Exchange>, Vec<Receiver<()>>) {
    let (rings, ears): (Vec<_>, Vec<_>) = (0..lanes).map(|_| sync_channel(1)).unzip();
    let bells = rings.into_iter().map(|ring| {
        Arc::new(Doorbell::new(move || {
            let _ = ring.try_send(());
        }))
    });
    (Exchange::between(bells.collect()), ears)
}

fn pool(exchange: &Exchange) -> SlabPool {
    let (small, large) = exchange.max_lent();
    let mut pool = SlabPool::new(small, large);
    pool.set_home(exchange.home(), exchange.max_borrowed());
    pool
}

/// A packet with a number in it.
fn frame(slab: Slab, number: u32) -> OutFrame {
    let mut slab = slab;
    slab[..20].copy_from_slice(&[0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    slab[20..24].copy_from_slice(&number.to_be_bytes());
    let segmenter = Segmenter::new(&slab[..24], &Offload::default()).unwrap();
    let mut table = PeerTable::<()>::default();
    let peer = table.insert_foreign(wg_proto::PublicKey::from_bytes([1; 32]), HomeId::new(1));
    debug_assert_eq!(peer.slot(), PeerSlot::new(0));
    OutFrame::new(slab, 24, segmenter, peer)
}

fn number(frame: &OutFrame) -> u32 {
    u32::from_be_bytes(frame.bytes()[20..24].try_into().unwrap())
}

#[test]
fn a_lane_alone_has_nobody_to_lend_to() {
    let (mut parts, _) = parts(1);
    assert_eq!((parts[0].max_lent(), parts[0].max_borrowed()), ((0, 0), 0));
    assert!(parts[0].may_sleep(ROOM));
    let mut pool = SlabPool::new(1, 0);
    let frame = frame(pool.take(SlabClass::Small).unwrap(), 0);
    assert!(parts[0].lend(HomeId::new(1), frame).is_err());
}

#[test]
fn no_more_is_lent_than_may_be_and_all_of_it_comes_back() {
    for (lanes, large) in [(2, 56), (3, 28), (40, 14)] {
        let (mut parts, _) = parts(lanes);
        let mut pools: Vec<_> = parts.iter().map(pool).collect();
        for (class, most) in [(SlabClass::Small, LENT_FRAMES), (SlabClass::Large, large)] {
            let mut lent = 0;
            while let Some(slab) = pools[0].take(class) {
                if let Err(frame) = parts[0].lend(HomeId::new(1), frame(slab, 0)) {
                    pools[0].put(frame.into_slab());
                    break;
                }
                lent += 1;
            }
            assert_eq!(lent, most, "{class:?} of {lanes} lanes");
            parts[0].publish();
            parts[1].take_frames(|frame| {
                pools[1].put(frame.into_slab());
                true
            });
            while let Some(slab) = pools[1].take_stray() {
                parts[1].send_home(slab);
            }
            parts[1].publish();
            while let Some(Note::Slab(slab)) = parts[0].next_note() {
                pools[0].put(slab);
            }
            assert_eq!(pools[0].in_use(class), 0);
        }
    }
}

#[test]
fn what_is_not_published_is_not_there_and_what_has_no_room_stays() {
    let (mut parts, _) = parts(2);
    let mut pools: Vec<_> = parts.iter().map(pool).collect();
    for number in 0..3 {
        let slab = pools[0].take(SlabClass::Small).unwrap();
        assert!(parts[0].lend(HomeId::new(1), frame(slab, number)).is_ok());
    }
    assert!(parts[1].may_sleep(ROOM));
    parts[0].publish();
    assert!(!parts[1].may_sleep(ROOM));
    assert!(parts[1].may_sleep(Room { frames: false, ..ROOM }), "it has no room for them");
    parts[1].awake();
    let mut taken = vec![];
    assert!(parts[1].take_frames(|frame| {
        taken.push(number(&frame));
        taken.len() < 2
    }));
    assert_eq!(taken, [0, 1]);
    assert!(!parts[1].may_sleep(ROOM));
}

#[test]
fn datagrams_wait_for_room_of_their_own_and_count_as_lent() {
    let (mut parts, _) = parts(2);
    let mut pools: Vec<_> = parts.iter().map(pool).collect();
    let mut lent = 0;
    while let Some(slab) = pools[0].take(SlabClass::Large) {
        let train = RecvSlot { len: lent, ..RecvSlot::new(slab) };
        if parts[0].lend_train(HomeId::new(1), train).is_err() {
            break;
        }
        lent += 1;
    }
    assert_eq!(lent, 56, "as many as of frames");
    let small = frame(pools[0].take(SlabClass::Small).unwrap(), 0);
    assert!(parts[0].lend(HomeId::new(1), small).is_ok(), "that much is left");
    assert!(!parts[1].may_sleep(ROOM));
    assert!(parts[1].may_sleep(Room { trains: false, ..ROOM }), "the frame was not published");
    parts[1].awake();
    for number in 0..56 {
        let train = parts[1].next_train().unwrap();
        assert_eq!(train.len, number);
        pools[1].put(train.slab);
    }
    assert!(parts[1].next_train().is_none() && !parts[1].has_trains());
}

/// Sleeps until the bell rings. What is waited for is a bell that was not rung, not a duration.
fn sleep(exchange: &Exchange, ear: &Receiver<()>) {
    // What comes between the last look and the sleep is what matters.
    thread::yield_now();
    if exchange.may_sleep(ROOM) {
        ear.recv_timeout(Duration::from_secs(120)).expect("a bell that should have been rung was not");
    }
    exchange.awake();
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    // Each sends the others as much as it may lend, in order, and sleeps whenever there is nothing to do.
    const LANES: usize = 3;
    let frames = frames(20_000);
    let expected = frames * 2;
    let (parts, ears) = parts(LANES);
    let threads = parts.into_iter().zip(ears).map(|(mut exchange, ear)| {
        thread::spawn(move || {
            let mut pool = pool(&exchange);
            let here = exchange.home().index();
            let (mut sent, mut returned) = ([0; LANES], 0);
            let mut received = 0;
            sent[here] = frames;
            while sent.iter().any(|sent| *sent < frames) || returned < expected || received < expected {
                let mut idle = true;
                for (there, sent) in sent.iter_mut().enumerate() {
                    // Few at a time, so that the other is often asleep.
                    for _ in 0..7 {
                        if *sent == frames {
                            break;
                        }
                        let Some(slab) = pool.take(SlabClass::Small) else { break };
                        match exchange.lend(HomeId::from_index(there), frame(slab, *sent)) {
                            Ok(()) => (*sent, idle) = (*sent + 1, false),
                            Err(frame) => {
                                pool.put(frame.into_slab());
                                break;
                            }
                        }
                    }
                }
                exchange.publish();
                while let Some(note) = exchange.next_note() {
                    let Note::Slab(slab) = note else { panic!("nobody sent this") };
                    pool.put(slab);
                    (returned, idle) = (returned + 1, false);
                }
                let mut room = 5;
                exchange.take_frames(|frame| {
                    pool.put(frame.into_slab());
                    (received, idle, room) = (received + 1, false, room - 1);
                    room > 0
                });
                while let Some(slab) = pool.take_stray() {
                    exchange.send_home(slab);
                }
                exchange.publish();
                if idle {
                    sleep(&exchange, &ear);
                }
            }
            assert_eq!((returned, received), (expected, expected));
            assert_eq!(pool.in_use(SlabClass::Small), 0);
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[test]
fn frames_between_threads_keep_their_order() {
    let frames = frames(50_000);
    let (mut parts, ears) = parts(2);
    let (mut there, mut here) = (parts.pop().unwrap(), parts.pop().unwrap());
    let mut ears = ears.into_iter();
    let (here_ear, there_ear) = (ears.next().unwrap(), ears.next().unwrap());
    let taker = thread::spawn(move || {
        let mut pool = pool(&there);
        let mut next = 0;
        while next < frames {
            let any = there.take_frames(|frame| {
                assert_eq!(number(&frame), next);
                next += 1;
                pool.put(frame.into_slab());
                true
            });
            while let Some(slab) = pool.take_stray() {
                there.send_home(slab);
            }
            there.publish();
            if !any {
                sleep(&there, &there_ear);
            }
        }
    });
    let mut pool = pool(&here);
    let mut sent = 0;
    while sent < frames {
        let before = sent;
        for _ in 0..100.min(frames - sent) {
            let Some(slab) = pool.take(SlabClass::Small) else { break };
            match here.lend(HomeId::new(1), frame(slab, sent)) {
                Ok(()) => sent += 1,
                Err(frame) => {
                    pool.put(frame.into_slab());
                    break;
                }
            }
        }
        here.publish();
        let mut any = sent > before;
        while let Some(Note::Slab(slab)) = here.next_note() {
            any = true;
            pool.put(slab);
        }
        if !any {
            sleep(&here, &here_ear);
        }
    }
    taker.join().unwrap();
}
