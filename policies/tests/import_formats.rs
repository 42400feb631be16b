//! Files of other programs' formats, of our own writing: every feature that they have, and what
//! becomes of it.

use penstock_policies::rule::{Confidence, Format, ImportKind, Imported};
use penstock_policies::scan::Scanner;
use penstock_policies::{Library, PolicySet, PolicySources};

const GITLEAKS: &str = r####"
title = "everything that the format has"
minVersion = "8.0"

[extend]
useDefault = true

[[allowlists]]
description = "for all"
regexes = ['''^\${[A-Z]+}$''', '''(?i)^placeholder''']
stopwords = ["Dummy"]
paths = ['''\.lock$''']

[[allowlists]]
targetRules = ["acme-token"]
stopwords = ["only-acme"]

[[rules]]
id = "acme-token"
description = "A token with its end looked at"
regex = '''\b(acme_[a-z0-9-]{8,20})(?:[\x60'"\s;]|\\[nr]|$)'''
keywords = ["acme_"]
entropy = 2.5

[[rules]]
id = "generic key"
description = "A key near a word"
regex = '''(?i)[\w.-]{0,50}?(?:widget)(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|:)[\x60'"\s=]{0,5}([a-z0-9=]{12})(?:[\x60'"\s;]|$)'''
keywords = ["widget"]

[[rules]]
id = "second_group"
regex = '''(login|pass)=([0-9]{6})'''
secretGroup = 2
[[rules.allowlists]]
regexTarget = "match"
regexes = ['''login=000''']

[[rules]]
id = "either"
regex = '''\b(?:one-([0-9]{4})|two-([a-f]{4}))\b'''

[[rules]]
id = "needs-word"
regex = '''(?:zig_[0-9]{8}|\b[0-9]{10})\b'''
keywords = ["zig_", "ziggurat"]

[[rules]]
id = "block"
regex = '''-----OPEN-----[\s\S]{4,}?-----SHUT-----'''

[[rules]]
id = "strict"
regex = '''strict_[a-z]{8}'''
[[rules.allowlists]]
condition = "AND"
regexes = ['''strict_a''']
paths = ['''^test/''']
[[rules.allowlists]]
condition = "AND"
stopwords = ["sample"]

[[rules]]
id = "in-files"
regex = '''infile_[0-9]{6}'''
path = '''\.ya?ml$'''
tags = ["x"]
mystery = 1
[[rules.required]]
id = "helper"
withinLines = 5

[[rules]]
id = "helper"
regex = '''helper_[0-9]{4}'''
skipReport = true

[[rules]]
id = "a-file"
path = '''\.p12$'''

[[rules]]
id = "filtered"
regex = '''flt_([a-z0-9]{10})'''
validate = "http.get()"
filter = '''
filter.entropy(finding["secret"]) < 2.0
|| matchesAny(finding["secret"], [`^test`]) || containsAny(finding["secret"], ["fake"])
|| attributes["path"] == "x"
'''

[[rules]]
id = "not-ours"
regex = '''(?=look)around'''
"####;

fn gitleaks() -> Imported {
    Format::Gitleaks.read("other", GITLEAKS).expect("it loads")
}

/// What the imported rules find in a text.
fn found<'t>(imported: &Imported, text: &'t str) -> Vec<(String, &'t str)> {
    let scanner = Scanner::compile(imported.pack.rules.clone()).expect("they compile");
    let mut found = Vec::new();
    scanner.find_each(&scanner.all(), text, &mut |it| {
        let id = scanner.rule(it.rule).id().to_owned();
        found.push((id, &text[it.start..it.end]));
    });
    found
}

fn values<'t>(imported: &Imported, text: &'t str) -> Vec<&'t str> {
    found(imported, text)
        .into_iter()
        .map(|(_, value)| value)
        .collect()
}

fn has_note(imported: &Imported, rule: Option<&str>, kind: ImportKind, what: &str) -> bool {
    imported
        .notes
        .iter()
        .any(|note| note.rule.as_deref() == rule && note.kind == kind && note.what.contains(what))
}

