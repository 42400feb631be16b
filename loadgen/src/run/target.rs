//! Where requests go: an address, and TLS to it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Files with the system's certificate authorities; the first one that exists is read.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
/// TLS sessions that are remembered, so that connections may resume one.
const SESSIONS_MAX: usize = 256;

/// A place to connect to.
#[derive(Clone, Debug)]
pub enum Place {
    /// By TCP.
    Tcp(SocketAddr),
    /// By a Unix socket.
    Unix(PathBuf),
}

/// TLS to a target.
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) place: Place,
    pub(super) tls: Option<Tls>,
    url: String,
    host: String,
    base: String,
}

/// What else must be known of a target.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Load may go to another machine than this one.
    pub allow_remote: bool,
    /// Trust these authorities (PEM) instead of the system's.
    pub authorities: Option<PathBuf>,
    /// The name that the certificate must have, when it is not the URL's.
    pub server_name: Option<String>,
    /// Every TLS handshake is a full one.
    pub full_handshakes: bool,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL is none that we can call.
    #[error("{0}: use http://host:port, https://host:port or unix:/path")]
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
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.name)
    }
}

// === impl Target ===

impl Target {
    /// Reads a URL and resolves its name, once.
    pub fn new(url: &str, access: &Access) -> Result<Self, TargetError> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self {
                place: Place::Unix(path.into()),
                tls: None,
                url: url.into(),
                host: "localhost".into(),
                base: String::new(),
            });
        }
        let wrong = || TargetError::Url(url.into());
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || host.contains(['@', '?', '#', ' ']) || base.contains(['?', '#', ' '])
        {
            return Err(wrong());
        }
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = match (has_port, secure) {
            (true, _) => host.to_owned(),
            (false, true) => format!("{host}:443"),
            (false, false) => format!("{host}:80"),
        };
        let resolved = with_port.to_socket_addrs();
        let mut addresses = resolved.map_err(|source| TargetError::Resolve {
            url: url.into(),
            source,
        })?;
        let address = addresses.next().ok_or_else(wrong)?;
        if !address.ip().is_loopback() && !access.allow_remote {
            return Err(TargetError::Remote(address));
        }
        let base = base
            .trim_end_matches('/')
            .trim_end_matches("v1")
            .trim_end_matches('/');
        let name = match with_port.rsplit_once(':') {
            Some((name, _)) => name.trim_matches(['[', ']']),
            None => host,
        };
        Ok(Self {
            place: Place::Tcp(address),
            tls: secure.then(|| Tls::new(access, name)).transpose()?,
            url: url.into(),
            host: host.into(),
            base: if base.is_empty() {
                String::new()
            } else {
                format!("/{base}")
            },
        })
    }

    /// The URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the `host` field says.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What stands before an API's path, without a slash at its end; a `/v1` is taken off.
    pub fn base_path(&self) -> &str {
        &self.base
    }

    /// Connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

// === impl Tls ===

impl Tls {
    fn new(access: &Access, host: &str) -> Result<Self, TargetError> {
        let failed = |why: &dyn fmt::Display| TargetError::Tls(why.to_string());
        let name = access.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let roots = authorities(access.authorities.as_deref())?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = if access.full_handshakes {
            Resumption::disabled()
        } else {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        };
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }
}

fn authorities(given: Option<&Path>) -> Result<RootCertStore, TargetError> {
    let system = || {
        SYSTEM_AUTHORITIES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
    };
    let path = given.or_else(system).ok_or_else(|| {
        TargetError::Tls("the system has no file of authorities that we know: give --ca".into())
    })?;
    let failed = |why: &dyn fmt::Display| TargetError::Tls(format!("{}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        let added = roots.add(certificate);
        if given.is_some() {
            added.map_err(|error| failed(&error))?; // one odd one among the system's is no matter
        }
    }
    if roots.is_empty() {
        return Err(failed(&"no certificate is in it"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, allow_remote: bool) -> Result<Target, TargetError> {
        let access = Access {
            allow_remote,
            ..Access::default()
        };
        Target::new(url, &access)
    }

    #[test]
    fn only_this_machine_unless_allowed() {
        assert!(target("http://127.0.0.1:1", false).is_ok());
        assert!(target("http://[::1]:1", false).is_ok());
        let remote = target("http://192.0.2.1:80", false);
        assert!(matches!(remote, Err(TargetError::Remote(_))));
        assert!(target("http://192.0.2.1", true).is_ok());
        for bad in [
            "127.0.0.1:1",
            "ftp://127.0.0.1",
            "http://",
            "http://a@127.0.0.1:1",
            "h2://x",
        ] {
            assert!(
                matches!(target(bad, true), Err(TargetError::Url(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_base_that_ends_in_v1_is_the_same() {
        for (url, base) in [
            ("http://127.0.0.1:1", ""),
            ("http://127.0.0.1:1/", ""),
            ("http://127.0.0.1:1/v1/", ""),
            ("http://127.0.0.1:1/engines/a/v1", "/engines/a"),
        ] {
            let target = target(url, false).unwrap();
            assert_eq!(
                (target.base_path(), target.host()),
                (base, "127.0.0.1:1"),
                "{url}"
            );
        }
    }

    #[test]
    fn authorities_must_be_certificates() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let access = Access {
            authorities: Some(file.path().to_owned()),
            ..Access::default()
        };
        let error = Target::new("https://127.0.0.1:1", &access).unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
