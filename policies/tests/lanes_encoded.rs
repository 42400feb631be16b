//! The lane that reads base64 and hexadecimal runs: what it finds, what it leaves, and that pieces
//! change nothing.

mod oracle;
mod support;

use base64::prelude::{
    BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _,
};
use oracle::{compile, pack, shipped_rules};
use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::scan::{Lane, Match, Scanner};
use penstock_policies::{Action, Direction};
use support::{everyone, load, write};

fn key() -> MaskKey {
    MaskKey::new([9; 32])
}

fn mask_all(scanner: &Scanner) -> Plan {
    Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
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

/// The block, and that streams agree with it, in what is sent and in what is told.
fn agree(scanner: &Scanner, text: &str, cuts: &[Vec<&str>]) -> String {
    let watch_all = Plan {
        mask: scanner.none(),
        watch: scanner.all(),
    };
    assert_eq!(agree_on(scanner, &watch_all, text, cuts), text);
    // One rule that is found is masked, and all are reported.
    let mut mask = scanner.none();
    mask_text(scanner, &watch_all, &key(), text, &mut |m: Match| {
        mask = scanner.none();
        mask.insert(m.rule);
    });
    let both = Plan {
        mask,
        watch: scanner.all(),
    };
    agree_on(scanner, &both, text, cuts);
    agree_on(scanner, &mask_all(scanner), text, cuts)
}

fn agree_on(scanner: &Scanner, plan: &Plan, text: &str, cuts: &[Vec<&str>]) -> String {
    let mut told = Vec::new();
    let masked = mask_text(scanner, plan, &key(), text, &mut |m: Match| told.push(m));
    let masked = masked.unwrap_or_else(|| text.to_owned());
    told.sort_unstable();
    for pieces in cuts {
        let mut channel = Channel::new();
        let (mut found, mut sent) = (Vec::new(), String::new());
        for piece in pieces {
            let before = sent.len();
            channel.push(
                scanner,
                plan,
                &key(),
                piece,
                &mut |m| found.push(m),
                &mut sent,
            );
            assert!(
                masked.as_bytes()[before..].starts_with(&sent.as_bytes()[before..]),
                "sent {sent:?}\nof   {masked:?}\nin   {pieces:?}"
            );
        }
        channel.finish(scanner, plan, &key(), &mut |m| found.push(m), &mut sent);
        assert_eq!(sent, masked, "in {pieces:?}");
        found.sort_unstable();
        assert_eq!(found, told, "in {pieces:?}");
    }
    masked
}

fn every_split(text: &str) -> Vec<Vec<&str>> {
    let mut cuts: Vec<Vec<&str>> = (0..text.len())
        .filter(|at| text.is_char_boundary(*at))
        .map(|at| vec![&text[..at], &text[at..]])
        .collect();
    cuts.extend([1, 2, 3, 5, 7, 13].map(|size| cut(text, &[size])));
    cuts
}

fn customers() -> Scanner {
    compile(pack(&[r"regex = '\bCUST-[0-9]{8}\b'"]))
}

const SECRET: &str = "CUST-12345678";

#[test]
fn what_runs_say_is_masked_at_every_split() {
    let scanner = customers();
    let inner = format!("order number {SECRET} of today");
    let twice = BASE64_STANDARD.encode(BASE64_STANDARD.encode(&inner));
    let lines = BASE64_STANDARD.encode(format!("{inner}, and {inner}, and so on"));
    let lines: Vec<&str> = cut(&lines, &[76]);
    let codes = [
        BASE64_STANDARD.encode(&inner),
        BASE64_STANDARD.encode(format!("1{inner}")),
        BASE64_STANDARD.encode(format!("12{inner}")),
        format!("x{}", BASE64_STANDARD_NO_PAD.encode(&inner)),
        format!("dir/{}", BASE64_URL_SAFE_NO_PAD.encode(&inner)),
        BASE64_STANDARD.encode(format!("密码密码 {SECRET} 密码")),
        hex(&inner),
        hex(&inner).to_uppercase(),
        format!("f{}", hex(&inner)),
        twice,
        lines.join("\n"),
        lines.join("\r\n"),
    ];
    for code in &codes {
        let text = format!("Here is what they sent: {code}, and that was all. {SECRET}.");
        let masked = agree(&scanner, &text, &every_split(&text));
        let count = masked.matches("[masked:r0]").count();
        assert!(count >= 2, "{masked}");
        assert!(
            masked.ends_with(", and that was all. [masked:r0]."),
            "{masked}"
        );
    }
}

/// A run that is a secret from its beginning shows no more of it than made it hot.
#[test]
fn little_stays_of_a_run_that_is_a_secret() {
    let scanner = customers();
    let text = format!("a {} b", BASE64_STANDARD.encode(SECRET));
    assert_eq!(
        agree(&scanner, &text, &every_split(&text)),
        "a Q1VTVC0x[masked:r0]== b"
    );
    let text = format!("a {} b", hex(SECRET));
    assert_eq!(
        agree(&scanner, &text, &every_split(&text)),
        "a 435553542d31[masked:r0] b"
    );
}

#[test]
fn findings_say_that_it_was_encoded() {
    let scanner = customers();
    let plan = Plan {
        mask: scanner.none(),
        watch: scanner.all(),
    };
    let code = BASE64_STANDARD.encode(format!("order {SECRET}"));
    let text = format!("see {code}");
    let mut found = Vec::new();
    mask_text(&scanner, &plan, &key(), &text, &mut |m: Match| {
        found.push(m)
    });
    let [found] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (found.lane, found.start, found.end),
        (Lane::Blob, 12, text.len() - 2)
    );
}

