//! Configurations of gitleaks, and of Betterleaks, which goes on from there.
//!
//! A rule there is an expression with a group for the secret, and what may be said against a match:
//! too little entropy, an allow-list of its own, one of the whole file. What has to do with files,
//! commits and live checks has no meaning for a text on its way to a model, and is listed.

use super::allow::{add_words, allow_pattern};
use super::draft::{Draft, build};
use super::filter::{Subject, Term, terms};
use super::go::to_ours;
use super::tree::{Entries, Misfit, Node, of_toml};
use super::{ALLOW_PATTERNS_MAX, At, IMPORTED_REGEX_BYTES_MAX, ImportKind, Imported, Reading};
use crate::rule::diagnostic::PackError;
use crate::rule::{Allow, Confidence, syntax};

/// What is said of a rule's matches besides its expression.
#[derive(Clone, Default)]
struct Against {
    allow: Allow,
    entropy_bits_min: Option<f64>,
}

/// An allow-list of the file that is for some rules only.
struct Targeted {
    rules: Vec<String>,
    allow: Allow,
}

/// Keys of a file that tell people something and programs nothing.
const SILENT: [&str; 2] = ["title", "description"];

/// Reads a configuration.
pub(super) fn read(name: &str, text: &str) -> Result<Imported, Vec<PackError>> {
    let root = of_toml(name, text).map_err(|error| vec![error])?;
    let mut reading = Reading::new(name);
    if let Err(misfit) = read_file(&mut reading, &root) {
        reading.error(None, misfit);
    }
    reading.finish()
}

fn read_file(reading: &mut Reading, root: &Node) -> Result<(), Misfit> {
    let mut entries = root.entries()?;
    let rules = entries.take("rules");
    let mut global = Against::default();
    let mut targeted = Vec::new();
    let old = entries.take("allowlist").into_iter();
    let new = entries.take("allowlists").map_or(Ok(&[][..]), Node::list)?;
    for node in old.chain(new) {
        let at = At {
            rule: None,
            place: node.at,
        };
        let mut list = node.entries()?;
        let targets = list.take("targetRules").map_or(Ok(vec![]), Node::texts)?;
        if targets.is_empty() {
            read_allowlist(reading, &at, list, &mut global.allow)?;
        } else {
            let mut allow = Allow::default();
            read_allowlist(reading, &at, list, &mut allow)?;
            let rules = targets.iter().map(|id| (*id).to_owned()).collect();
            targeted.push(Targeted { rules, allow });
        }
    }
    if let Some(node) = entries.take("filter") {
        let at = At {
            rule: None,
            place: node.at,
        };
        read_filter(reading, &at, node.text()?, &mut global);
    }
    for (key, node) in entries.left() {
        let at = At {
            rule: None,
            place: node.at,
        };
        let what = match key.to_ascii_lowercase().as_str() {
            silent if SILENT.contains(&silent) => continue,
            "extend" => "`extend`: other files are not read; put them beside this one".to_owned(),
            "prefilter" => "`prefilter`: a text has no path and no commit".to_owned(),
            "minversion" | "betterleaksminversion" => format!("`{key}`"),
            _ => format!("`{key}`, which is not known here"),
        };
        reading.note(&at, ImportKind::Ignored, what);
    }
    for node in rules.map_or(Ok(&[][..]), Node::list)? {
        reading.rules_in_file += 1;
        if let Err((rule, misfit)) = read_rule(reading, node, &global, &targeted) {
            reading.error(rule.as_deref(), misfit);
        }
    }
    Ok(())
}

type RuleFault = (Option<String>, Misfit);

fn read_rule(
    reading: &mut Reading,
    node: &Node,
    global: &Against,
    targeted: &[Targeted],
) -> Result<(), RuleFault> {
    let mut entries = node.entries().map_err(|misfit| (None, misfit))?;
    let id = entries.take("id").map_or(Ok(""), Node::text);
    let id = id.map_err(|misfit| (None, misfit))?;
    let line = format!("line {}", node.at.line);
    let name = if id.is_empty() { line.as_str() } else { id };
    let at = At {
        rule: Some(name),
        place: entries.at(),
    };
    let mut against = global.clone();
    for extra in targeted {
        if extra.rules.iter().any(|rule| rule == id) {
            against
                .allow
                .values
                .extend(extra.allow.values.iter().cloned());
            against
                .allow
                .words
                .extend(extra.allow.words.iter().cloned());
            against
                .allow
                .patterns
                .extend(extra.allow.patterns.iter().cloned());
        }
    }
    let draft = read_draft(reading, &at, entries, against);
    if let Some(draft) = draft.map_err(|misfit| (Some(name.to_owned()), misfit))? {
        build(reading, &at, &draft);
    }
    Ok(())
}

