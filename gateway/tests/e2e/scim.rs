//! A provisioning service tells of people that come and go, with requests of the shape that Okta
//! and Entra document, and those who go are cut off.

use penstock_loadgen::client::{Call, Response};
use serde_json::{Value, json};

use crate::control::{control, verb_ok};
use crate::stack::{Setup, Stack};
use crate::witness::{code, scripted_chat};

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The service's token; made up here, so that no fixture has one.
fn token() -> String {
    format!("provisioning-{}", "0123456789abcdef".repeat(2))
}

/// SCIM with everything else as usual.
pub(crate) fn configure(setup: &mut Setup) {
    setup.control += "\nscim = { token_file = \"scim.token\" }\n";
    setup.files.push(("scim.token".to_owned(), token() + "\n"));
}

fn start() -> Stack {
    Stack::with(|setup| {
        setup.record = false;
        configure(setup);
    })
}

fn send(stack: &Stack, method: &str, path: &str, body: Option<&Value>) -> Response {
    let mut call = Call::new(method, &format!("/scim/v2{path}")).token(&token());
    if let Some(body) = body {
        let media = "application/scim+json; charset=utf-8";
        call = call.field("content-type", media).body(body.to_string());
    }
    control(stack, &call)
}

#[track_caller]
fn ok(stack: &Stack, method: &str, path: &str, body: Option<&Value>, status: u16) -> Value {
    let answer = send(stack, method, path, body);
    assert_eq!(answer.status(), status, "{}", answer.text());
    if status == 204 {
        return Value::Null;
    }
    assert_eq!(
        answer.head.field("content-type"),
        Some("application/scim+json")
    );
    answer.json()
}

#[track_caller]
fn refused(answer: &Response, status: u16, kind: Option<&str>) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(
        body["schemas"][0],
        "urn:ietf:params:scim:api:messages:2.0:Error"
    );
    assert_eq!(
        body["status"],
        status.to_string(),
        "a text, as the RFC has it"
    );
    assert_eq!(body["scimType"].as_str(), kind);
    assert!(body["detail"].as_str().is_some_and(|it| it.len() > 10));
}

/// What becomes of this person's call.
fn ask(stack: &Stack, subject: &str) -> (u16, String) {
    let token = stack.issuer.token(subject, &["engineers"]);
    let body = scripted_chat(&json!({"text": "hello"}), false);
    let answer = stack.send(Call::post("/v1/chat/completions", &body).token(&token));
    (answer.status(), code(&answer))
}

fn is_cut_off() -> (u16, String) {
    (401, "revoked".to_owned())
}

#[test]
fn okta_creates_deactivates_and_brings_back() {
    let mut stack = start();
    // Is she there? Then create her, look at her, change her.
    let query = "/Users?filter=userName%20eq%20%22ada%40corp.example%22&startIndex=1&count=100";
    assert_eq!(ok(&stack, "GET", query, None, 200)["totalResults"], 0);
    let profile = json!({
        "schemas": [USER], "userName": "ada@corp.example",
        "name": {"givenName": "Ada", "familyName": "L"},
        "emails": [{"primary": true, "value": "ada@corp.example", "type": "work"}],
        "displayName": "Ada L", "locale": "en-US", "externalId": "ada", "groups": [],
        "password": "1mz050nq", "active": true,
    });
    let made = ok(&stack, "POST", "/Users", Some(&profile), 201);
    let id = made["id"].as_str().unwrap().to_owned();
    let user = format!("/Users/{id}");
    assert_eq!(made["meta"]["location"], format!("/scim/v2{user}"));
    assert!(made.get("password").is_none());
    refused(
        &send(&stack, "POST", "/Users", Some(&profile)),
        409,
        Some("uniqueness"),
    );
    let found = ok(&stack, "GET", query, None, 200);
    assert_eq!(found["totalResults"], 1);
    assert_eq!(found["Resources"][0]["id"], id);
    assert_eq!(ask(&stack, "ada").0, 200);
    let mut fuller = profile.clone();
    fuller["title"] = json!("Analyst");
    assert_eq!(
        ok(&stack, "PUT", &user, Some(&fuller), 200)["title"],
        "Analyst"
    );

    // Unassigned at Okta.
    let change = |active: bool| json!({"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": {"active": active}}]});
    let off = ok(&stack, "PATCH", &user, Some(&change(false)), 200);
    assert_eq!(off["active"], false);
    assert_eq!(ask(&stack, "ada"), is_cut_off());
    assert_eq!(ask(&stack, "bob").0, 200, "and nobody else");
    // Twice is once; a restart changes nothing; neither does an update that does not say.
    ok(&stack, "PATCH", &user, Some(&change(false)), 200);
    assert_eq!(stack.status()["revocations"]["by_api"], 1);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(ask(&stack, "ada"), is_cut_off());
    let mut silent = fuller.clone();
    silent.as_object_mut().unwrap().remove("active");
    assert_eq!(
        ok(&stack, "PUT", &user, Some(&silent), 200)["active"],
        false
    );
    assert_eq!(ask(&stack, "ada"), is_cut_off());

    // An operator revokes her as well: what SCIM lifts is SCIM's own.
    verb_ok(
        &stack,
        &["revoke", "--subject", "ada", "--reason", "laptop stolen"],
    );
    ok(&stack, "PATCH", &user, Some(&change(true)), 200);
    assert_eq!(ask(&stack, "ada"), is_cut_off());
    let left = control(&stack, &Call::get("/revocations")).json();
    assert_eq!(
        left["revocations"].as_array().map(Vec::len),
        Some(1),
        "{left}"
    );
    let operators = left["revocations"][0]["id"].as_str().unwrap().to_owned();
    control(
        &stack,
        &Call::new("DELETE", &format!("/revocations/{operators}")),
    );
    assert_eq!(ask(&stack, "ada").0, 200);
    assert!(!stack.log().contains("1mz050nq") && !stack.log().contains(&token()));
}

