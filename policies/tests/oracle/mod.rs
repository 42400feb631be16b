//! The definition of a match, executed naively. See `scan` for the words.

// Each test binary that shares this file uses its own part of it.
#![allow(dead_code)]

use penstock_policies::mask::MaskKey;
use penstock_policies::rule::{Confidence, Context, Pack, Rule, entropy_bits, shipped};
use penstock_policies::scan::{Lane, Match, RuleIndex, Scanner};
use regex::Regex;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::{Anchored, Input, MatchKind};

/// Tries every rule at every start.
pub(crate) struct Oracle {
    rules: Vec<Naive>,
    /// Matches of less are none.
    pub(crate) least: Confidence,
}

struct Naive {
    rule: Rule,
    regex: PikeVM,
    after: Option<PikeVM>,
    before: Option<PikeVM>,
    allowed: Vec<Regex>,
    region_end: Option<PikeVM>,
    /// What must occur somewhere in a text for the rule to match in it, and all its parts: it only
    /// saves the naive search where there is nothing to find.
    occurs: Vec<regex::Regex>,
}

/// Rewrites the rule dialect for a Unicode engine by plain substitution: enough for expressions
/// that have no escaped backslash before one of these letters.
fn ascii(pattern: &str) -> String {
    pattern
        .replace(r"\b", r"(?-u:\b)")
        .replace(r"\d", "[0-9]")
        .replace(r"\w", "[0-9A-Za-z_]")
        .replace(r"\s", r"[\t\n\x0B\x0C\r ]")
        .replace(r"\D", "[^0-9]")
        .replace(r"\W", "[^0-9A-Za-z_]")
        .replace(r"\S", r"[^\t\n\x0B\x0C\r ]")
}

fn pike(pattern: &str) -> PikeVM {
    PikeVM::builder()
        .configure(PikeVM::config().match_kind(MatchKind::All))
        .build(&ascii(pattern))
        .unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

impl Oracle {
    pub(crate) fn new(rules: &[Rule]) -> Oracle {
        let naive = |rule: &Rule| Naive {
            rule: rule.clone(),
            regex: pike(rule.regex()),
            after: rule.after().map(pike),
            before: rule.before().map(pike),
            allowed: rule.allow().map_or(Vec::new(), |allow| {
                let regex = |source| Regex::new(&ascii(source)).expect("it parsed as a rule's");
                allow.regexes().map(regex).collect()
            }),
            region_end: rule.region().map(|(end, _)| pike(end)),
            occurs: [Some(rule.regex()), rule.after()]
                .into_iter()
                .flatten()
                .map(|part| regex::Regex::new(&ascii(part)).expect("the dialect is the crate's"))
                .collect(),
        };
        Oracle {
            rules: rules.iter().map(naive).collect(),
            least: Confidence::Low,
        }
    }

    /// Leftmost, longest, rule order.
    pub(crate) fn find(&self, text: &str) -> Vec<Match> {
        self.find_where(text, &|_| true)
    }

    /// The same, where starts are allowed.
    pub(crate) fn find_where(&self, text: &str, may_start: &dyn Fn(usize) -> bool) -> Vec<Match> {
        let all: Vec<usize> = (0..self.rules.len()).collect();
        self.walk(text, &all, &|_, at| may_start(at))
    }

    /// Every rule on its own.
    pub(crate) fn find_each(&self, text: &str) -> Vec<Match> {
        (0..self.rules.len())
            .flat_map(|index| self.walk(text, &[index], &|_, _| true))
            .collect()
    }

    /// Every rule on its own, where its starts are allowed.
    pub(crate) fn find_each_where(
        &self,
        text: &str,
        may_start: &dyn Fn(usize, usize) -> bool,
    ) -> Vec<Match> {
        (0..self.rules.len())
            .flat_map(|index| self.walk(text, &[index], may_start))
            .collect()
    }

    fn walk(
        &self,
        text: &str,
        rules: &[usize],
        may_start: &dyn Fn(usize, usize) -> bool,
    ) -> Vec<Match> {
        let occurs = |index: &usize| self.rules[*index].occurs.iter().all(|r| r.is_match(text));
        let rules: Vec<usize> = rules.iter().copied().filter(occurs).collect();
        let mut caches: Vec<Cache> = rules
            .iter()
            .map(|index| self.rules[*index].regex.create_cache())
            .collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let mut best: Option<Match> = None;
            for (index, cache) in rules.iter().zip(&mut caches) {
                if may_start(*index, at)
                    && let Some((end, confidence)) = self.rules[*index].match_at(cache, text, at)
                    && confidence >= self.least
                    && best.is_none_or(|best| end > best.end)
                {
                    best = Some(Match {
                        rule: RuleIndex(*index as u16),
                        start: at,
                        end,
                        confidence,
                        lane: Lane::Plain,
                    });
                }
            }
            match best {
                Some(best) => {
                    found.push(best);
                    at = best.end;
                }
                None => at = text.ceil_char_boundary(at + 1),
            }
        }
        found
    }

    /// What a match is replaced with.
    pub(crate) fn replacement(&self, m: &Match, text: &str, key: &MaskKey) -> String {
        let rule = &self.rules[usize::from(m.rule.0)].rule;
        let whole = rule.region().is_none();
        rule.replacement(whole.then_some(&text[m.start..m.end]), key)
    }
}

