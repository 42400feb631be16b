//! Second phase: the whole body is read and inspected before one byte goes upstream.

use std::sync::Arc;

use bytes::Bytes;
use penstock_policies::mask::Vault;
use penstock_policies::{
    Action, CountedTokens, DecodeBounds, Direction, FINDINGS_MAX, Finding, RequestBody,
    RequestVerdict, Route, Scope, TokenCount, decode_content,
};
use penstock_recorder::frame::Outcome;

use super::Call;
use super::admit::{Admitted, too_large};
use super::answer::Answer;
use super::context::{InForce, unix_ns};
use super::heads::{self, HeldText, UpstreamHead};
use super::hold::{Held, Holding};
use crate::http1::{Method, RequestHead};
use crate::tap::Moment;

/// Bodies up to this size are copied behind their head: two pieces cost the kernel more than that.
const JOINED_BYTES_MAX: usize = 4 * 1024;

/// A call whose request is on its way.
pub struct Forwarded {
    pub(super) call: Call,
    pub(super) route: Route,
    pub(super) in_force: Arc<InForce>,
    pub(super) scope: Scope,
    pub(super) head_request: bool,
    /// What was masked on the way in, for this caller's answer alone.
    pub(super) vault: Vault,
}

/// The request in the form in which the upstream gets it: a head, and a body that is separate only
/// when it is too large to be copied behind the head. A copy of it shares the bytes.
#[derive(Clone)]
pub struct UpstreamRequest {
    /// Head, and the body where it is small.
    pub head: Bytes,
    /// The body where it is large; else empty.
    pub body: Bytes,
}

/// A request whose head is judged and whose body is unpacked: to be inspected.
pub struct Begun {
    admitted: Admitted,
    body: Vec<u8>,
    /// What holds it besides its body.
    outside: Vec<HeldText>,
}

/// What inspection comes to, where the call does not end.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on a stack; boxing would allocate for every call"
)]
pub enum Inspected {
    /// The request goes to the model.
    Forwarded(Forwarded, UpstreamRequest),
    /// It waits for people.
    Held(Box<Held>),
}

/// A body that may go on as far as guards are concerned.
pub(super) struct Cleared {
    pub(super) body: Vec<u8>,
    /// What is written down in its place.
    recorded: Option<Vec<u8>>,
}

impl Admitted {
    /// Judges the head and unpacks the body; or the answer that ends the call.
    pub fn begin(mut self, head: &RequestHead, body: Vec<u8>) -> Result<Begun, Answer> {
        match self.unpack(head, body) {
            Ok((body, outside)) => Ok(Begun {
                admitted: self,
                body,
                outside,
            }),
            Err((answer, outcome)) => Err(self.turn_away(answer, outcome)),
        }
    }

    fn unpack(
        &mut self,
        head: &RequestHead,
        body: Vec<u8>,
    ) -> Result<(Vec<u8>, Vec<HeldText>), (Answer, Outcome)> {
        let outside = self.judge_head(head)?;
        let body = self.decode(head, body);
        Ok((body.map_err(|answer| (answer, Outcome::Refused))?, outside))
    }

    fn turn_away(mut self, answer: Answer, outcome: Outcome) -> Answer {
        let counters = &self.call.core.counters;
        counters.refused.bump();
        if answer.code == "model_not_permitted" {
            counters.forbidden.bump();
        }
        self.call.refuse(answer, outcome)
    }

    /// Writes the body down and makes the upstream's request of it.
    pub(super) fn forward(
        mut self,
        head: &RequestHead,
        cleared: Cleared,
    ) -> Result<(Forwarded, UpstreamRequest), Answer> {
        self.record_body(head, &cleared);
        let request = match self.assemble(head, cleared.body) {
            Ok(request) => request,
            Err((answer, outcome)) => return Err(self.turn_away(answer, outcome)),
        };
        self.call.record.moment(Moment::Forwarded, unix_ns());
        self.call.core.counters.forwarded.bump();
        let Self {
            call,
            route,
            in_force,
            scope,
            vault,
            ..
        } = self;
        let head_request = head.method == Method::Head;
        let forwarded = Forwarded {
            call,
            route,
            in_force,
            scope,
            head_request,
            vault,
        };
        Ok((forwarded, request))
    }

    fn record_body(&mut self, head: &RequestHead, cleared: &Cleared) {
        let Call { core, record, .. } = &mut self.call;
        if !core.tap.enabled() || cleared.body.is_empty() {
            return;
        }
        let recorded = cleared.recorded.as_deref().unwrap_or(&cleared.body);
        let media = match self.route.body {
            RequestBody::Form => head.fields.text("content-type").unwrap_or_default(),
            RequestBody::Json | RequestBody::None => "application/json",
        };
        record.request_body(&core.tap, unix_ns(), media, recorded);
    }

