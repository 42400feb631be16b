//! YAML, and JSON with it, as a tree: from a parser's events, within bounds.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::tree::{Node, Value};
use crate::rule::diagnostic::{PackError, Position};

/// How deep lists and tables may lie in one another.
const DEPTH_MAX: usize = 32;

/// The most values of a file, those that an alias repeats counted again.
const NODES_MAX: usize = 200_000;

/// A list or a table that has not ended.
struct Open {
    at: Position,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// The key, when only its value is missing.
    Map(Vec<(String, Node)>, Option<String>),
}

struct Building<'n> {
    name: &'n str,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads the one document of a file.
pub(super) fn of_yaml(name: &str, text: &str) -> Result<Node, PackError> {
    let mut building = Building {
        name,
        open: Vec::new(),
        anchors: Vec::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = place(error.marker().line(), error.marker().col());
            building.fault(at, error.info())
        })?;
        building.take(event, &span)?;
    }
    let empty = Node {
        at: place(1, 0),
        value: Value::Null,
    };
    Ok(building.root.unwrap_or(empty))
}

fn place(line: usize, column: usize) -> Position {
    Position {
        line: line.max(1),
        column: column + 1,
    }
}

// === impl Building ===

impl Building<'_> {
    fn fault(&self, at: Position, reason: impl Into<String>) -> PackError {
        PackError {
            pack: self.name.to_owned(),
            line: at.line,
            column: at.column,
            rule: None,
            reason: reason.into(),
            suggestion: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), PackError> {
        let at = place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = scalar(&text, style);
                self.put(Node { at, value }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.begin(at, anchor, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(at, anchor, Items::Map(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, anchor, items }) = self.open.pop() else {
                    return Err(self.fault(at, "an end without a beginning"));
                };
                let value = match items {
                    Items::List(list) => Value::List(list),
                    Items::Map(map, _) => Value::Map(map),
                };
                self.put(Node { at, value }, anchor, 1)
            }
            Event::Alias(anchor) => {
                let known = self.anchors.iter().find(|(known, _)| *known == anchor);
                let Some((_, node)) = known else {
                    return Err(self.fault(at, "an alias of what has not ended"));
                };
                let node = node.clone();
                let size = size(&node);
                self.put(node, 0, size)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.fault(at, "a second document: one is read"))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, items: Items) -> Result<(), PackError> {
        if self.open.len() == DEPTH_MAX {
            return Err(self.fault(at, format!("more than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { at, anchor, items });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), PackError> {
        self.nodes += size;
        if self.nodes > NODES_MAX {
            return Err(self.fault(node.at, format!("more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            // The copy that is kept for aliases counts as well.
            self.nodes += self::size(&node);
            self.anchors.push((anchor, node.clone()));
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(list)) => list.push(node),
            Some(Items::Map(map, key @ Some(_))) => {
                let key = key.take().expect("the pattern says so");
                if map.iter().any(|(known, _)| *known == key) {
                    return Err(self.fault(node.at, format!("`{key}` is there twice")));
                }
                map.push((key, node));
            }
            Some(Items::Map(_, key)) => match node.value {
                Value::Text(text) => *key = Some(text),
                Value::Number(number) => *key = Some(number.to_string()),
                Value::Bool(it) => *key = Some(it.to_string()),
                _ => return Err(self.fault(node.at, "a key is a text")),
            },
        }
        Ok(())
    }
}

/// How many values a tree has.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(list) => list.iter().map(size).sum(),
        Value::Map(map) => map.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}

/// A scalar by the core schema.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Number(number),
            _ => Value::Text(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_are_trees() {
        let read = |text| of_yaml("t", text).expect("parses");
        let node = read("a: [1, 'x']\nb: &here\n  c: |\n    two\nd: *here\n");
        let mut entries = node.entries().expect("a table");
        let list = entries.take("a").expect("there").list().expect("a list");
        assert_eq!(list[0].number().expect("a number"), 1.0);
        assert_eq!((list[1].at.line, list[1].at.column), (1, 8));
        let b = entries.take("b").expect("there");
        assert_eq!(Some(&b.value), entries.take("d").map(|node| &node.value));
        assert_eq!(
            read(r#"{"a": [null, true, "1"]}"#)
                .entries()
                .expect("a table")
                .left()
                .len(),
            1
        );
        assert_eq!(read("").value, Value::Null);
    }

    #[test]
    fn hostile_files_are_faults_with_places() {
        let fault = |text: &str| of_yaml("t", text).expect_err("hostile");
        assert_eq!(fault("a: b\n c: d").line, 2);
        assert!(fault(&"[".repeat(100)).reason.contains("levels"));
        assert!(fault("a: 1\na: 2").reason.contains("twice"));
        assert!(fault("---\na\n---\nb").reason.contains("second document"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let again = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{again}]\n");
        }
        assert!(fault(&bomb).reason.contains("values"));
    }
}
