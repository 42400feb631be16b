//! First phase: who is calling, and may they do this at all? Decided on the head alone, so that a
//! caller who may not is answered before the body is read.

use std::rc::Rc;
use std::sync::Arc;

use penstock_policies::mask::Vault;
use penstock_policies::{Dialect, PolicySet, RequestBody, Route, Scope};
use penstock_recorder::frame::Outcome;

use super::answer::Answer;
use super::context::{Core, InForce, Peer, unix_ns, unix_seconds};
use super::{Call, heads};
use crate::http1::{Framing, RequestHead};
use crate::identity::{AuthError, Credential, Principal, PrincipalKind, RefreshWait};
use crate::tap::{Open, Record, clip};

/// What a record keeps of texts that a caller chose, known or not.
const USER_AGENT_BYTES_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 512;

/// A call that may go on to its body.
pub struct Admitted {
    pub(super) call: Call,
    pub(super) route: Route,
    pub(super) in_force: Arc<InForce>,
    pub(super) scope: Scope,
    pub(super) principal: Rc<Principal>,
    pub(super) peer: Peer,
    /// Under TLS?
    pub(super) secure: bool,
    /// Fields of the head that a guard withholds from the model.
    pub(super) withheld: Vec<String>,
    /// What of the body was masked and is to be put back in the answer.
    pub(super) vault: Vault,
    /// Largest body that this call may have.
    pub body_max: usize,
}

/// A call that ends here.
pub struct Refused {
    /// What the client gets.
    pub answer: Answer,
    /// Fresh keys might change the answer: wait for them, bounded, and admit once more.
    pub refresh: Option<RefreshWait>,
}

/// Decides on a request's head. `last_try` is false when the caller can wait for fresh keys and
/// come back; then a refusal for want of a key leaves no record.
pub fn admit(
    core: &Rc<Core>,
    head: &RequestHead,
    peer: Peer,
    secure: bool,
    last_try: bool,
) -> Result<Admitted, Refused> {
    admit_by(core, head, peer, secure, last_try, authenticate)
}

/// Decides on the head of a caller who is known from elsewhere, for a rehearsal.
pub(crate) fn admit_as(
    core: &Rc<Core>,
    head: &RequestHead,
    peer: Peer,
    caller: &Rc<Principal>,
) -> Result<Admitted, Refused> {
    admit_by(core, head, peer, false, true, |_, _, _| Ok(caller.clone()))
}

fn admit_by(
    core: &Rc<Core>,
    head: &RequestHead,
    peer: Peer,
    secure: bool,
    last_try: bool,
    identify: impl FnOnce(&Core, &RequestHead, u64) -> Result<Rc<Principal>, AuthError>,
) -> Result<Admitted, Refused> {
    let now = unix_ns();
    let session = core.session(now);
    let in_force = core.node.in_force.load_full();
    let route = in_force.profiles.resolve(head.method.as_str(), head.path());
    let dialect = route.map_or_else(|| heads::dialect_of(head), |route| route.dialect);
    let mut call = Call {
        core: core.clone(),
        id: session.to_string(),
        dialect,
        route: route.map_or("", |route| route.name),
        record: Record::new(session, now),
        model: None,
        status: 0,
        begun: None,
        ended: false,
    };
    let identified = |core: &Core| identify(core, head, now / 1_000_000_000);
    let policy = &in_force.policy;
    let decided = decide(&mut call, head, peer, route, policy, identified, last_try);
    let undecided = matches!(&decided, Err(refused) if refused.refresh.is_some() && !last_try);
    if !undecided {
        core.counters.requests.bump();
    }
    match decided {
        // It comes again when there is an answer, and is counted and recorded then.
        Err(refused) if undecided => {
            call.ended = true;
            Err(refused)
        }
        Ok((route, scope, principal)) => {
            let body_max = core.node.limits.body.0;
            Ok(Admitted {
                call,
                route,
                in_force,
                scope,
                principal,
                peer,
                secure,
                withheld: Vec::new(),
                vault: Vault::default(),
                body_max,
            })
        }
        Err(Refused { answer, .. }) => {
            core.counters.refused.bump();
            let answer = call.refuse(answer, Outcome::Refused);
            Err(Refused {
                answer,
                refresh: None,
            })
        }
    }
}

/// The answer to a request for which there is no time. Nothing of it was looked at but where it
/// goes, and it leaves no record: both would cost what is short.
pub fn shed(core: &Core, head: &RequestHead) -> Answer {
    core.counters.requests.bump();
    core.counters.shed.bump();
    let message = "This gateway has more to do than it can do in time. Try again in a moment.";
    let mut answer = Answer::new(503, "overloaded", message);
    answer.seal(heads::dialect_of(head), "");
    answer
}

