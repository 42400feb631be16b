//! The listeners of the control API: the Unix socket, and TCP with TLS. Each serves a bounded
//! number of connections, and none waits for ever for a head, a body, a handshake or a reader.
//!
//! The two have bounds of their own: a crowd on the network never keeps an operator from the
//! socket.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections that one listener serves at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// How long a request's head may take; so long, too, may a connection rest between two requests.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long bytes may wait for a client to take them.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most fields of a request's head.
const FIELDS_MAX: usize = 64;
/// How long to rest when no connection can be accepted, for want of open files.
const ACCEPT_REST: Duration = Duration::from_millis(100);

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
}

/// Serves a Unix socket, on a task of its own.
pub(super) fn serve_unix(listener: UnixListener, router: Router) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let permit = place(&places).await;
            let Some(stream) = accepted(listener.accept().await.map(|(stream, _)| stream)).await
            else {
                continue;
            };
            let peer = Peer::Local(stream.peer_cred().ok().map(|peer| peer.uid()));
            tokio::spawn(serve(stream, peer, router.clone(), permit));
        }
    });
    Ok(())
}

/// Serves a TCP port, on a task of its own.
pub(super) fn serve_tcp(at: TcpPlace, router: Router) -> std::io::Result<()> {
    at.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(at.listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let permit = place(&places).await;
            let Some((stream, _)) = accepted(listener.accept().await).await else {
                continue;
            };
            let tls = at.tls.as_ref().map(|tls| tls.load_full());
            let router = router.clone();
            tokio::spawn(async move {
                bound_reading(&stream);
                let peer = Peer::Remote;
                match tls {
                    None => serve(stream, peer, router, permit).await,
                    // No configuration: none that could be served in the clear instead.
                    Some(None) => {}
                    Some(Some(config)) => {
                        let handshake = TlsAcceptor::from(config).accept(stream);
                        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, handshake).await
                        {
                            serve(stream, peer, router, permit).await;
                        }
                    }
                }
            });
        }
    });
    Ok(())
}

async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // It is never closed, so there is always a permit in the end.
    places.clone().acquire_owned().await.ok()
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

/// Ends a connection whose client stays away from what was sent.
fn bound_reading(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = socket
        .set_tcp_user_timeout(Some(UNREAD_MAX))
        .and_then(|()| socket.set_tcp_nodelay(true));
    if let Err(error) = set {
        tracing::debug!("a control connection has no bound on reading: {error}");
    }
}

/// Serves one connection to its end.
async fn serve<I>(io: I, peer: Peer, router: Router, permit: Option<OwnedSemaphorePermit>)
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
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a control connection ended: {error}");
    }
    drop(permit);
}