fn read_draft(
    reading: &mut Reading,
    at: &At<'_>,
    mut entries: Entries<'_>,
    mut against: Against,
) -> Result<Option<Draft>, Misfit> {
    let description = entries.take("description").map_or(Ok(""), Node::text)?;
    let regex = entries.take("regex").map_or(Ok(""), Node::text)?;
    let path = entries.take("path").map_or(Ok(""), Node::text)?;
    let group = entries.take("secretGroup").map_or(Ok(0.0), Node::number)?;
    let keywords = entries.take("keywords").map_or(Ok(vec![]), Node::texts)?;
    if let Some(node) = entries.take("entropy") {
        let bits = node.number()?;
        against.entropy_bits_min = (bits > 0.0).then(|| bits.next_up());
    }
    let old = entries.take("allowlist").into_iter();
    let new = entries.take("allowlists").map_or(Ok(&[][..]), Node::list)?;
    for node in old.chain(new) {
        read_allowlist(reading, at, node.entries()?, &mut against.allow)?;
    }
    if let Some(node) = entries.take("filter") {
        read_filter(reading, at, node.text()?, &mut against);
    }
    let skipped = entries.take("skipReport").map_or(Ok(false), Node::bool)?;
    for (key, _) in entries.left() {
        let (kind, what) = match key.to_ascii_lowercase().as_str() {
            "required" => (
                ImportKind::Approximated,
                "`required`: found without the other rules near".to_owned(),
            ),
            "validate" => (
                ImportKind::Ignored,
                "`validate`: no live check is made of a secret".to_owned(),
            ),
            "tokenefficiency" => (ImportKind::Ignored, "`tokenEfficiency`".to_owned()),
            "tags" | "specificity" | "severity" => (ImportKind::Ignored, format!("`{key}`")),
            _ => (
                ImportKind::Ignored,
                format!("`{key}`, which is not known here"),
            ),
        };
        reading.note(at, kind, what);
    }
    if skipped {
        let what = "`skipReport`: it only helps other rules";
        reading.note(at, ImportKind::Refused, what);
        return Ok(None);
    }
    if regex.is_empty() {
        let what = match path.is_empty() {
            true => "it has no expression",
            false => "`path` alone: a text has no path",
        };
        reading.note(at, ImportKind::Refused, what);
        return Ok(None);
    }
    if !path.is_empty() {
        let what = "`path`: it applies to every text";
        reading.note(at, ImportKind::Approximated, what);
    }
    let Some(hir) = expression(reading, at, regex) else {
        return Ok(None);
    };
    if against.entropy_bits_min.is_some_and(|bits| bits >= 8.0) {
        let what = "no text has so much entropy a byte";
        reading.note(at, ImportKind::Refused, what);
        return Ok(None);
    }
    Ok(Some(Draft {
        id: at.rule.unwrap_or("rule").to_owned(),
        description: match description.trim() {
            "" => at.rule.unwrap_or("imported").to_owned(),
            text => text.to_owned(),
        },
        hir,
        group: (group >= 1.0).then_some(group as u32),
        keywords: lower(&keywords),
        entropy_bits_min: against.entropy_bits_min,
        allow: against.allow,
        confidence: Confidence::High,
        confirm: None,
    }))
}

fn lower(words: &[&str]) -> Vec<String> {
    let mut lower = Vec::new();
    add_words(&mut lower, words);
    lower
}

fn expression(reading: &mut Reading, at: &At<'_>, regex: &str) -> Option<regex_syntax::hir::Hir> {
    let parsed = match regex.len() {
        length if length > IMPORTED_REGEX_BYTES_MAX => Err(format!(
            "the expression has {length} bytes; {IMPORTED_REGEX_BYTES_MAX} are the most"
        )),
        _ => syntax::parse(&to_ours(regex)).or_else(|fault| {
            // The one assertion that ours does not have; without it more is found.
            let parsed = match regex.contains(r"\B") {
                true => syntax::parse(&to_ours(&regex.replace(r"\B", "(?:)"))),
                false => Err(fault),
            };
            let hir = parsed.map_err(|fault| fault.reason)?;
            reading.note(at, ImportKind::Approximated, r"`\B` is not asked for");
            Ok(hir)
        }),
    };
    parsed
        .map_err(|reason| reading.note(at, ImportKind::Refused, reason))
        .ok()
}

