//! Who speaks: the role of every text of a request.
//!
//! A sentence that gives the model orders is one thing in its user's question and another in the
//! result of a tool or in a document that was looked up: there nobody meant to give orders, and it
//! is how prompts are injected. So rules may ask for roles; this says which text has which.
//!
//! | where | role |
//! | --- | --- |
//! | `messages[]`, `input[]` with a `role` | that role; `developer` is system, `function` is tool |
//! | `system`, `instructions` | system |
//! | a content part of type `tool_result`; an item of type `…_output` | tool |
//! | `tools`, `functions` (their names, descriptions and schemas) | tool |
//! | `documents`, `texts`, `passages`; parts of type `document`, `search_result` | document |
//! | everything else: `prompt`, `input`, … | user |

use crate::rule::Speaker;
use crate::text::{Doc, Kind};

/// The role of every node of a document: from each place on, until the next.
#[derive(Debug, Default)]
pub(super) struct Roles {
    changes: Vec<(usize, Speaker)>,
    /// The change that the last question was about; questions go forwards.
    at: usize,
}

/// Deepest nesting of content parts in content parts.
const DEPTH_MAX: usize = 8;

// === impl Roles ===

impl Roles {
    pub(super) fn read(doc: &Doc<'_>) -> Roles {
        let mut roles = Roles::default();
        roles.change(0, Speaker::User);
        for member in doc.members(0) {
            let speaker = match member.key {
                "system" | "instructions" => Speaker::System,
                "tools" | "functions" => Speaker::Tool,
                "documents" | "texts" | "passages" => Speaker::Document,
                _ => Speaker::User,
            };
            roles.within(doc, member.value, speaker, 0);
        }
        roles
    }

    /// The role of a node; nodes must not go down.
    pub(super) fn of(&mut self, node: usize) -> Speaker {
        while self
            .changes
            .get(self.at + 1)
            .is_some_and(|(from, _)| *from <= node)
        {
            self.at += 1;
        }
        self.changes
            .get(self.at)
            .map_or(Speaker::User, |(_, speaker)| *speaker)
    }

    fn change(&mut self, node: usize, speaker: Speaker) {
        match self.changes.last_mut() {
            Some((_, last)) if *last == speaker => {}
            Some((from, last)) if *from == node => *last = speaker,
            _ => self.changes.push((node, speaker)),
        }
    }

    /// Marks a value, in which messages and parts may speak for themselves.
    fn within(&mut self, doc: &Doc<'_>, node: usize, speaker: Speaker, depth: usize) {
        self.change(node, speaker);
        let inside = match doc.kind(node) {
            Kind::Object { .. } => own(doc, node).unwrap_or(speaker),
            _ => speaker,
        };
        self.change(node, inside);
        if depth < DEPTH_MAX {
            for element in doc.elements(node) {
                self.within(doc, element, inside, depth + 1);
            }
            for member in doc.members(node) {
                if matches!(member.key, "content" | "output" | "parts") {
                    self.within(doc, member.value, inside, depth + 1);
                }
            }
        }
        self.change(doc.after(node), speaker);
    }
}

/// The role that a message or a part says it has.
fn own(doc: &Doc<'_>, node: usize) -> Option<Speaker> {
    let word = |key| doc.member(node, key).and_then(|at| doc.str(at));
    match word("type").unwrap_or_default() {
        "tool_result" | "function" => return Some(Speaker::Tool),
        "document" | "search_result" => return Some(Speaker::Document),
        kind if kind.ends_with("_output") => return Some(Speaker::Tool),
        _ => {}
    }
    match word("role")? {
        "system" | "developer" => Some(Speaker::System),
        "assistant" => Some(Speaker::Assistant),
        "tool" | "function" => Some(Speaker::Tool),
        _ => Some(Speaker::User),
    }
}
