//! Replacement templates: what stands in the place of a masked value.
//!
//! A template is literal text with placeholders:
//!
//! | placeholder | gives |
//! | --- | --- |
//! | `{rule}` | the rule's id |
//! | `{first:N}`, `{last:N}` | the first or last N characters of the value |
//! | `{pseudonym}`, `{pseudonym:N}` | eight or N hexadecimal digits, 4 to 16, of a keyed BLAKE3 of the value: equal values get equal pseudonyms, and without the key nobody can try values out |
//! | `{fp}`, `{fp:N}` | the value in its own format: a drawn digit for each digit, a drawn letter of the same case for each letter, every other character kept; the last N letters and digits, 1 to 8, stay |
//!
//! A pseudonym and a format-preserving value are drawn from the value, the rule and the tenant's
//! key, so a conversation still makes sense: who is one person before is one person after. Of four
//! digits, two among 300 values are as likely as not the same; of eight, two among 77 000.
//!
//! A format-preserving value is nobody's. It is drawn again until the rule's own `validate` refuses
//! it, and until a number of 12 to 19 digits has a wrong check digit: most numbers with a right one
//! can be somebody's card, and a wrong one is refused by every form, cannot be charged, and is not
//! masked a second time on its way back. Programs that check the check digit see an invalid card;
//! who needs a valid one in its place wants a test number as a literal. A telephone number has no
//! check digit: what is drawn for it may be somebody's, unless the rule validates. Where nothing
//! fitting is drawn, letters and digits become `*`.
//!
//! A replacement can land inside a JSON string that is itself the text (the arguments of a tool
//! call), so it never contains a quote, a backslash or a control character: such literals are
//! refused when the rule is loaded, and such characters of a value are shown as `*`. A value too
//! short to stay hidden shows nothing of itself.

use super::Validator;
use crate::mask::MaskKey;

/// What replaces a value when the rule does not say.
const DEFAULT: &str = "[masked:{rule}]";

/// The most characters of a value that one placeholder may show.
const SHOWN_CHARS_MAX: usize = 16;

/// How many characters must stay hidden for `{first:N}` and `{last:N}` to show any.
const HIDDEN_CHARS_MIN: usize = 4;

/// Hexadecimal digits of a pseudonym when the template does not say, and how few and many it may.
const PSEUDONYM_DIGITS: usize = 8;
const PSEUDONYM_DIGITS_MIN: usize = 4;
const PSEUDONYM_DIGITS_MAX: usize = 16;

/// The most letters and digits of a format-preserving value that may stay.
const KEPT_CHARS_MAX: usize = 8;

/// How often a format-preserving value is drawn before it is given up.
const DRAWS_MAX: usize = 256;

/// How long a replacement must be at least, or how much of it must be drawn, to be put back.
const RESTORE_CHARS_MIN: usize = 8;

/// How many characters a template must give by itself, or a replacement of it is not found again.
const FIXED_CHARS_MIN: usize = 3;

/// Where in what is drawn for a value its format-preserving form begins, behind the pseudonym.
const FORMAT_POSITION: u64 = 64;

/// A parsed replacement template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    shown_chars: usize,
    /// What a format-preserving value must not be.
    never: Option<Validator>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Rule,
    First(usize),
    Last(usize),
    /// So many hexadecimal digits.
    Pseudonym(usize),
    /// Format-preserving; so many letters and digits at the end stay.
    Format(usize),
}

