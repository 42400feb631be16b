//! One connection: bytes out, responses in.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::response::{Event, EventReader, Framing, Head, Response, parse_head};

/// How long a read waits unless [`Connection::timeout`] says otherwise.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The largest body that is kept.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest chunk-size line.
const CHUNK_LINE_MAX: usize = 1024;

/// Why a response could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed, or nothing came in time.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The peer closed before the response was complete.
    #[error("closed early, after {} bytes of the body: {:?}", .0.len(), String::from_utf8_lossy(.0))]
    Closed(Vec<u8>),
    /// What came is no HTTP/1.1.
    #[error("malformed response: {0}")]
    Malformed(String),
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a server.
pub struct Connection {
    socket: Socket,
    buffer: Vec<u8>,
    framing: Framing,
    /// Bytes left of the chunk being read.
    chunk_left: u64,
    ended: bool,
    events: EventReader,
}

// === impl Connection ===

impl Connection {
    /// Connects by TCP.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, READ_TIMEOUT)?;
        socket.set_nodelay(true)?;
        Self::over(Socket::Tcp(socket))
    }

    /// Connects by a Unix socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Self::over(Socket::Unix(UnixStream::connect(path)?))
    }

    fn over(socket: Socket) -> io::Result<Self> {
        let mut connection = Self {
            socket,
            buffer: Vec::new(),
            framing: Framing::None,
            chunk_left: 0,
            ended: true,
            events: EventReader::default(),
        };
        connection.timeout(READ_TIMEOUT)?;
        Ok(connection)
    }

    /// Sets how long each read waits.
    pub fn timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Socket::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    /// Sends these bytes and no others.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Says that nothing more will be sent.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    /// Reads a whole response; interim ones (1xx) are skipped.
    pub fn read_response(&mut self) -> Result<Response, ClientError> {
        self.read_response_to(false)
    }

    /// Reads a whole response; to a HEAD request it has no body.
    pub fn read_response_to(&mut self, head_request: bool) -> Result<Response, ClientError> {
        let head = self.read_head_to(head_request)?;
        let body = self.read_rest()?;
        Ok(Response { head, body })
    }

    /// Reads a head; the body follows by [`next_piece`](Self::next_piece),
    /// [`next_event`](Self::next_event) or [`read_rest`](Self::read_rest).
    pub fn read_head(&mut self) -> Result<Head, ClientError> {
        self.read_head_to(false)
    }

    fn read_head_to(&mut self, head_request: bool) -> Result<Head, ClientError> {
        loop {
            let head = self.read_any_head()?;
            if head.status / 100 == 1 && head.status != 101 {
                continue;
            }
            self.framing = head.framing(head_request).map_err(ClientError::Malformed)?;
            self.chunk_left = 0;
            self.events = EventReader::default();
            self.ended = matches!(self.framing, Framing::None | Framing::Length(0));
            return Ok(head);
        }
    }

    /// Reads a head, interim or not.
    pub fn read_any_head(&mut self) -> Result<Head, ClientError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return parse_head(&bytes).map_err(ClientError::Malformed);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(ClientError::Malformed("a head without end".into()));
            }
            if self.fill()? == 0 {
                return Err(ClientError::Closed(std::mem::take(&mut self.buffer)));
            }
        }
    }

    /// The next bytes of the body as they arrive; `None` at its proper end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            match self.framing {
                Framing::Chunked if self.chunk_left == 0 => {
                    if !self.next_chunk()? {
                        self.ended = true;
                    }
                    continue;
                }
                Framing::Chunked => {}
                _ if self.buffer.is_empty() => {
                    if self.fill()? > 0 {
                        continue;
                    }
                    self.ended = true;
                    return match self.framing {
                        Framing::UntilClose => Ok(None),
                        _ => Err(ClientError::Closed(Vec::new())),
                    };
                }
                _ => {}
            }
            return self.take_piece().map(Some);
        }
    }

    fn take_piece(&mut self) -> Result<Vec<u8>, ClientError> {
        match self.framing {
            Framing::Length(left) => {
                let count = self
                    .buffer
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                self.framing = Framing::Length(left - count as u64);
                self.ended = left == count as u64;
                Ok(self.buffer.drain(..count).collect())
            }
            Framing::Chunked => {
                self.need(1)?;
                let left = usize::try_from(self.chunk_left).unwrap_or(usize::MAX);
                let count = self.buffer.len().min(left);
                let piece = self.buffer.drain(..count).collect();
                self.chunk_left -= count as u64;
                if self.chunk_left == 0 {
                    self.expect_line_end()?;
                }
                Ok(piece)
            }
            Framing::UntilClose | Framing::None => Ok(std::mem::take(&mut self.buffer)),
        }
    }

    /// Reads a chunk's size; false for the last chunk, with its trailers read.
    fn next_chunk(&mut self) -> Result<bool, ClientError> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default();
        let valid =
            (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| valid);
        let size = size.ok_or_else(|| ClientError::Malformed(format!("chunk size {line:?}")))?;
        self.chunk_left = size;
        if size == 0 {
            while !self.line()?.is_empty() {}
        }
        Ok(size > 0)
    }

    fn line(&mut self) -> Result<String, ClientError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).take(at).collect();
                return String::from_utf8(line)
                    .map_err(|_| ClientError::Malformed("a chunk line that is no text".into()));
            }
            if self.buffer.len() > CHUNK_LINE_MAX {
                return Err(ClientError::Malformed("a chunk line without end".into()));
            }
            if self.fill()? == 0 {
                return Err(ClientError::Closed(Vec::new()));
            }
        }
    }

    fn expect_line_end(&mut self) -> Result<(), ClientError> {
        self.need(2)?;
        let end: Vec<u8> = self.buffer.drain(..2).collect();
        if end == b"\r\n" {
            return Ok(());
        }
        Err(ClientError::Malformed(format!("a chunk ends with {end:?}")))
    }

    fn need(&mut self, count: usize) -> Result<(), ClientError> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(ClientError::Closed(Vec::new()));
            }
        }
        Ok(())
    }

    /// The rest of the body. When the peer closes early the error has what came until then.
    pub fn read_rest(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        loop {
            match self.next_piece() {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok(body),
                Err(ClientError::Closed(_)) => return Err(ClientError::Closed(body)),
                Err(ClientError::Io(error)) if is_reset(&error) => {
                    return Err(ClientError::Closed(body));
                }
                Err(error) => return Err(error),
            }
            if body.len() > BODY_BYTES_MAX {
                return Err(ClientError::Malformed("a body without end".into()));
            }
        }
    }

    /// The next server-sent event as soon as it has arrived; `None` when the body has ended.
    pub fn next_event(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.events.next_ready() {
                return Ok(Some(event));
            }
            match self.next_piece()? {
                Some(piece) => self.events.push(&piece),
                None => return Ok(None),
            }
        }
    }

    /// Whether the peer has closed: waits for that (or for more bytes) at most the timeout.
    pub fn closed(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        match self.fill() {
            Ok(count) => count == 0,
            Err(error) => is_reset(&error),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0u8; 16 * 1024];
        let count = loop {
            let read = match &mut self.socket {
                Socket::Tcp(socket) => socket.read(&mut bytes),
                Socket::Unix(socket) => socket.read(&mut bytes),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
