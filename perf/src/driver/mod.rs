//! The load side: what is sent, how it is paced, and the verification of every byte that comes back.
//!
//! - [`plan`]: requests and expected answers of a scenario, ready to send
//! - [`wire`]: a connection, in clear or encrypted
//! - [`closed`]: each connection has one request under way: what a unit costs
//! - [`open`]: requests at a rate, whatever the subject does: latency at a load, and overload
//! - [`answer`], [`body`]: reading and comparing; [`meter`]: counting
//!
//! One thread each, and few system calls: the load side must stay cheaper than the cheapest subject.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use wire::Dialer;

pub mod answer;
pub mod body;
pub mod closed;
pub mod meter;
pub mod open;
pub mod plan;
mod rewritten;
pub mod wire;

/// One read takes at most this much.
const READ_BYTES: usize = 64 << 10;

/// Without an answer for this long the subject counts as stuck.
const STALL_MAX: Duration = Duration::from_secs(10);

/// What is looked at, and shown, of an answer to a probe.
const PROBE_BYTES: usize = 1024;

/// Pause between two looks for an answer to a probe.
const PROBE_LOOK: Duration = Duration::from_millis(1);

/// The two moments at which counters are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The window opens.
    Open,
    /// The window closes.
    Close,
}

/// Sends the request once and says what came back instead of a 200. For subjects that accept
/// connections before they can answer; the answer's body is not waited for.
pub fn probe(dialer: &mut Dialer, request: &[u8]) -> Result<(), String> {
    let mut answer = || -> std::io::Result<Vec<u8>> {
        let mut wire = dialer.dial(0).map_err(std::io::Error::other)?;
        let deadline = Instant::now() + STALL_MAX;
        let (mut sent, mut answer) = (0, vec![0; PROBE_BYTES]);
        loop {
            if sent < request.len() {
                sent += wire.write(&request[sent..])?;
            }
            wire.flush()?;
            match wire.read(&mut answer) {
                Ok(count) => {
                    answer.truncate(count);
                    return Ok(answer);
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(PROBE_LOOK),
            }
        }
    };
    match answer() {
        Ok(bytes) if bytes.starts_with(b"HTTP/1.1 200 ") => Ok(()),
        Ok(bytes) => Err(format!(
            "answers with:\n{}",
            String::from_utf8_lossy(&bytes).trim_end()
        )),
        Err(error) => Err(format!("does not answer: {error}")),
    }
}
