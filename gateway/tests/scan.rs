//! `penstock-gateway scan`: the real program over files, folders and standard input.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PACK: &str = r"
[[rule]]
id = 'acme-customer'
description = 'ACME customer number'
regex = '\bCUST-[0-9]{8}\b'
matches = ['CUST-12345674']
misses = ['CUST-1']

[[rule]]
id = 'acme-order'
description = 'ACME order number'
regex = '\bORD-[0-9]{4}\b'
matches = ['ORD-1234']
misses = ['ORD-1']
";

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn finish(output: &Output) -> Run {
    Run {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout.clone()).expect("UTF-8"),
        err: String::from_utf8(output.stderr.clone()).expect("UTF-8"),
    }
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"));
    command.arg("scan").args(arguments).current_dir(dir);
    command
}

fn scan(dir: &Path, arguments: &[&str]) -> Run {
    finish(&command(dir, arguments).output().expect("it runs"))
}

fn scan_stdin(dir: &Path, arguments: &[&str], input: &[u8]) -> Run {
    let mut child = command(dir, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Who finds fault with his command line goes without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    finish(&child.wait_with_output().expect("it ends"))
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    dir
}

fn objects(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

#[test]
fn findings_have_places_and_no_values() {
    let text = "nothing\né CUST-12345674, ORD-1234\nCUST-00000000";
    let dir = folder(&[("acme.toml", PACK.as_bytes()), ("a.txt", text.as_bytes())]);
    let run = scan(dir.path(), &["--rules", "acme.toml", "a.txt"]);
    assert_eq!(run.code, 1, "{}", run.err);
    let expected = "a.txt:2:3 acme-customer (acme, high)\n\
                    a.txt:2:18 acme-order (acme, high)\n\
                    a.txt:3:1 acme-customer (acme, high)\n";
    assert_eq!(run.out, expected);
    assert!(
        run.err.contains("3 findings of 2 rules in 1 file"),
        "{}",
        run.err
    );

    let run = scan(dir.path(), &["--rules", "acme.toml", "--json", "a.txt"]);
    assert_eq!(run.code, 1);
    let found = objects(&run.out);
    assert_eq!(found.len(), 3);
    let keys: Vec<&String> = found[0].as_object().expect("an object").keys().collect();
    let wanted = [
        "file",
        "line",
        "column",
        "start",
        "end",
        "rule",
        "pack",
        "confidence",
        "lane",
    ];
    assert_eq!(keys, wanted);
    for one in &found {
        let at = |key: &str| one[key].as_u64().expect("a number") as usize;
        assert!(text[at("start")..at("end")].starts_with(['C', 'O']));
    }
    assert!(!run.out.contains("12345674"));
}

#[test]
fn findings_below_a_confidence_are_left_out() {
    let pack = PACK.replace("id = 'acme-order'", "id = 'acme-order'\nconfidence = 'low'");
    let dir = folder(&[
        ("acme.toml", pack.as_bytes()),
        ("a.txt", b"ORD-1234 CUST-12345674"),
    ]);
    let lines = |level: &[&str]| {
        let arguments = [&["--rules", "acme.toml", "a.txt"], level].concat();
        let run = scan(dir.path(), &arguments);
        (run.code, run.out)
    };
    let high = "a.txt:1:10 acme-customer (acme, high)\n";
    let low = "a.txt:1:1 acme-order (acme, low)\n";
    assert_eq!(lines(&[]), (1, format!("{low}{high}")));
    assert_eq!(lines(&["--min-confidence", "medium"]), (1, high.to_owned()));
    assert_eq!(lines(&["--min-confidence", "none"]), (2, String::new()));
}

const LEAKS: &str = "
[[rules]]
id = 'acme'
regex = 'key=([a-z]{8})(?:;|$)'
tags = ['x']
[[rules]]
id = 'file'
path = 'x'
";

const PEOPLE: &str = r"
recognizers:
- name: Zip
  supported_entity: ZIP
  patterns:
  - {name: z, regex: '\bZ\d{5}\b', score: 0.5}
";

#[test]
fn files_of_other_programs_are_rules_and_what_is_lost_is_said() {
    let dir = folder(&[
        ("packs/leaks.toml", LEAKS.as_bytes()),
        ("packs/people.yaml", PEOPLE.as_bytes()),
        ("a.txt", b"key=abcdefgh; z12345"),
    ]);
    let run = scan(dir.path(), &["--policies", "packs", "a.txt"]);
    assert_eq!(run.code, 1, "{}", run.err);
    let expected = "a.txt:1:5 acme (leaks, high)\na.txt:1:15 zip (people, medium)\n";
    assert_eq!(run.out, expected);
    for told in [
        "pack leaks: 0 rules as they were, 1 not wholly, 1 not at all",
        "pack leaks: ignored: `tags`: acme",
        "pack leaks: refused: `path` alone",
    ] {
        assert!(run.err.contains(told), "{}", run.err);
    }
}

#[test]
fn context_shows_the_line_without_any_value() {
    let text = "pay CUST-12345674 for ORD-1234 now\n";
    let dir = folder(&[("acme.toml", PACK.as_bytes()), ("a.txt", text.as_bytes())]);
    let arguments = [
        "--rules",
        "acme.toml",
        "--rule",
        "acme-order",
        "--context",
        "a.txt",
    ];
    let run = scan(dir.path(), &arguments);
    assert_eq!(
        run.out,
        "a.txt:1:23 acme-order (acme, high)\n    \
         pay [masked:acme-customer] for [masked:acme-order] now\n"
    );
}

#[test]
fn standard_input_is_read_when_nothing_is_named() {
    let dir = folder(&[("acme.toml", PACK.as_bytes())]);
    for arguments in [
        &["--rules", "acme.toml"][..],
        &["--rules", "acme.toml", "-"],
    ] {
        let run = scan_stdin(dir.path(), arguments, b"x ORD-1234");
        assert_eq!(
            (run.code, run.out.as_str()),
            (1, "-:1:3 acme-order (acme, high)\n")
        );
        assert_eq!(scan_stdin(dir.path(), arguments, b"x").code, 0);
    }
}

#[test]
fn bytes_that_are_no_text_are_scanned_around_and_said() {
    let dir = folder(&[
        ("acme.toml", PACK.as_bytes()),
        ("bin", b"\xFF\xFE\x00\xD8ORD\xC3\x28 \x80ORD-1234\xFF"),
        ("latin", b"caf\xE9 ORD-1234\n\0"),
    ]);
    let run = scan(dir.path(), &["--rules", "acme.toml", "--json", "latin"]);
    assert_eq!(run.code, 1);
    assert_eq!(objects(&run.out)[0]["start"], 5);
    assert_eq!(objects(&run.out)[0]["end"], 13);
    assert!(run.err.contains("latin: not UTF-8"), "{}", run.err);
    let run = scan(dir.path(), &["--rules", "acme.toml", "bin"]);
    assert!(run.err.contains("bin: UTF-16"), "{}", run.err);

    let wide: Vec<u8> = "\u{FEFF}für ORD-1234"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(dir.path().join("wide"), wide).expect("a file");
    let run = scan(dir.path(), &["--rules", "acme.toml", "--json", "wide"]);
    let found = &objects(&run.out)[0];
    assert_eq!(
        (&found["start"], &found["end"]),
        (&Value::from(10), &Value::from(26))
    );
}

#[test]
fn folders_are_walked_and_what_fails_does_not_hide_the_rest() {
    let dir = folder(&[
        ("acme.toml", PACK.as_bytes()),
        ("src/b/x.txt", b"ORD-1234"),
        ("src/a.txt", b"ORD-1234"),
    ]);
    let run = scan(dir.path(), &["--rules", "acme.toml", "src", "missing"]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.out,
        "src/a.txt:1:1 acme-order (acme, high)\nsrc/b/x.txt:1:1 acme-order (acme, high)\n"
    );
    assert!(run.err.contains("missing: cannot be read"), "{}", run.err);
    assert!(
        run.err.contains("1 argument or file not scanned"),
        "{}",
        run.err
    );
}

#[test]
fn rules_come_from_a_policy_folder_or_from_packs_alone() {
    let grant = b"[[grant]]\ngroups = ['*']\nmodels = ['*']\noperations = ['infer']\n";
    let dir = folder(&[
        ("policy/main.toml", grant),
        ("policy/packs/acme.toml", PACK.as_bytes()),
        ("packs/acme.toml", PACK.as_bytes()),
        ("bare/main.toml", grant),
        ("a.txt", b"ORD-1234"),
    ]);
    let rules = |arguments: &[&str]| {
        let run = scan(dir.path(), &[arguments, &["a.txt"]].concat());
        let count = run.err.rsplit(", ").nth(1).expect("a summary").to_owned();
        (run.code, count)
    };
    assert_eq!(rules(&["--policies", "packs"]), (1, "2 rules".to_owned()));
    assert_eq!(
        rules(&["--policies", "packs/acme.toml"]),
        (1, "2 rules".to_owned())
    );
    let (code, shipped) = rules(&["--policies", "bare"]);
    assert_eq!(code, 0);
    let (code, both) = rules(&["--policies", "policy"]);
    assert_eq!(code, 1);
    assert_ne!(both, shipped);
    assert_eq!(rules(&["--policies", "policy", "--pack", "secrets"]).0, 0);
}

#[test]
fn wrong_rules_and_names_are_usage_errors() {
    let dir = folder(&[
        ("acme.toml", PACK.as_bytes()),
        ("bad.toml", b"[[rule]]\nid = 'x'\nregx = 'x'\n"),
        ("empty/x", b""),
    ]);
    let fails = |arguments: &[&str], wanted: &str| {
        let run = scan_stdin(dir.path(), arguments, b"ORD-1234");
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{arguments:?}");
        assert!(run.err.contains(wanted), "{arguments:?}: {}", run.err);
    };
    fails(&["--rules", "bad.toml"], "bad.toml:3:1: ");
    fails(&["--rules", "none.toml"], "none.toml: cannot be read");
    fails(
        &["--policies", "empty"],
        "neither a policy folder nor a folder of packs",
    );
    fails(
        &["--rules", "acme.toml", "--rule", "acme-ordr"],
        "did you mean \"acme-order\"?",
    );
    fails(
        &["--rules", "acme.toml", "--pack", "acm"],
        "did you mean \"acme\"?",
    );
    fails(
        &["--rules", "acme.toml", "--policies", "."],
        "cannot be used with",
    );
    fails(&["--nonsense"], "unexpected argument");
}

/// What the gateway would see through, the scan sees through, and says how.
#[test]
fn text_is_read_decoded_too() {
    let dir = folder(&[
        ("acme.toml", PACK.as_bytes()),
        (
            "a.txt",
            "see CUST%2D12345674 and \u{200B}CU\u{200B}ST-12345674".as_bytes(),
        ),
    ]);
    let run = scan(dir.path(), &["--rules", "acme.toml", "--json", "a.txt"]);
    let found = objects(&run.out);
    let lanes: Vec<_> = found.iter().map(|one| one["lane"].as_str()).collect();
    assert_eq!(lanes, [Some("escaped"); 2], "{}", run.out);
    assert_eq!(found[0]["start"], 4);
    assert_eq!(found[0]["end"], 19);
}
