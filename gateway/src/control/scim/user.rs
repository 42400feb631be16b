//! A SCIM user: what of it the gateway understands, and everything else as it was sent.
//!
//! Understood are `userName`, `externalId` and `active`; the rest is kept so that a service that
//! compares finds what it wrote. A `password` is never kept. Names of attributes are matched
//! whatever their case (RFC 7643, section 2.1).

use serde_json::{Map, Value, json};

use super::patch::{Change, apply};
use crate::cutoff::{format_time, is_text};

/// The schema of a user (RFC 7643, section 4.1).
pub(in crate::control) const CORE_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The most that is kept of one person, in bytes of JSON.
const USER_BYTES_MAX: usize = 32 * 1024;

/// One person.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::control) struct User {
    pub(in crate::control) id: String,
    /// All but `id`, `meta` and `schemas`; `userName` is there, and `active` is a boolean.
    pub(in crate::control) attributes: Map<String, Value>,
    pub(in crate::control) created_unix: u64,
    pub(in crate::control) modified_unix: u64,
}

/// What was sent cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(in crate::control) struct Invalid {
    /// RFC 7644, section 3.12, table 9.
    pub(in crate::control) kind: &'static str,
    pub(in crate::control) detail: String,
}

// === impl Invalid ===

impl Invalid {
    pub(in crate::control) fn value(detail: impl Into<String>) -> Self {
        Self {
            kind: "invalidValue",
            detail: detail.into(),
        }
    }
}

// === impl User ===

impl User {
    /// A new person; active unless said otherwise.
    pub(super) fn new(
        id: String,
        attributes: Map<String, Value>,
        now_unix: u64,
    ) -> Result<Self, Invalid> {
        let user = Self {
            id,
            attributes: settled(attributes, true)?,
            created_unix: now_unix,
            modified_unix: now_unix,
        };
        user.bounded()
    }

    /// The same person with these attributes in place of all. One that does not say whether they
    /// are active leaves them as they were: an omission must not let anybody in.
    pub(super) fn replaced(
        &self,
        attributes: Map<String, Value>,
        now_unix: u64,
    ) -> Result<Self, Invalid> {
        let user = Self {
            attributes: settled(attributes, self.is_active())?,
            modified_unix: now_unix,
            ..self.clone()
        };
        user.bounded()
    }

    /// The same person after these changes, all or none.
    pub(super) fn changed(&self, changes: &[Change], now_unix: u64) -> Result<Self, Invalid> {
        let mut attributes = self.attributes.clone();
        for change in changes {
            apply(&mut attributes, change)?;
        }
        self.replaced(attributes, now_unix)
    }

    pub(in crate::control) fn user_name(&self) -> &str {
        let name = find(&self.attributes, "userName").and_then(Value::as_str);
        name.unwrap_or_default()
    }

    pub(in crate::control) fn external_id(&self) -> Option<&str> {
        find(&self.attributes, "externalId").and_then(Value::as_str)
    }

    /// Whether they may call. What is not plainly true is false.
    pub(in crate::control) fn is_active(&self) -> bool {
        find(&self.attributes, "active") == Some(&Value::Bool(true))
    }

    /// As it is answered.
    pub(in crate::control) fn to_json(&self) -> Value {
        let mut all = Map::new();
        let extensions = self
            .attributes
            .keys()
            .filter(|name| name.starts_with("urn:"));
        let schemas: Vec<&str> = std::iter::once(CORE_SCHEMA)
            .chain(extensions.map(String::as_str))
            .collect();
        all.insert("schemas".to_owned(), json!(schemas));
        all.insert("id".to_owned(), json!(self.id));
        all.extend(self.attributes.clone());
        let meta = json!({
            "resourceType": "User",
            "created": format_time(self.created_unix),
            "lastModified": format_time(self.modified_unix),
            "location": self.location(),
        });
        all.insert("meta".to_owned(), meta);
        Value::Object(all)
    }

    /// Where it is, on this listener.
    pub(in crate::control) fn location(&self) -> String {
        format!("/scim/v2/Users/{}", self.id)
    }

