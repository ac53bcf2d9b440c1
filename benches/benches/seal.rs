//! Sealing a batch of transport data messages, per backend and size.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wg_benches::load::{BATCH, Batch, SIZES};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        group.throughput(Throughput::Bytes((size * BATCH) as u64));
        let mut bench = |backend, mut seal: Box<dyn FnMut()>| {
            group.bench_function(BenchmarkId::new(backend, size), |bencher| bencher.iter(&mut seal));
        };
        bench("rustcrypto", sealer::<RustCryptoAead>(size));
        bench("ring", sealer::<RingAead>(size));
    }
    group.finish();
}

fn sealer<A: Aead>(size: usize) -> Box<dyn FnMut()> {
    let mut batch = Batch::<A>::new(size);
    Box::new(move || batch.seal())
}

criterion_group!(benches, seal);
criterion_main!(benches);