#[test]
fn entra_disables_with_a_word_and_deletes() {
    let stack = start();
    let person = json!({
        "schemas": [USER, ENTERPRISE], "externalId": "0a21f0f2", "userName": "bob@corp.example",
        "active": true, "addresses": [], "emails": [{"type": "work", "value": "b@corp.example"}],
        "meta": {"resourceType": "User"}, "name": {"formatted": "Bob"}, "roles": [],
        ENTERPRISE: {"department": "Sales"},
    });
    let query = "/Users?filter=externalId+eq+%220a21f0f2%22";
    assert_eq!(ok(&stack, "GET", query, None, 200)["Resources"], json!([]));
    let made = ok(&stack, "POST", "/Users", Some(&person), 201);
    let user = format!("/Users/{}", made["id"].as_str().unwrap());
    assert_eq!(made["schemas"], json!([USER, ENTERPRISE]));
    let update = json!({"schemas": [PATCH_OP], "Operations": [
        {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "bob@corp.example"},
        {"op": "Replace", "path": "name.familyName", "value": "B"},
        {"op": "Add", "path": format!("{ENTERPRISE}:department"), "value": "Risk"},
    ]});
    let updated = ok(&stack, "PATCH", &user, Some(&update), 200);
    assert_eq!(updated["emails"][0]["value"], "bob@corp.example");
    assert_eq!(
        updated["name"],
        json!({"formatted": "Bob", "familyName": "B"})
    );
    assert_eq!(updated[ENTERPRISE]["department"], "Risk");
    // Soft-deleted: disabled by a word.
    let word = |word: &str| {
        json!({"schemas": [PATCH_OP],
            "Operations": [{"op": "Replace", "path": "active", "value": word}]})
    };
    let off = ok(&stack, "PATCH", &user, Some(&word("False")), 200);
    assert_eq!(off["active"], false, "a boolean");
    assert_eq!(ask(&stack, "0a21f0f2"), is_cut_off());
    let found = ok(&stack, "GET", query, None, 200);
    assert_eq!(found["Resources"][0]["active"], false);
    ok(&stack, "PATCH", &user, Some(&word("True")), 200);
    assert_eq!(ask(&stack, "0a21f0f2").0, 200);
    // Deleted, straight from active: cut off for good, until they are provisioned anew.
    ok(&stack, "DELETE", &user, None, 204);
    assert_eq!(ask(&stack, "0a21f0f2"), is_cut_off());
    refused(&send(&stack, "GET", &user, None), 404, None);
    refused(&send(&stack, "DELETE", &user, None), 404, None);
    ok(&stack, "POST", "/Users", Some(&person), 201);
    assert_eq!(ask(&stack, "0a21f0f2").0, 200);
    let listed = control(&stack, &Call::get("/revocations")).json();
    assert_eq!(listed["revocations"], json!([]));
}

