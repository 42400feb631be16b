//! The decoded text of a channel, with the place of every byte in the original.
//!
//! Two passes, each a function from characters to characters that looks at most
//! [`ESCAPE_LEN_MAX`] characters ahead: an escape becomes the character that it stands for, and
//! that, or a character as it came, becomes what a reader sees in it ([`super::fold`]). The second
//! pass undoes what the first one uncovered, such as `%2541` or `\\u0041`; what is escaped three
//! times stays. Where nothing is undone, text is copied in stretches.

use super::escape::{ESCAPE_LEN_MAX, Escape, MARKS, read};
use super::fold::{Fold, fold};
use super::look::plain_prefix;
use crate::prefilter::Level;
use crate::scan::view::View;

/// Characters that an undecided escape may have around and between its own: invisible ones count.
const PENDING_MAX: usize = 64;

/// So many invisible characters in a row are read as nothing; one more is a character again, lest
/// text be held that never moves on.
const GONE_MAX: usize = 16;

/// Bytes `base..` of the decoded text D of a text T, as far as T has come.
///
/// Offsets are those of D where they are called `at`, those of T where they are called `raw`.
/// Outside the changes that are kept, the two differ by a constant.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    text: String,
    base: usize,
    changes: Vec<Change>,
    /// The end of the last change that is not kept any more, in D and in T.
    origin: (usize, usize),
    /// The end of the last change at all, in D.
    changed_to: Option<usize>,
    /// Invisible characters in a row.
    gone: usize,
    first: Pass,
    second: Pass,
    /// How much of T has come.
    fed: usize,
}

/// Bytes of D that stand for others, or for more or fewer, in T.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: usize,
    at_end: usize,
    raw: usize,
    raw_end: usize,
}

/// A character on its way: what it is now, and where it was in T.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// None when a reader sees nothing.
    c: Option<char>,
    raw: usize,
    raw_end: usize,
    changed: bool,
}

/// One pass: what waits for the end of an escape.
#[derive(Debug, Default)]
struct Pass {
    pending: Vec<Item>,
    /// The visible characters of `pending`, with 0 for what is not ASCII.
    bytes: Vec<u8>,
}

// === impl Decoded ===

impl Decoded {
    /// Begins anew at `raw` of T, with what stands `before` it as it is.
    pub(super) fn restart(&mut self, before: &str, raw: usize) {
        let base = raw - before.len();
        self.text.clear();
        self.text.push_str(before);
        self.base = base;
        self.changes.clear();
        self.origin = (base, base);
        self.changed_to = None;
        self.gone = 0;
        self.first.clear();
        self.second.clear();
        self.fed = raw;
    }

