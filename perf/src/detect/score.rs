//! Counting, and the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::read::UNDECIDED;
use super::{Alarm, LabelMap, Vector};
use crate::figures::{self, FigureLine};

/// What was found of one label.
#[derive(Debug, Default, Clone)]
struct Label {
    vectors: usize,
    found: usize,
    /// Of those with a span.
    exact: usize,
    spans: usize,
    /// Found, but only by rules that the map does not name for the label.
    elsewhere: usize,
    /// The map says that no rule is meant to find these.
    unclaimed: bool,
    misses: Vec<(String, String)>,
}

/// Counts over all vectors.
#[derive(Debug, Default)]
pub struct Score {
    map: LabelMap,
    labels: BTreeMap<String, Label>,
    benign: usize,
    benign_with_alarms: usize,
    undecided: usize,
    undecided_with_alarms: usize,
    /// Alarms that overlap are one.
    alarms: usize,
    alarms_on_spans: usize,
    false_by_rule: BTreeMap<Arc<str>, usize>,
    false_places: Vec<(String, String)>,
}

// === impl Score ===

impl Score {
    /// The cells of [`Score::summary`].
    pub const HEAD: [&str; 9] = [
        "corpus",
        "vectors",
        "found",
        "recall %",
        "exact",
        "not claimed, found",
        "benign, alarmed",
        "false alarms %",
        "precision %",
    ];

    /// With the rules that count for a label.
    pub fn new(map: LabelMap) -> Score {
        Score {
            map,
            ..Score::default()
        }
    }

    /// Counts one text and the alarms in it; `place` names it among the misses.
    pub fn add(&mut self, vector: &Vector, alarms: &[Alarm], place: &str) {
        let whole = (0, vector.text.len());
        if vector.labelled.iter().any(|of| of.label == UNDECIDED) {
            self.undecided += 1;
            self.undecided_with_alarms += usize::from(!alarms.is_empty());
            return;
        }
        for labelled in &vector.labelled {
            let (start, end) = labelled.span.unwrap_or(whole);
            let over: Vec<&Alarm> = alarms
                .iter()
                .filter(|alarm| alarm.start < end && start < alarm.end)
                .collect();
            let wanted = self.map.rules(&labelled.label);
            let unclaimed = wanted.is_some_and(<[String]>::is_empty);
            let counts = |alarm: &&&Alarm| {
                let of = |rules: &[String]| rules.iter().any(|rule| names(rule, &alarm.rule));
                unclaimed || wanted.is_none_or(of)
            };
            let label = self.labels.entry(labelled.label.clone()).or_default();
            label.vectors += 1;
            label.unclaimed = unclaimed;
            label.spans += usize::from(labelled.span.is_some());
            let right: Vec<&&Alarm> = over.iter().filter(counts).collect();
            if right.is_empty() {
                label.elsewhere += usize::from(!over.is_empty());
                label.misses.push((place.to_owned(), vector.text.clone()));
                continue;
            }
            label.found += 1;
            let exact = right
                .iter()
                .any(|alarm| (alarm.start, alarm.end) == (start, end));
            label.exact += usize::from(exact && labelled.span.is_some());
        }
        for group in merged(alarms) {
            self.alarms += 1;
            let hit = vector.labelled.iter().any(|labelled| {
                let (start, end) = labelled.span.unwrap_or(whole);
                group.0 < end && start < group.1
            });
            self.alarms_on_spans += usize::from(hit);
        }
        if vector.labelled.is_empty() {
            self.benign += 1;
            self.benign_with_alarms += usize::from(!alarms.is_empty());
            for alarm in alarms {
                *self.false_by_rule.entry(alarm.rule.clone()).or_default() += 1;
            }
            if let Some(first) = alarms.first() {
                let shown = vector.text.get(first.start..first.end).unwrap_or_default();
                let place = format!("{place} {}", first.rule);
                self.false_places.push((place, shown.to_owned()));
            }
        }
    }

    /// All labels together: of those that some rule is meant to find, or of the others.
    fn total(&self, unclaimed: bool) -> Label {
        let mut total = Label::default();
        for label in self.labels.values().filter(|of| of.unclaimed == unclaimed) {
            total.vectors += label.vectors;
            total.found += label.found;
            total.exact += label.exact;
            total.spans += label.spans;
            total.elsewhere += label.elsewhere;
        }
        total
    }

