//! Sends a reply as its delivery says, and notices when the client goes away.

use std::io::{self, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tokio::time::sleep;

use super::head::Head;
use super::plan::{Body, Delivery, Piece, Reply};
use super::script::{Close, Framing, Truncate};
use crate::http::Socket;

/// Bytes that a client may send while an answer is on its way (it has no reason to).
const EARLY_BYTES_MAX: usize = 1024 * 1024;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// To its end; the connection may be kept or not.
    Whole { keep: bool },
    /// Broken off as the script says.
    Truncated,
    /// The client went away.
    Cancelled,
}

/// Why sending stopped early: the client is gone, or the script says so.
enum Stop {
    Gone,
    Truncate,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Gone // a failing socket is a client that is gone, whatever the code
    }
}

/// The side of a connection that answers: `early` takes bytes that come meanwhile.
pub(super) struct Sender<'a> {
    pub(super) socket: &'a Socket,
    pub(super) early: &'a mut Vec<u8>,
    /// The request was HEAD: no body.
    pub(super) head_only: bool,
    /// The client can keep the connection and read chunks.
    pub(super) keep_alive: bool,
}

enum Coder {
    None,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Sender<'_> {
    /// Sends `reply`.
    pub(super) async fn send(mut self, reply: Reply) -> Sent {
        let close = reply.delivery.close;
        match self.send_reply(reply).await {
            Ok(until_close) => Sent::Whole {
                keep: self.keep_alive && !until_close && close.is_none(),
            },
            Err(Stop::Truncate) => Sent::Truncated,
            Err(Stop::Gone) => Sent::Cancelled,
        }
    }

    async fn send_reply(&mut self, reply: Reply) -> Result<bool, Stop> {
        let Reply {
            status,
            content_type,
            fields,
            body,
            delivery,
            uvicorn,
        } = reply;
        let coder = Coder::of(delivery.encoding.as_deref());
        let usual = match body {
            Body::Stream(_) => Framing::Chunked,
            Body::Whole(_) => Framing::Length,
        };
        let framing = delivery.framing.unwrap_or(usual);
        let ends = framing == Framing::Close || delivery.close == Some(Close::After);
        let mut head = Head {
            status,
            content_type: &content_type,
            fields: &fields,
            encoding: delivery.encoding.as_deref(),
            framing,
            length: 0,
            closes: ends || !self.keep_alive,
            uvicorn,
        };
        let bodyless = head.bodyless();
        match body {
            Body::Whole(bytes) => {
                let bytes = coder.whole(bytes);
                self.wait(delivery.pause(0)).await?;
                for index in 1..delivery.deltas {
                    self.wait(delivery.pause(index)).await?;
                }
                head.length = bytes.len();
                self.send_whole(head.write(), &bytes, framing, bodyless, &delivery)
                    .await?;
            }
            Body::Stream(pieces) => {
                let pieces = coder.pieces(pieces);
                head.length = pieces.iter().map(|piece| piece.bytes.len()).sum();
                self.put(head.write().as_bytes(), &delivery).await?;
                if !self.head_only && !bodyless {
                    self.send_stream(&pieces, framing, &delivery).await?;
                }
            }
        }
        Ok(framing == Framing::Close)
    }

    async fn send_whole(
        &mut self,
        head: String,
        bytes: &[u8],
        framing: Framing,
        bodyless: bool,
        delivery: &Delivery,
    ) -> Result<(), Stop> {
        let mut wire = head.into_bytes();
        if self.head_only || bodyless {
            return self.put(&wire, delivery).await;
        }
        let cut = match delivery.truncate {
            Some(
                Truncate::After(at)
                | Truncate::Event(at)
                | Truncate::Chunk(at)
                | Truncate::Clean(at),
            ) => bytes.len().min(at),
            None => bytes.len(),
        };
        let clean = matches!(delivery.truncate, None | Some(Truncate::Clean(_)));
        if framing == Framing::Chunked {
            let claimed = if clean { cut } else { bytes.len() };
            if claimed > 0 {
                let _ = write!(wire, "{claimed:x}\r\n"); // writes to a Vec
            }
            wire.extend_from_slice(&bytes[..cut]);
            if clean {
                wire.extend_from_slice(if cut > 0 {
                    b"\r\n0\r\n\r\n"
                } else {
                    b"0\r\n\r\n"
                });
            }
        } else {
            wire.extend_from_slice(&bytes[..cut]);
        }
        self.put(&wire, delivery).await?;
        let short = cut < bytes.len() && framing != Framing::Chunked;
        if clean && !short {
            Ok(())
        } else {
            Err(Stop::Truncate)
        }
    }

