//! What is cut off at one moment, in the form in which a core looks it up: by borrowed text,
//! without a lock and without an allocation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::revocation::{Revocation, Target};
use crate::clock;
use crate::identity::Principal;

/// Ends of revocations by what they cut off.
type Ends = HashMap<Box<str>, End, foldhash::fast::RandomState>;

/// When a revocation ends: when both clocks say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Seconds since 1970; `u64::MAX` for good.
    unix: u64,
    /// Not before, whatever the system's clock says (see [`crate::clock`]).
    earliest: Option<Instant>,
}

/// An immutable set of revocations.
#[derive(Debug, Default)]
pub struct Snapshot {
    by_issuer: HashMap<Box<str>, OfIssuer, foldhash::fast::RandomState>,
    keys: Ends,
    count: usize,
}

/// What is cut off of one issuer's.
#[derive(Debug, Default)]
struct OfIssuer {
    subjects: Ends,
    owners: Ends,
    clients: Ends,
    sessions: Ends,
    tokens: Ends,
    logins: HashMap<Box<str>, Logins, foldhash::fast::RandomState>,
}

/// The logins of a person that have ended.
#[derive(Clone, Copy, Debug, Default)]
struct Logins {
    issued_up_to: u64,
    end: End,
}

// === impl End ===

impl End {
    /// By the system's clock alone.
    fn by_date(until: Option<u64>) -> Self {
        Self {
            unix: until.unwrap_or(u64::MAX),
            earliest: None,
        }
    }

    /// Of a revocation that is taken in now.
    pub(super) fn from_now(until: Option<u64>) -> Self {
        Self {
            earliest: until.and_then(clock::comes_at),
            ..Self::by_date(until)
        }
    }

    /// Whether it has come. The second clock is looked at only where the first says yes.
    pub(super) fn is_over(self, now_unix: u64) -> bool {
        self.unix <= now_unix && self.earliest.is_none_or(|at| at <= Instant::now())
    }

