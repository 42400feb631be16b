//! Between the second phase and the third: a request that policy holds until a person has said yes.
//!
//! Nothing of it has gone to the model, and its body is not written down before it does. The shell
//! asks at the desk what this type wants, waits where there is something to wait for, and hands the
//! outcome back: [`Held::release`] goes on exactly as an inspected request does, under the policies
//! with which the exchange began; everything else ends it. A client that streams and waits is sent
//! the head of its stream at once ([`Held::begin`]); whatever refuses it later becomes the last
//! event of that stream, wherever in the exchange it comes from.

use std::time::Duration;

use penstock_policies::{Covers, Hold, HoldCause, RequestVerdict, Scope};
use penstock_recorder::frame::{self, Outcome};

use super::admit::Admitted;
use super::answer::Answer;
use super::context::{Core, unix_ns};
use super::heads::HeldText;
use super::inspect::{Cleared, Forwarded, UpstreamRequest};
use crate::approvals::{
    Approval, Caller, Canonical, Claim, Event, EventKind, Excerpt, Grant, HeldBy, Manner, Matter,
    Preference, Refusal, Rules, Standing, Ticket, UseError, Wanted, excerpt, excerpts,
};
use crate::cutoff::format_time;
use crate::http1::{self, Persistence, RequestHead, ResponseFraming, ResponseWriter, Version};
use crate::tap::clip;

/// The field that names an approval, in requests and in answers.
pub const APPROVAL_FIELD: &str = "x-penstock-approval";
/// What an approver sees of texts that the caller chose.
const TEXT_BYTES_MAX: usize = 512;
/// Texts outside the body that an approver sees.
const OUTSIDE_MAX: usize = 8;
/// No id is longer.
const ID_BYTES_MAX: usize = 64;

/// What holds a request, as the guards said it.
pub(super) struct Holding {
    pub(super) holds: Vec<Hold>,
    pub(super) excerpts: Vec<Excerpt>,
    /// Fields that go on and that something holds: name in lower case, value.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) stream: bool,
    pub(super) prompt_tokens: u64,
}

/// A request that waits for people.
pub struct Held {
    admitted: Admitted,
    cleared: Cleared,
    holds: Vec<HeldBy>,
    matter: Matter,
    caller: Caller,
    digest: String,
    manner: Manner,
    lasts: Duration,
    wait: Duration,
    /// Whose wait is over may come back with a ticket.
    becomes_ticket: bool,
    stream: bool,
    presented: Option<String>,
    /// Parts of its approval's history that are in the record.
    recorded: usize,
}

// === impl Holding ===

impl Holding {
    /// What the guards said about this body, which is not masked, and about texts outside it.
    pub(super) fn of(
        core: &Core,
        scope: &Scope,
        verdict: &RequestVerdict,
        body: &[u8],
        outside: Vec<HeldText>,
    ) -> Self {
        let show = core.node.desk.rules().show;
        let (mut holds, mut fields, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for text in outside {
            if shown.len() < OUTSIDE_MAX {
                shown.push(excerpt(show, text.place, &text.text, &text.findings));
            }
            holds.extend(scope.held_by(text.held));
            fields.extend(text.field);
        }
        let at = |hold: &'_ Hold| match &hold.cause {
            HoldCause::Rule { location, .. } => Some(location.clone()),
            HoldCause::Operation(_) | HoldCause::PromptTokens { .. } => None,
        };
        let places: Vec<String> = verdict.holds.iter().filter_map(at).collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        shown.extend(excerpts(show, body, &verdict.findings, &places));
        holds.extend(verdict.holds.iter().cloned());
        Self {
            holds,
            excerpts: shown,
            fields,
            stream: verdict.stream == Some(true),
            prompt_tokens: verdict.prompt_tokens,
        }
    }
}

// === impl Held ===

