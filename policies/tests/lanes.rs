//! The lanes that decode, against an oracle that never decodes: it knows what a text says because
//! it wrote it.
//!
//! A text is made of characters, each written in one of many ways. From that follow D, what the
//! text says, and where in the text T every character of D stands. The slow oracle of the plain
//! lane finds the matches in T and in D, and the definition in the documentation of the lane puts
//! them together. Against that: blocks, every two-way split, single characters, and random cuts.

mod oracle;

use oracle::{Oracle, compile, pack, shipped_rules};
use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::Rule;
use penstock_policies::scan::{Match, Scanner};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

fn key() -> MaskKey {
    MaskKey::new([9; 32])
}

/// The ways to write a character that are told apart by number; 0 is as it is.
const WAYS: usize = 18;

/// One character in one of the ways; what is written before it is invisible.
fn write_char(c: char, way: usize) -> (&'static str, String) {
    let code = u32::from(c);
    let as_is = || c.to_string();
    let letter_or = |upper: u32, lower: u32, digit: u32| match c {
        'A'..='Z' => char::from_u32(upper + code - 0x41).unwrap_or(c).to_string(),
        'a'..='z' => char::from_u32(lower + code - 0x61).unwrap_or(c).to_string(),
        '0'..='9' => char::from_u32(digit + code - 0x30).unwrap_or(c).to_string(),
        _ => c.to_string(),
    };
    let alike = |c: char| {
        let (latin, others) = ("ABCEHKMOPTXYaceopxyijs", "АВСЕНКМОРТХУасеорхуіјѕ");
        let at = latin.find(c)?;
        others.chars().nth(at)
    };
    if !c.is_ascii() || way == 0 {
        return ("", as_is());
    }
    match way {
        1 => ("", format!("\\u{code:04x}")),
        2 => ("", format!("\\u{code:04X}")),
        3 => ("", format!("\\x{code:02x}")),
        4 => ("", format!("&#{code};")),
        5 => ("", format!("&#x{code:X};")),
        6 => ("", format!("%{code:02X}")),
        7 => ("", format!("\\\\u{code:04x}")),
        8 => ("", format!("%25{code:02x}")),
        9 => ("", format!("&amp;#{code};")),
        10 => ("", format!("%5cu{code:04x}")),
        11 if ('!'..='~').contains(&c) => (
            "",
            char::from_u32(code + 0xFEE0).map_or(as_is(), String::from),
        ),
        12 if (' '..='~').contains(&c) => (
            "",
            char::from_u32(code + 0xE_0000).map_or(as_is(), String::from),
        ),
        13 => ("", letter_or(0x1_D400, 0x1_D41A, 0x1_D7CE)),
        14 => ("", alike(c).map_or(as_is(), String::from)),
        15 => ("\u{200B}", as_is()),
        16 => ("\u{FE0F}\u{202E}", as_is()),
        17 => ("\u{200D}", format!("\\u{code:04x}")),
        _ => ("", as_is()),
    }
}

/// A text with what it says.
#[derive(Debug, Default)]
struct Written {
    /// T.
    raw: String,
    /// D.
    said: String,
    /// By byte of D, where its character begins and ends in T.
    places: Vec<(usize, usize)>,
    /// By byte of D, how often its character must be undone.
    depths: Vec<usize>,
}

impl Written {
    fn new(text: &str, mut way: impl FnMut(usize, char) -> usize) -> Written {
        let mut written = Written::default();
        for (index, c) in text.chars().enumerate() {
            let way = way(index, c);
            let (before, encoded) = write_char(c, way);
            written.raw.push_str(before);
            let start = written.raw.len();
            written.raw.push_str(&encoded);
            written.said.push(c);
            let deep = matches!(way, 7..=10) && encoded.len() > 1;
            let depth = usize::from(encoded.len() > 1) + usize::from(deep);
            written.depths.extend([depth].repeat(c.len_utf8()));
            let place = (start, written.raw.len());
            // Characters that stand for themselves are as many bytes in both.
            for byte in 0..c.len_utf8() {
                let own = (start + byte, start + byte + 1);
                let itself = place.1 - place.0 == c.len_utf8();
                written.places.push(if itself { own } else { place });
            }
        }
        written
    }

    fn raw_of(&self, found: &Match) -> (usize, usize) {
        (self.places[found.start].0, self.places[found.end - 1].1)
    }