// === impl Template ===

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            push_literal(&mut parts, &rest[..open])?;
            let Some(length) = rest[open..].find('}') else {
                return Err("a `{` in the replacement has no `}`".to_owned());
            };
            parts.push(parse_placeholder(&rest[open + 1..open + length])?);
            rest = &rest[open + length + 1..];
        }
        push_literal(&mut parts, rest)?;
        if parts.is_empty() {
            return Err(
                "the replacement is empty: a reader could not see that text is missing; \
                        leave `replace` out for `[masked:{rule}]`"
                    .to_owned(),
            );
        }
        let shown_chars = parts.iter().map(Part::shown_chars).sum();
        Ok(Template {
            parts,
            shown_chars,
            never: None,
        })
    }

    /// The same template, of a rule that finds only what `validator` accepts.
    pub(crate) fn never(self, validator: Option<Validator>) -> Template {
        Template {
            never: validator,
            ..self
        }
    }

    /// Appends the replacement of `value` to `out`.
    pub(crate) fn render(&self, rule: &str, value: &str, key: &MaskKey, out: &mut String) {
        let shows =
            self.shown_chars > 0 && value.chars().count() >= self.shown_chars + HIDDEN_CHARS_MIN;
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Rule => out.push_str(rule),
                Part::First(count) if shows => push_shown(out, value.chars().take(*count)),
                Part::Last(count) if shows => {
                    let start = value
                        .char_indices()
                        .rev()
                        .nth(count - 1)
                        .map_or(0, |(at, _)| at);
                    push_shown(out, value[start..].chars());
                }
                Part::First(_) | Part::Last(_) => {}
                Part::Pseudonym(digits) => push_pseudonym(rule, value, key, *digits, out),
                Part::Format(kept) => self.push_format(rule, value, key, *kept, out),
            }
        }
    }

    /// Why what stands in a value's place could not be told from other text, if it could not.
    pub(crate) fn not_restorable(&self, rule: &str) -> Option<&'static str> {
        let chars = |part: &Part| match part {
            Part::Literal(literal) => literal.chars().count(),
            Part::Rule => rule.len(),
            Part::Pseudonym(digits) => *digits,
            // How many of a value's characters are drawn is known with the value.
            Part::Format(_) => RESTORE_CHARS_MIN,
            Part::First(_) | Part::Last(_) => 0,
        };
        let draws = |part: &Part| matches!(part, Part::Pseudonym(_) | Part::Format(_));
        if !self.parts.iter().any(draws) {
            return Some(
                "has neither {pseudonym} nor {fp}, so it does not tell one value from another",
            );
        }
        let chars: usize = self.parts.iter().map(chars).sum();
        (chars < RESTORE_CHARS_MIN).then_some("is too short to be told from other text")
    }

    /// Whether so much is drawn for this value that its replacement is told from other text.
    pub(crate) fn is_restorable(&self, value: &str) -> bool {
        let drawable = value.chars().filter(|c| c.is_alphanumeric()).count();
        self.parts.iter().any(|part| match part {
            Part::Pseudonym(_) => true,
            Part::Format(kept) => drawable >= RESTORE_CHARS_MIN + kept,
            _ => false,
        })
    }

    /// Whether a replacement looks like a value, so that it may be masked in its turn.
    pub(crate) fn preserves_format(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Format(_)))
    }

    /// How many bytes of `text` a replacement takes that begins there; `None` where none does, or
    /// could not be told from other text: a value in its own format never can.
    pub(crate) fn length_at(&self, rule: &str, text: &str) -> Option<usize> {
        let fixed = |part: &Part| match part {
            Part::Literal(literal) => literal.chars().count(),
            Part::Rule => rule.chars().count(),
            Part::Pseudonym(digits) => *digits,
            Part::First(_) | Part::Last(_) | Part::Format(_) => 0,
        };
        let fixed: usize = self.parts.iter().map(fixed).sum();
        (fixed >= FIXED_CHARS_MIN).then_some(())?;
        length_of(&self.parts, rule, text)
    }

    /// Appends the replacement of a value that is not held whole (a region, or a match longer
    /// than its rule's bound): the template if it asks nothing of the value, else the default.
    pub(crate) fn render_unseen(&self, rule: &str, out: &mut String) {
        let asks = |part: &Part| !matches!(part, Part::Literal(_) | Part::Rule);
        if self.parts.iter().any(asks) {
            out.push_str("[masked:");
            out.push_str(rule);
            out.push(']');
            return;
        }
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                _ => out.push_str(rule),
            }
        }
    }
}

