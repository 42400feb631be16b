//! What is asserted of the code that reads hostile bytes, one function a fuzz target.
//!
//! Every target asserts more than "it does not panic": that the way bytes are cut changes nothing,
//! that what is written reads back, that two readers agree. The first byte or two of the input
//! choose how the rest is used, so that a corpus file is one whole test.
//!
//! The HTTP codec and the recorder's readers are included by their paths, not as dependencies: they
//! stand on their own, while their crates would bring TLS, two async runtimes and a command line to
//! be compiled with instrumentation and double the build.

extern crate self as penstock_gateway;

#[path = "../../../gateway/tests/corpus/mod.rs"]
mod corpus;
#[path = "../../../gateway/src/http1/mod.rs"]
pub mod http1;

#[path = "../../../recorder/src/frame/mod.rs"]
pub mod frame;
#[path = "../../../recorder/src/lock.rs"]
mod lock;
#[path = "../../../recorder/src/log/mod.rs"]
pub mod log;
#[path = "../../../recorder/src/ring/mod.rs"]
pub mod ring;
#[path = "../../../recorder/src/segment/mod.rs"]
pub mod segment;

mod http;
mod policy;
mod record;

pub use http::{chunk_decoder, request_head, response_head};
pub use policy::{imported_rules, json_walker, load_policies, sse_reader};
pub use record::{frame_decoder, segment_reader};

/// The first byte of the input as a choice, and the rest.
fn choice(data: &[u8]) -> (usize, &[u8]) {
    data.split_first()
        .map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}
