//! SCIM's PATCH (RFC 7644, section 3.5.2), as far as provisioning services use it: `add`, `replace`
//! and `remove` in any case, without a path or with one of the forms `attribute`, `attribute.sub`,
//! `attribute[sub eq "value"]` and `attribute[sub eq "value"].sub`, each with or without its
//! schema's URN before it.

use serde_json::{Map, Value};

use super::user::{CORE_SCHEMA, Invalid};

/// The most operations that one request may have.
const CHANGES_MAX: usize = 100;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::control) struct Change {
    kind: Kind,
    path: Option<Path>,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Replace,
    Remove,
}

/// Where something is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    /// The extension that the attribute belongs to.
    extension: Option<String>,
    attribute: String,
    /// Which elements of a list: those whose member of this name has this value.
    which: Option<(String, String)>,
    sub: Option<String>,
}

/// Reads the body of a PATCH.
///
/// # Errors
/// When it is none, or asks for something that is not understood.
pub(in crate::control) fn parse_changes(body: &Value) -> Result<Vec<Change>, Invalid> {
    let operations = member(body, "Operations").and_then(Value::as_array);
    let operations = operations.ok_or_else(|| syntax("there is no array `Operations`"))?;
    if operations.is_empty() || operations.len() > CHANGES_MAX {
        return Err(syntax(format!(
            "`Operations` has 1 to {CHANGES_MAX} members"
        )));
    }
    operations.iter().map(parse_change).collect()
}

fn parse_change(operation: &Value) -> Result<Change, Invalid> {
    let word = member(operation, "op")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let kind = match word.to_ascii_lowercase().as_str() {
        "add" => Kind::Add,
        "replace" => Kind::Replace,
        "remove" => Kind::Remove,
        _ => {
            return Err(syntax(format!(
                "`op` is {word:?}, not add, replace or remove"
            )));
        }
    };
    let path = match member(operation, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Path::parse(text)?),
        Some(_) => return Err(bad_path("`path` is no text")),
    };
    let value = member(operation, "value").cloned().unwrap_or(Value::Null);
    match (kind, &path, &value) {
        (Kind::Remove, None, _) => Err(Invalid {
            kind: "noTarget",
            detail: "`remove` needs a `path`".to_owned(),
        }),
        (Kind::Add | Kind::Replace, None, Value::Object(_)) | (_, Some(_), _) => {
            Ok(Change { kind, path, value })
        }
        (_, None, _) => Err(syntax("without a `path` the `value` is an object")),
    }
}

/// Makes one change.
///
/// # Errors
/// When it would change what nobody may.
pub(super) fn apply(attributes: &mut Map<String, Value>, change: &Change) -> Result<(), Invalid> {
    match (&change.path, &change.value) {
        (Some(path), value) => set(attributes, change.kind, path, value),
        // Each member is a path of its own: Entra sends `{"name.familyName": …}`.
        (None, Value::Object(members)) => members.iter().try_for_each(|(name, value)| {
            // An extension as a whole is named by its URN alone.
            let whole = name.starts_with("urn:") && value.is_object();
            match whole {
                true => value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .try_for_each(|(sub, value)| {
                        let path = Path::parse(&format!("{name}:{sub}"))?;
                        set(attributes, change.kind, &path, value)
                    }),
                false => set(attributes, change.kind, &Path::parse(name)?, value),
            }
        }),
        (None, _) => Err(syntax("without a `path` the `value` is an object")),
    }
}

fn set(
    attributes: &mut Map<String, Value>,
    kind: Kind,
    path: &Path,
    value: &Value,
) -> Result<(), Invalid> {
    let protected = |name: &str| path.extension.is_none() && path.is(name);
    if protected("id") || protected("meta") || (protected("userName") && kind == Kind::Remove) {
        let detail = format!("`{}` cannot be changed so", path.attribute);
        return Err(Invalid {
            kind: "mutability",
            detail,
        });
    }
    let within = match &path.extension {
        None => attributes,
        Some(urn) => object_at(attributes, urn),
    };
    match (&path.which, &path.sub) {
        (Some((by, wanted)), sub) => {
            set_element(within, kind, path, (by, wanted), sub.as_deref(), value);
        }
        (None, Some(sub)) => {
            set_plain(object_at(within, &path.attribute), kind, sub, value);
        }
        (None, None) => set_plain(within, kind, &path.attribute, value),
    }
    Ok(())
}

/// Sets, extends or removes a member by its name.
fn set_plain(object: &mut Map<String, Value>, kind: Kind, name: &str, value: &Value) {
    let key = key_of(object, name);
    match (kind, object.get_mut(&key), value) {
        (Kind::Remove, ..) => {
            object.remove(&key);
        }
        (Kind::Add, Some(Value::Array(present)), Value::Array(more)) => {
            for element in more {
                if !present.contains(element) {
                    present.push(element.clone());
                }
            }
        }
        // Members that are not named stay as they are.
        (_, Some(Value::Object(present)), Value::Object(more)) => present.extend(more.clone()),
        _ => {
            object.insert(key, value.clone());
        }
    }
}

