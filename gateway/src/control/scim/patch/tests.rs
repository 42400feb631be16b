//! PATCH as Okta and Entra document it, and what they must not do.

use serde_json::json;

use super::*;

fn patched(before: Value, operations: Value) -> Result<Value, Invalid> {
    let changes = parse_changes(&json!({"Operations": operations}))?;
    let Value::Object(mut attributes) = before else {
        panic!("a test's user");
    };
    for change in &changes {
        apply(&mut attributes, change)?;
    }
    Ok(Value::Object(attributes))
}

fn ada() -> Value {
    json!({"userName": "ada", "active": true, "emails": [{"type": "work", "value": "a@x.example"}]})
}

#[test]
fn okta_deactivates_without_a_path() {
    let after = patched(
        ada(),
        json!([{"op": "replace", "value": {"active": false}}]),
    )
    .unwrap();
    assert_eq!(after["active"], false);
    assert_eq!(after["userName"], "ada");
}

#[test]
fn entra_deactivates_with_a_path_and_a_word() {
    let operations = json!([{"op": "Replace", "path": "active", "value": "False"}]);
    let after = patched(ada(), operations).unwrap();
    assert_eq!(after["active"], "False", "settled afterwards");
}

#[test]
fn paths_lead_into_objects_lists_and_extensions() {
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let after = patched(
        ada(),
        json!([
            {"op": "Add", "path": "name.givenName", "value": "Ada"},
            {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "b@x.example"},
            {"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "1"},
            {"op": "Add", "path": format!("{enterprise}:department"), "value": "R"},
            {"op": "replace", "value": {
                "displayName": "Ada L.", "name.familyName": "L", format!("{enterprise}:costCenter"): "9",
                enterprise: {"division": "D"},
            }},
            {"op": "replace", "path": format!("{CORE_SCHEMA}:TITLE"), "value": "Countess"},
            {"op": "add", "path": "title", "value": "Analyst"},
            {"op": "add", "path": "emails", "value": [{"type": "home", "value": "h@x.example"}]},
        ]),
    );
    let after = after.unwrap();
    assert_eq!(
        after["name"],
        json!({"givenName": "Ada", "familyName": "L"})
    );
    let emails = json!([
        {"type": "work", "value": "b@x.example"}, {"type": "home", "value": "h@x.example"},
    ]);
    assert_eq!(after["emails"], emails);
    assert_eq!(
        after["phoneNumbers"],
        json!([{"type": "mobile", "value": "1"}])
    );
    let extension = json!({"department": "R", "costCenter": "9", "division": "D"});
    assert_eq!(after[enterprise], extension);
    assert_eq!(
        after["TITLE"], "Analyst",
        "names are the same whatever their case"
    );
    assert!(after.get("title").is_none());
}

#[test]
fn what_is_removed_is_gone() {
    let after = patched(
        ada(),
        json!([
            {"op": "Remove", "path": "emails[type eq \"work\"]"},
            {"op": "remove", "path": "nickName"},
        ]),
    );
    assert_eq!(after.unwrap()["emails"], json!([]));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (operations, kind) in [
        (json!([]), "invalidSyntax"),
        (
            json!([{"op": "move", "path": "a", "value": 1}]),
            "invalidSyntax",
        ),
        (json!([{"op": "replace", "value": false}]), "invalidSyntax"),
        (json!([{"op": "remove"}]), "noTarget"),
        (
            json!([{"op": "replace", "path": "", "value": 1}]),
            "invalidPath",
        ),
        (
            json!([{"op": "replace", "path": "a.b.c", "value": 1}]),
            "invalidPath",
        ),
        (
            json!([{"op": "replace", "path": "a[b", "value": 1}]),
            "invalidPath",
        ),
        (
            json!([{"op": "replace", "path": "a[b sw \"c\"]", "value": 1}]),
            "invalidPath",
        ),
        (
            json!([{"op": "replace", "path": "id", "value": "x"}]),
            "mutability",
        ),
        (json!([{"op": "remove", "path": "userName"}]), "mutability"),
        (
            json!([{"op": "replace", "value": {"id": "x"}}]),
            "mutability",
        ),
        (
            Value::Array(vec![json!({"op": "remove", "path": "a"}); 101]),
            "invalidSyntax",
        ),
    ] {
        let refused = patched(ada(), operations.clone()).unwrap_err();
        assert_eq!(refused.kind, kind, "{operations}");
    }
    assert!(parse_changes(&json!({})).is_err());
    assert!(parse_changes(&json!("x")).is_err());
}

#[test]
fn comparisons() {
    let read = |text| parse_comparison(text);
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(read("userName eq \"a b\""), pair("userName", "a b"));
    assert_eq!(read("userName EQ \"a\\\"b\""), pair("userName", "a\"b"));
    assert_eq!(read("active eq true"), pair("active", "true"));
    for bad in [
        "",
        "userName",
        "userName eq",
        "userName co \"a\"",
        "a eq \"b\" and c eq \"d\"",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}
