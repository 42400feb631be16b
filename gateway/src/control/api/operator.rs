//! Who is asking, and what they may: operators, their roles, and the persons that they are.
//!
//! At the other end of the Unix socket is a user of this machine: the kernel says which, and
//! whoever may open the socket administers the gateway. They are a person, who can decide on what
//! is held, only where `[[control.local]]` says whose user id it is. Whoever sends a token along,
//! here or over TCP, is the person of that token: it is verified as a caller's is, and the groups
//! in it give the role by `[control.roles]`. Over TCP nobody is let in without a token. A person
//! who was revoked is refused in either way.
//!
//! Every route belongs to one of three kinds ([`super::router`]): open, for somebody known, for an
//! operator. An operator's route states the role that it needs in its OpenAPI `security`, and that
//! very statement is what is enforced ([`Needs`]), before its body is looked at; one that states
//! nothing needs the highest role.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use super::Api;
use super::problem::Problem;
use crate::config::{ControlSection, RoleGroups};
use crate::control::listen::Peer;
use crate::cutoff::{Cutoff, resolve_issuer};
use crate::exchange::unix_seconds;
use crate::identity::{AuthError, Authenticator, IdentityShared, Principal, PrincipalKind};

/// How long a token waits for fresh keys of its issuer.
const KEYS_WAIT: Duration = Duration::from_secs(3);

/// What somebody may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::control) enum Role {
    /// See everything, change nothing.
    Viewer,
    /// Decide on what is held.
    Approver,
    /// Everything.
    Admin,
}

/// Somebody with a name at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Person {
    pub(in crate::control) issuer: String,
    pub(in crate::control) subject: String,
    pub(in crate::control) groups: Vec<String>,
    /// Whose pseudonyms their values get, as with a principal.
    pub(in crate::control) tenant: String,
}

/// Marks of the token by which somebody came, for revocations that name more than a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct Marks {
    pub(in crate::control) token_id: Option<String>,
    pub(in crate::control) session_id: Option<String>,
    pub(in crate::control) client_id: Option<String>,
    pub(in crate::control) issued_unix: u64,
}

/// Somebody who asks something of the control API. `Display` is how they stand in logs and state.
#[derive(Clone, Debug)]
pub(in crate::control) struct Operator {
    pub(in crate::control) role: Option<Role>,
    uid: Option<u32>,
    person: Option<Person>,
    marks: Marks,
}

/// Which role each route needs, by its path and method, as its document states it.
#[derive(Debug, Default)]
pub(super) struct Needs(HashMap<String, HashMap<Method, Role>>);

/// Who may be an operator.
#[derive(Clone, Debug, Default)]
pub struct Access {
    roles: RoleGroups,
    locals: HashMap<u32, Person>,
}

// === impl Role ===

impl Role {
    /// As configurations, documents and pages write it.
    pub(in crate::control) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Viewer, Self::Approver, Self::Admin];
        all.into_iter().find(|role| role.as_str() == name)
    }
}

// === impl Needs ===

impl Needs {
    /// As this document states.
    pub(super) fn of(document: &OpenApi) -> Self {
        let of_item = |item: &PathItem| {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let stated = |(method, operation): (Method, &Option<Operation>)| {
                Some((method, stated(operation.as_ref()?)?))
            };
            operations.into_iter().filter_map(stated).collect()
        };
        let paths = document.paths.paths.iter();
        Self(
            paths
                .map(|(path, item)| (path.clone(), of_item(item)))
                .collect(),
        )
    }

    fn role(&self, path: Option<&MatchedPath>, method: &Method) -> Role {
        // What answers GET answers HEAD.
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let of_path = path.and_then(|path| self.0.get(path.as_str()));
        let stated = of_path.and_then(|methods| methods.get(method));
        stated.copied().unwrap_or(Role::Admin)
    }
}

/// The role that an operation's `security` names.
fn stated(operation: &Operation) -> Option<Role> {
    let security = serde_json::to_value(operation.security.as_ref()?).ok()?;
    Role::named(security.pointer("/0/bearer/0")?.as_str()?)
}

// === impl Access ===

impl Access {
    /// As configured; the configuration was checked before.
    #[must_use]
    pub fn new(section: &ControlSection, issuers: &[(String, String)]) -> Self {
        let person = |local: &crate::config::LocalPerson| {
            let issuer = resolve_issuer(local.issuer.as_deref(), issuers).ok()?;
            let person = Person {
                tenant: issuer.clone(),
                issuer,
                subject: local.subject.clone(),
                groups: local.groups.clone(),
            };
            Some((local.uid, person))
        };
        Self {
            roles: section.roles.clone(),
            locals: section.local.iter().filter_map(person).collect(),
        }
    }

