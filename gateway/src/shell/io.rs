//! A byte stream of either kind, TCP or Unix, in the clear or under TLS, with the reading half as
//! a poll, so that a connection can wait for its client, its upstream and a deadline at once.
//!
//! A read that was begun is never dropped half way: its future stays in the [`Io`] until it
//! completes, so that no byte is lost when the other side of a wait came first. Reads take their
//! buffer from the core's pool only when data arrives; a resting connection holds none.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::driver::BufferRef;
use compio::io::{AsyncRead, AsyncReadManaged, AsyncWrite};
use compio::net::{TcpStream, UnixStream};

use super::tls::Tls;

/// Read size when the core's buffer pool is exhausted.
const OWN_BUFFER_BYTES: usize = 8 * 1024;
/// Room that a body which has just begun is given at a time; more of it gets more, in proportion to
/// what came, since what is announced costs its sender nothing.
const BEHIND_BYTES_MIN: usize = 16 * 1024;

/// A connected stream.
pub(super) struct Io {
    socket: Socket,
    tls: Option<Box<Tls>>,
    reading: Option<Reading>,
    /// Received and not yet consumed, in the clear.
    input: Vec<u8>,
    consumed: usize,
    ended: bool,
    spoiled: bool,
}

#[derive(Clone)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A read under way.
type Reading = Pin<Box<dyn Future<Output = io::Result<Chunk>>>>;

/// What one read brought.
enum Chunk {
    Pooled(BufferRef),
    Own(Vec<u8>),
    /// A body that was read on into, and how long it was before.
    Behind(Vec<u8>, usize),
    End,
}

// === impl Io ===