impl Held {
    pub(super) fn new(
        mut admitted: Admitted,
        head: &RequestHead,
        cleared: Cleared,
        holding: Holding,
    ) -> Self {
        let core = admitted.call.core.clone();
        let rules = core.node.desk.rules();
        let policy_version = admitted.in_force.policy.version().to_owned();
        let principal = &admitted.principal;
        let digest = Canonical {
            method: head.method.as_str(),
            path: head.path(),
            query: head.query(),
            media: head.fields.text("content-type").unwrap_or_default(),
            fields: &holding.fields,
            body: &cleared.body,
            issuer: &principal.issuer,
            subject: &principal.subject,
            tenant: &principal.tenant,
            key: principal.key_id.as_deref(),
            upstream: &rules.upstream,
            policy_version: &policy_version,
        }
        .digest();
        let caller = Caller {
            issuer: principal.issuer.clone(),
            subject: principal.subject.clone(),
            tenant: principal.tenant.clone(),
            key: principal.key_id.clone(),
        };
        let matter = Matter {
            session: admitted.call.id.clone(),
            method: head.method.as_str().to_owned(),
            path: clip(head.path(), TEXT_BYTES_MAX),
            operation: admitted.route.operation.as_str().to_owned(),
            model: admitted
                .call
                .model
                .as_deref()
                .map(|model| clip(model, TEXT_BYTES_MAX)),
            prompt_tokens: holding.prompt_tokens,
            body_bytes: cleared.body.len() as u64,
            upstream: rules.upstream.clone(),
            policy_version,
            gateway: core.node.name.clone(),
            excerpts: holding.excerpts,
        };
        let expires = holding.holds.iter().map(|hold| hold.approvers.expires);
        let lasts = expires.min().unwrap_or_default();
        let preference = Preference::of(head.fields.values("prefer"));
        let (manner, becomes_ticket) = manner(&holding.holds, preference, rules);
        let wait = preference.wait.unwrap_or(rules.wait_max);
        let presented = head.fields.text(APPROVAL_FIELD);
        let presented = presented.filter(|id| id.len() <= ID_BYTES_MAX);
        admitted.call.record.control("approve", true);
        Self {
            presented: presented.map(str::to_owned),
            admitted,
            cleared,
            holds: held_by(&holding.holds),
            matter,
            caller,
            digest,
            manner,
            lasts,
            wait: wait.min(rules.wait_max).min(lasts),
            becomes_ticket,
            stream: holding.stream,
            recorded: 0,
        }
    }

    /// The approval with which it comes.
    pub fn presented(&self) -> Option<&str> {
        self.presented.as_deref()
    }

