//! `penstock-gateway policy-diff`: which past exchanges would have ended otherwise under other
//! policies.
//!
//! A record holds what the model and the client saw, and that bounds what can be told. What passed
//! is rehearsed again. What was masked is not there to be matched once more, so the rule that
//! masked it is looked up in the candidate. What was refused or blocked has no text on record, so
//! only what stopped it then is looked up, and what else might stop it is left open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use penstock_policies::{
    Action, Direction, Operation, PolicyFiles, PolicySet, PolicyText, Profiles, Scope,
};
use penstock_recorder::frame::{Close, Decision, FrameBody, Open, Outcome, SessionId};
use penstock_recorder::log::{self, LogError, Session};
use serde::Serialize;
use serde_json::json;

use super::{Ending, Stage, message};
use crate::approvals::Desk;
use crate::config::{Config, Limits};
use crate::cutoff::Cutoff;
use crate::exchange::{InForce, Node};
use crate::identity::Principal;
use crate::telemetry::Tallies;

/// Which log, and which policies.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Folder of the recorder's log
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// The other policies: a policy folder, or one file with the `packs` beside it
    #[arg(long, value_name = "FILE_OR_DIR")]
    candidate: PathBuf,
    /// gateway.toml, for its profiles and bounds; without it all profiles and the default bounds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object a line: each exchange that would have ended otherwise, then the sums
    #[arg(long)]
    json: bool,
}

/// Exit codes, as of `diff`: nothing would be otherwise; something would; it cannot be said.
const SAME: u8 = 0;
const OTHERWISE: u8 = 1;
const FAILED: u8 = 2;

/// Exchanges whose end was not seen yet, at most; older ones are given up.
const PENDING_MAX: usize = 100_000;

/// What a record cannot tell.
const LIMITS: &str = "\
A record holds what the model and the client saw. A value that was masked is not in it: for that the
rule that masked it is looked up in the candidate. What was refused or blocked is not in it: for that
only the rule or permission that stopped it is looked up, and something else may stop it still.
Header fields, queries and contents of files are not recorded and not looked at.";

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// It passed, and would be stopped.
    Stopped,
    /// It was stopped, and would not be for what stopped it.
    NotStopped,
    /// It passed, and more of it would be masked.
    MaskedMore,
    /// Something was masked that would not be.
    MaskedLess,
    /// It was stopped, and the record does not tell whether it would be.
    Untold,
}

/// One exchange that would have ended otherwise.
#[derive(Debug, Serialize)]
struct Difference {
    session: String,
    opened_unix_ns: u64,
    subject: String,
    model: Option<String>,
    /// Version of the policies that applied.
    policy_version: String,
    change: Change,
    /// How it ended.
    then: String,
    /// Why it would end otherwise: guard, rule and place, or permission.
    because: String,
}

#[derive(Debug, Default, Serialize)]
struct Sums {
    exchanges: u64,
    same: u64,
    stopped: u64,
    not_stopped: u64,
    masked_more: u64,
    masked_less: u64,
    untold: u64,
    /// Records without an end or with a gap.
    incomplete: u64,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let code = compare(arguments).unwrap_or_else(|reason| {
        eprintln!("penstock-gateway: {reason}");
        FAILED
    });
    ExitCode::from(code)
}

