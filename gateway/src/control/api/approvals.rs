//! Requests that people decide on: listing, looking, deciding, and hearing of them as they come.
//!
//! Whoever may look sees all of them. Deciding is for persons: the role says that somebody approves
//! at all, the approval's own groups say whether they approve this, and nobody approves what they
//! asked for themselves, administrators included.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operator::Operator;
use super::problem::{Body, Problem, Query};
use super::revocations::{PAGE, PAGE_MAX};
use super::{Api, Shared};
use crate::approvals::{
    Approval, Caller, DecideError, Decision, Event, EventKind, HeldBy, Manner, Matter, Person,
    Standing,
};
use crate::control::approvals::{ApprovalError, Change};
use crate::control::state::approvals::Filter;
use crate::cutoff::{TEXT_BYTES_MAX, format_time};

/// How often a stream of changes says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A request that people decide on.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct ApprovalView {
    pub(in crate::control) id: String,
    pub(in crate::control) standing: Standing,
    /// Who asks.
    pub(in crate::control) caller: Caller,
    /// For what.
    pub(in crate::control) matter: Matter,
    /// What holds it, and how far it is with each.
    pub(in crate::control) holds: Vec<HoldView>,
    /// How the caller hears of the decision.
    pub(in crate::control) manner: Manner,
    #[schema(format = DateTime)]
    pub(in crate::control) created: String,
    /// Pending: to be decided before. Approved: to be used before.
    #[schema(format = DateTime)]
    pub(in crate::control) expires: String,
    /// Where a person finds it.
    pub(in crate::control) url: String,
    /// Everything that happened, the oldest first.
    pub(in crate::control) history: Vec<EventView>,
    /// Whether you may decide on it; absent where you are no person.
    pub(in crate::control) may_decide: Option<bool>,
}

/// Something that holds a request.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct HoldView {
    #[serde(flatten)]
    pub(in crate::control) held: HeldBy,
    /// Different people who have approved so far.
    pub(in crate::control) approved: u32,
}

/// Something that happened to an approval.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct EventView {
    #[schema(format = DateTime)]
    pub(in crate::control) at: String,
    pub(in crate::control) event: EventKind,
    /// The person who did it; absent where time or a connection did.
    pub(in crate::control) by: Option<By>,
    pub(in crate::control) reason: Option<String>,
    /// The session that it happened in, of requests and uses.
    pub(in crate::control) session: Option<String>,
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct By {
    pub(in crate::control) issuer: String,
    pub(in crate::control) subject: String,
}

/// A part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct ApprovalPage {
    approvals: Vec<ApprovalView>,
    /// `after` for the next part; absent when this is the end.
    next: Option<String>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ApprovalPart {
    /// Only those that stand so: `pending`, `approved`, `denied`, `expired`, `withdrawn`, `used`.
    #[param(inline)]
    standing: Option<Standing>,
    /// Only those that this person asked for.
    subject: Option<String>,
    /// `oldest` first, as when absent, or `newest`.
    #[param(inline)]
    order: Option<Order>,
    /// Behind the approval with this id.
    after: Option<String>,
    /// At most so many; 100 when absent, 1000 at most.
    limit: Option<usize>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Oldest,
    Newest,
}

/// Why somebody decides as they do.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Why {
    /// For the caller and for whoever reads the history. A denial needs one.
    reason: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_approvals))
        .routes(routes!(approval_events))
        .routes(routes!(show_approval))
        .routes(routes!(approve))
        .routes(routes!(deny))
}

/// Approvals, in the order in which they were asked for.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalPart),
    security(("bearer" = ["viewer"])), responses(
    (status = 200, description = "A part of the list.", body = ApprovalPage),
    (status = 400, description = "The query is not understood.", body = Problem),
    (status = 503, description = "The state cannot be read.", body = Problem)))]
async fn list_approvals(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Query(part): Query<ApprovalPart>,
) -> Result<Json<ApprovalPage>, Problem> {
    let limit = part.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let filter = Filter {
        standing: part.standing,
        subject: part.subject.filter(|subject| !subject.is_empty()),
        newest: part.order == Some(Order::Newest),
    };
    let found = api.approvals.page(&filter, part.after.as_deref(), limit);
    let found = found.await?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.clone()));
    let person = person(&operator);
    Ok(Json(ApprovalPage {
        approvals: found
            .into_iter()
            .map(|it| ApprovalView::of(&api, it, person.as_ref()))
            .collect(),
        next: next.flatten(),
    }))
}

/// One of them.
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals",
    security(("bearer" = ["viewer"])),
    params(("id" = String, Path, description = "The approval's id.")),
    responses(
        (status = 200, description = "It.", body = ApprovalView),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 503, description = "The state cannot be read.", body = Problem)))]
async fn show_approval(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    let found = api.approvals.get(&id).await?;
    let person = person(&operator);
    Ok(Json(ApprovalView::of(&api, found, person.as_ref())))
}

/// Says yes; the request may go on once every hold has its quorum.
#[utoipa::path(post, path = "/approvals/{id}/approve", tag = "approvals", request_body = Why,
    security(("bearer" = ["approver"])),
    params(("id" = String, Path, description = "The approval's id.")),
    responses(
        (status = 200, description = "Written down; `standing` says what came of it.",
            body = ApprovalView),
        (status = 403, description = "Your word does not count here, and why.", body = Problem),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 409, description = "It is decided, or you have approved it.", body = Problem),
        (status = 503, description = "It cannot be written down.", body = Problem)))]
