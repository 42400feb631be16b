//! An issuer's published keys (RFC 7517), each bound to the algorithms that fit it.
//!
//! A key fits by its own nature: RSA to RS and PS, P-256 to ES256, P-384 to ES384, Ed25519 to
//! EdDSA, narrowed by its `alg` where it has one. A token's header chooses among the keys that fit
//! and never widens them; that is what defeats every confusion of algorithms. Ignored, with the
//! reason kept for the operator: symmetric keys, private keys, encryption keys, other curves, RSA
//! under 2048 bits.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::{DecodingKey, crypto};

use super::algorithm::{AlgorithmSet, SigningAlgorithm};
use super::compact::{Compact, decode};
use super::error::{BAD_SIGNATURE, Fault, MISSING_KEY_ID, UNKNOWN_KEY, UNSUPPORTED_ALGORITHM};
use super::json::{Json, Object};

/// The most keys read from one set; providers publish two to four.
const KEYS_MAX: usize = 128;
/// The most keys that one token is tried against, when a provider repeats a key id.
const CANDIDATES_MAX: usize = 4;
/// The smallest RSA modulus accepted, in bits (RFC 7518, section 3.3).
const RSA_BITS_MIN: usize = 2048;
/// The largest; beyond it verifying is a way to spend our time.
const RSA_BITS_MAX: usize = 8192;

/// Names a key by its material, id and algorithms.
pub(super) type Fingerprint = [u8; 32];

/// The usable keys of one issuer, in the order published.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Why keys were left out.
    pub(super) ignored: Vec<String>,
}

/// A public key that verifies signatures.
pub(super) struct Key {
    id: Option<String>,
    fits: AlgorithmSet,
    material: DecodingKey,
    pub(super) fingerprint: Fingerprint,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// When it is not one. A key in it that cannot be used is not an error.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let document = Json::parse_object(document)
            .map_err(|error| format!("the key set is not valid JSON: {error}"))?;
        let Some(Json::Array(items)) = document.get("keys") else {
            return Err("the key set has no array `keys`".to_owned());
        };
        if items.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        let mut set = Self {
            keys: Vec::with_capacity(items.len()),
            ignored: Vec::new(),
        };
        for (index, item) in items.iter().enumerate() {
            let read = match item {
                Json::Object(jwk) => Key::read(jwk),
                _ => Err("it is not an object".to_owned()),
            };
            match read {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.ignored.push(format!("key {index}: {reason}")),
            }
        }
        Ok(set)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// The same keys in the same order.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        let names = |set: &Self| set.keys.iter().map(|k| k.fingerprint).collect::<Vec<_>>();
        names(self) == names(other)
    }

    /// Verifies a token's signature with the key that its header names, and returns that key.
    pub(super) fn verify(
        &self,
        token: &Compact<'_>,
        key_id: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Result<&Key, Fault> {
        let named = self.keys.iter().filter(|key| match key_id {
            Some(id) => key.id.as_deref() == Some(id),
            None => true,
        });
        let mut any = false;
        let mut fitting = Vec::new();
        for key in named {
            any = true;
            if key.fits.contains(algorithm) {
                fitting.push(key);
            }
        }
        match (fitting.len(), key_id) {
            (0, Some(_)) if any => return Err(UNSUPPORTED_ALGORITHM),
            (0, _) => return Err(UNKNOWN_KEY),
            (2.., None) => return Err(MISSING_KEY_ID),
            _ => {}
        }
        fitting
            .into_iter()
            .take(CANDIDATES_MAX)
            .find(|key| key.verifies(token, algorithm))
            .ok_or(BAD_SIGNATURE)
    }
}

// === impl Key ===

impl Key {
    fn read(jwk: &Object) -> Result<Self, String> {
        if ["d", "p", "q", "dp", "dq", "qi", "oth"]
            .iter()
            .any(|name| jwk.contains_key(*name))
        {
            return Err("it carries its private part: that key must be replaced".to_owned());
        }
        check_use(jwk)?;
        let (by_nature, material, name) = match text(jwk, "kty")? {
            "RSA" => rsa(jwk)?,
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            "oct" => return Err("it is a shared secret".to_owned()),
            other => return Err(format!("key type {other:?} is not supported")),
        };
        let fits = match optional_text(jwk, "alg")? {
            None => by_nature,
            Some(name) => SigningAlgorithm::from_name(name)
                .filter(|algorithm| by_nature.contains(*algorithm))
                .map(AlgorithmSet::only)
                .ok_or_else(|| format!("its algorithm {name:?} is not supported for its type"))?,
        };
        let id = optional_text(jwk, "kid")?.map(str::to_owned);
        let fingerprint = fingerprint(id.as_deref(), fits, &name);
        Ok(Self {
            id,
            fits,
            material,
            fingerprint,
        })
    }