    /// Each label, then all that are claimed, then all that are not, where there are any.
    fn rows(&self) -> Vec<(String, Label)> {
        let named = |(name, label): (&String, &Label)| match label.unclaimed {
            true => (format!("{name} (not claimed)"), label.clone()),
            false => (name.clone(), label.clone()),
        };
        let mut rows: Vec<_> = self.labels.iter().map(named).collect();
        rows.push(("all".to_owned(), self.total(false)));
        let unclaimed = self.total(true);
        if unclaimed.vectors > 0 {
            rows.push(("all not claimed".to_owned(), unclaimed));
        }
        rows
    }

    /// One line of the table of corpora; [`Score::HEAD`] names its cells.
    pub fn summary(&self, corpus: String) -> Vec<String> {
        let (total, unclaimed) = (self.total(false), self.total(true));
        vec![
            corpus,
            total.vectors.to_string(),
            total.found.to_string(),
            format!("{:.1}", percent(total.found, total.vectors)),
            format!("{} of {}", total.exact, total.spans),
            format!("{} of {}", unclaimed.found, unclaimed.vectors),
            format!("{} of {}", self.benign_with_alarms, self.benign),
            format!("{:.2}", percent(self.benign_with_alarms, self.benign)),
            format!("{:.1}", percent(self.alarms_on_spans, self.alarms)),
        ]
    }

    /// Every figure; of one round, since nothing here varies.
    pub fn lines(&self) -> Vec<FigureLine> {
        let mut lines = Vec::new();
        let mut tell = |scenario: &str, figure: &str, unit: &str, value: f64| {
            let scenario = format!("detect/{scenario}");
            lines.extend(FigureLine::of(
                scenario,
                "penstock",
                figure,
                unit,
                vec![value],
            ));
        };
        for (name, label) in self.rows() {
            tell(&name, "vectors", "vectors", label.vectors as f64);
            tell(&name, "found", "vectors", label.found as f64);
            tell(
                &name,
                "found_by_other_rules_only",
                "vectors",
                label.elsewhere as f64,
            );
            tell(
                &name,
                "recall",
                "percent",
                percent(label.found, label.vectors),
            );
            tell(&name, "exact", "vectors", label.exact as f64);
            tell(&name, "spans", "vectors", label.spans as f64);
        }
        tell("benign", "texts", "texts", self.benign as f64);
        tell(
            "benign",
            "texts_with_alarms",
            "texts",
            self.benign_with_alarms as f64,
        );
        let share = percent(self.benign_with_alarms, self.benign);
        tell("benign", "false_alarms", "percent of texts", share);
        let undecided = self.undecided_with_alarms as f64;
        tell("undecided", "texts", "texts", self.undecided as f64);
        tell("undecided", "texts_with_alarms", "texts", undecided);
        tell("all", "alarms", "alarms", self.alarms as f64);
        tell(
            "all",
            "alarms_on_spans",
            "alarms",
            self.alarms_on_spans as f64,
        );
        let precision = percent(self.alarms_on_spans, self.alarms);
        tell("all", "precision", "percent of alarms", precision);
        lines
    }

    /// The table for people, with `examples` misses of each label by their place.
    pub fn print(&self, examples: usize, show: bool) {
        let head = [
            "label",
            "vectors",
            "found",
            "recall %",
            "exact span",
            "of spans",
            "other rule",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (name, label) in self.rows() {
            rows.push(vec![
                name,
                label.vectors.to_string(),
                label.found.to_string(),
                format!("{:.1}", percent(label.found, label.vectors)),
                label.exact.to_string(),
                label.spans.to_string(),
                label.elsewhere.to_string(),
            ]);
        }
        figures::print_table(&rows);
        println!(
            "benign texts: {} with a false alarm of {} ({:.2} %)",
            self.benign_with_alarms,
            self.benign,
            percent(self.benign_with_alarms, self.benign)
        );
        if self.undecided > 0 {
            println!(
                "undecided texts, which one rule refuses and another finds: {} with an alarm of {}",
                self.undecided_with_alarms, self.undecided
            );
        }
        println!(
            "alarms: {} on a labelled span of {} (precision {:.2} %)\n",
            self.alarms_on_spans,
            self.alarms,
            percent(self.alarms_on_spans, self.alarms)
        );
        for (name, label) in self.labels.iter().filter(|(_, label)| !label.unclaimed) {
            for (place, text) in label.misses.iter().take(examples) {
                say("missed", name, place, text, show);
            }
        }
        let mut loud: Vec<_> = self.false_by_rule.iter().collect();
        loud.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (rule, count) in loud.into_iter().take(super::LOUDEST) {
            println!("false alarms of {rule}: {count}");
        }
        for (place, text) in self.false_places.iter().take(examples) {
            say("false alarm", "benign", place, text, show);
        }
    }
}

fn say(what: &str, label: &str, place: &str, text: &str, show: bool) {
    match show {
        true => println!("{what} {label}: {place} {text:?}"),
        false => println!("{what} {label}: {place}"),
    }
}

/// Does a pattern of a map, with `*` at either end, name a rule or a label?
pub(super) fn names(pattern: &str, rule: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), None) => rule.ends_with(end),
        (None, Some(start)) => rule.starts_with(start),
        (Some(_), Some(_)) => rule.contains(pattern.trim_matches('*')),
        (None, None) => rule == pattern,
    }
}

