//! Responses that are read whole: JSON bodies and plain text.

use super::error::FilterError;
use super::judge::{Judge, Work};
use super::logprobs::Side;
use super::shape;
use crate::text::{Doc, Edits, Parser, Role, is_protocol, render};
use crate::verdict::Findings;

/// Gathers a body and masks it at its end.
#[derive(Debug)]
pub(super) struct Whole {
    work: Work,
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
    pub(super) fn json(work: Work) -> Whole {
        Whole::new(work, Reading::Json)
    }

    pub(super) fn text(work: Work) -> Whole {
        Whole::new(work, Reading::Text)
    }

    fn new(work: Work, reading: Reading) -> Whole {
        Whole {
            work,
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
        parser: Option<&mut Parser>,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let body = std::mem::take(&mut self.body);
        if body.is_empty() {
            return Ok(());
        }
        let Some(mut judge) = self.work.judge(findings) else {
            out.extend_from_slice(&body);
            return Ok(());
        };
        let judged = match self.reading {
            Reading::Json => {
                let mut own;
                let parser = match parser {
                    Some(parser) => parser,
                    None => {
                        own = Parser::default();
                        &mut own
                    }
                };
                let read = parser.with(&body, |doc| mask_json(&mut judge, doc));
                read.map_err(FilterError::from)
            }
            Reading::Text => mask_plain(&mut judge, &body),
        };
        let masked = match judged {
            Err(_) if judge.restores() => None,
            judged => judged?,
        };
        judge.verdict()?;
        out.extend_from_slice(masked.as_deref().unwrap_or(&body));
        Ok(())
    }
}

fn mask_plain(judge: &mut Judge<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
    let text = std::str::from_utf8(body).map_err(|error| FilterError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let masked = judge.whole(text, false, &|| "$".to_owned());
    Ok(masked.map(String::into_bytes))
}

/// The document with every matching string replaced; `None` when it stays as it is.
fn mask_json(judge: &mut Judge<'_>, doc: &Doc<'_>) -> Option<Vec<u8>> {
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
        let is_json = text.role == Role::String && shape::is_json(place.path, None);
        if let Some(masked) = judge.whole(text.value, is_json, &location) {
            edits.text(text.node, doc.span(text.node), masked);
        }
    });
    for side in &sides {
        let mut shadow = Findings::default();
        let joined = side.joined(doc);
        let matches = judge
            .reporting(&mut shadow)
            .whole(&joined, false, &|| "logprobs".to_owned())
            .is_some();
        judge.hear_of(&shadow);
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
