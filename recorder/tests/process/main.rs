//! The recorder as a process: real sockets, real files, and `kill -9` on either side.
//!
//! Everything here needs io_uring; where it is refused the tests print SKIPPED and why.

mod crash;
mod disk;
mod door;
mod gateway;
mod host;
mod life;
mod tool;
