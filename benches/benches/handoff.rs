//! What a batch pays to change cores: slot, ring, order table, offers; on one thread, where nothing waits for a cache line, and
//! between two.
//!
//! The ring is that of `wg-sched`, which is the crate `rtrb`, beside the simplest that slots make.

use core::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wg_benches::handoff::{self, Batch, PLACES, across};
use wg_datapath::sched::Direction;
use wg_datapath::sched::handoff::{Doorbell, Offers, OrderTable, Slot, Stream, ring};

/// A ring of slots: each side knows where it is, and the slots say the rest.
struct Slots(Vec<Slot<Batch>>);

impl Slots {
    fn new() -> Self {
        Self((0..PLACES).map(|_| Slot::new()).collect())
    }

    fn push(&self, at: &mut usize, batch: Batch) -> bool {
        let pushed = self.0[*at].put(batch).is_ok();
        *at = (*at + usize::from(pushed)) % PLACES as usize;
        pushed
    }

    fn pop(&self, at: &mut usize) -> Option<Batch> {
        let popped = self.0[*at].take();
        *at = (*at + usize::from(popped.is_some())) % PLACES as usize;
        popped
    }
}

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handoff one thread");
    let slot = Slot::new();
    group.bench_function("slot", |bencher| {
        bencher.iter(|| {
            let put = slot.put(black_box([1; 8]));
            (put, slot.take())
        });
    });
    let (mut producer, mut consumer) = ring(PLACES as usize);
    group.bench_function("ring", |bencher| {
        bencher.iter(|| {
            let pushed = producer.push(black_box([1; 8]));
            (pushed, consumer.pop())
        });
    });
    let (slots, mut head, mut tail) = (Slots::new(), 0, 0);
    group.bench_function("ring of slots", |bencher| {
        bencher.iter(|| (slots.push(&mut tail, black_box([1; 8])), slots.pop(&mut head)));
    });
    let offers = Offers::new(PLACES);
    group.bench_function("offer", |bencher| {
        bencher.iter(|| {
            let offered = offers.offer(black_box([1; 8]));
            (offered, offers.take())
        });
    });
    let bell = Doorbell::new(|| {});
    group.bench_function("bell of a core that is awake", |bencher| bencher.iter(|| bell.ring_if_asleep()));
    for streams in [1, 32] {
        let (mut table, mut peer) = (OrderTable::<Batch>::new(256), 0);
        group.bench_function(format!("order table, {streams} streams"), |bencher| {
            bencher.iter(|| {
                peer = (peer + 1) % streams;
                let place = table.begin(Stream { peer, direction: Direction::Out }, 0);
                table.completions().complete(place.unwrap_or(0), black_box([1; 8]), Some(&bell));
                table.drain()
            });
        });
    }
    group.finish();
}

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handoff two threads");
    group.bench_function("ring", |bencher| bencher.iter_custom(handoff::ring));
    group.bench_function("ring of slots", |bencher| {
        bencher.iter_custom(|count| {
            let (slots, mut head, mut tail) = (Slots::new(), 0, 0);
            across(count, |batch| slots.push(&mut tail, batch), || slots.pop(&mut head).is_some())
        });
    });
    group.bench_function("offers", |bencher| bencher.iter_custom(handoff::offers));
    group.bench_function("there by a ring, back by the order table", |bencher| {
        bencher.iter_custom(handoff::there_and_back);
    });
    group.finish();
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
