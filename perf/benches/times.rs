//! Wall-clock micro-benches, for the story: `cargo bench -p penstock-benches --bench times -- event`.
//!
//! What each case is says `cases/`. Times are of one machine at one moment; the gate against
//! slipping is `counts`.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use penstock_benches::names::CASES;

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn all(criterion: &mut Criterion) {
    for named in CASES {
        let name = named.name;
        let mut group = criterion.benchmark_group(name);
        let mut case = None;
        group.bench_function("run", |bencher| {
            let case = case.get_or_insert_with(|| penstock_benches::case(name));
            bencher.iter_custom(|runs| {
                let mut spent = Duration::ZERO;
                for _ in 0..runs {
                    case.prepare();
                    let from = Instant::now();
                    case.run();
                    spent += from.elapsed();
                }
                // The time of one unit.
                spent / case.units()
            });
        });
        group.throughput(Throughput::Elements(1));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
