//! The strings of a JSON document, each with its place in the original bytes.
//!
//! simd-json validates and unescapes; it does so in a copy, because it writes in place. Every node
//! of its tape is then matched with the structural character where it began in the original, so
//! that a document in which nothing changed is forwarded byte for byte, and one in which something
//! did differs in the changed literals only.
//!
//! Strict by intent: UTF-8 without a byte order mark, one value, no trailing bytes, numbers as RFC
//! 8259 has them, no lone surrogates. What this refuses is refused to the caller; nothing is
//! repaired, because the model's server may repair it differently.

mod edit;
mod path;
#[cfg(test)]
mod tests;

use std::fmt;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

pub(crate) use edit::{Edits, write_string};
pub(crate) use path::{Step, render};

/// Deepest nesting of objects and arrays that is read.
pub const DEPTH_MAX: usize = 128;

/// A document longer than this makes the parser give its buffers back afterwards.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not UTF-8; the offset of the first bad byte. Byte order marks and UTF-16 are meant too.
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// Not JSON at this offset, as far as the parser can tell.
    NotJson {
        /// Offset near which the document stops being JSON.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// Reusable buffers for reading one document at a time.
pub(crate) struct Parser {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    spans: Spans,
}

/// Where each node of the tape lies in the original.
#[derive(Default)]
struct Spans {
    starts: Vec<u32>,
    /// One past the end; only containers have it here, other ends are found when asked for.
    ends: Vec<u32>,
    open: Vec<u32>,
}

/// A parsed document. Nodes are numbered in document order; node 0 is the root.
pub(crate) struct Doc<'d> {
    raw: &'d [u8],
    nodes: &'d [Node<'d>],
    spans: &'d Spans,
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'d> {
    pub(crate) key: &'d str,
    pub(crate) key_node: usize,
    pub(crate) value: usize,
}

/// What stands at one place of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number,
    String,
    Array { empty: bool },
    Object { empty: bool },
}

/// One string of the walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'d> {
    pub(crate) value: &'d str,
    pub(crate) node: usize,
    /// A key; its path is that of its object.
    pub(crate) is_key: bool,
}

/// Where the walk is: the steps from the root, and the containers that they lead through.
/// `containers[0]` is the root; the last one holds the string, or has it as a key.
pub(crate) struct Place<'w, 'd> {
    pub(crate) path: &'w [Step<'d>],
    pub(crate) containers: &'w [usize],
}

// === impl Parser ===

impl Default for Parser {
    fn default() -> Self {
        Parser {
            input: Vec::new(),
            buffers: Buffers::with_max_depth(0, DEPTH_MAX),
            tape: Tape(Vec::new()),
            spans: Spans::default(),
        }
    }
}

