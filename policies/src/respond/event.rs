//! Masking one JSON event of a stream.
//!
//! Strings that are pieces of a longer text go through that text's channel; every other string and
//! key is masked as a text of its own. What the event ends is flushed into the event itself where
//! it has a piece of that text, and into an event of its own before it where it has not.

use super::channels::{Channels, Kept, Slot};
use super::clean::Clean;
use super::error::FilterError;
use super::judge::Judge;
use super::logprobs::Side;
use super::shape::{self, Ends, Part};
use super::stencil::Stencils;
use super::synth::{Envelope, Template};
use crate::text::{Doc, Edits, Place, Role, Text, is_protocol, render};
use crate::verdict::Findings;

/// The state of a stream's texts, and buffers reused from event to event.
#[derive(Debug, Default)]
pub(super) struct EventMasker {
    pub(super) channels: Channels,
    pub(super) clean: Clean,
    pub(super) stencils: Stencils,
    pub(super) text: String,
    edits: Edits,
    pub(super) pieces: Vec<Piece>,
    sides: Vec<(Side, String)>,
    key: String,
    /// The event was only its envelope and pieces, each of which is one whatever it says; nothing
    /// was found in it and nothing else of it changed.
    pub(super) is_plain: bool,
}

/// A string of the event that is a piece of a longer text.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) slot: usize,
    pub(super) node: usize,
    /// Something was held back before this piece came.
    waited: bool,
    /// The containers from the root to the piece.
    pub(super) spine: Vec<usize>,
    pub(super) location: String,
}

// === impl EventMasker ===

impl EventMasker {
    pub(super) fn held_bytes(&self) -> usize {
        self.channels.held_bytes()
    }

    pub(super) fn released_bytes(&self) -> usize {
        self.channels.released_bytes()
    }

