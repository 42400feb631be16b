//! `penstock-gateway approvals`: shows requests that wait for people, and decides on them.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Client, ClientError, Place, report, table};

/// The list is asked for in parts of this size.
const PAGE: usize = 1000;
/// What a list shows when nothing else is said.
const LIST_MAX: usize = 100;

/// `penstock-gateway approvals`
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show requests that wait for people; with --standing or --all, also those that are over
    List(List),
    /// Show one: who asks, for what, what holds it, and everything that happened to it
    Show(One),
    /// Say yes, as the person of --token-file
    Approve(Decide),
    /// Say no, as the person of --token-file, and why; that is final
    Deny(Deny),
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
struct List {
    #[command(flatten)]
    common: Common,
    /// Only those that stand so
    #[arg(long, value_enum, default_value = "pending")]
    standing: Standing,
    /// All of them, however they stand
    #[arg(long, conflicts_with = "standing")]
    all: bool,
    /// Only those that this person asked for
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = LIST_MAX)]
    limit: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Standing {
    Pending,
    Approved,
    Denied,
    Expired,
    Withdrawn,
    Used,
}

#[derive(Args)]
struct One {
    #[command(flatten)]
    common: Common,
    /// The approval's id
    id: String,
}

#[derive(Args)]
struct Decide {
    #[command(flatten)]
    one: One,
    /// Why, for the caller and for whoever reads the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args)]
struct Deny {
    #[command(flatten)]
    one: One,
    /// Why, for the caller and for whoever reads the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    match &arguments.verb {
        Verb::List(wanted) => wanted.common.run(|client| list(client, wanted), print_list),
        Verb::Show(One { common, id }) => {
            common.run(|client| client.get(&format!("/approvals/{id}")), print_one)
        }
        Verb::Approve(Decide { one, reason }) => one.decide("approve", reason),
        Verb::Deny(Deny { one, reason }) => one.decide("deny", reason),
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

// === impl One ===

impl One {
    fn decide(&self, word: &str, reason: &str) -> ExitCode {
        let path = format!("/approvals/{}/{word}", self.id);
        let body = json!({ "reason": reason });
        let print = |it: &Value| println!("{}: {}", text(&it["id"]), progress(it));
        self.common.run(|client| client.post(&path, &body), print)
    }
}

/// As many as are wanted, in as many parts as that takes.
fn list(client: &Client, wanted: &List) -> Result<Value, ClientError> {
    let standing = wanted.standing.to_possible_value();
    let standing = standing.filter(|_| !wanted.all);
    let standing = standing.map(|it| it.get_name().to_owned());
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let query = [
            (
                "limit",
                Some(PAGE.min(wanted.limit - all.len()).to_string()),
            ),
            ("after", after),
            ("standing", standing.clone()),
            ("subject", wanted.subject.clone()),
            ("order", wanted.newest.then(|| "newest".to_owned())),
        ];
        let page = client.get_with("/approvals", &query)?;
        all.extend(page["approvals"].as_array().cloned().unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || all.len() >= wanted.limit {
            return Ok(json!({ "approvals": all, "next": after }));
        }
    }
}

fn print_list(list: &Value) {
    let approvals = list["approvals"].as_array().cloned().unwrap_or_default();
    if approvals.is_empty() {
        return println!("there are none");
    }
    let head = ["ID", "STANDING", "CALLER", "WHAT", "HELD BY", "EXPIRES"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(approvals.iter().map(|it| {
        let names = it["holds"].as_array().into_iter().flatten();
        let names: Vec<String> = names.map(|held| text(&held["hold"])).collect();
        [
            text(&it["id"]),
            text(&it["standing"]),
            text(&it["caller"]["subject"]),
            what(it),
            names.join(", "),
            text(&it["expires"]),
        ]
    }));
    table(&rows);
    if list["next"].is_string() {
        println!("there are more: --limit shows them");
    }
}

fn print_one(it: &Value) {
    let line = |name: &str, value: String| println!("{name:<10} {value}");
    line("id", text(&it["id"]));
    line("standing", progress(it));
    let key = it["caller"]["key"]
        .as_str()
        .map(|key| format!(", by key {}", plain(key)));
    let (subject, issuer) = (
        text(&it["caller"]["subject"]),
        text(&it["caller"]["issuer"]),
    );
    line(
        "caller",
        format!("{subject} of {issuer}{}", key.unwrap_or_default()),
    );
    line(
        "request",
        format!(
            "{} {}",
            text(&it["matter"]["method"]),
            text(&it["matter"]["path"])
        ),
    );
    line("what", what(it));
    let (tokens, bytes) = (&it["matter"]["prompt_tokens"], &it["matter"]["body_bytes"]);
    line("size", format!("{tokens} prompt tokens, {bytes} bytes"));
    line("session", text(&it["matter"]["session"]));
    line("policy", text(&it["matter"]["policy_version"]));
    line("asked", text(&it["created"]));
    line("expires", text(&it["expires"]));
    line("place", text(&it["url"]));
    for held in it["holds"].as_array().into_iter().flatten() {
        let groups = held["groups"].as_array().into_iter().flatten();
        let groups: Vec<String> = groups.map(text).collect();
        let told = format!(
            "{}: {}; {} of {} from {}",
            text(&held["hold"]),
            text(&held["why"]),
            held["approved"],
            held["quorum"],
            groups.join(", ")
        );
        line("held by", told);
    }
    for excerpt in it["matter"]["excerpts"].as_array().into_iter().flatten() {
        let shown = excerpt["text"]
            .as_str()
            .map_or("(not shown)".to_owned(), plain);
        line("text", format!("{}: {shown}", text(&excerpt["location"])));
    }
    for event in it["history"].as_array().into_iter().flatten() {
        let by = event["by"]["subject"]
            .as_str()
            .map(|by| format!(" by {}", plain(by)));
        let reason = event["reason"]
            .as_str()
            .map(|it| format!(": {}", plain(it)));
        let session = event["session"]
            .as_str()
            .map(|it| format!(" in session {}", plain(it)));
        let told = format!(
            "{} {}{}{}{}",
            text(&event["at"]),
            text(&event["event"]),
            by.unwrap_or_default(),
            session.unwrap_or_default(),
            reason.unwrap_or_default()
        );
        line("history", told);
    }
}

/// Where it stands, with what is still needed.
fn progress(it: &Value) -> String {
    let standing = text(&it["standing"]);
    if standing != "pending" {
        return standing;
    }
    let missing = it["holds"].as_array().into_iter().flatten().map(|held| {
        let (quorum, approved) = (held["quorum"].as_u64(), held["approved"].as_u64());
        let covered = held["covered_by"].is_string();
        let left = quorum.unwrap_or(1).saturating_sub(approved.unwrap_or(0));
        if covered { 0 } else { left }
    });
    match missing.max().unwrap_or(0) {
        0 | 1 => "pending, one more approval is needed".to_owned(),
        more => format!("pending, {more} more approvals are needed"),
    }
}

/// The operation, and the model where there is one.
fn what(it: &Value) -> String {
    let operation = text(&it["matter"]["operation"]);
    match it["matter"]["model"].as_str() {
        Some(model) => format!("{operation} {}", plain(model)),
        None => operation,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map(plain).unwrap_or_default()
}

/// Text that others chose, without anything that a terminal would act on.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || is_direction(c) {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    plain
}

/// Signs that turn the order of what follows around.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
