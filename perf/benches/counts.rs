//! Instructions of each case, by callgrind: the gate against slipping.
//!
//! `penstock-perf bench` runs this and compares with the committed record; by hand:
//! `cargo bench -p penstock-benches --bench counts` with `gungraun-runner` and `valgrind` on `PATH`.
//! What each case is says `cases/`.

#![allow(
    missing_docs,
    reason = "the macros make public modules that nobody reads"
)]

use gungraun::Callgrind;
use gungraun::prelude::*;
use mimalloc::MiMalloc;
use penstock_benches::{Case, case};

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

// The case goes in and comes out: making and dropping it is not counted.
#[library_benchmark]
#[bench::request_head(case("request_head"))]
#[bench::response_head(case("response_head"))]
#[bench::chunked_body(case("chunked_body"))]
#[bench::json_walk(case("json_walk"))]
#[bench::scan_prose(case("scan_prose"))]
#[bench::scan_code(case("scan_code"))]
#[bench::scan_json(case("scan_json"))]
#[bench::jwt_hit(case("jwt_hit"))]
#[bench::event(case("event"))]
#[bench::frame(case("frame"))]
#[bench::small_call(case("small_call"))]
fn run(mut case: Box<dyn Case>) -> Box<dyn Case> {
    case.run();
    case
}

library_benchmark_group!(name = path, benchmarks = run);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = path
);
