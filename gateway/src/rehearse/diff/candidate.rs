//! The policies to compare with: what would become of a recorded exchange under them.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use penstock_policies::{
    Action, Direction, HoldCause, Operation, PolicyFiles, PolicySet, PolicyText, Profiles, Scope,
};
use penstock_recorder::frame::{Close, Decision, FrameBody, Open, Outcome};
use penstock_recorder::log::Session;

use super::past::{Past, approvals, decisions, stopping};
use super::{Arguments, Change};
use crate::approvals::Desk;
use crate::config::{Config, Limits};
use crate::cutoff::Cutoff;
use crate::exchange::{InForce, Node};
use crate::identity::Principal;
use crate::rehearse::{Ending, Stage, WhenHeld, message};
use crate::telemetry::Tallies;
use crate::tokens::TokenCounter;

/// The policies to compare with, on a stage.
pub(super) struct Candidate {
    stage: Stage,
    policy: Arc<PolicySet>,
}

// === impl Candidate ===

impl Candidate {
    pub(super) fn load(arguments: &Arguments) -> Result<Self, String> {
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
            tokens: TokenCounter::closed(),
        }))?;
        Ok(Self { stage, policy })
    }

    pub(super) fn version(&self) -> &str {
        self.policy.version()
    }

    /// What would be otherwise, and why; `None` when nothing would.
    pub(super) fn change(
        &self,
        session: &Session,
        past: Past,
        open: &Open,
        close: &Close,
    ) -> Option<(Change, String)> {
        let caller = caller_of(open);
        let scope = self.policy.scope_of(&caller.tenant, &caller.groups);
        match past {
            Past::Blocked => not_blocked(&scope, session, close),
            Past::Refused => self.not_refused(&scope, open, close),
            Past::Held => not_held(&scope, session, open),
            Past::Passed | Past::Approved => {
                self.not_passed(&scope, &caller, session, past, open, close)
            }
        }
    }

    /// A call that was refused before anything of it was written down.
    fn not_refused(&self, scope: &Scope, open: &Open, close: &Close) -> Option<(Change, String)> {
        let code = close.error_code.as_deref()?;
        let (operation, what) = match code {
            "operation_not_permitted" => {
                let operation = Operation::from_name(&open.operation)?;
                scope.may_operate(operation).ok()?;
                (operation, format!("the operation \"{operation}\""))
            }
            "model_not_permitted" => {
                let operation = Operation::from_name(&open.operation)?;
                let Some(model) = close.model.as_deref() else {
                    let because = "which model was asked for is not on record";
                    return Some((Change::Untold, because.to_owned()));
                };
                scope.may_use(operation, model).ok()?;
                (operation, format!("\"{operation}\" on {model}"))
            }
            "route_not_permitted" => {
                let in_force = self.stage.core.node.in_force.load();
                let route = in_force.profiles.resolve(&open.method, &open.path)?;
                scope.may_operate(route.operation).ok()?;
                (route.operation, format!("{} {}", open.method, open.path))
            }
            "body_over_grant"
            | "prompt_over_grant"
            | "media_not_permitted"
            | "prompt_not_text"
            | "inspection_exhausted" => {
                let because = format!("{code}: what was refused is not on record");
                return Some((Change::Untold, because));
            }
            // Who calls, and what HTTP and the route ask for, are no matter of policy.
            _ => return None,
        };
        let mut asking = scope.asks_about(operation, close.model.as_deref());
        Some(match asking.find(|(_, over)| over.is_none()) {
            Some((name, _)) => {
                let because = format!("{what} would be granted, and held by {name:?}");
                (Change::Held, because)
            }
            None => (Change::NotStopped, format!("{what} would be granted")),
        })
    }

    /// A call that went to the model, with or without an approval.
    fn not_passed(
        &self,
        scope: &Scope,
        caller: &Rc<Principal>,
        session: &Session,
        past: Past,
        open: &Open,
        close: &Close,
    ) -> Option<(Change, String)> {
        let mut asks = None;
        // What was masked is not there to be found again, and what stood in the head never was; the
        // rule that found it says what now.
        for decision in decisions(session).filter(|it| is_not_in_the_body(it)) {
            let Some((guard, action)) = verdict(scope, decision) else {
                continue;
            };
            let because = format!("guard {guard:?} would {action} on {}", told(decision));
            match action {
                Action::Block => return Some((Change::Stopped, because)),
                Action::Hold => asks = asks.or(Some(because)),
                Action::Mask | Action::Flag | Action::Allow => {}
            }
        }
        let ending = match self.rehearse(caller, session, past, open, close) {
            Ok(ending) if ending.is_stopped() => {
                return Some((Change::Stopped, reason(&ending)));
            }
            Ok(ending) => ending,
            Err(because) => return Some((Change::Untold, because)),
        };
        let held = ending.held.as_ref();
        let asks = asks.or_else(|| held.map(|who| format!("it would need approval by {who}")));
        match (past, asks) {
            (Past::Approved, None) => return Some((Change::NotHeld, no_longer(session))),
            (Past::Approved, Some(_)) | (_, None) => {}
            (_, Some(because)) => return Some((Change::Held, because)),
        }
        masked(scope, session, &ending)
    }

    /// The same call under the candidate.
    fn rehearse(
        &self,
        caller: &Rc<Principal>,
        session: &Session,
        past: Past,
        open: &Open,
        close: &Close,
    ) -> Result<Ending, String> {
        let (media, body) = session.request_body();
        let request = message::request_from(&open.method, &open.path, &media, body)?;
        let head = session.bodies().find_map(|body| match body {
            FrameBody::ResponseHead(head) => Some(head),
            _ => None,
        });
        // What broke off or failed was no whole answer then, so it is none now. A stream whose
        // caller waited for an approval had its head before the model was asked.
        let whole = close.outcome == Outcome::Completed;
        let answered = head.filter(|head| head.upstream_status > 0 || past == Past::Approved);
        let response = match answered.filter(|_| whole) {
            None => None,
            Some(head) => {
                let pieces = session.response_chunks().map(|(_, bytes)| bytes.to_vec());
                let status = match head.upstream_status {
                    0 => head.status,
                    status => status,
                };
                let response = message::response_from(status, &head.media, pieces.collect())?;
                Some(response)
            }
        };
        Ok(self.stage.play(caller, request, response, WhenHeld::GoesOn))
    }
}