    /// What is to be asked for.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            digest: self.digest.clone(),
            caller: self.caller.clone(),
            matter: self.matter.clone(),
            holds: self.holds.clone(),
            manner: self.manner,
            lasts: self.lasts,
        }
    }

    /// This request, to go on by that approval.
    pub fn claim(&self, id: &str) -> Claim {
        Claim {
            id: id.to_owned(),
            caller: self.caller.clone(),
            digest: self.digest.clone(),
            policy_version: self.matter.policy_version.clone(),
            session: self.matter.session.clone(),
        }
    }

    /// How long its connection may wait.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How often a client that waits must hear something; `None` where it hears nothing.
    pub fn keep_alive(&self) -> Option<Duration> {
        let rules = self.admitted.call.core.node.desk.rules();
        self.stream.then_some(rules.keep_alive)
    }

    /// Whether it becomes a ticket when its wait is over, rather than being withdrawn.
    pub fn becomes_ticket(&self) -> bool {
        self.becomes_ticket
    }

    /// Begins the answer of a client that streams: appends its head, and says why nothing comes.
    pub fn begin(
        &mut self,
        version: Version,
        persistence: Persistence,
        ticket: &Ticket,
        out: &mut Vec<u8>,
    ) {
        let call = &mut self.admitted.call;
        call.begun = Some(version);
        call.status = 200;
        let media = "text/event-stream";
        if call.core.tap.enabled() {
            call.record
                .response_head(&call.core.tap, unix_ns(), 200, media, 0);
        }
        let mut writer = ResponseWriter::new(out, 200);
        // Ids are hexadecimal digits and hyphens, so all of these can be written.
        let fields = [
            ("content-type", media),
            ("cache-control", "no-cache"),
            ("x-request-id", call.id.as_str()),
            (APPROVAL_FIELD, ticket.id.as_str()),
        ];
        for (name, value) in fields {
            let written = writer.field(name, value.as_bytes());
            debug_assert!(written.is_ok());
        }
        match version {
            Version::Http10 => writer.finish(ResponseFraming::UntilClose, Persistence::Close),
            Version::Http11 => writer.finish(ResponseFraming::Chunked, persistence),
        }
        self.comment(&format!("waiting for approval {}", ticket.id), out);
    }

    /// Appends what keeps a stream open that waits. It carries nothing, so it is not recorded.
    pub fn stay(&self, out: &mut Vec<u8>) {
        self.comment("still waiting for approval", out);
    }

    fn comment(&self, text: &str, out: &mut Vec<u8>) {
        let line = format!(": {text}\n\n");
        match self.admitted.call.begun {
            Some(Version::Http11) => http1::chunk(out, line.as_bytes()),
            _ => out.extend_from_slice(line.as_bytes()),
        }
    }

    /// Writes down what has happened to its approval, as far as the record has not got it.
    pub fn note(&mut self, id: &str, history: &[Event]) {
        for event in history.iter().skip(self.recorded) {
            self.record(id, event);
        }
        self.recorded = self.recorded.max(history.len());
    }

    fn record(&mut self, id: &str, event: &Event) {
        let call = &mut self.admitted.call;
        if !call.core.tap.enabled() {
            return;
        }
        // A yes counts for some of the holds, everything else is about all of them.
        let counts = |place: &usize| match event.event {
            EventKind::Approved => event.counts_for.contains(place),
            _ => true,
        };
        let held = self.holds.iter().enumerate();
        let told = held.filter(|(place, _)| counts(place));
        let (issuer, subject) = event.by.clone().unwrap_or_default();
        let frame = frame::Approval {
            id: clip(id, ID_BYTES_MAX),
            event: event.event.as_str().to_owned(),
            at_unix_ns: event.at_ms.saturating_mul(1_000_000),
            issuer,
            subject,
            reason: Some(event.reason.clone()).filter(|reason| !reason.is_empty()),
            holds: told
                .map(|(_, held)| format!("{}: {}", held.hold, held.why))
                .collect(),
            digest: self.digest.clone(),
        };
        call.record.approval(&call.core.tap, unix_ns(), frame);
    }

    fn happened(&mut self, id: &str, kind: EventKind, reason: &str) {
        let event = Event::now(kind, unix_ns() / 1_000_000, reason);
        self.record(id, &event);
    }

    /// It goes on, by these approvals: as a request goes on that nothing holds.
    pub fn release(
        mut self,
        grants: &[Grant],
        head: &RequestHead,
    ) -> Result<(Forwarded, UpstreamRequest), Answer> {
        for Grant { approval } in grants {
            match approval.history.last() {
                Some(last) if last.session.as_deref() == Some(&self.matter.session) => {
                    self.note(&approval.id, &approval.history);
                }
                // Given for an earlier request: it covers this one as well.
                _ => {
                    let reason = covers(approval, &self.holds);
                    self.happened(&approval.id, EventKind::Used, &reason);
                }
            }
        }
        self.admitted.forward(head, self.cleared)
    }

    /// It is to be sent again, with this ticket.
    pub fn ticket(mut self, ticket: &Ticket) -> Answer {
        if self.recorded == 0 {
            self.happened(&ticket.id, EventKind::Requested, "");
        }
        let until = format_time(ticket.expires_unix);
        let what = match ticket.approved {
            true => "It has been approved: send",
            false => "Once it is approved, send",
        };
        let message = format!(
            "This request needs a person's approval, by {}. {what} the same request again with the \
             header \"{APPROVAL_FIELD}: {}\"; approvers find it at {} until {until}.",
            self.asked(),
            ticket.id,
            ticket.url,
        );
        let answer = Answer::new(403, "approval_required", message).about(ticket);
        self.refuse(answer, Outcome::Blocked)
    }

    /// It does not go on.
    pub fn refused(mut self, refusal: &Refusal, id: Option<&str>) -> Answer {
        if let (Some(id), Refusal::Use { history, .. }) = (id, refusal) {
            self.note(id, history);
        }
        let (status, code, message) = told(refusal);
        let outcome = match refusal {
            Refusal::Unavailable => Outcome::GatewayFailed,
            _ => Outcome::Blocked,
        };
        self.refuse(Answer::new(status, code, message), outcome)
    }

    /// Nobody said yes in the time that its connection may wait.
    pub fn waited_too_long(mut self, id: &str) -> Answer {
        self.happened(id, EventKind::Withdrawn, "the wait was over");
        let message = "Nobody has approved this request in the time that a connection may wait, so \
                       it was refused. Send it again, or ask its approvers first.";
        self.refuse(
            Answer::new(403, "approval_expired", message),
            Outcome::Blocked,
        )
    }

    /// Its client went away: the record says so, and that nobody needs to decide any more.
    pub fn abandoned(mut self, id: Option<&str>) {
        if let Some(id) = id {
            self.happened(id, EventKind::Withdrawn, "the caller went away");
        }
    }

    /// Its caller was cut off while it waited.
    pub fn revoked(mut self, id: Option<&str>) -> Answer {
        if let Some(id) = id {
            self.happened(id, EventKind::Withdrawn, "the caller was cut off");
        }
        self.admitted.call.core.counters.cut_off.bump();
        self.refuse(Answer::revoked().closing(), Outcome::Blocked)
    }

    /// The gateway stops, and waits for nobody.
    pub fn stopped(mut self, id: Option<&str>) -> Answer {
        if let Some(id) = id {
            self.happened(id, EventKind::Withdrawn, "the gateway stopped");
        }
        let message = "The gateway is being stopped, so nobody can be waited for. Send the request \
                       again in a moment.";
        let answer = Answer::new(503, "gateway_stopping", message).closing();
        self.refuse(answer, Outcome::GatewayFailed)
    }

    /// Who must approve it and why: `1 of security ("ask first": the operation is "infer")`.
    pub(crate) fn asked(&self) -> String {
        let why: Vec<String> = self.holds.iter().map(why).collect();
        why.join("; and by ")
    }

    /// What a rehearsal says of it: nobody is asked.
    pub(crate) fn rehearsed(mut self) -> Answer {
        let message = format!(
            "This request needs a person's approval, by {}.",
            self.asked()
        );
        self.refuse(
            Answer::new(403, "approval_required", message),
            Outcome::Blocked,
        )
    }

    fn refuse(&mut self, answer: Answer, outcome: Outcome) -> Answer {
        let core = &self.admitted.call.core;
        core.counters.refused.bump();
        if outcome == Outcome::Blocked {
            core.counters.blocked.bump();
        }
        self.admitted.call.refuse(answer, outcome)
    }
}