/// How many bytes these parts take where `text` begins with them; of what is shown of a value as
/// much as may be.
fn length_of(parts: &[Part], rule: &str, text: &str) -> Option<usize> {
    let Some((part, rest)) = parts.split_first() else {
        return Some(0);
    };
    let behind = |taken: usize| Some(taken + length_of(rest, rule, text.get(taken..)?)?);
    match part {
        Part::Literal(literal) => text.starts_with(literal).then(|| behind(literal.len()))?,
        Part::Rule => text.starts_with(rule).then(|| behind(rule.len()))?,
        Part::Pseudonym(digits) => {
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let drawn = text.get(..*digits)?;
            drawn.bytes().all(is_digit).then(|| behind(*digits))?
        }
        Part::First(chars) | Part::Last(chars) => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let ends: Vec<usize> = ends.take(chars + 1).collect();
            ends.into_iter().rev().find_map(behind)
        }
        Part::Format(_) => None,
    }
}

impl Template {
    fn push_format(&self, rule: &str, value: &str, key: &MaskKey, kept: usize, out: &mut String) {
        let drawable = value.chars().filter(|c| c.is_alphanumeric()).count();
        let kept = if drawable < kept + HIDDEN_CHARS_MIN {
            0
        } else {
            kept
        };
        let mut draws = Draws::new(key, rule, value);
        let start = out.len();
        for _ in 0..DRAWS_MAX {
            let mut left = drawable - kept;
            for c in value.chars() {
                let drawn = left > 0 && c.is_alphanumeric();
                left -= usize::from(drawn);
                out.push(match c {
                    c if drawn => draws.like(c),
                    c if is_plain(c) => c,
                    _ => '*',
                });
            }
            let given = &out[start..];
            let somebodys = self.never.is_some_and(|never| never.accepts(given))
                || Validator::LUHN.accepts(given);
            if given != value && !somebodys {
                return;
            }
            out.truncate(start);
        }
        let shown = |c: char| {
            if c.is_alphanumeric() || !is_plain(c) {
                '*'
            } else {
                c
            }
        };
        out.extend(value.chars().map(shown));
    }
}

impl Default for Template {
    fn default() -> Self {
        Template::parse(DEFAULT).expect("the default template is a constant that parses")
    }
}

// === impl Part ===

impl Part {
    fn shown_chars(&self) -> usize {
        match self {
            Part::First(count) | Part::Last(count) => *count,
            Part::Literal(_) | Part::Rule | Part::Pseudonym(_) | Part::Format(_) => 0,
        }
    }
}

/// Characters drawn for one value, always the same ones for the same value.
struct Draws {
    source: blake3::OutputReader,
    block: [u8; 64],
    used: usize,
}

// === impl Draws ===

impl Draws {
    fn new(key: &MaskKey, rule: &str, value: &str) -> Draws {
        let mut source = key.digest(rule, value);
        source.set_position(FORMAT_POSITION);
        Draws {
            source,
            block: [0; 64],
            used: 64,
        }
    }

    /// A character of the same kind.
    fn like(&mut self, c: char) -> char {
        let (first, count) = match c {
            _ if c.is_numeric() => (b'0', 10),
            _ if c.is_uppercase() => (b'A', 26),
            _ => (b'a', 26),
        };
        char::from(first + self.below(count))
    }

    fn below(&mut self, count: u8) -> u8 {
        // The largest multiple of `count` that a byte holds: past it, some would come more often.
        let fair = u8::MAX - u8::MAX % count;
        loop {
            if self.used == self.block.len() {
                self.source.fill(&mut self.block);
                self.used = 0;
            }
            let byte = self.block[self.used];
            self.used += 1;
            if byte < fair {
                return byte % count;
            }
        }
    }
}

fn push_pseudonym(rule: &str, value: &str, key: &MaskKey, digits: usize, out: &mut String) {
    let mut bytes = [0; PSEUDONYM_DIGITS_MAX / 2];
    key.digest(rule, value).fill(&mut bytes);
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex = nibbles.map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]));
    out.extend(hex.take(digits));
}

