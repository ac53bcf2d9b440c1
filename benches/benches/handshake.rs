//! The initiation, and a whole handshake with both sides on one thread.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use wg_benches::load::Pair;
use wg_proto::PrivateKey;

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("create initiation", |bencher| {
        let mut pair = Pair::<PrivateKey>::new();
        bencher.iter(|| {
            pair.wait();
            pair.create_initiation()
        });
    });
    group.bench_function("consume initiation", |bencher| {
        bencher.iter_batched(
            || {
                let mut pair = Pair::<PrivateKey>::new();
                pair.wait();
                let initiation = pair.create_initiation();
                (pair, initiation)
            },
            |(mut pair, initiation)| pair.consume_initiation(initiation),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("whole", |bencher| {
        let mut pair = Pair::<PrivateKey>::new();
        bencher.iter(|| pair.handshake());
    });
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