/// Changes those elements of a list whose member `by.0` is `by.1`; where there is none, makes one.
fn set_element(
    object: &mut Map<String, Value>,
    kind: Kind,
    path: &Path,
    by: (&str, &str),
    sub: Option<&str>,
    value: &Value,
) {
    let key = key_of(object, &path.attribute);
    let list = object
        .entry(key)
        .or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else {
        return;
    };
    let (name, wanted) = by;
    let is_meant = |element: &Value| {
        member(element, name).is_some_and(|found| match found {
            Value::String(text) => text == wanted,
            Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
            _ => false,
        })
    };
    if kind == Kind::Remove && sub.is_none() {
        return list.retain(|element| !is_meant(element));
    }
    if kind != Kind::Remove && !list.iter().any(is_meant) {
        let mut element = Map::new();
        element.insert(name.to_owned(), Value::String(wanted.to_owned()));
        list.push(Value::Object(element));
    }
    for element in list.iter_mut().filter(|element| is_meant(element)) {
        match (element, sub, value) {
            (Value::Object(element), Some(sub), value) => set_plain(element, kind, sub, value),
            (Value::Object(element), None, Value::Object(more)) => element.extend(more.clone()),
            (element, None, value) => *element = value.clone(),
            _ => {}
        }
    }
}

/// The object with this name; made where there is none.
fn object_at<'a>(object: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let key = key_of(object, name);
    let found = object
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if !found.is_object() {
        *found = Value::Object(Map::new());
    }
    match found {
        Value::Object(found) => found,
        _ => unreachable!("it was made one just now"),
    }
}

/// How this member is written here, if it is there.
fn key_of(object: &Map<String, Value>, name: &str) -> String {
    let known = object.keys().find(|key| key.eq_ignore_ascii_case(name));
    known.cloned().unwrap_or_else(|| name.to_owned())
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    super::user::find(value.as_object()?, name)
}

fn syntax(detail: impl Into<String>) -> Invalid {
    Invalid {
        kind: "invalidSyntax",
        detail: detail.into(),
    }
}

fn bad_path(detail: impl Into<String>) -> Invalid {
    Invalid {
        kind: "invalidPath",
        detail: detail.into(),
    }
}

// === impl Path ===

impl Path {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let not_understood = || bad_path(format!("the path {text:?} is not understood"));
        let (extension, rest) = match text
            .get(..4)
            .is_some_and(|it| it.eq_ignore_ascii_case("urn:"))
        {
            false => (None, text),
            true => {
                // A value between brackets may have colons itself.
                let end = text.find('[').unwrap_or(text.len());
                let colon = text[..end].rfind(':').ok_or_else(not_understood)?;
                let urn = &text[..colon];
                let ours = urn.eq_ignore_ascii_case(CORE_SCHEMA);
                ((!ours).then(|| urn.to_owned()), &text[colon + 1..])
            }
        };
        let (attribute, which, rest) = match rest.split_once('[') {
            None => match rest.split_once('.') {
                Some((attribute, sub)) => (attribute, None, Some(sub)),
                None => (rest, None, None),
            },
            Some((attribute, filter)) => {
                let (filter, behind) = filter.rsplit_once(']').ok_or_else(not_understood)?;
                let which = parse_comparison(filter).ok_or_else(not_understood)?;
                let sub = match behind {
                    "" => None,
                    _ => Some(behind.strip_prefix('.').ok_or_else(not_understood)?),
                };
                (attribute, Some(which), sub)
            }
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_$".contains(&b))
        };
        if !is_name(attribute) || rest.is_some_and(|sub| !is_name(sub)) {
            return Err(not_understood());
        }
        Ok(Self {
            extension,
            attribute: attribute.to_owned(),
            which,
            sub: rest.map(str::to_owned),
        })
    }

    fn is(&self, name: &str) -> bool {
        self.attribute.eq_ignore_ascii_case(name)
    }
}

/// `name eq "value"` or `name eq value`: what it compares with what.
pub(super) fn parse_comparison(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    if !operator.eq_ignore_ascii_case("eq") {
        return None;
    }
    let value = value.trim();
    let value = match value.starts_with('"') {
        // The value is a JSON string, escapes and all (RFC 7644, section 3.4.2.2).
        true => serde_json::from_str::<String>(value).ok()?,
        false if value.bytes().all(|b| b.is_ascii_alphanumeric()) => value.to_owned(),
        false => return None,
    };
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests;
