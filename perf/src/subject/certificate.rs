//! The certificate that a subject shows where the scenario is encrypted: ECDSA on P-256, as most
//! public ones are by now, signed by itself, made anew for each run.

use base64::Engine;

use crate::driver::wire::SERVER_NAME;
use crate::error::{Error, Result};

/// A line of the textual form is so long.
const LINE_CHARACTERS: usize = 64;

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
}

// === impl Certificate ===

impl Certificate {
    /// Makes one.
    pub fn generate() -> Result<Certificate> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])
            .map_err(|error| Error::Unable(format!("a certificate: {error}")))?;
        Ok(Certificate {
            certificate: pem("CERTIFICATE", made.cert.der()),
            key: pem("PRIVATE KEY", &made.signing_key.serialize_der()),
        })
    }
}

/// Bytes in the textual form of RFC 7468.
fn pem(label: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut lines = format!("-----BEGIN {label}-----\n");
    let mut rest = &*text;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        lines += line;
        lines.push('\n');
        rest = after;
    }
    lines + &format!("-----END {label}-----\n")
}
