//! Expressions in the syntax of RE2, as Go has it, written in ours.
//!
//! Nearly all is the same. What differs: Go takes a brace that opens no repetition for itself, a
//! bracket or an ampersand within a class for itself, `\<` for `<`, `\Q…\E` for a quotation, three
//! octal digits for a character, and its `\s` has no vertical tab. The output means to our parser
//! what the input means to Go's; what is wrong in both stays wrong.

/// Rewrites an expression.
pub(super) fn to_ours(source: &str) -> String {
    let mut rewriting = Rewriting {
        rest: source,
        out: String::with_capacity(source.len() + 16),
    };
    while let Some(c) = rewriting.rest.chars().next() {
        match c {
            '\\' => rewriting.escape(false),
            '[' => rewriting.class(),
            '{' => rewriting.brace(),
            _ => rewriting.copy(c.len_utf8()),
        }
    }
    rewriting.out
}

struct Rewriting<'s> {
    rest: &'s str,
    out: String,
}

// === impl Rewriting ===

impl Rewriting<'_> {
    /// Takes `length` bytes over as they are.
    fn copy(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.out.push_str(taken);
        self.rest = rest;
    }

    /// Takes `length` bytes away and writes `text` for them.
    fn replace(&mut self, length: usize, text: &str) {
        self.out.push_str(text);
        self.rest = &self.rest[length..];
    }

    /// A backslash and what belongs to it.
    fn escape(&mut self, in_class: bool) {
        let Some(next) = self.rest[1..].chars().next() else {
            return self.copy(1);
        };
        match next {
            'Q' => self.quotation(),
            's' if in_class => self.replace(2, r"\t\n\f\r\x20"),
            's' => self.replace(2, r"[\t\n\f\r\x20]"),
            'S' => self.replace(2, r"[^\t\n\f\r\x20]"),
            '0'..='7' => self.octal(),
            '<' | '>' | '_' => self.replace(2, &next.to_string()),
            _ => self.copy(1 + next.len_utf8()),
        }
    }

    /// `\0`, or one to three octal digits; a single other digit would be a reference back.
    fn octal(&mut self) {
        let digits = self.rest[1..]
            .bytes()
            .take(3)
            .take_while(|byte| (b'0'..b'8').contains(byte))
            .count();
        let digits = &self.rest[1..1 + digits];
        match u32::from_str_radix(digits, 8) {
            Ok(code) if digits.len() > 1 || code == 0 => {
                self.replace(1 + digits.len(), &format!(r"\x{{{code:X}}}"));
            }
            _ => self.copy(2),
        }
    }

    fn quotation(&mut self) {
        let quoted = &self.rest[2..];
        let end = quoted.find(r"\E");
        let literal = regex_syntax::escape(&quoted[..end.unwrap_or(quoted.len())]);
        let length = end.map_or(self.rest.len(), |end| end + 4);
        self.replace(length, &literal);
    }

    /// `{` is itself unless `{n}`, `{n,}` or `{n,m}` stands behind something.
    fn brace(&mut self) {
        let counts = self.rest[1..].find('}').map(|end| &self.rest[1..=end]);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let repeats = counts.is_some_and(|counts| match counts.split_once(',') {
            None => digits(counts),
            Some((low, high)) => digits(low) && (high.is_empty() || digits(high)),
        });
        if repeats && !self.out.is_empty() {
            self.copy(1);
        } else {
            self.replace(1, r"\{");
        }
    }

    /// A class in brackets, up to its end or that of the expression.
    fn class(&mut self) {
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        if self.rest.starts_with(']') {
            self.replace(1, r"\]");
        }
        while let Some(c) = self.rest.chars().next() {
            match c {
                ']' => return self.copy(1),
                '\\' => self.escape(true),
                '[' if self.rest.starts_with("[:") && self.rest.contains(":]") => {
                    let end = self.rest.find(":]").expect("the guard looked for it");
                    self.copy(end + 2);
                }
                '[' | '&' | '~' => self.replace(1, &format!("\\{c}")),
                '-' if self.rest.starts_with("--") => self.replace(1, r"\-"),
                _ => self.copy(c.len_utf8()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_rewritten() {
        for (go, ours) in [
            (r"^\${(?:[A-Z_]+)}$", r"^\$\{(?:[A-Z_]+)}$"),
            (r"{\d{0,2}}", r"\{\d{0,2}}"),
            (r"a{2,}b{,3}{x}", r"a{2,}b\{,3}\{x}"),
            (r"[^]]+[[&&a]", r"[^\]]+[\[\&\&a]"),
            (r"pat[[:alnum:]]{14}", r"pat[[:alnum:]]{14}"),
            (
                r"[\s\S-]\s",
                r"[\t\n\f\r\x20[^\t\n\f\r\x20]-][\t\n\f\r\x20]",
            ),
            (r"\Qa.b\E\.", r"a\.b\."),
            (r"\Qa.b", r"a\.b"),
            (r"\<\>\_\-\141\0", r"<>_\-\x{61}\x{0}"),
            (r"\1", r"\1"),
            ("a\\", "a\\"),
            ("[a", "[a"),
        ] {
            assert_eq!(to_ours(go), ours, "{go}");
        }
    }
}