    fn or_later(self, other: Self) -> Self {
        Self {
            unix: self.unix.max(other.unix),
            earliest: self.earliest.max(other.earliest),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Of these revocations, which end by the system's clock alone.
    pub fn of<'a>(revocations: impl IntoIterator<Item = &'a Arc<Revocation>>) -> Self {
        let revocations = revocations.into_iter();
        Self::lasting(revocations.map(|it| (it, End::by_date(it.until))))
    }

    /// Of these revocations with their ends. Two of one target count until the later end.
    pub(super) fn lasting<'a>(
        revocations: impl IntoIterator<Item = (&'a Arc<Revocation>, End)>,
    ) -> Self {
        let mut snapshot = Self::default();
        for (revocation, end) in revocations {
            snapshot.count += 1;
            if let Target::Logins {
                issuer,
                subject,
                issued_up_to,
            } = &revocation.target
            {
                let of = snapshot
                    .by_issuer
                    .entry(issuer.as_str().into())
                    .or_default();
                let logins = of.logins.entry(subject.as_str().into()).or_default();
                logins.issued_up_to = logins.issued_up_to.max(*issued_up_to);
                logins.end = logins.end.or_later(end);
                continue;
            }
            let ends = snapshot.ends(&revocation.target);
            let value = revocation.target.value();
            match ends.get_mut(value) {
                Some(known) => *known = known.or_later(end),
                None => {
                    ends.insert(value.into(), end);
                }
            }
        }
        snapshot
    }

    fn ends(&mut self, target: &Target) -> &mut Ends {
        if let Target::Key { .. } = target {
            return &mut self.keys;
        }
        let of = self.by_issuer.entry(target.issuer().into()).or_default();
        match target {
            Target::Subject { .. } => &mut of.subjects,
            Target::Owner { .. } => &mut of.owners,
            Target::Client { .. } => &mut of.clients,
            Target::Session { .. } => &mut of.sessions,
            Target::Token { .. } => &mut of.tokens,
            // Neither comes here: keys have no issuer, logins have no end of this form.
            Target::Key { .. } | Target::Logins { .. } => &mut self.keys,
        }
    }

    /// How many revocations it was made of.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this caller is cut off at this time.
    #[must_use]
    pub fn revokes(&self, principal: &Principal, now_unix: u64) -> bool {
        let hit = |ends: &Ends, value: Option<&str>| {
            value
                .and_then(|value| ends.get(value))
                .is_some_and(|end| !end.is_over(now_unix))
        };
        let key = principal.key_id.as_deref();
        if hit(&self.keys, key) {
            return true;
        }
        let Some(of) = self.by_issuer.get(principal.issuer.as_str()) else {
            return false;
        };
        hit(&of.subjects, Some(&principal.subject))
            || hit(&of.clients, principal.client_id.as_deref())
            || hit(&of.sessions, principal.session_id.as_deref())
            || hit(&of.tokens, principal.token_id.as_deref())
            || key.is_none() && of.ended(principal, now_unix)
            || key.is_some() && hit(&of.owners, Some(&principal.subject))
    }
}

// === impl OfIssuer ===

impl OfIssuer {
    /// Whether this token belongs to a login that has ended. One that does not say when it was
    /// issued does.
    fn ended(&self, principal: &Principal, now_unix: u64) -> bool {
        self.logins
            .get(principal.subject.as_str())
            .is_some_and(|it| principal.issued_unix <= it.issued_up_to && !it.end.is_over(now_unix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::revocation::Source;
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn revocation(target: Target, until: Option<u64>) -> Arc<Revocation> {
        Arc::new(Revocation {
            id: "1".to_owned(),
            target,
            until,
            reason: "left".to_owned(),
            by: "uid:0".to_owned(),
            source: Source::Api,
            created: Some(NOW),
        })
    }

    fn target(kind: &str, issuer: &str, value: &str) -> Target {
        Target::from_parts(kind, issuer.to_owned(), value.to_owned(), Some(NOW)).unwrap()
    }

    fn caller(subject: &str) -> Principal {
        let mut caller = Principal::oidc("i".to_owned(), subject.to_owned(), Vec::new(), NOW * 2);
        caller.token_id = Some(format!("{subject}-token"));
        caller.session_id = Some(format!("{subject}-session"));
        caller.client_id = Some("app".to_owned());
        caller
    }

    #[test]
    fn each_kind_cuts_off_whom_it_names_and_nobody_else() {
        for (kind, value) in [
            ("subject", "ada"),
            ("token", "ada-token"),
            ("session", "ada-session"),
        ] {
            let snapshot = Snapshot::of(&[revocation(target(kind, "i", value), None)]);
            assert!(snapshot.revokes(&caller("ada"), NOW), "{kind}");
            assert!(!snapshot.revokes(&caller("bob"), NOW), "{kind}");
            let elsewhere = Snapshot::of(&[revocation(target(kind, "j", value), None)]);
            assert!(!elsewhere.revokes(&caller("ada"), NOW), "{kind}");
        }
        let app = Snapshot::of(&[revocation(target("client", "i", "app"), None)]);
        assert!(app.revokes(&caller("ada"), NOW) && app.revokes(&caller("bob"), NOW));
        // Another's name where it means something else.
        let odd = Snapshot::of(&[revocation(target("token", "i", "ada"), None)]);
        assert!(!odd.revokes(&caller("ada"), NOW));
        // By their own token an owner goes on; by any of their keys they do not.
        let owner = Snapshot::of(&[revocation(target("owner", "i", "ada"), None)]);
        assert!(!owner.revokes(&caller("ada"), NOW));
        let mut by_key = caller("ada");
        by_key.key_id = Some("k1".to_owned());
        assert!(owner.revokes(&by_key, NOW));
        let key = |id| Snapshot::of(&[revocation(target("key", "", id), None)]);
        assert!(key("k1").revokes(&by_key, NOW) && !key("k2").revokes(&by_key, NOW));
        let person = Snapshot::of(&[revocation(target("subject", "i", "ada"), None)]);
        assert!(person.revokes(&by_key, NOW));
    }

    #[test]
    fn logins_so_far_end_and_keys_and_later_logins_go_on() {
        let snapshot = Snapshot::of(&[revocation(target("logins", "i", "ada"), Some(NOW + 9))]);
        let mut ada = caller("ada");
        for (issued, ended) in [(0, true), (NOW, true), (NOW + 1, false)] {
            ada.issued_unix = issued;
            assert_eq!(snapshot.revokes(&ada, NOW), ended, "{issued}");
        }
        ada.issued_unix = NOW;
        assert!(!snapshot.revokes(&ada, NOW + 9) && !snapshot.revokes(&caller("bob"), NOW));
        ada.key_id = Some("k1".to_owned());
        assert!(!snapshot.revokes(&ada, NOW));
    }

    #[test]
    fn it_ends_at_its_time_and_the_later_of_two_counts() {
        let until = |end| revocation(target("subject", "i", "ada"), end);
        let ada = caller("ada");
        let one = Snapshot::of(&[until(Some(NOW + 1))]);
        assert!(one.revokes(&ada, NOW) && !one.revokes(&ada, NOW + 1));
        let two = Snapshot::of(&[until(Some(NOW + 9)), until(Some(NOW + 1))]);
        assert!(two.revokes(&ada, NOW + 8) && !two.revokes(&ada, NOW + 9));
        let good = Snapshot::of(&[until(None), until(Some(NOW + 1))]);
        assert!(good.revokes(&ada, u64::MAX - 1));
    }

    #[test]
    fn a_clock_that_is_set_forward_ends_nothing_early() {
        let now = crate::exchange::unix_seconds();
        let ada = caller("ada");
        for kind in ["subject", "logins"] {
            let target = Target::from_parts(kind, "i".to_owned(), "ada".to_owned(), Some(NOW));
            let until = revocation(target.expect("a target"), Some(now + 3600));
            let ends = |until| End::from_now(until);
            let snapshot = Snapshot::lasting([(&until, ends(until.until))]);
            assert!(snapshot.revokes(&ada, now));
            // A day later by the system's clock, and no time has passed.
            assert!(snapshot.revokes(&ada, now + 86_400), "{kind}");
            // One that was over when it was read is over; the clock's own word still counts.
            let over = Snapshot::lasting([(&until, ends(Some(now - 1)))]);
            assert!(
                !over.revokes(&ada, now) && over.revokes(&ada, now - 3600),
                "{kind}"
            );
            let twice = [(&until, ends(Some(now - 1))), (&until, ends(until.until))];
            assert!(
                Snapshot::lasting(twice).revokes(&ada, now + 86_400),
                "{kind}"
            );
        }
    }
}
