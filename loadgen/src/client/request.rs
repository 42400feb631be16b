//! Requests in one expression, and the few calls that tests and commands make all the time.

use std::net::{SocketAddr, ToSocketAddrs as _};

use serde_json::{Value, json};

use super::connection::{ClientError, Connection};
use super::response::Response;
use crate::issuer::{MintError, TokenSpec};

/// A request to be written as bytes.
///
/// ```
/// use penstock_loadgen::client::Call;
/// let bytes = Call::post("/v1/chat/completions", &serde_json::json!({})).token("t").bytes();
/// assert!(bytes.ends_with(b"\r\n\r\n{}"));
/// ```
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunk_bytes: Option<usize>,
}

// === impl Call ===

impl Call {
    /// A request without body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            fields: vec![("host".into(), "test".into())],
            body: None,
            chunk_bytes: None,
        }
    }

    /// GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// POST of JSON.
    pub fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target)
            .field("content-type", "application/json")
            .body(body.to_string().into_bytes())
    }

    /// POST of a chat with one user message.
    pub fn chat(model: &str, prompt: &str, stream: bool) -> Self {
        let messages = json!([{ "role": "user", "content": prompt }]);
        let body = json!({ "model": model, "messages": messages, "stream": stream });
        Self::post("/v1/chat/completions", &body)
    }

    /// With one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.field("authorization", &format!("Bearer {token}"))
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The body goes in chunks of this size instead of with a length.
    #[must_use]
    pub fn chunked(mut self, chunk_bytes: usize) -> Self {
        self.chunk_bytes = Some(chunk_bytes.max(1));
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        match (&self.body, self.chunk_bytes) {
            (_, Some(_)) => head.push_str("transfer-encoding: chunked\r\n"),
            (Some(body), None) => head.push_str(&format!("content-length: {}\r\n", body.len())),
            (None, None) => {}
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        match self.chunk_bytes {
            Some(size) => {
                for chunk in body.chunks(size) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            None => bytes.extend_from_slice(body),
        }
        bytes
    }

    /// Sends it on a connection of its own and reads the whole response.
    pub fn to(&self, address: SocketAddr) -> Result<Response, ClientError> {
        let mut connection = Connection::tcp(address)?;
        connection.send(&self.bytes())?;
        connection.read_response_to(self.method == "HEAD")
    }

    /// Sends it on `connection`, and leaves the response to be read.
    pub fn over(&self, connection: &mut Connection) -> Result<(), ClientError> {
        Ok(connection.send(&self.bytes())?)
    }
}

/// Asks the running development provider at `issuer` (an `http://host:port` URL) for a token.
pub fn mint_at(issuer: &str, spec: &TokenSpec) -> Result<String, MintError> {
    let failed = |why: &dyn std::fmt::Display| MintError::Provider(format!("{issuer}: {why}"));
    let host = issuer
        .strip_prefix("http://")
        .ok_or_else(|| failed(&"is not an http:// URL of a development provider"))?;
    let (host, base) = host
        .split_once('/')
        .map_or((host, ""), |(host, path)| (host, path));
    let base = base.trim_end_matches('/');
    let target = if base.is_empty() {
        "/mint".to_owned()
    } else {
        format!("/{base}/mint")
    };
    let mut addresses = host.to_socket_addrs().map_err(|error| failed(&error))?;
    let address = addresses.next().ok_or_else(|| failed(&"has no address"))?;
    let spec = serde_json::to_value(spec).map_err(|error| failed(&error))?;
    let response = Call::post(&target, &spec)
        .to(address)
        .map_err(|error| failed(&error))?;
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match answer["token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => Err(failed(&format!(
            "{} {}",
            response.status(),
            response.text()
        ))),
    }
}
