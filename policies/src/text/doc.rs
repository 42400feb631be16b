//! A parsed document: its nodes, where each lies in the original, and the walk over its strings and
//! long numbers.

use simd_json::{Node, StaticNode};

use super::edit::literal_end;
use super::path::Step;

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

/// One string of the walk, or a number long enough to say something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'d> {
    /// A string's text; the digits of a number before its point or exponent, with its sign.
    pub(crate) value: &'d str,
    pub(crate) node: usize,
    pub(crate) role: Role,
}

/// What a text of the walk is in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A key; its path is that of its object.
    Key,
    String,
    Number,
}

/// Digits from which a number is a text of its own: a card, an account, a telephone number. What
/// is shorter says nothing by itself, and arrays of token ids and of fractions stay cheap.
pub(crate) const NUMBER_DIGITS_MIN: usize = 8;

/// Where the walk is: the steps from the root, and the containers that they lead through.
/// `containers[0]` is the root; the last one holds the string, or has it as a key.
pub(crate) struct Place<'w, 'd> {
    pub(crate) path: &'w [Step<'d>],
    pub(crate) containers: &'w [usize],
}

/// Where each node of the tape lies in the original.
#[derive(Default)]
pub(super) struct Spans {
    starts: Vec<u32>,
    /// One past the end; only containers have it here, other ends are found when asked for.
    ends: Vec<u32>,
    open: Vec<u32>,
}

// === impl Text ===

impl Text<'_> {
    pub(crate) fn is_key(&self) -> bool {
        self.role == Role::Key
    }
}

// === impl Spans ===

impl Spans {
    /// Pairs nodes with the structural characters that begin them; false when they do not pair,
    /// which would be a defect of this module or of the parser.
    pub(super) fn fill(&mut self, raw: &[u8], structurals: &[u32], nodes: usize) -> bool {
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
    pub(super) fn new(raw: &'d [u8], nodes: &'d [Node<'d>], spans: &'d Spans) -> Doc<'d> {
        Doc { raw, nodes, spans }
    }

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
    pub(crate) fn after(&self, node: usize) -> usize {
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
            Node::String(_) => literal_end(self.raw, start),
            Node::Static(_) => {
                let rest = &self.raw[start..];
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                start + rest.iter().position(ends).unwrap_or(rest.len())
            }
        };
        start..end
    }

    /// The digits with which a number begins, if they are at least [`NUMBER_DIGITS_MIN`].
    fn long_number(&self, node: usize) -> Option<&'d str> {
        let start = self.spans.starts[node] as usize;
        let sign = usize::from(self.raw.get(start) == Some(&b'-'));
        let digits = start + sign;
        let first = self.raw.get(digits..digits + NUMBER_DIGITS_MIN)?;
        if !first.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let rest = &self.raw[digits..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&self.raw[start..digits + count]).ok()
    }

    /// Visits every number: how deep what has it lies, the key (none in an array), its node.
    pub(crate) fn numbers(&self, visit: &mut dyn FnMut(usize, &'d str, usize)) {
        self.numbers_of(0, 1, visit);
    }

    /// Recursion is bounded by [`DEPTH_MAX`], which the parser enforced.
    fn numbers_of(&self, node: usize, depth: usize, visit: &mut dyn FnMut(usize, &'d str, usize)) {
        for element in self.elements(node) {
            match self.kind(element) {
                Kind::Number => visit(depth, "", element),
                _ => self.numbers_of(element, depth + 1, visit),
            }
        }
        for member in self.members(node) {
            match self.kind(member.value) {
                Kind::Number => visit(depth, member.key, member.value),
                _ => self.numbers_of(member.value, depth + 1, visit),
            }
        }
    }

    /// Visits every string and every long number in document order, keys and duplicates included.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Place<'_, 'd>, Text<'d>)) {
        // Messages are mostly not deeper.
        let mut path = Vec::with_capacity(8);
        let mut containers = Vec::with_capacity(8);
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
            Node::Static(_) => {
                if let Some(value) = self.long_number(node) {
                    let role = Role::Number;
                    visit(&Place { path, containers }, Text { value, node, role });
                }
            }
            Node::String(value) => {
                let role = Role::String;
                visit(&Place { path, containers }, Text { value, node, role });
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
                        role: Role::Key,
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