    /// Masks one event. Events that have to go before it are written to `before`; true when the
    /// event itself changed, and [`Self::write_edited`] then writes it.
    pub(super) fn mask(
        &mut self,
        doc: &Doc<'_>,
        envelope: &Envelope<'_>,
        judge: &mut Judge<'_>,
        before: &mut Vec<u8>,
    ) -> Result<bool, FilterError> {
        self.edits.clear();
        self.pieces.clear();
        self.sides.clear();
        self.is_plain = true;
        let found = judge.findings.count();
        let kind = shape::kind(doc);
        let mut failed = None;
        doc.walk(&mut |place, text| {
            if failed.is_none() {
                failed = self.string(doc, place, text, kind, judge).err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let ends = Ends::of(doc, kind);
        self.is_plain &= ends.nothing() && self.sides.is_empty() && judge.findings.count() == found;
        self.flush_ended(doc, &ends, judge, before)?;
        self.drop_sides(doc, judge)?;
        self.keep_templates(doc, envelope, &ends)?;
        if !ends.nothing() {
            self.channels.close(|key| ends.ends(key))?;
        }
        judge.verdict()?;
        Ok(!self.edits.is_empty())
    }

    /// Writes the event that [`Self::mask`] found changed.
    pub(super) fn write_edited(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.edits.apply(raw, out);
    }

    /// Masks a text outside any JSON, such as a comment line.
    pub(super) fn mask_line(&mut self, text: &str, judge: &mut Judge<'_>) -> Option<String> {
        self.clean.mask(text, false, judge, &|| "$event".to_owned())
    }

    /// Every text has ended: what is held goes out in events of its own.
    pub(super) fn flush_all(
        &mut self,
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        self.pieces.clear();
        for slot in 0..self.channels.count() {
            self.flush(slot, judge, out)?;
        }
        self.channels.close(|_| true)?;
        judge.verdict()
    }

    /// The time bound was reached: what is held is masked and goes out.
    pub(super) fn expire(
        &mut self,
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        for index in 0..self.channels.count() {
            let slot = self.channels.slot(index);
            if slot.flow.held_bytes() == 0 || slot.is_name_alone() {
                continue;
            }
            self.text.clear();
            let Slot { flow, location, .. } = slot;
            judge.expire(flow, &mut self.text, &|| location.clone());
            slot.settle(&mut self.text);
            if !slot.shadow && !self.text.is_empty() {
                slot.template()?.write(&self.text, out);
            }
        }
        judge.verdict()
    }

    fn string(
        &mut self,
        doc: &Doc<'_>,
        place: &Place<'_, '_>,
        text: Text<'_>,
        kind: Option<&str>,
        judge: &mut Judge<'_>,
    ) -> Result<(), FilterError> {
        if text.is_key() {
            let parent = place.containers.last().copied().unwrap_or(0);
            if let Some(side) = Side::of(doc, parent, text.value, text.node) {
                let mut owner = String::new();
                shape::owner(doc, place, kind, text.value, &mut owner);
                self.sides.push((side, owner));
            }
        } else if text.role == Role::String {
            match shape::part(doc, place, text.value, kind, &mut self.key) {
                Part::Piece => return self.piece(doc, place, text, kind, judge),
                Part::Name if !self.is_name(place, text, judge)? => {
                    return self.piece(doc, place, text, kind, judge);
                }
                Part::Identifier if self.channels.knows(&self.key) => {
                    return self.piece(doc, place, text, kind, judge);
                }
                Part::Identifier | Part::Name | Part::Whole => {}
            }
        }
        if !is_protocol(place, &text) {
            self.whole(doc, place, text, kind, judge);
        }
        Ok(())
    }

    /// Masks a text of its own.
    fn whole(
        &mut self,
        doc: &Doc<'_>,
        place: &Place<'_, '_>,
        text: Text<'_>,
        kind: Option<&str>,
        judge: &mut Judge<'_>,
    ) {
        let location = || render(place.path, text.is_key());
        let is_json = text.role == Role::String && shape::is_json(place.path, kind);
        if let Some(masked) = self.clean.mask(text.value, is_json, judge, &location) {
            self.is_plain = false;
            self.edits.text(text.node, doc.span(text.node), masked);
        }
    }

    /// Whether this is all of a name so far, to be masked as a whole and sent at once; its channel
    /// follows, for the case that another piece comes.
    fn is_name(
        &mut self,
        place: &Place<'_, '_>,
        text: Text<'_>,
        judge: &mut Judge<'_>,
    ) -> Result<bool, FilterError> {
        self.is_plain = false;
        if text.value.is_empty() {
            return Ok(true);
        }
        if self.channels.has_ended(&self.key) {
            return Ok(false);
        }
        let index = self.channels.open(
            &self.key,
            false,
            || judge.begin(false),
            || render(place.path, false),
        )?;
        let slot = self.channels.slot(index);
        if slot.flow.received_bytes() > 0 {
            // Some engines repeat the name in every event; digits alone are no name.
            let is_name = text.value.bytes().any(|byte| byte.is_ascii_alphabetic());
            return Ok(is_name && slot.is_name_alone() && slot.name == text.value);
        }
        // What is found here is reported by masking the whole.
        let mut unheard = Findings::default();
        let nowhere = String::new;
        let mut judge = judge.reporting(&mut unheard);
        let sent = judge.whole(text.value, false, &nowhere);
        slot.ahead = sent.unwrap_or_else(|| text.value.to_owned());
        text.value.clone_into(&mut slot.name);
        self.text.clear();
        judge.push(&mut slot.flow, text.value, &mut self.text, &nowhere);
        slot.settle(&mut self.text);
        Ok(true)
    }

    fn piece(
        &mut self,
        doc: &Doc<'_>,
        place: &Place<'_, '_>,
        text: Text<'_>,
        kind: Option<&str>,
        judge: &mut Judge<'_>,
    ) -> Result<(), FilterError> {
        if self.channels.has_ended(&self.key) {
            if judge.restores() {
                self.whole(doc, place, text, kind, judge);
                return Ok(());
            }
            if text.value.is_empty() {
                return Ok(());
            }
            // Its held tail was sent when it ended; more of it could complete a match.
            return Err(FilterError::Malformed("a text goes on after its end"));
        }
        let index = self.channels.open(
            &self.key,
            false,
            || judge.begin(shape::is_json(place.path, kind)),
            || render(place.path, false),
        )?;
        let waited = self.channels.waits(index);
        self.text.clear();
        let slot = self.channels.slot(index);
        let location = || render(place.path, false);
        judge.push(&mut slot.flow, text.value, &mut self.text, &location);
        slot.settle(&mut self.text);
        if self.text != text.value {
            self.edits
                .text(text.node, doc.span(text.node), self.text.clone());
        }
        self.is_plain &= shape::is_always_piece(place.path);
        self.pieces.push(Piece {
            slot: index,
            node: text.node,
            waited,
            spine: place.containers.to_vec(),
            location: location(),
        });
        Ok(())
    }

    /// Flushes the texts that this event ends.
    fn flush_ended(
        &mut self,
        doc: &Doc<'_>,
        ends: &Ends,
        judge: &mut Judge<'_>,
        before: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        if ends.nothing() {
            return Ok(());
        }
        for index in 0..self.channels.count() {
            if !ends.ends(&self.channels.slot(index).key) {
                continue;
            }
            let own = self.pieces.iter().rev().find(|piece| piece.slot == index);
            let Some(node) = own.map(|piece| piece.node) else {
                self.flush(index, judge, before)?;
                continue;
            };
            self.finish_into_text(index, judge);
            if self.text.is_empty() {
                continue;
            }
            let original = doc.str(node).unwrap_or_default();
            match self.edits.text_of(node) {
                Some(text) => {
                    text.push_str(&self.text);
                    if text == original {
                        self.edits.forget(node);
                    }
                }
                None => {
                    let text = format!("{original}{}", self.text);
                    self.edits.text(node, doc.span(node), text);
                }
            }
        }
        Ok(())
    }

    /// Ends one text; what it still held goes out in an event of its own.
    fn flush(
        &mut self,
        index: usize,
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        self.finish_into_text(index, judge);
        let slot = self.channels.slot(index);
        if !slot.shadow && !self.text.is_empty() {
            slot.template()?.write(&self.text, out);
        }
        Ok(())
    }

    fn finish_into_text(&mut self, index: usize, judge: &mut Judge<'_>) {
        self.text.clear();
        let slot = self.channels.slot(index);
        // What a shadow finds was found in the text that it follows.
        let mut unheard = Findings::default();
        // What a name alone holds was judged when it came.
        let is_heard = !slot.shadow && !slot.is_name_alone();
        let Slot { flow, location, .. } = slot;
        let (text, location) = (&mut self.text, || location.clone());
        if is_heard {
            judge.finish(flow, text, &location);
        } else {
            judge.reporting(&mut unheard).finish(flow, text, &location);
        }
        slot.settle(&mut self.text);
        judge.hear_of(&unheard);
    }

    /// Drops the token-by-token copies of whatever did not pass untouched.
    fn drop_sides(&mut self, doc: &Doc<'_>, judge: &mut Judge<'_>) -> Result<(), FilterError> {
        for (side, owner) in std::mem::take(&mut self.sides) {
            let beside = doc.span(side.parent);
            let mut touched = self.edits.any_within(&beside);
            for piece in &self.pieces {
                let inside = beside.contains(&doc.span(piece.node).start);
                touched |= inside && (piece.waited || self.channels.waits(piece.slot));
            }
            let joined = side.joined(doc);
            if self.channels.has_ended(&owner) {
                touched = true;
            } else if !joined.is_empty() {
                let index = self.channels.open(
                    &owner,
                    true,
                    || judge.begin(false),
                    || "logprobs".to_owned(),
                )?;
                touched |= self.channels.waits(index);
                self.text.clear();
                let mut shadow = Findings::default();
                let flow = &mut self.channels.slot(index).flow;
                let location = || "logprobs".to_owned();
                judge
                    .reporting(&mut shadow)
                    .push(flow, &joined, &mut self.text, &location);
                judge.hear_of(&shadow);
                touched |= self.text != joined || self.channels.waits(index);
            }
            if touched {
                self.edits.json(side.value, doc.span(side.value), side.void);
            }
        }
        Ok(())
    }

    /// Keeps, for each text that is held, how to send it without an event of its own.
    fn keep_templates(
        &mut self,
        doc: &Doc<'_>,
        envelope: &Envelope<'_>,
        ends: &Ends,
    ) -> Result<(), FilterError> {
        for piece in &self.pieces {
            self.channels.slot(piece.slot).template = Kept::Nothing;
        }
        let nodes: Vec<usize> = self.pieces.iter().map(|piece| piece.node).collect();
        // The last piece of a text is the one to be like.
        for piece in self.pieces.iter().rev() {
            let waits = self.channels.waits(piece.slot);
            let slot = self.channels.slot(piece.slot);
            let wanted = waits && matches!(slot.template, Kept::Nothing) && !slot.shadow;
            if wanted && !ends.ends(&slot.key) {
                let (spine, edits) = (&piece.spine, &self.edits);
                let template = Template::new(doc, envelope, spine, piece.node, &nodes, edits)?;
                slot.template = Kept::Made(template);
            }
        }
        Ok(())
    }
}
