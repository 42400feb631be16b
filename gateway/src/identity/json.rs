//! A strict JSON reader for tokens and provider documents.
//!
//! Refuses what two readers may understand differently: duplicate names (RFC 8725, section 2.4 of
//! its threats; the check that reads the first and the use that reads the last), trailing bytes,
//! invalid UTF-8, lone surrogates, and nesting deeper than [`DEPTH_MAX`]. Its own value type keeps
//! that independent of the features with which `serde_json` happens to be compiled.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The deepest nesting accepted; tokens and key sets in the wild use four levels.
pub(super) const DEPTH_MAX: usize = 16;

/// A JSON value without duplicate names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Integer(u64),
    String(String),
    Array(Vec<Json>),
    Object(Object),
}

/// A JSON object. Ordered, so that refusing duplicates costs n log n for a hostile document.
pub(super) type Object = BTreeMap<String, Json>;

/// Why a document was refused; for logs about a provider, never shown to a caller.
#[derive(Debug)]
pub(super) struct JsonError(String);

// === impl Json ===

impl Json {
    /// Reads one whole document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Value { depth: 0 }
            .deserialize(&mut reader)
            .map_err(JsonError::from)?;
        reader.end().map_err(JsonError::from)?;
        Ok(value)
    }

    /// Reads one whole document that must be an object.
    pub(super) fn parse_object(bytes: &[u8]) -> Result<Object, JsonError> {
        match Self::parse(bytes)? {
            Self::Object(object) => Ok(object),
            _ => Err(JsonError("it is not an object".to_owned())),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a value that is nested `depth` deep.
#[derive(Clone, Copy)]
struct Value {
    depth: usize,
}

// === impl Value ===

impl Value {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("it is nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a negative number is only ever refused"
    )]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Number(value as f64), Json::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a name occurs twice"));
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_are_read() {
        let object = Json::parse_object(br#" {"a":[1,-2,1.5,true,null,"\u00e9"],"b":{}} "#)
            .expect("well-formed");
        assert_eq!(
            object["a"],
            Json::Array(vec![
                Json::Integer(1),
                Json::Number(-2.0),
                Json::Number(1.5),
                Json::Bool(true),
                Json::Null,
                Json::String("\u{e9}".to_owned()),
            ])
        );
        assert_eq!(object["b"], Json::Object(Object::new()));
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let cases: [&[u8]; 14] = [
            b"",
            b"{",
            b"{}{}",
            b"{} x",
            b"[]",
            b"null",
            br#"{"a":1,"a":2}"#,
            br#"{"a":1,"\u0061":2}"#,
            br#"{"a":{"b":1,"b":1}}"#,
            br#"{"a":"\ud800"}"#,
            b"{\"a\":\"\xff\"}",
            br#"{"a":01}"#,
            br#"{"a":1,}"#,
            br#"{"a":1e999}"#,
        ];
        for bytes in cases {
            assert!(
                Json::parse_object(bytes).is_err(),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(Json::parse(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_err());
        let objects = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        assert!(Json::parse(objects.as_bytes()).is_err());
    }
}