impl Parser {
    /// Reads `raw` and hands the document to `read`.
    pub(crate) fn with<T>(
        &mut self,
        raw: &[u8],
        read: impl FnOnce(&Doc<'_>) -> T,
    ) -> Result<T, JsonError> {
        refuse_other_encodings(raw)?;
        if u32::try_from(raw.len().saturating_add(INPUT_PADDING)).is_err() {
            return Err(JsonError::NotJson {
                at: 0,
                reason: "the document is longer than 4 GiB",
            });
        }
        let Parser {
            input,
            buffers,
            tape,
            spans,
        } = self;
        input.clear();
        input.extend_from_slice(raw);
        input.resize(raw.len() + INPUT_PADDING, b' ');
        let mut filled: Tape<'_> = std::mem::replace(tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(input, raw.len(), buffers, &mut filled);
        let result = match parsed {
            Ok(()) if spans.fill(raw, buffers.structural_indexes(), filled.0.len()) => {
                Ok(read(&Doc {
                    raw,
                    nodes: &filled.0,
                    spans,
                }))
            }
            Ok(()) => Err(JsonError::NotJson {
                at: 0,
                reason: "the parser lost its place",
            }),
            Err(error) => Err(explain(raw, &error)),
        };
        *tape = filled.reset();
        if raw.len() > KEEP_BYTES_MAX {
            *self = Parser::default();
        }
        result
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("capacity", &self.input.capacity())
            .finish_non_exhaustive()
    }
}

/// Byte order marks, and the NUL bytes that betray UTF-16 and UTF-32 without one.
fn refuse_other_encodings(raw: &[u8]) -> Result<(), JsonError> {
    match raw {
        [0xEF, 0xBB, 0xBF, ..] => Err(JsonError::NotJson {
            at: 0,
            reason: "a byte order mark is no part of JSON",
        }),
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => Err(JsonError::NotUtf8 { at: 0 }),
        [0, ..] => Err(JsonError::NotUtf8 { at: 0 }),
        [_, 0, ..] => Err(JsonError::NotUtf8 { at: 1 }),
        _ => Ok(()),
    }
}

/// The parser's error in words that say nothing of the text.
fn explain(raw: &[u8], error: &simd_json::Error) -> JsonError {
    if let Err(utf8) = std::str::from_utf8(raw) {
        return JsonError::NotUtf8 {
            at: utf8.valid_up_to(),
        };
    }
    let reason = match error.error() {
        ErrorType::DepthLimitExceeded => return JsonError::TooDeep,
        ErrorType::Eof | ErrorType::UnterminatedString => "the document ends too early",
        ErrorType::InvalidEscape
        | ErrorType::InvalidUnicodeEscape
        | ErrorType::InvalidUnicodeCodepoint => "a string has an invalid escape",
        ErrorType::InvalidNumber | ErrorType::InvalidExponent | ErrorType::ExpectedNumber => {
            "a number is not a JSON number, or does not fit 64 bits"
        }
        ErrorType::KeyMustBeAString => "a key must be a string",
        ErrorType::TrailingData => "something follows the end of the document",
        _ => "the document is not well-formed",
    };
    JsonError::NotJson {
        at: error.index().min(raw.len()),
        reason,
    }
}

// === impl Spans ===

impl Spans {
    /// Pairs nodes with the structural characters that begin them; false when they do not pair,
    /// which would be a defect of this module or of the parser.
    fn fill(&mut self, raw: &[u8], structurals: &[u32], nodes: usize) -> bool {
        let Spans { starts, ends, open } = self;
        starts.clear();
        ends.clear();
        open.clear();
        for &at in structurals {
            match raw.get(at as usize) {
                Some(b':' | b',') => {}
                Some(b'}' | b']') => match open.pop() {
                    Some(node) => ends[node as usize] = at + 1,
                    None => return false,
                },
                Some(byte) => {
                    if matches!(byte, b'{' | b'[') {
                        open.push(starts.len() as u32);
                    }
                    starts.push(at);
                    ends.push(0);
                }
                // The parser ends its list with a mark at the end of the input.
                None => {}
            }
        }
        open.is_empty() && starts.len() == nodes
    }
}

// === impl Doc ===

impl<'d> Doc<'d> {
    pub(crate) fn raw(&self) -> &'d [u8] {
        self.raw
    }

    pub(crate) fn kind(&self, node: usize) -> Kind {
        match self.nodes[node] {
            Node::Static(StaticNode::Null) => Kind::Null,
            Node::Static(StaticNode::Bool(value)) => Kind::Bool(value),
            Node::Static(_) => Kind::Number,
            Node::String(_) => Kind::String,
            Node::Array { len, .. } => Kind::Array { empty: len == 0 },
            Node::Object { len, .. } => Kind::Object { empty: len == 0 },
        }
    }

