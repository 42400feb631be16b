//! Where many rules are tried at one place, what stands before it is looked at once for all of
//! them. What is found is what the definition finds, however the text comes.

mod oracle;

use oracle::{Oracle, compile, pack};
use penstock_policies::mask::{Channel, MaskKey, Plan};
use penstock_policies::scan::{Match, Scanner};
use proptest::prelude::*;

/// Rules that are all tried at numbers, most behind words: near and far ones, of every length, some
/// shared, some that begin with the same letters, or with none.
const RULES: [&str; 14] = [
    r#"regex = '[0-9]{3}' context = { words = ["tel"], within = 4 }"#,
    r#"regex = '[0-9]{3}\b' context = { words = ["tel", "phone number"], within = 16 }"#,
    r#"regex = '[0-9]{4}' context = { words = ["id", "no"], within = 8 }"#,
    r#"regex = '[0-9]{2}' context = { words = ["identity"], within = 128 }"#,
    r##"regex = '[0-9]{5}' context = { words = ["#"], within = 3 }"##,
    r#"regex = '[0-9-]{6}' context = { words = ["n", "é"], within = 5 }"#,
    r#"regex = '[0-9]+' max_len = 9 context = { words = ["电话", "ид"], within = 24 }"#,
    r#"regex = '[0-9]{3}a' context = { words = ["phone"], within = 9, after = 9 }"#,
    r#"regex = '[0-9]{8}'"#,
    r#"regex = '\b[0-9 ]{4}\b' context = { words = ["d.o.b", "-"], within = 7 }"#,
    r#"regex = '[0-9]{3}' after = 'tax:? ?'"#,
    r#"regex = '[0-9]{2}[a-z]' context = { words = ["taxi"], within = 12 }"#,
    r#"regex = '[0-9]{4}é' context = { words = ["identité"], within = 64 }"#,
    r#"regex = '[0-9]b' context = { words = ["tel"], within = 40 } confirm = { words = ["id"], within = 9 }"#,
];

const PARTS: [&str; 34] = [
    "tel",
    "Tel",
    "hotel",
    "phone",
    "phone_number",
    "phone number",
    "id",
    "ID",
    "idle",
    "no",
    "n",
    "é",
    "identity",
    "identité",
    "Identités",
    "#",
    "d.o.b",
    "电话",
    "话",
    "ид",
    "tax",
    "taxi",
    " ",
    " ",
    ":",
    "-",
    "\n",
    "a",
    "b",
    "7",
    "12",
    "345",
    "6789",
    "................................................",
];

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(0..PARTS.len(), 0..48)
        .prop_map(|parts| parts.iter().map(|part| PARTS[*part]).collect())
}

/// What is masked of a text in pieces, and all that is reported.
fn stream(scanner: &Scanner, plan: &Plan, pieces: &[&str]) -> (String, Vec<Match>) {
    let (key, mut channel) = (MaskKey::new([3; 32]), Channel::new());
    let (mut found, mut out) = (Vec::new(), String::new());
    for piece in pieces {
        channel.push(scanner, plan, &key, piece, &mut |m| found.push(m), &mut out);
    }
    channel.finish(scanner, plan, &key, &mut |m| found.push(m), &mut out);
    found.sort_unstable_by_key(|m| (m.start, m.rule, m.lane));
    (out, found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn crowds_find_what_the_definition_finds(text in text(), cut in any::<prop::sample::Index>()) {
        let rules = pack(&RULES);
        let (oracle, scanner) = (Oracle::new(&rules), compile(rules));
        let all = scanner.all();
        prop_assert_eq!(scanner.find(&all, &text), oracle.find(&text));
        let (mut expected, mut each) = (oracle.find_each(&text), Vec::new());
        scanner.find_each(&all, &text, &mut |m| each.push(m));
        expected.sort_unstable_by_key(|m| (m.start, m.rule));
        prop_assert_eq!(each, expected);

        let plans = [[&all, &scanner.none()], [&scanner.none(), &all]];
        for [mask, watch] in plans {
            let plan = Plan { mask: mask.clone(), watch: watch.clone() };
            let whole = stream(&scanner, &plan, &[&text]);
            let (first, rest) = text.split_at(text.floor_char_boundary(cut.index(text.len() + 1)));
            prop_assert_eq!(&stream(&scanner, &plan, &[first, rest]), &whole);
            let chars: Vec<&str> = text.split("").filter(|c| !c.is_empty()).collect();
            prop_assert_eq!(&stream(&scanner, &plan, &chars), &whole);
        }
    }
}
