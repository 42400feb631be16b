//! Signatures of messages, ours and Slack's.
//!
//! Ours are those of the Standard Webhooks specification 1.0: HMAC-SHA256 over
//! `webhook-id.webhook-timestamp.body`, so that neither an old message nor a part of one can be sent
//! again as another. Two secrets sign at once while one is replaced by the other.
//!
//! Slack's are its v0: HMAC-SHA256 over `v0:timestamp:body`, in hexadecimal. A message is taken
//! within [`SLACK_AGE_MAX_S`] of its time, once ([`Seen`]).

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How old, or how far ahead, a message of Slack may be.
pub const SLACK_AGE_MAX_S: u64 = 300;
/// Messages of Slack that are remembered; only those with a good signature.
const SEEN_MAX: usize = 10_000;
/// Secrets at once: the new one and the old one.
const SECRETS_MAX: usize = 2;
/// Bytes of a webhook's secret, as the specification wants them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What a webhook's secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// The shortest signing secret; Slack's have 32 characters.
const SLACK_SECRET_BYTES_MIN: usize = 16;

/// The keys of one receiver; the first is the new one.
pub struct Secrets(Vec<hmac::Key>);

/// Why a message is not taken for one of Slack's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsigned {
    /// The fields are not there, or not as Slack writes them.
    #[error("X-Slack-Signature or X-Slack-Request-Timestamp is missing or misshapen")]
    Misshapen,
    /// It is too old, or of the future.
    #[error("its time is more than five minutes from this machine's")]
    Stale,
    /// Somebody else signed it, or it was changed.
    #[error("the signature is not by the signing secret of any receiver")]
    Wrong,
    /// It was taken before.
    #[error("it was taken before")]
    Replayed,
    /// So many came that it cannot be said whether it was taken before.
    #[error("too many messages in five minutes")]
    TooMany,
}

/// Messages that were taken, until they would be too old.
#[derive(Default)]
pub struct Seen(HashMap<Vec<u8>, u64>);

// === impl Secrets ===

impl Secrets {
    /// Those of a webhook: one or two lines of `whsec_` and base64.
    ///
    /// # Errors
    /// What is wrong, without what was read.
    pub fn of_webhook(text: &str) -> Result<Self, String> {
        let key = |line: &str| {
            let bytes = line
                .strip_prefix(SECRET_PREFIX)
                .and_then(|encoded| STANDARD.decode(encoded).ok())
                .filter(|bytes| SECRET_BYTES.contains(&bytes.len()))?;
            Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        Self::lines(text, key).ok_or_else(|| {
            "must hold one or two lines, each `whsec_` and 24 to 64 bytes in base64: \
             echo \"whsec_$(openssl rand -base64 32)\""
                .to_owned()
        })
    }

    /// Those of a Slack app: one or two lines, each a signing secret.
    ///
    /// # Errors
    /// What is wrong, without what was read.
    pub fn of_slack(text: &str) -> Result<Self, String> {
        let key = |line: &str| {
            let good = line.len() >= SLACK_SECRET_BYTES_MIN
                && line.bytes().all(|byte| byte.is_ascii_graphic());
            good.then(|| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()))
        };
        Self::lines(text, key).ok_or_else(|| {
            "must hold one or two lines, each the signing secret of a Slack app".to_owned()
        })
    }

    fn lines(text: &str, key: impl Fn(&str) -> Option<hmac::Key>) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<hmac::Key> = lines.map(key).collect::<Option<_>>()?;
        (1..=SECRETS_MAX)
            .contains(&keys.len())
            .then_some(Self(keys))
    }

    /// The value of `webhook-signature`: one signature for each secret.
    pub fn sign(&self, id: &str, timestamp_unix: u64, body: &[u8]) -> String {
        let signed = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp_unix}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        signed.collect::<Vec<_>>().join(" ")
    }

    /// Whether one of them signed a message of Slack; in constant time. What is returned is the
    /// signature, to be remembered.
    fn signed(&self, timestamp: &str, body: &[u8], signature: &[u8]) -> bool {
        let mut message = format!("v0:{timestamp}:").into_bytes();
        message.extend_from_slice(body);
        let by = |key: &hmac::Key| hmac::verify(key, &message, signature).is_ok();
        // Each is tried, so that the time does not tell which.
        self.0.iter().fold(false, |found, key| by(key) | found)
    }
}