#[test]
fn formats_are_told_by_their_shape() {
    let detect = Format::detect;
    assert_eq!(detect("a/x.toml", GITLEAKS), Some(Format::Gitleaks));
    assert_eq!(detect("x.toml", "[[rule]]\nid = 'x'\n"), None);
    assert_eq!(detect("x.toml", " [[ Rules ]] \n"), Some(Format::Gitleaks));
    assert_eq!(detect("x.yaml", ""), Some(Format::Presidio));
    assert_eq!(detect("x.json", "{}"), Some(Format::Presidio));
}

#[test]
fn the_group_is_the_secret_and_what_is_around_it_is_asked_for() {
    let other = gitleaks();
    assert_eq!(values(&other, "x acme_a1b2c3d4e5;"), ["acme_a1b2c3d4e5"]);
    assert_eq!(values(&other, "xacme_a1b2c3d4e5;"), [""; 0]);
    // Entropy must be more than the bound.
    assert_eq!(values(&other, "acme_aaaaaaaaaa"), [""; 0]);
    assert_eq!(
        values(&other, "my widget_key = 'abc123def456'"),
        ["abc123def456"]
    );
    assert_eq!(values(&other, "gadget_key = 'abc123def456'"), [""; 0]);
    assert_eq!(
        values(&other, "login=123456 pass=654321"),
        ["123456", "654321"]
    );
    let either = found(&other, "one-1234 two-abcd");
    let expected = [("either", "1234"), ("either-2", "abcd")];
    assert_eq!(either, expected.map(|(id, value)| (id.to_owned(), value)));
}

#[test]
fn a_keyword_that_is_not_in_the_expression_must_stand_near() {
    let other = gitleaks();
    assert_eq!(values(&other, "zig_12345678"), ["zig_12345678"]);
    assert_eq!(values(&other, "ziggurat: 1234567890"), ["1234567890"]);
    assert_eq!(values(&other, "number: 1234567890"), [""; 0]);
    let (kind, what) = (ImportKind::Approximated, "must stand within 128 bytes");
    assert!(has_note(&other, Some("needs-word"), kind, what));
}

#[test]
fn a_block_is_a_region() {
    let other = gitleaks();
    let block = "-----OPEN-----\nany\nthing\n-----SHUT-----";
    assert_eq!(values(&other, &format!("a {block} b")), [block]);
}

#[test]
fn what_is_not_honoured_is_told() {
    let other = gitleaks();
    use ImportKind::{Approximated, Ignored, Refused};
    for (rule, kind, what) in [
        (None, Ignored, "`extend`"),
        (None, Ignored, "`minVersion`"),
        (None, Ignored, "`paths` of an allow-list"),
        (
            Some("generic key"),
            Approximated,
            "called `generic-key` here",
        ),
        (
            Some("second_group"),
            Approximated,
            "held against the secret alone",
        ),
        (Some("strict"), Ignored, "`paths` of an allow-list"),
        (Some("strict"), Ignored, "several things at once"),
        (Some("block"), Approximated, "region"),
        (Some("in-files"), Approximated, "`path`"),
        (Some("in-files"), Approximated, "`required`"),
        (Some("in-files"), Ignored, "`tags`"),
        (Some("in-files"), Ignored, "`mystery`, which is not known"),
        (Some("helper"), Refused, "`skipReport`"),
        (Some("a-file"), Refused, "`path` alone"),
        (Some("filtered"), Ignored, "`validate`"),
        (Some("filtered"), Ignored, "attributes"),
        (Some("not-ours"), Refused, "look-around"),
    ] {
        assert!(
            has_note(&other, rule, kind, what),
            "{rule:?} {what}: {:#?}",
            other.notes
        );
    }
    assert_eq!(other.counts(), (2, 7, 3), "{:#?}", other.notes);
    assert_eq!(
        values(&other, "helper_1234 infile_123456"),
        ["infile_123456"]
    );
}

#[test]
fn allow_lists_are_kept() {
    let other = gitleaks();
    let allow = |id: &str| {
        let rules = &other.pack.rules;
        let rule = rules.iter().find(|rule| rule.id() == id).expect("there");
        rule.allow().cloned().unwrap_or_default()
    };
    assert_eq!(allow("acme-token").words, ["dummy", "only-acme"]);
    assert_eq!(allow("strict").words, ["dummy", "sample"]);
    let filtered = allow("filtered");
    assert_eq!(filtered.words, ["dummy", "fake"]);
    // One of the file's own, one of the rule's; what needs a `$` can never be in it.
    assert_eq!(filtered.regexes().count(), 2);
}

