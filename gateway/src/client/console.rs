//! `penstock-gateway console`: a one-time link that signs in to the console.

use std::process::ExitCode;

use serde_json::Value;

use super::{Place, report};

/// `penstock-gateway console`
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let link = arguments
        .place
        .client()
        .and_then(|client| client.post("/console-links", &Value::Null));
    report(link, arguments.json, |link| {
        let text = |name: &str| link[name].as_str().unwrap_or_default();
        println!("{}", text("url"));
        // To the other stream, so that the link can be piped to a browser.
        eprintln!(
            "opens the console as {}, once, until {}",
            text("operator"),
            text("expires")
        );
    })
}