/// Whose message this is: the index of the receiver whose secrets signed it.
///
/// # Errors
/// Why it is nobody's; nothing is remembered then.
pub fn verify_slack(
    receivers: &[Secrets],
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now_unix: u64,
    seen: &mut Seen,
) -> Result<usize, Unsigned> {
    let timestamp = timestamp.ok_or(Unsigned::Misshapen)?;
    let hex = signature.and_then(|text| text.strip_prefix("v0="));
    let signature = hex.and_then(from_hex).ok_or(Unsigned::Misshapen)?;
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let at: u64 = match digits {
        true => timestamp.parse().map_err(|_| Unsigned::Misshapen)?,
        false => return Err(Unsigned::Misshapen),
    };
    if at.abs_diff(now_unix) > SLACK_AGE_MAX_S {
        return Err(Unsigned::Stale);
    }
    let whose = receivers
        .iter()
        .position(|secrets| secrets.signed(timestamp, body, &signature))
        .ok_or(Unsigned::Wrong)?;
    seen.take(signature, at, now_unix)?;
    Ok(whose)
}

// === impl Seen ===

impl Seen {
    fn take(&mut self, signature: Vec<u8>, at_unix: u64, now_unix: u64) -> Result<(), Unsigned> {
        if self.0.len() >= SEEN_MAX {
            self.0
                .retain(|_, at| at.saturating_add(SLACK_AGE_MAX_S) >= now_unix);
        }
        if self.0.len() >= SEEN_MAX {
            return Err(Unsigned::TooMany);
        }
        match self.0.insert(signature, at_unix) {
            None => Ok(()),
            Some(_) => Err(Unsigned::Replayed),
        }
    }
}

