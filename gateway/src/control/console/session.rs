//! Sessions of the console: who is signed in, by which cookie, until when.
//!
//! They live in memory: after a restart people sign in again. A session's id is 256 random bits of
//! which only a hash is kept here, so that nothing in this process's memory opens the console. It
//! ends when it has rested for [`IDLE_MAX`], when it is [`AGE_MAX`] old, when it is left, and when
//! its person is revoked, whichever comes first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::control::api::operator::Operator;

/// How long a session may rest.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts in all.
pub(super) const AGE_MAX: Duration = Duration::from_secs(8 * 3600);
/// How long a one-time link can be used.
pub(in crate::control) const LINK_MAX: Duration = Duration::from_secs(2 * 60);
/// The most sessions at a time; past them the one that rested longest ends.
const SESSIONS_MAX: usize = 1000;
/// The most links that wait to be used.
const LINKS_MAX: usize = 100;

/// A name that nobody guesses: 256 random bits in base64url.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

/// What a secret is kept as.
pub(super) type Hash = [u8; 32];

/// All sessions, and the links that begin one.
#[derive(Default)]
pub(in crate::control) struct Sessions {
    open: Mutex<HashMap<Hash, Session>>,
    links: Mutex<HashMap<Hash, Link>>,
}

struct Session {
    operator: Operator,
    csrf: Secret,
    began: Instant,
    used: Instant,
    flash: Option<Flash>,
}

struct Link {
    operator: Operator,
    made: Instant,
}

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) operator: Operator,
    /// Names the session, as it is kept.
    pub(super) session: Hash,
    /// What every form carries.
    pub(super) csrf: Secret,
}

/// What the next page says once.
#[derive(Clone, Debug)]
pub(super) enum Flash {
    /// It was done.
    Done(String),
    /// It was not.
    Failed(String),
    /// A key that was issued, to be seen this once: what it is, and the key.
    Key(String, String),
}

// === impl Secret ===

impl Secret {
    /// A new one.
    pub(super) fn draw() -> Self {
        let mut random = [0; 32];
        // Without random numbers nothing here is safe, TLS and token caches included.
        aws_lc_rs::rand::fill(&mut random).expect("the system's random numbers fail");
        Self(URL_SAFE_NO_PAD.encode(random))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(text: &str) -> Hash {
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// Compares without telling by its time where they differ.
    pub(super) fn is(&self, other: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

// === impl Sessions ===

impl Sessions {
    /// Begins a session; what the cookie is to hold.
    pub(super) fn begin(&self, operator: Operator, now: Instant) -> Secret {
        let id = Secret::draw();
        let mut open = lock(&self.open);
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= SESSIONS_MAX {
            let rested = open.iter().min_by_key(|(_, session)| session.used);
            let rested = rested.map(|(hash, _)| *hash);
            rested.and_then(|hash| open.remove(&hash));
        }
        let session = Session {
            operator,
            csrf: Secret::draw(),
            began: now,
            used: now,
            flash: None,
        };
        open.insert(Secret::hash(id.expose()), session);
        id
    }

    /// Who is signed in by this cookie; it counts as a use.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Signed> {
        let hash = Secret::hash(cookie);
        let signed = self.look(&hash, now)?;
        if let Some(session) = lock(&self.open).get_mut(&hash) {
            session.used = now;
        }
        Some(signed)
    }

    /// The same by the session's own name, and it counts as no use: for what goes on by itself.
    pub(super) fn look(&self, session: &Hash, now: Instant) -> Option<Signed> {
        let mut open = lock(&self.open);
        let found = open.get(session)?;
        if found.is_over(now) {
            open.remove(session);
            return None;
        }
        Some(Signed {
            operator: found.operator.clone(),
            session: *session,
            csrf: found.csrf.clone(),
        })
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Hash) {
        lock(&self.open).remove(session);
    }

    /// Leaves something for the next page.
    pub(super) fn leave(&self, session: &Hash, flash: Flash) {
        if let Some(session) = lock(&self.open).get_mut(session) {
            session.flash = Some(flash);
        }
    }

    /// Takes what was left.
    pub(super) fn take(&self, session: &Hash) -> Option<Flash> {
        lock(&self.open).get_mut(session)?.flash.take()
    }

    /// A link by which this operator can sign in once, soon.
    pub(in crate::control) fn link(&self, operator: Operator, now: Instant) -> String {
        let code = Secret::draw();
        let mut links = lock(&self.links);
        links.retain(|_, link| !link.is_over(now));
        if links.len() >= LINKS_MAX {
            let oldest = links.iter().min_by_key(|(_, link)| link.made);
            let oldest = oldest.map(|(hash, _)| *hash);
            oldest.and_then(|hash| links.remove(&hash));
        }
        let link = Link {
            operator,
            made: now,
        };
        links.insert(Secret::hash(code.expose()), link);
        code.0
    }

    /// Whom a link would sign in.
    pub(super) fn of_link(&self, code: &str, now: Instant) -> Option<Operator> {
        let links = lock(&self.links);
        let link = links.get(&Secret::hash(code))?;
        (!link.is_over(now)).then(|| link.operator.clone())
    }

    /// Uses a link up.
    pub(super) fn use_link(&self, code: &str, now: Instant) -> Option<Operator> {
        let link = lock(&self.links).remove(&Secret::hash(code))?;
        (!link.is_over(now)).then_some(link.operator)
    }
}

// === impl Session ===

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE_MAX || now.duration_since(self.began) >= AGE_MAX
    }
}

// === impl Link ===

impl Link {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.made) >= LINK_MAX
    }
}

