//! Foreign expressions with stretches of nearly any text in them: what they find, and that a mark
//! with much text behind it is not found.

use penstock_policies::rule::{Format, ImportKind, Imported};
use penstock_policies::scan::Scanner;

/// A manifest whose `kind` stands before or behind its `data`, as scanners of repositories ask.
const MANIFEST: &str = r####"
[[rules]]
id = "vault-manifest"
description = "A value of a manifest"
regex = '''(?i)(?:\bkind:[ \t]*["']?\bvault\b["']?(?s:.){0,200}?\bdata:(?s:.){0,100}?\s+([\w.-]+:[ \t]*["']?[a-z0-9+/]{10,}={0,3}["']?)|\bdata:(?s:.){0,100}?\s+([\w.-]+:[ \t]*["']?[a-z0-9+/]{10,}={0,3}["']?)(?s:.){0,200}?\bkind:[ \t]*["']?\bvault\b["']?)'''
keywords = ["vault"]
"####;

/// Gaps that have no bound, or one that is dear.
const GAPS: &str = r####"
[[rules]]
id = "object"
regex = '''\{[^{]+(?:"acme_key"\s*:\s*"[^"]+"[^}]+"acme_url"|"acme_url"[^}]+"acme_key"\s*:\s*"[^"]+")[^}]+\}'''

[[rules]]
id = "quoted"
regex = '''acmepass="([^"]{8,})"'''

[[rules]]
id = "blocks"
regex = '''acmebegin(?:[^\n]*\n)*acmeend[0-9]{4}'''

[[rules]]
id = "far"
regex = '''acmefar[\s\S]{0,3000}near[0-9]{4}'''

[[rules]]
id = "vendor"
regex = '''(?i)\bbitfirm(?:.|[\n\r]){0,32}?(?:SECRET|PRIVATE|ACCESS|KEY|TOKEN)(?:.|[\n\r]){0,32}?([a-f0-9]{40})\b'''
keywords = ["bitfirm"]

[[rules]]
id = "long"
regex = '''acmetok_[a-z0-9]{20,}'''
"####;

fn imported(text: &str) -> Imported {
    Format::Gitleaks.read("other", text).expect("it loads")
}

fn values<'t>(imported: &Imported, text: &'t str) -> Vec<&'t str> {
    let scanner = Scanner::compile(imported.pack.rules.clone()).expect("they compile");
    let mut found = Vec::new();
    scanner.find_each(&scanner.all(), text, &mut |it| {
        found.push(&text[it.start..it.end]);
    });
    found
}

/// More than any match may be long.
fn long(line: &str) -> String {
    line.repeat((20 << 10) / line.len())
}

#[test]
fn a_mark_with_much_text_behind_it_is_no_match() {
    let manifest = imported(MANIFEST);
    for line in [
        "data: {\"x\":1}\n\n",
        "event: delta\ndata: {\"text\": \"some words\"}\n\n",
        "data: a vault: and more words of some length\n",
        "kind: vault of words, and no more than that\n",
    ] {
        let text = long(line);
        let found = values(&manifest, &text);
        assert!(found.is_empty(), "{line:?}: {:.60}", found[0]);
    }
    let gaps = imported(GAPS);
    for mark in ["{\"acme_url\": ", "acmepass=\"", "acmebegin ", "acmefar "] {
        for line in [
            "words upon words. ",
            "a line of prose\n",
            "1, 2, 'x': [3]; ",
        ] {
            let text = format!("{mark}{}", long(line));
            let found = values(&gaps, &text);
            assert!(found.is_empty(), "{mark:?} {line:?}: {:.60}", found[0]);
        }
    }
}

#[test]
fn a_value_near_its_kind_is_found_in_both_orders() {
    let manifest = imported(MANIFEST);
    let before = "apiVersion: v1\nkind: Vault\nmetadata:\n  name: db-login\ntype: Opaque\n\
                  data:\n  password: MWYyZDFlMmU2N2Rm\n";
    assert_eq!(values(&manifest, before), ["password: MWYyZDFlMmU2N2Rm"]);
    let behind = "apiVersion: v1\ndata:\n  password: MWYyZDFlMmU2N2Rm\nkind: \"Vault\"\n\
                  metadata:\n  name: db-login\n";
    assert_eq!(values(&manifest, behind), ["password: MWYyZDFlMmU2N2Rm"]);
    let neither = "kind: Map\ndata:\n  password: MWYyZDFlMmU2N2Rm\n# of no vault\n";
    assert_eq!(values(&manifest, neither), [""; 0]);
}

#[test]
fn what_is_narrowed_or_left_out_is_told() {
    let gaps = imported(GAPS);
    let kind = |rule: &str| {
        let notes = gaps.notes.iter();
        let of_rule = notes.filter(|note| note.rule.as_deref() == Some(rule));
        of_rule.map(|note| note.kind).max()
    };
    assert_eq!(kind("object"), Some(ImportKind::Refused));
    assert_eq!(kind("blocks"), Some(ImportKind::Refused));
    assert_eq!(kind("quoted"), Some(ImportKind::Approximated));
    assert_eq!(kind("long"), None);
    let kept = "acmepass=\"correct horse battery\" acmetok_0123456789abcdefghij";
    let expected = ["correct horse battery", "acmetok_0123456789abcdefghij"];
    assert_eq!(values(&gaps, kept), expected);
    let hash = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(
        values(&gaps, &format!("the bitfirm api key is {hash}")),
        [hash]
    );
    assert_eq!(
        values(&gaps, &format!("the key of this commit is {hash}")),
        [""; 0]
    );
    // A value that is itself long is still one, whatever follows.
    let token = format!("acmetok_{}", long("0123456789"));
    assert_eq!(values(&gaps, &token), [token.as_str()]);
}