    /// The highest role that one of these groups gives.
    pub(in crate::control) fn role_of(&self, groups: &[String]) -> Option<Role> {
        let has = |wanted: &[String]| groups.iter().any(|group| wanted.contains(group));
        let roles = [
            (Role::Admin, &self.roles.admin),
            (Role::Approver, &self.roles.approver),
            (Role::Viewer, &self.roles.viewer),
        ];
        roles
            .into_iter()
            .find_map(|(role, wanted)| has(wanted).then_some(role))
    }
}

// === impl Operator ===

impl Operator {
    /// A user of this machine, by the socket.
    pub(in crate::control) fn local(uid: Option<u32>, access: &Access) -> Self {
        Self {
            role: Some(Role::Admin),
            uid,
            person: uid.and_then(|uid| access.locals.get(&uid).cloned()),
            marks: Marks::default(),
        }
    }

    /// The person of a verified token.
    pub(in crate::control) fn of(principal: &Principal, access: &Access) -> Self {
        Self {
            role: access.role_of(&principal.groups),
            uid: None,
            person: Some(Person {
                issuer: principal.issuer.clone(),
                subject: principal.subject.clone(),
                groups: principal.groups.clone(),
                tenant: principal.tenant.clone(),
            }),
            marks: Marks {
                token_id: principal.token_id.clone(),
                session_id: principal.session_id.clone(),
                client_id: principal.client_id.clone(),
                issued_unix: principal.issued_unix,
            },
        }
    }

