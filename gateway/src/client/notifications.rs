//! `penstock-gateway notifications`: what is on its way to receivers, what did not arrive, and what
//! to do with it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Place, report, table};

/// The list is asked for in parts of this size.
const PAGE: usize = 1000;

/// `penstock-gateway notifications`
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show notices: those that were given up, or others
    List {
        #[command(flatten)]
        place: Place,
        /// Those that stand so: waiting, delivered, dead, dropped, or all
        #[arg(long, value_name = "STANDING", default_value = "dead")]
        standing: String,
        /// Those for this receiver
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
        /// One JSON object in place of text
        #[arg(long)]
        json: bool,
    },
    /// Send notices again, now, and as often as new ones
    Retry(Which),
    /// Give notices up for good
    Drop(Which),
    /// Send a receiver a notice that says that it is a test
    Test {
        #[command(flatten)]
        place: Place,
        /// The receiver's name
        #[arg(long, value_name = "NAME")]
        receiver: String,
        /// One JSON object in place of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
struct Which {
    #[command(flatten)]
    place: Place,
    /// These, by their ids
    #[arg(value_name = "ID", group = "which")]
    ids: Vec<String>,
    /// Every one that was given up
    #[arg(long, group = "which")]
    dead: bool,
    /// Only those for this receiver
    #[arg(long, value_name = "NAME", requires = "dead")]
    receiver: Option<String>,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    match &arguments.verb {
        Verb::List {
            place,
            standing,
            receiver,
            json,
        } => {
            let standing = Some(standing.as_str()).filter(|it| *it != "all");
            let found = place
                .client()
                .and_then(|client| list(&client, standing, receiver.as_deref()));
            report(found, *json, print)
        }
        Verb::Retry(which) => which.each(
            |client, id| client.post(&format!("/notifications/{id}/retry"), &json!({})),
            "sent again",
        ),
        Verb::Drop(which) => which.each(
            |client, id| client.delete(&format!("/notifications/{id}")),
            "given up",
        ),
        Verb::Test {
            place,
            receiver,
            json,
        } => {
            let body = json!({"receiver": receiver});
            let sent = place
                .client()
                .and_then(|client| client.post("/notifications/test", &body));
            report(sent, *json, |sent| {
                println!("sent: {}", sent["id"].as_str().unwrap_or_default());
                println!(
                    "what became of it: notifications list --standing all --receiver {receiver}"
                );
            })
        }
    }
}

// === impl Which ===

impl Which {
    fn each(
        &self,
        act: impl Fn(&Client, &str) -> Result<Value, ClientError>,
        done: &str,
    ) -> ExitCode {
        let acted = self.place.client().and_then(|client| {
            let ids = match self.dead {
                false => self.ids.clone(),
                true => ids(&list(&client, Some("dead"), self.receiver.as_deref())?),
            };
            for id in &ids {
                act(&client, id)?;
            }
            Ok(json!({ "ids": ids }))
        });
        report(acted, self.json, |acted| {
            let ids = acted["ids"].as_array().into_iter().flatten();
            let mut count = 0;
            for id in ids.filter_map(Value::as_str) {
                println!("{done}: {id}");
                count += 1;
            }
            if count == 0 {
                println!("there is none");
            }
        })
    }
}

fn ids(list: &Value) -> Vec<String> {
    let all = list["notifications"].as_array().into_iter().flatten();
    all.filter_map(|one| one["id"].as_str().map(str::to_owned))
        .collect()
}

/// All parts of the list as one.
fn list(
    client: &Client,
    standing: Option<&str>,
    receiver: Option<&str>,
) -> Result<Value, ClientError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let query = [
            ("limit", Some(PAGE.to_string())),
            ("standing", standing.map(str::to_owned)),
            ("receiver", receiver.map(str::to_owned)),
            ("after", after),
        ];
        let page = client.get_with("/notifications", &query)?;
        all.extend(
            page["notifications"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(json!({ "notifications": all })),
        }
    }
}

fn print(list: &Value) {
    let names = ["ID", "STANDING", "ATTEMPTS", "TOLD", "NEXT", "LAST ERROR"];
    let mut rows = vec![names.map(str::to_owned)];
    for one in list["notifications"].as_array().into_iter().flatten() {
        let text = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
        rows.push([
            text("id"),
            text("standing"),
            one["attempts"].to_string(),
            text("told"),
            text("next"),
            text("last_error"),
        ]);
    }
    match rows.len() {
        1 => println!("there is none"),
        _ => table(&rows),
    }
}
