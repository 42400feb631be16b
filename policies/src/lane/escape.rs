//! The ways in which a text writes a character as several: one grammar for all of them.

/// What some characters are that begin with one of [`MARKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// No escape begins here.
    No,
    /// More characters decide.
    Partial,
    /// The first `len` characters stand for `c`.
    Whole { c: char, len: usize },
}

/// The characters with which an escape begins.
pub(super) const MARKS: [u8; 3] = [b'\\', b'%', b'&'];

/// No escape is longer; `\ud83d\udd11` and `%F0%9F%94%91` are as long as it gets.
pub(super) const ESCAPE_LEN_MAX: usize = 12;

/// HTML's names of ASCII punctuation, and of what is not seen.
const NAMES: [(&[u8], char); 56] = [
    (b"amp", '&'),
    (b"AMP", '&'),
    (b"apos", '\''),
    (b"ast", '*'),
    (b"bsol", '\\'),
    (b"colon", ':'),
    (b"comma", ','),
    (b"commat", '@'),
    (b"dash", '-'),
    (b"dollar", '$'),
    (b"emsp", ' '),
    (b"ensp", ' '),
    (b"equals", '='),
    (b"excl", '!'),
    (b"grave", '`'),
    (b"gt", '>'),
    (b"GT", '>'),
    (b"Hat", '^'),
    (b"hyphen", '-'),
    (b"lbrace", '{'),
    (b"lbrack", '['),
    (b"lcub", '{'),
    (b"ldquo", '"'),
    (b"lowbar", '_'),
    (b"lpar", '('),
    (b"lrm", '\u{200E}'),
    (b"lsqb", '['),
    (b"lsquo", '\''),
    (b"lt", '<'),
    (b"LT", '<'),
    (b"mdash", '-'),
    (b"midast", '*'),
    (b"minus", '-'),
    (b"nbsp", ' '),
    (b"ndash", '-'),
    (b"NewLine", '\n'),
    (b"num", '#'),
    (b"percnt", '%'),
    (b"period", '.'),
    (b"plus", '+'),
    (b"quest", '?'),
    (b"quot", '"'),
    (b"QUOT", '"'),
    (b"rbrace", '}'),
    (b"rbrack", ']'),
    (b"rcub", '}'),
    (b"rdquo", '"'),
    (b"rpar", ')'),
    (b"rsqb", ']'),
    (b"rsquo", '\''),
    (b"semi", ';'),
    (b"shy", '\u{AD}'),
    (b"sol", '/'),
    (b"Tab", '\t'),
    (b"verbar", '|'),
    (b"zwj", '\u{200D}'),
];

/// HTML's names of letters in other faces: `&Aopf;`, `&afr;`, `&Ascr;`.
const FACES: [&[u8]; 3] = [b"opf", b"fr", b"scr"];

/// Reads the escape that `bytes` begins; the first is one of [`MARKS`]. At the `last` byte of a
/// text nothing more can come.
pub(super) fn read(bytes: &[u8], last: bool) -> Escape {
    let escape = match bytes {
        [b'\\', rest @ ..] => backslash(rest),
        [b'%', rest @ ..] => percent(rest),
        [b'&', rest @ ..] => entity(rest, last),
        _ => Escape::No,
    };
    match escape {
        Escape::Partial if last || bytes.len() > ESCAPE_LEN_MAX => Escape::No,
        escape => escape,
    }
}

/// So many marks in a row are followed to tell whether an escape begins with the first.
const MARKS_FOLLOWED: usize = 8;

/// May an escape begin with the mark that these bytes begin with, or may what is undone behind it
/// make it one? Says so too where more text decides.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for _ in 0..MARKS_FOLLOWED {
        let whole = &rest[..rest.len().min(ESCAPE_LEN_MAX + 1)];
        // What stands for nothing may stand anywhere in it.
        let ascii = whole.iter().take_while(|byte| byte.is_ascii()).count();
        if read(&whole[..ascii], false) != Escape::No {
            return true;
        }
        let is_mark = |byte: &u8| MARKS.contains(byte);
        let Some(next) = whole[1..ascii].iter().position(is_mark) else {
            return false;
        };
        // Once the next mark has become something else, this one may go on.
        if read(&whole[..=next], false) != Escape::Partial {
            return false;
        }
        rest = &rest[1 + next..];
    }
    true
}

/// The number that hexadecimal digits write; none if there are others among them.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some(number << 4 | digit)
    })
}

/// `prefix` characters, then exactly `digits` hexadecimal ones.
fn fixed(rest: &[u8], prefix: usize, digits: usize) -> Escape {
    let have = &rest[prefix..rest.len().min(prefix + digits)];
    match hex(have) {
        None => Escape::No,
        Some(_) if have.len() < digits => Escape::Partial,
        Some(code) => whole(code, 1 + prefix + digits),
    }
}

fn whole(code: u32, len: usize) -> Escape {
    match char::from_u32(code) {
        Some(c) => Escape::Whole { c, len },
        None => Escape::No,
    }
}