    /// Whether they may do what this role may.
    ///
    /// # Errors
    /// `role_needed` when not.
    pub(in crate::control) fn may(&self, needed: Role) -> Result<(), Problem> {
        if self.role.is_some_and(|role| role >= needed) {
            return Ok(());
        }
        let has = self.role.map_or("no role", Role::as_str);
        let needed = needed.as_str();
        let detail = format!(
            "This needs the role {needed}, and {self} has {has}. [control.roles] says which groups \
             give it."
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "role_needed", detail))
    }

    /// The person that they are. A user id that nobody is mapped to is none.
    pub(in crate::control) fn person(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    /// Whether they are cut off at this time.
    pub(in crate::control) fn is_revoked(&self, cutoff: &Cutoff, now_unix: u64) -> bool {
        let Some(person) = &self.person else {
            return false;
        };
        let (issuer, subject) = (person.issuer.clone(), person.subject.clone());
        let mut principal = Principal::oidc(issuer, subject, Vec::new(), u64::MAX);
        // Who is mapped from a user id has no login that could have ended.
        principal.issued_unix = match self.uid {
            Some(_) => u64::MAX,
            None => self.marks.issued_unix,
        };
        principal.token_id.clone_from(&self.marks.token_id);
        principal.session_id.clone_from(&self.marks.session_id);
        principal.client_id.clone_from(&self.marks.client_id);
        cutoff.revokes(&principal, now_unix)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, &self.person) {
            (Some(uid), Some(person)) => write!(f, "{person} (uid:{uid})"),
            (Some(uid), None) => write!(f, "uid:{uid}"),
            (None, Some(person)) => write!(f, "{person}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.subject, self.issuer)
    }
}

/// Lets in whoever is known: on the socket, or by a token.
pub(super) async fn known(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match identify(&api, &parts).await {
        Ok(operator) => {
            parts.extensions.insert(operator);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => refused,
    }
}

/// Lets in whoever has the role that the route needs.
pub(super) async fn with_role(
    State((api, needs)): State<(Arc<Api>, Arc<Needs>)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let operator = match identify(&api, &parts).await {
        Ok(operator) => operator,
        Err(refused) => return refused,
    };
    let needed = needs.role(parts.extensions.get::<MatchedPath>(), &parts.method);
    if let Err(problem) = operator.may(needed) {
        return problem.into_response();
    }
    parts.extensions.insert(operator);
    next.run(Request::from_parts(parts, body)).await
}

/// Who sent this request.
async fn identify(api: &Api, parts: &Parts) -> Result<Operator, Response> {
    let authorization = one_authorization(&parts.headers)?;
    let operator = match (authorization, parts.extensions.get::<Peer>()) {
        (Some(value), _) => by_token(api, value.as_bytes()).await?,
        (None, Some(Peer::Local(uid))) => Operator::local(*uid, &api.access),
        (None, _) => {
            let detail = "Send a token of your identity provider as 'Authorization: Bearer \
                          <token>'; people sign in at /console.";
            return Err(unauthenticated("missing_credential", detail));
        }
    };
    if operator.is_revoked(&api.node.cutoff, unix_seconds()) {
        return Err(unauthenticated("revoked", "This access was revoked."));
    }
    Ok(operator)
}

fn one_authorization(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Response> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        let detail = "More than one credential was sent. Send exactly one.";
        return Err(unauthenticated("ambiguous_credential", detail));
    }
    Ok(first)
}

/// The person of a token, verified as on the data plane; waits once for fresh keys where they may
/// change the answer.
async fn by_token(api: &Api, authorization: &[u8]) -> Result<Operator, Response> {
    let refresh = match verify(&api.identity, &api.access, authorization) {
        Err(Refusal::Token(AuthError {
            refresh: Some(refresh),
            ..
        })) => refresh,
        other => return other.map_err(Response::from),
    };
    // Whether the keys came or the wait is over: the second decision is final.
    let _ = tokio::time::timeout(KEYS_WAIT, refresh).await;
    verify(&api.identity, &api.access, authorization).map_err(Response::from)
}

/// Why a token is not taken.
enum Refusal {
    Token(AuthError),
    Key,
}

fn verify(
    identity: &Arc<IdentityShared>,
    access: &Access,
    authorization: &[u8],
) -> Result<Operator, Refusal> {
    let principal = Authenticator::new(identity.clone(), 1)
        .authenticate(Some(authorization), unix_seconds())
        .map_err(Refusal::Token)?;
    match principal.kind {
        PrincipalKind::Oidc => Ok(Operator::of(&principal, access)),
        PrincipalKind::Key | PrincipalKind::Anonymous => Err(Refusal::Key),
    }
}

fn unauthenticated(code: &str, detail: &str) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    let challenge = [(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"penstock-control\""),
    )];
    (challenge, problem).into_response()
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Token(error) if error.status == 401 => {
                unauthenticated(error.code, error.message)
            }
            Refusal::Token(error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(status, error.code, error.message).into_response()
            }
            Refusal::Key => {
                let message = "Send a token of an identity provider: a key is for the model, not \
                               for the control API.";
                unauthenticated("not_a_person", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutoff::{Revocation, Snapshot, Source, Target};

    const ISSUER: &str = "https://corp.example";

    fn access() -> Access {
        let text = "[roles]\nviewer = [\"staff\"]\napprover = [\"security\"]\nadmin = [\"sre\"]\n\
                    [[local]]\nuid = 7\nsubject = \"ada\"\ngroups = [\"security\"]\n";
        let section: ControlSection = toml::from_str(text).unwrap();
        Access::new(&section, &[("corp".to_owned(), ISSUER.to_owned())])
    }

    fn person(groups: &[&str]) -> Operator {
        let groups = groups.iter().map(|it| (*it).to_owned()).collect();
        let principal = Principal::oidc(ISSUER.to_owned(), "eve".to_owned(), groups, u64::MAX);
        Operator::of(&principal, &access())
    }

    #[test]
    fn the_highest_role_of_all_groups_counts_and_includes_the_lower_ones() {
        for (groups, role, may) in [
            (&[][..], None, [false, false, false]),
            (&["others"], None, [false, false, false]),
            (&["staff"], Some(Role::Viewer), [true, false, false]),
            (
                &["staff", "security"],
                Some(Role::Approver),
                [true, true, false],
            ),
            (&["sre", "staff"], Some(Role::Admin), [true, true, true]),
        ] {
            let operator = person(groups);
            assert_eq!(operator.role, role, "{groups:?}");
            let roles = [Role::Viewer, Role::Approver, Role::Admin];
            assert_eq!(roles.map(|it| operator.may(it).is_ok()), may, "{groups:?}");
        }
    }

    #[test]
    fn a_user_id_administers_and_is_a_person_only_where_it_is_mapped() {
        let nobody = Operator::local(Some(8), &access());
        assert_eq!(nobody.to_string(), "uid:8");
        assert!(nobody.may(Role::Admin).is_ok() && nobody.person().is_none());
        let ada = Operator::local(Some(7), &access());
        assert_eq!(ada.to_string(), "ada of https://corp.example (uid:7)");
        assert_eq!(
            ada.person().map(|it| it.groups.as_slice()),
            Some(&["security".to_owned()][..])
        );
    }

    #[test]
    fn who_is_revoked_is_revoked_however_they_come() {
        let cutoff = Cutoff::new(0);
        let revoke = |target: Target| {
            let revocation = Revocation {
                id: "1".to_owned(),
                target,
                until: None,
                reason: "left".to_owned(),
                by: "uid:0".to_owned(),
                source: Source::Api,
                created: None,
            };
            cutoff.publish(Snapshot::of([&Arc::new(revocation)]));
        };
        let subject = |subject: &str| Target::Subject {
            issuer: ISSUER.to_owned(),
            subject: subject.to_owned(),
        };
        revoke(subject("ada"));
        assert!(Operator::local(Some(7), &access()).is_revoked(&cutoff, 9));
        assert!(!Operator::local(Some(8), &access()).is_revoked(&cutoff, 9));
        assert!(!person(&["sre"]).is_revoked(&cutoff, 9));
        revoke(subject("eve"));
        assert!(person(&["sre"]).is_revoked(&cutoff, 9));
        // A logout ends tokens, not what a user id is mapped to.
        revoke(Target::Logins {
            issuer: ISSUER.to_owned(),
            subject: "ada".to_owned(),
            issued_up_to: 99,
        });
        assert!(!Operator::local(Some(7), &access()).is_revoked(&cutoff, 9));
    }
}