#[test]
fn faults_have_places() {
    for (text, line, reason) in [
        (
            "[[rules]]\nid = 'x'\nregex = 5\n",
            3,
            "expected a text, found a number",
        ),
        (
            "[[rules]]\nid = 'x'\nkeywords = 'a'\n",
            3,
            "expected a list",
        ),
        ("rules = 1\n", 1, "expected a list"),
        ("[[rules]]\nid = \n", 2, ""),
    ] {
        let faults = Format::Gitleaks.read("f", text).expect_err("wrong");
        assert_eq!(faults[0].line, line, "{text}: {faults:?}");
        assert!(faults[0].reason.contains(reason), "{text}: {faults:?}");
    }
    for (text, line) in [
        ("recognizers: 1", 1),
        ("a: b", 1),
        ("recognizers:\n- name: [x]\n", 2),
    ] {
        let faults = Format::Presidio.read("f", text).expect_err("wrong");
        assert_eq!(faults[0].line, line, "{text}: {faults:?}");
    }
}

const PRESIDIO: &str = r#"
supported_languages: [en]
recognizers:
  - name: "Badge"
    supported_entity: BADGE_NUMBER
    supported_languages:
      - language: en
        context: [badge, "id card"]
      - language: de
    patterns:
      - name: strong
        regex: '(?<![\w-])B-\d{6}(?!\d)'
        score: 0.85
      - name: weak
        regex: '\b\d{6}\b'
        score: 0.1
      - name: never
        regex: '(a(?!b)c)+'
        score: 0.5
    context: [Staff]
    mystery: 1
  - name: Titles
    supported_language: en
    supported_entity: TITLE
    deny_list: [Mr., "Prof. Dr."]
  - name: EmailRecognizer
    type: predefined
  - name: Off
    enabled: false
    patterns: [{name: x, regex: x, score: 1}]
  - UnheardOfRecognizer
"#;

#[test]
fn recognizers_are_rules() {
    let other = Format::Presidio.read("pii", PRESIDIO).expect("it loads");
    assert_eq!(values(&other, "x B-123456 y"), ["B-123456", "123456"]);
    assert_eq!(values(&other, "x B-1234567"), [""; 0]);
    assert_eq!(values(&other, "AB-123456x b-123456x"), ["b-123456"]);
    assert_eq!(
        values(&other, "mr. X and Prof. Dr. Y, Mrs."),
        ["mr.", "Prof. Dr."]
    );
    let rules = &other.pack.rules;
    let confidences: Vec<(&str, Confidence)> = rules
        .iter()
        .map(|rule| (rule.id(), rule.confidence()))
        .collect();
    use Confidence::{High, Low};
    assert_eq!(confidences[0], ("badge-number", High));
    assert!(confidences.iter().any(|(_, confidence)| *confidence == Low));
    let confirm = rules[0].confirm().expect("context words");
    let words = &confirm.context.as_ref().expect("context words").words;
    assert_eq!(words, &["staff", "badge", "id card"]);
    use ImportKind::{Ignored, Refused};
    for (rule, kind, what) in [
        (Some("Badge"), Refused, "look-around"),
        (Some("Badge"), Ignored, "`mystery`"),
        (Some("Titles"), Ignored, "`supported_language`"),
        (
            Some("EmailRecognizer"),
            Refused,
            "`email-address` of the shipped pack `personal`",
        ),
        (Some("Off"), Refused, "`enabled: false`"),
        (
            Some("UnheardOfRecognizer"),
            Refused,
            "nothing that is shipped",
        ),
    ] {
        assert!(
            has_note(&other, rule, kind, what),
            "{rule:?} {what}: {:#?}",
            other.notes
        );
    }
    let json = r#"{"text": "x", "ad_hoc_recognizers": [
        {"name": "Zip", "supported_entity": "ZIP", "patterns":
            [{"name": "p", "regex": "\\bZ\\d{5}\\b", "score": 0.5}]}]}"#;
    let other = Format::Presidio.read("adhoc", json).expect("it loads");
    assert_eq!(values(&other, "Z12345"), ["Z12345"]);
    assert_eq!(other.pack.rules[0].confidence(), Confidence::Medium);
}