async fn approve(
    state: Shared,
    operator: Extension<Operator>,
    id: Path<String>,
    why: Body<Why>,
) -> Result<Json<ApprovalView>, Problem> {
    decide(state, operator, id, why, Decision::Approve).await
}

/// Says no, and why. That is final; also of one that is approved, until it is used.
#[utoipa::path(post, path = "/approvals/{id}/deny", tag = "approvals", request_body = Why,
    security(("bearer" = ["approver"])),
    params(("id" = String, Path, description = "The approval's id.")),
    responses(
        (status = 200, description = "Written down.", body = ApprovalView),
        (status = 403, description = "Your word does not count here, and why.", body = Problem),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 409, description = "It is decided.", body = Problem),
        (status = 422, description = "There is no reason.", body = Problem),
        (status = 503, description = "It cannot be written down.", body = Problem)))]
async fn deny(
    state: Shared,
    operator: Extension<Operator>,
    id: Path<String>,
    why: Body<Why>,
) -> Result<Json<ApprovalView>, Problem> {
    decide(state, operator, id, why, Decision::Deny).await
}

async fn decide(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Body(why): Body<Why>,
    decision: Decision,
) -> Result<Json<ApprovalView>, Problem> {
    let person = person(&operator).ok_or_else(not_a_person)?;
    let bad = why.reason.len() > TEXT_BYTES_MAX || why.reason.chars().any(char::is_control);
    if bad {
        let detail = format!("`reason` must be at most {TEXT_BYTES_MAX} bytes on one line");
        return Err(Problem::invalid(detail));
    }
    let decided = api.approvals.decide(&id, &person, decision, &why.reason);
    let decided = decided.await?;
    Ok(Json(ApprovalView::of(&api, decided, Some(&person))))
}

/// Everything that happens to approvals from now on, as server-sent events: the name says what
/// happened, the data is the approval. `lagged` says that some were left out: read the list again.
#[utoipa::path(get, path = "/approvals/events", tag = "approvals",
    security(("bearer" = ["viewer"])),
    responses((status = 200, description = "A stream that does not end.",
        content_type = "text/event-stream", body = String)))]
async fn approval_events(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let changes = api.approvals.subscribe();
    let start = (changes, api, person(&operator));
    let stream = futures_util::stream::unfold(start, |(mut changes, api, person)| async {
        let event = match changes.recv().await {
            Ok(Change { approval, event }) => {
                let view = ApprovalView::of(&api, approval.as_ref().clone(), person.as_ref());
                let data = serde_json::to_string(&view).unwrap_or_default();
                SseEvent::default().event(event.as_str()).data(data)
            }
            Err(RecvError::Lagged(_)) => SseEvent::default().event("lagged").data("{}"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (changes, api, person)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// The person who asks, as approvals know persons.
fn person(operator: &Operator) -> Option<Person> {
    let person = operator.person()?;
    Some(Person {
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
        groups: person.groups.clone(),
    })
}

fn not_a_person() -> Problem {
    let detail = "Only a person decides on this: send a token of your identity provider along \
                  (--token-file), or let [[control.local]] say whose user id this is.";
    Problem::new(StatusCode::FORBIDDEN, "not_a_person", detail)
}

// === impl ApprovalView ===

impl ApprovalView {
    /// As this person sees it.
    pub(in crate::control) fn of(api: &Api, approval: Approval, person: Option<&Person>) -> Self {
        let standing = approval.standing_at(api.approvals.now_ms());
        let open = matches!(standing, Standing::Pending | Standing::Approved);
        let may = |person: &Person| open && approval.may_decide(person).is_ok();
        let holds = approval.holds.iter().enumerate();
        Self {
            may_decide: person.map(may),
            holds: holds
                .map(|(place, held)| HoldView {
                    held: held.clone(),
                    approved: approval.approvals_of(place),
                })
                .collect(),
            url: api.approvals.url_of(&approval.id),
            standing,
            manner: approval.manner,
            created: format_time(approval.created_ms / 1000),
            expires: format_time(approval.expires_ms / 1000),
            history: approval.history.into_iter().map(EventView::from).collect(),
            id: approval.id,
            caller: approval.caller,
            matter: approval.matter,
        }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            at: format_time(event.at_ms / 1000),
            event: event.event,
            by: event.by.map(|(issuer, subject)| By { issuer, subject }),
            reason: Some(event.reason).filter(|reason| !reason.is_empty()),
            session: event.session,
        }
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        let (status, code) = match &error {
            ApprovalError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_id"),
            ApprovalError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable"),
            ApprovalError::Refused(refused) => match refused {
                DecideError::Own => (StatusCode::FORBIDDEN, "own_request"),
                DecideError::NotAnApprover(_) => (StatusCode::FORBIDDEN, "not_an_approver"),
                DecideError::Voted => (StatusCode::CONFLICT, "already_approved"),
                DecideError::Over(_) => (StatusCode::CONFLICT, "already_decided"),
                DecideError::NoReason => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            },
        };
        Self::new(status, code, error.to_string())
    }
}