fn decide(
    call: &mut Call,
    head: &RequestHead,
    peer: Peer,
    route: Option<Route>,
    policy: &Arc<PolicySet>,
    identify: impl FnOnce(&Core) -> Result<Rc<Principal>, AuthError>,
    last_try: bool,
) -> Result<(Route, Scope, Rc<Principal>), Refused> {
    let core = call.core.clone();
    if !core.tap.admits() {
        return Err(Answer::new(
            503,
            "recorder_unavailable",
            "Calls are recorded here, and the recorder cannot be reached. Try again later.",
        )
        .into());
    }
    let authenticated = identify(&core).map_err(|error| {
        let answer = Answer::from(&error);
        Refused {
            answer,
            refresh: error.refresh,
        }
    });
    let principal = match authenticated {
        Ok(principal) => principal,
        Err(refused) => {
            if last_try || refused.refresh.is_none() {
                core.counters.unauthenticated.bump();
                open_record(call, head, peer, route, policy, None);
            }
            return Err(refused);
        }
    };
    open_record(call, head, peer, route, policy, Some(&principal));
    call.record
        .control("authenticate", principal.kind != PrincipalKind::Anonymous);
    // After every look-up of a remembered token, so that none outlives its revocation.
    if core.node.cutoff.revokes(&principal, unix_seconds()) {
        core.counters.revoked.bump();
        return Err(Answer::revoked().into());
    }
    let scope = core.scope(policy, &principal);
    call.record.control("authorize", !scope.is_everything());
    let Some(route) = route else {
        core.counters.forbidden.bump();
        return Err(Answer::new(
            403,
            "route_not_permitted",
            "This method and path are not permitted here.",
        )
        .into());
    };
    if let Err(denied) = scope.may_operate(route.operation) {
        core.counters.forbidden.bump();
        return Err(Answer::from(denied).into());
    }
    check_body_head(head, route, core.node.limits.body.0)?;
    Ok((route, scope, principal))
}

/// Identifies the caller by `Authorization`, or by the `x-api-key` of Anthropic's SDKs.
fn authenticate(
    core: &Core,
    head: &RequestHead,
    now_unix: u64,
) -> Result<Rc<Principal>, AuthError> {
    let fields = &head.fields;
    let credential =
        Credential::choose(fields.values("authorization"), fields.values("x-api-key"))?;
    core.authenticator
        .borrow_mut()
        .authenticate_credential(credential, now_unix)
}

/// What the head says of the body, before any of it is read.
fn check_body_head(head: &RequestHead, route: Route, body_max: usize) -> Result<(), Refused> {
    if let Framing::Length(length) = head.framing
        && length > body_max as u64
    {
        return Err(too_large(body_max).into());
    }
    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    if !has_body {
        return Ok(());
    }
    if route.body == RequestBody::None {
        let answer = Answer::new(
            400,
            "body_not_expected",
            "This route takes no request body.",
        );
        return Err(answer.into());
    }
    // Said twice it would be read one way here and perhaps the other way by the model.
    let mut types = head.fields.values("content-type");
    match (types.next().map(heads::media_type), types.next()) {
        (Some(Some(media)), None) if takes(route.body, media) => Ok(()),
        _ => Err(Answer::new(
            415,
            "unsupported_media_type",
            match route.body {
                RequestBody::Form => {
                    "This route takes multipart/form-data. Set one content-type field accordingly."
                }
                _ => {
                    "This route takes application/json, in UTF-8. Set one content-type field \
                     accordingly."
                }
            },
        )
        .into()),
    }
}

fn takes(body: RequestBody, media: &str) -> bool {
    match body {
        RequestBody::None => false,
        RequestBody::Json => heads::is_json(media),
        RequestBody::Form => media.eq_ignore_ascii_case("multipart/form-data"),
    }
}

/// The answer to a body over its bound.
pub(super) fn too_large(body_max: usize) -> Answer {
    Answer::new(
        413,
        "request_too_large",
        format!("The request body is larger than {body_max} bytes, the most that is taken here."),
    )
}

fn open_record(
    call: &mut Call,
    head: &RequestHead,
    peer: Peer,
    route: Option<Route>,
    policy: &PolicySet,
    principal: Option<&Principal>,
) {
    let core = call.core.clone();
    if !core.tap.enabled() {
        return;
    }
    let mut open = Open {
        client: peer.to_string(),
        user_agent: head
            .fields
            .text("user-agent")
            .map(|text| clip(text, USER_AGENT_BYTES_MAX)),
        method: head.method.as_str().to_owned(),
        path: clip(head.path(), PATH_BYTES_MAX),
        policy_version: policy.version().to_owned(),
        gateway: core.node.name.clone(),
        core: core.number,
        ..Open::default()
    };
    if let Some(principal) = principal {
        open.issuer = principal.issuer.clone();
        open.subject = principal.subject.clone();
        open.groups = principal.groups.clone();
        // A key is named by its id, in the same place as a token by its own.
        open.token_id = principal.token_id.clone().or(principal.key_id.clone());
    }
    if let Some(route) = route {
        open.route = route.name.to_owned();
        open.operation = route.operation.as_str().to_owned();
    }
    open.dialect = match call.dialect {
        Dialect::OpenAi => "openai",
        Dialect::Anthropic => "anthropic",
    }
    .to_owned();
    call.record.open(&core.tap, open);
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            refresh: None,
        }
    }
}

impl Admitted {
    /// Who calls.
    pub fn principal(&self) -> &Rc<Principal> {
        &self.principal
    }

    /// The body turned out to be larger than it may be.
    pub fn too_large(mut self) -> Answer {
        self.call.core.counters.refused.bump();
        let answer = too_large(self.body_max).closing();
        self.call.refuse(answer, Outcome::Refused)
    }

    /// The body did not come, came too slowly, or is malformed.
    pub fn refuse(mut self, answer: Answer) -> Answer {
        self.call.core.counters.refused.bump();
        self.call.refuse(answer.closing(), Outcome::Refused)
    }

    /// True when a body is worth asking for (`Expect: 100-continue`).
    pub fn takes_body(&self) -> bool {
        self.route.body != RequestBody::None
    }
}
