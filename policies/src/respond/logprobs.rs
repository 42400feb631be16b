//! The side door: token-by-token copies of a text, beside the text.
//!
//! `logprobs` repeat the text as tokens, as their bytes, and as the alternatives that the model
//! nearly said; `token_ids` repeat it as numbers. Masking inside them would have to cut across
//! tokens, so they are dropped whole (`null`, or `[]` where a list is customary) whenever any text
//! beside them was masked or held back in the same message, or when their own tokens, joined,
//! match a rule. Otherwise they pass untouched.

use crate::text::{Doc, Kind};

/// One such value: the object that has it, its key and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) parent: usize,
    pub(super) value: usize,
    /// What is written in its place.
    pub(super) void: &'static str,
}

/// Keys whose values repeat a text.
const SIDE_KEYS: [&str; 4] = [
    "logprobs",
    "prompt_logprobs",
    "token_ids",
    "prompt_token_ids",
];

impl Side {
    /// The member of `parent` whose key is at `key_node`, if it repeats a text and is not empty.
    pub(super) fn of(doc: &Doc<'_>, parent: usize, key: &str, key_node: usize) -> Option<Side> {
        if !SIDE_KEYS.contains(&key) {
            return None;
        }
        let value = key_node + 1;
        match doc.kind(value) {
            Kind::Array { empty: false } if key == "logprobs" => Some(Side {
                parent,
                value,
                void: "[]",
            }),
            Kind::Array { empty: false } | Kind::Object { empty: false } => Some(Side {
                parent,
                value,
                void: "null",
            }),
            _ => None,
        }
    }

    /// The text that its tokens make when joined; empty for numbers.
    pub(super) fn joined(&self, doc: &Doc<'_>) -> String {
        let mut out = String::new();
        join(doc, self.value, &mut out);
        out
    }
}

/// Recursion is bounded by the depth of the document.
fn join(doc: &Doc<'_>, node: usize, out: &mut String) {
    match doc.kind(node) {
        Kind::Array { .. } => {
            for element in doc.elements(node) {
                join(doc, element, out);
            }
        }
        Kind::Object { .. } => {
            let own = doc
                .member(node, "token")
                .or_else(|| doc.member(node, "decoded_token"));
            if let Some(token) = own.and_then(|token| doc.str(token)) {
                out.push_str(token);
                return;
            }
            for member in doc.members(node) {
                match (member.key, doc.kind(member.value)) {
                    ("tokens", Kind::Array { .. }) => {
                        let tokens = doc
                            .elements(member.value)
                            .filter_map(|token| doc.str(token));
                        out.extend(tokens);
                    }
                    ("top_logprobs", _) => {}
                    (_, Kind::Array { .. }) => join(doc, member.value, out),
                    (_, Kind::Object { .. }) => {
                        join(doc, member.value, out);
                        // A prompt position maps candidate tokens to their figures; the first is
                        // the token that stands in the prompt.
                        if doc.member(member.value, "decoded_token").is_some() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
