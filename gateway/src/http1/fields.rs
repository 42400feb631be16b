//! Header fields: one owned copy of the head, and an index into it.
//!
//! Each field's place is kept as 16-bit offsets (a head never exceeds [`HEAD_MAX`]), with what the
//! field is for, found once while parsing. So forwarding asks no name twice, and looking a field
//! up compares only names of the same length. Names keep the case they were sent in; values are
//! bytes, since RFC 9110 §5.5 lets them hold bytes above ASCII.
//!
//! [`HEAD_MAX`]: super::HEAD_MAX

use super::framing::{ConnectionOptions, list_elements};
use super::refusal::{self, Refusal};

/// The fields of a head, in order, duplicates included.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// The head as it arrived, start line included.
    head: Vec<u8>,
    index: Vec<Entry>,
}

/// A stretch of the head's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    at: u16,
    len: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    name: Span,
    value: Span,
    role: Role,
}

/// What a field is for, as far as framing and forwarding care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Meant for the final recipient.
    EndToEnd,
    /// `Host`: end to end, but the writer states its own.
    Host,
    /// `Content-Length`: the writer states its own.
    ContentLength,
    /// `Expect`: answered by the gateway itself.
    Expect,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`, and `HTTP2-Settings`, which only goes with it.
    Upgrade,
    /// For this connection alone: by its name, or named by `Connection`.
    HopByHop,
}

/// How often a field stands in a head, and where it last stood.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) count: usize,
    pub(super) value: Span,
}

/// What the head says about its own framing, collected while indexing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Notable {
    pub(super) host: Place,
    pub(super) content_length: Place,
    pub(super) transfer_encoding: Place,
    pub(super) expect: Place,
    pub(super) upgrade: Place,
    pub(super) connection: ConnectionOptions,
}

/// Whether a field of this name concerns one connection only and is never forwarded
/// (RFC 9110 §7.6.1, and the fields of proxies). Fields that `Connection` names come on top:
/// [`connection_names`].
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        Role::of(name.as_bytes()),
        Role::TransferEncoding | Role::Connection | Role::Upgrade | Role::HopByHop
    )
}

/// The connection options of all `Connection` fields, in order: `close`, `keep-alive`, and names
/// of fields that concern this connection only.
pub fn connection_names(fields: &Fields) -> impl Iterator<Item = &str> {
    fields
        .index
        .iter()
        .filter(|entry| entry.role == Role::Connection)
        .flat_map(|entry| list_elements(fields.bytes(entry.value)))
        .map(ascii)
}

// === impl Fields ===

impl Fields {
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.index.clear();
    }

    pub(super) fn memory(&self) -> usize {
        self.head.capacity() + self.index.capacity() * size_of::<Entry>()
    }

    /// All fields as sent, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.index
            .iter()
            .map(|entry| (ascii(self.bytes(entry.name)), self.bytes(entry.value)))
    }

    /// The fields that may be forwarded: without those for one connection only (by name or named by
    /// `Connection`) and without `Host`, `Content-Length` and `Expect`, which a writer states anew.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.index
            .iter()
            .filter(|entry| entry.role == Role::EndToEnd)
            .map(|entry| (ascii(self.bytes(entry.name)), self.bytes(entry.value)))
    }

    /// The first value of this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The first value of this name if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// All values of this name, in order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.index
            .iter()
            .filter(move |entry| {
                usize::from(entry.name.len) == name.len()
                    && self.bytes(entry.name).eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|entry| self.bytes(entry.value))
    }

    /// How often this name stands.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// Takes a copy of `head` and indexes what the tokenizer found in it. `Err` for field names
    /// that other servers could read as framing, and for a malformed `Connection`.
    pub(super) fn load(
        &mut self,
        head: &[u8],
        tokens: &[httparse::Header<'_>],
    ) -> Result<Notable, Refusal> {
        self.head.clear();
        self.head.extend_from_slice(head);
        self.index.clear();
        self.index.reserve(tokens.len());
        let mut notable = Notable::default();
        for token in tokens {
            let role = Role::of(token.name.as_bytes());
            let name = Span::of(head, token.name.as_bytes());
            let value = Span::of(head, token.value);
            match role {
                Role::EndToEnd if is_ambiguous(token.name) => return Err(refusal::FIELD_AMBIGUOUS),
                Role::EndToEnd | Role::HopByHop => {}
                Role::Host => notable.host.add(value),
                Role::ContentLength => notable.content_length.add(value),
                Role::Expect => notable.expect.add(value),
                Role::TransferEncoding => notable.transfer_encoding.add(value),
                Role::Upgrade => notable.upgrade.add(value),
                Role::Connection => notable.connection.read(token.value)?,
            }
            self.index.push(Entry { name, value, role });
        }
        if notable.connection.names_fields {
            self.demote_named()?;
        }
        Ok(notable)
    }

    /// Marks the fields that `Connection` names as concerning this connection only.
    fn demote_named(&mut self) -> Result<(), Refusal> {
        for at in 0..self.index.len() {
            let entry = self.index[at];
            let name = self.bytes(entry.name);
            let named = !matches!(entry.role, Role::HopByHop | Role::Connection)
                && connection_names(self)
                    .any(|option| option.as_bytes().eq_ignore_ascii_case(name));
            if !named {
                continue;
            }
            if is_needed_by_the_final_server(entry.role, name) {
                return Err(refusal::CONNECTION_NAMES_END_TO_END);
            }
            if entry.role == Role::EndToEnd {
                self.index[at].role = Role::HopByHop;
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        // A span is only made by `load` or `span`, from this very head; an empty slice keeps a
        // mistake here from becoming a panic on the request path.
        self.head.get(span.range()).unwrap_or_default()
    }

    /// A stretch that was checked to be ASCII when the head was parsed.
    pub(super) fn ascii(&self, span: Span) -> &str {
        ascii(self.bytes(span))
    }
}

/// A field of this name changes what the final server makes of the message, so a client that has
/// the gateway drop it would make the two disagree.
fn is_needed_by_the_final_server(role: Role, name: &[u8]) -> bool {
    const NAMES: [&str; 3] = ["content-type", "content-encoding", "authorization"];
    matches!(role, Role::Host | Role::ContentLength)
        || NAMES
            .iter()
            .any(|needed| needed.as_bytes().eq_ignore_ascii_case(name))
}

/// Names that servers behind CGI-like interfaces take for the field with hyphens.
fn is_ambiguous(name: &str) -> bool {
    name.eq_ignore_ascii_case("content_length") || name.eq_ignore_ascii_case("transfer_encoding")
}

/// Names, targets and hosts were checked to be ASCII; an empty text stands for the impossible.
fn ascii(bytes: &[u8]) -> &str {
    debug_assert!(bytes.is_ascii());
    std::str::from_utf8(bytes).unwrap_or_default()
}

// === impl Span ===

impl Span {
    /// Where `part`, a slice of `whole`, lies in it. Both come from the tokenizer, which gives
    /// slices of the head it was handed, and a head is at most `HEAD_MAX` bytes long.
    pub(super) fn of(whole: &[u8], part: &[u8]) -> Self {
        let at = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        debug_assert!(at + part.len() <= whole.len());
        Self::new(at, part.len())
    }

    pub(super) fn new(at: usize, len: usize) -> Self {
        debug_assert!(at + len <= super::HEAD_MAX);
        Self {
            at: at as u16,
            len: len as u16,
        }
    }

    /// The stretch `at..at + len` within this one.
    pub(super) fn sub(self, at: usize, len: usize) -> Self {
        debug_assert!(at + len <= usize::from(self.len));
        Self::new(usize::from(self.at) + at, len)
    }

    fn range(self) -> std::ops::Range<usize> {
        usize::from(self.at)..usize::from(self.at) + usize::from(self.len)
    }
}

// === impl Place ===

impl Place {
    fn add(&mut self, value: Span) {
        self.count += 1;
        self.value = value;
    }
}

// === impl Role ===

impl Role {
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // Length and first letter rule nearly every other name out without a comparison.
        match (name.len(), name.first().map_or(0, u8::to_ascii_lowercase)) {
            (2, b't') if is("te") => Self::HopByHop,
            (4, b'h') if is("host") => Self::Host,
            (6, b'e') if is("expect") => Self::Expect,
            (7, b'u') if is("upgrade") => Self::Upgrade,
            (7, b't') if is("trailer") => Self::HopByHop,
            (10, b'c') if is("connection") => Self::Connection,
            (10, b'k') if is("keep-alive") => Self::HopByHop,
            (14, b'c') if is("content-length") => Self::ContentLength,
            (14, b'h') if is("http2-settings") => Self::Upgrade,
            (17, b't') if is("transfer-encoding") => Self::TransferEncoding,
            (7.., b'p') if name[..6].eq_ignore_ascii_case(b"proxy-") => Self::HopByHop,
            _ => Self::EndToEnd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(head: &str) -> Result<(Fields, Notable), Refusal> {
        let mut table = [httparse::EMPTY_HEADER; 16];
        let mut tokens = httparse::Request::new(&mut table);
        tokens.parse(head.as_bytes()).expect("tokens");
        let mut fields = Fields::default();
        let notable = fields.load(head.as_bytes(), tokens.headers)?;
        Ok((fields, notable))
    }

    #[test]
    fn hop_by_hop_names_are_known_in_any_case() {
        for name in [
            "Connection",
            "keep-alive",
            "Proxy-Connection",
            "PROXY-AUTHENTICATE",
            "te",
        ] {
            assert!(is_hop_by_hop(name), "{name}");
        }
        for name in [
            "Trailer",
            "Transfer-Encoding",
            "upgrade",
            "HTTP2-Settings",
            "proxy-x",
        ] {
            assert!(is_hop_by_hop(name), "{name}");
        }
        for name in [
            "",
            "t",
            "host",
            "content-length",
            "proxy",
            "x-connection",
            "trailers",
        ] {
            assert!(!is_hop_by_hop(name), "{name}");
        }
    }

    #[test]
    fn what_connection_names_is_not_forwarded() {
        let head = "GET / HTTP/1.1\r\nX-A: 1\r\nConnection: x-a, close\r\nConnection: ,X-C\r\n\
                    X-B: 2\r\nx-c: 3\r\n\r\n";
        let (fields, notable) = load(head).expect("valid");
        assert_eq!(
            connection_names(&fields).collect::<Vec<_>>(),
            ["x-a", "close", "X-C"]
        );
        assert_eq!(
            fields.end_to_end().collect::<Vec<_>>(),
            [("X-B", &b"2"[..])]
        );
        assert_eq!(fields.get("X-A"), Some(&b"1"[..]), "still there to be read");
        assert!(notable.connection.close && !notable.connection.keep_alive);
    }

    #[test]
    fn connection_may_not_take_away_what_the_final_server_needs() {
        let named = |name: &str, line: &str| {
            load(&format!(
                "GET / HTTP/1.1\r\nConnection: {name}\r\n{line}\r\n"
            ))
            .map(|_| ())
        };
        let refused = Err(refusal::CONNECTION_NAMES_END_TO_END);
        assert_eq!(
            named("content-encoding", "Content-Encoding: gzip\r\n"),
            refused
        );
        assert_eq!(named("CONTENT-TYPE", "content-type: a/b\r\n"), refused);
        assert_eq!(named("host", "Host: a\r\n"), refused);
        assert_eq!(
            named("authorization", "Authorization: Bearer x\r\n"),
            refused
        );
        assert_eq!(
            named("content-encoding", ""),
            Ok(()),
            "there is nothing to take away"
        );
        assert_eq!(named("te, transfer-encoding", "TE: trailers\r\n"), Ok(()));
    }
}
