//! A non-blocking connection, in clear or with TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ClientConnection;
use socket2::{Domain, SockAddr, SockRef, Type};

use crate::run::target::{Place, Target};

/// Read and written by the system calls themselves: the C library's are points where a thread can be
/// cancelled, which it looks for twice a call.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
pub(super) struct Socket {
    stream: Stream,
    tls: Option<Box<ClientConnection>>,
}

// === impl Stream ===

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = recv(self.as_fd(), buffer, RecvFlags::empty())?;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.as_fd(), bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

// === impl Socket ===

impl Socket {
    /// Begins to connect. It is connected, or has failed, when it becomes writable.
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let (domain, address) = match &target.place {
            Place::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Place::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = socket2::Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address) {
            Ok(()) => {}
            Err(error) if is_in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let stream = match &target.place {
            Place::Tcp(_) => {
                socket.set_tcp_nodelay(true)?;
                Stream::Tcp(socket.into())
            }
            Place::Unix(_) => Stream::Unix(socket.into()),
        };
        Ok(Self { stream, tls: None })
    }

    /// Why connecting failed, when it has.
    pub(super) fn failure(&self) -> io::Result<()> {
        match SockRef::from(self).take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Begins TLS; no byte goes out yet.
    pub(super) fn begin_tls(&mut self, target: &Target) -> io::Result<()> {
        if let Some(tls) = &target.tls {
            let connection = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone());
            let mut connection = connection.map_err(io::Error::other)?;
            connection.set_buffer_limit(None);
            self.tls = Some(Box::new(connection));
        }
        Ok(())
    }

    /// Goes on with the handshake; true when it is done (or there is none).
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else {
            return Ok(true);
        };
        while tls.is_handshaking() {
            if tls.wants_write() {
                match tls.write_tls(stream) {
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            match tls.read_tls(stream) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    if let Err(error) = tls.process_new_packets() {
                        let _ = tls.write_tls(stream); // the alert; it fails anyway
                        return Err(io::Error::new(ErrorKind::InvalidData, error));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes bytes to send; with TLS all of them, to be sent by [`flush`](Self::flush).
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => tls.writer().write(bytes),
        }
    }

    /// Sends what TLS has; true when nothing is left of it.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Self { stream, tls } = self;
        if let Some(tls) = tls {
            while tls.wants_write() {
                match tls.write_tls(stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }

    /// Reads what there is; 0 is the end. In clear, less than the buffer holds means that there is
    /// no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else {
            return stream.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Cut off without a word of TLS: HTTP knows whether something is missing.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            tls.read_tls(stream)?;
            let read = tls.process_new_packets();
            read.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// TLS has something that was not sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Whether a short read leaves something to be read.
    pub(super) fn reads_on(&self) -> bool {
        self.tls.is_some()
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
