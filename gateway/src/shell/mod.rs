//! The only module that names the async runtime: sockets, TLS, timers, one pinned thread per core.
//!
//! [`start`] binds the listeners, starts a thread for each core and returns; each thread runs a
//! compio runtime of its own and shares nothing with the others but immutable snapshots.

mod connection;
mod count;
mod heads;
mod hold;
mod io;
mod listen;
mod live;
mod relay;
mod room;
mod runtime;
mod shedding;
mod timers;
mod tls;
mod wait;
mod worker;

pub(crate) use listen::bind_unix;
pub use listen::{Bound, Listeners};
pub use runtime::{driver_name, probe_driver};
pub use tls::server_config;
pub use worker::{Shutdown, WorkerSeed, start};
