//! A strict HTTP/1.1 client over blocking sockets, for tests that care about bytes.
//!
//! It sends exactly what it is given, reads one response at a time, strictly (a chunk with a bad
//! size or a body that ends early is an error, never a shorter answer), and can read a stream
//! event by event while it arrives. Every read has a timeout.

mod connection;
mod request;
mod response;

pub use connection::{ClientError, Connection, READ_TIMEOUT};
pub use request::{Call, mint_at};
pub use response::{Event, EventReader, Head, Response, parse_head};
