//! Responses that are read whole: JSON bodies and plain text.

use super::error::FilterError;
use super::logprobs::Side;
use crate::policy::Scope;
use crate::policy::engine::{Engine, Sieve};
use crate::text::{Doc, Edits, Parser, is_protocol, render};
use crate::verdict::Findings;

/// Gathers a body and masks it at its end.
#[derive(Debug)]
pub(super) struct Whole {
    scope: Scope,
    reading: Reading,
    body: Vec<u8>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Json,
    Text,
}

// === impl Whole ===

impl Whole {
    pub(super) fn json(scope: Scope) -> Whole {
        Whole::new(scope, Reading::Json)
    }

    pub(super) fn text(scope: Scope) -> Whole {
        Whole::new(scope, Reading::Text)
    }

    fn new(scope: Scope, reading: Reading) -> Whole {
        Whole {
            scope,
            reading,
            body: Vec::new(),
            bytes_max: super::RESPONSE_BYTES_MAX,
        }
    }

    pub(super) fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    pub(super) fn push(&mut self, input: &[u8]) -> Result<(), FilterError> {
        if input.len() > self.bytes_max.saturating_sub(self.body.len()) {
            return Err(FilterError::TooLarge {
                what: "a body",
                limit: self.bytes_max,
            });
        }
        self.body.extend_from_slice(input);
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let body = std::mem::take(&mut self.body);
        if body.is_empty() {
            return Ok(());
        }
        let Some((engine, sieve)) = self.scope.response() else {
            out.extend_from_slice(&body);
            return Ok(());
        };
        let masked = match self.reading {
            Reading::Json => {
                Parser::default().with(&body, |doc| mask_json(engine, sieve, doc, findings))?
            }
            Reading::Text => mask_plain(engine, sieve, &body, findings)?,
        };
        if let Some(block) = findings.block() {
            return Err(FilterError::Blocked(block.clone()));
        }
        out.extend_from_slice(masked.as_deref().unwrap_or(&body));
        Ok(())
    }
}

fn mask_plain(
    engine: &Engine,
    sieve: &Sieve,
    body: &[u8],
    findings: &mut Findings,
) -> Result<Option<Vec<u8>>, FilterError> {
    let text = std::str::from_utf8(body).map_err(|error| FilterError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let masked = engine.mask(sieve, text, findings, &|| "$".to_owned());
    Ok(masked.map(String::into_bytes))
}

/// The document with every matching string replaced; `None` when it stays as it is.
fn mask_json(
    engine: &Engine,
    sieve: &Sieve,
    doc: &Doc<'_>,
    findings: &mut Findings,
) -> Option<Vec<u8>> {
    let mut edits = Edits::default();
    let mut sides = Vec::new();
    doc.walk(&mut |place, text| {
        if text.is_key() {
            let parent = place.containers.last().copied().unwrap_or(0);
            sides.extend(Side::of(doc, parent, text.value, text.node));
        }
        if is_protocol(place, &text) {
            return;
        }
        let location = || render(place.path, text.is_key());
        if let Some(masked) = engine.mask(sieve, text.value, findings, &location) {
            edits.text(text.node, doc.span(text.node), masked);
        }
    });
    for side in &sides {
        let mut shadow = Findings::default();
        let joined = side.joined(doc);
        let matches = engine
            .mask(sieve, &joined, &mut shadow, &|| "logprobs".to_owned())
            .is_some();
        if let Some(block) = shadow.block() {
            findings.add(block.action, || block.clone());
        }
        if matches || edits.any_within(&doc.span(side.parent)) {
            edits.json(side.value, doc.span(side.value), side.void);
        }
    }
    (!edits.is_empty()).then(|| {
        let mut out = Vec::with_capacity(doc.raw().len());
        edits.apply(doc.raw(), &mut out);
        out
    })
}
