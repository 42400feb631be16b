//! The hand-over: how a gateway gives its rings to the recorder.
//!
//! The gateway connects to the recorder's Unix socket and says hello; the recorder checks who is
//! there (`SO_PEERCRED` against its list of users), takes the memory and the bell of each ring
//! (`SCM_RIGHTS`), maps and checks them, and answers. After that the socket carries nothing: its
//! closing tells either side that the other one is gone. A gateway whose recorder was restarted
//! connects again and offers the SAME rings; the recorder knows their ids from its log and goes on
//! where the log ends.
//!
//! ```text
//! gateway  → "PNSTLINK" version:u32 rings:u32 pid:u32 name_len:u16 name
//! gateway  → ring id (16 bytes) + [memfd, eventfd]                    once for each ring
//! recorder → "PNSTLINK" version:u32 status:u32 text_len:u16 text      status 0: taken over
//! ```
//!
//! Integers are little-endian: both ends are on one machine, but the bytes should look the same
//! everywhere. Either side waits for the other at most [`HANDSHAKE_TIMEOUT`]: the recorder for all of
//! a hand-over together, the gateway for each of its few messages. A user that is not on the list
//! is answered and hung up on at once, whatever it sends.

mod offer;
mod receive;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

pub use self::offer::offer;
pub use self::receive::{Guest, Peer, Refusal, identify, receive, refuse, turn_away, welcome};

/// First bytes of either side.
const MAGIC: [u8; 8] = *b"PNSTLINK";
/// Version of the hand-over.
pub const VERSION: u32 = 1;
/// Most rings that one gateway may bring: one for each core of the largest machines.
pub const RINGS_MAX: u32 = 1024;
/// Longest name of a gateway.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest text of an answer.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest wait for the other side; the recorder allows it for a whole hand-over.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

const HELLO_BYTES: usize = 22;
const ANSWER_BYTES: usize = 18;

/// What a gateway says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its name, as records show it.
    pub gateway: String,
    /// Its process id, for the recorder's log.
    pub pid: u32,
    /// How many rings follow.
    pub rings: u32,
}

/// The recorder's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    TakenOver,
    Refused,
}

/// Why rings were not handed over. Whether to try again: [`is_final`](Self::is_final).
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens, or the socket may not be used.
    #[error("cannot reach the recorder at {socket}: {source}")]
    Connect {
        /// Path of the socket.
        socket: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or an answer took too long.
    #[error("the recorder went away during the hand-over: {0}")]
    Broken(io::Error),
    /// What answered is no recorder, or of another version.
    #[error("what answers is not a recorder of version {VERSION}: {0}")]
    Foreign(String),
    /// The recorder said no; its log says the same.
    #[error("the recorder refused: {0}")]
    Refused(String),
    /// The caller's fault: a name or a count out of bounds.
    #[error("cannot be offered: {0}")]
    Invalid(String),
}

// === impl LinkError ===

impl LinkError {
    /// Trying again later is of no use until someone changes something.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Foreign(_))
    }
}

// === impl Hello ===

impl Hello {
    fn encode(&self) -> Result<Vec<u8>, LinkError> {
        if self.gateway.len() > NAME_BYTES_MAX {
            let message = format!("a gateway's name has at most {NAME_BYTES_MAX} bytes");
            return Err(LinkError::Invalid(message));
        }
        if self.rings == 0 || self.rings > RINGS_MAX {
            let message = format!("from 1 to {RINGS_MAX} rings, not {}", self.rings);
            return Err(LinkError::Invalid(message));
        }
        let mut bytes = Vec::with_capacity(HELLO_BYTES + self.gateway.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.rings.to_le_bytes());
        bytes.extend_from_slice(&self.pid.to_le_bytes());
        bytes.extend_from_slice(&(self.gateway.len() as u16).to_le_bytes());
        bytes.extend_from_slice(self.gateway.as_bytes());
        Ok(bytes)
    }
}

/// The answer as bytes; a longer text is cut.
fn encode_answer(status: Status, text: &str) -> Vec<u8> {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = Vec::with_capacity(ANSWER_BYTES + end);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::from(status == Status::Refused).to_le_bytes());
    bytes.extend_from_slice(&(end as u16).to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..end]);
    bytes
}

/// A little-endian number out of a fixed head; the ranges are constants within its size.
fn u32_at(head: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn u16_at(head: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}
