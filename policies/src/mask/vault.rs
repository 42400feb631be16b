//! Putting back what was masked on the way in.
//!
//! A [`Vault`] has what one request's replacements stand for. It lives as long as that exchange and
//! is handed to nobody else's: the caller who sent a value gets it back, in the answer to the very
//! request that had it. Whatever does not fit its bounds, and a replacement that stands for two
//! values, stays as it is in the answer.
//!
//! [`Restoring`] finds the replacements in a text that comes in pieces: leftmost, then longest,
//! wherever it is cut. It holds back only what can still become one of them.

use std::fmt;

use crate::text::push_escaped;

/// Most replacements of one exchange, and most bytes of them and of what they stand for.
const ENTRIES_MAX: usize = 256;
const VAULT_BYTES_MAX: usize = 64 << 10;

/// What replacements stand for. Emptied, and its memory overwritten, when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vault {
    /// In the order of the replacements.
    entries: Vec<Entry>,
    bytes: usize,
    /// The bytes with which replacements begin, as a set.
    firsts: [u64; 4],
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    replacement: String,
    /// `None`: it stands for more than one value.
    original: Option<String>,
}

/// The state of one text of an answer.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    /// The end of the text so far that can still become a replacement.
    held: String,
    received: usize,
    /// The text is JSON itself, so what is put back is escaped once more.
    is_json: bool,
}

/// What stands at one place of a text.
enum Found {
    Nothing,
    /// The beginning of a replacement, up to the text's end.
    Beginning,
    Whole(usize),
}

// === impl Vault ===

impl Vault {
    /// Whether nothing can be put back.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Remembers what a replacement stands for, within the bounds.
    pub(crate) fn keep(&mut self, replacement: String, original: &str) {
        let place = self
            .entries
            .binary_search_by(|entry| entry.replacement.as_str().cmp(&replacement));
        match place {
            Ok(at) => {
                let entry = &mut self.entries[at];
                if entry
                    .original
                    .as_deref()
                    .is_some_and(|known| known != original)
                {
                    wipe(entry.original.take());
                }
            }
            Err(at) => {
                let bytes = self.bytes + replacement.len() + original.len();
                let fits = bytes <= VAULT_BYTES_MAX && self.entries.len() < ENTRIES_MAX;
                if let Some(first) = replacement.bytes().next().filter(|_| fits) {
                    self.bytes = bytes;
                    self.firsts[usize::from(first >> 6)] |= 1 << (first & 63);
                    let original = Some(original.to_owned());
                    self.entries.insert(
                        at,
                        Entry {
                            replacement,
                            original,
                        },
                    );
                }
            }
        }
    }

    /// The whole text with everything put back; `None` when it stays as it is.
    pub(crate) fn restore(&self, text: &str, is_json: bool) -> Option<String> {
        let mut out = String::new();
        let mut restoring = Restoring::new(is_json);
        self.search(text, true, &mut restoring, &mut out);
        (out != text).then_some(out)
    }

    /// Appends the text with everything put back, but for its end that has to wait.
    fn search(&self, text: &str, last: bool, restoring: &mut Restoring, out: &mut String) {
        let bytes = text.as_bytes();
        let (mut at, mut written) = (0, 0);
        while at < bytes.len() {
            let begins = self.firsts[usize::from(bytes[at] >> 6)] >> (bytes[at] & 63) & 1 == 1;
            if !begins {
                at += 1;
                continue;
            }
            match self.at(&bytes[at..], last) {
                Found::Beginning => break,
                Found::Whole(index) => {
                    let entry = &self.entries[index];
                    out.push_str(&text[written..at]);
                    match &entry.original {
                        Some(original) if restoring.is_json => push_escaped(original, out),
                        Some(original) => out.push_str(original),
                        None => out.push_str(&entry.replacement),
                    }
                    at += entry.replacement.len();
                    written = at;
                }
                Found::Nothing => at += 1,
            }
        }
        // A replacement begins with a character, so that what waits does, too.
        out.push_str(&text[written..at]);
        if at < bytes.len() {
            restoring.held.push_str(&text[at..]);
        }
    }