impl Io {
    /// A TCP stream in the clear, with delays switched off: tokens must not wait for an ACK.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::over(Socket::Tcp(stream)))
    }

    /// A Unix stream.
    pub(super) fn unix(stream: UnixStream) -> Self {
        Self::over(Socket::Unix(stream))
    }

    /// Connects to a TCP address.
    pub(super) async fn connect_tcp(address: std::net::SocketAddr) -> io::Result<Self> {
        Self::tcp(TcpStream::connect(address).await?)
    }

    /// Connects to a Unix socket.
    pub(super) async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::unix(UnixStream::connect(path).await?))
    }

    /// Puts a TLS server session between the socket and the caller.
    pub(super) fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(Box::new(tls));
        self
    }

    fn over(socket: Socket) -> Self {
        Self {
            socket,
            tls: None,
            reading: None,
            input: Vec::new(),
            consumed: 0,
            ended: false,
            spoiled: false,
        }
    }

    /// Received bytes that nobody has consumed yet.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.consumed..]
    }

    /// Gives up `count` bytes of [`Io::input`].
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.input().len());
        self.consumed += count;
        if self.consumed == self.input.len() {
            self.input.clear();
            self.consumed = 0;
        }
    }

    /// Frees the input's memory where nothing is in it: for a connection that rests, or waits.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// Something was left half done on this stream: it serves no second request.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// True when this stream serves no second request, or has ended.
    pub(super) fn spoiled(&self) -> bool {
        self.spoiled || self.ended
    }

    /// Reads more into [`Io::input`]; `Ready(Ok(0))` at the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let begin = |socket| -> Reading { Box::pin(read(socket)) };
            let Some(chunk) = ready!(self.poll_chunk(cx, begin))? else {
                return Poll::Ready(Ok(0));
            };
            let gained = self.take_in(&chunk)?;
            // A TLS record may carry no application data (a ticket, a key update): read on. What
            // the session wants to send in return leaves with the next write.
            if gained > 0 {
                return Poll::Ready(Ok(gained));
            }
            if self.tls.as_ref().is_some_and(|tls| tls.closed()) {
                self.ended = true;
            }
        }
    }

    /// Reads up to `left` more bytes straight behind `body`, or into [`Io::input`] where they cannot
    /// come without a copy: under TLS, and while there is input. While it is pending this stream has
    /// the body.
    pub(super) fn poll_fill_behind(
        &mut self,
        body: &mut Vec<u8>,
        left: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.ended || self.tls.is_some() || !self.input().is_empty() {
            return self.poll_fill(cx);
        }
        let begin = |socket| -> Reading {
            let mut body = std::mem::take(body);
            let room = make_room(&mut body, left);
            Box::pin(read_behind(socket, body, room))
        };
        match ready!(self.poll_chunk(cx, begin))? {
            Some(Chunk::Behind(filled, before)) => {
                let gained = filled.len() - before;
                *body = filled;
                Poll::Ready(Ok(gained))
            }
            Some(chunk) => Poll::Ready(self.take_in(&chunk)),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// The read under way, or a new one; `None` at the end of the stream.
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce(Socket) -> Reading,
    ) -> Poll<io::Result<Option<Chunk>>> {
        let reading = self
            .reading
            .get_or_insert_with(|| begin(self.socket.clone()));
        let chunk = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.ended = !chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty());
        Poll::Ready(chunk.map(|chunk| (!self.ended).then_some(chunk)))
    }

    /// Takes what was read into the input; how many bytes that gained.
    fn take_in(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.consumed > 0 {
            self.input.drain(..self.consumed);
            self.consumed = 0;
        }
        let before = self.input.len();
        match &mut self.tls {
            None => self.input.extend_from_slice(chunk),
            Some(tls) => tls.receive(chunk, &mut self.input)?,
        }
        Ok(self.input.len() - before)
    }

    /// Looks without waiting: `true` when the other side has sent something or has gone. For a
    /// connection from a pool, either means that it must not be used.
    pub(super) fn disturbed(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !self.input().is_empty() || self.poll_fill(&mut cx).is_ready()
    }

    /// Writes all of `bytes` and gives the buffer back, emptied.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match &mut self.tls {
            None => self.socket.write_all(bytes).await,
            Some(tls) => {
                let mut records = Vec::new();
                tls.send(&bytes, &mut records)?;
                self.socket.write_all(records).await?;
                let mut bytes = bytes;
                bytes.clear();
                Ok(bytes)
            }
        }
    }

    /// Writes both, one behind the other, and leaves this stream free to be read meanwhile. In the
    /// clear only: under TLS nothing would be encrypted, so there it fails.
    pub(super) fn write_aside(
        &self,
        head: Bytes,
        body: Bytes,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let socket = self.tls.is_none().then(|| self.socket.clone());
        async move {
            match socket {
                Some(mut socket) => socket.write_both(head, body).await,
                None => Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }

    /// Runs a TLS handshake to its end; at once for a stream in the clear.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        loop {
            let Some(tls) = &mut self.tls else {
                return Ok(());
            };
            if tls.wants_write() {
                let mut records = Vec::new();
                tls.drain(&mut records)?;
                self.socket.write_all(records).await?;
                continue;
            }
            if !tls.handshaking() {
                return Ok(());
            }
            let before = self.ended;
            self.fill_handshake().await?;
            if self.ended && !before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the handshake advanced; application data that came along stays in the input.
    async fn fill_handshake(&mut self) -> io::Result<()> {
        let chunk = read(self.socket.clone()).await?;
        if chunk.is_empty() {
            self.ended = true;
            return Ok(());
        }
        match &mut self.tls {
            Some(tls) => {
                let outcome = tls.receive(&chunk, &mut self.input);
                if outcome.is_err() && tls.wants_write() {
                    // The alert that says why.
                    let mut records = Vec::new();
                    tls.drain(&mut records)?;
                    let _ = self.socket.write_all(records).await;
                }
                outcome
            }
            None => Ok(()),
        }
    }

    /// Says that no more will be written; the other side may still send.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut records = Vec::new();
            tls.close(&mut records)?;
            self.socket.write_all(records).await?;
        }
        match &mut self.socket {
            Socket::Tcp(stream) => stream.shutdown().await,
            Socket::Unix(stream) => stream.shutdown().await,
        }
    }

    /// Makes the close that follows a reset: for an answer that must not look complete.
    pub(super) fn reset_on_close(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // Best effort: where it fails the close is still without a last chunk or short of
            // its length.
            let _ = stream.set_zero_linger();
        }
    }
}

// === impl Chunk ===

impl std::ops::Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pooled(buffer) => buffer,
            Self::Own(buffer) => buffer,
            Self::Behind(body, before) => &body[*before..],
            Self::End => &[],
        }
    }
}

