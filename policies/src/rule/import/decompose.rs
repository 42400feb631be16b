//! Taking an expression apart: what stands before the secret, the secret, what stands behind it.
//!
//! Scanners of repositories match a secret together with its surroundings and mark the secret by a
//! group. A rule of ours matches the secret alone, looks back at what must stand before it and
//! ahead at what must stand behind. So the expression is written out as its alternatives, each a
//! row of parts of which one is the group: PREFIX (SECRET) SUFFIX.

use regex_syntax::hir::{Capture, Class, Hir, HirKind, Repetition};

/// The most alternatives into which one expression is written out.
pub(super) const ALTERNATIVES_MAX: usize = 32;

/// One alternative of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) prefix: Vec<Hir>,
    pub(super) secret: Hir,
    pub(super) suffix: Vec<Hir>,
}

/// Why an expression stays whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// More than [`ALTERNATIVES_MAX`] alternatives.
    TooMany,
    /// The group is repeated: its last round would be the secret.
    Repeated,
}

/// A part of a row while the secret is not chosen.
#[derive(Clone, Debug)]
enum Part {
    Plain(Hir),
    Group(Hir),
}

/// The alternatives of an expression by its group `wanted`; by default the first group that takes
/// part in the match. An alternative without a group is a secret as a whole.
pub(super) fn rows(hir: &Hir, wanted: Option<u32>) -> Result<Vec<Row>, Whole> {
    let mut rows = Vec::new();
    for parts in expand(hir, wanted)? {
        let chosen = parts.iter().position(|part| matches!(part, Part::Group(_)));
        let plain = |parts: Vec<Part>| parts.into_iter().map(Part::into_hir).collect::<Vec<_>>();
        let row = match chosen {
            None => Row {
                prefix: Vec::new(),
                secret: Hir::concat(plain(parts)),
                suffix: Vec::new(),
            },
            Some(at) => {
                let mut prefix = parts;
                let suffix = prefix.split_off(at + 1);
                let secret = prefix.pop().expect("`at` is a place in it").into_hir();
                Row {
                    prefix: plain(prefix),
                    secret,
                    suffix: plain(suffix),
                }
            }
        };
        rows.push(row);
    }
    Ok(rows)
}

/// The expression without its groups.
pub(super) fn without_groups(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(without_groups).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Capture(capture) => without_groups(&capture.sub),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(without_groups(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => hir.clone(),
    }
}

/// Leaves out at the outer edge of what must stand before a secret whatever may be absent, and all
/// but the fewest rounds of a repetition there: the text further out is anything at all. What is
/// left stands before the same places.
pub(super) fn trim_outer(prefix: Vec<Hir>) -> Vec<Hir> {
    let mut parts: Vec<Hir> = prefix.into_iter().flat_map(flat).collect();
    while let Some(first) = parts.first() {
        match trimmed(first) {
            Some(Some(fewer)) => {
                parts[0] = fewer;
                break;
            }
            Some(None) => {
                parts.remove(0);
            }
            None => break,
        }
    }
    parts
}

/// The same at the other edge, of what must stand behind a secret.
pub(super) fn trim_far(suffix: Vec<Hir>) -> Vec<Hir> {
    let mut parts: Vec<Hir> = suffix.into_iter().flat_map(flat).collect();
    while let Some(last) = parts.last() {
        match trimmed(last) {
            Some(Some(fewer)) => {
                *parts.last_mut().expect("it has a last part") = fewer;
                break;
            }
            Some(None) => {
                parts.pop();
            }
            None => break,
        }
    }
    parts
}

/// The most bytes that these parts match, one after the other.
pub(super) fn bytes_max(parts: &[Hir]) -> Option<usize> {
    parts.iter().try_fold(0_usize, |sum, part| {
        sum.checked_add(part.properties().maximum_len()?)
    })
}

/// The fewest bytes that these parts match.
pub(super) fn bytes_min(parts: &[Hir]) -> usize {
    let least = |part: &Hir| part.properties().minimum_len().unwrap_or(0);
    parts.iter().map(least).sum()
}

/// Does a part match any text whatever, so that it only keeps two others apart?
pub(super) fn is_any_text(hir: &Hir) -> bool {
    let HirKind::Repetition(Repetition {
        max: None,
        greedy: false,
        sub,
        ..
    }) = hir.kind()
    else {
        return false;
    };
    match sub.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            ranges.len() == 1 && ranges[0].start() == '\0' && ranges[0].end() == char::MAX
        }
        _ => false,
    }
}

/// The parts of a concatenation, or the one part.
pub(super) fn flat(hir: Hir) -> Vec<Hir> {
    match hir.kind() {
        HirKind::Concat(parts) => parts.iter().cloned().flat_map(flat).collect(),
        _ => vec![hir],
    }
}

/// An edge part in its shortest form: nothing at all, or fewer rounds; `None`: it stays.
fn trimmed(part: &Hir) -> Option<Option<Hir>> {
    let properties = part.properties();
    if !properties.look_set().is_empty() {
        return None;
    }
    if properties.minimum_len() == Some(0) {
        return Some(None);
    }
    match part.kind() {
        HirKind::Repetition(it) if it.max != Some(it.min) => {
            Some(Some(Hir::repetition(Repetition {
                max: Some(it.min),
                ..it.clone()
            })))
        }
        _ => None,
    }
}

