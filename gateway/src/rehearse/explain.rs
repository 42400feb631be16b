//! `penstock-gateway explain`: what would become of a request and of its answer, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::ControlState;
use serde_json::{Value, json};

use super::caller::Asked;
use super::message;
use super::{Ending, Stage, WhenHeld};
use crate::approvals::text_at;
use crate::identity::Principal;
use crate::reload::{self, ProcessKey};
use crate::run::make_node;

/// Which request, by whom, and how to say it.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// gateway.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// An HTTP request, or the JSON body of one; `-` is standard input
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// The engine's answer: an HTTP response, or its body. Without it the request alone is looked
    /// at
    #[arg(long, value_name = "FILE")]
    response: Option<PathBuf>,
    /// Where a body without a head is posted to
    #[arg(long, value_name = "PATH", default_value = "/v1/chat/completions")]
    path: String,
    #[command(flatten)]
    caller: Asked,
    /// Show the values that matched; without it their length alone
    #[arg(long)]
    show: bool,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

/// Exit codes: it would pass; it would be stopped; it could not be said.
const PASSES: u8 = 0;
const STOPPED: u8 = 1;
const FAILED: u8 = 2;

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let code = explain(arguments).unwrap_or_else(|reason| {
        if arguments.json {
            println!("{}", json!({"error": reason}));
        }
        eprintln!("penstock-gateway: {reason}");
        FAILED
    });
    ExitCode::from(code)
}

fn explain(arguments: &Arguments) -> Result<u8, String> {
    let key = ProcessKey::random().map_err(|fault| fault.to_string())?;
    let (inputs, in_force) = reload::load(&arguments.config, &key)?;
    let caller = match arguments.caller.principal(&inputs.config)? {
        Ok(caller) => caller,
        Err(refusal) => {
            let refused = json!({"outcome": "refused", "answer": {"error": refusal}});
            if arguments.json {
                println!("{refused}");
            } else {
                println!("what happens  refused: {refusal}");
            }
            return Ok(STOPPED);
        }
    };
    let bytes = message::read(&arguments.request)?;
    let at = |path: &Path, reason: String| format!("{}: {reason}", path.display());
    let request = message::request(&bytes, &arguments.path);
    let request = request.map_err(|reason| at(&arguments.request, reason))?;
    let response = match &arguments.response {
        None => None,
        Some(path) => {
            let read = message::read(path)
                .and_then(|bytes| message::response(&bytes).map_err(|reason| at(path, reason)));
            Some(read?)
        }
    };
    let texts = Texts {
        request: request.body.clone(),
        response: response
            .as_ref()
            .map(|response| response.pieces.concat())
            .unwrap_or_default(),
        show: arguments.show,
    };
    let answered = response.is_some();
    let node = Arc::new(make_node(&inputs.config, in_force));
    let stage = Stage::new(node.clone())?;
    let ending = stage.play(&caller, request, response, WhenHeld::Ends);
    let told = Told {
        grants: grants(&node, &caller, &ending),
        caller,
        ending,
        texts,
        answered,
    };
    if arguments.json {
        println!("{}", told.to_json());
    } else {
        told.print();
    }
    Ok(if told.ending.is_stopped() {
        STOPPED
    } else {
        PASSES
    })
}

/// Where the grants stand that let this caller do this.
fn grants(node: &crate::exchange::Node, caller: &Principal, ending: &Ending) -> Vec<String> {
    let Some(open) = ending.open() else {
        return Vec::new();
    };
    let operation = penstock_policies::Operation::from_name(&open.operation);
    let model = ending.close().and_then(|close| close.model.as_deref());
    let in_force = node.in_force.load();
    let scope = in_force.policy.scope_of(&caller.tenant, &caller.groups);
    operation.map_or_else(Vec::new, |operation| scope.grants(operation, model))
}

/// What was looked at, to show what matched.
struct Texts {
    request: Vec<u8>,
    response: Vec<u8>,
    show: bool,
}

/// All that there is to tell.
struct Told {
    caller: Rc<Principal>,
    grants: Vec<String>,
    ending: Ending,
    texts: Texts,
    answered: bool,
}

// === impl Texts ===

impl Texts {
    /// The value of a match, or how long it is; empty for what is about a message as a whole.
    fn value(&self, way: Direction, finding: &Finding) -> String {
        let bytes = finding.end - finding.start;
        if bytes == 0 {
            return String::new();
        }
        let hidden = format!("{bytes} bytes");
        if !self.show {
            return format!("{hidden} (--show shows them)");
        }
        let body = match way {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        };
        let found = serde_json::from_slice(body)
            .ok()
            .and_then(|body: Value| text_at(&body, &finding.location).map(str::to_owned));
        let text = found.or_else(|| {
            let whole = finding.location == "$";
            whole.then(|| String::from_utf8_lossy(body).into_owned())
        });
        let value = text
            .as_deref()
            .and_then(|text| text.get(finding.start..finding.end));
        value.map_or_else(
            || format!("{hidden}, not in one place of the body"),
            |value| format!("{value:?}"),
        )
    }
}

// === impl Told ===