    /// The mark with which a match begins stays, and what makes it literal follows.
    fn kept(&self, found: &Match) -> (usize, String) {
        let place = self.places[found.start].0;
        let depth = self.depths[found.start];
        let times = depth + usize::from(self.said[found.start..].starts_with(['\\', '%', '&']));
        match self.raw.as_bytes()[place] {
            b'\\' => {
                let kept = if self.raw[place..].starts_with(r"\\") {
                    2
                } else {
                    1
                };
                (kept, "\\".repeat((1 << times.min(2)) - kept))
            }
            b'%' => (1, "25".repeat(times.min(2))),
            b'&' => (1, "amp;".repeat(times.min(2))),
            _ => (0, String::new()),
        }
    }
}

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

    fn mask_all(&self) -> Plan {
        Plan {
            mask: self.scanner.all(),
            watch: self.scanner.none(),
        }
    }

    fn watch_all(&self) -> Plan {
        Plan {
            mask: self.scanner.none(),
            watch: self.scanner.all(),
        }
    }

    /// M(T): both lanes' matches, put together as defined.
    fn expected(&self, text: &Written) -> String {
        let mut items: Vec<(usize, usize, usize, String)> = Vec::new();
        let plain = self.oracle.find(&text.raw);
        for m in &plain {
            let replacement = self.oracle.replacement(m, &text.raw, &key());
            items.push((m.start, 0, m.end, replacement));
        }
        let is_free = |at: usize| {
            let raw = text.places[at].0;
            !plain.iter().any(|m| (m.start..m.end).contains(&raw))
        };
        for m in self.oracle.find_where(&text.said, &is_free) {
            let (start, end) = text.raw_of(&m);
            let (kept, literal) = text.kept(&m);
            let replacement = self.oracle.replacement(&m, &text.said, &key());
            items.push((start, kept, end, literal + &replacement));
        }
        items.sort_by_key(|item| item.0);
        let (mut masked, mut at) = (String::new(), 0);
        for (start, kept, end, replacement) in items {
            let begin = start + kept;
            if end <= at.max(begin) {
                continue;
            }
            if at < begin {
                masked.push_str(&text.raw[at..begin]);
            }
            masked.push_str(&replacement);
            at = end;
        }
        masked.push_str(&text.raw[at..]);
        masked
    }

    fn expected_reports(&self, text: &Written) -> Vec<(usize, usize, u16)> {
        let plain = self.oracle.find_each(&text.raw);
        let is_free = |rule: usize, at: usize| {
            let raw = text.places[at].0;
            let covers =
                |m: &&Match| usize::from(m.rule.0) == rule && (m.start..m.end).contains(&raw);
            plain.iter().find(covers).is_none()
        };
        let said = self.oracle.find_each_where(&text.said, &is_free);
        let plain = plain.iter().map(|m| (m.start, m.end, m.rule.0));
        let said = said.iter().map(|m| {
            let (start, end) = text.raw_of(m);
            (start, end, m.rule.0)
        });
        let mut all: Vec<_> = plain.chain(said).collect();
        all.sort_unstable();
        all
    }

    fn stream(&self, plan: &Plan, pieces: &[&str], masked: &str) -> Vec<(usize, usize, u16)> {
        let mut channel = Channel::new();
        let (mut found, mut sent) = (Vec::new(), String::new());
        for piece in pieces {
            let on_match = &mut |m: Match| found.push((m.start, m.end, m.rule.0));
            channel.push(&self.scanner, plan, &key(), piece, on_match, &mut sent);
            assert!(
                masked.starts_with(&sent),
                "sent {sent:?}\nof   {masked:?}\nin   {pieces:?}"
            );
            assert!(channel.held_bytes() <= 12 * 4096 + piece.len());
        }
        let on_match = &mut |m: Match| found.push((m.start, m.end, m.rule.0));
        channel.finish(&self.scanner, plan, &key(), on_match, &mut sent);
        assert_eq!(sent, masked, "in {pieces:?}");
        found.sort_unstable();
        found
    }

    fn check(&self, text: &Written, cuts: &[Vec<&str>]) {
        let masked = self.expected(text);
        let block = mask_text(
            &self.scanner,
            &self.mask_all(),
            &key(),
            &text.raw,
            &mut |_| {},
        );
        assert_eq!(
            block.as_deref().unwrap_or(&text.raw),
            masked,
            "in {:?}",
            text.raw
        );
        let plan = self.mask_all();
        for pieces in cuts {
            self.stream(&plan, pieces, &masked);
        }
    }

    fn check_reports(&self, text: &Written, cuts: &[Vec<&str>]) {
        let expected = self.expected_reports(text);
        let plan = self.watch_all();
        for pieces in cuts {
            assert_eq!(
                self.stream(&plan, pieces, &text.raw),
                expected,
                "in {pieces:?}"
            );
        }
    }
}

fn chars(text: &str) -> Vec<&str> {
    text.split("").filter(|c| !c.is_empty()).collect()
}