    async fn send_stream(
        &mut self,
        pieces: &[Piece],
        framing: Framing,
        delivery: &Delivery,
    ) -> Result<(), Stop> {
        let mut deltas = 0;
        let mut burst = Vec::new();
        let mut in_burst = 0;
        for piece in pieces {
            if piece.delta {
                if let Some(cut) = delivery.truncate.and_then(|cut| cut.reached(deltas)) {
                    self.flush(&mut burst, framing, delivery).await?;
                    return self.break_off(cut, piece, framing, delivery).await;
                }
                let pause = delivery.pause(deltas);
                if !pause.is_zero() {
                    self.flush(&mut burst, framing, delivery).await?;
                    in_burst = 0;
                    self.wait(pause).await?;
                }
                deltas += 1;
            }
            burst.extend_from_slice(&piece.bytes);
            in_burst += 1;
            if in_burst >= delivery.burst {
                self.flush(&mut burst, framing, delivery).await?;
                in_burst = 0;
            }
        }
        self.flush(&mut burst, framing, delivery).await?;
        if framing == Framing::Chunked {
            self.put(b"0\r\n\r\n", delivery).await?;
        }
        Ok(())
    }

    async fn break_off(
        &mut self,
        cut: Truncate,
        next: &Piece,
        framing: Framing,
        delivery: &Delivery,
    ) -> Result<(), Stop> {
        let half = &next.bytes[..next.bytes.len() / 2];
        match cut {
            Truncate::After(_) => {}
            Truncate::Event(_) => {
                self.flush(&mut half.to_vec(), framing, delivery).await?;
            }
            Truncate::Chunk(_) => {
                let mut wire = Vec::new();
                if framing == Framing::Chunked {
                    let _ = write!(wire, "{:x}\r\n", next.bytes.len()); // writes to a Vec
                }
                wire.extend_from_slice(half);
                self.put(&wire, delivery).await?;
            }
            Truncate::Clean(_) if framing == Framing::Chunked => {
                self.put(b"0\r\n\r\n", delivery).await?;
                return Ok(());
            }
            Truncate::Clean(_) => {}
        }
        Err(Stop::Truncate)
    }

    /// Sends what has gathered as one chunk.
    async fn flush(
        &mut self,
        burst: &mut Vec<u8>,
        framing: Framing,
        delivery: &Delivery,
    ) -> Result<(), Stop> {
        if burst.is_empty() {
            return Ok(());
        }
        if framing == Framing::Chunked {
            let mut wire = Vec::with_capacity(burst.len() + 12);
            let _ = write!(wire, "{:x}\r\n", burst.len()); // writes to a Vec
            wire.extend_from_slice(burst);
            wire.extend_from_slice(b"\r\n");
            self.put(&wire, delivery).await?;
        } else {
            self.put(burst, delivery).await?;
        }
        burst.clear();
        Ok(())
    }

    async fn put(&mut self, bytes: &[u8], delivery: &Delivery) -> Result<(), Stop> {
        let Some(size) = delivery.wire_bytes else {
            return Ok(self.socket.write(bytes).await?);
        };
        for slice in bytes.chunks(size) {
            self.socket.write(slice).await?;
            if delivery.wire_pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                self.wait(delivery.wire_pause).await?;
            }
        }
        Ok(())
    }

    /// Waits, unless the client goes away meanwhile.
    async fn wait(&mut self, pause: Duration) -> Result<(), Stop> {
        if pause.is_zero() {
            return Ok(());
        }
        let timer = sleep(pause);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => return Ok(()),
                read = self.socket.read(self.early) => {
                    if read? == 0 || self.early.len() > EARLY_BYTES_MAX {
                        return Err(Stop::Gone);
                    }
                }
            }
        }
    }
}

// === impl Truncate ===

impl Truncate {
    /// The cut, when it comes before delta `index`.
    fn reached(self, index: usize) -> Option<Self> {
        let (Truncate::After(at) | Truncate::Event(at) | Truncate::Chunk(at) | Truncate::Clean(at)) =
            self;
        (index >= at).then_some(self)
    }
}

// === impl Coder ===

impl Coder {
    fn of(encoding: Option<&str>) -> Self {
        match encoding {
            Some("gzip") => Coder::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Some("deflate") => Coder::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
            _ => Coder::None,
        }
    }

    fn whole(self, bytes: Vec<u8>) -> Vec<u8> {
        let mut pieces = self.pieces(vec![Piece {
            bytes,
            delta: false,
        }]);
        pieces.pop().map(|piece| piece.bytes).unwrap_or_default()
    }

    /// Encodes each piece so that it can be read as soon as it arrives.
    fn pieces(mut self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.iter_mut().enumerate() {
            piece.bytes = match &mut self {
                Coder::None => continue,
                Coder::Gzip(encoder) => step(
                    encoder,
                    &piece.bytes,
                    index == last,
                    GzEncoder::get_mut,
                    |encoder| encoder.try_finish(),
                ),
                Coder::Deflate(encoder) => step(
                    encoder,
                    &piece.bytes,
                    index == last,
                    ZlibEncoder::get_mut,
                    |encoder| encoder.try_finish(),
                ),
            };
        }
        pieces
    }
}

fn step<E: io::Write>(
    encoder: &mut E,
    bytes: &[u8],
    last: bool,
    output: fn(&mut E) -> &mut Vec<u8>,
    finish: fn(&mut E) -> io::Result<()>,
) -> Vec<u8> {
    let done = encoder.write_all(bytes).and_then(|()| encoder.flush());
    let done = done.and_then(|()| if last { finish(encoder) } else { Ok(()) });
    done.expect("writing to memory does not fail");
    std::mem::take(output(encoder))
}