/// The stretches of text under alarms.
fn merged(alarms: &[Alarm]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for alarm in alarms {
        match stretches.last_mut() {
            Some(last) if alarm.start < last.1 => last.1 = last.1.max(alarm.end),
            _ => stretches.push((alarm.start, alarm.end)),
        }
    }
    stretches
}

fn percent(part: usize, of: usize) -> f64 {
    match of {
        0 => 0.0,
        of => part as f64 * 100.0 / of as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Offsets;
    use super::*;

    fn alarm(rule: &str, start: usize, end: usize) -> Alarm {
        Alarm {
            rule: rule.into(),
            start,
            end,
        }
    }

    fn map(json: &str) -> LabelMap {
        serde_json::from_str(json).expect("is a map")
    }

    #[test]
    fn what_is_not_claimed_and_what_is_undecided_count_apart() {
        let mut score = Score::new(map(r#"{"name*": [], "*": ["key-*"]}"#));
        let vector = |line: &str| Vector::read(line, Offsets::Chars).expect("valid");
        for (line, alarmed) in [
            (r#"{"text": "012", "label": "name-of-a-person"}"#, true),
            (r#"{"text": "012", "label": "name-of-a-person"}"#, false),
            (r#"{"text": "012", "label": "k"}"#, true),
            (r#"{"text": "012", "label": "undecided"}"#, true),
            (r#"{"text": "012", "label": "undecided"}"#, false),
        ] {
            let alarms = [alarm("key-a", 0, 1)];
            score.add(&vector(line), &alarms[..usize::from(alarmed)], "f:1");
        }
        let summary = score.summary("c".to_owned());
        assert_eq!(summary[..6], ["c", "1", "1", "100.0", "0 of 0", "1 of 2"]);
        assert_eq!(score.benign, 0);
        assert_eq!((score.undecided, score.undecided_with_alarms), (2, 1));
    }

    #[test]
    fn overlap_exactness_rule_and_false_alarms_are_told_apart() {
        let vector = |span: &str| {
            let line = format!(r#"{{"text": "0123456789", "label": "k", "span": {span}}}"#);
            Vector::read(&line, Offsets::Chars).expect("valid")
        };
        let mut score = Score::new(map(r#"{"k": ["key-*"]}"#));
        score.add(&vector("[2, 5]"), &[alarm("key-a", 2, 5)], "f:1");
        score.add(
            &vector("[2, 5]"),
            &[alarm("key-a", 4, 9), alarm("x", 8, 10)],
            "f:2",
        );
        score.add(&vector("[2, 5]"), &[alarm("x", 2, 5)], "f:3");
        score.add(&vector("[2, 5]"), &[alarm("key-a", 5, 7)], "f:4");
        let benign = Vector {
            text: "0123".into(),
            labelled: Vec::new(),
        };
        score.add(&benign, &[alarm("x", 0, 2)], "f:5");
        score.add(&benign, &[], "f:6");
        let label = &score.labels["k"];
        assert_eq!(
            (label.vectors, label.found, label.exact, label.elsewhere),
            (4, 2, 1, 1)
        );
        assert_eq!((score.benign, score.benign_with_alarms), (2, 1));
        assert_eq!((score.alarms, score.alarms_on_spans), (5, 3));
        let lines = score.lines();
        let of = |scenario: &str, figure: &str| {
            let line = lines
                .iter()
                .find(|l| l.scenario == scenario && l.figure == figure);
            line.expect("is told").median
        };
        assert_eq!(of("detect/k", "recall"), 50.0);
        assert_eq!(of("detect/all", "precision"), 60.0);
        assert_eq!(of("detect/benign", "false_alarms"), 50.0);
    }

    #[test]
    fn patterns_name_rules() {
        assert!(names("a-*", "a-b") && names("*-b", "a-b") && names("*", "a-b"));
        assert!(names("a-b", "a-b") && !names("a", "a-b") && !names("b*", "a-b"));
    }
}
