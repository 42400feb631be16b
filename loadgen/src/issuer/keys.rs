//! Signing keys: made at start or read from a file, published as JWKs.
//!
//! A key is bound to one JWS algorithm (RFC 7518 section 3.1) and its published form says which.
//! In a folder a key is the file `<kid>.pem` (PKCS #8, mode 0600), and the key id starts with the
//! algorithm: `es256-1-4f1c09`.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Characters in a line of a PEM body (RFC 7468 section 2).
const PEM_LINE: usize = 64;

/// A signature algorithm of RFC 7518 (or RFC 8037 for EdDSA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// Why a key could not be made, read, written or found.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system said no.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there and is not a private key that we can use.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No key answers to this description.
    #[error("no signing key {0}")]
    Absent(String),
    /// The algorithm's name is none that we know.
    #[error(
        "unknown algorithm {0:?}: use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 \
         or EdDSA"
    )]
    Algorithm(String),
    /// The cryptographic library refused.
    #[error("the cryptographic library refused: {0}")]
    Crypto(&'static str),
}

enum Secret {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key, its id, and the algorithm that it is bound to.
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    generation: u32,
    secret: Secret,
}

/// Seconds since 1970, as tokens count them.
pub fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

// === impl Algorithm ===

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];
    /// What a provider makes when nothing else is asked for.
    pub const USUAL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    /// The name in a JOSE header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    fn curve(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Algorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
            _ => None,
        }
    }

    fn padding(self) -> Option<&'static dyn RsaEncoding> {
        match self {
            Algorithm::Rs256 => Some(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => Some(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => Some(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => Some(&RSA_PSS_SHA256),
            Algorithm::Ps384 => Some(&RSA_PSS_SHA384),
            Algorithm::Ps512 => Some(&RSA_PSS_SHA512),
            _ => None,
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| KeyError::Algorithm(name.to_owned()))
    }
}

// === impl SigningKey ===

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid) // never the secret
    }
}

impl SigningKey {
    /// Makes a key for `algorithm`. An RSA key has 2048 bits.
    pub fn generate(algorithm: Algorithm, generation: u32) -> Result<Self, KeyError> {
        let secret = if let Some(curve) = algorithm.curve() {
            let pair = EcdsaKeyPair::generate(curve).map_err(|_| KeyError::Crypto("EC key"))?;
            Secret::Ecdsa(Box::new(pair))
        } else if algorithm.padding().is_some() {
            let pair =
                RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Crypto("RSA key"))?;
            Secret::Rsa(Box::new(pair))
        } else {
            let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Crypto("Ed25519 key"))?;
            Secret::Ed25519(Box::new(pair))
        };
        let mut suffix = [0u8; 3];
        SystemRandom::new()
            .fill(&mut suffix)
            .map_err(|_| KeyError::Crypto("random bytes"))?;
        let kid = format!(
            "{}-{generation}-{:02x}{:02x}{:02x}",
            algorithm.name().to_ascii_lowercase(),
            suffix[0],
            suffix[1],
            suffix[2]
        );
        Ok(Self {
            kid,
            algorithm,
            generation,
            secret,
        })
    }

    /// The id under which the key is published.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm that the key is bound to.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Counts up with every rotation.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Signs with the key's own algorithm.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign_as(self.algorithm, message)
    }

    /// Signs with another algorithm of the same key type: what a confused issuer would send.
    pub fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa(pair) => {
                let padding = algorithm
                    .padding()
                    .ok_or(KeyError::Crypto("not an RSA algorithm"))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| KeyError::Crypto("RSA signature"))?;
                Ok(signature)
            }
            Secret::Ecdsa(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Crypto("ECDSA signature")),
            Secret::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// The public half as a JWK (RFC 7517), with `kid`, `use` and `alg`.
    pub fn public_jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.secret {
            Secret::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Secret::Ecdsa(pair) => {
                let point = pair.public_key().as_ref(); // 0x04, x, y
                let half = (point.len() - 1) / 2;
                let curve = if half == 32 { "P-256" } else { "P-384" };
                json!({
                    "kty": "EC",
                    "crv": curve,
                    "x": text(&point[1..=half]),
                    "y": text(&point[1 + half..]),
                })
            }
            Secret::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = self.kid.clone().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.name().into();
        jwk
    }

    /// The public half as DER (SubjectPublicKeyInfo): what an attacker would use as an HMAC key.
    pub fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        let refused = |_| KeyError::Crypto("public key encoding");
        Ok(match &self.secret {
            Secret::Rsa(pair) => pair
                .public_key()
                .as_der()
                .map_err(refused)?
                .as_ref()
                .to_vec(),
            Secret::Ecdsa(pair) => pair
                .public_key()
                .as_der()
                .map_err(refused)?
                .as_ref()
                .to_vec(),
            Secret::Ed25519(pair) => pair
                .public_key()
                .as_der()
                .map_err(refused)?
                .as_ref()
                .to_vec(),
        })
    }

    /// The public half as PEM.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        Ok(pem("PUBLIC KEY", &self.public_der()?))
    }

    fn private_der(&self) -> Result<Vec<u8>, KeyError> {
        let refused = |_| KeyError::Crypto("private key encoding");
        Ok(match &self.secret {
            Secret::Rsa(pair) => {
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(refused)?;
                der.as_ref().to_vec()
            }
            Secret::Ecdsa(pair) => pair.to_pkcs8v1().map_err(refused)?.as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.to_pkcs8v1().map_err(refused)?.as_ref().to_vec(),
        })
    }

    /// Reads a key file.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let unusable = |reason: &str| KeyError::Unusable {
            path: path.into(),
            reason: reason.into(),
        };
        let kid = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let mut parts = kid.split('-');
        let algorithm: Algorithm =
            parts.next().unwrap_or_default().parse().map_err(|_| {
                unusable("its name must start with an algorithm, as es256-1.pem does")
            })?;
        let generation = parts.next().and_then(|text| text.parse().ok()).unwrap_or(1);
        let text = fs::read_to_string(path).map_err(|source| KeyError::File {
            path: path.into(),
            source,
        })?;
        let der = unpem(&text).ok_or_else(|| unusable("not a PEM file"))?;
        let wrong = "not a PKCS #8 private key for the algorithm in its name";
        let secret = if let Some(curve) = algorithm.curve() {
            let pair = EcdsaKeyPair::from_pkcs8(curve, &der).map_err(|_| unusable(wrong))?;
            Secret::Ecdsa(Box::new(pair))
        } else if algorithm.padding().is_some() {
            Secret::Rsa(Box::new(
                RsaKeyPair::from_pkcs8(&der).map_err(|_| unusable(wrong))?,
            ))
        } else {
            let pair =
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| unusable(wrong))?;
            Secret::Ed25519(Box::new(pair))
        };
        Ok(Self {
            kid,
            algorithm,
            generation,
            secret,
        })
    }

    /// Writes the key file, readable by its owner only.
    pub(super) fn write(&self, folder: &Path) -> Result<(), KeyError> {
        let path = folder.join(format!("{}.pem", self.kid));
        let text = pem(concat!("PRIVATE", " KEY"), &self.private_der()?);
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| KeyError::File { path, source })
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(PEM_LINE) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn unpem(text: &str) -> Option<Vec<u8>> {
    let body = text.split_once("-----BEGIN ")?.1.split_once("-----\n")?.1;
    let body: String = body.split_once("-----END ")?.0.split_whitespace().collect();
    STANDARD.decode(body).ok()
}
