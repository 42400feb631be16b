//! Listening sockets: one TCP socket per core on the same port, so that the kernel spreads
//! connections and no core waits for another; one Unix socket that the cores share.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{ConfigError, Listen};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;
/// Who may connect to the Unix socket: its owner and group.
const UNIX_MODE: u32 = 0o660;

/// One core's sockets.
pub struct Listeners {
    /// TCP, where configured.
    pub tcp: Option<TcpListener>,
    /// The shared Unix socket, where configured.
    pub unix: Option<UnixListener>,
}

/// All cores' sockets, and where they listen.
pub struct Bound {
    /// One set per core.
    pub cores: Vec<Listeners>,
    /// The TCP address with its real port.
    pub tcp: Option<SocketAddr>,
}

// === impl Bound ===

impl Bound {
    /// Binds for `count` cores.
    pub fn bind(listen: &Listen, count: usize) -> Result<Self, ConfigError> {
        let mut tcp_address = listen.tcp;
        let unix = match &listen.unix {
            Some(path) => Some(bind_unix(path).map_err(|error| {
                ConfigError::plain(path, format!("cannot listen on this socket: {error}"))
            })?),
            None => None,
        };
        if let Some(address) = tcp_address {
            probe_tcp(address).map_err(|error| {
                let at = format!("tcp {address}");
                ConfigError::plain(Path::new(&at), format!("cannot listen here: {error}"))
            })?;
        }
        let mut cores = Vec::with_capacity(count);
        for _ in 0..count {
            let tcp = match &mut tcp_address {
                Some(address) => Some(bind_tcp(address).map_err(|error| {
                    let at = format!("tcp {address}");
                    ConfigError::plain(Path::new(&at), format!("cannot listen here: {error}"))
                })?),
                None => None,
            };
            let unix = unix.as_ref().map(UnixListener::try_clone).transpose();
            let unix = unix.map_err(|error| {
                ConfigError::plain(Path::new("unix listener"), error.to_string())
            })?;
            cores.push(Listeners { tcp, unix });
        }
        Ok(Self {
            cores,
            tcp: tcp_address,
        })
    }
}

/// Binds and writes the real port back, so that the next core gets the same.
fn bind_tcp(address: &mut SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(*address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    let listener: TcpListener = socket.into();
    *address = listener.local_addr()?;
    Ok(listener)
}

/// Fails where somebody listens already. Sharing the port, which our cores do among themselves,
/// would give a forgotten gateway, with the policy of its day, a part of the calls.
fn probe_tcp(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    tcp_socket(address)?.bind(&address.into())
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Binds a Unix socket for our user and group, replacing a socket that nobody listens on any more,
/// and nothing else.
pub(crate) fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    // Nobody may connect in the moment between the two steps.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = bound?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
