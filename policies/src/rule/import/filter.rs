//! Betterleaks' filters: expressions that are true of what is no finding.
//!
//! The language is a whole one; what configurations say in it is nearly always a row of
//! alternatives, each a bound on entropy or a list of what the secret may not be. Those are read;
//! any other alternative is handed back as it stands, for a note. Leaving one out finds more.

/// One alternative of a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Entropy at or below this is no finding; `true`: at this it is one.
    Entropy(f64, bool),
    /// One of these expressions matches somewhere in the subject.
    Matches(Subject, Vec<String>),
    /// One of these words is in the subject.
    Contains(Subject, Vec<String>),
    /// The secret is this.
    Equals(String),
    /// Anything else, as written.
    Other(String),
}

/// What a list is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Secret,
    /// The whole match, or its line.
    Around,
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'s> {
    Name(&'s str),
    Text(String),
    Number(f64),
    Sign(&'s str),
}

/// How deep alternatives in brackets are looked into.
const DEPTH_MAX: usize = 8;

/// The alternatives of a filter.
pub(super) fn terms(source: &str) -> Vec<Term> {
    let mut found = Vec::new();
    match tokens(source) {
        Some(tokens) => alternatives(source, &tokens, DEPTH_MAX, &mut found),
        None => found.push(Term::Other(shown(source))),
    }
    found
}

type Placed<'s> = (usize, usize, Token<'s>);

