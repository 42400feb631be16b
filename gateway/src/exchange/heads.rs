//! Heads in and out: which fields of a request mean something to us, which go on to the model,
//! and which of the model's go back to the client.

use std::borrow::Cow;
use std::fmt::Write as _;

use penstock_policies::{Action, Dialect, Direction, Finding, PolicySet, Scope};

use super::context::Peer;
use crate::http1::{FieldError, Fields, Framing, RequestHead, RequestWriter};
use crate::identity::Principal;

/// Fields of the client's that never go upstream: credentials, what we compute ourselves, and what
/// only a gateway may say. Lower case.
const REQUEST_DROPPED: [&str; 23] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "proxy-authorization",
    "remote-user",
    "true-client-ip",
    "via",
    "x-api-key",
    "x-client-cert",
    "x-client-ip",
    "x-goog-api-key",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    "x-request-id",
    "x-rewrite-url",
    "x-user",
];

/// Prefixes of the same kind.
const REQUEST_DROPPED_PREFIXES: [&str; 7] = [
    "x-forwarded-",
    "x-penstock-",
    "x-auth-",
    "x-authenticated-",
    "x-http-method",
    "x-remote-",
    "x-ssl-",
];

/// Fields of the model's that do not go to the client: what we compute ourselves, and cookies,
/// which a model behind a gateway has no business to set.
const RESPONSE_DROPPED: [&str; 6] = [
    "content-length",
    "content-encoding",
    "x-request-id",
    "set-cookie",
    "server",
    "alt-svc",
];

/// The format of errors when the route is not known: Anthropic clients say their version.
pub(super) fn dialect_of(head: &RequestHead) -> Dialect {
    let anthropic =
        head.path().starts_with("/v1/messages") || head.fields.get("anthropic-version").is_some();
    if anthropic {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// A field's value as text, where it is text.
pub(super) fn text(value: Option<&[u8]>) -> Option<String> {
    value
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .map(str::to_owned)
}

/// `type/subtype` of a content-type value, in the case in which it was sent, without parameters;
/// `None` when it has a charset other than UTF-8 or is not a media type at all.
pub(super) fn media_type(value: &[u8]) -> Option<&str> {
    const CHARSETS: [&str; 3] = ["utf-8", "utf8", "us-ascii"];
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|media| media.contains('/'))?;
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = value.trim_matches('"');
        let known = |known: &&str| charset.eq_ignore_ascii_case(known);
        if name.eq_ignore_ascii_case("charset") && !CHARSETS.iter().any(known) {
            return None;
        }
    }
    Some(media)
}

/// `application/json` and its kin, in any case.
pub(super) fn is_json(media: &str) -> bool {
    let kin = || {
        let start = media.get(.."application/".len());
        let end = media.len().checked_sub("+json".len());
        start.is_some_and(|start| start.eq_ignore_ascii_case("application/"))
            && end
                .and_then(|at| media.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case("+json"))
    };
    media.eq_ignore_ascii_case("application/json") || kin()
}

/// What the upstream's head is made of.
pub(super) struct UpstreamHead<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) host: &'a str,
    pub(super) peer: Peer,
    pub(super) secure: bool,
    pub(super) principal: &'a Principal,
    pub(super) credential: Option<&'a str>,
    pub(super) request_id: &'a str,
    pub(super) body_bytes: u64,
    /// Fields that a guard withholds.
    pub(super) withheld: &'a [String],
}

impl UpstreamHead<'_> {
    /// Appends the head, written anew from what was understood of the client's. An error says that
    /// a value of ours cannot stand in a head, which the checks on configuration and tokens
    /// exclude; the caller refuses the request all the same.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldError> {
        let head = self.head;
        let mut writer = RequestWriter::new(out, head.method, head.target(), self.host)?;
        writer.copy(&head.fields, |name| {
            passes_to_model(name) && !self.withheld.iter().any(|other| other == name)
        });
        if let Some(credential) = self.credential {
            writer.field("authorization", credential.as_bytes())?;
        }
        if let Peer::Tcp(address) = self.peer {
            writer.field("x-forwarded-for", address.ip().to_string().as_bytes())?;
        }
        writer.field(
            "x-forwarded-proto",
            if self.secure { b"https" } else { b"http" },
        )?;
        if !head.host().is_empty() {
            writer.field("x-forwarded-host", head.host().as_bytes())?;
        }
        writer.field("x-request-id", self.request_id.as_bytes())?;
        if !self.principal.subject.is_empty() {
            writer.field(
                "x-penstock-subject",
                encode(&self.principal.subject).as_bytes(),
            )?;
            writer.field(
                "x-penstock-issuer",
                encode(&self.principal.issuer).as_bytes(),
            )?;
        }
        writer.finish(match self.body_bytes {
            0 => Framing::None,
            length => Framing::Length(length),
        });
        Ok(())
    }
}

fn is_dropped(name: &str) -> bool {
    let name = name.as_bytes();
    let begins = |prefix: &&str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| is_same_name(start, prefix))
    };
    REQUEST_DROPPED
        .iter()
        .any(|known| is_same_name(name, known))
        || REQUEST_DROPPED_PREFIXES.iter().any(begins)
}

