//! `penstock-gateway reload`: policies and certificates are read again by a running gateway.

use std::process::ExitCode;

use serde_json::Value;

use super::{ClientError, Place};

/// `penstock-gateway reload`
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
    let answer = arguments
        .place
        .client()
        .and_then(|client| client.post("/reload", &Value::Null));
    let (attempt, good) = match answer {
        Ok(attempt) => (attempt, true),
        // What was refused is told in full, and no problem document has policies.
        Err(ClientError::Refused { body, .. }) if body["policies"].is_string() => (*body, false),
        Err(error) => {
            eprintln!("penstock-gateway: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.json {
        println!("{attempt}");
    } else {
        print(&attempt);
    }
    match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What was done to standard output, what is wrong to standard error.
fn print(attempt: &Value) {
    let text = |name: &str| attempt[name].as_str().unwrap_or_default().to_owned();
    let version = text("policy_version");
    match text("policies").as_str() {
        "applied" => println!("policy {version} is in force ({} ms)", attempt["took_ms"]),
        "unchanged" => println!("policies are unchanged; policy {version} is in force"),
        _ => eprintln!("policies refused; policy {version} stays in force"),
    }
    for (member, name) in [
        ("tls", "certificate"),
        ("control_tls", "control listener's certificate"),
    ] {
        match text(member).as_str() {
            "applied" => println!("the {name} was read again"),
            "refused" => eprintln!("the {name} was refused; the old one stays"),
            _ => {}
        }
    }
    let list = |name: &str| attempt[name].as_array().cloned().unwrap_or_default();
    for error in list("errors") {
        let place = match (error["line"].as_u64(), error["column"].as_u64()) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        let [file, reason] =
            ["file", "reason"].map(|name| error[name].as_str().unwrap_or_default());
        eprintln!("{file}{place}: {reason}");
    }
    for warning in list("warnings") {
        println!("warning: {}", warning.as_str().unwrap_or_default());
    }
    for key in list("needs_restart") {
        let key = key.as_str().unwrap_or_default();
        println!("`{key}` has changed and needs a restart");
    }
}
