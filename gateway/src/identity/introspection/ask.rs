//! The control thread's side of introspection: asks over HTTP, so many questions at a time.
//!
//! Bounded in every way: questions at once, the time of each, the size of an answer. No redirect is
//! followed. Where the endpoint is, and as whom we ask, is looked up again every minute and after
//! every refusal of our own credentials, so that neither a new secret nor a moved endpoint needs a
//! restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Mutex;

use super::{Desk, Outcome, Question};
use crate::identity::json::{Json, Object};
use crate::identity::shared::IdentityShared;
use crate::identity::source;

/// Questions under way at a time.
const CONCURRENT_MAX: usize = 16;
/// The longest one question may take, everything included: less than a call waits for it.
const QUESTION_MAX: Duration = Duration::from_millis(2500);
/// The largest answer, in bytes: twice the largest token.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long client, endpoint and secret are used before they are looked up again.
const READY_AGE_MAX: Duration = Duration::from_secs(60);

/// Whom to ask, and how we show who we are.
pub(in crate::identity) struct Asker {
    /// The `iss` that an answer has, or is given.
    pub(in crate::identity) issuer: String,
    pub(in crate::identity) endpoint: Endpoint,
    pub(in crate::identity) client_id: String,
    pub(in crate::identity) client_secret_file: PathBuf,
    pub(in crate::identity) ca_file: Option<PathBuf>,
    ready: Mutex<Option<Arc<Ready>>>,
}

/// Where the questions go.
pub(in crate::identity) enum Endpoint {
    /// As configured.
    Given(Url),
    /// As the discovery document says.
    Discovered { issuer: String, document: Url },
}

/// What a question needs, looked up.
struct Ready {
    client: Client,
    endpoint: Url,
    authorization: HeaderValue,
    since: Instant,
}

/// Asks what cores want to know about opaque tokens, for as long as it is polled.
pub async fn run_introspection(shared: Arc<IdentityShared>) {
    let mut changes = shared.changes();
    loop {
        let desk = shared
            .providers()
            .introspection
            .clone()
            .map(|(_, desk)| desk);
        let asking = async {
            match &desk {
                Some(desk) => serve(desk, &shared).await,
                None => std::future::pending().await,
            }
        };
        // What is under way is dropped only with the desk at which it would be answered.
        let replaced = async {
            while changes.changed().await.is_ok() {
                let now = shared.providers().introspection.clone();
                let same = match (&desk, &now) {
                    (Some(desk), Some((_, now))) => Arc::ptr_eq(desk, now),
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    break;
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = replaced => {}
        }
    }
}

/// Asks what is wanted at this desk. Never ends.
async fn serve(desk: &Desk, shared: &IdentityShared) {
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < CONCURRENT_MAX
            && let Some(question) = desk.next()
        {
            under_way.push(async {
                let question = question;
                let asked = (Instant::now(), (shared.clock)());
                let answered = tokio::time::timeout(QUESTION_MAX, desk.asker.ask(&question)).await;
                let outcome = answered.unwrap_or_else(|_| {
                    Outcome::Failed(format!("no answer within {QUESTION_MAX:?}"))
                });
                desk.answer(&question, outcome, asked, Instant::now());
            });
        }
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = desk.wanted() => {}
        }
    }
}

// === impl Asker ===

impl Asker {
    pub(in crate::identity) fn new(
        issuer: String,
        endpoint: Endpoint,
        client_id: String,
        client_secret_file: PathBuf,
        ca_file: Option<PathBuf>,
    ) -> Self {
        Self {
            issuer,
            endpoint,
            client_id,
            client_secret_file,
            ca_file,
            ready: Mutex::new(None),
        }
    }

