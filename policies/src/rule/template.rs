//! Replacement templates: what stands in the place of a masked value.
//!
//! A template is literal text with placeholders:
//!
//! | placeholder | gives |
//! | --- | --- |
//! | `{rule}` | the rule's id |
//! | `{first:N}`, `{last:N}` | the first or last N characters of the value |
//! | `{pseudonym}` | eight hexadecimal digits of a keyed BLAKE3 of the value: equal values get equal pseudonyms, and without the key nobody can try values out |
//!
//! A replacement can land inside a JSON string that is itself the text (the arguments of a tool
//! call), so it never contains a quote, a backslash or a control character: such literals are
//! refused when the rule is loaded, and such characters of a value are shown as `*`. A value too
//! short to stay hidden shows nothing of itself.

use crate::mask::MaskKey;

/// What replaces a value when the rule does not say.
const DEFAULT: &str = "[masked:{rule}]";

/// The most characters of a value that one placeholder may show.
const SHOWN_CHARS_MAX: usize = 16;

/// How many characters must stay hidden for `{first:N}` and `{last:N}` to show any.
const HIDDEN_CHARS_MIN: usize = 4;

/// A parsed replacement template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    shown_chars: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Rule,
    First(usize),
    Last(usize),
    Pseudonym,
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
        Ok(Template { parts, shown_chars })
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
                Part::Pseudonym => out.push_str(key.pseudonym(rule, value).as_str()),
            }
        }
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
            Part::Literal(_) | Part::Rule | Part::Pseudonym => 0,
        }
    }
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
    let shown = |digits: &str| match digits.parse::<usize>() {
        Ok(count) if (1..=SHOWN_CHARS_MAX).contains(&count) => Ok(count),
        _ => Err(format!(
            "`{{{inner}}}` takes a count from 1 to {SHOWN_CHARS_MAX}"
        )),
    };
    match inner.split_once(':') {
        None if inner == "rule" => Ok(Part::Rule),
        None if inner == "pseudonym" => Ok(Part::Pseudonym),
        Some(("first", digits)) => shown(digits).map(Part::First),
        Some(("last", digits)) => shown(digits).map(Part::Last),
        _ => Err(format!(
            "`{{{inner}}}` is no placeholder: {{rule}}, {{pseudonym}}, {{first:N}} and {{last:N}} are"
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
    fn what_would_break_json_is_refused() {
        for bad in [
            "a\"b",
            "a\\b",
            "a\nb",
            "",
            "{first:0}",
            "{first:99}",
            "{who}",
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