/// What stands behind a backslash in JSON, JavaScript, Python, C and shells.
fn backslash(rest: &[u8]) -> Escape {
    let simple = |c| Escape::Whole { c, len: 2 };
    match rest {
        [] => Escape::Partial,
        [b'n', ..] => simple('\n'),
        [b't', ..] => simple('\t'),
        [b'r', ..] => simple('\r'),
        [b'b', ..] => simple('\u{8}'),
        [b'f', ..] => simple('\u{C}'),
        [b'e', ..] => simple('\u{1B}'),
        [quoted @ (b'"' | b'\'' | b'\\' | b'/'), ..] => simple(char::from(*quoted)),
        [b'x', ..] => fixed(rest, 1, 2),
        [b'U', ..] => fixed(rest, 1, 8),
        [b'u', b'{', ..] => braced(rest),
        [b'u', ..] => utf16(rest),
        [b'0'..=b'3', ..] => octal(rest),
        _ => Escape::No,
    }
}

/// Three octal digits, as C and shells read them.
fn octal(rest: &[u8]) -> Escape {
    let digits = &rest[..rest.len().min(3)];
    if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return Escape::No;
    }
    match digits {
        [a, b, c] => {
            let code = [a, b, c]
                .iter()
                .fold(0, |n, d| n << 3 | u32::from(**d - b'0'));
            whole(code, 4)
        }
        _ => Escape::Partial,
    }
}

/// `u{1F511}`.
fn braced(rest: &[u8]) -> Escape {
    let digits = &rest[2..];
    let count = digits
        .iter()
        .take_while(|digit| digit.is_ascii_hexdigit())
        .count();
    match (digits.get(count), hex(&digits[..count])) {
        (_, Some(_)) if count > 6 => Escape::No,
        (None, _) => Escape::Partial,
        (Some(b'}'), Some(code)) if count > 0 => whole(code, count + 4),
        _ => Escape::No,
    }
}

/// `u0041`, or two of them that make one character.
fn utf16(rest: &[u8]) -> Escape {
    let high = match fixed(rest, 1, 4) {
        Escape::No if rest.len() >= 5 => hex(&rest[1..5]),
        escape => return escape,
    };
    let Some(high @ 0xD800..=0xDBFF) = high else {
        return Escape::No;
    };
    match &rest[5..] {
        [] | [b'\\'] => Escape::Partial,
        [b'\\', b'u', digits @ ..] => {
            let have = &digits[..digits.len().min(4)];
            match hex(have) {
                Some(_) if have.len() < 4 => Escape::Partial,
                Some(low @ 0xDC00..=0xDFFF) => {
                    whole(0x1_0000 + ((high - 0xD800) << 10 | (low - 0xDC00)), 12)
                }
                _ => Escape::No,
            }
        }
        _ => Escape::No,
    }
}

/// `41`, `u0041`, or the bytes of one character in UTF-8.
fn percent(rest: &[u8]) -> Escape {
    if rest.first() == Some(&b'u') {
        return fixed(rest, 1, 4);
    }
    let mut utf8 = [0; 4];
    let mut needed = 1;
    let mut count = 0;
    while count < needed {
        let at = count * 3;
        // Behind the first byte each has a sign of its own.
        if count > 0 && rest.get(at - 1).is_some_and(|sign| *sign != b'%') {
            return Escape::No;
        }
        let have = rest.get(at..rest.len().min(at + 2)).unwrap_or_default();
        let Some(byte) = hex(have) else {
            return Escape::No;
        };
        if have.len() < 2 {
            return Escape::Partial;
        }
        utf8[count] = byte as u8;
        if count == 0 {
            needed = match byte {
                0..=0x7F => 1,
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => return Escape::No,
            };
        }
        count += 1;
    }
    let text = std::str::from_utf8(&utf8[..count]).unwrap_or_default();
    match text.chars().next() {
        Some(c) => Escape::Whole { c, len: count * 3 },
        None => Escape::No,
    }
}

/// `#65;`, `#x41;`, also without the semicolon, as browsers read them; or a name.
fn entity(rest: &[u8], last: bool) -> Escape {
    let (radix, prefix) = match rest {
        [] | [b'#'] => return Escape::Partial,
        [b'#', b'x' | b'X', ..] => (16, 2),
        [b'#', ..] => (10, 1),
        _ => return name(rest),
    };
    let digits = &rest[prefix..];
    let is_digit = |digit: &&u8| (**digit as char).is_digit(radix);
    let count = digits.iter().take_while(is_digit).count();
    if count > 8 {
        return Escape::No;
    }
    let code = digits[..count].iter().fold(0_u32, |number, digit| {
        let digit = (*digit as char).to_digit(radix).unwrap_or(0);
        number.saturating_mul(radix).saturating_add(digit)
    });
    match digits.get(count) {
        None if !last => Escape::Partial,
        _ if count == 0 || code == 0 => Escape::No,
        Some(b';') => whole(code, prefix + count + 2),
        _ => whole(code, prefix + count + 1),
    }
}