fn compare(arguments: &Arguments) -> Result<u8, String> {
    let candidate = Candidate::load(arguments)?;
    let log = log::open(&arguments.log).map_err(|error| error.to_string())?;
    let mut sums = Sums::default();
    let mut pending: HashMap<SessionId, Session> = HashMap::new();
    for recorded in log.frames() {
        let recorded = match recorded {
            Ok(recorded) => recorded,
            // `verify` explains damage; what can be read is still worth a comparison.
            Err(LogError::Damaged { .. } | LogError::Frame { .. }) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let id = recorded.frame.session;
        if id.is_nil() || recorded.by_recorder {
            continue;
        }
        if pending.len() >= PENDING_MAX && !pending.contains_key(&id) {
            sums.incomplete += pending.len() as u64;
            pending.clear();
        }
        let ends = matches!(recorded.frame.body, FrameBody::Close(_));
        let session = pending.entry(id).or_insert_with(|| Session {
            id,
            frames: Vec::new(),
        });
        session.frames.push(recorded);
        if ends && let Some(session) = pending.remove(&id) {
            candidate.judge(&session, &mut sums, arguments.json);
        }
    }
    sums.incomplete += pending.len() as u64;
    let otherwise = sums.stopped + sums.not_stopped + sums.masked_more + sums.masked_less;
    let version = candidate.policy.version();
    if arguments.json {
        println!(
            "{}",
            json!({"candidate": version, "sums": sums, "limits": LIMITS})
        );
    } else {
        sums.print(version);
    }
    Ok(if otherwise == 0 { SAME } else { OTHERWISE })
}

/// The policies to compare with, on a stage.
struct Candidate {
    stage: Stage,
    policy: Arc<PolicySet>,
}

// === impl Candidate ===

impl Candidate {
    fn load(arguments: &Arguments) -> Result<Self, String> {
        let policy = policies(&arguments.candidate)?;
        let (profiles, limits) = match &arguments.config {
            Some(path) => {
                let config = Config::load(path).map_err(|error| error.to_string())?;
                (config.upstream.profiles, config.limits)
            }
            None => {
                let shipped = Profiles::shipped().map(str::to_owned);
                (shipped.collect(), Limits::default())
            }
        };
        let profiles = Profiles::from_names(&profiles).map_err(|error| error.to_string())?;
        let policy = Arc::new(policy);
        let in_force = InForce {
            policy: policy.clone(),
            profiles,
            credential: None,
        };
        let stage = Stage::new(Arc::new(Node {
            name: "candidate".to_owned(),
            limits,
            in_force: ArcSwap::from_pointee(in_force),
            upstream_host: "localhost".to_owned(),
            cutoff: Cutoff::new(0),
            tallies: Tallies::new(0),
            desk: Desk::closed(),
        }))?;
        Ok(Self { stage, policy })
    }

    /// Judges one exchange, tells what would be otherwise, and counts.
    fn judge(&self, session: &Session, sums: &mut Sums, as_json: bool) {
        sums.exchanges += 1;
        let gap = session
            .bodies()
            .any(|body| matches!(body, FrameBody::Gap(_)));
        let (Some(open), Some(close), false) = (session.open(), session.close(), gap) else {
            sums.incomplete += 1;
            return;
        };
        let Some((change, because)) = self.change(session, open, close) else {
            sums.same += 1;
            return;
        };
        match change {
            Change::Stopped => sums.stopped += 1,
            Change::NotStopped => sums.not_stopped += 1,
            Change::MaskedMore => sums.masked_more += 1,
            Change::MaskedLess => sums.masked_less += 1,
            Change::Untold => sums.untold += 1,
        }
        let code = close.error_code.as_deref().unwrap_or_default();
        let difference = Difference {
            session: session.id.to_string(),
            opened_unix_ns: session.frames[0].frame.at_unix_ns,
            subject: open.subject.clone(),
            model: session.model().map(str::to_owned),
            policy_version: open.policy_version.clone(),
            change,
            then: format!("{} {code}", close.status).trim_end().to_owned(),
            because,
        };
        difference.tell(as_json);
    }

    /// What would be otherwise, and why; `None` when nothing would.
    fn change(&self, session: &Session, open: &Open, close: &Close) -> Option<(Change, String)> {
        let caller = caller_of(open);
        let scope = self.policy.scope_of(&caller.tenant, &caller.groups);
        match close.outcome {
            Outcome::Blocked => not_blocked(&scope, session, close),
            Outcome::Refused => self.not_refused(&scope, open, close),
            _ => self.now_stopped(&scope, &caller, session, open, close),
        }
    }

    /// A call that was refused before anything of it was written down.
    fn not_refused(&self, scope: &Scope, open: &Open, close: &Close) -> Option<(Change, String)> {
        let allowed = |what: &str| Some((Change::NotStopped, format!("{what} would be granted")));
        let code = close.error_code.as_deref()?;
        match code {
            "operation_not_permitted" => {
                let operation = Operation::from_name(&open.operation)?;
                scope.may_operate(operation).ok()?;
                allowed(&format!("the operation \"{operation}\""))
            }
            "model_not_permitted" => {
                let operation = Operation::from_name(&open.operation)?;
                let Some(model) = close.model.as_deref() else {
                    let because = "which model was asked for is not on record";
                    return Some((Change::Untold, because.to_owned()));
                };
                scope.may_use(operation, model).ok()?;
                allowed(&format!("\"{operation}\" on {model}"))
            }
            "route_not_permitted" => {
                let in_force = self.stage.core.node.in_force.load();
                let route = in_force.profiles.resolve(&open.method, &open.path)?;
                scope.may_operate(route.operation).ok()?;
                allowed(&format!("{} {}", open.method, open.path))
            }
            "body_over_grant"
            | "prompt_over_grant"
            | "media_not_permitted"
            | "prompt_not_text"
            | "inspection_exhausted" => {
                let because = format!("{code}: what was refused is not on record");
                Some((Change::Untold, because))
            }
            // Who calls, and what HTTP and the route ask for, are no matter of policy.
            _ => None,
        }
    }

    /// A call that went to the model.
    fn now_stopped(
        &self,
        scope: &Scope,
        caller: &Rc<Principal>,
        session: &Session,
        open: &Open,
        close: &Close,
    ) -> Option<(Change, String)> {
        let decisions: Vec<&Decision> = decisions(session).collect();
        // What was masked is not there to be found again; the rule that found it says what now.
        for decision in decisions
            .iter()
            .filter(|decision| decision.action == "mask")
        {
            if let Some((guard, action)) = verdict(scope, decision)
                && action > Action::Mask
            {
                let because = format!("guard {guard:?} would {action} on {}", told(decision));
                return Some((Change::Stopped, because));
            }
        }
        match self.rehearse(caller, session, open, close) {
            Ok(ending) if ending.is_stopped() => {
                return Some((Change::Stopped, reason(&ending)));
            }
            Ok(ending) => {
                let mut masks = ending.decisions().filter(|made| made.action == "mask");
                if let Some(mask) = masks.next() {
                    let more = masks.count();
                    let more = if more > 0 {
                        format!(" and {more} more")
                    } else {
                        String::new()
                    };
                    let because = format!("guard {:?} would mask {}{more}", mask.guard, told(mask));
                    return Some((Change::MaskedMore, because));
                }
            }
            Err(because) => return Some((Change::Untold, because)),
        }
        let mut masked = decisions
            .into_iter()
            .filter(|decision| decision.action == "mask");
        let bare = masked.find(|decision| {
            verdict(scope, decision).is_none_or(|(_, action)| action < Action::Mask)
        })?;
        let because = format!(
            "{}, masked by guard {:?}, would not be",
            told(bare),
            bare.guard
        );
        Some((Change::MaskedLess, because))
    }

    /// The same call under the candidate.
    fn rehearse(
        &self,
        caller: &Rc<Principal>,
        session: &Session,
        open: &Open,
        close: &Close,
    ) -> Result<Ending, String> {
        let (media, body) = session.request_body();
        let request = message::request_from(&open.method, &open.path, &media, body)?;
        let head = session.bodies().find_map(|body| match body {
            FrameBody::ResponseHead(head) => Some(head),
            _ => None,
        });
        // What broke off or failed was no whole answer then, so it is none now.
        let whole = close.outcome == Outcome::Completed;
        let response = match head.filter(|head| whole && head.upstream_status > 0) {
            None => None,
            Some(head) => {
                let pieces = session.response_chunks().map(|(_, bytes)| bytes.to_vec());
                let response =
                    message::response_from(head.upstream_status, &head.media, pieces.collect())?;
                Some(response)
            }
        };
        Ok(self.stage.play(caller, request, response))
    }
}

/// Reads and compiles a policy folder, or a file with the packs beside it.
fn policies(path: &Path) -> Result<PolicySet, String> {
    let lines = |errors: Vec<penstock_policies::PolicyError>| {
        crate::run::lines(errors.iter().map(ToString::to_string))
    };
    let files = if path.is_dir() {
        PolicyFiles::read(path).map_err(lines)?
    } else {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let dir = path.parent().unwrap_or(Path::new(".")).to_owned();
        let beside = PolicyFiles::read(&dir).map_err(lines)?;
        PolicyFiles {
            policies: vec![PolicyText {
                path: path.to_owned(),
                text,
            }],
            ..beside
        }
    };
    // Pseudonyms are not compared, so any key will do.
    PolicySet::compile(&files, [0; 32], &[]).map_err(lines)
}

fn caller_of(open: &Open) -> Rc<Principal> {
    let Open {
        issuer,
        subject,
        groups,
        ..
    } = open.clone();
    Rc::new(Principal::oidc(issuer, subject, groups, u64::MAX))
}

/// A call that a guard stopped, of which only what the guard found is on record.
fn not_blocked(scope: &Scope, session: &Session, close: &Close) -> Option<(Change, String)> {
    let stops = |decision: &&Decision| matches!(decision.action.as_str(), "block" | "hold");
    let stopping: Vec<&Decision> = decisions(session).filter(stops).collect();
    let still = stopping
        .iter()
        .any(|decision| verdict(scope, decision).is_some_and(|(_, action)| action > Action::Mask));
    if still {
        return None;
    }
    let Some(first) = stopping.first() else {
        let code = close.error_code.as_deref().unwrap_or("blocked");
        return Some((
            Change::Untold,
            format!("{code}: what stopped it is not on record"),
        ));
    };
    let because = format!(
        "{}, on which guard {:?} acted, would not stop it; what was said is not on record",
        told(first),
        first.guard
    );
    Some((Change::NotStopped, because))
}

fn decisions(session: &Session) -> impl Iterator<Item = &Decision> {
    session.bodies().filter_map(|body| match body {
        FrameBody::Decision(decision) => Some(decision),
        _ => None,
    })
}

/// What the candidate makes of the rule of a decision.
fn verdict(scope: &Scope, decision: &Decision) -> Option<(String, Action)> {
    let way = match decision.direction.as_str() {
        "request" => Direction::Request,
        _ => Direction::Response,
    };
    scope.verdict_on(way, &decision.rule)
}

/// A rule and where it matched.
fn told(decision: &Decision) -> String {
    let Decision {
        rule,
        direction,
        location,
        ..
    } = decision;
    format!("rule {rule} in the {direction} at {location}")
}

/// Why a rehearsed call was stopped.
fn reason(ending: &Ending) -> String {
    let code = ending.code().unwrap_or("cut");
    let stops = |made: &&Decision| matches!(made.action.as_str(), "block" | "hold");
    match ending.decisions().find(stops) {
        Some(made) => format!("{code}: guard {:?}, {}", made.guard, told(made)),
        None => {
            let message = ending
                .refusal
                .as_ref()
                .map(|refusal| refusal.message.as_str());
            format!("{code}: {}", message.unwrap_or_default())
        }
    }
}

// === impl Difference ===

impl Difference {
    fn tell(&self, as_json: bool) {
        if as_json {
            // Strings and numbers: there is nothing that cannot be written as JSON.
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        let change = match self.change {
            Change::Stopped => "would be stopped",
            Change::NotStopped => "would not be stopped",
            Change::MaskedMore => "more masked",
            Change::MaskedLess => "less masked",
            Change::Untold => "cannot be told",
        };
        let Self {
            session,
            subject,
            then,
            because,
            ..
        } = self;
        let shown = |text: &str| text.replace(char::is_control, "\u{fffd}");
        let (subject, because) = (shown(subject), shown(because));
        println!("{session}  {subject}  {then} → {change}: {because}");
    }
}

// === impl Sums ===

impl Sums {
    fn print(&self, version: &str) {
        println!("{} exchanges under policy {version}", self.exchanges);
        for (count, what) in [
            (self.same, "would have ended as they did"),
            (self.stopped, "passed and would be stopped"),
            (
                self.not_stopped,
                "were stopped and would not be for what stopped them",
            ),
            (self.masked_more, "would have more masked"),
            (self.masked_less, "would have less masked"),
            (
                self.untold,
                "were stopped for what is not on record: cannot be told",
            ),
            (self.incomplete, "have no whole record"),
        ] {
            println!("  {count:>8} {what}");
        }
        println!("{LIMITS}");
    }
}
