//! Where an issuer's keys come from: discovery, a JWKS address, or a file.
//!
//! How this module fetches anything, too. Everything is bounded: connecting, the whole answer, its size; no
//! redirect is followed, because a provider that moves has to be configured, not believed. Plain
//! HTTP is for loopback alone.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, Response, Url, redirect};

use super::json::{Json, Object};

/// The largest document accepted from a provider, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// The longest a connection to a provider may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest one document may take, connection included.
const DOCUMENT_MAX: Duration = Duration::from_secs(10);
/// How often a key file is looked at, in seconds.
pub(super) const FILE_POLL_S: u64 = 5;

/// Where keys are, and whose certificates are believed on the way.
pub(super) struct KeySource {
    pub(super) place: Place,
    pub(super) ca_file: Option<PathBuf>,
}

/// The three ways to publish keys.
pub(super) enum Place {
    /// OpenID Connect Discovery 1.0: the document names the key set.
    Discovery { issuer: String, document: Url },
    /// The key set itself.
    Jwks(Url),
    /// A file with the key set.
    File(PathBuf),
}

/// Parses an address that may be fetched: https, or http to this machine.
pub(crate) fn fetchable(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong in a URL".to_owned());
    }
    if url.fragment().is_some() {
        return Err("a URL to fetch has no fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("must be https: http is accepted for loopback addresses only".to_owned()),
        _ => Err("must be an https URL".to_owned()),
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || literal
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

// === impl KeySource ===

impl KeySource {
    /// How often to look again when nothing asks for it, given the configured interval.
    pub(super) fn poll_s(&self, refresh_s: u64) -> u64 {
        match self.place {
            Place::File(_) => FILE_POLL_S,
            Place::Discovery { .. } | Place::Jwks(_) => refresh_s,
        }
    }

    /// Reads the key set document as it is now.
    ///
    /// # Errors
    /// What went wrong, for the operator's log.
    pub(super) async fn load(&self) -> Result<Vec<u8>, String> {
        let ca_file = self.ca_file.as_deref();
        match &self.place {
            Place::File(path) => read_file(path).await,
            Place::Jwks(url) => fetch(&client(url, ca_file).await?, url).await,
            Place::Discovery { issuer, document } => {
                let keys = discover(issuer, document, ca_file, "jwks_uri").await?;
                // Whether a proxy is in the way depends on the host, which may be another one now.
                fetch(&client(&keys, ca_file).await?, &keys).await
            }
        }
    }
}

/// A client for fetches from `url`. Made anew each time: a fetch is rare, and `ca_file` may change.
///
/// # Errors
/// What is wrong with `ca_file`.
pub(super) async fn client(url: &Url, ca_file: Option<&Path>) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("penstock-gateway/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_MAX)
        .timeout(DOCUMENT_MAX)
        .redirect(redirect::Policy::none());
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        let pem = read_file(path).await?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| format!("ca_file is not a PEM bundle: {}", chain(&error)))?;
        if certificates.is_empty() {
            return Err("ca_file has no certificate".to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder
        .build()
        .map_err(|error| format!("no HTTP client: {}", chain(&error)))
}

/// Reads a small file without keeping others waiting.
///
/// # Errors
/// When it is too large, no regular file, or cannot be read.
pub(super) async fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_bounded(&path))
        .await
        .map_err(|error| format!("reading a file was interrupted: {error}"))?
}

/// Fetches the discovery document and takes one address from it.
///
/// # Errors
/// What went wrong, for the operator's log.
pub(super) async fn discover(
    issuer: &str,
    document: &Url,
    ca_file: Option<&Path>,
    name: &str,
) -> Result<Url, String> {
    let found = fetch(&client(document, ca_file).await?, document).await?;
    address(&found, issuer, document, name)
}

/// Takes the address `name` from a discovery document that speaks for the configured issuer.
fn address(document: &[u8], issuer: &str, from: &Url, name: &str) -> Result<Url, String> {
    let document: Object = Json::parse_object(document)
        .map_err(|error| format!("the discovery document is not valid JSON: {error}"))?;
    let member = |name: &str| {
        document
            .get(name)
            .and_then(Json::as_str)
            .ok_or_else(|| format!("the discovery document has no string {name:?}"))
    };
    let named = member("issuer")?;
    if named != issuer {
        return Err(format!(
            "the discovery document speaks for issuer {named:?}, not for {issuer:?}: \
             configure `url` exactly as the provider writes it"
        ));
    }
    let found = fetchable(member(name)?).map_err(|reason| format!("{name}: {reason}"))?;
    // A provider on the network has no business sending us to a service of this machine.
    if is_loopback(&found) && !is_loopback(from) {
        return Err(format!(
            "{name}: points to this machine, but the issuer is elsewhere"
        ));
    }
    Ok(found)
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| format!("{url}: {}", chain(&error));
    let response = client.get(url.clone()).send().await.map_err(failed)?;
    body(response, url, DOCUMENT_BYTES_MAX).await
}

/// The body of an answer with status 200, at most `bytes_max` of it.
///
/// # Errors
/// Another status, a larger body, a connection that breaks.
pub(super) async fn body(
    mut response: Response,
    url: &Url,
    bytes_max: usize,
) -> Result<Vec<u8>, String> {
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("{url}: answered {}", response.status()));
    }
    let failed = |error: reqwest::Error| format!("{url}: {}", chain(&error));
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > bytes_max {
            return Err(format!(
                "{url}: the answer is larger than {bytes_max} bytes"
            ));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{}: is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)
        .map_err(failed)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!(
            "{}: is larger than {DOCUMENT_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

/// An error with its causes: reqwest's own text leaves out the interesting one.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    /// Enough for every chain seen; a bound because a chain could be a circle.
    const CAUSES_MAX: usize = 8;
    std::iter::successors(Some(error), |error| error.source())
        .take(CAUSES_MAX)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_is_fetched() {
        for good in [
            "https://idp.example/keys",
            "http://127.0.0.1:9000",
            "http://127.8.8.8/",
            "http://[::1]:80/",
            "http://localhost:9000/a",
        ] {
            assert!(fetchable(good).is_ok(), "{good}");
        }
        for bad in [
            "http://idp.example/keys",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://10.0.0.1/",
            "http://[::2]/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "https://user@idp.example/",
            "https://idp.example/#x",
            "idp.example",
            "",
        ] {
            assert!(fetchable(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_discovery_document_speaks_for_its_issuer_only() {
        let read = |document: &str, issuer: &str| {
            let from = Url::parse(issuer).expect("a test's URL");
            address(document.as_bytes(), issuer, &from, "jwks_uri").map(String::from)
        };
        let issuer = "https://idp.example";
        let document = |iss: &str, uri: &str| format!(r#"{{"issuer":"{iss}","jwks_uri":"{uri}"}}"#);
        let good = document(issuer, "https://keys.example/jwks");
        assert_eq!(
            read(&good, issuer).as_deref(),
            Ok("https://keys.example/jwks")
        );
        let bad = [
            document("https://idp.example/", "https://keys.example/jwks"),
            document("https://evil.example", "https://keys.example/jwks"),
            document(issuer, "http://keys.example/jwks"),
            document(issuer, "http://127.0.0.1:9/jwks"),
            document(issuer, "https://localhost/jwks"),
            document(issuer, "file:///etc/keys"),
            format!(r#"{{"issuer":"{issuer}"}}"#),
            format!(r#"{{"issuer":["{issuer}"],"jwks_uri":"https://k.example"}}"#),
            "[]".to_owned(),
            String::new(),
        ];
        for document in bad {
            assert!(read(&document, issuer).is_err(), "{document}");
        }
        let local = "http://127.0.0.1:9000";
        assert!(read(&document(local, "http://127.0.0.1:9000/jwks"), local).is_ok());
    }

    #[test]
    fn files_are_bounded_and_regular() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.json");
        assert!(read_bounded(&path).is_err());
        std::fs::write(&path, b"{}").expect("written");
        assert_eq!(read_bounded(&path).as_deref(), Ok(&b"{}"[..]));
        std::fs::write(&path, vec![b' '; DOCUMENT_BYTES_MAX + 1]).expect("written");
        assert!(read_bounded(&path).is_err());
        assert!(read_bounded(folder.path()).is_err());
    }
}