/// Each holder stores whole values, so what a panic left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::operator::Access;

    fn operator() -> Operator {
        Operator::local(Some(7), &Access::default())
    }

    #[test]
    fn a_session_ends_when_it_rests_when_it_is_old_and_when_it_is_left() {
        let sessions = Sessions::default();
        let began = Instant::now();
        let after = |minutes: u64| began + Duration::from_secs(60 * minutes);
        let id = sessions.begin(operator(), began);
        assert!(sessions.find("another", began).is_none());
        assert!(sessions.find(id.expose(), after(29)).is_some());
        assert!(sessions.find(id.expose(), after(58)).is_some(), "used");
        assert!(sessions.find(id.expose(), after(88)).is_none(), "rested");
        assert!(
            sessions.find(id.expose(), after(58)).is_none(),
            "gone for good"
        );

        let id = sessions.begin(operator(), began);
        for minutes in (20..480).step_by(20) {
            assert!(
                sessions.find(id.expose(), after(minutes)).is_some(),
                "{minutes}"
            );
        }
        assert!(sessions.find(id.expose(), after(480)).is_none(), "old");

        let id = sessions.begin(operator(), began);
        let signed = sessions.find(id.expose(), began).unwrap();
        // A look is no use: what refreshes itself keeps nobody signed in.
        assert!(sessions.look(&signed.session, after(29)).is_some());
        assert!(sessions.look(&signed.session, after(31)).is_none());
        let id = sessions.begin(operator(), began);
        let signed = sessions.find(id.expose(), began).unwrap();
        sessions.end(&signed.session);
        assert!(sessions.find(id.expose(), began).is_none());
    }

    #[test]
    fn a_link_is_used_once_and_soon() {
        let sessions = Sessions::default();
        let made = Instant::now();
        let code = sessions.link(operator(), made);
        assert!(
            sessions.of_link(&code, made).is_some(),
            "looking does not use it up"
        );
        assert!(sessions.use_link(&code, made).is_some());
        assert!(sessions.use_link(&code, made).is_none());
        let code = sessions.link(operator(), made);
        let late = made + LINK_MAX;
        assert!(sessions.of_link(&code, late).is_none());
        assert!(sessions.use_link(&code, late).is_none());
    }

    #[test]
    fn sessions_and_links_are_bounded_and_the_newest_stay() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let at = |nth: usize| now + Duration::from_millis(nth as u64);
        let ids: Vec<Secret> = (0..=SESSIONS_MAX)
            .map(|nth| sessions.begin(operator(), at(nth)))
            .collect();
        assert!(sessions.find(ids[0].expose(), at(2000)).is_none());
        assert!(
            sessions
                .find(ids[SESSIONS_MAX].expose(), at(2000))
                .is_some()
        );
        let codes: Vec<String> = (0..=LINKS_MAX)
            .map(|nth| sessions.link(operator(), at(nth)))
            .collect();
        assert!(sessions.of_link(&codes[0], at(2000)).is_none());
        assert!(sessions.of_link(&codes[LINKS_MAX], at(2000)).is_some());
    }

    #[test]
    fn what_a_page_is_left_is_taken_once() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let id = sessions.begin(operator(), now);
        let session = sessions.find(id.expose(), now).unwrap().session;
        sessions.leave(&session, Flash::Done("x".to_owned()));
        assert!(matches!(sessions.take(&session), Some(Flash::Done(text)) if text == "x"));
        assert!(sessions.take(&session).is_none());
    }
}
