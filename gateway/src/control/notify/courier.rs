//! One attempt to bring one message to its receiver, and everything that bounds it: a time for all of
//! it, no redirects, https or loopback, little of an answer read. No error says an address or a
//! secret: those of Slack and Teams are both in one.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Certificate, Client, Method, Url, redirect};

use crate::identity::{fetchable, is_loopback, read_bounded};
use crate::notify::{Answer, Message, Outgoing, Place, Receiver, Sealed};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How much of an answer is read, so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long it is read; what it says counts for nothing.
const ANSWER_MAX: Duration = Duration::from_millis(250);
/// The longest error that is kept, in characters.
const ERROR_CHARS_MAX: usize = 200;

/// Carries messages of one receiver.
pub(super) struct Courier {
    certificates: Option<Vec<Certificate>>,
    timeout: Duration,
    /// Made when they are first needed: one goes by a proxy where the environment names one.
    direct: OnceLock<Client>,
    usual: OnceLock<Client>,
}

// === impl Courier ===

impl Courier {
    /// For this receiver, whose files are read once, to find early what is wrong with them.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn new(receiver: &Receiver) -> Result<Self, String> {
        let (_, sealed) = read(receiver)?;
        receiver.check(&sealed)?;
        let certificates = receiver.ca_file.as_deref().map(certificates).transpose()?;
        Ok(Self {
            certificates,
            timeout: receiver.timeout,
            direct: OnceLock::new(),
            usual: OnceLock::new(),
        })
    }

    /// One attempt.
    pub(super) async fn bring(&self, receiver: &Receiver, outgoing: &Outgoing<'_>) -> Answer {
        let brought = async {
            let (url, sealed) = unseal(receiver).await?;
            let message = receiver.message(outgoing, &sealed, crate::exchange::unix_seconds())?;
            self.post(url, message).await
        };
        match tokio::time::timeout(self.timeout, brought).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => Answer::failed(&clipped(&reason)),
            Err(_) => Answer::failed(&format!("no answer within {:?}", self.timeout)),
        }
    }

    /// Posts something to another address of the same receiver.
    pub(super) async fn post(&self, url: Url, message: Message) -> Result<Answer, String> {
        let method =
            Method::from_bytes(message.method.as_bytes()).map_err(|_| "no method".to_owned())?;
        let client = self.client(is_loopback(&url))?;
        let mut request = client.request(method, url).body(message.body);
        for (name, value) in message.fields {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(|error| reason(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let status = response.status().as_u16();
        let answer = Answer::of_status(status, retry_after, crate::exchange::unix_seconds());
        let read = async {
            let mut bytes = 0;
            while let Ok(Some(piece)) = response.chunk().await {
                bytes += piece.len();
                if bytes > ANSWER_BYTES_MAX {
                    break;
                }
            }
        };
        // Whether it was read or not: what it says counts for nothing.
        let _ = tokio::time::timeout(ANSWER_MAX, read).await;
        Ok(answer)
    }

    fn client(&self, is_direct: bool) -> Result<&Client, String> {
        let slot = match is_direct {
            true => &self.direct,
            false => &self.usual,
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("penstock-gateway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1);
        if is_direct {
            builder = builder.no_proxy();
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.tls_certs_only(certificates.clone());
        }
        let client = builder.build().map_err(|error| reason(&error))?;
        Ok(slot.get_or_init(|| client))
    }
}

/// Address and secrets of a receiver, as its files hold them now.
pub(super) async fn unseal(receiver: &Receiver) -> Result<(Url, Sealed), String> {
    let receiver = receiver.clone();
    tokio::task::spawn_blocking(move || read(&receiver))
        .await
        .map_err(|error| format!("reading its files was interrupted: {error}"))?
}

/// Blocks.
fn read(receiver: &Receiver) -> Result<(Url, Sealed), String> {
    let url = match &receiver.place {
        // Checked when it was configured, so no error here repeats it.
        Place::Written(url) => fetchable(url)?,
        Place::File(file) => {
            let text = text(file)?;
            // The reason could repeat the address.
            fetchable(text.trim()).map_err(|_| {
                let file = file.display();
                format!("{file}: must hold one https URL (http for loopback), without credentials")
            })?
        }
    };
    let secret = receiver.secret_file.as_deref().map(text).transpose()?;
    let field = |(name, file): (&String, &PathBuf)| {
        Ok((name.to_ascii_lowercase(), text(file)?.trim().to_owned()))
    };
    let fields = receiver.field_files.iter().map(field);
    let fields = fields.collect::<Result<_, String>>()?;
    Ok((url, Sealed { secret, fields }))
}

fn text(file: &Path) -> Result<String, String> {
    let bytes = read_bounded(file)?;
    String::from_utf8(bytes).map_err(|_| format!("{}: is not text", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let found = Certificate::from_pem_bundle(&read_bounded(file)?).unwrap_or_default();
    match found.is_empty() {
        true => Err(format!("{}: holds no PEM certificate", file.display())),
        false => Ok(found),
    }
}

/// What happened, without where: the innermost cause, such as "connection refused".
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "it cannot be reached",
        () => "the connection ended",
    };
    // An error without a cause is reqwest's own, and names the address.
    match std::ptr::addr_eq(innermost, error) {
        true => what.to_owned(),
        false => format!("{what}: {innermost}"),
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}
