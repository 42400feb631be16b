//! The command line of `penstock-loadgen`: it reads arguments and calls the library.
//!
//! Exit codes: 0 good, 1 failed, 2 usage.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