/// A guard that blocks requests sees it, and says in which lane.
#[test]
fn requests_are_refused_for_what_runs_say() {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    let grant = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";
    let guard = "[[guard]]\nname = \"g\"\ndirection = \"request\"\npacks = [\"own\"]\n\
                 action = \"block\"\n";
    let rule = "[[rule]]\nid = \"customer\"\ndescription = \"d\"\n\
                regex = '\\bCUST-[0-9]{8}\\b'\nmatches = [\"CUST-12345678\"]\nmisses = [\"C\"]\n";
    write(dir.path(), "main.toml", &format!("{grant}{guard}"));
    write(dir.path(), "packs/own.toml", rule);
    let policy = load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
    for code in [
        BASE64_STANDARD.encode(SECRET),
        BASE64_URL_SAFE_NO_PAD.encode(format!("?>?>{SECRET}")),
        hex(SECRET),
    ] {
        let text = format!("see {code}.");
        let verdict = policy.inspect_text(
            &policy.scope(&everyone()),
            Direction::Request,
            "query",
            &text,
        );
        assert_eq!(verdict.action, Action::Block, "{text}");
        assert_eq!(verdict.findings[0].lane, Lane::Blob, "{text}");
    }
}

/// Runs of every kind one after the other, at random, among text: pieces change nothing.
#[test]
fn random_runs_at_random_cuts() {
    let scanner = compile(pack(&[
        r"regex = '\bCUST-[0-9]{8}\b'",
        r"regex = 'ab+c' max_len = 9",
        r"regex = '[0-9]{4}' after = 'pin: '",
        r"regex = '<<' region = { end = '>>', max = 60 }",
    ]));
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    let words = [
        SECRET,
        "abbbc",
        "pin: 1234",
        "<<secret>>",
        "<<",
        "hello world ",
        " ",
        "1",
        "xy",
        "密码",
        "\n",
        "order number ",
        ">>",
    ];
    for _ in 0..8000 {
        let mut text = String::new();
        for _ in 0..next(5) + 1 {
            let inner: String = (0..next(6) + 1).map(|_| words[next(words.len())]).collect();
            text.push_str(&match next(8) {
                0 => inner,
                1 => BASE64_STANDARD.encode(inner),
                2 => BASE64_URL_SAFE_NO_PAD.encode(inner),
                3 => hex(&inner),
                4 => BASE64_STANDARD.encode(BASE64_STANDARD.encode(inner)),
                5 => cut(&BASE64_STANDARD.encode(inner), &[20]).join("\n"),
                6 => BASE64_STANDARD.encode(inner).replace('/', "\\/"),
                _ => hex(&BASE64_STANDARD.encode(inner)),
            });
            text.push_str(["", " ", ", ", "\n", "-", "%", "…"][next(7)]);
        }
        let cuts: Vec<Vec<&str>> = (0..4)
            .map(|_| cut(&text, &[next(9) + 1, next(20) + 1, next(3) + 1]))
            .collect();
        agree(&scanner, &text, &cuts);
    }
}