    /// Takes the next text of T.
    pub(super) fn feed(&mut self, level: Level, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.is_settled() {
                let plain = plain_prefix(level, rest);
                self.copy(&rest[..plain]);
                rest = &rest[plain..];
            }
            let Some(c) = rest.chars().next() else {
                return;
            };
            let direct = self.is_settled().then(|| directly(c, rest)).flatten();
            let (c, len) = direct.unwrap_or((c, c.len_utf8()));
            // An escape is longer than what it stands for.
            let item = Item {
                c: Some(c),
                raw: self.fed,
                raw_end: self.fed + len,
                changed: len > c.len_utf8(),
            };
            self.fed += len;
            rest = &rest[len..];
            if direct.is_some() {
                seen(item).for_each(|item| self.append(item));
                continue;
            }
            self.first.pending.push(item);
            self.first.bytes.push(ascii(c));
            self.settle(false);
        }
    }

    /// T has ended: what waited for more is what it is.
    pub(super) fn finish(&mut self) {
        self.settle(true);
    }

    /// Does no escape wait for its end?
    pub(super) fn is_settled(&self) -> bool {
        self.first.pending.is_empty() && self.second.pending.is_empty()
    }

    /// Where in T the first character begins that is not in D yet, or, if that is behind it, where
    /// the mark ends with which it begins: what follows decides what it is, but a [`Lead`] is never
    /// replaced.
    pub(super) fn undecided_from(&self) -> usize {
        let Some(item) = self.second.pending.first().or(self.first.pending.first()) else {
            return self.fed;
        };
        let len = item.raw_end - item.raw;
        match item.c.map(ascii) {
            Some(b'\\') if len <= 2 => item.raw + len,
            Some(b'%' | b'&') if len == 1 => item.raw + len,
            _ => item.raw,
        }
    }

    /// The mark with which the character at `at` begins in the text T.
    pub(super) fn lead_at(&self, at: usize, text: &View<'_>) -> Option<Lead> {
        let said = *self.text.as_bytes().get(at - self.base)?;
        let (raw, raw_end) = (self.raw_from(at), self.raw_to(at + 1));
        Lead::of(text.from(raw).get(..raw_end - raw)?, said)
    }

    /// The end of D so far.
    pub(super) fn end(&self) -> usize {
        self.base + self.text.len()
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    /// D from what is kept up to `at`.
    pub(super) fn text_to(&self, at: usize) -> &str {
        &self.text[..at - self.base]
    }

    /// The end of the last change, if there was one since the restart.
    pub(super) fn changed_to(&self) -> Option<usize> {
        self.changed_to
    }

    /// Lets go of D before `at`.
    pub(super) fn trim(&mut self, at: usize) {
        let Some(count) = at.checked_sub(self.base) else {
            return;
        };
        let count = self.text.floor_char_boundary(count);
        let at = self.base + count;
        self.text.drain(..count);
        self.base = at;
        let kept = self.changes.partition_point(|change| change.at_end < at);
        if let Some(last) = self.changes[..kept].last() {
            self.origin = (last.at_end, last.raw_end);
        }
        self.changes.drain(..kept);
    }

    /// Where in T the byte at `at` begins; what is invisible before it is not part of it.
    pub(super) fn raw_from(&self, at: usize) -> usize {
        let count = self.changes.partition_point(|change| change.at <= at);
        match self.changes[..count].last() {
            Some(change) if at < change.at_end => change.raw,
            Some(change) => change.raw_end + (at - change.at_end),
            None => self.origin.1 + at.saturating_sub(self.origin.0),
        }
    }

    /// Where in T the byte before `at` ends; what is invisible behind it is not part of it.
    pub(super) fn raw_to(&self, at: usize) -> usize {
        let count = self.changes.partition_point(|change| change.at < at);
        match self.changes[..count].last() {
            Some(change) if at <= change.at_end => change.raw_end,
            Some(change) => change.raw_end + (at - change.at_end),
            None => self.origin.1 + at.saturating_sub(self.origin.0),
        }
    }

    /// The end of what in D comes from T before `raw` alone.
    pub(super) fn end_of(&self, raw: usize) -> usize {
        let count = self.changes.partition_point(|change| change.raw_end <= raw);
        let (at, from) = match self.changes[..count].last() {
            Some(change) => (change.at_end, change.raw_end),
            None => self.origin,
        };
        let next = self.changes.get(count).map_or(self.end(), |next| next.at);
        next.min(at + raw.saturating_sub(from)).max(self.base)
    }

    fn copy(&mut self, text: &str) {
        if !text.is_empty() {
            self.gone = 0;
        }
        self.text.push_str(text);
        self.fed += text.len();
    }

    fn settle(&mut self, last: bool) {
        while let Some(item) = self.first.next(last) {
            for item in seen(item) {
                self.second.push(item);
                self.settle_second(false);
            }
        }
        if last {
            self.settle_second(true);
        }
    }

    fn settle_second(&mut self, last: bool) {
        while let Some(item) = self.second.next(last) {
            seen(item).for_each(|item| self.append(item));
        }
    }

    /// Appends a character to D.
    fn append(&mut self, item: Item) {
        let at = self.end();
        self.gone = if item.c.is_some() { 0 } else { self.gone + 1 };
        if self.gone > GONE_MAX {
            self.gone = 0;
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        self.text.extend(item.c);
        if item.changed {
            let at_end = self.end();
            self.changed_to = Some(at_end);
            self.changes.push(Change {
                at,
                at_end,
                raw: item.raw,
                raw_end: item.raw_end,
            });
        }
    }
}

/// The mark with which a character of D begins in T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    mark: u8,
    /// Bytes of it: two of a backslash that is itself escaped.
    pub(super) len: usize,
    /// Is it undone more than once until the character is there, or may it be?
    is_deep: bool,
}