/// Lower-case hexadecimal, as Slack writes it.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    let pairs = bytes.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? * 16 + digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA256 as RFC 2104 defines it, over another crate's SHA-256: what receivers do.
    pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
        let digest = |parts: [&[u8]; 2]| {
            let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
            parts.iter().for_each(|part| context.update(part));
            context.finish().as_ref().to_vec()
        };
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        let inner = digest([&block.map(|byte| byte ^ 0x36), message]);
        digest([&block.map(|byte| byte ^ 0x5c), &inner])
    }

    fn webhook_secret(byte: u8) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode([byte; 32]))
    }

    #[test]
    fn a_webhook_is_signed_by_each_secret_over_id_time_and_body() {
        let two = format!("{}\n{}\n", webhook_secret(7), webhook_secret(9));
        let value = Secrets::of_webhook(&two)
            .unwrap()
            .sign("n_1", 1_790_000_000, b"{}");
        let expected = [7, 9].map(|byte| {
            let mac = hmac_sha256(&[byte; 32], b"n_1.1790000000.{}");
            format!("v1,{}", STANDARD.encode(mac))
        });
        assert_eq!(value, expected.join(" "));
    }

    #[test]
    fn secrets_have_their_shape_and_errors_do_not_repeat_them() {
        let short = format!("{SECRET_PREFIX}{}", STANDARD.encode([1; 23]));
        let three = [webhook_secret(1), webhook_secret(2), webhook_secret(3)].join("\n");
        let bare = STANDARD.encode([1; 32]);
        for bad in ["", "whsec_", "whsec_!!", &short, &three, &bare] {
            let error = Secrets::of_webhook(bad).err().expect("it is refused");
            assert!(bad.len() < 10 || !error.contains(bad), "{error}");
        }
        assert!(Secrets::of_slack("abc").is_err() && Secrets::of_slack("").is_err());
    }

    const SLACK: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_790_000_000;

    fn signed(secret: &str, at: u64, body: &[u8]) -> (String, String) {
        let mut message = format!("v0:{at}:").into_bytes();
        message.extend_from_slice(body);
        let mac = hmac_sha256(secret.as_bytes(), &message);
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        (at.to_string(), format!("v0={hex}"))
    }

    fn verify(at: &str, signature: &str, body: &[u8], seen: &mut Seen) -> Result<usize, Unsigned> {
        let other = Secrets::of_slack("another secret!!".replace(' ', "-").as_str()).unwrap();
        let receivers = [other, Secrets::of_slack(SLACK).unwrap()];
        verify_slack(&receivers, Some(at), Some(signature), body, NOW, seen)
    }

    #[test]
    fn slack_is_believed_once_within_five_minutes_and_to_the_letter() {
        let seen = &mut Seen::default();
        let (at, signature) = signed(SLACK, NOW, b"payload=x");
        assert_eq!(verify(&at, &signature, b"payload=x", seen), Ok(1));
        let again = verify(&at, &signature, b"payload=x", seen);
        assert_eq!(again, Err(Unsigned::Replayed));
        for at in [NOW - SLACK_AGE_MAX_S, NOW + SLACK_AGE_MAX_S] {
            let (at, signature) = signed(SLACK, at, b"payload=x");
            assert_eq!(verify(&at, &signature, b"payload=x", seen), Ok(1));
        }
        for at in [NOW - SLACK_AGE_MAX_S - 1, NOW + SLACK_AGE_MAX_S + 1, 0] {
            let (at, signature) = signed(SLACK, at, b"payload=x");
            assert_eq!(
                verify(&at, &signature, b"payload=x", seen),
                Err(Unsigned::Stale)
            );
        }
        let (at, signature) = signed(SLACK, NOW + 1, b"payload=x");
        assert_eq!(
            verify(&at, &signature, b"payload=y", seen),
            Err(Unsigned::Wrong)
        );
        let other_time = (NOW + 2).to_string();
        assert_eq!(
            verify(&other_time, &signature, b"payload=x", seen),
            Err(Unsigned::Wrong)
        );
        let (_, forged) = signed("somebody-else-s-secret", NOW + 1, b"payload=x");
        assert_eq!(
            verify(&at, &forged, b"payload=x", seen),
            Err(Unsigned::Wrong)
        );
        let shorter = &signature[..signature.len() - 2];
        assert_eq!(
            verify(&at, shorter, b"payload=x", seen),
            Err(Unsigned::Wrong)
        );
        let bare = signature.trim_start_matches("v0=");
        let shapes = [
            (at.as_str(), bare),
            (at.as_str(), "v0=zz"),
            (at.as_str(), "v0=abc"),
        ];
        let shapes = shapes
            .into_iter()
            .chain([("", &*signature), ("+1", &*signature)]);
        for (at, signature) in shapes {
            let refused = verify(at, signature, b"payload=x", seen);
            assert_eq!(refused, Err(Unsigned::Misshapen), "{at:?} {signature:?}");
        }
        // None of these was remembered: the genuine one is still taken.
        assert_eq!(verify(&at, &signature, b"payload=x", seen), Ok(1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_it_is_too_old() {
        let mut seen = Seen::default();
        for number in 0..SEEN_MAX {
            seen.take(number.to_be_bytes().to_vec(), NOW, NOW).unwrap();
        }
        let more = vec![1];
        assert_eq!(seen.take(more.clone(), NOW, NOW), Err(Unsigned::TooMany));
        let later = NOW + SLACK_AGE_MAX_S + 1;
        assert_eq!(seen.take(more, later, later), Ok(()));
        assert_eq!(seen.0.len(), 1);
    }
}
