//! One approval: who asks for what, who has said what, and what follows.
//!
//! ```text
//! pending ──every hold has its quorum──► approved ──the same request──► used
//!    │                                      │
//!    └── one denial ──► denied ◄────────────┤   (an approver may take a yes back until it is used)
//!    └── its time is over ──► expired ◄─────┤
//!    └── the caller went away ──► withdrawn ◄  (of one that is waited for)
//! ```
//!
//! Nothing leads out of the four on the right and below. The time that is handed in must never go
//! back ([`super::SteadyClock`]).

use penstock_policies::Glob;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A person who may decide, by a verified token of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who vouches for them.
    pub issuer: String,
    /// Who they are.
    pub subject: String,
    /// What they belong to.
    pub groups: Vec<String>,
}

/// Who asks. The owner of an issued key is its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Caller {
    /// Who vouches for them; empty for callers without a credential.
    pub issuer: String,
    /// Who they are.
    pub subject: String,
    /// Whose pseudonyms their masked values get.
    #[serde(default, skip_serializing)]
    pub tenant: String,
    /// The issued key that they used, by its id.
    pub key: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Matter {
    /// The session of the request, as in the record and as the caller's `x-request-id`.
    pub session: String,
    /// The request's method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// What the route stands for: `infer`, `manage`, …
    pub operation: String,
    /// The model, where the request names one.
    pub model: Option<String>,
    /// The prompt's length in tokens.
    pub prompt_tokens: u64,
    /// The body's length, as the model would get it.
    pub body_bytes: u64,
    /// Where it would go.
    pub upstream: String,
    /// The policies that hold it.
    pub policy_version: String,
    /// The gateway that holds it.
    pub gateway: String,
    /// What may be seen of its text, see `[approvals] show`.
    pub excerpts: Vec<super::Excerpt>,
}

/// Something that holds a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldBy {
    /// The guard's or the grant's name.
    pub hold: String,
    /// Why, for programs: `rule:ID`, `operation:NAME`, `prompt_tokens`, `caller`.
    pub cause: String,
    /// Why, for a person.
    pub why: String,
    /// How many different people must approve.
    pub quorum: u32,
    /// Groups whose members may.
    pub groups: Vec<String>,
    /// For how many seconds an approval also covers the same caller, hold and cause.
    pub window_s: Option<u64>,
    /// The earlier approval that covers it already.
    pub covered_by: Option<String>,
}

/// How the caller hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Their connection waits.
    Wait,
    /// They send the request again, with the approval's id.
    Ticket,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It waits for people.
    Pending,
    /// They said yes; it was not used yet.
    Approved,
    /// Somebody said no.
    Denied,
    /// Its time is over.
    Expired,
    /// Whoever asked no longer waits.
    Withdrawn,
    /// The request went on.
    Used,
}

/// Something that happened to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was asked for.
    Requested,
    /// A person said yes.
    Approved,
    /// A person said no.
    Denied,
    /// Its time was over.
    Expired,
    /// Whoever asked no longer waits.
    Withdrawn,
    /// The request went on.
    Used,
}

/// A part of an approval's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub event: EventKind,
    /// The person who did it: issuer and subject; nobody where time or a connection did.
    pub by: Option<(String, String)>,
    /// Why.
    pub reason: String,
    /// The session that it happened in, of requests and uses.
    pub session: Option<String>,
    /// Of a yes: which holds it counts for, by their place.
    pub counts_for: Vec<usize>,
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes.
    Approve,
    /// No; needs a reason.
    Deny,
}

/// For whom a hold is open until when, without asking anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The hold's name.
    pub hold: String,
    /// Its cause.
    pub cause: String,
    /// Open until then, milliseconds since 1970.
    pub until_ms: u64,
    /// The approval that opened it.
    pub approval: String,
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// A UUIDv7, drawn at random in its second half.
    pub id: String,
    /// Counts changes: whoever writes a change names the one that it was made of.
    pub revision: u64,
    /// What exactly is approved.
    pub digest: String,
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub matter: Matter,
    /// What holds it; never empty.
    pub holds: Vec<HeldBy>,
    /// How the caller hears of it.
    pub manner: Manner,
    /// When it was asked for, milliseconds since 1970.
    pub created_ms: u64,
    /// Pending: to be decided before. Approved: to be used before.
    pub expires_ms: u64,
    /// How long there is to decide, and then again to use it.
    pub lasts_ms: u64,
    /// As of the last event. [`Approval::standing_at`] is what counts.
    pub standing: Standing,
    /// Everything that happened, the oldest first; begins with the request.
    pub history: Vec<Event>,
}

