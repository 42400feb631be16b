//! What of each approval was told already to those who look on, so that every event is told once:
//! those that this gateway makes when it has made them, those of others when they are read.
//!
//! The state is read again from a minute before it was read last, because clocks of gateways differ;
//! so the same rows come several times, and the own ones among them. An event is news if its place
//! in the history is behind what was told, and it is no older than that minute or this gateway has
//! just made it. What is remembered of an approval can therefore be forgotten once all of its events
//! are older.

use std::collections::HashMap;
use std::ops::Range;

use super::keep::CLOCKS_APART_MS;
use crate::approvals::Approval;

/// Approvals that are remembered. Where more change within a minute some may be told of twice.
const TOLD_MAX: usize = 50_000;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Nothing older is news; `None` where nobody else changes the state.
    since_ms: Option<u64>,
    told: HashMap<String, Told>,
}

/// How much of one approval was told.
#[derive(Debug)]
struct Told {
    revision: u64,
    /// So many events, from the first one.
    events: usize,
    /// It happened, and was told, no later than this.
    until_ms: u64,
}

// === impl News ===

impl News {
    /// Other gateways are heard of from now on.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.since_ms = Some(now_ms.saturating_sub(CLOCKS_APART_MS));
    }

    /// From when on changes are to be read; `None` where there are no others.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.since_ms
    }

    /// Everything that had changed when reading began at this time was read.
    pub(super) fn read_at(&mut self, began_ms: u64) {
        let since = began_ms.saturating_sub(CLOCKS_APART_MS);
        // Time for approvals never goes back, so this only ever forgets what is too old.
        self.since_ms = Some(since);
        self.told.retain(|_, told| told.until_ms >= since);
    }

    /// Whether it was looked at since it changed last.
    pub(super) fn is_known(&self, id: &str, revision: u64) -> bool {
        let told = self.told.get(id);
        told.is_some_and(|told| told.revision >= revision)
    }

    /// The part of its history that is to be told now, and counts as told from here on. `own`: where
    /// that begins which this gateway has just made happen.
    pub(super) fn of(
        &mut self,
        approval: &Approval,
        own: Option<usize>,
        now_ms: u64,
    ) -> Range<usize> {
        let all = approval.history.len();
        let own = own.unwrap_or(all);
        let Some(since) = self.since_ms else {
            return own..all;
        };
        let mut events = approval.history.iter();
        let recent = events.position(|event| event.at_ms >= since).unwrap_or(all);
        let told = self.told.get(&approval.id);
        let told_events = told.map_or(0, |told| told.events);
        // An older reading than what was told last tells nothing new.
        let start = recent.min(own).max(told_events).min(all);
        if told.is_none_or(|told| told.revision <= approval.revision) {
            if self.told.len() >= TOLD_MAX {
                self.told.clear();
            }
            let last_ms = approval.history.last().map_or(0, |event| event.at_ms);
            let told = Told {
                revision: approval.revision,
                events: all,
                until_ms: last_ms.max(now_ms),
            };
            self.told.insert(approval.id.clone(), told);
        }
        start..all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::{Caller, Decision, HeldBy, Manner, Matter, Person};

    const START: u64 = 1_000_000;

    fn asked(id: &str, at_ms: u64) -> Approval {
        let held = HeldBy {
            hold: "h".to_owned(),
            cause: "c".to_owned(),
            why: "w".to_owned(),
            quorum: 2,
            groups: vec!["g".to_owned()],
            window_s: None,
            covered_by: None,
        };
        let who = (Caller::default(), Matter::default());
        let lasts = (at_ms, 3_600_000);
        Approval::request(
            id.to_owned(),
            String::new(),
            who,
            vec![held],
            Manner::Ticket,
            lasts,
        )
    }

    fn approved(mut approval: Approval, by: &str, at_ms: u64) -> Approval {
        let person = Person {
            issuer: "i".to_owned(),
            subject: by.to_owned(),
            groups: vec!["g".to_owned()],
        };
        let decided = approval.decide(at_ms, &person, Decision::Approve, "");
        decided.unwrap();
        approval.revision += 1;
        approval
    }

    #[test]
    fn without_others_what_is_made_here_is_news_and_nothing_is_remembered() {
        let mut news = News::default();
        let first = asked("a", START);
        assert_eq!(news.of(&first, Some(0), START), 0..1);
        assert_eq!(news.of(&approved(first, "x", START), Some(1), START), 1..2);
        assert_eq!((news.since_ms(), news.told.len()), (None, 0));
    }

    #[test]
    fn every_event_is_told_once_whoever_made_it_and_whoever_is_quicker() {
        let mut news = News::default();
        news.begin(START);
        // Made here: told at once, and not again when it is read.
        let mine = asked("a", START);
        assert_eq!(news.of(&mine, Some(0), START), 0..1);
        assert!(news.is_known("a", 0));
        assert!(news.of(&mine, None, START).is_empty());
        // Read before this gateway has come to telling it.
        let other = asked("b", START + 1);
        assert_eq!(news.of(&other, None, START + 1), 0..1);
        assert!(news.of(&other, Some(0), START + 1).is_empty());
        // Another gateway says yes, and this one goes on before it has read that.
        let half = approved(mine, "x", START + 2);
        assert!(!news.is_known("a", 1));
        let whole = approved(half.clone(), "y", START + 3);
        assert_eq!(news.of(&whole, Some(2), START + 3), 1..3);
        // What was read before and comes late says nothing, and takes nothing back.
        assert!(news.of(&half, None, START + 3).is_empty());
        assert!(news.is_known("a", 2));
    }

    #[test]
    fn what_was_before_is_no_news_and_what_is_forgotten_does_not_come_back() {
        let mut news = News::default();
        news.begin(START);
        // Asked for long ago, decided on now by somebody whose clock is behind.
        let old = asked("a", START - 600_000);
        let now = approved(old.clone(), "x", START - CLOCKS_APART_MS + 1);
        assert!(news.of(&old, None, START).is_empty());
        assert_eq!(news.of(&now, None, START), 1..2);
        let later = START + 10 * CLOCKS_APART_MS;
        news.read_at(later);
        assert_eq!(news.told.len(), 0);
        assert!(!news.is_known("a", 1), "so it is looked at once more");
        assert!(news.of(&now, None, later).is_empty(), "and tells nothing");
        let then = approved(now, "y", later);
        assert_eq!(news.of(&then, None, later), 2..3);
    }

    #[test]
    fn a_change_without_an_event_is_looked_at_once() {
        let mut news = News::default();
        news.begin(START);
        let mut it = asked("a", START - 600_000);
        it.revision += 1;
        assert!(news.of(&it, None, START).is_empty());
        assert!(news.is_known("a", 1));
    }
}