// === impl Socket ===

impl Socket {
    async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut slice = bytes.slice(..);
        loop {
            if slice.as_init().is_empty() {
                let mut bytes = slice.into_inner();
                bytes.clear();
                return Ok(bytes);
            }
            let BufResult(outcome, returned) = match self {
                Self::Tcp(stream) => stream.write(slice).await,
                Self::Unix(stream) => stream.write(slice).await,
            };
            let count = outcome?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let begin = returned.begin() + count;
            slice = returned.into_inner().slice(begin..);
        }
    }

    async fn write_both(&mut self, mut head: Bytes, mut body: Bytes) -> io::Result<()> {
        loop {
            if head.is_empty() {
                std::mem::swap(&mut head, &mut body);
            }
            if head.is_empty() {
                return Ok(());
            }
            let both = [head.clone(), body.clone()];
            let outcome = match (&mut *self, body.is_empty()) {
                (Self::Tcp(stream), true) => stream.write(head.clone()).await.0,
                (Self::Tcp(stream), false) => stream.write_vectored(both).await.0,
                (Self::Unix(stream), true) => stream.write(head.clone()).await.0,
                (Self::Unix(stream), false) => stream.write_vectored(both).await.0,
            };
            let count = outcome?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_head = count.min(head.len());
            head.advance(of_head);
            body.advance(count - of_head);
        }
    }
}

/// One read, into a pooled buffer where there is one.
async fn read(mut socket: Socket) -> io::Result<Chunk> {
    let outcome = match &mut socket {
        Socket::Tcp(stream) => stream.read_managed(0).await,
        Socket::Unix(stream) => stream.read_managed(0).await,
    };
    match outcome {
        Ok(Some(buffer)) => Ok(Chunk::Pooled(buffer)),
        Ok(None) => Ok(Chunk::End),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let own = Vec::with_capacity(OWN_BUFFER_BYTES);
            let BufResult(outcome, own) = match &mut socket {
                Socket::Tcp(stream) => stream.read(own).await,
                Socket::Unix(stream) => stream.read(own).await,
            };
            outcome.map(|_| Chunk::Own(own))
        }
        Err(error) => Err(error),
    }
}

/// Makes room behind a body of which `left` bytes are to come; how many may be read there. It grows
/// by a multiple of what came, and only when it is nearly full: bytes that trickle in are not moved
/// each time.
fn make_room(body: &mut Vec<u8>, left: usize) -> usize {
    if body.capacity() - body.len() < left.min(BEHIND_BYTES_MIN / 2) {
        body.reserve_exact(left.min((3 * body.len()).max(BEHIND_BYTES_MIN)));
    }
    left.min(body.capacity() - body.len())
}

/// One read of at most `room` bytes, for which there is room, behind what `body` holds.
async fn read_behind(mut socket: Socket, body: Vec<u8>, room: usize) -> io::Result<Chunk> {
    let before = body.len();
    let behind = body.slice(before..before + room);
    let BufResult(outcome, behind) = match &mut socket {
        Socket::Tcp(stream) => stream.read(behind).await,
        Socket::Unix(stream) => stream.read(behind).await,
    };
    outcome.map(|_| Chunk::Behind(behind.into_inner(), before))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However small the pieces are, a body is moved a few times only, and never has more memory than
    /// in proportion to what came.
    #[test]
    fn a_body_that_trickles_in_is_seldom_moved() {
        const WHOLE: usize = 1 << 20;
        for piece in [1, 7, 1400, 70_000] {
            let (mut body, mut moved) = (vec![0], 0);
            while body.len() < WHOLE {
                let before = body.capacity();
                let left = WHOLE - body.len();
                let room = make_room(&mut body, left);
                assert!((1..=left).contains(&room));
                assert!(body.capacity() <= 4 * body.len() + BEHIND_BYTES_MIN);
                moved += usize::from(body.capacity() != before);
                body.resize(body.len() + room.min(piece), 0);
            }
            assert_eq!(body.len(), WHOLE);
            assert!(moved <= 8, "{moved} times in pieces of {piece}");
        }
    }
}