    async fn ask(&self, question: &Question) -> Outcome {
        match self.answer(question).await {
            Ok(answer) => read(&answer, &self.issuer),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// The body of the issuer's answer.
    async fn answer(&self, question: &Question) -> Result<Vec<u8>, String> {
        let ready = self.ready().await?;
        let form = form(&[
            ("token", &question.token),
            ("token_type_hint", "access_token"),
        ]);
        let response = ready
            .client
            .post(ready.endpoint.clone())
            .header(AUTHORIZATION, ready.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form)
            .send()
            .await
            .map_err(|error| format!("{}: {}", ready.endpoint, source::chain(&error)))?;
        match response.status() {
            StatusCode::OK => {}
            // Perhaps the secret or the endpoint is another one by now.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                *self.ready.lock().await = None;
            }
            _ => {}
        }
        source::body(response, &ready.endpoint, ANSWER_BYTES_MAX).await
    }

    async fn ready(&self) -> Result<Arc<Ready>, String> {
        // Held while looking up, so that it is done once for all who need it.
        let mut ready = self.ready.lock().await;
        if let Some(known) = ready
            .as_ref()
            .filter(|it| it.since.elapsed() < READY_AGE_MAX)
        {
            return Ok(known.clone());
        }
        let ca_file = self.ca_file.as_deref();
        let endpoint = match &self.endpoint {
            Endpoint::Given(url) => url.clone(),
            Endpoint::Discovered { issuer, document } => {
                let name = "introspection_endpoint";
                source::discover(issuer, document, ca_file, name).await?
            }
        };
        let secret = source::read_file(&self.client_secret_file).await?;
        let secret = std::str::from_utf8(&secret)
            .map(str::trim)
            .ok()
            .filter(|secret| !secret.is_empty())
            .ok_or_else(|| {
                let file = self.client_secret_file.display();
                format!("{file}: is empty, or no text")
            })?;
        let fresh = Arc::new(Ready {
            client: source::client(&endpoint, ca_file).await?,
            endpoint,
            authorization: basic(&self.client_id, secret),
            since: Instant::now(),
        });
        *ready = Some(fresh.clone());
        Ok(fresh)
    }
}

/// HTTP Basic as RFC 6749 wants it: both parts form-encoded first (section 2.3.1).
fn basic(client_id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| {
        let pair = form(&[("", text)]);
        pair.strip_prefix('=').map(str::to_owned).unwrap_or(pair)
    };
    let both = format!("{}:{}", encoded(client_id), encoded(secret));
    // Base64 is printable: there is no text for which this fails.
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)))
        .unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Encodes as a form does (WHATWG URL, section 5.2).
fn form(pairs: &[(&str, &str)]) -> String {
    // A URL's query is encoded the same way; where it leads does not matter.
    let Ok(mut url) = Url::parse("http://localhost") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// Reads an answer (RFC 7662, section 2.2). `iss` is optional there: whom we asked stands for it.
fn read(answer: &[u8], issuer: &str) -> Outcome {
    let mut claims: Object = match Json::parse_object(answer) {
        Ok(claims) => claims,
        Err(error) => return Outcome::Failed(format!("the answer is not valid JSON: {error}")),
    };
    match claims.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Outcome::Inactive,
        _ => {
            let reason = "the answer does not say whether the token is active";
            return Outcome::Failed(reason.to_owned());
        }
    }
    let said = claims
        .entry("iss".to_owned())
        .or_insert_with(|| Json::String(issuer.to_owned()));
    if said.as_str() != Some(issuer) {
        let reason = "the answer names another issuer (`iss`): configure `url` as it does";
        return Outcome::Failed(reason.to_owned());
    }
    let expires_unix = match claims.get("exp") {
        Some(Json::Integer(seconds)) => Some(*seconds),
        _ => None,
    };
    Outcome::Active(claims, expires_unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_before_they_are_joined() {
        let value = basic("a:b c", "p+q%ü");
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let decoded = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        assert_eq!(decoded, "a%3Ab+c:p%2Bq%25%C3%BC");
        assert!(value.is_sensitive());
        assert_eq!(form(&[("token", "a&b=c d")]), "token=a%26b%3Dc+d");
    }

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        let read = |answer: &[u8]| read(answer, "https://idp.example");
        for yes in [
            &br#"{"active":true,"exp":9}"#[..],
            br#"{"active":true,"exp":9,"iss":"https://idp.example"}"#,
        ] {
            let Outcome::Active(claims, Some(9)) = read(yes) else {
                panic!("not taken");
            };
            let issuer = claims.get("iss").and_then(Json::as_str);
            assert_eq!(issuer, Some("https://idp.example"));
        }
        assert!(matches!(read(br#"{"active":false}"#), Outcome::Inactive));
        for odd in [
            &b"{}"[..],
            b"",
            b"true",
            br#"{"active":"true"}"#,
            br#"{"active":1}"#,
            br#"{"active":true,"active":false}"#,
            br#"{"active":true,"iss":"https://evil.example"}"#,
            br#"{"active":true,"iss":null}"#,
        ] {
            assert!(matches!(read(odd), Outcome::Failed(_)), "{odd:?}");
        }
    }
}