fn two_way(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let at = text.char_indices().map(|(at, _)| at);
    at.map(|at| vec![&text[..at], &text[at..]])
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

/// A number sequence that looks random and is the same each time.
fn random(seed: usize) -> impl FnMut() -> usize {
    let mut state = seed as u64 ^ 0x9E37_79B9_7F4A_7C15;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    }
}

/// An example of every shipped rule, in a sentence.
fn examples() -> impl Iterator<Item = (Rule, String)> {
    // What is escaped already says something else than it shows.
    let is_plain = |example: &&String| {
        example.len() < 200 && example.is_ascii() && !example.contains(['\\', '%', '&'])
    };
    shipped_rules().into_iter().filter_map(move |rule| {
        let example = rule.matches().iter().find(is_plain)?;
        let sentence = format!("Größe: see {example} and so on.");
        // Some examples are lines of their own, and nothing within a sentence.
        let scanner = Scanner::compile(vec![rule.clone()]).expect("is shipped");
        let found = !scanner.find(&scanner.all(), &sentence).is_empty();
        found.then(|| (rule.clone(), sentence))
    })
}

/// Every shipped rule, its example written in three of the ways, which take turns: whole, and a
/// character here and there.
#[test]
fn every_shipped_rule_sees_through_ways_of_writing() {
    for (seed, (rule, sentence)) in examples().enumerate() {
        let pair = Pair::new(vec![rule.clone()]);
        let mut next = random(seed);
        for way in (1..WAYS).filter(|way| (way + seed).is_multiple_of(6)) {
            let whole = Written::new(&sentence, |_, _| way);
            let some = Written::new(
                &sentence,
                |_, _| if next().is_multiple_of(3) { way } else { 0 },
            );
            for text in [whole, some] {
                let size = next() % 9 + 1;
                let cuts = [cut(&text.raw, &[size, 3, 11])];
                pair.check(&text, &cuts);
                let masked = pair.expected(&text);
                assert_ne!(
                    masked,
                    text.raw,
                    "{}: way {way} hides {sentence}",
                    rule.id()
                );
            }
        }
    }
}

/// A sample of them at every split, with ways mixed, masked and reported.
#[test]
fn a_sample_at_every_split() {
    for (seed, (rule, sentence)) in examples()
        .enumerate()
        .filter(|(seed, _)| seed.is_multiple_of(29))
    {
        let pair = Pair::new(vec![rule]);
        let mut next = random(seed);
        let text = Written::new(&sentence, |_, _| {
            if next().is_multiple_of(2) {
                next() % WAYS
            } else {
                0
            }
        });
        let mut cuts: Vec<_> = two_way(&text.raw).collect();
        cuts.push(chars(&text.raw));
        pair.check(&text, &cuts);
        pair.check_reports(&text, &cuts);
    }
}

/// Rules that get in each other's way; see the tests of the plain lane.
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

const CHEAP_CASES: u32 = 600;