// === impl Lead ===

impl Lead {
    /// The lead of a character that is written in these bytes and says the byte `said`.
    fn of(written: &[u8], said: u8) -> Option<Lead> {
        let mark = *written.first().filter(|mark| MARKS.contains(mark))?;
        let at_once = match read(written, true) {
            Escape::Whole { len, .. } => len == written.len(),
            Escape::No | Escape::Partial => written.len() == 1,
        };
        // A mark that is written as an escape may begin another one.
        let may_go_on = written.len() > 1 && MARKS.contains(&said);
        Some(Lead {
            mark,
            len: if written.starts_with(br"\\") { 2 } else { 1 },
            is_deep: !at_once || may_go_on,
        })
    }

    /// What follows it so that it is nothing but a mark, however often it is undone.
    pub(super) fn literal(self) -> &'static str {
        match (self.mark, self.is_deep) {
            (b'\\', false) => r"\",
            (b'\\', true) if self.len == 1 => r"\\\",
            (b'\\', true) => r"\\",
            (b'%', false) => "25",
            (b'%', true) => "2525",
            (_, false) => "amp;",
            (_, true) => "amp;amp;",
        }
    }
}

/// What a reader sees in a character: itself, nothing, or up to four others in its place.
fn seen(item: Item) -> impl Iterator<Item = Item> {
    let (all, count) = match item.c.map_or(Fold::Same, fold) {
        Fold::Same => ([item.c; 4], 1),
        Fold::Gone => ([None; 4], 1),
        Fold::Ascii(packed) => {
            let bytes = packed.to_le_bytes();
            let count = bytes.iter().take_while(|byte| **byte != 0).count();
            (bytes.map(|byte| Some(char::from(byte))), count)
        }
    };
    let changed = item.changed || all[0] != item.c;
    let each = move |c| Item { c, changed, ..item };
    all.into_iter().take(count).map(each)
}

/// The character that a text begins with, and its length, when neither pass has to wait for what is
/// behind it: most often by far.
fn directly(c: char, text: &str) -> Option<(char, usize)> {
    let (c, len) = match MARKS.contains(&ascii(c)) {
        false => (c, c.len_utf8()),
        true => {
            let whole = &text.as_bytes()[..text.len().min(ESCAPE_LEN_MAX + 1)];
            // Behind anything else it may be an escape that is broken by what is not seen.
            let end = whole.iter().position(|byte| !byte.is_ascii());
            match read(&whole[..end.unwrap_or(whole.len())], false) {
                Escape::Whole { c, len } => (c, len),
                Escape::No | Escape::Partial => return None,
            }
        }
    };
    let is_mark = |byte: &u8| MARKS.contains(byte);
    let becomes_mark = match fold(c) {
        Fold::Same => is_mark(&ascii(c)),
        Fold::Gone => false,
        Fold::Ascii(packed) => packed.to_le_bytes().iter().any(is_mark),
    };
    (!becomes_mark).then_some((c, len))
}

fn ascii(c: char) -> u8 {
    if c.is_ascii() { c as u8 } else { 0 }
}

// === impl Pass ===

impl Pass {
    fn clear(&mut self) {
        self.pending.clear();
        self.bytes.clear();
    }

    fn push(&mut self, item: Item) {
        self.pending.push(item);
        self.bytes.extend(item.c.map(ascii));
    }

