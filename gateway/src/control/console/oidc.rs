//! Signing in at an identity provider: OpenID Connect's code flow with PKCE (RFC 7636).
//!
//! The provider is found by discovery when somebody signs in, so it need not be there before. State
//! and nonce are 256 random bits each; the state is bound to the browser by a cookie of its own and
//! used once. The ID token's signature, issuer, audience, times and nonce are checked by
//! `openidconnect`; who it is and in which groups is then read as of a caller's token, by the
//! issuer's own section of the configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _,
};
use serde::Deserialize;

use super::session::{Hash, Secret};
use super::{Shared, cookie, login, page};
use crate::config::ControlSection;
use crate::control::api::operator::{Access, Operator};
use crate::cutoff::{is_text, resolve_issuer};
use crate::exchange::unix_seconds;
use crate::identity::{IssuerConfig, principal_of_claims};

/// How long somebody may take at their provider.
const FLOW_MAX: Duration = Duration::from_secs(10 * 60);
/// Sign-ins that are under way at a time; past them the oldest is forgotten.
const FLOWS_MAX: usize = 256;
/// How long one question to the provider may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The largest answer of a provider, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The provider, and who is on their way.
pub(super) struct Oidc {
    issuer: IssuerConfig,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    scopes: Vec<String>,
    redirect: String,
    flows: Mutex<HashMap<Hash, Flow>>,
}

/// Somebody on their way.
struct Flow {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    began: Instant,
}

/// What the provider sends people back with.
#[derive(Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// Why somebody was not signed in; for the log, and in part for them.
enum Failure {
    /// The provider is not there, or says what it should not.
    Provider(String),
    /// What came back does not fit what was sent.
    Mismatch(&'static str),
}

// === impl Oidc ===

impl Oidc {
    /// As configured; `None` where people sign in by links only. The configuration was checked.
    pub(super) fn new(
        section: &ControlSection,
        issuers: &[IssuerConfig],
        url: Option<&str>,
    ) -> Option<Self> {
        let login = section.login.as_ref()?;
        let named: Vec<_> = issuers
            .iter()
            .map(|it| (it.name.clone(), it.url.clone()))
            .collect();
        let issuer = resolve_issuer(login.issuer.as_deref(), &named).ok()?;
        let mut issuer = issuers.iter().find(|it| it.url == issuer)?.clone();
        // An ID token is for the client, not for the gateway's callers.
        issuer.audiences = vec![login.client_id.clone()];
        Some(Self {
            issuer,
            client_id: login.client_id.clone(),
            client_secret_file: login.client_secret_file.clone(),
            scopes: login.scopes.clone(),
            redirect: format!("{}/console/login/callback", url?),
            flows: Mutex::default(),
        })
    }

    pub(super) fn issuer_name(&self) -> &str {
        &self.issuer.name
    }

    async fn metadata(&self, http: &Http) -> Result<CoreProviderMetadata, Failure> {
        let issuer = IssuerUrl::new(self.issuer.url.clone()).map_err(Failure::provider)?;
        let found = CoreProviderMetadata::discover_async(issuer, http).await;
        found.map_err(Failure::provider)
    }

    fn secret(&self) -> Result<Option<ClientSecret>, Failure> {
        let Some(file) = &self.client_secret_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file);
        let text =
            text.map_err(|error| Failure::Provider(format!("{}: {error}", file.display())))?;
        Ok(Some(ClientSecret::new(text.trim().to_owned())))
    }

    /// Remembers somebody who sets out.
    fn set_out(&self, state: &str, flow: Flow) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|_, flow| flow.began.elapsed() < FLOW_MAX);
        if flows.len() >= FLOWS_MAX {
            let oldest = flows.iter().min_by_key(|(_, flow)| flow.began);
            let oldest = oldest.map(|(hash, _)| *hash);
            oldest.and_then(|hash| flows.remove(&hash));
        }
        flows.insert(Secret::hash(state), flow);
    }

    /// Somebody comes back; once.
    fn come_back(&self, state: &str) -> Option<Flow> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let flow = flows.remove(&Secret::hash(state))?;
        (flow.began.elapsed() < FLOW_MAX).then_some(flow)
    }

    /// Where to send somebody who signs in, and the state by which they come back.
    async fn begin(&self) -> Result<(String, Secret), Failure> {
        let http = Http::new(&self.issuer)?;
        let metadata = self.metadata(&http).await?;
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(Failure::provider)?;
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.client_id.clone()),
            None,
        )
        .set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (state, nonce) = (Secret::draw(), Secret::draw());
        let [state_text, nonce_text] = [&state, &nonce].map(|it| it.expose().to_owned());
        let scopes = self.scopes.iter().cloned().map(Scope::new);
        let (url, _, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state_text),
                || Nonce::new(nonce_text),
            )
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        let flow = Flow {
            nonce,
            verifier,
            began: Instant::now(),
        };
        self.set_out(state.expose(), flow);
        Ok((url.to_string(), state))
    }

    /// Who came back with this code.
    async fn finish(&self, code: String, flow: Flow, access: &Access) -> Result<Operator, Failure> {
        let http = Http::new(&self.issuer)?;
        let metadata = self.metadata(&http).await?;
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(Failure::provider)?;
        let id = ClientId::new(self.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata, id, self.secret()?)
            .set_redirect_uri(redirect);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(Failure::provider)?
            .set_pkce_verifier(flow.verifier)
            .request_async(&http)
            .await
            .map_err(Failure::provider)?;
        let token = tokens
            .id_token()
            .ok_or(Failure::Mismatch("no ID token came"))?;
        let verifier = client.id_token_verifier();
        token
            .claims(&verifier, &flow.nonce)
            .map_err(Failure::provider)?;
        // It is verified: what is left is to read it as a caller's token is read.
        let claims = payload(&token.to_string()).ok_or(Failure::Mismatch("no claims came"))?;
        let principal = principal_of_claims(&self.issuer, &claims, unix_seconds());
        let principal = principal.map_err(|error| Failure::Mismatch(error.message))?;
        Ok(Operator::of(&principal, access))
    }
}

