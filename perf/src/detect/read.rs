//! One line of vectors.

use serde_json::Value;

/// Labels that say that there is nothing to find.
const BENIGN: [&str; 5] = ["", "benign", "none", "negative", "clean"];

/// The label of a text of which nobody knows: what one rule refuses and another finds.
pub(super) const UNDECIDED: &str = "undecided";

/// What the numbers of a span count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Offsets {
    /// Unicode scalar values, as Python's strings do.
    Chars,
    /// Bytes of UTF-8.
    Bytes,
}

/// Something that is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What it is.
    pub label: String,
    /// Where, in bytes; none when the whole text is meant.
    pub span: Option<(usize, usize)>,
}

/// A text and what is to be found in it; nothing when it is benign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    /// The text.
    pub text: String,
    /// What is to be found.
    pub labelled: Vec<Labelled>,
}

// === impl Vector ===

impl Vector {
    /// Reads `{"text", "label", "span"}`. `span` may be one pair or several; `label` one word for
    /// all of them or one for each; `spans` may hold objects of `start`, `end` and `label`.
    pub fn read(line: &str, offsets: Offsets) -> Result<Vector, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some(text) = value["text"].as_str() else {
            return Err("has no `text`".to_owned());
        };
        let mut labelled = Vec::new();
        let words = |of: &Value| -> Vec<String> {
            let word = |word: &Value| word.as_str().map(str::to_owned);
            match of {
                Value::Array(many) => many.iter().filter_map(word).collect(),
                one => word(one).into_iter().collect(),
            }
        };
        let labels = words(&value["label"]);
        let benign = |label: &str| BENIGN.iter().any(|none| none.eq_ignore_ascii_case(label));
        let spans = match &value["span"] {
            Value::Null => &value["spans"],
            span => span,
        };
        let pairs: Vec<&Value> = match spans {
            Value::Array(many) if many.iter().all(Value::is_number) && many.len() == 2 => {
                vec![spans]
            }
            Value::Array(many) => many.iter().collect(),
            Value::Object(_) => vec![spans],
            _ => Vec::new(),
        };
        for (index, pair) in pairs.iter().enumerate() {
            let own = words(&pair["label"]).into_iter().next();
            let label = own.or_else(|| labels.get(index).or(labels.last()).cloned());
            let Some(label) = label.filter(|label| !benign(label)) else {
                continue;
            };
            let span = Some(place(text, pair, offsets)?);
            labelled.push(Labelled { label, span });
        }
        if pairs.is_empty() {
            let whole = |label| Labelled { label, span: None };
            labelled.extend(labels.into_iter().filter(|label| !benign(label)).map(whole));
        }
        Ok(Vector {
            text: text.to_owned(),
            labelled,
        })
    }
}

/// A span in bytes.
fn place(text: &str, span: &Value, offsets: Offsets) -> Result<(usize, usize), String> {
    let number = |index: usize, name: &str| {
        let value = match span.is_array() {
            true => &span[index],
            false => &span[name],
        };
        value.as_u64().map(|number| number as usize)
    };
    let (Some(start), Some(end)) = (number(0, "start"), number(1, "end")) else {
        return Err(format!("its span is no pair of numbers: {span}"));
    };
    let at = |offset: usize| match offsets {
        Offsets::Bytes => text.is_char_boundary(offset).then_some(offset),
        Offsets::Chars => {
            let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            places.nth(offset)
        }
    };
    match (at(start), at(end)) {
        (Some(start), Some(end)) if start < end => Ok((start, end)),
        _ => Err(format!(
            "its span {start}..{end} does not lie in the text; see --offsets"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, offsets: Offsets) -> Vec<(String, Option<(usize, usize)>)> {
        let vector = Vector::read(line, offsets).expect("is valid");
        vector
            .labelled
            .into_iter()
            .map(|of| (of.label, of.span))
            .collect()
    }

    #[test]
    fn every_shape_of_label_and_span() {
        let chars = |line: &str| read(line, Offsets::Chars);
        let one = r#"{"text": "é key", "label": "k", "span": [2, 5]}"#;
        assert_eq!(chars(one), [("k".into(), Some((3, 6)))]);
        let bytes = r#"{"text": "é key", "label": "k", "span": [3, 6]}"#;
        assert_eq!(read(bytes, Offsets::Bytes), [("k".into(), Some((3, 6)))]);
        let several = r#"{"text": "ab", "label": "k", "span": [[0, 1], [1, 2]]}"#;
        assert_eq!(chars(several).len(), 2);
        let each = r#"{"text": "ab", "label": ["k", "l"], "span": [[0, 1], [1, 2]]}"#;
        assert_eq!(chars(each)[1], ("l".into(), Some((1, 2))));
        let objects = r#"{"text": "ab", "spans": [{"start": 1, "end": 2, "label": "m"}]}"#;
        assert_eq!(chars(objects), [("m".into(), Some((1, 2)))]);
        assert_eq!(
            chars(r#"{"text": "ab", "label": "k"}"#),
            [("k".into(), None)]
        );
        for benign in [
            r#"{"text": "ab"}"#,
            r#"{"text": "ab", "label": null, "span": null}"#,
            r#"{"text": "ab", "label": "benign"}"#,
        ] {
            assert!(chars(benign).is_empty(), "{benign}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (line, reason) in [
            ("{", "EOF"),
            ("{}", "no `text`"),
            (
                r#"{"text": "é", "label": "k", "span": [0, 2]}"#,
                "--offsets",
            ),
            (r#"{"text": "e", "label": "k", "span": ["a"]}"#, "no pair"),
        ] {
            let error = Vector::read(line, Offsets::Chars).expect_err(line);
            assert!(error.contains(reason), "{error}");
        }
    }
}