/// How a request is heard of again, and whether a wait that is over leaves a ticket. A policy that
/// wants one manner gets it; the caller chooses where it leaves the choice.
fn manner(holds: &[Hold], preference: Preference, rules: &Rules) -> (Manner, bool) {
    use penstock_policies::Manner as Wanted;
    let wants = |manner: Wanted| holds.iter().any(|hold| hold.approvers.manner == manner);
    let waits = preference.wait.is_some_and(|wait| !wait.is_zero());
    match (wants(Wanted::Ticket), wants(Wanted::Wait)) {
        _ if rules.wait_max.is_zero() => (Manner::Ticket, true),
        (true, _) => (Manner::Ticket, true),
        (false, true) => (Manner::Wait, false),
        (false, false) if waits => (Manner::Wait, true),
        (false, false) => (Manner::Ticket, true),
    }
}

/// Each hold once for each of its causes.
fn held_by(holds: &[Hold]) -> Vec<HeldBy> {
    let mut all: Vec<HeldBy> = Vec::new();
    for hold in holds {
        let cause = match &hold.cause {
            HoldCause::Rule { rule, .. } => format!("rule:{rule}"),
            HoldCause::Operation(operation) => format!("operation:{operation}"),
            HoldCause::PromptTokens { .. } => "prompt_tokens".to_owned(),
        };
        if all
            .iter()
            .any(|it| *it.hold == *hold.name && it.cause == cause)
        {
            continue;
        }
        let approvers = &hold.approvers;
        all.push(HeldBy {
            hold: hold.name.to_string(),
            cause,
            why: hold.cause.to_string(),
            quorum: approvers.quorum,
            groups: approvers.groups().map(str::to_owned).collect(),
            window_s: match approvers.covers {
                Covers::Request => None,
                Covers::Window(span) => Some(span.as_secs()),
            },
            covered_by: None,
        });
    }
    all
}