    /// The body that the model gets, and what holds it.
    fn decide(
        &mut self,
        head: &RequestHead,
        body: Vec<u8>,
        outside: Vec<HeldText>,
    ) -> Result<(Cleared, Option<Holding>), (Answer, Outcome)> {
        let refused = |answer: Answer| (answer, Outcome::Refused);
        let core = self.call.core.clone();
        let media = head.fields.text("content-type").unwrap_or_default();
        let inspected = if self.route.body == RequestBody::Form {
            let policy = &self.in_force.policy;
            policy.inspect_form(&self.scope, &self.route, media, &body)
        } else {
            let mut scratch = core.scratch.borrow_mut();
            let policy = &self.in_force.policy;
            let inspected = policy.inspect_request(&self.scope, &self.route, &body, &mut scratch);
            core.counters.remembered_texts.add(scratch.take_recalled());
            inspected
        };
        let verdict = inspected.map_err(|error| refused(Answer::from(error)))?;
        if !stops_its_model(&verdict) {
            self.call.model.clone_from(&verdict.model);
        }
        if self.route.names_model {
            let model = verdict.model.as_deref().unwrap_or_default();
            self.scope
                .may_use(self.route.operation, model)
                .map_err(|denied| refused(Answer::from(denied)))?;
        }
        self.call
            .record
            .control("inspect request", self.scope.guards_request());
        if self.scope.observes_request() {
            self.call.record.control("observe request", true);
        }
        for kind in verdict.media.iter() {
            // Never called inspected: what is in a picture or a sound, no guard has seen.
            self.call.record.control(&format!("inspect {kind}"), false);
        }
        self.call.record.moment(Moment::Inspected, unix_ns());
        self.judge(verdict, body, outside)
    }

    /// Acts on what guards find in the query and in the fields that would go on: no side door. What
    /// of it people must be asked about.
    fn judge_head(&mut self, head: &RequestHead) -> Result<Vec<HeldText>, (Answer, Outcome)> {
        if !self.scope.guards_request() && !self.scope.observes_request() {
            return Ok(Vec::new());
        }
        let core = self.call.core.clone();
        let (policy, scope) = (&self.in_force.policy, &self.scope);
        let way = Direction::Request;
        let mut found =
            heads::inspect_fields(policy, scope, way, &head.fields, heads::passes_to_model);
        let first = |listed: &[Finding], stops: &[Action]| {
            let mut listed = listed.iter();
            listed.find(|it| stops.contains(&it.action)).cloned()
        };
        let blocks = found.action == Action::Block;
        let mut stops = blocks.then(|| first(&found.findings, &[Action::Block]));
        if let Some(query) = head.query() {
            let text = heads::percent_decode(query);
            let verdict = policy.inspect_text(scope, way, "query", &text);
            // A query with a hole in it means something else; so a mask, too, refuses it.
            let stopping = [Action::Mask, Action::Block];
            if stops.is_none() && (verdict.masks || stopping.contains(&verdict.action)) {
                stops = Some(first(&verdict.findings, &stopping));
            }
            if !verdict.held.is_empty() {
                found.held.push(HeldText {
                    place: "query".to_owned(),
                    text,
                    field: None,
                    findings: verdict.findings.clone(),
                    held: verdict.held,
                });
            }
            found.findings.extend(verdict.findings);
        }
        self.call.found(unix_ns(), way, &found.findings);
        self.withheld = found.withheld;
        let Some(finding) = stops else {
            return Ok(found.held);
        };
        core.counters.blocked.bump();
        let what = "The request was blocked before it reached the model.";
        let answer = Answer::blocked(finding.as_ref(), "request_blocked", what);
        Err((answer, Outcome::Blocked))
    }

    fn decode(&self, head: &RequestHead, body: Vec<u8>) -> Result<Vec<u8>, Answer> {
        if head.fields.count("content-encoding") > 1 {
            return Err(Answer::new(
                415,
                "unsupported_encoding",
                "The request has more than one content-encoding field. Send at most one.",
            ));
        }
        let Some(encoding) = head.fields.get("content-encoding") else {
            return Ok(body);
        };
        let encoding = std::str::from_utf8(encoding).unwrap_or("?");
        let bounds = DecodeBounds {
            max_bytes: self.body_max,
            max_ratio: self.call.core.node.limits.decode_ratio,
        };
        decode_content(encoding, &body, &bounds).map_err(Answer::from)
    }