/// Why somebody's word does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// They asked for it themselves.
    #[error("nobody decides on what they asked for themselves")]
    Own,
    /// They are in none of the groups.
    #[error("only members of {} decide on this", .0.join(", "))]
    NotAnApprover(Vec<String>),
    /// They have said yes before.
    #[error("you have approved this already; a quorum counts different people")]
    Voted,
    /// A denial must say why.
    #[error("a denial needs a reason")]
    NoReason,
    /// There is nothing left to decide.
    #[error("there is nothing left to decide: it is {}", .0.as_str())]
    Over(Standing),
}

/// Why a request does not go on by an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// There is none, or it is another caller's.
    #[error("no approval of yours has this id")]
    Unknown,
    /// Nobody, or not everybody, has said yes yet.
    #[error("it has not been approved yet")]
    Pending,
    /// It cannot be used, or no more.
    #[error("it is {}", .0.as_str())]
    Over(Standing),
    /// It was given under other policies.
    #[error("the policies have changed since it was given")]
    Stale,
    /// It is for another request.
    #[error("it was given for another request")]
    Other,
}

// === impl Approval ===

impl Approval {
    /// A request for approval, made now.
    #[must_use]
    pub fn request(
        id: String,
        digest: String,
        (caller, matter): (Caller, Matter),
        holds: Vec<HeldBy>,
        manner: Manner,
        (now_ms, lasts_ms): (u64, u64),
    ) -> Self {
        debug_assert!(!holds.is_empty());
        let requested = Event {
            session: Some(matter.session.clone()),
            ..Event::of(EventKind::Requested, now_ms)
        };
        Self {
            id,
            revision: 0,
            digest,
            caller,
            matter,
            holds,
            manner,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(lasts_ms),
            lasts_ms,
            standing: Standing::Pending,
            history: vec![requested],
        }
    }

    /// Where it stands at this time, whether or not anybody has noticed.
    #[must_use]
    pub fn standing_at(&self, now_ms: u64) -> Standing {
        match self.standing {
            Standing::Pending | Standing::Approved if now_ms >= self.expires_ms => {
                Standing::Expired
            }
            standing => standing,
        }
    }

    /// Whether a person's word counts here.
    ///
    /// # Errors
    /// Why it does not.
    pub fn may_decide(&self, person: &Person) -> Result<(), DecideError> {
        if person.issuer == self.caller.issuer && person.subject == self.caller.subject {
            return Err(DecideError::Own);
        }
        match self.counts_for(person).is_empty() {
            true => Err(DecideError::NotAnApprover(self.groups())),
            false => Ok(()),
        }
    }

    /// A person says yes or no.
    ///
    /// # Errors
    /// Why their word does not count. What has expired is marked so all the same.
    pub fn decide(
        &mut self,
        now_ms: u64,
        person: &Person,
        decision: Decision,
        reason: &str,
    ) -> Result<(), DecideError> {
        self.expire(now_ms);
        self.may_decide(person)?;
        let said = |kind| Event {
            by: Some((person.issuer.clone(), person.subject.clone())),
            reason: reason.to_owned(),
            ..Event::of(kind, now_ms)
        };
        match (decision, self.standing) {
            (Decision::Deny, Standing::Pending | Standing::Approved) => {
                if reason.trim().is_empty() {
                    return Err(DecideError::NoReason);
                }
                self.standing = Standing::Denied;
                self.history.push(said(EventKind::Denied));
            }
            (Decision::Approve, Standing::Pending) => {
                let voted = |event: &Event| {
                    event.event == EventKind::Approved
                        && event.by.as_ref().is_some_and(|(issuer, subject)| {
                            *issuer == person.issuer && *subject == person.subject
                        })
                };
                if self.history.iter().any(voted) {
                    return Err(DecideError::Voted);
                }
                self.history.push(Event {
                    counts_for: self.counts_for(person),
                    ..said(EventKind::Approved)
                });
                if self.is_satisfied() {
                    self.standing = Standing::Approved;
                    self.expires_ms = now_ms.saturating_add(self.lasts_ms);
                }
            }
            (_, standing) => return Err(DecideError::Over(standing)),
        }
        Ok(())
    }

