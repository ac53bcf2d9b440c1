//! Lookups in tables of 1, 1,000 and 100,000 prefixes, and building those tables.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wg_benches::load::{AddressFamily, PREFIXES, Routes};

fn allowed_ips(criterion: &mut Criterion) {
    for family in AddressFamily::ALL {
        for count in PREFIXES {
            let routes = Routes::new(family, count);
            let mut group = criterion.benchmark_group("allowed_ips lookup");
            group.throughput(Throughput::Elements(routes.lookup_all()));
            group.bench_function(BenchmarkId::new(family.name(), count), |bencher| {
                bencher.iter(|| routes.lookup_all());
            });
            group.finish();
            let mut group = criterion.benchmark_group("allowed_ips build");
            group.throughput(Throughput::Elements(count as u64));
            group.sample_size(10);
            group.bench_function(BenchmarkId::new(family.name(), count), |bencher| {
                bencher.iter(|| routes.build());
            });
            group.finish();
        }
    }
}

criterion_group!(benches, allowed_ips);
criterion_main!(benches);