impl Naive {
    /// The end of this rule's match at `at`, when it has a valid one, and what it is worth.
    fn match_at(&self, cache: &mut Cache, text: &str, at: usize) -> Option<(usize, Confidence)> {
        if let Some(after) = &self.after
            && !ends_at(after, text, at)
        {
            return None;
        }
        let end = self.longest(cache, text, at)?;
        let value = &text[at..end];
        if !self.rule.accepts(value) || self.is_allowed(value) {
            return None;
        }
        if let Some(context) = self.rule.context()
            && !has_context(context, text, at, end)
        {
            return None;
        }
        let confidence = self.confidence(text, at, end);
        let (Some(marker), Some((_, max))) = (&self.region_end, self.rule.region()) else {
            return Some((end, confidence));
        };
        let cap = text.floor_char_boundary(at + max);
        let mut cache = marker.create_cache();
        let mut closes = |close: &usize| {
            text.is_char_boundary(*close)
                && marker.is_match(&mut cache, Input::new(text).range(end..*close))
        };
        let end = (end..=cap).find(|close| closes(close)).unwrap_or(cap);
        Some((end, confidence))
    }

    /// The last place where the expression may end that has its `before`, if it asks for one.
    fn longest(&self, cache: &mut Cache, text: &str, at: usize) -> Option<usize> {
        let mut longest = |to: usize| {
            let input = Input::new(text).range(at..to).anchored(Anchored::Yes);
            let mut slots = [None, None];
            self.regex.search_slots(cache, &input, &mut slots)?;
            slots[1].map(|slot| slot.get()).filter(|end| *end > at)
        };
        let mut end = longest(text.len())?;
        let Some(before) = &self.before else {
            return Some(end);
        };
        let mut behind = before.create_cache();
        let mut stands = |end: usize| {
            let input = Input::new(text).range(end..).anchored(Anchored::Yes);
            before.is_match(&mut behind, input)
        };
        while !stands(end) {
            end = longest(text.floor_char_boundary(end - 1))?;
        }
        Some(end)
    }

    fn is_allowed(&self, value: &str) -> bool {
        let lower = value.to_ascii_lowercase();
        self.rule.allow().is_some_and(|allow| {
            allow.values.contains(&lower)
                || allow.words.iter().any(|word| lower.contains(&**word))
                || self.allowed.iter().any(|regex| regex.is_match(value))
        })
    }

