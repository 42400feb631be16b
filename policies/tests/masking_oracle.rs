//! The streaming masker against an oracle that is slow, short, and shares no code with it.
//!
//! The oracle tries every rule at every start with an NFA simulation (`PikeVM`) that looks at the
//! whole text, and follows the definition in the documentation of `scan` word by word. Against it:
//! the block scan, every two-way split, one character at a time, and random cuts; and at every
//! step of a stream, that what was sent is a prefix of the masked whole.

mod oracle;

use oracle::{Oracle, compile, pack, prose, shipped_rules};
use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::{Confidence, Rule};
use penstock_policies::scan::{Match, RuleMask, Scanner};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

fn key() -> MaskKey {
    MaskKey::new([9; 32])
}

/// A scanner with its oracle.
struct Pair {
    scanner: Scanner,
    oracle: Oracle,
}

impl Pair {
    fn new(rules: Vec<Rule>) -> Pair {
        Pair {
            oracle: Oracle::new(&rules),
            scanner: compile(rules),
        }
    }

    /// All rules, from the oracle's confidence on.
    fn all(&self) -> RuleMask {
        let mut all = self.scanner.none();
        for rule in self.scanner.all().iter() {
            all.insert_from(rule, self.oracle.least);
        }
        all
    }

    fn mask_all(&self) -> Plan {
        Plan {
            mask: self.all(),
            watch: self.scanner.none(),
        }
    }

    /// M(T) from the oracle's matches. The text of a replacement is the product's own: the oracle
    /// is about what is replaced, the tests of `template` about what by.
    fn expected(&self, text: &str) -> (Vec<Match>, String) {
        let found = self.oracle.find(text);
        let mut masked = String::new();
        let mut at = 0;
        for m in &found {
            masked.push_str(&text[at..m.start]);
            masked.push_str(&self.oracle.replacement(m, text, &key()));
            at = m.end;
        }
        masked.push_str(&text[at..]);
        (found, masked)
    }

    /// Streams `pieces` and checks every promise on the way; gives what was sent and found.
    fn stream(&self, plan: &Plan, pieces: &[&str], masked: &str) -> Vec<Match> {
        let mut channel = Channel::new();
        let mut found = Vec::new();
        let mut sent = String::new();
        for piece in pieces {
            let on_match = &mut |m| found.push(m);
            channel.push(&self.scanner, plan, &key(), piece, on_match, &mut sent);
            assert!(
                masked.starts_with(&sent),
                "sent {sent:?}\nof   {masked:?}\nin   {pieces:?}"
            );
            assert!(channel.held_bytes() <= 4096 + piece.len());
        }
        channel.finish(
            &self.scanner,
            plan,
            &key(),
            &mut |m| found.push(m),
            &mut sent,
        );
        assert_eq!(sent, masked, "in {pieces:?}");
        found.sort_unstable_by_key(|m| (m.start, m.rule));
        found
    }

    fn check_block(&self, text: &str) -> (Vec<Match>, String) {
        let (expected, masked) = self.expected(text);
        assert_eq!(
            self.scanner.find(&self.all(), text),
            expected,
            "in {text:?}"
        );
        let mut found = Vec::new();
        let on_match = &mut |m| found.push(m);
        let block = mask_text(&self.scanner, &self.mask_all(), &key(), text, on_match);
        if may_say_more(text) {
            found.sort_unstable_by_key(|m| (m.start, m.rule));
            return (found, block.unwrap_or_else(|| text.to_owned()));
        }
        assert_eq!(block.is_some(), !expected.is_empty(), "in {text:?}");
        assert_eq!(block.as_deref().unwrap_or(text), masked, "in {text:?}");
        (expected, masked)
    }

    fn check_every_split(&self, text: &str) {
        let (expected, masked) = self.check_block(text);
        let plan = self.mask_all();
        let splits = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        for at in splits {
            let found = self.stream(&plan, &[&text[..at], &text[at..]], &masked);
            assert_eq!(found, expected, "split at {at} of {text:?}");
        }
        let found = self.stream(&plan, &chars(text), &masked);
        assert_eq!(found, expected, "one character at a time of {text:?}");
    }

    /// `find_each` in a block and in a stream, beside masking, against each rule's own oracle.
    fn check_watch(&self, text: &str, pieces: &[&str]) {
        let mut expected = self.oracle.find_each(text);
        let mut each = Vec::new();
        self.scanner
            .find_each(&self.all(), text, &mut |m| each.push(m));
        expected.sort_unstable_by_key(|m| (m.start, m.rule));
        assert_eq!(each, expected, "in {text:?}");
        let plan = Plan {
            mask: self.scanner.none(),
            watch: self.all(),
        };
        if may_say_more(text) {
            expected = self.stream(&plan, &[text], text);
        }
        assert_eq!(self.stream(&plan, pieces, text), expected, "in {pieces:?}");
    }
}

