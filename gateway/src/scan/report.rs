//! Findings as lines: for people, for programs, and with the line they stand in, masked.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use penstock_policies::mask::{MaskKey, Plan, mask_text};
use penstock_policies::scan::{Match, RuleIndex, RuleMask, Scanner};
use penstock_policies::{Confidence, Library};
use serde_json::json;

use super::Text;

/// How many characters of a line are shown on either side of a finding.
const AROUND_CHARS_MAX: usize = 60;

/// How a finding is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `file:line:column rule (pack, confidence)`
    Line,
    /// The same, and the masked line below it.
    Context,
    /// One JSON object.
    Json,
}

/// What was scanned and found so far.
pub(super) struct Totals<'a> {
    scanner: &'a Scanner,
    least: Confidence,
    /// The pack of each rule, by its id.
    packs: HashMap<&'a str, &'a str>,
    pub(super) findings: usize,
    pub(super) failures: usize,
    files: usize,
    files_with_findings: usize,
    bytes: usize,
    rules_found: HashSet<RuleIndex>,
}

/// A place in a text that only moves forward, so that long files cost one pass.
struct Cursor<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    column: usize,
}

// === impl Totals ===

impl<'a> Totals<'a> {
    pub(super) fn new(library: &'a Library, scanner: &'a Scanner, least: Confidence) -> Totals<'a> {
        let packs = library.packs().iter().flat_map(|pack| {
            let name = pack.name.as_str();
            pack.rules.iter().map(move |rule| (rule.id(), name))
        });
        Totals {
            scanner,
            least,
            packs: packs.collect(),
            findings: 0,
            failures: 0,
            files: 0,
            files_with_findings: 0,
            bytes: 0,
            rules_found: HashSet::new(),
        }
    }

    /// Something could not be scanned.
    pub(super) fn fail(&mut self, reason: &str) {
        eprintln!("penstock-gateway: {reason}");
        self.failures += 1;
    }

    /// Scans one text and tells what was found, in order of place.
    pub(super) fn report(
        &mut self,
        file: &str,
        text: &Text,
        wanted: &RuleMask,
        style: Style,
        out: &mut impl Write,
    ) -> io::Result<()> {
        // A line is shown without any value, also those that nobody asked for.
        let all = self.scanner.all();
        let scanned = if style == Style::Context {
            &all
        } else {
            wanted
        };
        let found = &mut Vec::new();
        // Watching reads the text decoded too, as the gateway does.
        let plan = Plan {
            mask: self.scanner.none(),
            watch: scanned.clone(),
        };
        let key = MaskKey::new([0; 32]);
        mask_text(self.scanner, &plan, &key, &text.text, &mut |it| {
            found.push(it);
        });
        found.sort_unstable_by_key(|it| (it.start, it.rule, it.end));
        let masked = match style {
            Style::Context => spans(found),
            _ => Vec::new(),
        };
        found.retain(|it| wanted.contains(it.rule) && it.confidence >= self.least);
        let mut cursor = Cursor::new(&text.text);
        for it in found.iter() {
            cursor.advance(it.start);
            match style {
                Style::Json => self.write_json(file, text, &cursor, it, out)?,
                Style::Line | Style::Context => self.write_line(file, &cursor, it, out)?,
            }
            if style == Style::Context {
                writeln!(out, "    {}", self.masked_line(&text.text, it, &masked))?;
            }
            self.rules_found.insert(it.rule);
        }
        self.files += 1;
        self.files_with_findings += usize::from(!found.is_empty());
        self.findings += found.len();
        self.bytes += text.in_file(text.text.len());
        Ok(())
    }

    fn pack(&self, rule: RuleIndex) -> &'a str {
        let id = self.scanner.rule(rule).id();
        self.packs.get(id).copied().unwrap_or_default()
    }

    fn write_line(
        &self,
        file: &str,
        cursor: &Cursor<'_>,
        it: &Match,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Cursor { line, column, .. } = cursor;
        let (rule, pack) = (self.scanner.rule(it.rule).id(), self.pack(it.rule));
        let confidence = it.confidence;
        writeln!(out, "{file}:{line}:{column} {rule} ({pack}, {confidence})")
    }

    fn write_json(
        &self,
        file: &str,
        text: &Text,
        cursor: &Cursor<'_>,
        it: &Match,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let object = json!({
            "file": file,
            "line": cursor.line,
            "column": cursor.column,
            "start": text.in_file(it.start),
            "end": text.in_file(it.end),
            "rule": self.scanner.rule(it.rule).id(),
            "pack": self.pack(it.rule),
            "confidence": it.confidence.as_str(),
            "lane": it.lane.as_str(),
        });
        writeln!(out, "{object}")
    }

    /// The part of a finding's line that is near it, with every match masked.
    fn masked_line(&self, text: &str, it: &Match, masked: &[Match]) -> String {
        let line_start = text[..it.start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[it.end..]
            .find('\n')
            .map_or(text.len(), |at| it.end + at);
        let mut before = text[line_start..it.start].char_indices().rev();
        let from = line_start + before.nth(AROUND_CHARS_MAX - 1).map_or(0, |(at, _)| at);
        let mut behind = text[it.end..line_end].char_indices();
        let to = behind
            .nth(AROUND_CHARS_MAX)
            .map_or(line_end, |(at, _)| it.end + at);
        let mut shown = String::new();
        let mut at = from;
        let first = masked.partition_point(|span| span.end <= from);
        for span in masked[first..].iter().take_while(|span| span.start < to) {
            push_visible(&mut shown, &text[at..span.start.max(at)]);
            shown.push_str("[masked:");
            shown.push_str(self.scanner.rule(span.rule).id());
            shown.push(']');
            at = span.end;
        }
        if at < to {
            push_visible(&mut shown, &text[at..to]);
        }
        shown.trim().to_owned()
    }

    /// One line on all of it.
    pub(super) fn summary(&self, took: Duration) -> String {
        let count = |count: usize, what: &str| {
            let s = if count == 1 { "" } else { "s" };
            format!("{count} {what}{s}")
        };
        let failed = match self.failures {
            0 => String::new(),
            failures => format!("; {} not scanned", count(failures, "argument or file")),
        };
        let found = match self.findings {
            0 => "nothing found".to_owned(),
            findings => format!(
                "{} of {} in {}",
                count(findings, "finding"),
                count(self.rules_found.len(), "rule"),
                count(self.files_with_findings, "file"),
            ),
        };
        format!(
            "{found}; {} of {} bytes, {}, {:.2} s{failed}",
            count(self.files, "file"),
            self.bytes,
            count(self.scanner.rules().len(), "rule"),
            took.as_secs_f64(),
        )
    }
}

