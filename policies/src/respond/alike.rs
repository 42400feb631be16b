//! Masking an event that is like an earlier one: understood by its [`Stencil`], not parsed, and
//! without any allocation unless something is found or masked.

use std::sync::Arc;

use super::channels::{Kept, Slot};
use super::error::FilterError;
use super::event::EventMasker;
use super::judge::Judge;
use super::sse::{Framing, field_value, lines};
use super::stencil::{PieceShape, Shape, Stencil, Stencils, Takes};
use super::synth::{Envelope, Template};
use crate::text::{Doc, Edits, Parser, write_string};
use crate::verdict::Findings;

// === impl EventMasker ===

impl EventMasker {
    /// Masks an event that is like an earlier one and appends what the client gets for it. False
    /// when it has to be parsed; then nothing was done.
    pub(super) fn mask_alike(
        &mut self,
        raw: &[u8],
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, FilterError> {
        let generation = self.channels.generation();
        let Some(at) = self.stencils.find(raw, generation) else {
            return Ok(false);
        };
        // Taken, because its texts are borrowed while the rest of this is changed.
        let stencils = std::mem::take(&mut self.stencils);
        let begun = out.len();
        let done = self.are_clean(&stencils, raw, judge);
        if done {
            self.mask_pieces(&stencils, at, raw, judge, out);
        }
        self.stencils = stencils;
        if let Err(error) = judge.verdict() {
            out.truncate(begun);
            return Err(error);
        }
        Ok(done)
    }

    /// Whether the strings that are no pieces may pass as they are.
    fn are_clean(&mut self, stencils: &Stencils, raw: &[u8], judge: &Judge<'_>) -> bool {
        let mut texts = stencils
            .fills()
            .iter()
            .filter(|fill| fill.takes == Takes::Text && fill.differs);
        texts.all(|fill| {
            // What is found is reported when the event is read in full.
            let mut unheard = Findings::default();
            let text = stencils.text(raw, fill);
            let masked = self.clean.mask(
                text,
                false,
                &mut judge.reporting(&mut unheard),
                &String::new,
            );
            masked.is_none() && unheard.count() == 0
        })
    }

    fn mask_pieces(
        &mut self,
        stencils: &Stencils,
        at: usize,
        raw: &[u8],
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) {
        let shape = stencils.shape(at);
        let mut copied = 0;
        for fill in stencils.fills() {
            let Takes::Piece(index) = fill.takes else {
                continue;
            };
            let piece = &shape.pieces[index];
            let text = stencils.text(raw, fill);
            self.text.clear();
            let slot = self.channels.slot(piece.slot);
            let location = || piece.location.clone();
            judge.push(&mut slot.flow, text, &mut self.text, &location);
            slot.settle(&mut self.text);
            if self.text != text {
                out.extend_from_slice(&raw[copied..fill.range.start - 1]);
                write_string(out, &self.text);
                copied = fill.range.end + 1;
            }
            slot.keep_like(raw, shape, index);
        }
        out.extend_from_slice(&raw[copied..]);
    }

    /// Makes a stencil of the event that was masked last, if it was nothing but its envelope and
    /// its pieces. Its JSON, in `doc`, begins at `start` of `raw`.
    pub(super) fn learn(&mut self, raw: &[u8], start: usize, doc: &Doc<'_>, framing: Framing) {
        if !self.is_plain || !self.stencils.wants(raw) {
            return;
        }
        let pieces = self.pieces.iter().map(|piece| PieceShape {
            slot: piece.slot,
            node: piece.node,
            spine: piece.spine.clone(),
            location: piece.location.clone(),
        });
        let shape = Shape {
            framing,
            pieces: pieces.collect(),
        };
        if let Some(stencil) = Stencil::cut(raw, start, doc, shape) {
            self.stencils.keep(stencil, self.channels.generation());
        }
    }
}

// === impl Slot ===

impl Slot {
    /// Remembers the event for the case that what is held has to be sent without one.
    fn keep_like(&mut self, raw: &[u8], shape: &Arc<Shape>, index: usize) {
        if self.flow.watermark() == self.flow.received_bytes() {
            self.template = Kept::Nothing;
            return;
        }
        self.like.clear();
        self.like.extend_from_slice(raw);
        self.template = Kept::Like(shape.clone(), index);
    }

    /// How held text of this is sent; an error if nothing is kept for it.
    pub(super) fn template(&mut self) -> Result<&Template, FilterError> {
        if let Kept::Like(shape, index) = &self.template {
            self.template = Kept::Made(make(&self.like, shape, *index)?);
        }
        match &self.template {
            Kept::Made(template) => Ok(template),
            // A text waits only after a piece of it came, and that piece left a template.
            _ => Err(FilterError::Malformed("held text lost its event")),
        }
    }
}

/// The template that the event would have left, had it been parsed when it came.
fn make(raw: &[u8], shape: &Shape, index: usize) -> Result<Template, FilterError> {
    let mut found = Vec::new();
    let (envelope, payload) = match shape.framing {
        Framing::Lines => (Envelope::of_line(), raw),
        Framing::Events => {
            lines(raw, &mut found);
            let data = found.iter().find_map(|line| {
                let content = &raw[line.content.clone()];
                field_value(content, "data").map(|value| &content[value..])
            });
            (Envelope::of_event(raw, &found), data.unwrap_or_default())
        }
    };
    let piece = &shape.pieces[index];
    let nodes: Vec<usize> = shape.pieces.iter().map(|piece| piece.node).collect();
    Parser::default().with(payload, |doc| {
        let edits = Edits::default();
        Template::new(doc, &envelope, &piece.spine, piece.node, &nodes, &edits)
    })?
}
