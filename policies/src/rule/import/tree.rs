//! A foreign file as a tree in which every name and value knows its place.
//!
//! Foreign formats are read loosely: a key that we do not know is told, not refused. So they are not
//! decoded into types but walked, and whoever walks takes what he knows and lists what is left.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::rule::diagnostic::{PackError, Position, decode_error, position};

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(String, Node)>),
}

/// A value that is not what its key takes.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) at: Position,
    pub(super) reason: String,
}

type Fit<T> = Result<T, Misfit>;

/// The entries of a table that nobody has taken yet.
pub(super) struct Entries<'n> {
    at: Position,
    rest: Vec<(&'n str, &'n Node)>,
}

/// Reads TOML.
pub(super) fn of_toml(name: &str, text: &str) -> Result<Node, PackError> {
    let table = DeTable::parse(text).map_err(|error| decode_error(name, text, &error))?;
    let mut lines = Lines::new(text);
    Ok(Node {
        at: Position { line: 1, column: 1 },
        value: of_table(table.get_ref(), &mut lines),
    })
}

fn of_table(table: &DeTable<'_>, lines: &mut Lines<'_>) -> Value {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let node = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.clone().into_owned(), of_value(value, lines))
    };
    Value::Map(entries.into_iter().map(node).collect())
}

fn of_value(value: &Spanned<DeValue<'_>>, lines: &mut Lines<'_>) -> Node {
    let at = lines.position(value.span().start);
    let number = |text: &str| text.parse().unwrap_or(f64::NAN);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(it) => Value::Number(
            i64::from_str_radix(it.as_str(), it.radix()).map_or(f64::NAN, |number| number as f64),
        ),
        DeValue::Float(it) => Value::Number(number(it.as_str())),
        DeValue::Boolean(it) => Value::Bool(*it),
        DeValue::Datetime(it) => Value::Text(it.to_string()),
        DeValue::Array(list) => {
            Value::List(list.iter().map(|item| of_value(item, lines)).collect())
        }
        DeValue::Table(table) => of_table(table, lines),
    };
    Node { at, value }
}

/// Where the lines of a text begin, so that many places cost one pass.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

// === impl Lines ===

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Lines<'t> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines {
            text,
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    fn position(&mut self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let within = position(&self.text[start..], offset - start);
        Position {
            line,
            column: within.column,
        }
    }
}

// === impl Node ===

impl Node {
    fn misfit<T>(&self, wanted: &str) -> Fit<T> {
        let found = match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        };
        Err(Misfit {
            at: self.at,
            reason: format!("expected {wanted}, found {found}"),
        })
    }

    pub(super) fn text(&self) -> Fit<&str> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => self.misfit("a text"),
        }
    }

    pub(super) fn number(&self) -> Fit<f64> {
        match &self.value {
            Value::Number(number) if number.is_finite() => Ok(*number),
            _ => self.misfit("a number"),
        }
    }

    pub(super) fn bool(&self) -> Fit<bool> {
        match &self.value {
            Value::Bool(it) => Ok(*it),
            _ => self.misfit("true or false"),
        }
    }

    /// A list; nothing at all is an empty one.
    pub(super) fn list(&self) -> Fit<&[Node]> {
        match &self.value {
            Value::List(list) => Ok(list),
            Value::Null => Ok(&[]),
            _ => self.misfit("a list"),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Fit<Vec<&str>> {
        self.list()?.iter().map(Node::text).collect()
    }

    pub(super) fn entries(&self) -> Fit<Entries<'_>> {
        match &self.value {
            Value::Map(map) => Ok(Entries {
                at: self.at,
                rest: map.iter().map(|(key, node)| (key.as_str(), node)).collect(),
            }),
            _ => self.misfit("a table"),
        }
    }
}

// === impl Entries ===

impl<'n> Entries<'n> {
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Takes what stands under a key, in any case of letters: the readers of these formats do not
    /// tell `secretGroup` from `secretgroup`.
    pub(super) fn take(&mut self, key: &str) -> Option<&'n Node> {
        let place = |(known, _): &(&str, _)| known.eq_ignore_ascii_case(key);
        let at = self.rest.iter().position(place)?;
        Some(self.rest.remove(at).1)
    }

    /// What nobody took.
    pub(super) fn left(self) -> Vec<(&'n str, &'n Node)> {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keeps_places_and_order() {
        let text = "b = 1\n[[r]]\nsecretGroup = 2\nx = ['é', 'y']\n";
        let root = of_toml("t", text).expect("parses");
        let mut entries = root.entries().expect("a table");
        let list = entries.take("R").expect("there").list().expect("a list");
        let mut rule = list[0].entries().expect("a table");
        let group = rule.take("secretgroup").expect("in any case");
        assert_eq!((group.at.line, group.at.column), (3, 15));
        assert_eq!(group.number().expect("a number"), 2.0);
        let texts = rule.take("x").expect("there");
        assert_eq!(texts.texts().expect("texts"), ["é", "y"]);
        assert_eq!(texts.list().expect("a list")[1].at.column, 11);
        assert!(texts.text().is_err());
        assert_eq!(entries.left()[0].0, "b");
    }
}