/// Whether more or less of a call would be masked.
fn masked(scope: &Scope, session: &Session, ending: &Ending) -> Option<(Change, String)> {
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
    let mut masked = decisions(session).filter(|decision| decision.action == "mask");
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

/// A call that waited for people and did not go on, of which only what held it is on record.
fn not_held(scope: &Scope, session: &Session, open: &Open) -> Option<(Change, String)> {
    let operation = Operation::from_name(&open.operation)?;
    let model = session.model();
    let denied = match model.filter(|_| operation.is_per_model()) {
        Some(model) => scope.may_use(operation, model).err(),
        None => scope.may_operate(operation).err(),
    };
    if let Some(denied) = denied {
        return Some((
            Change::Stopped,
            format!("{}: {}", denied.code, denied.message),
        ));
    }
    let mut asks = false;
    for decision in stopping(session) {
        let Some((guard, action)) = verdict(scope, decision) else {
            continue;
        };
        if action == Action::Block {
            let because = format!("guard {guard:?} would block on {}", told(decision));
            return Some((Change::Stopped, because));
        }
        asks |= action == Action::Hold;
    }
    let causes = approvals(session).flat_map(|it| &it.holds);
    let tokens = causes.filter_map(|it| HoldCause::tokens_told(it)).next();
    let mut untold = None;
    for (name, over) in scope.asks_about(operation, model) {
        match (over, tokens) {
            (None, _) => asks = true,
            (Some(over), Some(tokens)) => asks |= tokens > over,
            (Some(over), None) => untold = Some((name, over)),
        }
    }
    match (asks, untold) {
        (true, _) => None,
        (false, Some((name, over))) => {
            let because = format!(
                "{name:?} would ask about more than {over} tokens, and how long the prompt was is \
                 not on record"
            );
            Some((Change::Untold, because))
        }
        (false, None) => {
            let because = format!("{}; what was said is not on record", no_longer(session));
            Some((Change::NotHeld, because))
        }
    }
}

/// What held a call would not hold it.
fn no_longer(session: &Session) -> String {
    let mut held: Vec<&str> = Vec::new();
    for hold in approvals(session).flat_map(|it| &it.holds) {
        if !held.contains(&hold.as_str()) {
            held.push(hold);
        }
    }
    let decisions: Vec<String> = match held.is_empty() {
        true => stopping(session)
            .map(|it| format!("{}: {}", it.guard, told(it)))
            .collect(),
        false => Vec::new(),
    };
    held.extend(decisions.iter().map(String::as_str));
    match held.is_empty() {
        true => "what held it is not on record".to_owned(),
        false => format!("what held it would not: {}", held.join("; ")),
    }
}

/// A call that a guard stopped, of which only what the guard found is on record.
fn not_blocked(scope: &Scope, session: &Session, close: &Close) -> Option<(Change, String)> {
    let mut holds = None;
    for decision in stopping(session) {
        match verdict(scope, decision) {
            Some((_, Action::Block)) => return None,
            Some((guard, Action::Hold)) => {
                let because = format!("guard {guard:?} would hold on {}", told(decision));
                holds = holds.or(Some(because));
            }
            _ => {}
        }
    }
    if let Some(because) = holds {
        return Some((Change::Held, because));
    }
    let Some(first) = stopping(session).next() else {
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

/// Whether what was found is not on record, although the call went on: it was masked, or stood in
/// the head, and people were asked about it.
fn is_not_in_the_body(decision: &Decision) -> bool {
    let in_the_head = matches!(decision.location.as_str(), "query" | "header");
    decision.action == "mask" || (decision.action == "hold" && in_the_head)
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
    match ending.decisions().find(|made| made.action == "block") {
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