#[test]
fn the_service_learns_what_is_served_and_pages_through_it() {
    let stack = start();
    let config = ok(&stack, "GET", "/ServiceProviderConfig", None, 200);
    assert_eq!(config["patch"]["supported"], true);
    assert_eq!(config["bulk"]["supported"], false);
    let types = ok(&stack, "GET", "/ResourceTypes", None, 200);
    assert_eq!(types["Resources"][0]["endpoint"], "/Users");
    let schemas = ok(&stack, "GET", "/Schemas", None, 200);
    assert_eq!(schemas["Resources"][0]["id"], USER);
    for number in 0..5 {
        let user = json!({"userName": format!("user{number}"), "active": number != 3});
        ok(&stack, "POST", "/Users", Some(&user), 201);
    }
    assert_eq!(
        ask(&stack, "user3"),
        is_cut_off(),
        "the userName, where there is nothing else"
    );
    let mut names = Vec::new();
    for start in [1, 3, 5, 7] {
        let page = ok(
            &stack,
            "GET",
            &format!("/Users?startIndex={start}&count=2"),
            None,
            200,
        );
        assert_eq!(page["totalResults"], 5);
        assert_eq!(page["startIndex"], start);
        let users = page["Resources"].as_array().unwrap();
        assert_eq!(page["itemsPerPage"], users.len());
        names.extend(
            users
                .iter()
                .map(|it| it["userName"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(names, ["user0", "user1", "user2", "user3", "user4"]);
    let none = ok(&stack, "GET", "/Users?count=0", None, 200);
    assert_eq!(
        (&none["totalResults"], &none["Resources"]),
        (&json!(5), &json!([]))
    );
    let found = ok(
        &stack,
        "GET",
        "/Users?filter=USERNAME%20EQ%20%22USER2%22",
        None,
        200,
    );
    assert_eq!(
        found["Resources"][0]["userName"], "user2",
        "case is no difference"
    );
}

#[test]
fn what_is_wrong_changes_nothing() {
    let stack = start();
    let made = ok(
        &stack,
        "POST",
        "/Users",
        Some(&json!({"userName": "eve"})),
        201,
    );
    let user = format!("/Users/{}", made["id"].as_str().unwrap());
    ok(
        &stack,
        "POST",
        "/Users",
        Some(&json!({"userName": "mallory"})),
        201,
    );
    let send = |method, path: &str, body| send(&stack, method, path, Some(&body));
    refused(
        &send("POST", "/Users", json!({})),
        400,
        Some("invalidValue"),
    );
    refused(
        &send("POST", "/Users", json!([])),
        400,
        Some("invalidSyntax"),
    );
    let taken = json!({"userName": "MALLORY", "active": true});
    refused(&send("PUT", &user, taken), 409, Some("uniqueness"));
    let half = json!({"Operations": [
        {"op": "replace", "path": "title", "value": "x"},
        {"op": "replace", "path": "active", "value": "maybe"},
    ]});
    refused(&send("PATCH", &user, half), 400, Some("invalidValue"));
    assert!(ok(&stack, "GET", &user, None, 200).get("title").is_none());
    let filter = "/Users?filter=emails%20co%20%22x%22";
    refused(
        &self::send(&stack, "GET", filter, None),
        400,
        Some("invalidFilter"),
    );
    // Nobody else's token, and no operator's standing, opens this.
    for call in [
        Call::get("/scim/v2/Users"),
        Call::get("/scim/v2/Users").token(&token().replace('f', "e")),
        Call::get("/scim/v2/Users").token(&stack.token()),
        Call::new("DELETE", &format!("/scim/v2{user}")).token(""),
    ] {
        let answer = control(&stack, &call);
        refused(&answer, 401, None);
        assert!(answer.head.field("www-authenticate").is_some());
    }
    // And the service's token opens nothing else.
    let body = scripted_chat(&json!({"text": "hello"}), false);
    let answer = stack.send(Call::post("/v1/chat/completions", &body).token(&token()));
    assert_eq!(answer.status(), 401);
    assert_eq!(ask(&stack, "eve").0, 200);
    let plain = Stack::unrecorded();
    refused(&self::send(&plain, "GET", "/Users", None), 404, None);
}