fn alternatives(source: &str, tokens: &[Placed<'_>], depth: usize, found: &mut Vec<Term>) {
    let mut nesting = 0_usize;
    let mut begin = 0;
    let mut parts = Vec::new();
    for (at, (_, _, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign("(" | "[" | "{") => nesting += 1,
            Token::Sign(")" | "]" | "}") => nesting = nesting.saturating_sub(1),
            Token::Sign("||") if nesting == 0 => {
                parts.push(&tokens[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[begin..]);
    for part in parts {
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            continue;
        };
        if depth > 0 && is_bracketed(part) {
            alternatives(source, &part[1..part.len() - 1], depth - 1, found);
            continue;
        }
        let whole = || Term::Other(shown(&source[first.0..last.1]));
        found.push(term(part).unwrap_or_else(whole));
    }
}

/// Is this one pair of round brackets with all of it within?
fn is_bracketed(part: &[Placed<'_>]) -> bool {
    let mut nesting = 0_i64;
    let closed = part.iter().position(|(_, _, token)| {
        match token {
            Token::Sign("(") => nesting += 1,
            Token::Sign(")") => nesting -= 1,
            _ => {}
        }
        nesting == 0
    });
    part.len() > 2 && closed == Some(part.len() - 1)
}

fn term(part: &[Placed<'_>]) -> Option<Term> {
    let mut tokens: Vec<&Token<'_>> = part.iter().map(|(_, _, token)| token).collect();
    if let [Token::Name("filter"), Token::Sign("."), ..] = tokens[..] {
        tokens.drain(..2);
    }
    if let [
        Token::Name("finding"),
        Token::Sign("["),
        Token::Text(key),
        Token::Sign("]"),
        Token::Sign("=="),
        Token::Text(text),
    ] = &tokens[..]
    {
        return (key == "secret").then(|| Term::Equals(text.clone()));
    }
    let [
        Token::Name(function),
        Token::Sign("("),
        Token::Name("finding"),
        Token::Sign("["),
        Token::Text(key),
        Token::Sign("]"),
        rest @ ..,
    ] = &tokens[..]
    else {
        return None;
    };
    let subject = match key.as_str() {
        "secret" => Subject::Secret,
        "match" | "line" => Subject::Around,
        _ => return None,
    };
    match (*function, rest) {
        ("entropy", [Token::Sign(")"), Token::Sign(sign), Token::Number(bound)])
            if subject == Subject::Secret =>
        {
            match *sign {
                "<=" => Some(Term::Entropy(*bound, false)),
                "<" => Some(Term::Entropy(*bound, true)),
                _ => None,
            }
        }
        (
            _,
            [
                Token::Sign(","),
                Token::Sign("["),
                list @ ..,
                Token::Sign("]"),
                Token::Sign(")"),
            ],
        ) => {
            let mut texts = Vec::new();
            for (at, token) in list.iter().enumerate() {
                match token {
                    Token::Text(text) if at % 2 == 0 => texts.push(text.clone()),
                    Token::Sign(",") if at % 2 == 1 => {}
                    _ => return None,
                }
            }
            match *function {
                "matchesAny" => Some(Term::Matches(subject, texts)),
                "containsAny" => Some(Term::Contains(subject, texts)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The tokens with their places; none if a text does not end.
fn tokens(source: &str) -> Option<Vec<Placed<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let (length, token) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '/' if rest.starts_with("//") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '`' | '"' | '\'' => quoted(rest, false)?,
            'r' if rest[1..].starts_with(['"', '\'']) => {
                let (length, token) = quoted(&rest[1..], true)?;
                (length + 1, token)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let name = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let length = rest.find(name).unwrap_or(rest.len());
                (length, Token::Name(&rest[..length]))
            }
            c if c.is_ascii_digit() => {
                let digit = |c: char| !(c.is_ascii_digit() || c == '.');
                let length = rest.find(digit).unwrap_or(rest.len());
                (length, Token::Number(rest[..length].parse().ok()?))
            }
            _ => {
                let two = ["||", "&&", "<=", ">=", "==", "!="]
                    .iter()
                    .any(|sign| rest.starts_with(sign));
                let length = if two { 2 } else { c.len_utf8() };
                (length, Token::Sign(&rest[..length]))
            }
        };
        tokens.push((at, at + length, token));
        at += length;
    }
    Some(tokens)
}

/// A quoted text at the start of `rest`: its length with the quotes, and what it means.
fn quoted(rest: &str, raw: bool) -> Option<(usize, Token<'static>)> {
    let quote = rest.chars().next()?;
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let mark = match rest.starts_with(&triple) && quote != '`' {
        true => triple.as_str(),
        false => &rest[..1],
    };
    let raw = raw || quote == '`';
    let mut text = String::new();
    let mut at = mark.len();
    loop {
        let left = rest.get(at..)?;
        if left.starts_with(mark) {
            return Some((at + mark.len(), Token::Text(text)));
        }
        let c = left.chars().next()?;
        at += c.len_utf8();
        if c != '\\' || raw {
            text.push(c);
            continue;
        }
        let escaped = rest[at..].chars().next()?;
        at += escaped.len_utf8();
        match escaped {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '\\' | '"' | '\'' | '`' => text.push(escaped),
            _ => text.extend(['\\', escaped]),
        }
    }
}

/// An expression for a note: its beginning, on one line.
fn shown(source: &str) -> String {
    let mut shown: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = shown.char_indices().nth(80) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_read_and_the_rest_is_handed_back() {
        let source = r#"
            // what is short on entropy
            filter.entropy(finding["secret"]) <= 3.5 || (entropy(finding["secret"]) < 2
            || matchesAny(finding["secret"], [`^a"b$`, r"""\d"""]) ) ||
            containsAny(finding["line"], ["x\"y", 'z']) || finding["secret"] == "S"
            || !matchesAny(finding["secret"], [`a`])
            || (finding["secret"] == "a" && attributes["path"] == "b")"#;
        assert_eq!(
            terms(source),
            [
                Term::Entropy(3.5, false),
                Term::Entropy(2.0, true),
                Term::Matches(Subject::Secret, vec!["^a\"b$".into(), r"\d".into()]),
                Term::Contains(Subject::Around, vec!["x\"y".into(), "z".into()]),
                Term::Equals("S".into()),
                Term::Other("!matchesAny(finding[\"secret\"], [`a`])".into()),
                Term::Other(r#"finding["secret"] == "a" && attributes["path"] == "b""#.into()),
            ]
        );
    }

    #[test]
    fn nonsense_is_handed_back() {
        assert_eq!(terms("\"open"), [Term::Other("\"open".into())]);
        assert_eq!(terms(" "), []);
        assert_eq!(terms("((("), [Term::Other("(((".into())]);
        assert_eq!(terms("\"\\"), [Term::Other("\"\\".into())]);
        assert_eq!(
            terms("é || )"),
            [Term::Other("é".into()), Term::Other(")".into())]
        );
    }
}
