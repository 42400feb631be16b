//! Replacing a few values of a document and leaving every other byte as it was.

/// Replacements, gathered in any order.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    list: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    start: usize,
    end: usize,
    node: usize,
    with: With,
}

#[derive(Debug)]
enum With {
    /// A string that still has to be written as a literal.
    Text(String),
    /// JSON as it stands.
    Json(&'static str),
}

// === impl Edits ===

impl Edits {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Replaces the literal of `node`, which lies at `span`, by a string.
    pub(crate) fn text(&mut self, node: usize, span: std::ops::Range<usize>, text: String) {
        self.list.push(Edit {
            start: span.start,
            end: span.end,
            node,
            with: With::Text(text),
        });
    }

    /// Replaces a whole value, and with it every replacement inside.
    pub(crate) fn json(&mut self, node: usize, span: std::ops::Range<usize>, json: &'static str) {
        self.list.push(Edit {
            start: span.start,
            end: span.end,
            node,
            with: With::Json(json),
        });
    }

    /// The text that replaces that of `node`, if it is replaced.
    pub(crate) fn text_of(&mut self, node: usize) -> Option<&mut String> {
        self.list
            .iter_mut()
            .rev()
            .find(|edit| edit.node == node)
            .and_then(|edit| match &mut edit.with {
                With::Text(text) => Some(text),
                With::Json(_) => None,
            })
    }

    /// Takes back what was said about `node`.
    pub(crate) fn forget(&mut self, node: usize) {
        self.list.retain(|edit| edit.node != node);
    }

    /// Whether anything between two offsets of the original is replaced.
    pub(crate) fn any_within(&self, span: &std::ops::Range<usize>) -> bool {
        self.list
            .iter()
            .any(|edit| span.start <= edit.start && edit.end <= span.end)
    }

    /// Writes the original with the replacements made.
    pub(crate) fn apply(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        // The widest of those that begin together comes first; what lies inside it is skipped.
        self.list
            .sort_by_key(|edit| (edit.start, usize::MAX - edit.end));
        let mut copied = 0;
        for edit in &self.list {
            if edit.start < copied {
                continue;
            }
            out.extend_from_slice(&raw[copied..edit.start]);
            match &edit.with {
                With::Text(text) => write_string(out, text),
                With::Json(json) => out.extend_from_slice(json.as_bytes()),
            }
            copied = edit.end;
        }
        out.extend_from_slice(&raw[copied..]);
    }
}

/// Writes a JSON string literal, escaping only what must be.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1F => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

/// Appends a text as it is written inside a literal.
pub(crate) fn push_escaped(text: &str, out: &mut String) {
    let mut bytes = Vec::with_capacity(text.len());
    write_escaped(&mut bytes, text);
    out.push_str(std::str::from_utf8(&bytes).expect("escaping adds ASCII to what is UTF-8"));
}

/// One past the closing quote of the literal that opens at `open` in a document already validated.
pub(super) fn literal_end(raw: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &raw[at.min(raw.len())..]) {
        at += found;
        if raw[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    raw.len()
}

#[cfg(test)]
mod tests {
    use super::{Edits, literal_end, write_string};

    #[test]
    fn replaces_only_what_it_is_told() {
        let raw = br#"{"a": "x\"y", "b": {"c": "d"}, "e":1}"#;
        let mut edits = Edits::default();
        edits.text(9, 25..28, "inner".to_owned());
        edits.json(5, 19..29, "null");
        edits.text(2, 6..12, "q\"\n\u{1}é".to_owned());
        let mut out = Vec::new();
        edits.apply(raw, &mut out);
        let expected = r#"{"a": "q\"\n\u0001é", "b": null, "e":1}"#;
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn finds_the_end_of_literals() {
        for literal in [
            r#""""#,
            r#""a""#,
            r#""\"""#,
            r#""\\""#,
            r#""a\\\"b""#,
            r#""\u0022""#,
        ] {
            let raw = format!("{literal},\"next\"");
            assert_eq!(literal_end(raw.as_bytes(), 0), literal.len(), "{literal}");
        }
    }

    #[test]
    fn writes_literals_that_read_back() {
        let text: String = (0..0x300).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        write_string(&mut out, &text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
