//! One connection of the load side, in clear or encrypted, never blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use socket2::{Domain, Socket, Type};

use crate::error::{Doing, Error, Result};
use crate::scenario;

/// The name in the certificate.
pub const SERVER_NAME: &str = "localhost";

/// Clients that open a connection for each request do so from this many addresses: the ports of one
/// would be used up in a second.
const SOURCES: u8 = 200;

/// A slow client's receive buffer: what does not fit waits in the subject.
const SLOW_BUFFER_BYTES: usize = 8 << 10;

/// `EINPROGRESS`: the other side has not answered yet.
const IN_PROGRESS: i32 = 115;

/// How connections are made.
#[derive(Debug, Clone)]
pub struct Dialer {
    target: SocketAddr,
    /// One for each client, with the sessions that it may continue; none in clear.
    tls: Vec<Arc<ClientConfig>>,
    /// From changing addresses.
    many: bool,
    slow: bool,
    dialed: u32,
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    session: Option<Box<ClientConnection>>,
}

// === impl Dialer ===

impl Dialer {
    /// To a subject that has this certificate (PEM), as the scenario connects.
    pub fn new(target: SocketAddr, scenario: &scenario::Scenario, pem: &str) -> Result<Dialer> {
        let wire = scenario.wire;
        let clients = if wire.is_tls() {
            scenario.connections
        } else {
            0
        };
        let tls: Result<_> = (0..clients)
            .map(|_| Ok(Arc::new(client_config(pem, wire)?)))
            .collect();
        Ok(Dialer {
            target,
            tls: tls?,
            many: wire.is_new(),
            slow: scenario.pace.is_some(),
            dialed: 0,
        })
    }

    /// A new connection of the first client that may still be under way: a full backlog is not
    /// waited for. What is written waits until it is there.
    pub fn dial_without_waiting(&mut self) -> Result<Wire> {
        self.connect(0, true)
    }

    /// A new connection of one of the clients. On loopback it is there when the call returns.
    pub fn dial(&mut self, client: usize) -> Result<Wire> {
        self.connect(client, false)
    }

    fn connect(&mut self, client: usize, at_once: bool) -> Result<Wire> {
        let connecting = || format!("connecting to {}", self.target);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).doing(connecting)?;
        if self.many {
            self.dialed = self.dialed.wrapping_add(1);
            let last = 2 + (self.dialed % u32::from(SOURCES)) as u8;
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
            socket.bind(&source.into()).doing(connecting)?;
        }
        if self.slow {
            socket
                .set_recv_buffer_size(SLOW_BUFFER_BYTES)
                .doing(connecting)?;
        }
        socket.set_tcp_nodelay(true).doing(connecting)?;
        socket.set_nonblocking(at_once).doing(connecting)?;
        match socket.connect(&self.target.into()) {
            Err(error) if at_once && error.raw_os_error() == Some(IN_PROGRESS) => {}
            other => other.doing(connecting)?,
        }
        socket.set_nonblocking(true).doing(connecting)?;
        let session = match self.tls.get(client % self.tls.len().max(1)) {
            None => None,
            Some(config) => {
                // The name is a constant that is one.
                let name = ServerName::try_from(SERVER_NAME)
                    .map_err(|error| Error::Unable(error.to_string()))?;
                let session = ClientConnection::new(Arc::clone(config), name)
                    .map_err(|error| Error::Unable(format!("TLS: {error}")))?;
                Some(Box::new(session))
            }
        };
        Ok(Wire {
            socket: socket.into(),
            session,
        })
    }
}

fn client_config(pem: &str, wire: scenario::Wire) -> Result<ClientConfig> {
    let unable = |error: &dyn std::fmt::Display| Error::Unable(format!("TLS: {error}"));
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unable(&error))?;
    roots.add(certificate).map_err(|error| unable(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = match wire {
        scenario::Wire::TlsResumed => Resumption::in_memory_sessions(1),
        _ => Resumption::disabled(),
    };
    Ok(config)
}

// === impl Wire ===

impl Wire {
    /// Takes what can be sent now; the rest is for when the socket is writable.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                other => other,
            };
        };
        let taken = session.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    /// What has come, or [`ErrorKind::WouldBlock`]. There may be more.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.socket.read(buffer);
        };
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            let count = session.read_tls(&mut self.socket)?;
            let state = session
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            if count == 0 && state.plaintext_bytes_to_read() == 0 {
                return Ok(0);
            }
            while session.wants_write() {
                match session.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Sends what is encrypted and waits.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        while session.wants_write() {
            match session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come, where the protocol has a word for that.
    pub fn say_goodbye(&mut self) {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            let _ = self.flush(); // who does not hear it sees the connection closed
        }
    }

    /// True when something waits for the socket to be writable.
    pub fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(|it| it.wants_write())
    }

    /// True when all that came so far was read.
    pub fn reads_all_at_once(&self) -> bool {
        self.session.is_none()
    }

    /// Whether its handshake was a full one; none in clear.
    pub fn was_resumed(&self) -> Option<bool> {
        let kind = self.session.as_ref()?.handshake_kind()?;
        Some(matches!(kind, HandshakeKind::Resumed))
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
