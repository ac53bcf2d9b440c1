//! What a batch pays to change threads, part by part: on one thread, where nothing waits for a cache line, and between two on
//! processors of their own. And what it takes to wake a thread that sleeps, by the bell that the gateway has.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use wg_datapath::sched::Direction;
use wg_datapath::sched::handoff::{Doorbell, Offers, OrderTable, Slot, Stream, ring};
use wg_netns::process::pin_thread;

use super::per;
use crate::handoff::{self, Batch, PLACES, across};
use crate::wake::{Meanwhile, Sleep, Wake, wake};

const ONE: &str = "one thread";
const TWO: &str = "two threads";
const COUNT: u32 = 20_000;

/// A figure.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) case: &'static str,
    pub(super) measure: Box<dyn FnMut() -> f64>,
}

/// All of them; those of two threads only where there are two processors.
pub(super) fn parts() -> Vec<Part> {
    let part = |name, case, measure: fn() -> f64| Part { name, case, measure: Box::new(measure) };
    let mut parts = vec![
        part("ring: push, pop", ONE, || {
            let (mut producer, mut consumer) = ring(PLACES as usize);
            alone(|| {
                let pushed = producer.push(black_box([1; 8])).is_ok();
                black_box((pushed, consumer.pop()));
            })
        }),
        part("offer, steal", ONE, || {
            let offers = Offers::new(PLACES);
            alone(|| {
                let offered = offers.offer(black_box([1; 8])).is_ok();
                black_box((offered, offers.take()));
            })
        }),
        part("ticket: begin, complete, drain", ONE, || {
            let (mut table, bell) = (OrderTable::<Batch>::new(256), Doorbell::new(|| ()));
            let mut peer = 0;
            alone(|| {
                peer = (peer + 1) % 8;
                let place = table.begin(Stream { peer, direction: Direction::Out }, 0).unwrap_or(0);
                table.completions().complete(place, black_box([1; 8]), Some(&bell));
                black_box(table.drain());
            })
        }),
        part("lock: acquire, release", ONE, || {
            let slot = Slot::new();
            assert!(slot.put(Box::new(0_u64)).is_ok(), "it was empty");
            alone(|| {
                if let Some(held) = black_box(slot.take()) {
                    assert!(slot.put(held).is_ok(), "it was taken");
                }
            })
        }),
        part("doorbell of a thread that is awake", ONE, || {
            let bell = Doorbell::new(|| ());
            alone(|| {
                black_box(bell.ring_if_asleep());
            })
        }),
    ];
    if thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
        parts.extend([
            part("ring: push, pop", TWO, || each(handoff::ring)),
            part("offer, steal", TWO, || each(handoff::offers)),
            part("there by a ring, back by the ticket", TWO, || each(handoff::there_and_back)),
            part("lock: acquire, release", TWO, || {
                let slot = Slot::new();
                assert!(slot.put(Box::new(0_u64)).is_ok(), "it was empty");
                let turn = || slot.take().is_some_and(|held| slot.put(held).is_ok());
                each(|count| across(count, |_| turn(), turn)) / 2.0
            }),
            part("a line, one way", TWO, line),
            part("wake-up of a thread that has slept for 50 us", TWO, || {
                wake_a_lane(Duration::from_micros(50)).latency
            }),
            part("wake-up of a thread that has slept for 2 ms", TWO, || {
                wake_a_lane(Duration::from_millis(2)).latency
            }),
            part("of that, for the one who rings", TWO, || wake_a_lane(Duration::from_millis(2)).call),
        ]);
    }
    parts
}

fn alone(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..COUNT).for_each(|_| work());
    per(start.elapsed(), COUNT)
}

/// What each of many takes, as so many together did.
fn each(hand_on: impl FnOnce(u64) -> Duration) -> f64 {
    per(hand_on(COUNT.into()), COUNT)
}

/// Half of what it takes a line to go to another processor and come back.
fn line() -> f64 {
    let ball = AtomicU32::new(0);
    let play = |first: u32| {
        for round in 0..COUNT {
            while ball.load(Ordering::Acquire) != 2 * round + first {
                spin_loop();
            }
            ball.store(2 * round + first + 1, Ordering::Release);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_thread(Some(1));
            play(1);
        });
        let this = scope.spawn(|| {
            pin_thread(Some(0));
            let start = Instant::now();
            play(0);
            start.elapsed()
        });
        per(this.join().expect("it only counts"), 2 * COUNT)
    })
}

/// Wakes a thread that waits as a lane of the gateway does, after it has slept for some time.
fn wake_a_lane(slept: Duration) -> Wake {
    wake([0, 1], slept, Sleep::Poll, Meanwhile::Idle)
}