    /// The next character that is decided.
    fn next(&mut self, last: bool) -> Option<Item> {
        let first = *self.pending.first()?;
        let is_mark = first.c.is_some_and(|c| MARKS.contains(&ascii(c)));
        let escape = match is_mark {
            true => read(
                &self.bytes[..self.bytes.len().min(ESCAPE_LEN_MAX + 1)],
                last,
            ),
            false => Escape::No,
        };
        match escape {
            Escape::Partial if self.pending.len() < PENDING_MAX => None,
            Escape::No | Escape::Partial => Some(self.take(1, first.c)),
            Escape::Whole { c, len } => {
                let mut visible = 0;
                let is_last = |item: &Item| {
                    visible += usize::from(item.c.is_some());
                    visible == len
                };
                let count = self.pending.iter().position(is_last).map_or(0, |at| at + 1);
                Some(self.take(count, Some(c)))
            }
        }
    }

    /// Takes the first `count` characters as one.
    fn take(&mut self, count: usize, c: Option<char>) -> Item {
        let (first, last) = (self.pending[0], self.pending[count - 1]);
        let visible = self.pending[..count].iter().filter(|item| item.c.is_some());
        self.bytes.drain(..visible.count());
        self.pending.drain(..count);
        Item {
            c,
            raw: first.raw,
            raw_end: last.raw_end,
            changed: first.changed || count > 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Decoded, Item, ascii};
    use crate::lane::look::{Look, Wanted};
    use crate::prefilter::Level;

    fn has_trigger(text: &str) -> bool {
        let wanted = Wanted {
            runs: false,
            ..Wanted::BOTH
        };
        Look::default().read(Level::best(), text, wanted).is_call()
    }

    fn decode(text: &str, cut: usize) -> Decoded {
        let mut decoded = Decoded::default();
        decoded.restart("", 0);
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(cut.min(rest.len())));
            decoded.feed(Level::best(), piece);
            rest = after;
        }
        decoded.finish();
        decoded
    }

    const CASES: [(&str, &str); 22] = [
        (
            "plain text, 100% of it & more",
            "plain text, 100% of it & more",
        ),
        (r"C:\dir and \d+ and a\\.", "C:\\dir and \\d+ and a\\."),
        (r"\u0041K\x49\u{41}", "AKIA"),
        ("&#65;&#75;&#x49;&#65", "AKIA"),
        ("%41%4B%49%41", "AKIA"),
        (r"\\u0041", "A"),
        ("%2541", "A"),
        ("&amp;#65;", "A"),
        (r"%5cu0041", "A"),
        ("%252541", "%41"),
        ("\u{200B}A\u{200D}K\u{FEFF}", "AK"),
        ("\\u00\u{200B}41", "A"),
        ("＼u0041％41", "AA"),
        (r"\uFF21\u200BK", "AK"),
        (r"\ud83d\udd11 \ud83d x", "🔑 \\ud83d x"),
        ("a…b", "a...b"),
        ("é%C3%A9ü", "ééü"),
        ("%", "%"),
        ("%4", "%4"),
        (r"\u004", r"\u004"),
        ("100%25 of &lt;b&gt;", "100% of <b>"),
        ("%%41", "%A"),
    ];

    #[test]
    fn what_is_undone() {
        for (text, expected) in CASES {
            for cut in [1, 2, 3, 5, 100] {
                let decoded = decode(text, cut);
                assert_eq!(decoded.text_to(decoded.end()), expected, "{text} in {cut}");
                assert!(has_trigger(text) || text == expected, "{text}");
            }
        }
    }

    /// What is decided at once is what the two passes make of it.
    #[test]
    fn what_needs_no_passes_is_what_they_make() {
        let words = [
            "a", "1", "\\", "u", "n", "%", "4", "&", "#", "65", ";", "amp", "\u{200B}", "…", "％",
            "＼", "é", "\\u0041", "%C3%A9", "%5C", "\\n", "\\\"", "&lt;", "\\uFF21", "&zwj;", "中",
        ];
        let mut changes = 0;
        for seed in 0..4000_u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let text: String = (0..12)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(99);
                    words[(random >> 33) as usize % words.len()]
                })
                .collect();
            let mut slow = Decoded::default();
            slow.restart("", 0);
            for c in text.chars() {
                let raw = slow.fed;
                slow.fed += c.len_utf8();
                slow.first.pending.push(Item {
                    c: Some(c),
                    raw,
                    raw_end: slow.fed,
                    changed: false,
                });
                slow.first.bytes.push(ascii(c));
                slow.settle(false);
            }
            slow.finish();
            let places = |decoded: &Decoded| {
                let at = |change: &Change| (change.at, change.at_end, change.raw, change.raw_end);
                decoded.changes.iter().map(at).collect::<Vec<_>>()
            };
            for cut in [1, 3, 7, 1000] {
                let decoded = decode(&text, cut);
                assert_eq!(decoded.text, slow.text, "{text} in {cut}");
                assert_eq!(places(&decoded), places(&slow), "{text} in {cut}");
            }
            changes += slow.changes.len();
        }
        assert!(changes > 4000, "{changes}");
    }

    /// Every byte of D has its place, and places do not go down.
    #[test]
    fn places_are_known() {
        let text = "ab\\u0041\u{200B}c%2541…é\u{200B}";
        let decoded = decode(text, 3);
        assert_eq!(decoded.text_to(decoded.end()), "abAcA...é");
        let from: Vec<usize> = (0..=9).map(|at| decoded.raw_from(at)).collect();
        assert_eq!(from, [0, 1, 2, 11, 12, 17, 17, 17, 20, 21]);
        assert_eq!(decoded.raw_from(10), text.len());
        let to: Vec<usize> = (1..=10).map(|at| decoded.raw_to(at)).collect();
        assert_eq!(to, [1, 2, 8, 12, 17, 20, 20, 20, 21, 22]);
        let end: Vec<usize> = (0..=14).map(|raw| decoded.end_of(raw)).collect();
        assert_eq!(end, [0, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4]);
        assert_eq!(decoded.end_of(19), 5);
        assert_eq!(decoded.end_of(20), 8);
    }

    #[test]
    fn trimming_keeps_the_places() {
        let text = "ab\\u0041\u{200B}c%2541…é\u{200B}xyz%41";
        let whole = decode(text, 3);
        for at in 0..=whole.end() {
            let mut trimmed = decode(text, 3);
            trimmed.trim(at);
            for place in trimmed.base()..=whole.end() {
                assert_eq!(
                    trimmed.raw_from(place),
                    whole.raw_from(place),
                    "{at} {place}"
                );
                if place > trimmed.base() {
                    assert_eq!(trimmed.raw_to(place), whole.raw_to(place), "{at} {place}");
                }
            }
        }
    }

    #[test]
    fn ordinary_text_has_no_trigger() {
        for text in [
            "Hello, world: a + b = c; don't",
            "中文字符",
            "Größe 100 % R & D && x",
            "if (a & b) {}",
            "5% of",
        ] {
            assert!(!has_trigger(text), "{text}");
        }
    }

    /// What is released of an undecided character is part of its lead: nothing else that is as short
    /// becomes a mark.
    #[test]
    fn no_other_character_of_two_bytes_is_seen_as_a_mark() {
        for c in '\u{80}'..='\u{7FF}' {
            let decoded = decode(&format!("{c}."), 1);
            let said = decoded.text_to(decoded.end());
            assert!(!said.contains(['\\', '%', '&']), "{c:?}");
        }
    }

    /// Invisible characters do not make an undecided escape long.
    #[test]
    fn what_waits_is_bounded() {
        let mut decoded = Decoded::default();
        decoded.restart("", 0);
        decoded.feed(Level::best(), &format!("%4{}", "\u{200B}".repeat(10_000)));
        assert!(decoded.first.pending.len() + decoded.second.pending.len() < 100);
    }
}
