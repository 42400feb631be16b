//! The runtime of one core: io_uring where the kernel and the sandbox allow it, poll elsewhere.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroU16;

use compio::driver::{DriverType, ProactorBuilder};
use compio::runtime::{Runtime, RuntimeBuilder};

/// Submission queue entries. Beyond it submissions are flushed early, nothing is lost.
const QUEUE_ENTRIES: u32 = 1024;
/// Receive buffers that a core's connections share; one is taken only when data arrives.
const POOL_BUFFERS: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
/// Size of one of them: a token event, a small request, a TLS record.
const POOL_BUFFER_BYTES: usize = 16 * 1024;
/// Tasks that run before the kernel is asked again: all that are ready. What waits shall wait in
/// the kernel: there it takes no buffer of the pool, and is in order.
const TURN_TASKS: usize = 4096;
/// Threads for operations that neither driver can do asynchronously; none is on the data path.
const BLOCKING_THREADS: usize = 2;

/// Builds the runtime on the calling thread, pinned to `core` when given.
pub(super) fn build(core: Option<usize>) -> io::Result<Runtime> {
    let mut proactor = ProactorBuilder::new();
    proactor
        .capacity(QUEUE_ENTRIES)
        // Without these two flags each completion interrupts the thread: 13 µs a request instead
        // of 8 in the measurements behind this design.
        .single_issuer(true)
        .defer_taskrun(true)
        // A turn that does not wait fetches completions only where the kernel says that there are
        // some: without it a core whose tasks wake each other would never hear of its sockets.
        .taskrun_flag(true)
        .thread_pool_limit(BLOCKING_THREADS)
        .buffer_pool_size(POOL_BUFFERS)
        .buffer_pool_buffer_len(POOL_BUFFER_BYTES);
    let mut builder = RuntimeBuilder::new();
    builder.with_proactor(proactor).event_interval(TURN_TASKS);
    if let Some(core) = core {
        builder.thread_affinity(HashSet::from([core]));
    }
    builder.build()
}

/// What the runtime drives its I/O with, for the log and for `check`.
pub fn driver_name(driver: DriverType) -> &'static str {
    match driver {
        DriverType::IoUring => "io_uring",
        DriverType::Poll => "poll",
        _ => "other",
    }
}

/// The driver that a core of this process would get.
pub fn probe_driver() -> io::Result<&'static str> {
    // On a thread of its own: a runtime leaves its mark on the thread it was built on.
    std::thread::spawn(|| build(None).map(|runtime| driver_name(runtime.driver_type())))
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the driver's probe panicked")))
}