fn read_allowlist(
    reading: &mut Reading,
    at: &At<'_>,
    mut entries: Entries<'_>,
    allow: &mut Allow,
) -> Result<(), Misfit> {
    let condition = entries.take("condition").map_or(Ok(""), Node::text)?;
    let target = entries.take("regexTarget").map_or(Ok(""), Node::text)?;
    let regexes = entries.take("regexes").map_or(Ok(vec![]), Node::texts)?;
    let words = entries.take("stopwords").map_or(Ok(vec![]), Node::texts)?;
    let mut elsewhere = 0;
    for key in ["paths", "commits", "resources"] {
        let Some(node) = entries.take(key) else {
            continue;
        };
        if !node.list()?.is_empty() {
            elsewhere += 1;
            let what = format!("`{key}` of an allow-list: a text has none");
            reading.note(at, ImportKind::Ignored, what);
        }
    }
    for (key, _) in entries.left() {
        if !SILENT.contains(&key.to_ascii_lowercase().as_str()) {
            let what = format!("`{key}` of an allow-list, which is not known here");
            reading.note(at, ImportKind::Ignored, what);
        }
    }
    let kinds = elsewhere + usize::from(!regexes.is_empty()) + usize::from(!words.is_empty());
    if matches!(condition.to_ascii_uppercase().as_str(), "AND" | "&&") && kinds > 1 {
        let what = "an allow-list that asks for several things at once";
        reading.note(at, ImportKind::Ignored, what);
        return Ok(());
    }
    let subject = match target {
        "" | "secret" => Subject::Secret,
        _ => Subject::Around,
    };
    add_patterns(reading, at, subject, &regexes, allow);
    add_words(&mut allow.words, &words);
    Ok(())
}

/// Expressions that a secret may match. Those on what stands around it are held against the secret,
/// which they allow less often, unless they speak of its edges.
fn add_patterns(
    reading: &mut Reading,
    at: &At<'_>,
    subject: Subject,
    regexes: &[&str],
    allow: &mut Allow,
) {
    for regex in regexes {
        let pattern = match regex.len() {
            0..=IMPORTED_REGEX_BYTES_MAX => allow_pattern(&to_ours(regex)),
            _ => Err("it is too long".to_owned()),
        };
        let pattern = match pattern {
            Ok(pattern) => pattern,
            Err(reason) => {
                let what = format!("an expression of an allow-list: {reason}");
                reading.note(at, ImportKind::Ignored, what);
                continue;
            }
        };
        if subject == Subject::Around {
            if !pattern.hir.properties().look_set().is_empty() {
                let what = "an allow-list for the whole match or its line";
                reading.note(at, ImportKind::Ignored, what);
                continue;
            }
            let what = "an allow-list for the whole match or its line: it is held against the \
                        secret alone";
            reading.note(at, ImportKind::Approximated, what);
        }
        if allow.patterns.len() == ALLOW_PATTERNS_MAX {
            let what = format!("more than {ALLOW_PATTERNS_MAX} expressions of an allow-list");
            reading.note(at, ImportKind::Ignored, what);
            return;
        }
        allow.patterns.push(pattern);
    }
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn read_filter(reading: &mut Reading, at: &At<'_>, source: &str, against: &mut Against) {
    if source.len() > 16 * IMPORTED_REGEX_BYTES_MAX {
        return reading.note(at, ImportKind::Ignored, "`filter`: it is too long");
    }
    for term in terms(source) {
        match term {
            Term::Entropy(bound, reached) => {
                let bits = if reached { bound } else { bound.next_up() };
                let most = against.entropy_bits_min.unwrap_or(0.0).max(bits);
                against.entropy_bits_min = (most > 0.0).then_some(most);
            }
            Term::Matches(subject, list) => {
                add_patterns(reading, at, subject, &borrowed(&list), &mut against.allow);
            }
            Term::Contains(Subject::Secret, list) => {
                add_words(&mut against.allow.words, &borrowed(&list));
            }
            Term::Contains(Subject::Around, list) => {
                let what = "words for the whole match or its line: they are held against the \
                            secret alone";
                reading.note(at, ImportKind::Approximated, what);
                add_words(&mut against.allow.words, &borrowed(&list));
            }
            Term::Equals(text) => add_words(&mut against.allow.values, &[&text]),
            Term::Other(source) => {
                let what = format!("a part of `filter`: {source}");
                reading.note(at, ImportKind::Ignored, what);
            }
        }
    }
}
