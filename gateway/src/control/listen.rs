//! The listeners of the control API: the Unix socket, TCP with TLS, and the metrics' port. Each serves
//! a bounded number of connections, over TCP so many of one address, and none waits for ever for a
//! head, a body, a handshake or a reader.
//!
//! Each has bounds of its own: a crowd on the network never keeps an operator from the socket, and one
//! machine never keeps the others from the network.

mod places;

use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use places::{Place, Places};

/// Connections that one listener serves at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most fields of a request's head.
const FIELDS_MAX: usize = 64;
/// How long to rest when no connection can be accepted, for want of open files.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a listener waits for its clients.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// A request's head may take so long; so long, too, may a connection rest between two requests.
    head: Duration,
    /// A handshake may take so long.
    handshake: Duration,
    /// Bytes may wait so long for a client to take them.
    unread: Duration,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(15),
    handshake: Duration::from_secs(10),
    unread: Duration::from_secs(30),
};

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    /// A process of this machine, by its user id as the kernel tells it.
    Local(Option<u32>),
    /// Somebody who came over TCP.
    Remote,
}

/// Where the control API is reached over TCP.
pub struct TcpPlace {
    /// Bound already.
    pub listener: std::net::TcpListener,
    /// What is served in TLS, exchanged when it is read again; `None` for the clear.
    pub tls: Option<Arc<ArcSwapOption<ServerConfig>>>,
    /// Connections that one address may have at a time; one more is closed.
    pub per_address_max: usize,
}

/// Serves a Unix socket, on a task of its own.
pub(super) fn serve_unix(listener: UnixListener, router: Router) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
    tokio::spawn(async move {
        loop {
            let vacancy = places.vacancy().await;
            let Some(stream) = accepted(listener.accept().await.map(|(stream, _)| stream)).await
            else {
                continue;
            };
            let peer = Peer::Local(stream.peer_cred().ok().map(|peer| peer.uid()));
            let served = serve(stream, peer, router.clone(), PATIENCE.head);
            tokio::spawn(keep(vacancy.take(), served));
        }
    });
    Ok(())
}

/// Serves a TCP port, on a task of its own.
pub(super) fn serve_tcp(at: TcpPlace, router: Router) -> std::io::Result<()> {
    let places = Places::new(CONNECTIONS_MAX, at.per_address_max);
    serve_tcp_within(at, router, places, PATIENCE)
}

fn serve_tcp_within(
    at: TcpPlace,
    router: Router,
    places: Arc<Places>,
    patience: Patience,
) -> std::io::Result<()> {
    at.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(at.listener)?;
    tokio::spawn(async move {
        loop {
            let vacancy = places.vacancy().await;
            let Some((stream, from)) = accepted(listener.accept().await).await else {
                continue;
            };
            let Some(place) = vacancy.take_from(from.ip()) else {
                tracing::debug!("a control connection is closed: {} has too many", from.ip());
                continue;
            };
            bound_reading(&stream, patience.unread);
            let tls = at.tls.as_ref().map(|tls| tls.load_full());
            let router = router.clone();
            tokio::spawn(keep(place, async move {
                let peer = Peer::Remote;
                match tls {
                    None => serve(stream, peer, router, patience.head).await,
                    // No configuration: none that could be served in the clear instead.
                    Some(None) => {}
                    Some(Some(config)) => {
                        let handshake = TlsAcceptor::from(config).accept(stream);
                        let made = tokio::time::timeout(patience.handshake, handshake).await;
                        if let Ok(Ok(stream)) = made {
                            serve(stream, peer, router, patience.head).await;
                        }
                    }
                }
            }));
        }
    });
    Ok(())
}

/// A connection that keeps its place until it has ended.
async fn keep(place: Place, served: impl Future<Output = ()>) {
    served.await;
    drop(place);
}

async fn accepted<T>(accepted: std::io::Result<T>) -> Option<T> {
    match accepted {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::warn!("a control connection cannot be accepted: {error}");
            tokio::time::sleep(ACCEPT_REST).await;
            None
        }
    }
}

/// Ends a connection whose client stays away from what was sent for so long.
fn bound_reading(stream: &TcpStream, unread: Duration) {
    let socket = socket2::SockRef::from(stream);
    let set = socket
        .set_tcp_user_timeout(Some(unread))
        .and_then(|()| socket.set_tcp_nodelay(true));
    if let Err(error) = set {
        tracing::debug!("a control connection has no bound on reading: {error}");
    }
}

/// Serves one connection to its end.
async fn serve<I>(io: I, peer: Peer, router: Router, head_max: Duration)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { router.oneshot(request).await as Result<_, Infallible> }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a control connection ended: {error}");
    }
}

#[cfg(test)]
mod tests;
