//! The tokens of a prompt, counted before it is inspected and on a thread that may take its time.
//!
//! Tokenizing costs some eighteen times what inspecting does (46 ms for 128 KiB of English:
//! `benches/token_cost.rs`), so a core that serves others must not do it for a long prompt: it asks [`Scope::must_count`], hands a [`TokenCount`] to another thread, and
//! gives what comes back to [`Scope::counted`]. The inspection that follows takes the number over
//! where it needs one, and is the same in everything else.

use std::fmt;

use super::form;
use super::multipart::Form;
use super::{Head, prompt};
use crate::policy::{Extent, Scope};
use crate::profile::{RequestBody, Route};
use crate::text::{Doc, Parser, Role};

/// A body up to this size is counted where it is inspected, in a quarter of a millisecond at most.
const COUNTED_HERE_BYTES_MAX: usize = 512;

/// A prompt whose tokens are to be counted; owns all that this needs.
pub struct TokenCount {
    scope: Scope,
    route: Route,
    content_type: String,
    body: Vec<u8>,
}

/// The tokens that a prompt has for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedTokens {
    pub(crate) model: Option<String>,
    pub(crate) tokens: u64,
}

// === impl TokenCount ===

impl TokenCount {
    /// `content_type` is of importance for forms only.
    pub fn new(scope: &Scope, route: &Route, content_type: &str, body: Vec<u8>) -> TokenCount {
        TokenCount {
            scope: scope.clone(),
            route: *route,
            content_type: content_type.to_owned(),
            body,
        }
    }

    /// Counts, and gives the body back. Of a body that cannot be read nothing is counted: its
    /// inspection says what is wrong with it.
    pub fn run(self) -> (Vec<u8>, Option<CountedTokens>) {
        let (scope, route) = (&self.scope, &self.route);
        let counted = match route.body {
            RequestBody::None => None,
            RequestBody::Json => {
                let mut parser = Parser::default();
                let counted = parser.with(&self.body, |doc| of_document(scope, route, doc));
                counted.ok().flatten()
            }
            RequestBody::Form => of_form(scope, route, &self.content_type, &self.body),
        };
        (self.body, counted)
    }
}

/// Without the prompt, which is nobody's to print.
impl fmt::Debug for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("TokenCount");
        told.field("route", &self.route.name)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn of_document(scope: &Scope, route: &Route, doc: &Doc<'_>) -> Option<CountedTokens> {
    let head = Head::read(doc).ok()?;
    let model = head.model.and_then(|node| doc.str(node));
    let mut extent = Extent {
        ids: prompt::token_ids(doc, route.operation, false).ok()?,
        ..Extent::default()
    };
    strings(doc, &mut |text| extent.add(text));
    let each = |each: &mut dyn FnMut(&str)| strings(doc, each);
    Some(CountedTokens {
        model: model.map(str::to_owned),
        tokens: scope.count_tokens(route.operation, model, extent, each),
    })
}

fn of_form(scope: &Scope, route: &Route, content_type: &str, body: &[u8]) -> Option<CountedTokens> {
    let form = Form::read(content_type, body).ok()?;
    let model = form::Head::read(&form).ok()?.model;
    let mut extent = Extent::default();
    form.texts(&mut |text| extent.add(text));
    let each = |each: &mut dyn FnMut(&str)| form.texts(each);
    Some(CountedTokens {
        model: model.map(str::to_owned),
        tokens: scope.count_tokens(route.operation, model, extent, each),
    })
}

/// The texts of a document whose tokens count: its string values.
pub(super) fn strings(doc: &Doc<'_>, each: &mut dyn FnMut(&str)) {
    doc.walk(&mut |_, text| {
        if text.role == Role::String {
            each(text.value);
        }
    });
}

// === impl Scope ===

impl Scope {
    /// Whether the tokens of this body should be counted before it is inspected, elsewhere: a bound
    /// may depend on them, and they are too many to be counted in passing.
    pub fn must_count(&self, route: &Route, body: &[u8]) -> bool {
        body.len() > COUNTED_HERE_BYTES_MAX && self.may_reach_bound(route.operation, body.len())
    }
}
