//! `penstock-gateway revoke`: cuts somebody off, lists who is, takes it back.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Client, ClientError, Place, report, table};
use crate::cutoff::Wanted;

/// The list is asked for in parts of this size.
const PAGE: usize = 1000;

/// `penstock-gateway revoke`
#[derive(Args)]
#[command(group(clap::ArgGroup::new("action").required(true)))]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// A person: every token that says so, and every key that they own
    #[arg(long, group = "action", value_name = "SUBJECT")]
    subject: Option<String>,
    /// Every key that a person owns; their own tokens go on
    #[arg(long, group = "action", value_name = "SUBJECT")]
    owner: Option<String>,
    /// Every token of an application (`azp`, else `client_id`)
    #[arg(long, group = "action", value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Every token of one login session (`sid`)
    #[arg(long, group = "action", value_name = "SID")]
    session: Option<String>,
    /// A person's logins up to now: the next one works, and so do their keys
    #[arg(long, group = "action", value_name = "SUBJECT")]
    logins: Option<String>,
    /// One token (`jti`)
    #[arg(long, group = "action", value_name = "JTI")]
    token: Option<String>,
    /// One key of this gateway, by its id
    #[arg(long, group = "action", value_name = "KEY_ID")]
    key: Option<String>,
    /// Show who is cut off
    #[arg(long, group = "action")]
    list: bool,
    /// Take a revocation back
    #[arg(long, group = "action", value_name = "ID")]
    lift: Option<String>,
    /// Name or URL of the issuer; not needed where only one is configured
    #[arg(long)]
    issuer: Option<String>,
    /// When it ends: 2026-11-30T18:00:00Z, or a span such as 2h or 30days; for good when absent
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why, for whoever reads the list
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["list", "lift"])]
    reason: Option<String>,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let client = match arguments.place.client() {
        Ok(client) => client,
        Err(error) => return report(Err(error), arguments.json, |_| {}),
    };
    if arguments.list {
        return report(list(&client), arguments.json, print_list);
    }
    if let Some(id) = &arguments.lift {
        let lifted = client.delete(&format!("/revocations/{id}"));
        return report(lifted, arguments.json, |lifted| {
            println!("lifted: {}", who(&lifted["target"]));
        });
    }
    let made = client.post("/revocations", &arguments.body());
    report(made, arguments.json, print_made)
}

// === impl Arguments ===

impl Arguments {
    fn body(&self) -> Value {
        let who = Wanted {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            owner: self.owner.clone(),
            client: self.client.clone(),
            session: self.session.clone(),
            logins: self.logins.clone(),
            token: self.token.clone(),
            key: self.key.clone(),
        };
        json!({ "who": who, "until": self.until, "reason": self.reason })
    }
}

/// All parts of the list as one.
fn list(client: &Client) -> Result<Value, ClientError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.get(&format!("/revocations?limit={PAGE}{after}"))?;
        all.extend(page["revocations"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(json!({ "revocations": all })),
        }
    }
}

fn print_list(list: &Value) {
    let mut rows = vec![["ID", "WHO", "UNTIL", "BY", "REASON"].map(str::to_owned)];
    for revocation in list["revocations"].as_array().into_iter().flatten() {
        let text = |name: &str| revocation[name].as_str().unwrap_or("for good").to_owned();
        rows.push([
            text("id"),
            who(&revocation["target"]),
            text("until"),
            text("by"),
            text("reason"),
        ]);
    }
    if rows.len() == 1 {
        println!("nobody is cut off");
    } else {
        table(&rows);
    }
}

pub(super) fn print_made(made: &Value) {
    let (revocation, effect) = (&made["revocation"], &made["effect"]);
    let until = match revocation["until"].as_str() {
        Some(until) => format!("until {until}"),
        None => "for good".to_owned(),
    };
    println!("revoked: {} {until}", who(&revocation["target"]));
    let took_ms = effect["took_us"].as_f64().unwrap_or_default() / 1000.0;
    let ended = &effect["ended"];
    match effect["everywhere"] == true {
        true => println!("in force on every core after {took_ms:.1} ms; calls ended: {ended}"),
        false => println!("NOT YET in force on every core after {took_ms:.1} ms; a core hangs"),
    }
    let id = revocation["id"].as_str().unwrap_or_default();
    println!("to take it back: revoke --lift {id}");
}

/// `subject ada of https://login.example.com`
fn who(target: &Value) -> String {
    let kind = target["kind"].as_str().unwrap_or_default();
    let member = match kind {
        "owner" | "logins" => "subject",
        other => other,
    };
    let value = target[member].as_str().unwrap_or_default();
    match target["issuer"].as_str() {
        Some(issuer) => format!("{kind} {value} of {issuer}"),
        None => format!("{kind} {value}"),
    }
}
