//! Opening a batch of transport data messages, per backend and size.

use core::time::Duration;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wg_benches::load::{BATCH, Batch, SIZES};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for size in SIZES {
        group.throughput(Throughput::Bytes((size * BATCH) as u64));
        let mut bench = |backend, mut open: Box<dyn FnMut(u64) -> Duration>| {
            group.bench_function(BenchmarkId::new(backend, size), |bencher| bencher.iter_custom(&mut open));
        };
        bench("rustcrypto", opener::<RustCryptoAead>(size));
        bench("ring", opener::<RingAead>(size));
    }
    group.finish();
}

/// Opens a fresh copy of the batch each time; only the opening counts.
fn opener<A: Aead>(size: usize) -> Box<dyn FnMut(u64) -> Duration> {
    let mut batch = Batch::<A>::new(size);
    let mut once = move || {
        batch.refill();
        let start = Instant::now();
        batch.open();
        start.elapsed()
    };
    Box::new(move |times| (0..times).map(|_| once()).sum())
}

criterion_group!(benches, open);
criterion_main!(benches);
