//! Where requests go, and the bytes of a request.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::http::Socket;

/// An API to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A server and the request for it.
#[derive(Clone)]
pub struct Target {
    place: Place,
    url: String,
    request: Vec<u8>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL is none that we can call.
    #[error("{0}: use http://host:port or unix:/path (TLS is not spoken here)")]
    Url(String),
    /// Its name has no address.
    #[error("{url}: {source}")]
    Resolve {
        /// The URL.
        url: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// It is another machine.
    #[error("{0} is not this machine: load goes to loopback unless --allow-remote is given")]
    Remote(SocketAddr),
    /// A field would break the request.
    #[error("the token has characters that no header may have")]
    Token,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.url) // never the token in the request
    }
}

// === impl Target ===

impl Target {
    /// A chat with one user message of `prompt` at `url`.
    pub fn new(
        url: &str,
        api: Api,
        model: &str,
        prompt: &str,
        stream: bool,
        token: Option<&str>,
        allow_remote: bool,
    ) -> Result<Self, TargetError> {
        let (place, host, base) = if let Some(path) = url.strip_prefix("unix:") {
            (
                Place::Unix(path.into()),
                "localhost".to_owned(),
                String::new(),
            )
        } else {
            let rest = url
                .strip_prefix("http://")
                .ok_or_else(|| TargetError::Url(url.into()))?;
            let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
            let wants_port = if host.contains(':') {
                host.into()
            } else {
                format!("{host}:80")
            };
            let failed = |source| TargetError::Resolve {
                url: url.into(),
                source,
            };
            let mut addresses = wants_port.to_socket_addrs().map_err(failed)?;
            let address = addresses
                .next()
                .ok_or_else(|| TargetError::Url(url.into()))?;
            if !address.ip().is_loopback() && !allow_remote {
                return Err(TargetError::Remote(address));
            }
            let base = base
                .trim_end_matches('/')
                .trim_end_matches("v1")
                .trim_end_matches('/');
            let base = if base.is_empty() {
                String::new()
            } else {
                format!("/{base}")
            };
            (Place::Tcp(address), host.to_owned(), base)
        };
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(TargetError::Token);
        }
        let (path, body) = api.request(model, prompt, stream);
        let body = body.to_string();
        let mut request = format!(
            "POST {base}{path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: penstock-loadgen\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        if let Some(token) = token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        Ok(Self {
            place,
            url: url.into(),
            request: request.into_bytes(),
        })
    }

    /// The URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The request's bytes.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }
            Place::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }
}

// === impl Api ===

impl Api {
    fn request(self, model: &str, prompt: &str, stream: bool) -> (&'static str, Value) {
        let messages = json!([{ "role": "user", "content": prompt }]);
        match self {
            Api::Chat => (
                "/v1/chat/completions",
                json!({ "model": model, "messages": messages, "stream": stream }),
            ),
            Api::Responses => (
                "/v1/responses",
                json!({ "model": model, "input": prompt, "stream": stream }),
            ),
            Api::Messages => (
                "/v1/messages",
                json!({ "model": model, "max_tokens": 1024, "messages": messages,
                    "stream": stream }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, allow_remote: bool) -> Result<Target, TargetError> {
        Target::new(url, Api::Chat, "m", "hi", false, None, allow_remote)
    }

    #[test]
    fn only_this_machine_unless_allowed() {
        assert!(target("http://127.0.0.1:1", false).is_ok());
        assert!(matches!(
            target("http://192.0.2.1:80", false),
            Err(TargetError::Remote(_))
        ));
        assert!(target("http://192.0.2.1:80", true).is_ok());
        assert!(matches!(
            target("https://127.0.0.1:1", false),
            Err(TargetError::Url(_))
        ));
    }

    #[test]
    fn a_base_that_ends_in_v1_is_the_same() {
        for url in [
            "http://127.0.0.1:1",
            "http://127.0.0.1:1/",
            "http://127.0.0.1:1/v1/",
        ] {
            let request = target(url, false).unwrap().request;
            assert!(
                request.starts_with(b"POST /v1/chat/completions HTTP/1.1\r\n"),
                "{url}"
            );
        }
    }
}