impl Told {
    /// What happens, in a word for programs and a sentence for people.
    fn outcome(&self) -> (&'static str, String) {
        let Ending {
            refusal,
            forwarded,
            held,
            ..
        } = &self.ending;
        let masks = |way: Direction| {
            let mut findings = self.ending.findings.iter();
            findings.any(|(on, finding)| *on == way && finding.action.as_str() == "mask")
        };
        if let Some(asked) = held {
            let what = "until then the model receives nothing";
            return ("held", format!("held: asks {asked}; {what}"));
        }
        match (refusal, forwarded) {
            (Some(refusal), true) => {
                let (status, code) = (refusal.status, refusal.code);
                ("stopped", format!("the answer is stopped: {status} {code}"))
            }
            (Some(refusal), false) => {
                let (status, code) = (refusal.status, refusal.code);
                (
                    "refused",
                    format!("refused: {status} {code}; the model receives nothing"),
                )
            }
            (None, _) if self.ending.cut => {
                let code = self.ending.code().unwrap_or("cut");
                (
                    "stopped",
                    format!("the answer breaks off in the middle: {code}"),
                )
            }
            _ => {
                let request = match masks(Direction::Request) {
                    true => "the model receives it masked",
                    false => "the model receives it as it is",
                };
                let answer = match (self.answered, masks(Direction::Response)) {
                    (false, _) => "no answer was looked at (--response)",
                    (true, true) => "the caller receives the answer masked",
                    (true, false) => "the caller receives the answer as it is",
                };
                ("passes", format!("passes: {request}; {answer}"))
            }
        }
    }

    fn print(&self) {
        let none = || "-".to_owned();
        if let Some(open) = self.ending.open() {
            let route = match open.route.as_str() {
                "" => "none: no profile has this method and path".to_owned(),
                route => format!("{route} → {} ({})", open.operation, open.dialect),
            };
            println!("request       {} {}", open.method, open.path);
            println!("route         {route}");
            println!(
                "caller        {}, groups {}",
                open.subject,
                list(&open.groups)
            );
            println!("policy        {}", open.policy_version);
        }
        let model = self.ending.close().and_then(|close| close.model.clone());
        println!("model         {}", model.unwrap_or_else(none));
        println!("granted by    {}", list(&self.grants));
        for (index, (way, finding)) in self.ending.findings.iter().enumerate() {
            let title = if index == 0 { "found" } else { "" };
            println!(
                "{title:<13} {way} {}: rule {} (guard {:?}) at {} [{}..{}], {} lane, {} confidence{}",
                finding.verdict(),
                finding.rule,
                finding.guard,
                finding.location,
                finding.start,
                finding.end,
                finding.lane,
                finding.confidence,
                match self.texts.value(*way, finding) {
                    value if value.is_empty() => value,
                    value => format!(": {value}"),
                },
            );
        }
        if self.ending.findings.is_empty() {
            println!("found         nothing");
        }
        for (name, state) in self.controls() {
            println!("control       {name}: {state}");
        }
        println!("what happens  {}", self.outcome().1);
        let shows_answer = self.ending.is_stopped() || self.answered;
        if shows_answer {
            println!("the caller gets");
            indented(&self.caller_gets());
        }
        if self.ending.forwarded && self.ending.request_body() != self.texts.request {
            println!("the model gets");
            indented(&self.ending.request_body());
        }
    }

    fn caller_gets(&self) -> Vec<u8> {
        match &self.ending.refusal {
            Some(refusal) => refusal.body.clone(),
            None => self.ending.response_body(),
        }
    }

    fn controls(&self) -> Vec<(String, &'static str)> {
        let close = self.ending.close();
        let runs = close
            .map(|close| close.controls.as_slice())
            .unwrap_or_default();
        let state = |state| match state {
            ControlState::Ran => "ran",
            ControlState::Skipped => "skipped",
            ControlState::FailedOpen => "failed open",
        };
        let rehearsed = |name: &str| name == "authenticate";
        runs.iter()
            .map(|run| match rehearsed(&run.name) {
                true => (
                    run.name.clone(),
                    "not rehearsed: the caller is whom you said",
                ),
                false => (run.name.clone(), state(run.state)),
            })
            .collect()
    }

    fn to_json(&self) -> Value {
        let found = self.ending.findings.iter().map(|(way, finding)| {
            json!({
                "direction": way.as_str(),
                "verdict": finding.verdict(),
                "guard": &*finding.guard,
                "rule": &*finding.rule,
                "location": finding.location,
                "start": finding.start,
                "end": finding.end,
                "lane": finding.lane.as_str(),
                "confidence": finding.confidence.as_str(),
                "value": self.texts.show.then(|| self.texts.value(*way, finding)),
            })
        });
        let open = self.ending.open();
        let refusal = self.ending.refusal.as_ref();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (outcome, sentence) = self.outcome();
        json!({
            "outcome": outcome,
            "sentence": sentence,
            "policy_version": open.map(|open| &open.policy_version),
            "method": open.map(|open| &open.method),
            "path": open.map(|open| &open.path),
            "route": open.map(|open| &open.route),
            "operation": open.map(|open| &open.operation),
            "subject": self.caller.subject,
            "groups": self.caller.groups,
            "model": self.ending.close().and_then(|close| close.model.as_deref()),
            "granted_by": self.grants,
            "found": found.collect::<Vec<_>>(),
            "controls": self.controls().iter().map(|(name, state)| json!({"name": name, "state": state}))
                .collect::<Vec<_>>(),
            "refusal": refusal.map(|refusal| json!({
                "status": refusal.status,
                "code": refusal.code,
                "message": refusal.message,
            })),
            "caller_gets": (self.ending.is_stopped() || self.answered).then(|| text(self.caller_gets())),
            "model_gets": self.ending.forwarded.then(|| text(self.ending.request_body())),
        })
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// Text for a terminal: nothing in it moves the cursor.
fn indented(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let shown: String = line
            .chars()
            .map(|char| if char.is_control() { '\u{fffd}' } else { char })
            .collect();
        println!("  {shown}");
    }
}