fn name(rest: &[u8]) -> Escape {
    let count = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let name = &rest[..count];
    if rest.get(count).is_some_and(|end| *end != b';') {
        return Escape::No;
    }
    let ended = rest.len() > count;
    if let Some((_, c)) = NAMES.iter().find(|(known, _)| *known == name && ended) {
        return Escape::Whole {
            c: *c,
            len: count + 2,
        };
    }
    let [letter, face @ ..] = name else {
        return Escape::No;
    };
    if ended {
        return match FACES.contains(&face) {
            true => whole(u32::from(*letter), count + 2),
            false => Escape::No,
        };
    }
    let begins = |known: &[u8], have: &[u8]| known.starts_with(have);
    let partial = NAMES.iter().any(|(known, _)| begins(known, name))
        || FACES.iter().any(|known| begins(known, face));
    if partial { Escape::Partial } else { Escape::No }
}

#[cfg(test)]
mod tests {
    use super::{ESCAPE_LEN_MAX, Escape, MARKS, may_begin, read};

    const WHOLE: [(&str, char); 40] = [
        (r"\n", '\n'),
        (r"\t", '\t'),
        (r#"\""#, '"'),
        (r"\\", '\\'),
        (r"\/", '/'),
        (r"\x41", 'A'),
        (r"\u0041", 'A'),
        (r"\u{41}", 'A'),
        (r"\u{1F511}", '🔑'),
        (r"\U0001F511", '🔑'),
        (r"\ud83d\udd11", '🔑'),
        (r"\101", 'A'),
        ("%41", 'A'),
        ("%2f", '/'),
        ("%u0041", 'A'),
        ("%C3%A9", 'é'),
        ("%E2%80%8B", '\u{200B}'),
        ("%F0%9F%94%91", '🔑'),
        ("&#65;", 'A'),
        ("&#065;", 'A'),
        ("&#0000065;", 'A'),
        ("&#x41;", 'A'),
        ("&#X41;", 'A'),
        ("&#x1F511;", '🔑'),
        ("&amp;", '&'),
        ("&quot;", '"'),
        ("&lt;", '<'),
        ("&colon;", ':'),
        ("&commat;", '@'),
        ("&period;", '.'),
        ("&lowbar;", '_'),
        ("&hyphen;", '-'),
        ("&NewLine;", '\n'),
        ("&Aopf;", 'A'),
        ("&kfr;", 'k'),
        ("&Iscr;", 'I'),
        ("&nbsp;", ' '),
        ("&shy;", '\u{AD}'),
        ("&equals;", '='),
        ("&zwj;", '\u{200D}'),
    ];

    #[test]
    fn every_escape_is_read_and_every_beginning_of_it_waits() {
        for (text, c) in WHOLE {
            let bytes = text.as_bytes();
            assert!(bytes.len() <= ESCAPE_LEN_MAX, "{text}");
            assert!(may_begin(bytes), "{text}");
            let whole = Escape::Whole { c, len: text.len() };
            for last in [true, false] {
                assert_eq!(read(bytes, last), whole, "{text}");
                assert_eq!(read(format!("{text}x").as_bytes(), last), whole, "{text}");
            }
            for end in 1..bytes.len() {
                assert_eq!(
                    read(&bytes[..end], false),
                    Escape::Partial,
                    "{text} at {end}"
                );
                assert_ne!(
                    read(&bytes[..end], true),
                    Escape::Partial,
                    "{text} at {end}"
                );
            }
        }
    }

    #[test]
    fn numbers_may_go_without_semicolon() {
        let a = |len| Escape::Whole { c: 'A', len };
        assert_eq!(read(b"&#65 ", false), a(4));
        assert_eq!(read(b"&#65&", false), a(4));
        assert_eq!(read(b"&#x41K", false), a(5));
        assert_eq!(read(b"&#65", false), Escape::Partial);
        assert_eq!(read(b"&#65", true), a(4));
    }

    #[test]
    fn what_is_none_is_none() {
        let none = [
            r"\d",
            r"\w",
            r"\.",
            r"\u00g",
            r"\xg",
            r"\ud83dx",
            r"\udd11",
            r"\ud83d\n",
            r"\8",
            r"\09",
            r"\u{}",
            r"\u{1234567",
            r"\u{110000}",
            "% ",
            "%g",
            "%4g",
            "%80",
            "%C3 ",
            "%C3%41",
            "%E2%80%41",
            "%u00g",
            "& ",
            "&&",
            "&#;",
            "&#x;",
            "&#xg",
            "&#0;",
            "&unknown",
            "&amp ",
            "&;",
            "&#1234567890",
        ];
        for text in none {
            assert_eq!(read(text.as_bytes(), false), Escape::No, "{text}");
        }
    }

    /// Whatever follows, an escape is decided within its bound.
    #[test]
    fn nothing_waits_longer_than_the_bound() {
        for mark in MARKS {
            let alphabet = b"\\%&ux{}#;0aDd8Aqn";
            let mut state = 7_u32;
            for _ in 0..20_000 {
                let mut bytes = vec![mark];
                while read(&bytes, false) == Escape::Partial {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    bytes.push(alphabet[(state >> 24) as usize % alphabet.len()]);
                    assert!(
                        bytes.len() <= ESCAPE_LEN_MAX + 1,
                        "{}",
                        bytes.escape_ascii()
                    );
                }
            }
        }
    }
}