    fn verifies(&self, token: &Compact<'_>, algorithm: SigningAlgorithm) -> bool {
        debug_assert!(
            self.fits.contains(algorithm),
            "only a key that fits is asked"
        );
        crypto::verify(
            token.signature,
            token.signed,
            &self.material,
            algorithm.verifier(),
        )
        .unwrap_or(false)
    }
}

/// Length-prefixed, so that no two different keys hash alike.
fn fingerprint(id: Option<&str>, fits: AlgorithmSet, material: &[u8]) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&fits.bits().to_le_bytes());
    hasher.update(&[u8::from(id.is_some())]);
    let id = id.unwrap_or_default();
    hasher.update(&(id.len() as u64).to_le_bytes());
    hasher.update(id.as_bytes());
    hasher.update(material);
    *hasher.finalize().as_bytes()
}

/// `use` and `key_ops`, where present, allow verifying (RFC 7517, sections 4.2 and 4.3).
fn check_use(jwk: &Object) -> Result<(), String> {
    match optional_text(jwk, "use")? {
        None | Some("sig") => {}
        Some(other) => return Err(format!("it is for use {other:?}, not for signatures")),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Json::Array(operations))
            if operations
                .iter()
                .any(|operation| operation.as_str() == Some("verify")) =>
        {
            Ok(())
        }
        Some(_) => Err("its key_ops do not include verify".to_owned()),
    }
}

/// What the readers of each key type return: the algorithms that fit, the key, and its material.
type Read = (AlgorithmSet, DecodingKey, Vec<u8>);

fn rsa(jwk: &Object) -> Result<Read, String> {
    let n = unsigned(jwk, "n")?;
    let e = unsigned(jwk, "e")?;
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return Err(format!(
            "an RSA key of {bits} bits is too short; use {RSA_BITS_MIN} or more"
        ));
    }
    if bits > RSA_BITS_MAX {
        return Err(format!(
            "an RSA key of {bits} bits is too long; use {RSA_BITS_MAX} or fewer"
        ));
    }
    // An exponent of 1 makes every message its own signature; an even one is no RSA key.
    if e.last().is_none_or(|byte| byte % 2 == 0) || e == [1] {
        return Err("its RSA exponent is not odd and above 1".to_owned());
    }
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| "it is not an RSA public key".to_owned())?;
    let material = [b"RSA".as_slice(), &(n.len() as u64).to_le_bytes(), &n, &e].concat();
    Ok((
        AlgorithmSet::RSA,
        DecodingKey::from_rsa_raw_components(&n, &e),
        material,
    ))
}

fn elliptic(jwk: &Object) -> Result<Read, String> {
    let (algorithm, size, verifier): (_, _, &'static dyn VerificationAlgorithm) =
        match text(jwk, "crv")? {
            "P-256" => (SigningAlgorithm::Es256, 32, &ECDSA_P256_SHA256_FIXED),
            "P-384" => (SigningAlgorithm::Es384, 48, &ECDSA_P384_SHA384_FIXED),
            other => return Err(format!("curve {other:?} is not supported")),
        };
    let (x, y) = (octets(jwk, "x")?, octets(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err("its coordinates do not have the length of its curve".to_owned());
    }
    let point = [&[4_u8][..], &x, &y].concat();
    ParsedPublicKey::new(verifier, &point)
        .map_err(|_| "its point is not on its curve".to_owned())?;
    // jsonwebtoken keeps the curve out of the key and takes it from the algorithm: `fits` binds it.
    Ok((
        AlgorithmSet::only(algorithm),
        DecodingKey::from_ec_der(&point),
        point,
    ))
}

fn edwards(jwk: &Object) -> Result<Read, String> {
    match text(jwk, "crv")? {
        "Ed25519" => {}
        other => return Err(format!("curve {other:?} is not supported")),
    }
    let x = octets(jwk, "x")?;
    ParsedPublicKey::new(&ED25519, &x).map_err(|_| "it is not an Ed25519 key".to_owned())?;
    let fits = AlgorithmSet::only(SigningAlgorithm::Ed25519);
    Ok((fits, DecodingKey::from_ed_der(&x), x))
}

fn text<'a>(jwk: &'a Object, name: &str) -> Result<&'a str, String> {
    optional_text(jwk, name)?.ok_or_else(|| format!("it has no {name:?}"))
}

fn optional_text<'a>(jwk: &'a Object, name: &str) -> Result<Option<&'a str>, String> {
    let member = jwk.get(name).map(|value| value.as_str().ok_or(()));
    member
        .transpose()
        .map_err(|()| format!("its {name:?} is not a string"))
}

fn octets(jwk: &Object, name: &str) -> Result<Vec<u8>, String> {
    decode(text(jwk, name)?).map_err(|_| format!("its {name:?} is not base64url"))
}

/// A number without leading zeros, which some providers write although RFC 7518 forbids it.
fn unsigned(jwk: &Object, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = octets(jwk, name)?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}