fn expand(hir: &Hir, wanted: Option<u32>) -> Result<Vec<Vec<Part>>, Whole> {
    if !holds_wanted(hir, wanted) {
        return Ok(vec![vec![Part::Plain(without_groups(hir))]]);
    }
    match hir.kind() {
        HirKind::Capture(Capture { index, sub, .. }) => match wanted {
            Some(wanted) if wanted != *index => expand(sub, Some(wanted)),
            _ => Ok(vec![vec![Part::Group(without_groups(sub))]]),
        },
        HirKind::Concat(parts) => {
            let mut rows: Vec<Vec<Part>> = vec![Vec::new()];
            for part in parts {
                let tails = expand(part, wanted)?;
                if rows.len() * tails.len() > ALTERNATIVES_MAX {
                    return Err(Whole::TooMany);
                }
                rows = rows
                    .iter()
                    .flat_map(|row| tails.iter().map(|tail| [&row[..], &tail[..]].concat()))
                    .collect();
            }
            Ok(rows)
        }
        HirKind::Alternation(branches) => {
            let mut rows = Vec::new();
            for branch in branches {
                rows.extend(expand(branch, wanted)?);
                if rows.len() > ALTERNATIVES_MAX {
                    return Err(Whole::TooMany);
                }
            }
            Ok(rows)
        }
        HirKind::Repetition(Repetition {
            min: 0,
            max: Some(1),
            sub,
            ..
        }) => {
            let mut rows = expand(sub, wanted)?;
            rows.push(Vec::new());
            Ok(rows)
        }
        HirKind::Repetition(Repetition {
            min: 1,
            max: Some(1),
            sub,
            ..
        }) => expand(sub, wanted),
        HirKind::Repetition(_) => Err(Whole::Repeated),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => {
            unreachable!("it holds no group, which was asked above")
        }
    }
}

/// Is the wanted group, or by default any, within?
fn holds_wanted(hir: &Hir, wanted: Option<u32>) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => match wanted {
            Some(wanted) => wanted == capture.index || holds_wanted(&capture.sub, Some(wanted)),
            None => true,
        },
        HirKind::Repetition(repetition) => holds_wanted(&repetition.sub, wanted),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().any(|part| holds_wanted(part, wanted))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

// === impl Part ===

impl Part {
    fn into_hir(self) -> Hir {
        match self {
            Part::Plain(hir) | Part::Group(hir) => hir,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::syntax::parse;
    use super::*;

    fn shown(pattern: &str, wanted: Option<u32>) -> Vec<(String, String, String)> {
        let hir = parse(pattern).expect("parses");
        let text = |parts: Vec<Hir>| Hir::concat(parts).to_string();
        rows(&hir, wanted)
            .expect("comes apart")
            .into_iter()
            .map(|row| {
                (
                    text(trim_outer(row.prefix)),
                    row.secret.to_string(),
                    text(trim_far(row.suffix)),
                )
            })
            .collect()
    }

    #[test]
    fn a_group_is_the_secret() {
        let rows = shown("[a-z]{0,50}?key ?=([0-9]{4})(?:;|$)x*", None);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].0, parse("key ?=").expect("parses").to_string());
        assert_eq!(rows[0].1, parse("[0-9]{4}").expect("parses").to_string());
        assert_eq!(rows[0].2, parse("(?:;|$)").expect("parses").to_string());
    }

    #[test]
    fn alternatives_stand_alone() {
        let rows = shown(r"a(?:b(x1)|(x2)c)?|(x3)", None);
        let secrets: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
        assert_eq!(secrets, ["(?:x1)", "(?:x2)", "a", "(?:x3)"]);
        assert_eq!(rows[0].0, "(?:ab)");
        assert_eq!(rows[1].2, "c");
    }

    #[test]
    fn the_outer_of_nested_groups_counts_unless_another_is_wanted() {
        assert_eq!(shown("=((a)(b))", None)[0].1, "(?:ab)");
        let wanted = &shown("=((a)(b))", Some(3))[0];
        assert_eq!((wanted.0.as_str(), wanted.1.as_str()), ("(?:=a)", "b"));
        let repeated = parse("(?:(a)-){3}").expect("parses");
        assert_eq!(rows(&repeated, None), Err(Whole::Repeated));
    }

    #[test]
    fn an_edge_keeps_its_fewest_rounds() {
        let edge = |pattern: &str| {
            let parts = flat(parse(pattern).expect("parses"));
            Hir::concat(trim_outer(parts)).to_string()
        };
        assert_eq!(edge(r"\s+="), parse(r"\s{1}=").expect("parses").to_string());
        assert_eq!(edge(r"\b="), parse(r"\b=").expect("parses").to_string());
        assert!(is_any_text(&parse(r"[\s\S-]{64,}?").expect("parses")));
        assert!(!is_any_text(&parse(r"[\s\S]*").expect("parses")));
    }
}