fn runner(cases: u32) -> TestRunner {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let cases = number("PROPTEST_CASES").map_or(cases, |n| n as u32);
    let seed = number("PROPTEST_RNG_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    });
    println!("replay with PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn tangled_rules_in_texts_written_at_random() {
    let pair = tangled();
    let each = prop::collection::vec(
        (
            prop::sample::select(vec!['a', 'b', 'c', 'A', 'é', ' ', '\n']),
            0..3 * WAYS,
        ),
        0..40,
    );
    let cuts = prop::collection::vec(1_usize..9, 1..9);
    runner(CHEAP_CASES)
        .run(&(each, cuts), |(each, sizes)| {
            let text: String = each.iter().map(|(c, _)| *c).collect();
            // Most characters as they are, so that the lane falls asleep and is woken.
            let text = Written::new(&text, |index, _| each[index].1.saturating_sub(2 * WAYS));
            let cuts = [cut(&text.raw, &sizes), chars(&text.raw)];
            pair.check(&text, &cuts);
            pair.check_reports(&text, &cuts);
            Ok(())
        })
        .expect("holds");
}

/// The same with long stretches between, so that the lane sleeps and text is let go.
#[test]
fn tangled_rules_far_apart() {
    let pair = tangled();
    let each = prop::collection::vec(
        (
            prop::sample::select(vec!['a', 'b', 'c', 'A', 'é', ' ']),
            0..3 * WAYS,
            0_usize..400,
        ),
        0..14,
    );
    let cuts = prop::collection::vec(1_usize..200, 1..9);
    runner(CHEAP_CASES / 10)
        .run(&(each, cuts), |(each, sizes)| {
            let mut ways = Vec::new();
            let mut text = String::new();
            for (c, way, gap) in &each {
                let gap = if *way % 5 == 0 { *gap } else { 0 };
                text.extend(std::iter::repeat_n('-', gap));
                ways.extend(std::iter::repeat_n(0, gap));
                text.push(*c);
                ways.push(way.saturating_sub(2 * WAYS));
            }
            let text = Written::new(&text, |index, _| ways[index]);
            let cuts = [cut(&text.raw, &sizes)];
            pair.check(&text, &cuts);
            pair.check_reports(&text, &cuts);
            Ok(())
        })
        .expect("holds");
}

const BENIGN: [&str; 7] = [
    "It's 100% true — “really” — that the naïve café's R&D (since 1998…) isn't finished; see §4.",
    "今天天气很好，我们去公园吧。他说：“好的！”（价格是３００元）",
    "Привет, как дела? Это просто текст о погоде, и ничего больше.",
    "let s = \"a\\tb\\n\"; let re = r\"\\d+\\s*\\w\"; if a && b || c & d == 0 { x %= 3; }",
    "{\"a\":\"line\\nbreak \\u00e9\\u4e2d \\\"quoted\\\"\",\"path\":\"C:\\\\dir\\\\new\"}",
    "https://example.org/a%20b?q=%E4%B8%AD%E6%96%87&amp;x=1&y=2%2B3",
    "<p>5 &lt; 6 &amp;&amp; &quot;x&quot; &nbsp; &#8217;s &copy; 👨‍👩‍👧 ❤️</p>",
];

#[test]
fn benign_text_stays_as_it_is() {
    let scanner = compile(shipped_rules());
    let plan = Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    };
    for text in BENIGN {
        assert_eq!(
            mask_text(&scanner, &plan, &key(), text, &mut |_| {}),
            None,
            "{text}"
        );
        for cut_size in [1, 3, 7] {
            let mut channel = Channel::new();
            let mut sent = String::new();
            for piece in cut(text, &[cut_size]) {
                channel.push(&scanner, &plan, &key(), piece, &mut |_| {}, &mut sent);
            }
            channel.finish(&scanner, &plan, &key(), &mut |_| {}, &mut sent);
            assert_eq!(sent, text);
        }
    }
}

#[test]
fn hostile_escapes_hold_little_and_end() {
    let scanner = compile(shipped_rules());
    let plan = Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    };
    let hostile = [
        "\\".repeat(100_000),
        "%".repeat(100_000),
        "&".repeat(100_000),
        "%25".repeat(40_000),
        "&amp;".repeat(30_000),
        "\u{200B}".repeat(40_000),
        format!("%4{}", "\u{200B}".repeat(40_000)),
        "\\u".repeat(50_000),
        "\\ud83d".repeat(20_000),
        "&#0".repeat(40_000),
        "⑳".repeat(30_000),
    ];
    for text in &hostile {
        let mut channel = Channel::new();
        let mut sent = String::new();
        for piece in cut(text, &[61]) {
            channel.push(&scanner, &plan, &key(), piece, &mut |_| {}, &mut sent);
            assert!(
                channel.held_bytes() <= 512,
                "{} of {:?}",
                channel.held_bytes(),
                &text[..text.floor_char_boundary(9)]
            );
        }
        channel.finish(&scanner, &plan, &key(), &mut |_| {}, &mut sent);
        assert_eq!(&sent, text);
    }
}

/// What is held when time is up is masked, and what follows of it is swallowed.
#[test]
fn expiry_masks_what_is_held_encoded() {
    let scanner = compile(pack(&[r"regex = '\bCUST-[0-9]{8}\b'"]));
    let plan = Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    };
    let mut channel = Channel::new();
    let mut sent = String::new();
    let nothing = &mut |_| {};
    channel.push(
        &scanner,
        &plan,
        &key(),
        "order CU\\u0053T-12",
        nothing,
        &mut sent,
    );
    assert_eq!(sent, "order ");
    assert!(channel.held_bytes() > 0);
    channel.expire(&scanner, &plan, &key(), nothing, &mut sent);
    assert_eq!(
        (sent.as_str(), channel.held_bytes()),
        ("order [masked:r0]", 0)
    );
    channel.push(
        &scanner,
        &plan,
        &key(),
        "&#51;45678 and CUST-87654321.",
        nothing,
        &mut sent,
    );
    channel.push(&scanner, &plan, &key(), " 100%4", nothing, &mut sent);
    assert_eq!(sent, "order [masked:r0] and [masked:r0]. 100%");
    channel.expire(&scanner, &plan, &key(), nothing, &mut sent);
    assert_eq!(sent, "order [masked:r0] and [masked:r0]. 100%4");
    channel.push(&scanner, &plan, &key(), " x", nothing, &mut sent);
    channel.finish(&scanner, &plan, &key(), nothing, &mut sent);
    assert_eq!(sent, "order [masked:r0] and [masked:r0]. 100%4 x");
}
