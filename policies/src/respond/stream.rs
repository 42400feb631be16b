//! A stream of events or lines, masked as it comes.

use std::ops::Range;

use super::clean::Clean;
use super::error::FilterError;
use super::event::EventMasker;
use super::judge::{Judge, Work};
use super::sse::{Framing, Line, Splitter, field_value, lines};
use super::synth::Envelope;
use crate::text::Parser;
use crate::verdict::Findings;

/// Reads, masks and writes a stream.
#[derive(Debug)]
pub(super) struct Stream {
    work: Work,
    splitter: Splitter,
    unit: Unit,
}

/// What one unit needs to be read.
#[derive(Debug)]
struct Unit {
    masker: EventMasker,
    /// There once it was needed.
    parser: Option<Parser>,
    lines: Vec<Line>,
    /// The data of an event that has more than one line of it.
    joined: Vec<u8>,
    /// The first unit may begin with a byte order mark.
    first: bool,
    /// Units that were read without the parser since it was used.
    alike: u8,
}

/// After so many units that are alike the memory of the parser is given back: most streams have no
/// use for it before their last event, and there are many streams.
const ALIKE_MAX: u8 = 2;

const BYTE_ORDER_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// How OpenAI's streams say that they are over.
const DONE: &[u8] = b"[DONE]";

// === impl Stream ===

impl Stream {
    pub(super) fn events(work: Work) -> Stream {
        Stream::new(work, Framing::Events)
    }

    pub(super) fn lines(work: Work) -> Stream {
        Stream::new(work, Framing::Lines)
    }

    fn new(work: Work, framing: Framing) -> Stream {
        let unit = Unit {
            masker: EventMasker::default(),
            parser: None,
            lines: Vec::new(),
            joined: Vec::new(),
            first: true,
            alike: 0,
        };
        Stream {
            work,
            splitter: Splitter::new(framing),
            unit,
        }
    }

    /// The stencils, which a test switches off.
    #[cfg(test)]
    pub(super) fn stencils(&mut self) -> &mut super::stencil::Stencils {
        &mut self.unit.masker.stencils
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.unit.masker.held_bytes()
    }

    pub(super) fn released_bytes(&self) -> usize {
        self.unit.masker.released_bytes()
    }

    pub(super) fn push(
        &mut self,
        input: &[u8],
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        self.splitter.feed(input);
        while let Some(range) = self.splitter.next()? {
            self.unit(range, findings, out)?;
        }
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let mut terminator = "";
        if let Some(range) = self.splitter.rest() {
            terminator = self.splitter.missing_terminator(range.clone());
            self.unit(range, findings, out)?;
        }
        let Some(mut judge) = self.work.judge(findings) else {
            return Ok(());
        };
        // The last unit stays as it came unless another one has to follow it.
        let mut held = Vec::new();
        let result = self.unit.masker.flush_all(&mut judge, &mut held);
        if !held.is_empty() {
            out.extend_from_slice(terminator.as_bytes());
            out.append(&mut held);
        }
        result
    }

    pub(super) fn expire(
        &mut self,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let Some(mut judge) = self.work.judge(findings) else {
            return Ok(());
        };
        self.unit.masker.expire(&mut judge, out)
    }

    fn unit(
        &mut self,
        range: Range<usize>,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let Some(mut judge) = self.work.judge(findings) else {
            return Err(FilterError::Malformed("no guard applies to this stream"));
        };
        let raw = self.splitter.bytes(range);
        if self.unit.masker.mask_alike(raw, &mut judge, out)? {
            self.unit.rest_the_parser();
            return Ok(());
        }
        self.unit.alike = 0;
        match self.splitter.framing() {
            Framing::Events => self.unit.event(raw, &mut judge, out),
            Framing::Lines => self.unit.line(raw, &mut judge, out),
        }
    }
}

// === impl Unit ===

impl Unit {
    /// One more unit needed no parser.
    fn rest_the_parser(&mut self) {
        if self.alike < ALIKE_MAX {
            self.alike += 1;
            if self.alike == ALIKE_MAX {
                self.parser = None;
                self.masker.clean = Clean::default();
                self.lines = Vec::new();
                self.joined = Vec::new();
            }
        }
    }

