//! A batch from one thread to another, by each part of `wg-sched` that hands batches on.

use core::hint::spin_loop;
use core::time::Duration;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use wg_datapath::sched::Direction;
use wg_datapath::sched::handoff::{Doorbell, Offers, OrderTable, Stream, ring as ring_of};
use wg_netns::process::pin_thread;

/// As large as what a datapath hands on: a ticket and some pointers.
pub type Batch = [u64; 8];

/// Batches that a ring holds, and that can be offered at once.
pub const PLACES: u32 = 32;

/// Hands on so many from one thread to another, on two processors where there are two, and tells how long that took.
///
/// # Panics
///
/// If `push` or `pop` does.
pub fn across(
    count: u64,
    mut push: impl FnMut(Batch) -> bool + Send,
    mut pop: impl FnMut() -> bool + Send,
) -> Duration {
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            pin_thread(Some(1));
            for _ in 0..count {
                while !pop() {
                    spin_loop();
                }
            }
        });
        let this = scope.spawn(move || {
            pin_thread(Some(0));
            let start = Instant::now();
            for number in 0..count {
                while !push([number; 8]) {
                    spin_loop();
                }
            }
            other.join().expect("it only counts");
            start.elapsed()
        });
        this.join().expect("it only counts")
    })
}

/// By a ring.
#[must_use]
pub fn ring(count: u64) -> Duration {
    let (mut producer, mut consumer) = ring_of(PLACES as usize);
    across(count, move |batch| producer.push(batch).is_ok(), move || consumer.pop().is_some())
}

/// By offers that the other steals.
#[must_use]
pub fn offers(count: u64) -> Duration {
    let offers = Offers::new(PLACES);
    across(count, |batch| offers.offer(batch).is_ok(), || offers.take().is_some())
}

/// By a ring to the other, and back by the ticket that it completes.
#[must_use]
pub fn there_and_back(count: u64) -> Duration {
    let (mut table, bell) = (OrderTable::<Batch>::new(64), Doorbell::new(|| ()));
    let (mut producer, mut consumer) = ring_of(64);
    let completions = Arc::clone(table.completions());
    let (mut begun, mut peer) = (None, 0);
    let push = move |batch| {
        while table.drain().is_some() {}
        let place = begun.take().or_else(|| {
            peer = (peer + 1) % 8;
            table.begin(Stream { peer, direction: Direction::Out }, 0)
        });
        let Some(place) = place else { return false };
        let pushed = producer.push((place, batch)).is_ok();
        if !pushed {
            begun = Some(place);
        }
        pushed
    };
    let pop = move || {
        let Some((place, batch)) = consumer.pop() else { return false };
        completions.complete(place, batch, Some(&bell));
        true
    };
    across(count, push, pop)
}