/// May this character stand in a replacement, wherever it lands?
fn is_plain(c: char) -> bool {
    c != '"' && c != '\\' && !c.is_control()
}

fn push_shown(out: &mut String, chars: impl Iterator<Item = char>) {
    out.extend(chars.map(|c| if is_plain(c) { c } else { '*' }));
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Result<(), String> {
    if let Some(bad) = literal.chars().find(|c| !is_plain(*c) || *c == '}') {
        return Err(format!(
            "the replacement may not contain {bad:?}: it must stay harmless inside a JSON string"
        ));
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

fn parse_placeholder(inner: &str) -> Result<Part, String> {
    let count = |digits: &str, least: usize, most: usize| match digits.parse::<usize>() {
        Ok(count) if (least..=most).contains(&count) => Ok(count),
        _ => Err(format!(
            "`{{{inner}}}` takes a count from {least} to {most}"
        )),
    };
    match inner.split_once(':') {
        None if inner == "rule" => Ok(Part::Rule),
        None if inner == "pseudonym" => Ok(Part::Pseudonym(PSEUDONYM_DIGITS)),
        None if inner == "fp" => Ok(Part::Format(0)),
        Some(("first", digits)) => count(digits, 1, SHOWN_CHARS_MAX).map(Part::First),
        Some(("last", digits)) => count(digits, 1, SHOWN_CHARS_MAX).map(Part::Last),
        Some(("pseudonym", digits)) => {
            count(digits, PSEUDONYM_DIGITS_MIN, PSEUDONYM_DIGITS_MAX).map(Part::Pseudonym)
        }
        Some(("fp", digits)) => count(digits, 1, KEPT_CHARS_MAX).map(Part::Format),
        _ => Err(format!(
            "`{{{inner}}}` is no placeholder: {{rule}}, {{pseudonym}}, {{pseudonym:N}}, {{fp}}, \
             {{fp:N}}, {{first:N}} and {{last:N}} are"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, value: &str) -> String {
        let mut out = String::new();
        let template = Template::parse(template).expect("the test's template parses");
        template.render("r", value, &MaskKey::new([7; 32]), &mut out);
        out
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(render("<{rule}>", "secret"), "<r>");
        assert_eq!(render("{first:2}…{last:3}", "abcdefghij"), "ab…hij");
        assert_eq!(render("{first:2}…{last:3}", "abcdef"), "…");
        assert_eq!(render("{last:3}", "abcdefg\"\\\n"), "***");
        assert_eq!(render("{pseudonym}", "a").len(), 8);
        assert_eq!(render("{pseudonym}", "a"), render("{pseudonym}", "a"));
        assert_ne!(render("{pseudonym}", "a"), render("{pseudonym}", "b"));
    }

    #[test]
    fn a_replacement_is_found_again_where_it_can_be_told_from_other_text() {
        for template in [
            "<{rule}:{pseudonym}>",
            "[removed by ACME]",
            "{first:2}****{last:4}",
            "card …{last:4} ({rule})",
        ] {
            for value in [
                "a",
                "abcdefgh",
                "4111 1111 1111 1111",
                "é".repeat(20).as_str(),
            ] {
                let written = render(template, value);
                let parsed = Template::parse(template).expect("it parses");
                let found = parsed.length_at("r", &format!("{written} and more"));
                assert!(
                    found >= Some(written.len()),
                    "{template} {value}: {found:?}"
                );
                if !template.starts_with('{') {
                    assert_eq!(parsed.length_at("r", &format!("x{written}")), None);
                }
                if !template.ends_with('}') {
                    let (last, _) = written.char_indices().last().expect("it is not empty");
                    assert_eq!(parsed.length_at("r", &written[..last]), None);
                }
            }
        }
        for untold in ["{fp}", "**", "{last:4}", "<{fp:4}>"] {
            let parsed = Template::parse(untold).expect("it parses");
            assert_eq!(
                parsed.length_at("r", &render(untold, "4111 1111 1111 1111")),
                None
            );
        }
    }

    #[test]
    fn pseudonyms_have_the_length_that_is_asked_for() {
        let long = render("{pseudonym:16}", "a");
        assert_eq!(render("{pseudonym:4}", "a"), long[..4]);
        assert_eq!(render("{pseudonym}", "a"), long[..8]);
        assert_eq!(long.len(), 16);
    }

    /// Digits, capitals and small letters by `0`, `A` and `a`.
    fn format_of(text: &str) -> String {
        let kind = |c: char| match c {
            '0'..='9' => '0',
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            other => other,
        };
        text.chars().map(kind).collect()
    }

    #[test]
    fn a_format_is_preserved_and_the_value_is_not() {
        let values = [
            "+49 (30) 1234-567",
            "GB29 NWBK 6016 1331 9268 19",
            "x-Y-7",
            "7",
        ];
        for value in values {
            let drawn = render("{fp}", value);
            assert_eq!(format_of(&drawn), format_of(value));
            assert_ne!(drawn, value);
            assert_eq!(drawn, render("{fp}", value), "is stable");
        }
        assert_eq!(render("{fp}", "\"1\\").chars().next(), Some('*'));
        let cyrillic = render("{fp}", "\u{430}\u{411}\u{661}");
        assert_eq!(format_of(&cyrillic), "aA0");
    }

    #[test]
    fn a_card_in_its_format_is_nobodys() {
        for number in 0..500_u32 {
            let value = format!("4111 1111 {:04} 1234", number);
            for (template, kept) in [("{fp}", ""), ("{fp:4}", "1234")] {
                let drawn = render(template, &value);
                assert!(!Validator::LUHN.accepts(&drawn), "{value} {drawn}");
                assert!(drawn.ends_with(kept) && drawn != value);
            }
        }
        // Too short to show anything of itself.
        assert_eq!(render("{fp:4}", "1234567").len(), 7);
        assert!(!render("{fp:4}", "1234567").ends_with("4567"));
    }

    #[test]
    fn what_the_rule_would_find_again_is_drawn_again() {
        let template = Template::parse("{fp}").expect("parses");
        let ssn = Validator::from_name("us_ssn").expect("it is shipped");
        let template = template.never(Some(ssn));
        let key = MaskKey::new([7; 32]);
        for number in 1000..1200 {
            let mut out = String::new();
            template.render("r", &format!("212-45-{number}"), &key, &mut out);
            assert!(!ssn.accepts(&out), "{out}");
        }
    }

    #[test]
    fn tenants_get_replacements_of_their_own() {
        let key = MaskKey::new([7; 32]);
        for template in ["{pseudonym}", "{fp}"] {
            let of = |key: &MaskKey| {
                let mut out = String::new();
                let template = Template::parse(template).expect("parses");
                template.render("r", "jane.doe@example.com", key, &mut out);
                out
            };
            assert_eq!(of(&key.for_tenant("a")), of(&key.for_tenant("a")));
            assert_ne!(of(&key.for_tenant("a")), of(&key.for_tenant("b")));
            assert_ne!(of(&key.for_tenant("a")), of(&key));
        }
    }

    #[test]
    fn what_would_break_json_is_refused() {
        for bad in [
            "a\"b",
            "a\\b",
            "a\nb",
            "",
            "{first:0}",
            "{first:99}",
            "{who}",
            "{pseudonym:3}",
            "{pseudonym:17}",
            "{fp:0}",
            "{fp:9}",
            "{rule",
            "}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_unseen_value_shows_nothing() {
        let mut out = String::new();
        Template::parse("{last:4}")
            .expect("parses")
            .render_unseen("pem", &mut out);
        Template::parse("<{rule}>")
            .expect("parses")
            .render_unseen("pem", &mut out);
        assert_eq!(out, "[masked:pem]<pem>");
    }
}