/// The claims of a compact JWS, as they were signed.
fn payload(token: &str) -> Option<Vec<u8>> {
    let payload = token.split('.').nth(1)?;
    URL_SAFE_NO_PAD.decode(payload).ok()
}

/// Leads to the provider.
pub(super) async fn start(State(api): Shared) -> Response {
    let Some(oidc) = &api.console.oidc else {
        return Redirect::to("/console/login").into_response();
    };
    match oidc.begin().await {
        Ok((url, state)) => {
            // Lax: the provider leads back here, and the cookie must come along.
            let seconds = FLOW_MAX.as_secs();
            let cookie =
                login::set_cookie(&api, state_cookie(&api), state.expose(), "Lax", seconds);
            ([(SET_COOKIE, cookie)], Redirect::to(&url)).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

/// Comes back from the provider.
pub(super) async fn callback(
    State(api): Shared,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Response {
    let Some(oidc) = &api.console.oidc else {
        return Redirect::to("/console/login").into_response();
    };
    let state = back.state.unwrap_or_default();
    let bound = cookie(&headers, state_cookie(&api)) == Some(state.as_str());
    let flow = oidc.come_back(&state).filter(|_| bound);
    let outcome = match (flow, back.code, back.error) {
        (None, ..) => Err(Failure::Mismatch(
            "this sign-in was not begun in this browser, or took too long",
        )),
        (Some(_), _, Some(error)) => {
            let error = if is_text(&error) {
                error
            } else {
                "something unreadable".to_owned()
            };
            Err(Failure::Provider(format!("the provider says {error}")))
        }
        (Some(flow), Some(code), None) => oidc.finish(code, flow, &api.access).await,
        (Some(_), None, None) => Err(Failure::Mismatch("no code came back")),
    };
    let spent = login::set_cookie(&api, state_cookie(&api), "", "Lax", 0);
    let operator = match outcome {
        Ok(operator) => operator,
        Err(failure) => return failure.into_response(),
    };
    if operator.role.is_none() {
        let detail = "You are known, and none of your groups has a role here. Ask whoever looks \
                      after [control.roles] in gateway.toml.";
        return page::refusal(StatusCode::FORBIDDEN, "No role", detail);
    }
    if operator.is_revoked(&api.node.cutoff, unix_seconds()) {
        return page::refusal(StatusCode::FORBIDDEN, "Revoked", "Your access was revoked.");
    }
    (
        AppendHeaders([(SET_COOKIE, spent)]),
        login::begin(&api, operator),
    )
        .into_response()
}

fn state_cookie(api: &crate::control::api::Api) -> &'static str {
    match login::is_secure(api) {
        true => "__Host-penstock-login",
        false => "penstock-console-login",
    }
}

// === impl Failure ===

impl Failure {
    fn provider(error: impl std::error::Error) -> Self {
        // The causes say what: the outermost is "request failed".
        let causes = std::iter::successors(error.source(), |cause| cause.source()).take(8);
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self::Provider(text)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, detail) = match &self {
            Self::Provider(reason) => {
                tracing::warn!("a sign-in at the identity provider failed: {reason}");
                let detail = "The identity provider did not answer as it should; the gateway's log says how.";
                (StatusCode::BAD_GATEWAY, detail.to_owned())
            }
            Self::Mismatch(reason) => {
                tracing::warn!("a sign-in was refused: {reason}");
                (
                    StatusCode::FORBIDDEN,
                    format!("It does not fit: {reason}. Sign in again."),
                )
            }
        };
        page::refusal(status, "Not signed in", &detail)
    }
}

/// Asks the provider.
struct Http(reqwest::Client);

/// The provider could not be asked.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer cannot be read")]
    Unreadable,
}

// === impl Http ===

impl Http {
    /// No redirect is followed: a provider that moves has to be configured, not believed.
    fn new(issuer: &IssuerConfig) -> Result<Self, Failure> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .redirect(reqwest::redirect::Policy::none());
        if issuer.url.starts_with("http://") {
            // Only loopback addresses are configured so.
            builder = builder.no_proxy();
        }
        if let Some(file) = &issuer.ca_file {
            let pem = std::fs::read(file);
            let pem =
                pem.map_err(|error| Failure::Provider(format!("{}: {error}", file.display())))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(Failure::provider)?;
            builder = builder.tls_certs_only(certificates);
        }
        Ok(Self(builder.build().map_err(Failure::provider)?))
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, AskError> {
        let (parts, body) = request.into_parts();
        let request = self
            .0
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body);
        let mut answer = request.send().await?;
        let mut response = axum::http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(AskError::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        response.body(bytes).map_err(|_| AskError::Unreadable)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = AskError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, AskError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}