/// Is this the field of that name, which is in lower case? Servers behind CGI-like interfaces
/// cannot tell `x_user` from `x-user`.
fn is_same_name(name: &[u8], known: &str) -> bool {
    let lower = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.len() == known.len() && name.iter().map(lower).eq(known.bytes())
}

/// Fields whose values the protocol fixes or the SDKs write: no place for a caller's text, and too
/// many per request to look at each.
const PLAIN: [&str; 9] = [
    "accept",
    "accept-language",
    "cache-control",
    "content-type",
    "date",
    "retry-after",
    "traceparent",
    "vary",
    "x-stainless-",
];

/// The longest name of a field that approvers are shown.
const NAME_BYTES_MAX: usize = 64;

/// What guards say of the texts in a head, outside the body.
pub(super) struct HeadVerdict {
    /// The worst that was found.
    pub(super) action: Action,
    /// Everything that was found.
    pub(super) findings: Vec<Finding>,
    /// Fields that must not go on.
    pub(super) withheld: Vec<String>,
    /// Texts that people must be asked about.
    pub(super) held: Vec<HeldText>,
}

/// A text outside the body in which something must be approved.
pub(super) struct HeldText {
    /// Where it stands, for approvers.
    pub(super) place: String,
    /// As guards read it.
    pub(super) text: String,
    /// A field's name, in lower case, and its value, as sent; nothing of the query, which is bound
    /// to an approval in any case.
    pub(super) field: Option<(String, Vec<u8>)>,
    /// What was found in it.
    pub(super) findings: Vec<Finding>,
    /// The first finding of each guard that holds it.
    pub(super) held: Vec<Finding>,
}

/// Looks at the values of all fields that would go on. A masked value has no meaning to whoever
/// reads the field, so the field goes; the caller of this decides what a block and a hold come to.
pub(super) fn inspect_fields(
    policy: &PolicySet,
    scope: &Scope,
    direction: Direction,
    fields: &Fields,
    passes: impl Fn(&str) -> bool,
) -> HeadVerdict {
    let mut verdict = HeadVerdict {
        action: Action::Allow,
        findings: Vec::new(),
        withheld: Vec::new(),
        held: Vec::new(),
    };
    for (name, value) in fields.end_to_end() {
        let plain = PLAIN.iter().any(|plain| {
            let prefix = name.get(..plain.len());
            let whole = name.len() == plain.len() || plain.ends_with('-');
            whole && prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(plain))
        });
        if plain || !passes(name) {
            continue;
        }
        let text = String::from_utf8_lossy(value);
        let found = policy.inspect_text(scope, direction, "header", &text);
        if found.masks || matches!(found.action, Action::Mask | Action::Block) {
            verdict.withheld.push(name.to_owned());
        }
        if !found.held.is_empty() {
            // Nobody has looked at the name, which the caller chose as well.
            let look = || policy.inspect_text(scope, direction, "header", name);
            let is_shown = name.len() <= NAME_BYTES_MAX && look().findings.is_empty();
            let name = name.to_ascii_lowercase();
            verdict.held.push(HeldText {
                place: match is_shown {
                    true => format!("header {name}"),
                    false => "header".to_owned(),
                },
                text: text.into_owned(),
                field: Some((name, value.to_vec())),
                findings: found.findings.clone(),
                held: found.held,
            });
        }
        verdict.action = verdict.action.max(found.action);
        verdict.findings.extend(found.findings);
    }
    verdict
}

/// Undoes percent-encoding as far as it is one; what is not UTF-8 becomes U+FFFD.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (bytes[at], byte) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// May this field of the caller's go to the model?
pub(super) fn passes_to_model(name: &str) -> bool {
    !is_dropped(name)
}

/// May this end-to-end field of the model's go to the client?
pub(super) fn passes_to_client(name: &str) -> bool {
    !RESPONSE_DROPPED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Percent-encodes what may not stand in a field value as it is, `%` included.
fn encode(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'%')
    {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_without_case_and_only_in_utf8() {
        assert_eq!(media_type(b"Application/JSON"), Some("Application/JSON"));
        for charset in ["charset=UTF-8", "Charset=\"utf8\"", "a=b; charset=us-ascii"] {
            let value = format!("application/json; {charset}");
            assert_eq!(media_type(value.as_bytes()), Some("application/json"));
        }
        assert_eq!(media_type(b"application/json; charset=utf-16"), None);
        assert_eq!(media_type(b"application/json; CHARSET=latin1"), None);
        assert_eq!(media_type(b"application/json; charset"), None);
        assert_eq!(media_type(b"json"), None);
        assert!(is_json("Application/JSON") && is_json("application/vnd.API+Json"));
        assert!(!is_json("text/json-ish") && !is_json("application/+jso") && !is_json("+json"));
    }

    #[test]
    fn identity_fields_of_the_client_never_pass() {
        for name in [
            "X-Forwarded-For",
            "x-penstock-subject",
            "Authorization",
            "X-API-Key",
            "Cookie",
            "x_forwarded_Host",
            "X_User",
        ] {
            assert!(is_dropped(name), "{name}");
        }
        assert!(!is_dropped("openai-organization"));
    }

    #[test]
    fn subjects_are_made_safe_for_a_field() {
        assert_eq!(encode("alice@example.com"), "alice@example.com");
        assert_eq!(encode("a b\r\n%é"), "a%20b%0D%0A%25%C3%A9");
    }
}
