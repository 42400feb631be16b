//! `penstock-gateway status`: what a running gateway tells of itself.

use std::process::ExitCode;

use serde_json::Value;

use super::{Place, report};

/// `penstock-gateway status`
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
    let status = arguments.place.client().and_then(|it| it.get("/status"));
    report(status, arguments.json, |status| print("", status))
}

/// One `name: value` a line, nested names joined by dots.
fn print(prefix: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                print(&format!("{prefix}{dot}{name}"), value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                print(&format!("{prefix}[{index}]"), item);
            }
        }
        Value::String(text) => println!("{prefix}: {text}"),
        other => println!("{prefix}: {other}"),
    }
}