    /// What stands at the beginning of `rest`: the longest that is whole, unless a longer one may
    /// become whole.
    fn at(&self, rest: &[u8], last: bool) -> Found {
        let mut whole = Found::Nothing;
        // Those of `candidates` begin with the first `length` bytes of the rest.
        let mut candidates = 0..self.entries.len();
        for length in 0.. {
            let bytes = |index: usize| self.entries[index].replacement.as_bytes();
            if length > 0 && bytes(candidates.start).len() == length {
                whole = Found::Whole(candidates.start);
                candidates.start += 1;
            }
            if candidates.is_empty() {
                break;
            }
            let Some(byte) = rest.get(length) else {
                return if last { whole } else { Found::Beginning };
            };
            let among = &self.entries[candidates.clone()];
            let byte_of = |entry: &Entry| entry.replacement.as_bytes()[length];
            let from = among.partition_point(|entry| byte_of(entry) < *byte);
            let to = among.partition_point(|entry| byte_of(entry) <= *byte);
            candidates = candidates.start + from..candidates.start + to;
            if candidates.is_empty() {
                break;
            }
        }
        whole
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        for entry in &mut self.entries {
            wipe(entry.original.take());
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it has is nobody's but the caller's.
        f.debug_struct("Vault")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Overwrites a value before its memory is given back.
fn wipe(value: Option<String>) {
    let mut bytes = value.unwrap_or_default().into_bytes();
    bytes.fill(0);
    std::hint::black_box(&bytes);
}

// === impl Restoring ===

impl Restoring {
    pub(crate) fn new(is_json: bool) -> Restoring {
        Restoring {
            held: String::new(),
            received: 0,
            is_json,
        }
    }

    /// Takes the next piece and appends to `out` what may be sent now.
    pub(crate) fn push(&mut self, vault: &Vault, piece: &str, out: &mut String) {
        self.received += piece.len();
        if self.held.is_empty() {
            vault.search(piece, false, self, out);
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.push_str(piece);
            vault.search(&text, false, self, out);
        }
    }

    /// The text has ended: appends the rest.
    pub(crate) fn finish(&mut self, vault: &Vault, out: &mut String) {
        let text = std::mem::take(&mut self.held);
        vault.search(&text, true, self, out);
    }

    /// The bound on the time of holding is reached: the beginning of a replacement goes out as the
    /// text that it is.
    pub(crate) fn expire(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn received_bytes(&self) -> usize {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(entries: &[(&str, &str)]) -> Vault {
        let mut vault = Vault::default();
        for (replacement, original) in entries {
            vault.keep((*replacement).to_owned(), original);
        }
        vault
    }

    fn in_pieces(vault: &Vault, pieces: &[&str], is_json: bool) -> String {
        let mut restoring = Restoring::new(is_json);
        let mut out = String::new();
        for piece in pieces {
            restoring.push(vault, piece, &mut out);
        }
        restoring.finish(vault, &mut out);
        assert_eq!(restoring.held_bytes(), 0);
        out
    }

    #[test]
    fn puts_back_wherever_the_text_is_cut() {
        let vault = vault(&[
            ("<a:12>", "one"),
            ("<a:1", "short"),
            ("<a:123>", "t\"w\\o\n"),
            ("é<", "three"),
            ("<<", "four"),
        ]);
        let text = "<a:12> <a:1 <a:123><a:12 é<a:12> é <<a <<<a:123> <a:1";
        let odd = "t\"w\\o\n";
        let expected = format!("one short {odd}short2 threea:12> é foura four{odd} short");
        assert_eq!(in_pieces(&vault, &[text], false), expected);
        assert_eq!(
            vault.restore(text, false).as_deref(),
            Some(expected.as_str())
        );
        let places = text.char_indices().map(|(at, _)| at);
        for cut in places {
            let (left, right) = text.split_at(cut);
            assert_eq!(in_pieces(&vault, &[left, right], false), expected, "{cut}");
        }
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        assert_eq!(in_pieces(&vault, &chars, false), expected);
        assert_eq!(vault.restore("nothing", false), None);
    }

    #[test]
    fn holds_only_what_can_become_a_replacement() {
        let vault = vault(&[("<a:12>", "one")]);
        let mut restoring = Restoring::new(false);
        let mut out = String::new();
        for (piece, held) in [("x <", 1), ("a:", 3), ("13>", 0), ("<", 1), ("<a:12", 5)] {
            restoring.push(&vault, piece, &mut out);
            assert_eq!(restoring.held_bytes(), held, "{piece}");
        }
        assert_eq!(out, "x <a:13><");
        restoring.expire(&mut out);
        restoring.push(&vault, ">", &mut out);
        assert_eq!(out, "x <a:13><<a:12>");
        assert_eq!(restoring.received_bytes(), 15);
    }

    #[test]
    fn is_escaped_where_the_text_is_json() {
        let vault = vault(&[("<a:12>", "t\"w\\o\n")]);
        let restored = vault.restore("{\"x\":\"<a:12>\"}", true);
        assert_eq!(restored.as_deref(), Some("{\"x\":\"t\\\"w\\\\o\\n\"}"));
    }

    #[test]
    fn what_stands_for_two_values_stays() {
        let vault = vault(&[("<a:12>", "one"), ("<a:12>", "one")]);
        assert_eq!(vault.restore("<a:12>", false).as_deref(), Some("one"));
        let vault = self::vault(&[("<a:12>", "one"), ("<a:12>", "two"), ("<a:12>", "one")]);
        assert_eq!(vault.restore("<a:12>", false), None);
        assert!(!format!("{vault:?}").contains("one"));
    }

    #[test]
    fn is_bounded() {
        let mut many = Vault::default();
        for number in 0..ENTRIES_MAX + 10 {
            many.keep(format!("<a:{number:04}>"), "x");
        }
        assert_eq!(many.entries.len(), ENTRIES_MAX);
        let mut large = Vault::default();
        large.keep("<a>".to_owned(), &"x".repeat(VAULT_BYTES_MAX));
        assert!(large.is_empty());
    }
}