/// Who must approve and why, for the caller.
fn why(held: &HeldBy) -> String {
    format!(
        "{} of {} (\"{}\": {})",
        held.quorum,
        held.groups.join(", "),
        held.hold,
        held.why
    )
}

/// Why an earlier approval covers this request.
fn covers(approval: &Approval, holds: &[HeldBy]) -> String {
    let fits = |held: &&HeldBy| approval.holds.iter().any(|it| it.hold == held.hold);
    let names: Vec<&str> = holds
        .iter()
        .filter(fits)
        .map(|it| it.hold.as_str())
        .collect();
    let until = approval.windows().iter().map(|it| it.until_ms).max();
    format!(
        "given for session {}; covers {} for the same caller and cause until {}",
        approval.matter.session,
        names.join(", "),
        format_time(until.unwrap_or_default() / 1000)
    )
}

/// What a caller is told: status, code, message.
fn told(refusal: &Refusal) -> (u16, &'static str, String) {
    match refusal {
        Refusal::CallerFull(most) => (
            429,
            "too_many_approvals",
            format!(
                "{most} of your requests wait for approval already, the most that may. Wait until \
                 some are decided."
            ),
        ),
        Refusal::Full(most) => (
            429,
            "too_many_approvals",
            format!("{most} requests wait for approval here already, the most that may."),
        ),
        Refusal::Unavailable => (
            503,
            "approvals_unavailable",
            "This request needs a person's approval, and nobody can be asked at present. Try again \
             later."
                .to_owned(),
        ),
        Refusal::Use { error, history } => {
            let (code, message) = unusable(*error, history);
            (403, code, message)
        }
    }
}

fn unusable(error: UseError, history: &[Event]) -> (&'static str, String) {
    let (code, what) = match error {
        UseError::Unknown => ("approval_unknown", "No approval of yours has this id."),
        UseError::Pending => {
            let message = "This request has not been approved yet. Send it again with the same \
                           header later.";
            return ("approval_pending", message.to_owned());
        }
        UseError::Stale => (
            "approval_stale",
            "The policies have changed since this approval was asked for.",
        ),
        UseError::Other => (
            "approval_mismatch",
            "This approval is for another request: method, path, query, media type, body and the \
             header fields that were held must be the same.",
        ),
        UseError::Over(Standing::Denied) => {
            let denied = history.iter().rfind(|it| it.event == EventKind::Denied);
            let reason = denied.map_or("", |event| event.reason.as_str());
            return (
                "approval_denied",
                format!("This request was not approved. The reason that was given: {reason}"),
            );
        }
        UseError::Over(Standing::Used) => ("approval_used", "This approval was used already."),
        UseError::Over(Standing::Withdrawn) => {
            ("approval_withdrawn", "This approval was withdrawn.")
        }
        UseError::Over(Standing::Expired | Standing::Pending | Standing::Approved) => {
            ("approval_expired", "The time of this approval is over.")
        }
    };
    let again = "Send the request again without an approval to ask anew.";
    (code, format!("{what} {again}"))
}
