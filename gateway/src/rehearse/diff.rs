//! `penstock-gateway policy-diff`: which past exchanges would have ended otherwise under other
//! policies.
//!
//! A record holds what the model and the client saw, and that bounds what can be told. What went to
//! the model is rehearsed again, as if people said yes wherever it is held. What was masked is not
//! there to be matched once more, so the rule that masked it is looked up in the candidate. What was
//! refused, blocked, or held and not approved has no text on record, so only what stopped it then is
//! looked up, and what else might stop it is left open.

mod candidate;
mod past;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use penstock_recorder::frame::{Close, FrameBody, SessionId};
use penstock_recorder::log::{self, LogError, Session};
use serde::Serialize;
use serde_json::json;

use candidate::Candidate;
use past::Past;

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
rule that masked it is looked up in the candidate. What was refused, blocked, or held and not approved
is not in it: for that only the rule or permission that stopped it is looked up, and something else may
stop it still. Header fields, queries and contents of files are not recorded: of these, too, only what
held the request is looked up.";

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// It passed or was held, and would be stopped.
    Stopped,
    /// It was not held, and would be: people would be asked.
    Held,
    /// It was held, and would not be for what held it.
    NotHeld,
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
    /// What became of it.
    was: Past,
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
    held: u64,
    not_held: u64,
    not_stopped: u64,
    masked_more: u64,
    masked_less: u64,
    untold: u64,
    /// Records without an end or with a gap.
    incomplete: u64,
    /// Of all, those that were held and went on once people had said yes.
    was_approved: u64,
    /// Of all, those that were held and did not go on.
    was_held: u64,
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
            judge(&candidate, &session, &mut sums, arguments.json);
        }
    }
    sums.incomplete += pending.len() as u64;
    let otherwise = sums.otherwise();
    let version = candidate.version();
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

/// Judges one exchange, tells what would be otherwise, and counts.
fn judge(candidate: &Candidate, session: &Session, sums: &mut Sums, as_json: bool) {
    sums.exchanges += 1;
    let gap = session
        .bodies()
        .any(|body| matches!(body, FrameBody::Gap(_)));
    let (Some(open), Some(close), false) = (session.open(), session.close(), gap) else {
        sums.incomplete += 1;
        return;
    };
    let past = Past::of(session, close);
    match past {
        Past::Approved => sums.was_approved += 1,
        Past::Held => sums.was_held += 1,
        Past::Passed | Past::Blocked | Past::Refused => {}
    }
    let Some((change, because)) = candidate.change(session, past, open, close) else {
        sums.same += 1;
        return;
    };
    *sums.of(change) += 1;
    let difference = Difference {
        session: session.id.to_string(),
        opened_unix_ns: session.frames[0].frame.at_unix_ns,
        subject: open.subject.clone(),
        model: session.model().map(str::to_owned),
        policy_version: open.policy_version.clone(),
        change,
        was: past,
        then: then(past, close),
        because,
    };
    difference.tell(as_json);
}

/// How it ended, for people: `200`, `403 request_blocked`, `200 after approval`.
fn then(past: Past, close: &Close) -> String {
    let code = close.error_code.as_deref().unwrap_or_default();
    let ended = format!("{} {code}", close.status);
    match past {
        Past::Approved => format!("{} after approval", ended.trim_end()),
        Past::Held => format!("held, {}", ended.trim_end()),
        Past::Passed | Past::Blocked | Past::Refused => ended.trim_end().to_owned(),
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
            Change::Held => "would be held",
            Change::NotHeld => "would not be held",
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
    fn of(&mut self, change: Change) -> &mut u64 {
        match change {
            Change::Stopped => &mut self.stopped,
            Change::Held => &mut self.held,
            Change::NotHeld => &mut self.not_held,
            Change::NotStopped => &mut self.not_stopped,
            Change::MaskedMore => &mut self.masked_more,
            Change::MaskedLess => &mut self.masked_less,
            Change::Untold => &mut self.untold,
        }
    }

    /// How many would certainly have ended otherwise.
    fn otherwise(&self) -> u64 {
        let Self {
            stopped,
            held,
            not_held,
            not_stopped,
            masked_more,
            masked_less,
            ..
        } = self;
        stopped + held + not_held + not_stopped + masked_more + masked_less
    }

    fn print(&self, version: &str) {
        println!("{} exchanges under policy {version}", self.exchanges);
        for (count, what) in [
            (self.same, "would have ended as they did"),
            (self.stopped, "were not stopped and would be"),
            (
                self.held,
                "were not held and would be: people would be asked",
            ),
            (
                self.not_held,
                "were held and would not be for what held them",
            ),
            (
                self.not_stopped,
                "were stopped and would not be for what stopped them",
            ),
            (self.masked_more, "would have more masked"),
            (self.masked_less, "would have less masked"),
            (
                self.untold,
                "were held or stopped for what is not on record: cannot be told",
            ),
            (self.incomplete, "have no whole record"),
        ] {
            println!("  {count:>8} {what}");
        }
        if self.was_approved + self.was_held > 0 {
            println!(
                "Of all, {} were held and went on with approval, {} were held and did not go on.",
                self.was_approved, self.was_held
            );
        }
        println!("{LIMITS}");
    }
}
