//! One connection of the double: read a request, answer it, again.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::Ordering;

use super::Shared;
use super::bench::{self, Bench};
use super::ledger::Recorded;
use super::plan::Plan;
use super::routes;
use super::send::{Sender, Sent};
use crate::http::{RequestHead, Socket};

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// The largest body that is read.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A buffer larger than this is given back once its request is answered.
const BUFFER_KEPT_BYTES: usize = 512 * 1024;

/// A request read whole.
struct Incoming {
    head: RequestHead,
    /// The decoded body, when it came in chunks; otherwise it lies in the buffer.
    chunks: Option<Vec<u8>>,
    /// Bytes of the buffer that belong to it.
    bytes: usize,
}

enum Read {
    Request(Incoming),
    End,
    Incomplete,
    Malformed(&'static str),
}

/// Counts an open connection down when it ends, however it ends.
struct Open<'a>(&'a Shared);

/// Likewise an answer on its way.
struct Generating<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0
            .ledger
            .connections_open
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Generating<'_> {
    fn drop(&mut self) {
        self.0.ledger.generating.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `socket` until one side has had enough.
pub(super) async fn serve(shared: &Shared, socket: Socket, bench: &RefCell<Bench>) {
    let connection = shared.ledger.next_connection();
    let _open = Open(shared);
    let ledger = &shared.ledger;
    let mut buffer = Vec::new();
    loop {
        let incoming = match read(&socket, &mut buffer).await {
            Ok(Read::Request(incoming)) => incoming,
            Ok(Read::End) => return,
            Ok(Read::Incomplete) | Err(_) => return ledger.count(&ledger.incomplete),
            Ok(Read::Malformed(why)) => {
                ledger.count(&ledger.malformed);
                let _ = socket.write(malformed(why).as_bytes()).await; // it closes anyway
                return;
            }
        };
        let keep = match prepared(shared, bench, &incoming, &buffer) {
            Some(answer) => {
                ledger.bench.fetch_add(1, Ordering::Relaxed);
                match answer.send(&socket).await {
                    Ok(()) => ledger.completed.fetch_add(1, Ordering::Relaxed),
                    Err(_) => return ledger.count(&ledger.cancelled),
                };
                buffer.drain(..incoming.bytes);
                incoming.head.keep_alive
            }
            None => answer(shared, &socket, connection, incoming, &mut buffer).await,
        };
        if !keep {
            return;
        }
        if buffer.is_empty() && buffer.capacity() > BUFFER_KEPT_BYTES {
            buffer = Vec::new();
        }
    }
}

/// The fast path: a model whose name says how many bytes to answer.
fn prepared(
    shared: &Shared,
    bench: &RefCell<Bench>,
    incoming: &Incoming,
    buffer: &[u8],
) -> Option<bench::Prepared> {
    if let Some(credential) = &shared.credential_line {
        memchr::memmem::find(&buffer[..incoming.head.bytes], credential.as_bytes())?;
    }
    let body = match &incoming.chunks {
        Some(body) => body.as_slice(),
        None => &buffer[incoming.head.bytes..incoming.bytes],
    };
    bench
        .borrow_mut()
        .find(&buffer[incoming.head.target.clone()], body)
}

async fn answer(
    shared: &Shared,
    socket: &Socket,
    connection: u64,
    incoming: Incoming,
    buffer: &mut Vec<u8>,
) -> bool {
    let Incoming {
        head,
        chunks,
        bytes,
    } = incoming;
    let ledger = &shared.ledger;
    let request = recorded(
        ledger.next_serial(),
        connection,
        &head,
        chunks,
        &buffer[..bytes],
    );
    buffer.drain(..bytes);
    let plan = routes::plan(shared, &request);
    let head_only = request.method == "HEAD";
    ledger.generating.fetch_add(1, Ordering::Relaxed);
    let _generating = Generating(shared);
    ledger.record(request);
    let reply = match plan {
        Plan::Vanish { reset } => {
            if reset {
                socket.reset_on_close();
            }
            ledger.count(&ledger.truncated);
            return false;
        }
        Plan::Raw(bytes) => {
            let sent = socket.write(&bytes).await;
            ledger.count(if sent.is_ok() {
                &ledger.completed
            } else {
                &ledger.cancelled
            });
            return false;
        }
        Plan::Reply(reply) => reply,
    };
    let sender = Sender {
        socket,
        early: buffer,
        head_only,
        keep_alive: head.keep_alive,
    };
    match sender.send(*reply).await {
        Sent::Whole { keep } => {
            ledger.count(&ledger.completed);
            keep
        }
        Sent::Truncated => {
            ledger.count(&ledger.truncated);
            false
        }
        Sent::Cancelled => {
            ledger.count(&ledger.cancelled);
            false
        }
    }
}

fn recorded(
    serial: u64,
    connection: u64,
    head: &RequestHead,
    chunks: Option<Vec<u8>>,
    bytes: &[u8],
) -> Recorded {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = text(&bytes[..head.bytes]);
    let fields = lines
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    Recorded {
        serial,
        connection,
        method: text(&bytes[head.method.clone()]),
        target: text(&bytes[head.target.clone()]),
        fields: fields
            .map(|(name, value)| (name.into(), value.trim().into()))
            .collect(),
        head: bytes[..head.bytes].to_vec(),
        chunked: chunks.is_some(),
        body: chunks.unwrap_or_else(|| bytes[head.bytes..].to_vec()),
    }
}

// === reading ===

async fn read(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<Read> {
    let head = loop {
        match RequestHead::parse(buffer) {
            Some(Ok(head)) => break head,
            Some(Err(why)) => return Ok(Read::Malformed(why)),
            None if buffer.len() > HEAD_BYTES_MAX => return Ok(Read::Malformed("a long head")),
            None => {}
        }
        if socket.read(buffer).await? == 0 {
            return Ok(if buffer.is_empty() {
                Read::End
            } else {
                Read::Incomplete
            });
        }
    };
    let length = head.content_length.unwrap_or(0);
    if head.chunked && head.content_length.is_some() {
        return Ok(Read::Malformed("both content-length and chunks"));
    }
    if length > BODY_BYTES_MAX {
        return Ok(Read::Malformed("a large body"));
    }
    if head.expect_continue && (head.chunked || length > 0) && buffer.len() == head.bytes {
        socket.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if head.chunked {
        return read_chunks(socket, buffer, head).await;
    }
    let bytes = head.bytes + length as usize; // at most BODY_BYTES_MAX
    while buffer.len() < bytes {
        if socket.read(buffer).await? == 0 {
            return Ok(Read::Incomplete);
        }
    }
    Ok(Read::Request(Incoming {
        head,
        chunks: None,
        bytes,
    }))
}

async fn read_chunks(socket: &Socket, buffer: &mut Vec<u8>, head: RequestHead) -> io::Result<Read> {
    let mut body = Vec::new();
    let mut at = head.bytes;
    let mut last = false;
    loop {
        let Some(end) = memchr::memmem::find(&buffer[at..], b"\r\n") else {
            if buffer.len() - at > HEAD_BYTES_MAX {
                return Ok(Read::Malformed("a long chunk line"));
            }
            if socket.read(buffer).await? == 0 {
                return Ok(Read::Incomplete);
            }
            continue;
        };
        let line = at..at + end;
        at += end + 2;
        if last {
            if line.is_empty() {
                return Ok(Read::Request(Incoming {
                    head,
                    chunks: Some(body),
                    bytes: at,
                }));
            }
            continue; // a trailer
        }
        let digits = buffer[line]
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        let size = std::str::from_utf8(digits).ok();
        let Some(size) = size.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
            return Ok(Read::Malformed("a chunk size that is no number"));
        };
        last = size == 0;
        if last {
            continue;
        }
        if size + body.len() as u64 > BODY_BYTES_MAX {
            return Ok(Read::Malformed("a large body"));
        }
        let size = size as usize; // at most BODY_BYTES_MAX
        while buffer.len() < at + size + 2 {
            if socket.read(buffer).await? == 0 {
                return Ok(Read::Incomplete);
            }
        }
        body.extend_from_slice(&buffer[at..at + size]);
        if &buffer[at + size..at + size + 2] != b"\r\n" {
            return Ok(Read::Malformed("a chunk without its end"));
        }
        at += size + 2;
    }
}

fn malformed(why: &str) -> String {
    let body = format!("{{\"detail\":\"the double cannot delimit this request: {why}\"}}");
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}