#[test]
fn a_policy_folder_takes_them_as_packs() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let clash = "[[rules]]\nid = 'iban'\nregex = 'IBAN:([0-9]{8})'\n";
    write("packs/other.toml", &format!("{GITLEAKS}\n{clash}"));
    write("packs/pii.yaml", PRESIDIO);
    write(
        "main.toml",
        "[[grant]]\ngroups = ['*']\nmodels = ['*']\noperations = ['infer']\n\
         [[guard]]\nname = 'g'\ndirection = 'both'\npacks = ['other', 'pii']\naction = 'mask'\n\
         [[guard]]\nname = 'h'\ndirection = 'both'\nrules = ['other-iban', 'title']\n\
         action = 'mask'\n",
    );
    let policies = PolicySet::load(&PolicySources {
        dir: dir.path(),
        pseudonym_key: [7; 32],
        withheld: &[],
    })
    .expect("it loads");
    let warned = |what: &str| policies.warnings().iter().any(|line| line.contains(what));
    assert!(
        warned("pack other: ignored: `validate`"),
        "{:#?}",
        policies.warnings()
    );
    assert!(
        warned("pack other: 2 rules as they were"),
        "{:#?}",
        policies.warnings()
    );
    assert!(
        warned("called `other-iban` here"),
        "{:#?}",
        policies.warnings()
    );
    let library = Library::read(dir.path()).expect("it loads");
    assert_eq!(library.imports().len(), 2);
}

#[test]
fn hostile_files_are_read_in_time() {
    let same = "[[rules]]\nid = 'a'\nregex = 'k[0-9]{4}'\n".repeat(3000);
    let imported = Format::Gitleaks.read("f", &same).expect("it loads");
    assert_eq!(imported.pack.rules.len(), 3000);
    assert_eq!(imported.pack.rules[2999].id(), "a-3000");

    let long = "[a-z]x".repeat(2700);
    let many = format!("[[rules]]\nid = 'a'\nkeywords = ['q', 'zz']\nregex = '({long})'\n");
    let imported = Format::Gitleaks.read("f", &many).expect("it loads");
    assert_eq!(imported.rules_in_file, 1);
    let dear = "(?:[a-z]{1,90}[a-y]{1,90}){1,90}".repeat(8);
    let dear = format!("[[rules]]\nid = 'a'\nregex = '({dear})'\n");
    let imported = Format::Gitleaks.read("f", &dear).expect("it loads");
    assert!(
        has_note(&imported, Some("a"), ImportKind::Refused, "dear") || !imported.notes.is_empty()
    );

    // A count beyond any match, in a branch that all ways of running it keep.
    let counted = "[[rules]]\nid = 'a'\nregex = '(V:^|[ ,])(d{3,}|b(c)?)(?:$|7{93948,}|;(c)?)'\n";
    let imported = Format::Gitleaks.read("f", counted).expect("it loads");
    assert_eq!(imported.rules_in_file, 1);

    let words: Vec<String> = (0..3000).map(|n| format!("word-{n}")).collect();
    let list = format!(
        "recognizers: [{{name: W, deny_list: [{}]}}]",
        words.join(", ")
    );
    let imported = Format::Presidio.read("f", &list).expect("it loads");
    assert!(values(&imported, "a WORD-2999, word-30000").contains(&"WORD-2999"));
    assert_eq!(values(&imported, "word-30000"), [""; 0]);
}

#[test]
fn a_file_of_which_too_much_cannot_be_run_is_refused() {
    let hopeless = |count: usize| {
        let rule = |at| format!("[[rules]]\nid = 'a{at}'\nregex = 'x*[\\s\\S]{{4,}}?y'\n");
        let rules: String = (0..count).map(rule).collect();
        Format::Gitleaks.read("f", &rules)
    };
    let few = hopeless(3).expect("a few are left out");
    assert_eq!(few.counts(), (0, 0, 3));
    let faults = hopeless(200).expect_err("loading it would take too long");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].reason.contains("too many expressions"),
        "{faults:?}"
    );
    assert!(faults[0].line > 3, "it names the rule at which it gave up");
}