    /// The request goes on; in this session, once.
    ///
    /// # Errors
    /// Why it does not. What has expired is marked so all the same.
    pub fn spend(
        &mut self,
        now_ms: u64,
        caller: &Caller,
        (digest, policy_version): (&str, &str),
        session: &str,
    ) -> Result<(), UseError> {
        if *caller != self.caller {
            return Err(UseError::Unknown);
        }
        self.expire(now_ms);
        match self.standing {
            Standing::Approved => {}
            Standing::Pending => return Err(UseError::Pending),
            standing => return Err(UseError::Over(standing)),
        }
        if policy_version != self.matter.policy_version {
            return Err(UseError::Stale);
        }
        if digest != self.digest {
            return Err(UseError::Other);
        }
        self.standing = Standing::Used;
        self.history.push(Event {
            session: Some(session.to_owned()),
            ..Event::of(EventKind::Used, now_ms)
        });
        Ok(())
    }

    /// Marks it expired where its time is over; whether that is news.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let over = self.standing_at(now_ms);
        if over == self.standing {
            return false;
        }
        self.standing = over;
        self.history.push(Event::of(EventKind::Expired, now_ms));
        true
    }

    /// Whoever waited for it waits no longer; whether that is news.
    pub fn withdraw(&mut self, now_ms: u64, reason: &str) -> bool {
        self.expire(now_ms);
        if !matches!(self.standing, Standing::Pending | Standing::Approved) {
            return false;
        }
        self.standing = Standing::Withdrawn;
        self.history.push(Event {
            reason: reason.to_owned(),
            ..Event::of(EventKind::Withdrawn, now_ms)
        });
        true
    }

    /// What it has opened for its caller beyond this one request.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let approved = self.history.iter().rev();
        let approved = approved.clone().find(|it| it.event == EventKind::Approved);
        let (Some(approved), Standing::Approved | Standing::Used) = (approved, self.standing)
        else {
            return Vec::new();
        };
        let opened = |held: &HeldBy| {
            let window_s = held.window_s.filter(|_| held.covered_by.is_none())?;
            Some(Window {
                hold: held.hold.clone(),
                cause: held.cause.clone(),
                until_ms: approved.at_ms.saturating_add(window_s.saturating_mul(1000)),
                approval: self.id.clone(),
            })
        };
        self.holds.iter().filter_map(opened).collect()
    }

    /// Everybody's groups who may decide, each once.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for group in self.open_holds().flat_map(|(_, held)| &held.groups) {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// Different people who have said yes so far, by hold.
    #[must_use]
    pub fn approvals_of(&self, hold: usize) -> u32 {
        let counts =
            |event: &&Event| event.event == EventKind::Approved && event.counts_for.contains(&hold);
        u32::try_from(self.history.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }

    fn open_holds(&self) -> impl Iterator<Item = (usize, &HeldBy)> {
        let holds = self.holds.iter().enumerate();
        holds.filter(|(_, held)| held.covered_by.is_none())
    }

    fn counts_for(&self, person: &Person) -> Vec<usize> {
        let theirs = |pattern: &String| {
            let pattern = Glob::new(pattern);
            person.groups.iter().any(|group| pattern.matches(group))
        };
        self.open_holds()
            .filter(|(_, held)| held.groups.iter().any(theirs))
            .map(|(place, _)| place)
            .collect()
    }

    fn is_satisfied(&self) -> bool {
        // A quorum of nobody would approve by itself.
        self.open_holds()
            .all(|(place, held)| self.approvals_of(place) >= held.quorum.max(1))
    }
}

// === impl Event ===

impl Event {
    /// Something that nobody in particular did.
    #[must_use]
    pub fn now(event: EventKind, at_ms: u64, reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            ..Self::of(event, at_ms)
        }
    }

    fn of(event: EventKind, at_ms: u64) -> Self {
        Self {
            at_ms,
            event,
            by: None,
            reason: String::new(),
            session: None,
            counts_for: Vec::new(),
        }
    }
}

/// Enums that stand as words in the state and in the API.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),* $(,)? }) => {
        impl $type {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one with this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }
    };
}

words!(Standing {
    Pending = "pending",
    Approved = "approved",
    Denied = "denied",
    Expired = "expired",
    Withdrawn = "withdrawn",
    Used = "used",
});

words!(EventKind {
    Requested = "requested",
    Approved = "approved",
    Denied = "denied",
    Expired = "expired",
    Withdrawn = "withdrawn",
    Used = "used",
});

words!(Manner {
    Wait = "wait",
    Ticket = "ticket",
});

#[cfg(test)]
mod tests;