    pub(crate) fn str(&self, node: usize) -> Option<&'d str> {
        match self.nodes[node] {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// A non-negative whole number.
    pub(crate) fn number(&self, node: usize) -> Option<u64> {
        match self.nodes[node] {
            Node::Static(StaticNode::U64(value)) => Some(value),
            Node::Static(StaticNode::I64(value)) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The members of an object, duplicates included; nothing for any other node.
    pub(crate) fn members(&self, node: usize) -> impl Iterator<Item = Member<'d>> + '_ {
        let left = match self.nodes[node] {
            Node::Object { len, .. } => len,
            _ => 0,
        };
        let mut at = node + 1;
        (0..left).map(move |_| {
            let key = self.str(at).unwrap_or_default();
            let member = Member {
                key,
                key_node: at,
                value: at + 1,
            };
            at = self.after(at + 1);
            member
        })
    }

    /// The elements of an array; nothing for any other node.
    pub(crate) fn elements(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let left = match self.nodes[node] {
            Node::Array { len, .. } => len,
            _ => 0,
        };
        let mut at = node + 1;
        (0..left).map(move |_| {
            let element = at;
            at = self.after(at);
            element
        })
    }

    /// The member of that name; the last one where there are several, as most readers have it.
    pub(crate) fn member(&self, node: usize, key: &str) -> Option<usize> {
        self.members(node)
            .filter(|member| member.key == key)
            .last()
            .map(|member| member.value)
    }

    /// The node that follows `node` and all that is in it.
    fn after(&self, node: usize) -> usize {
        match self.nodes[node] {
            Node::Array { count, .. } | Node::Object { count, .. } => node + 1 + count,
            _ => node + 1,
        }
    }

    /// Where a node lies in the original, quotes and brackets included.
    pub(crate) fn span(&self, node: usize) -> std::ops::Range<usize> {
        let start = self.spans.starts[node] as usize;
        let end = match self.nodes[node] {
            Node::Array { .. } | Node::Object { .. } => self.spans.ends[node] as usize,
            Node::String(_) => edit::literal_end(self.raw, start),
            Node::Static(_) => {
                let rest = &self.raw[start..];
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                start + rest.iter().position(ends).unwrap_or(rest.len())
            }
        };
        start..end
    }

    /// Visits every string in document order, keys and duplicates included.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Place<'_, 'd>, Text<'d>)) {
        let mut path = Vec::new();
        let mut containers = Vec::new();
        self.walk_node(0, &mut path, &mut containers, visit);
    }

    /// Recursion is bounded by [`DEPTH_MAX`], which the parser enforced.
    fn walk_node(
        &self,
        node: usize,
        path: &mut Vec<Step<'d>>,
        containers: &mut Vec<usize>,
        visit: &mut dyn FnMut(&Place<'_, 'd>, Text<'d>),
    ) {
        match self.nodes[node] {
            Node::Static(_) => {}
            Node::String(value) => {
                visit(
                    &Place { path, containers },
                    Text {
                        value,
                        node,
                        is_key: false,
                    },
                );
            }
            Node::Array { .. } => {
                containers.push(node);
                for (index, element) in self.elements(node).enumerate() {
                    path.push(Step::Index(index));
                    self.walk_node(element, path, containers, visit);
                    path.pop();
                }
                containers.pop();
            }
            Node::Object { .. } => {
                containers.push(node);
                for member in self.members(node) {
                    let text = Text {
                        value: member.key,
                        node: member.key_node,
                        is_key: true,
                    };
                    visit(&Place { path, containers }, text);
                    path.push(Step::Key(member.key));
                    self.walk_node(member.value, path, containers, visit);
                    path.pop();
                }
                containers.pop();
            }
        }
    }
}

// === impl JsonError ===

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::NotUtf8 { at } => write!(f, "the text is not UTF-8 at byte {at}"),
            JsonError::NotJson { at, reason } => {
                write!(f, "the text is not JSON near byte {at}: {reason}")
            }
            JsonError::TooDeep => {
                write!(f, "the document is nested deeper than {DEPTH_MAX} levels")
            }
        }
    }
}

impl std::error::Error for JsonError {}