    /// Acts on what the guards said, and records it. `outside`: what holds the request besides.
    fn judge(
        &mut self,
        verdict: RequestVerdict,
        body: Vec<u8>,
        outside: Vec<HeldText>,
    ) -> Result<(Cleared, Option<Holding>), (Answer, Outcome)> {
        let core = self.call.core.clone();
        let now = unix_ns();
        self.call.found(now, Direction::Request, &verdict.findings);
        let mut holding = None;
        let action = match outside.is_empty() {
            true => verdict.action,
            false => verdict.action.max(Action::Hold),
        };
        match action {
            Action::Block => {
                core.counters.blocked.bump();
                let mut findings = verdict.findings.iter();
                let first = findings.find(|finding| finding.action == Action::Block);
                let what = "The request was blocked before it reached the model.";
                let answer = Answer::blocked(first, "request_blocked", what);
                return Err((answer, Outcome::Blocked));
            }
            Action::Hold => {
                core.counters.held.bump();
                holding = Some(Holding::of(&core, &self.scope, &verdict, &body, outside));
            }
            Action::Mask => core.counters.masked_requests.bump(),
            Action::Allow | Action::Flag => {}
        }
        self.vault = verdict.vault;
        let cleared = Cleared {
            body: verdict.body.unwrap_or(body),
            recorded: verdict.recorded,
        };
        if cleared.body.len() > self.body_max {
            return Err((too_large(self.body_max), Outcome::Refused));
        }
        Ok((cleared, holding))
    }

    fn assemble(
        &self,
        head: &RequestHead,
        body: Vec<u8>,
    ) -> Result<UpstreamRequest, (Answer, Outcome)> {
        let node = &self.call.core.node;
        let joined = body.len() <= JOINED_BYTES_MAX;
        let mut out = Vec::with_capacity(1024 + if joined { body.len() } else { 0 });
        UpstreamHead {
            head,
            host: &node.upstream_host,
            peer: self.peer,
            secure: self.secure,
            principal: &self.principal,
            credential: self
                .in_force
                .credential
                .as_ref()
                .map(|credential| credential.header_value()),
            request_id: &self.call.id,
            body_bytes: body.len() as u64,
            withheld: &self.withheld,
        }
        .write(&mut out)
        .map_err(|error| {
            let message = format!("The request cannot be sent on: {error}.");
            (
                Answer::new(500, "internal_error", message),
                Outcome::GatewayFailed,
            )
        })?;
        let body = if joined {
            out.extend_from_slice(&body);
            Bytes::new()
        } else {
            Bytes::from(body)
        };
        Ok(UpstreamRequest {
            head: Bytes::from(out),
            body,
        })
    }
}

// === impl Begun ===

impl Begun {
    /// Whether its tokens are to be counted elsewhere before it is inspected.
    pub fn must_count(&self) -> bool {
        self.admitted
            .scope
            .must_count(&self.admitted.route, &self.body)
    }

    /// What is to be counted. It has the body until [`Begun::counted`] gives that back.
    pub fn to_count(&mut self, head: &RequestHead) -> TokenCount {
        let media = head.fields.text("content-type").unwrap_or_default();
        let Admitted { scope, route, .. } = &self.admitted;
        TokenCount::new(scope, route, media, std::mem::take(&mut self.body))
    }

    /// The body, and what was counted in it.
    pub fn counted(&mut self, body: Vec<u8>, tokens: Option<CountedTokens>) {
        self.body = body;
        if let Some(tokens) = tokens {
            self.admitted.scope.counted(tokens);
        }
    }

    /// It cannot be counted.
    pub fn refuse(self, answer: Answer) -> Answer {
        self.admitted.turn_away(answer, Outcome::Refused)
    }

    /// Inspects the body and makes the upstream's request; or the answer that ends the call. Tokens
    /// that are needed and were not counted are counted here.
    pub fn inspect(self, head: &RequestHead) -> Result<Inspected, Answer> {
        let Self {
            mut admitted,
            body,
            outside,
        } = self;
        match admitted.decide(head, body, outside) {
            Ok((cleared, None)) => {
                let (forwarded, request) = admitted.forward(head, cleared)?;
                Ok(Inspected::Forwarded(forwarded, request))
            }
            Ok((cleared, Some(holding))) => {
                let held = Held::new(admitted, head, cleared, holding);
                Ok(Inspected::Held(Box::new(held)))
            }
            Err((answer, outcome)) => Err(admitted.turn_away(answer, outcome)),
        }
    }
}

/// Whether a guard that stops the request may have found its match in the model's name: then that
/// name is not written down, because it may be the secret itself.
fn stops_its_model(verdict: &RequestVerdict) -> bool {
    let stops = verdict.action >= Action::Hold;
    let listed = verdict.findings.len() < FINDINGS_MAX;
    stops
        && (!listed
            || verdict
                .findings
                .iter()
                .any(|finding| finding.location == "model"))
}
