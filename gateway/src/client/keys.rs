//! `penstock-gateway keys`: issues, lists, rotates and revokes keys.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Place, report, revoke, table};

/// The list is asked for in parts of this size.
const PAGE: usize = 1000;

/// `penstock-gateway keys`
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Issue a key; it is shown once and kept nowhere
    Create(Create),
    /// Show keys: whose, until when, last used
    List(List),
    /// Issue a key like this one; the old one goes on for a while
    Rotate(Rotate),
    /// Revoke a key for good, at once, in the middle of calls
    Revoke(Revoke),
}

/// What every verb takes.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    place: Place,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    common: Common,
    /// Whose it is, the subject as their tokens have it; with --token-file yours when absent
    #[arg(long, value_name = "SUBJECT", required_unless_present = "token_file")]
    owner: Option<String>,
    /// Name or URL of the owner's issuer; not needed where only one is configured
    #[arg(long, requires = "owner")]
    issuer: Option<String>,
    /// Its groups; with --token-file all of the token's when absent
    #[arg(long, value_delimiter = ',', required_unless_present = "token_file")]
    groups: Option<Vec<String>>,
    /// What it is for
    #[arg(long)]
    name: String,
    /// When it ends: 2026-11-30T18:00:00Z, or a span such as 30days
    #[arg(long, value_name = "TIME")]
    expires: String,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    common: Common,
    /// Only those of this owner
    #[arg(long, value_name = "SUBJECT")]
    owner: Option<String>,
}

#[derive(Args)]
struct Rotate {
    #[command(flatten)]
    common: Common,
    /// The key's id
    id: String,
    /// How long the old key goes on, 7days at most
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    overlap: String,
    /// When the new one ends; when absent it lives as long as the old one was to
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Args)]
struct Revoke {
    #[command(flatten)]
    common: Common,
    /// The key's id
    id: String,
    /// Why, for whoever reads the list of revocations
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    match &arguments.verb {
        Verb::Create(create) => {
            let owner = create
                .owner
                .as_ref()
                .map(|subject| json!({ "subject": subject, "issuer": create.issuer }));
            let body = json!({
                "owner": owner,
                "name": create.name,
                "groups": create.groups,
                "expires": create.expires,
            });
            create
                .common
                .run(|it| it.post("/keys", &body), print_issued)
        }
        Verb::List(List { common, owner }) => {
            common.run(|client| list(client, owner.as_deref()), print_list)
        }
        Verb::Rotate(rotate) => {
            let body = json!({ "overlap": rotate.overlap, "expires": rotate.expires });
            let path = format!("/keys/{}/rotate", rotate.id);
            rotate.common.run(|it| it.post(&path, &body), print_issued)
        }
        Verb::Revoke(Revoke { common, id, reason }) => {
            let path = format!("/keys/{id}/revoke");
            let body = json!({ "reason": reason });
            common.run(|it| it.post(&path, &body), revoke::print_made)
        }
    }
}

// === impl Common ===

impl Common {
    fn run(
        &self,
        call: impl FnOnce(&Client) -> Result<Value, ClientError>,
        text: impl FnOnce(&Value),
    ) -> ExitCode {
        let outcome = self.place.client().and_then(|client| call(&client));
        report(outcome, self.json, text)
    }
}

/// All parts of the list as one.
fn list(client: &Client, owner: Option<&str>) -> Result<Value, ClientError> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let query = [
            ("limit", Some(PAGE.to_string())),
            ("after", after),
            ("subject", owner.map(str::to_owned)),
        ];
        let page = client.get_with("/keys", &query)?;
        all.extend(page["keys"].as_array().cloned().unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(json!({ "keys": all }));
        }
    }
}

fn print_list(list: &Value) {
    let head = [
        "ID",
        "NAME",
        "KEY",
        "OWNER",
        "GROUPS",
        "STATE",
        "EXPIRES",
        "LAST USED",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for key in list["keys"].as_array().into_iter().flatten() {
        let text = |name: &str| key[name].as_str().unwrap_or("never").to_owned();
        rows.push([
            text("id"),
            text("name"),
            text("hint"),
            text("subject"),
            groups(key),
            text("state"),
            text("expires"),
            text("last_used"),
        ]);
    }
    if rows.len() == 1 {
        println!("there are no keys");
    } else {
        table(&rows);
    }
}

fn print_issued(issued: &Value) {
    let key = &issued["key"];
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    println!("{}", issued["secret"].as_str().unwrap_or_default());
    // To the other stream, so that the key can be piped to where it is to be kept.
    eprintln!(
        "key {} of {}, groups {}, until {}; it is not shown again",
        text("id"),
        text("subject"),
        groups(key),
        text("expires")
    );
    if let Some(old) = key["replaces"].as_str() {
        eprintln!("the key {old} goes on for the overlap and then ends");
    }
}

fn groups(key: &Value) -> String {
    let names = key["groups"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}