    fn confidence(&self, text: &str, at: usize, end: usize) -> Confidence {
        let value = &text[at..end];
        let confirmed = self.rule.confirm().is_some_and(|confirm| {
            let entropy = confirm.entropy_bits_min;
            let words = confirm.context.as_ref();
            entropy.is_some_and(|min| entropy_bits(value) >= min)
                || confirm.validator.is_some_and(|it| it.accepts(value))
                || words.is_some_and(|words| has_context(words, text, at, end))
        });
        match confirmed {
            true => Confidence::High,
            false => self.rule.confidence(),
        }
    }
}

/// Does some match of `after` end exactly at `at`?
fn ends_at(after: &PikeVM, text: &str, at: usize) -> bool {
    let mut cache = after.create_cache();
    (0..=at)
        .filter(|start| text.is_char_boundary(*start))
        .any(|start| {
            // The span's end cuts the search, the text beyond it still decides boundaries.
            let input = Input::new(text).range(start..at).anchored(Anchored::Yes);
            let mut slots = [None, None];
            after.search_slots(&mut cache, &input, &mut slots).is_some()
                && slots[1].is_some_and(|end| end.get() == at)
        })
}

fn has_context(context: &Context, text: &str, at: usize, end: usize) -> bool {
    let from = at.saturating_sub(context.within);
    let to = text.len().min(end + context.after);
    let lower = text.to_ascii_lowercase();
    has_word(context, &lower.as_bytes()[..at], from, at)
        || has_word(context, &lower.as_bytes()[end..], 0, to - end)
}

/// Does a word lie in `text[from..to]`, whole as far as this text goes?
fn has_word(context: &Context, text: &[u8], from: usize, to: usize) -> bool {
    let letter = |index: usize| text.get(index).is_some_and(u8::is_ascii_alphanumeric);
    (from..to).any(|start| {
        context.words.iter().any(|word| {
            text[start..to].starts_with(word.as_bytes())
                && (start == 0 || !letter(start - 1))
                && !letter(start + word.len())
        })
    })
}

/// Rules from the bodies of TOML tables, with the fields filled in that do not matter here; keys
/// of a body are separated by spaces in the style `key = 'value' key = 2`.
pub(crate) fn pack(bodies: &[&str]) -> Vec<Rule> {
    let mut toml = String::new();
    for (index, body) in bodies.iter().enumerate() {
        let mut lines = (*body).to_owned();
        for name in [
            "max_len",
            "validate",
            "replace",
            "entropy",
            "after",
            "before",
            "context",
            "region",
            "keywords",
            "allow",
            "confidence",
            "confirm",
        ] {
            lines = lines.replace(&format!(" {name} ="), &format!("\n{name} ="));
        }
        // Within a table the names mean its own fields.
        while let Some(inner) = lines.find(",\n") {
            lines.replace_range(inner + 1..inner + 2, " ");
        }
        toml.push_str(&format!(
            "[[rule]]\nid = \"r{index}\"\ndescription = \"test\"\n{lines}\nmatches = [\"\"]\n\
             misses = [\"\"]\n"
        ));
    }
    match Pack::parse("test", &toml) {
        Ok(pack) => pack.rules,
        Err(errors) => {
            panic!(
                "{}",
                errors.iter().map(|e| format!("{e}\n")).collect::<String>()
            )
        }
    }
}

pub(crate) fn compile(rules: Vec<Rule>) -> Scanner {
    Scanner::compile(rules).unwrap_or_else(|errors| {
        panic!(
            "{}",
            errors.iter().map(|e| format!("{e}\n")).collect::<String>()
        )
    })
}

pub(crate) fn shipped_rules() -> Vec<Rule> {
    let parse = |(name, toml): &(&str, &str)| Pack::parse(name, toml).expect("is shipped").rules;
    shipped().iter().flat_map(parse).collect()
}

/// An example inside a sentence.
pub(crate) fn prose(example: &str) -> String {
    format!("As they said, {example}, and that was all.")
}
