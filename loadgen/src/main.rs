//! The command line of `penstock-loadgen`: it reads arguments and calls the library.
//!
//! Exit codes: 0 good, 1 failed, 2 usage; `run` has 2 for a generator that was late, 64 for usage, 99
//! for an assertion that did not hold.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