/// What cannot be decided within the bound is masked, wherever the pieces end.
#[test]
fn long_runs_are_held_within_bounds() {
    let scanner = compile(pack(&[
        r"regex = 'key=[a-z]{8,4000}!'",
        r"regex = '<<' region = { end = '>>', max = 60000 }",
        r"regex = '[0-9]{4}'",
    ]));
    let plan = mask_all(&scanner);
    let long = format!("hello, key={} 1234 and", "abc".repeat(1300));
    let region = format!("hello, << {} >> 1234 and", "abc ".repeat(3000));
    let inner = [&long, &region, &format!("{long}{region}{long}")].map(String::clone);
    for inner in inner {
        let codes = [
            BASE64_STANDARD.encode(&inner),
            hex(&inner),
            cut(&BASE64_STANDARD.encode(&inner), &[76]).join("\r\n"),
            BASE64_STANDARD.encode(hex(&inner)),
            hex(&hex(&inner)),
        ];
        for code in codes {
            let text = format!("It says {code} 5678 and {}", "\n".repeat(5000));
            let sizes = [&[1][..], &[4000, 3], &[700], &[90, 2, 5], &[5000]];
            agree(&scanner, &text, &sizes.map(|sizes| cut(&text, sizes)));
            let mut channel = Channel::new();
            for piece in cut(&text, &[5]) {
                channel.push(
                    &scanner,
                    &plan,
                    &key(),
                    piece,
                    &mut |_| {},
                    &mut String::new(),
                );
                assert!(channel.held_bytes() <= 4096, "{}", channel.held_bytes());
            }
        }
    }
}

/// Line ends without end do not keep a run waiting.
#[test]
fn line_ends_end_a_run() {
    let scanner = customers();
    let code = BASE64_STANDARD.encode("order CUST-1234");
    let text = format!("{code}{}5678", "\n".repeat(9000));
    assert_eq!(agree(&scanner, &text, &[cut(&text, &[7])]), text);
}

#[test]
fn ids_and_pictures_stay_and_are_not_held() {
    let scanner = compile(shipped_rules());
    let plan = mask_all(&scanner);
    let noise: String = (0..4000_u32)
        .map(|n| {
            let value = n.wrapping_mul(2_654_435_761) >> 20 & 63;
            char::from(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[value as usize],
            )
        })
        .collect();
    let texts = [
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 of today"
            .to_owned(),
        "id 550e8400-e29b-41d4-a716-446655440000, camelCaseIdentifiersAreLongButHarmless"
            .to_owned(),
        format!("data:image/png;base64,{noise}"),
        format!(
            "the file says {}",
            BASE64_STANDARD.encode("a benign text that says nothing at all")
        ),
    ];
    for text in &texts {
        let mut channel = Channel::new();
        let mut sent = String::new();
        for piece in cut(text, &[4]) {
            channel.push(&scanner, &plan, &key(), piece, &mut |_| {}, &mut sent);
            assert!(channel.held_bytes() < 200, "{}", channel.held_bytes());
        }
        channel.finish(&scanner, &plan, &key(), &mut |_| {}, &mut sent);
        assert_eq!(&sent, text);
    }
}