/// Could it say more when it is decoded? `tests/lanes.rs` is about that; here such a text is
/// compared with itself as a block.
fn may_say_more(text: &str) -> bool {
    !text.is_ascii() || text.contains(['\\', '%', '&'])
}

fn chars(text: &str) -> Vec<&str> {
    text.split("").filter(|c| !c.is_empty()).collect()
}

fn cut<'t>(text: &'t str, sizes: &[usize]) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return pieces;
        }
        let (piece, after) = rest.split_at(rest.ceil_char_boundary((*size).min(rest.len())));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Every example of every shipped rule, in prose, at every split, against all shipped rules.
#[test]
fn every_shipped_example_at_every_split() {
    let pair = Pair::new(shipped_rules());
    for rule in pair.scanner.rules() {
        for example in rule.matches() {
            pair.check_every_split(&format!("Größe: see {example} – and so on."));
        }
        for example in rule.misses() {
            pair.check_block(&prose(example));
        }
    }
}

#[test]
fn every_shipped_example_is_watched() {
    let pair = Pair::new(shipped_rules());
    for rule in pair.scanner.rules() {
        for example in rule.matches() {
            let text = prose(example);
            pair.check_watch(&text, &chars(&text));
        }
    }
}

/// Small rules over a small alphabet that get in each other's way as often as they can.
fn tangled() -> Pair {
    Pair::new(pack(&[
        r#"regex = 'ab+' max_len = 6"#,
        r#"regex = '\bab?c\b'"#,
        r#"regex = 'bc{1,3}' replace = "<{first:1}{rule}>""#,
        r#"regex = '(?i)c.a' "#,
        r#"regex = 'é[^b]{1,2}' replace = "<{pseudonym}>""#,
        r#"regex = '[a-c]{4}' entropy = 1.5"#,
        r#"regex = 'b' after = 'c\s?' "#,
        r#"regex = 'a{2,3}$'"#,
        r#"regex = '\bb' context = { words = ["ca"], within = 5 }"#,
        r#"regex = 'cc' region = { end = 'aa|é', max = 9 }"#,
        r#"regex = '[a-cé]{3,9}' keywords = ["ACB"]"#,
        r#"regex = '(?m)^c' "#,
        r#"regex = 'A\b' "#,
    ]))
}

/// Rules that ask for all that stands around a match, alone and together.
fn surrounded() -> Pair {
    Pair::new(pack(&[
        r#"regex = 'a[ab]*' max_len = 60 before = 'b?c'"#,
        r#"regex = '[ab]{2,6}' before = '\b'"#,
        r#"regex = 'b{1,3}' before = 'é|$'"#,
        r#"regex = '(?i)c[ab]{1,4}' before = '[ab]{0,3}(?:c|\s$)' confidence = 'low'"#,
        r#"regex = 'ca' context = { words = ["b"], after = 3 }"#,
        r#"regex = 'a{1,2}\b' context = { words = ["bc", "cc"], within = 4, after = 5 }"#,
        r#"regex = '[abc]{2,5}' allow = { values = ["AB"], words = ["ca"], regexes = ['^b+$'] }"#,
        r#"regex = 'a.b' confidence = 'medium' confirm = { words = ["c"], within = 3, after = 4 }"#,
        r#"regex = '[bc]{3,8}' confidence = 'low' confirm = { entropy = 0.9 }"#,
        r#"regex = 'bb' confidence = 'low' region = { end = 'a', max = 7 }"#,
        r#"regex = '[a-c]+' max_len = 60 after = ' ' before = ' ' confidence = 'low'
           confirm = { words = ["a"], within = 2, entropy = 1.5 }"#,
        r#"regex = 'é' before = '\s?a' context = { words = ["b"], after = 2 } allow = { values = ["x"] }"#,
    ]))
}

/// How many random texts a property sees, by what one costs; `PROPTEST_CASES` soaks.
const CHEAP_CASES: u32 = 600;
const COSTLY_CASES: u32 = 60;

fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(cases);
    let seed = match std::env::var("PROPTEST_RNG_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        Some(seed) => seed,
        None => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64),
    };
    println!("replay with PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn random_texts_of_tangled_rules_at_random_cuts() {
    let pair = tangled();
    let plan = pair.mask_all();
    let text = "[abcAé \\n]{0,40}";
    let cuts = prop::collection::vec(1_usize..7, 1..9);
    runner(CHEAP_CASES)
        .run(&(text, cuts), |(text, sizes)| {
            let (expected, masked) = pair.check_block(&text);
            prop_assert_eq!(pair.stream(&plan, &cut(&text, &sizes), &masked), expected);
            pair.check_watch(&text, &cut(&text, &sizes));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Each tangled rule alone sees more of its own corners than in the crowd.
#[test]
fn random_texts_of_single_rules_at_every_split() {
    let pairs: Vec<Pair> = tangled()
        .scanner
        .rules()
        .iter()
        .map(|rule| Pair::new(vec![rule.clone()]))
        .collect();
    runner(CHEAP_CASES)
        .run(&(0..pairs.len(), "[abcé ]{0,16}"), |(index, text)| {
            pairs[index].check_every_split(&text);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_texts_of_surrounded_rules_at_random_cuts() {
    let mut pair = surrounded();
    let cuts = prop::collection::vec(1_usize..7, 1..9);
    for least in Confidence::ALL {
        pair.oracle.least = least;
        let plan = pair.mask_all();
        runner(CHEAP_CASES)
            .run(&("[abcAé \\n]{0,40}", &cuts), |(text, sizes)| {
                let (expected, masked) = pair.check_block(&text);
                prop_assert_eq!(pair.stream(&plan, &cut(&text, &sizes), &masked), expected);
                pair.check_watch(&text, &cut(&text, &sizes));
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn random_texts_of_single_surrounded_rules_at_every_split() {
    let alone = |rule: &Rule| Pair::new(vec![rule.clone()]);
    let mut pairs: Vec<Pair> = surrounded().scanner.rules().iter().map(alone).collect();
    for least in Confidence::ALL {
        pairs.iter_mut().for_each(|pair| pair.oracle.least = least);
        runner(CHEAP_CASES)
            .run(&(0..pairs.len(), "[abcé ]{0,16}"), |(index, text)| {
                pairs[index].check_every_split(&text);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Long runs that fail, over which later starts of the same rules go again.
#[test]
fn random_long_runs_are_read_as_if_each_were_the_first() {
    let pair = Pair::new(pack(&[
        r#"regex = 'a[abc]*x' max_len = 4000"#,
        r#"regex = '[ab]+c?b{3}' max_len = 4000 before = 'x|c'"#,
        r#"regex = '\bb[a-c-]{9,}z' max_len = 4000 entropy = 1.0"#,
        r#"regex = 'c[abc]+' max_len = 4000 keywords = ["aaaa"]"#,
    ]));
    let part = ("[abc-]{1,4}|x|z| ", 1_usize..90);
    let parts = prop::collection::vec(part, 1..6);
    let cuts = prop::collection::vec(1_usize..300, 1..5);
    let plan = pair.mask_all();
    runner(COSTLY_CASES)
        .run(&(parts, cuts), |(parts, sizes)| {
            let text: String = parts
                .iter()
                .map(|(part, times)| part.repeat(*times))
                .collect();
            let (expected, masked) = pair.check_block(&text);
            prop_assert_eq!(pair.stream(&plan, &cut(&text, &sizes), &masked), expected);
            pair.check_watch(&text, &cut(&text, &sizes));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Pieces of real examples, glued together at random and cut at random.
#[test]
fn random_mixtures_of_shipped_examples() {
    let pair = Pair::new(shipped_rules());
    let plan = pair.mask_all();
    let mut parts: Vec<String> = vec![" ".into(), ", ".into(), "\n".into(), "é".into(), "a".into()];
    for rule in pair.scanner.rules() {
        parts.extend(rule.matches().iter().chain(rule.misses()).cloned());
    }
    let glued = prop::collection::vec((prop::sample::select(parts), 0_usize..400), 1..5);
    let cuts = prop::collection::vec(1_usize..30, 1..6);
    runner(COSTLY_CASES)
        .run(&(glued, cuts), |(glued, sizes)| {
            let mut text = String::new();
            for (part, length) in &glued {
                text.push_str(&part[..part.floor_char_boundary(*length)]);
            }
            let (expected, masked) = pair.check_block(&text);
            prop_assert_eq!(pair.stream(&plan, &cut(&text, &sizes), &masked), expected);
            pair.check_watch(&text, &cut(&text, &sizes));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// A watched rule is reported wherever it matches, and masking does not change for it.
#[test]
fn watching_and_masking_do_not_disturb_each_other() {
    let pair = tangled();
    let mut half = RuleMask::default();
    pair.scanner
        .all()
        .iter()
        .filter(|rule| rule.0 % 2 == 0)
        .for_each(|rule| half.insert(rule));
    let masking_only = Plan {
        mask: half.clone(),
        watch: pair.scanner.none(),
    };
    let both = Plan {
        mask: half.clone(),
        watch: pair.scanner.all(),
    };
    runner(CHEAP_CASES)
        .run(&"[abcé ]{0,30}", |text| {
            let mut each = pair.oracle.find_each(&text);
            each.sort_unstable_by_key(|m| (m.start, m.rule));
            let mut told = Vec::new();
            let masked = mask_text(&pair.scanner, &both, &key(), &text, &mut |m| told.push(m));
            let alone = mask_text(&pair.scanner, &masking_only, &key(), &text, &mut |_| {});
            prop_assert_eq!(&masked, &alone);
            told.sort_unstable_by_key(|m| (m.start, m.rule));
            prop_assert_eq!(&told, &each);
            let expected = masked.as_deref().unwrap_or(&text);
            prop_assert_eq!(pair.stream(&both, &chars(&text), expected), each);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
