//! rustls without its own I/O: records in, plain text out, and back.
//!
//! The server configuration is a snapshot that the control thread replaces when the certificate
//! or key file changes; a session keeps the one it began with.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ServerConfig, ServerConnection};

use crate::config::{ConfigError, TlsSection};

/// One server session.
pub(super) struct Tls {
    session: ServerConnection,
    closed: bool,
}

/// Reads the PEM files and builds the configuration: TLS 1.2 and 1.3, ALPN `http/1.1`.
///
/// Sessions are resumed by tickets that the client keeps (RFC 8446, section 4.6.1; RFC 5077), under
/// keys that live in this process and change every six hours: nothing is kept for each client, and
/// any number of them resume.
pub fn server_config(section: &TlsSection) -> Result<Arc<ServerConfig>, ConfigError> {
    let chain = certificates(&section.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&section.key)
        .map_err(|error| ConfigError::plain(&section.key, format!("no private key: {error}")))?;
    let ticketer = Ticketer::new()
        .map_err(|error| ConfigError::plain(&section.key, format!("no ticket keys: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| ConfigError::plain(&section.certificate, format!("refused: {error}")))?;
    config.ignore_client_order = true;
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The library's suites, those with AES-128 and SHA-256 first.
///
/// Clients commonly name AES-256 with SHA-384 first. Neither is known to be weak, and most of a
/// handshake is hashing: processors have instructions for SHA-256, and most have none for SHA-384. A
/// client that offers but the other is served with that.
fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let refuse = |reason: String| ConfigError::plain(path, reason);
    let file = File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let chain: Vec<_> = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<_, _>>()
        .map_err(|error| refuse(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(refuse("holds no certificate".to_owned()));
    }
    Ok(chain)
}

// === impl Tls ===

impl Tls {
    /// A new session under `config`.
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(invalid)?;
        Ok(Self {
            session,
            closed: false,
        })
    }

    /// Takes bytes from the socket and appends what they decrypt to.
    pub(super) fn receive(&mut self, mut records: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        while !records.is_empty() {
            if self.session.read_tls(&mut records)? == 0 {
                break;
            }
            let state = self.session.process_new_packets().map_err(invalid)?;
            self.closed |= state.peer_has_closed();
            let pending = state.plaintext_bytes_to_read();
            if pending > 0 {
                let start = plain.len();
                plain.resize(start + pending, 0);
                self.session.reader().read_exact(&mut plain[start..])?;
            }
        }
        Ok(())
    }

    /// Encrypts `plain` and appends the records.
    pub(super) fn send(&mut self, mut plain: &[u8], records: &mut Vec<u8>) -> io::Result<()> {
        // rustls buffers a bounded amount: hand over, drain, repeat.
        while !plain.is_empty() {
            let taken = self.session.writer().write(plain)?;
            plain = &plain[taken..];
            self.drain(records)?;
        }
        self.drain(records)
    }

    /// Appends what the session wants to send of itself.
    pub(super) fn drain(&mut self, records: &mut Vec<u8>) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(records)?;
        }
        Ok(())
    }

    /// Appends the close notification.
    pub(super) fn close(&mut self, records: &mut Vec<u8>) -> io::Result<()> {
        self.session.send_close_notify();
        self.drain(records)
    }

    /// True while the handshake runs.
    pub(super) fn handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// True when the session has something to send of itself.
    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// True once the client has said that it sends no more.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
