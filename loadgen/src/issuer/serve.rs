//! The provider over HTTP: discovery, key set, tokens, rotation.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /.well-known/openid-configuration` | discovery document |
//! | `GET /jwks` | the key set |
//! | `POST /token` | `client_credentials`: a token for the client's configured claims |
//! | `POST /mint` | a [`TokenSpec`] as JSON → `{"token"}` |
//! | `POST /rotate[?retire=true]` | a new key per algorithm |
//! | `GET /counters` | how often discovery and keys were fetched |
//!
//! In a test the same provider runs in the test's process and can be told to fail or to be slow.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::keys::{Algorithm, KeyError, now_unix};
use super::keyset::KeySet;
use super::mint::{MintError, TokenSpec, mint};

/// The largest body that the provider reads.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What tokens of the token endpoint say for one client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// `sub`; the client's id when absent.
    pub subject: Option<String>,
    /// `groups`.
    pub groups: Vec<String>,
    /// Further claims.
    pub claims: Map<String, Value>,
}

/// How a provider is set up.
#[derive(Clone, Debug)]
pub struct IssuerOptions {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// The `iss` of tokens; `http://<bound address>` when absent.
    pub url: Option<String>,
    /// A folder that keeps the keys; absent: in memory.
    pub keys: Option<PathBuf>,
    /// A key is made for each.
    pub algorithms: Vec<Algorithm>,
    /// The audience of tokens from the token endpoint.
    pub audience: Vec<String>,
    /// Clients of the token endpoint; one that is not listed gets `default_client`.
    pub clients: BTreeMap<String, Client>,
    /// What an unlisted client gets.
    pub default_client: Client,
    /// Lifetime of tokens from the token endpoint.
    pub ttl_s: i64,
}

/// How often each document was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fetches {
    /// Discovery documents given.
    pub discovery: u64,
    /// Key sets given.
    pub jwks: u64,
    /// Requests for either while the provider was made to fail.
    pub refused: u64,
}

struct Shared {
    keys: RwLock<KeySet>,
    url: String,
    options: IssuerOptions,
    discovery: AtomicU64,
    jwks: AtomicU64,
    refused: AtomicU64,
    failing: AtomicBool,
    delay_ms: AtomicU64,
}

/// A running provider. It stops when dropped.
pub struct Issuer {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

// === impl IssuerOptions ===

impl Default for IssuerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            url: None,
            keys: None,
            algorithms: Algorithm::USUAL.to_vec(),
            audience: vec!["penstock".into()],
            clients: BTreeMap::new(),
            default_client: Client::default(),
            ttl_s: 3600,
        }
    }
}

// === impl Issuer ===