/// Where anything was found: apart and ascending, each under the rule that begins it.
fn spans(found: &[Match]) -> Vec<Match> {
    let mut spans: Vec<Match> = Vec::new();
    for it in found {
        match spans.last_mut() {
            Some(last) if it.start < last.end => last.end = last.end.max(it.end),
            _ => spans.push(*it),
        }
    }
    spans
}

/// Text for a terminal: what would move its cursor is a dot.
fn push_visible(out: &mut String, text: &str) {
    let visible = |c: char| if c.is_control() && c != '\t' { '·' } else { c };
    out.extend(text.chars().map(visible));
}

// === impl Cursor ===

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Cursor<'t> {
        Cursor {
            text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// Moves on to `offset`, which is not before where it is.
    fn advance(&mut self, offset: usize) {
        let passed = &self.text[self.offset..offset];
        if let Some(last) = passed.rfind('\n') {
            self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
            self.column = 1 + passed[last + 1..].chars().count();
        } else {
            self.column += passed.chars().count();
        }
        self.offset = offset;
    }
}

#[cfg(test)]
mod tests {
    use penstock_policies::scan::Lane;

    use super::*;

    #[test]
    fn a_cursor_counts_as_an_editor_does() {
        let mut cursor = Cursor::new("é x\nüy z");
        let mut at = |offset| {
            cursor.advance(offset);
            (cursor.line, cursor.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (1, 3));
        assert_eq!(at(5), (2, 1));
        assert_eq!(at(8), (2, 3));
        assert_eq!(at(9), (2, 4));
    }

    #[test]
    fn spans_that_overlap_are_one() {
        let at = |start, end| Match {
            rule: RuleIndex(0),
            start,
            end,
            confidence: Confidence::High,
            lane: Lane::Plain,
        };
        let joined = spans(&[at(0, 4), at(2, 3), at(3, 9), at(9, 10)]);
        assert_eq!(joined, [at(0, 9), at(9, 10)]);
    }
}
