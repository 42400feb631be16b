//! Expressions in the syntax of Python, as recognizers are written in it.
//!
//! Theirs looks around freely, ours at the edges only: what stands before the first character of a
//! match and behind the last. So look-arounds at the edges are taken off and become the rule's
//! surroundings; any other is refused by the parser, which knows none.

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::decompose::without_groups;
use super::go::to_ours;
use crate::rule::syntax;

/// What the groups of look-arounds begin with, and what they mean.
const BEHIND: [(&str, bool); 2] = [("(?<=", true), ("(?<!", false)];
const AHEAD: [(&str, bool); 2] = [("(?=", true), ("(?!", false)];

/// An expression with its surroundings: a group 1 that is the match, what must stand before it in
/// front and what must stand behind it at the end.
pub(super) fn parse(source: &str, flags: &str) -> Result<Hir, String> {
    let (inline, mut core) = inline_flags(source);
    let flags = format!("{flags}{inline}");
    let flags = match flags.as_str() {
        "" => String::new(),
        flags => format!("(?{flags})"),
    };
    let read = |text: &str| {
        let text = format!("{flags}{}", to_ours(text)).replace(r"\Z", r"\z");
        syntax::parse(&text).map_err(|fault| fault.reason)
    };
    let mut prefix = Vec::new();
    let mut suffix = Vec::new();
    if !has_top_alternatives(core) {
        while let Some((body, positive, rest)) = leading(core) {
            prefix.push(surrounding(read(body)?, positive, Look::Start)?);
            core = rest;
        }
        while let Some((body, positive, rest)) = trailing(core) {
            suffix.push(surrounding(read(body)?, positive, Look::End)?);
            core = rest;
        }
    }
    if prefix.len() > 1 || suffix.len() > 1 {
        return Err("several look-arounds at one edge".to_owned());
    }
    let matched = Hir::capture(Capture {
        index: 1,
        name: None,
        sub: Box::new(without_groups(&read(core)?)),
    });
    prefix.push(matched);
    prefix.append(&mut suffix);
    Ok(Hir::concat(prefix))
}

/// What a look-around asks of the text beside a match.
fn surrounding(body: Hir, positive: bool, edge: Look) -> Result<Hir, String> {
    let body = without_groups(&body);
    if positive {
        return Ok(body);
    }
    let mut others = one_character(&body)
        .ok_or("a look-around that forbids more than a character".to_owned())?;
    others.negate();
    let others = Hir::class(Class::Unicode(others));
    Ok(Hir::alternation(vec![Hir::look(edge), others]))
}

/// The characters of which the expression matches just one.
fn one_character(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Literal(literal) => {
            let mut characters = std::str::from_utf8(&literal.0).ok()?.chars();
            let one = characters.next()?;
            let range = ClassUnicodeRange::new(one, one);
            characters
                .next()
                .is_none()
                .then(|| ClassUnicode::new([range]))
        }
        HirKind::Alternation(branches) => {
            let mut all = ClassUnicode::empty();
            for branch in branches {
                all.union(&one_character(branch)?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// Flags at the start, for the whole expression.
fn inline_flags(source: &str) -> (&str, &str) {
    let flags = source
        .strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'));
    match flags {
        Some((flags, rest)) if flags.chars().all(|c| "aimsux".contains(c)) && !flags.is_empty() => {
            (flags, rest)
        }
        _ => ("", source),
    }
}

/// A look-behind at the start: its body, whether it asks or forbids, what is left.
fn leading(source: &str) -> Option<(&str, bool, &str)> {
    let (mark, positive) = BEHIND
        .into_iter()
        .find(|(mark, _)| source.starts_with(mark))?;
    let (_, end) = *top_groups(source).first()?;
    Some((&source[mark.len()..end - 1], positive, &source[end..]))
}

/// A look-ahead at the end.
fn trailing(source: &str) -> Option<(&str, bool, &str)> {
    let (start, end) = *top_groups(source).last()?;
    let group = (end == source.len()).then(|| &source[start..end])?;
    let (mark, positive) = AHEAD
        .into_iter()
        .find(|(mark, _)| group.starts_with(mark))?;
    Some((
        &group[mark.len()..group.len() - 1],
        positive,
        &source[..start],
    ))
}

/// Where the groups are that lie in no other.
fn top_groups(source: &str) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    let mut start = 0;
    walk(source, |at, c, depth| match (c, depth) {
        ('(', 1) => start = at,
        (')', 0) => groups.push((start, at + 1)),
        _ => {}
    });
    groups
}

fn has_top_alternatives(source: &str) -> bool {
    let mut found = false;
    walk(source, |_, c, depth| found |= c == '|' && depth == 0);
    found
}

/// Tells of every sign that is neither escaped nor in a class, with the depth of groups behind it.
fn walk(source: &str, mut tell: impl FnMut(usize, char, usize)) {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut characters = source.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '[' => {
                in_class = true;
                // A bracket that comes first is itself.
                characters.next_if(|(_, c)| *c == '^');
                characters.next_if(|(_, c)| *c == ']');
            }
            '(' => {
                depth += 1;
                tell(at, c, depth);
            }
            ')' => {
                depth = depth.saturating_sub(1);
                tell(at, c, depth);
            }
            _ => tell(at, c, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> Result<String, String> {
        parse(source, "").map(|hir| hir.to_string())
    }

    #[test]
    fn look_arounds_at_the_edges_come_off() {
        let ours = |source| syntax::parse(source).expect("parses").to_string();
        assert_eq!(shown("(a)b").expect("plain"), ours("(ab)"));
        assert_eq!(
            shown(r"(?<![\d-])(\d{3})(?!\w)").expect("looks"),
            ours(r"(?:\A|[^\d-])(\d{3})(?:\z|\W)")
        );
        assert_eq!(shown("(?<=id )x(?=[.])").expect("looks"), ours("id (x)[.]"));
        assert_eq!(
            shown(r"[](?=]x\(\Z").expect("none"),
            ours(r"([\](?=]x\(\z)")
        );
        assert_eq!(
            shown("(?i)(?<!a)b").expect("flags"),
            ours("(?i)(?:\\A|[^a])(b)")
        );
    }

    #[test]
    fn other_look_arounds_are_refused() {
        for source in [
            "a(?!b)c",
            "x|y(?=z)",
            "(?<!ab)c",
            "(?<!a)(?<=b)c",
            "((?<!a)b)",
            "(?<!a",
        ] {
            assert!(shown(source).is_err(), "{source}");
        }
    }
}