    /// One line of JSON, or an empty one.
    fn line(
        &mut self,
        raw: &[u8],
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        if raw.trim_ascii().is_empty() {
            out.extend_from_slice(raw);
            return Ok(());
        }
        let envelope = Envelope::of_line();
        let masker = &mut self.masker;
        let parser = self.parser.get_or_insert_default();
        let read = parser.with(raw, |doc| {
            if masker.mask(doc, &envelope, judge, out)? {
                masker.write_edited(doc.raw(), out);
            } else {
                out.extend_from_slice(raw);
            }
            masker.learn(raw, 0, doc, Framing::Lines);
            Ok(())
        });
        match read {
            Err(_) if judge.restores() => {
                out.extend_from_slice(raw);
                Ok(())
            }
            read => read?,
        }
    }

    /// One event of an event stream.
    fn event(
        &mut self,
        raw: &[u8],
        judge: &mut Judge<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let raw = match raw.strip_prefix(BYTE_ORDER_MARK).filter(|_| self.first) {
            Some(rest) => {
                out.extend_from_slice(BYTE_ORDER_MARK);
                rest
            }
            None => raw,
        };
        self.first = false;
        lines(raw, &mut self.lines);
        let mut data = Vec::new();
        let mut masked_lines = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let content = &raw[line.content.clone()];
            if let Some(value) = field_value(content, "data") {
                data.push((index, line.content.start + value..line.content.end));
                continue;
            }
            let text = match std::str::from_utf8(content) {
                Ok(text) => text,
                Err(_) if judge.restores() => continue,
                Err(error) => {
                    return Err(FilterError::NotUtf8 {
                        at: error.valid_up_to(),
                    });
                }
            };
            if let Some(masked) = self.masker.mask_line(text, judge) {
                masked_lines.push((index, masked.replace(['\n', '\r'], " ")));
            }
        }
        judge.verdict()?;
        let payload = match data.as_slice() {
            [] => &[][..],
            [(_, one)] => &raw[one.clone()],
            several => {
                self.joined.clear();
                for (_, range) in several {
                    if range != &several[0].1 {
                        self.joined.push(b'\n');
                    }
                    self.joined.extend_from_slice(&raw[range.clone()]);
                }
                &self.joined[..]
            }
        };
        let mut edited = None;
        match payload.trim_ascii() {
            [] => {}
            DONE => self.masker.flush_all(judge, out)?,
            _ => {
                let envelope = Envelope::of_event(raw, &self.lines);
                let masker = &mut self.masker;
                let alone = match data.as_slice() {
                    [(_, one)] if masked_lines.is_empty() => Some(one.start),
                    _ => None,
                };
                let parser = self.parser.get_or_insert_default();
                let read = parser.with(payload, |doc| {
                    if masker.mask(doc, &envelope, judge, out)? {
                        let mut json = Vec::with_capacity(payload.len());
                        masker.write_edited(payload, &mut json);
                        edited = Some(json);
                    }
                    if let Some(start) = alone {
                        masker.learn(raw, start, doc, Framing::Events);
                    }
                    Ok::<(), FilterError>(())
                });
                match read {
                    Err(_) if judge.restores() => {}
                    read => read??,
                }
            }
        }
        if edited.is_none() && masked_lines.is_empty() {
            out.extend_from_slice(raw);
        } else {
            self.rewrite(raw, &data, edited.as_deref(), &masked_lines, out);
        }
        Ok(())
    }

    /// Writes an event with its data or some other lines replaced.
    fn rewrite(
        &self,
        raw: &[u8],
        data: &[(usize, Range<usize>)],
        json: Option<&[u8]>,
        masked_lines: &[(usize, String)],
        out: &mut Vec<u8>,
    ) {
        let mut written = false;
        for (index, line) in self.lines.iter().enumerate() {
            let terminator = &raw[line.content.end..line.end];
            let range = data.iter().find(|(at, _)| *at == index);
            match (range, json) {
                (Some((_, range)), Some(json)) if !written => {
                    written = true;
                    // A line feed can stand in JSON between its tokens only, where the event had
                    // another line of data.
                    let prefix = &raw[line.content.start..range.start];
                    for (part, text) in json.split(|byte| *byte == b'\n').enumerate() {
                        if part > 0 {
                            out.extend_from_slice(terminator);
                        }
                        out.extend_from_slice(prefix);
                        out.extend_from_slice(text);
                    }
                    out.extend_from_slice(terminator);
                }
                (Some(_), Some(_)) => {}
                _ => match masked_lines.iter().find(|(masked, _)| *masked == index) {
                    Some((_, text)) => {
                        out.extend_from_slice(text.as_bytes());
                        out.extend_from_slice(terminator);
                    }
                    None => out.extend_from_slice(&raw[line.content.start..line.end]),
                },
            }
        }
    }
}
