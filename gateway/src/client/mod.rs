//! The operator's side of the control API: every verb of the command line that acts on a running
//! gateway is one or two calls of this client.
//!
//! The client is reqwest, which is in the tree for identity providers and speaks HTTP over a Unix
//! socket as well as over TLS; a runtime is made for one call and ends with it.

pub mod approvals;
pub mod console;
pub mod histograms;
pub mod keys;
pub mod notifications;
pub mod reload;
pub mod revoke;
pub mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::config::Config;

/// How long a call may take: policies of thousands of rules take a while to compile.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Which gateway is meant, and who asks it.
#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("place").required(true).multiple(false)))]
pub struct Place {
    /// Its control socket, or the URL of its control API (https, or http on this machine)
    #[arg(long, value_name = "SOCKET_OR_URL", group = "place")]
    control: Option<String>,
    /// Its gateway.toml, which says where the control socket is
    #[arg(long, value_name = "FILE", group = "place")]
    config: Option<PathBuf>,
    /// A file with your token of an identity provider; needed with a URL
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM certificates to trust with a URL, in place of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Calls one gateway's control API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// What is sent can be read on the way.
    in_the_clear: bool,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
}

/// Why a verb did not do what it was told; `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there, or no answer came.
    #[error("{place}: {reason}")]
    Unreachable {
        /// Socket or URL.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The gateway says no; with the `code` and `detail` of its problem document.
    #[error("{detail} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable, for programs.
        code: String,
        /// For a person.
        detail: String,
        /// The whole body.
        body: Box<Value>,
    },
}

// === impl Place ===

impl Place {
    /// A client of that gateway.
    ///
    /// # Errors
    /// When the configuration cannot be read or names no control socket.
    pub fn client(&self) -> Result<Client, ClientError> {
        let place = match (&self.control, &self.config) {
            (Some(place), _) => place.clone(),
            (None, Some(file)) => socket_of(file)?,
            // The group is required, so the command line has refused this already.
            (None, None) => String::new(),
        };
        let ca = self.ca_file.as_deref().map(read).transpose()?;
        let client = Client::trusting(&place, ca.as_deref())?;
        let Some(file) = &self.token_file else {
            return Ok(client);
        };
        let token = String::from_utf8_lossy(&read(file)?).trim().to_owned();
        client.with_token(&token)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(file).map_err(|error| ClientError::Unreachable {
        place: file.display().to_string(),
        reason: format!("cannot be read: {error}"),
    })
}

fn socket_of(file: &Path) -> Result<String, ClientError> {
    let unreachable = |reason: String| ClientError::Unreachable {
        place: file.display().to_string(),
        reason,
    };
    let config = Config::load(file).map_err(|error| unreachable(error.to_string()))?;
    let socket = config
        .control
        .socket
        .ok_or_else(|| unreachable("[control] names no `socket`".to_owned()))?;
    Ok(socket.display().to_string())
}

// === impl Client ===

impl Client {
    /// A client of the API at a URL, or at the path of a Unix socket.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn to(place: &str) -> Result<Self, ClientError> {
        Self::trusting(place, None)
    }

    /// The same, trusting these PEM certificates in place of the system's.
    fn trusting(place: &str, ca: Option<&[u8]>) -> Result<Self, ClientError> {
        let unreachable = |error: &dyn std::fmt::Display| ClientError::Unreachable {
            place: place.to_owned(),
            reason: error.to_string(),
        };
        // An error means that it was chosen before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(CALL_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            builder = builder.tls_certs_only(certificates.map_err(|error| unreachable(&error))?);
        }
        let is_url = place.starts_with("http://") || place.starts_with("https://");
        let (builder, base) = match is_url {
            true => (builder, place.trim_end_matches('/').to_owned()),
            false => {
                let path = place.strip_prefix("unix:").unwrap_or(place);
                let builder = builder.unix_socket(PathBuf::from(path));
                (builder, "http://gateway".to_owned())
            }
        };
        let http = builder.build().map_err(|error| unreachable(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable(&error))?;
        Ok(Self {
            http,
            in_the_clear: is_url && is_clear(&base),
            base,
            token: None,
            runtime,
        })
    }

    /// The same client for somebody who acts by a token of their own.
    ///
    /// # Errors
    /// When the token would travel in the clear, beyond this machine.
    pub fn with_token(mut self, token: &str) -> Result<Self, ClientError> {
        if self.in_the_clear {
            return Err(ClientError::Unreachable {
                place: self.base,
                reason: "a token does not go out in the clear: write https://".to_owned(),
            });
        }
        self.token = Some(token.to_owned());
        Ok(self)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a problem.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None::<&()>)
    }

    /// Asks for something, with those of these parameters that have a value.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_with(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<Value, ClientError> {
        let said = |(name, value): &(&str, Option<String>)| {
            let value = value.as_ref()?;
            let encoded = value.bytes().map(|byte| match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            });
            Some(format!("{name}={}", encoded.collect::<String>()))
        };
        let said: Vec<String> = query.iter().filter_map(said).collect();
        self.get(&format!("{path}?{}", said.join("&")))
    }

    /// Tells something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(Method::POST, path, Some(body))
    }

    /// Takes something away.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, None::<&()>)
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, ClientError> {
        self.runtime.block_on(async {
            let mut request = self.http.request(method, format!("{}{path}", self.base));
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let broken = |error: reqwest::Error| ClientError::Unreachable {
                place: self.base.clone(),
                reason: format!("is the gateway running? {}", innermost(&error)),
            };
            let answer = request.send().await.map_err(broken)?;
            let status = answer.status();
            let bytes = answer.bytes().await.map_err(broken)?;
            // An empty body, as of a 204, is no value.
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            Err(ClientError::Refused {
                status: status.as_u16(),
                code: text("code").unwrap_or_else(|| "unknown".to_owned()),
                detail: text("detail").unwrap_or_else(|| format!("the gateway answers {status}")),
                body: Box::new(value),
            })
        })
    }
}

/// Whether somebody between could read along.
fn is_clear(url: &str) -> bool {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str());
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    url.starts_with("http://") && !is_here
}

/// What lies at the bottom of an error: "connection refused" rather than "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Prints rows in columns; the last column is as long as it is.
fn table<R: AsRef<[String]>>(rows: &[R]) {
    let rows: Vec<&[String]> = rows.iter().map(AsRef::as_ref).collect();
    let columns = rows.first().map_or(0, |row| row.len());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|it| width(it).unwrap_or_default())
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        println!("{}", line.trim_end());
    }
}

/// Prints what a verb found, or why it did not; the exit code of the process.
///
/// With `as_json` the gateway's own object goes to standard output, also when it is a problem.
pub fn report(
    outcome: Result<Value, ClientError>,
    as_json: bool,
    text: impl FnOnce(&Value),
) -> ExitCode {
    match outcome {
        Ok(value) if as_json => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Ok(value) => {
            text(&value);
            ExitCode::SUCCESS
        }
        Err(error) => {
            match &error {
                ClientError::Refused { body, .. } if as_json => println!("{body}"),
                _ => eprintln!("penstock-gateway: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}