impl Issuer {
    /// Starts a provider on a thread of its own and returns when it listens.
    pub fn start(options: IssuerOptions) -> io::Result<Self> {
        let keys = match &options.keys {
            Some(folder) => KeySet::open(folder, &options.algorithms),
            None => KeySet::generate(&options.algorithms),
        };
        let keys = keys.map_err(io::Error::other)?;
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let url = options
            .url
            .clone()
            .unwrap_or_else(|| format!("http://{address}"));
        let shared = Arc::new(Shared {
            keys: RwLock::new(keys),
            url,
            options,
            discovery: AtomicU64::new(0),
            jwks: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let router = router(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                return;
            };
            tokio::select! {
                _ = axum::serve(listener, router).into_future() => {}
                _ = stopped => {}
            }
        };
        let thread = thread::Builder::new()
            .name("issuer".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            shared,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `iss` of its tokens, and the base of its documents.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// A good token for `subject` in `groups`.
    pub fn token(&self, subject: &str, groups: &[&str]) -> String {
        self.mint(&TokenSpec::new(subject, groups))
            .expect("the provider has a key")
    }

    /// Any token.
    pub fn mint(&self, spec: &TokenSpec) -> Result<String, MintError> {
        self.with_keys(|keys| mint(keys, spec, &self.shared.url, now_unix()))
    }

    /// Lends the keys, to sign what no [`TokenSpec`] describes.
    pub fn with_keys<T>(&self, read: impl FnOnce(&KeySet) -> T) -> T {
        read(
            &self
                .shared
                .keys
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Makes new keys; old ones stay published unless `retire`.
    pub fn rotate(&self, retire: bool) -> Result<(), KeyError> {
        self.shared
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .rotate(retire)
    }

    /// While true, discovery and key set answer 503.
    pub fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// Lets discovery and key set wait before they answer.
    pub fn delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// How often documents were fetched.
    pub fn fetches(&self) -> Fetches {
        self.shared.fetches()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // the thread may have ended by itself
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn fetches(&self) -> Fetches {
        Fetches {
            discovery: self.discovery.load(Ordering::Relaxed),
            jwks: self.jwks.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    async fn document(&self, count: &AtomicU64, document: impl FnOnce() -> Value) -> Response {
        let delay_ms = self.delay_ms.load(Ordering::Relaxed);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        if self.failing.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "as told",
            );
        }
        count.fetch_add(1, Ordering::Relaxed);
        Json(document()).into_response()
    }
}

// === routes ===

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/token", post(token))
        .route("/mint", post(mint_any))
        .route("/rotate", post(rotate))
        .route("/counters", get(counters))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    let algorithms: Vec<_> = Algorithm::ALL
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    let document = || {
        let url = &shared.url;
        json!({
            "issuer": url,
            "jwks_uri": format!("{url}/jwks"),
            "token_endpoint": format!("{url}/token"),
            "response_types_supported": ["token"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })
    };
    shared.document(&shared.discovery, document).await
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    let document = || {
        shared
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .jwks()
    };
    shared.document(&shared.jwks, document).await
}

async fn counters(State(shared): State<Arc<Shared>>) -> Json<Fetches> {
    Json(shared.fetches())
}

async fn rotate(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let retire = query.get("retire").is_some_and(|value| value == "true");
    let mut keys = shared.keys.write().unwrap_or_else(PoisonError::into_inner);
    match keys.rotate(retire) {
        Ok(()) => {
            let kids: Vec<_> = keys.keys().iter().map(|key| key.kid()).collect();
            Json(json!({ "published": kids })).into_response()
        }
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            &error.to_string(),
        ),
    }
}

async fn mint_any(State(shared): State<Arc<Shared>>, Json(spec): Json<TokenSpec>) -> Response {
    let keys = shared.keys.read().unwrap_or_else(PoisonError::into_inner);
    match mint(&keys, &spec, &shared.url, now_unix()) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => refusal(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            &error.to_string(),
        ),
    }
}

/// RFC 6749 section 4.4, without looking at the client's secret.
async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let form = form(&body);
    if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
        let text = "this provider knows grant_type=client_credentials";
        return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", text);
    }
    let id = form
        .get("client_id")
        .cloned()
        .or_else(|| basic_user(&headers));
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        let text = "send client_id in the form or as the user of Basic authentication";
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client", text);
    };
    let options = &shared.options;
    let client = options.clients.get(&id).unwrap_or(&options.default_client);
    let mut claims = client.claims.clone();
    claims
        .entry("client_id")
        .or_insert_with(|| id.clone().into());
    if let Some(scope) = form.get("scope") {
        claims
            .entry("scope")
            .or_insert_with(|| scope.clone().into());
    }
    let spec = TokenSpec {
        subject: client.subject.clone().unwrap_or(id),
        groups: client.groups.clone(),
        audience: options.audience.clone(),
        ttl_s: options.ttl_s,
        claims,
        ..TokenSpec::default()
    };
    let keys = shared.keys.read().unwrap_or_else(PoisonError::into_inner);
    match mint(&keys, &spec, &shared.url, now_unix()) {
        Ok(token) => Json(json!({
            "access_token": token, "token_type": "Bearer", "expires_in": options.ttl_s,
        }))
        .into_response(),
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            &error.to_string(),
        ),
    }
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Response {
    (
        status,
        Json(json!({ "error": error, "error_description": description })),
    )
        .into_response()
}

fn basic_user(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    Some(unescape(text.split_once(':')?.0))
}

fn form(body: &str) -> BTreeMap<String, String> {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

/// `application/x-www-form-urlencoded`; what is not an escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (
            first,
            escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_unescaped() {
        let form = form("client_id=a%2Fb+c&x=%zz");
        assert_eq!(form["client_id"], "a/b c");
        assert_eq!(form["x"], "%zz");
    }
}
