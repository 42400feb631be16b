//! `penstock-recorder`: the process that writes the log, and the tool that reads it. Command line
//! only; the work is in the library and in `cli/`.
//!
//! Exit codes: 0 good, 1 failed (or an alteration was found), 2 wrong usage.

#[cfg(not(loom))]
mod cli;

#[cfg(not(loom))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(loom)]
fn main() {}
