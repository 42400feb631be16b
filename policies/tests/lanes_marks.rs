//! What becomes of the mark with which an escape begins, a backslash, `%` or `&`, when what it begins
//! is masked: it stays, is sent at once, and is made literal.

mod oracle;

use oracle::{compile, pack};
use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::scan::Scanner;

fn key() -> MaskKey {
    MaskKey::new([9; 32])
}

fn masking(scanner: &Scanner) -> Plan {
    Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    }
}

/// Texts are full of marks: one at the end of a piece goes out at once, whatever follows it.
#[test]
fn a_mark_never_waits() {
    let scanner = compile(pack(&[r"regex = 'CUST-[0-9]{8}'"]));
    let plan = masking(&scanner);
    let customer = "CUST-12345678";
    for (written, masked) in [
        (r"\u0043UST-12345678", r"\\[masked:r0]"),
        (r"\\u0043UST-12345678", r"\\\\[masked:r0]"),
        ("%43UST-12345678", "%25[masked:r0]"),
        ("&#67;UST-12345678", "&amp;[masked:r0]"),
        (r"\d+", r"\d+"),
        (r"\\d+", r"\\d+"),
        ("% of it", "% of it"),
        ("& Co", "& Co"),
    ] {
        let text = format!("see {written}, and {customer}");
        let expected = format!("see {masked}, and [masked:r0]");
        let block = mask_text(&scanner, &plan, &key(), &text, &mut |_| {});
        assert_eq!(block.as_ref(), Some(&expected));
        let (mut channel, mut sent) = (Channel::new(), String::new());
        let nothing = &mut |_| {};
        let marks = if written.starts_with(r"\\") { 2 } else { 1 };
        let (before, after) = text.split_at("see ".len() + marks);
        channel.push(&scanner, &plan, &key(), before, nothing, &mut sent);
        assert_eq!((sent.as_str(), channel.held_bytes()), (before, 0));
        channel.push(&scanner, &plan, &key(), after, nothing, &mut sent);
        channel.finish(&scanner, &plan, &key(), nothing, &mut sent);
        assert_eq!(sent, expected);
    }
}

/// What was JSON, or JSON within a string of JSON, still is.
#[test]
fn a_mask_behind_a_mark_leaves_json_valid() {
    let scanner = compile(pack(&[r#"regex = '["\\]?CUST-[0-9]{8}'"#]));
    let plan = masking(&scanner);
    let read = |text: &str| serde_json::from_str::<String>(text);
    let mut nested = 0;
    for value in [
        r#""say \u0043UST-12345678""#,
        r#""say \"CUST-12345678\"""#,
        r#""say \\CUST-12345678""#,
        r#""say \\u0043UST-12345678""#,
        r#""\"say \\u0043UST-12345678\"""#,
        r#""\"say \\\"CUST-12345678\"""#,
        r#""\"say \\\\CUST-12345678\"""#,
    ] {
        let masked = mask_text(&scanner, &plan, &key(), value, &mut |_| {}).expect(value);
        let (inner, outer) = (read(value).expect(value), read(&masked));
        let outer = outer.unwrap_or_else(|error| panic!("{value} became {masked}: {error}"));
        assert!(
            outer.contains("[masked:r0]") && !outer.contains("1234"),
            "{masked}"
        );
        if let Ok(deeper) = read(&inner) {
            nested += 1;
            assert!(deeper.contains("CUST"));
            let still = read(&outer);
            assert!(still.is_ok(), "{inner} became {outer}: {still:?}");
        }
    }
    assert_eq!(nested, 3);
}
