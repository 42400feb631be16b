//! HTTP/1.1 on the wire, sans-I/O: bytes in, messages out, and back.
//!
//! Why our own: a gateway that decides on one reading of a message while the engine behind it acts
//! on another has decided nothing. So framing, Host, targets and chunks are read by rules that
//! accept one spelling and refuse the rest; nothing is repaired, and every message that goes out
//! is written anew, with one framing field that we computed. `httparse` only splits lines into
//! tokens. The rules are those of RFC 9110 and RFC 9112; each refusal names its section.
//!
//! What it promises:
//! - The outcome never depends on how the bytes arrived: a head cut anywhere gives the same result
//!   as the whole, a bound is enforced at the first byte past it, no byte is searched twice.
//! - A head that is returned is valid, and its accessors cannot fail.
//! - No allocation beyond the owned copy of the head and its index, and both are reused when the
//!   caller hands the same [`RequestHead`] or [`ResponseHead`] back.
//! - No panic on any input.
//!
//! What it does not do: it knows no clock, no socket, no body size limit and no route. Those are
//! the exchange's.
//!
//! Where to start: [`RequestHead`] and [`parse_request_into`], then [`ChunkDecoder`], then
//! [`RequestWriter`] and [`ResponseWriter`].

mod chunk;
mod fields;
mod framing;
mod head;
mod refusal;
mod request;
mod response;
mod scan;
mod target;
mod write;

pub use chunk::{ChunkDecoder, ChunkStep, chunk, chunk_end, chunk_start, last_chunk};
pub use fields::{Fields, connection_names, is_hop_by_hop};
pub use framing::{Framing, ResponseFraming};
pub use head::{FIELDS_MAX, HEAD_MAX, HeadLimits, Method, Progress, Version};
pub use refusal::{Refusal, ResponseFault};
pub use request::{RequestHead, parse_request, parse_request_into};
pub use response::{ResponseHead, parse_response, parse_response_into};
pub use scan::HeadScanner;
pub use write::{FieldError, Persistence, RequestWriter, ResponseWriter, reason, write_continue};