    fn bounded(self) -> Result<Self, Invalid> {
        let bytes = Value::Object(self.attributes.clone()).to_string().len();
        if bytes > USER_BYTES_MAX {
            let detail = format!("the user is larger than {USER_BYTES_MAX} bytes");
            return Err(Invalid::value(detail));
        }
        Ok(self)
    }
}

/// Takes out what is ours or nobody's to keep, and checks what we understand.
fn settled(sent: Map<String, Value>, active: bool) -> Result<Map<String, Value>, Invalid> {
    let mut attributes = Map::new();
    let mut says_active = active;
    for (name, value) in sent {
        let known = |other: &str| name.eq_ignore_ascii_case(other);
        if ["id", "meta", "schemas", "password", "groups"]
            .iter()
            .any(|it| known(it))
        {
            continue;
        }
        if known("active") {
            says_active = boolean(&value)?.unwrap_or(active);
        } else if known("userName") {
            attributes.insert("userName".to_owned(), text("userName", value)?);
        } else if known("externalId") {
            // Null is as good as absent.
            if !value.is_null() {
                attributes.insert("externalId".to_owned(), text("externalId", value)?);
            }
        } else {
            attributes.insert(name, value);
        }
    }
    if !attributes.contains_key("userName") {
        return Err(Invalid::value("`userName` is required"));
    }
    attributes.insert("active".to_owned(), Value::Bool(says_active));
    Ok(attributes)
}

fn text(name: &str, value: Value) -> Result<Value, Invalid> {
    match &value {
        Value::String(text) if is_text(text) => Ok(value),
        _ => Err(Invalid::value(format!(
            "`{name}` must be a short text without control characters"
        ))),
    }
}

/// A boolean, or the word for one, as Entra writes it; nothing for null.
fn boolean(value: &Value) -> Result<Option<bool>, Invalid> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        Value::String(word) if word.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(word) if word.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(Invalid::value("`active` must be true or false")),
    }
}

/// An attribute by its name, whatever its case.
pub(super) fn find<'a>(attributes: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    fn new(value: Value) -> Result<User, Invalid> {
        User::new("7".to_owned(), object(value), 5)
    }

    #[test]
    fn what_is_understood_is_settled_and_the_rest_is_kept() {
        let user = new(json!({
            "schemas": [CORE_SCHEMA], "id": "theirs", "meta": {}, "password": "t1meMa$heen",
            "username": "ada@corp.example", "externalId": "00u1", "ACTIVE": "True",
            "name": {"givenName": "Ada"},
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D"},
        }));
        let user = user.unwrap();
        assert_eq!(
            (user.user_name(), user.external_id()),
            ("ada@corp.example", Some("00u1"))
        );
        assert!(user.is_active());
        let answered = user.to_json();
        assert_eq!(answered["id"], "7");
        assert_eq!(answered["name"]["givenName"], "Ada");
        assert_eq!(answered["active"], true);
        assert_eq!(answered["schemas"].as_array().map(Vec::len), Some(2));
        assert_eq!(answered["meta"]["created"], "1970-01-01T00:00:05Z");
        assert!(!answered.to_string().contains("t1meMa"));
    }

    #[test]
    fn what_cannot_be_taken_is_said() {
        for bad in [
            json!({}),
            json!({"userName": ""}),
            json!({"userName": 7}),
            json!({"userName": "a\nb"}),
            json!({"userName": "a", "active": "perhaps"}),
            json!({"userName": "a", "active": 0}),
            json!({"userName": "a", "externalId": ["x"]}),
            json!({"userName": "a", "title": "x".repeat(USER_BYTES_MAX)}),
        ] {
            assert_eq!(new(bad.clone()).unwrap_err().kind, "invalidValue", "{bad}");
        }
    }

    #[test]
    fn an_omission_lets_nobody_in() {
        let user = new(json!({"userName": "ada", "active": false})).unwrap();
        let replaced = user
            .replaced(object(json!({"userName": "ada"})), 6)
            .unwrap();
        assert!(!replaced.is_active());
        assert_eq!((replaced.created_unix, replaced.modified_unix), (5, 6));
    }
}
