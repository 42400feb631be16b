//! The little asynchronous HTTP/1.1 that the double and the load generator share: a socket of
//! either kind, and a lenient reader of request heads.
//!
//! Lenient on purpose: the double must see what a gateway let through, so it refuses only what it
//! cannot delimit, and says that it did.

use std::io;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use tokio::net::{TcpStream, UnixStream};

/// How much room a read is given.
const READ_BYTES: usize = 16 * 1024;

/// Where a head ends.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));

/// A connected stream of either kind.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a request head says about itself, as ranges of the buffer it was read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHead {
    /// Length of the head with its blank line.
    pub(crate) bytes: usize,
    pub(crate) method: Range<usize>,
    pub(crate) target: Range<usize>,
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
}

// === impl Socket ===

impl Socket {
    /// Appends what there is to `buffer`, waiting for something; 0 is the end.
    pub(crate) async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            match self {
                Socket::Tcp(socket) => socket.readable().await?,
                Socket::Unix(socket) => socket.readable().await?,
            }
        }
    }

    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.reserve(READ_BYTES);
        match self {
            Socket::Tcp(socket) => socket.try_read_buf(buffer),
            Socket::Unix(socket) => socket.try_read_buf(buffer),
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Socket::Tcp(socket) => socket.try_write(bytes),
                Socket::Unix(socket) => socket.try_write(bytes),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                    Socket::Tcp(socket) => socket.writable().await?,
                    Socket::Unix(socket) => socket.writable().await?,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets the close that follows send a reset instead of an end.
    pub(crate) fn reset_on_close(&self) {
        if let Socket::Tcp(socket) = self {
            let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// Reads the head at the front of `buffer`; `None` while it is incomplete.
    pub(crate) fn parse(buffer: &[u8]) -> Option<Result<Self, &'static str>> {
        let end = HEAD_END.find(buffer)? + 4;
        Some(Self::parse_whole(&buffer[..end]))
    }

    fn parse_whole(head: &[u8]) -> Result<Self, &'static str> {
        let line_end = memchr::memchr(b'\n', head).ok_or("no request line")?;
        let line = head[..line_end].trim_ascii_end();
        let method_end = memchr::memchr(b' ', line).ok_or("a request line without target")?;
        let target_end = memchr::memrchr(b' ', line).filter(|at| *at > method_end);
        let target_end = target_end.ok_or("a request line without version")?;
        let mut parsed = Self {
            bytes: head.len(),
            method: 0..method_end,
            target: method_end + 1..target_end,
            keep_alive: line.ends_with(b"HTTP/1.1"),
            ..Self::default()
        };
        let mut at = line_end + 1;
        while at < head.len() {
            let next = memchr::memchr(b'\n', &head[at..]).map_or(head.len(), |end| at + end + 1);
            parsed.field(head[at..next].trim_ascii_end())?;
            at = next;
        }
        Ok(parsed)
    }

    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some(colon) = memchr::memchr(b':', line) else {
            return Ok(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let digits = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let length = digits.ok_or("a content-length that is no number")?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err("two different content-lengths");
                }
                self.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                if !self.chunked {
                    return Err("a transfer-encoding other than chunked");
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                if value.eq_ignore_ascii_case(b"close") {
                    self.keep_alive = false;
                } else if value.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }
}
