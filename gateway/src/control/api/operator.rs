//! Who is at the other end of the control socket: the kernel says, not the caller.

use std::fmt;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// An operator, by the user id of their process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator(Option<u32>);

// === impl Operator ===

impl Connected<IncomingStream<'_, UnixListener>> for Operator {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => write!(f, "uid:{uid}"),
            None => f.write_str("unknown"),
        }
    }
}

/// Hands the operator to handlers.
pub(super) async fn identify(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let operator = ConnectInfo::<Operator>::from_request_parts(&mut parts, &())
        .await
        .map_or(Operator(None), |ConnectInfo(operator)| operator);
    parts.extensions.insert(operator);
    next.run(Request::from_parts(parts, body)).await
}
