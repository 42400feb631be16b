//! When a notice is tried again, and when it is given up: decided here, without a clock or a socket.
//!
//! Two things wait. A **notice** waits for its own next attempt, twice as long each time, and is dead
//! after so many attempts or so long a time ([`Patience::next`]). A **receiver** that fails is left
//! alone for a while whatever else waits for it ([`Line`]), so that ten thousand notices do not ask a
//! dead one ten thousand times. A `Retry-After` moves both.
//!
//! Delays are drawn from the upper half of what they may be, so that gateways that failed together
//! do not come back together.

use std::time::Duration;

/// The longest that a `Retry-After` is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The longest that a whole receiver is left alone without having asked for it.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Doublings after which a delay is at its longest whatever it began with.
const DOUBLINGS_MAX: u32 = 40;

/// How long a receiver is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Delay after the first failure.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// Attempts, the first included.
    pub attempts_max: u32,
    /// From when the notice was told.
    pub age_max: Duration,
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The receiver has it.
    Delivered,
    /// Not now.
    Failed {
        /// For an operator; without a secret.
        reason: String,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Not this one, however often it is sent.
    Refused {
        /// For an operator; without a secret.
        reason: String,
    },
}

/// What becomes of a notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It has arrived.
    Done,
    /// It is sent again at this time, milliseconds since 1970.
    Again {
        /// Not before.
        at_ms: u64,
    },
    /// It is given up and kept for an operator.
    Dead,
}

/// One receiver, to which one notice at a time is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    failures: u32,
    resumes_ms: u64,
}

// === impl Patience ===

impl Patience {
    /// What follows from the answer to attempt number `attempts`, which is at least 1, of a notice
    /// that was told at `told_ms`. `chance` is random, from 0 to 1.
    pub fn next(
        &self,
        answer: &Answer,
        attempts: u32,
        told_ms: u64,
        now_ms: u64,
        chance: f64,
    ) -> Next {
        let retry_after = match answer {
            Answer::Delivered => return Next::Done,
            Answer::Refused { .. } => return Next::Dead,
            Answer::Failed { retry_after, .. } => retry_after.unwrap_or_default(),
        };
        let delay = self.delay(attempts, chance);
        let delay = delay.max(retry_after.min(RETRY_AFTER_MAX));
        let at_ms = now_ms.saturating_add(whole_ms(delay));
        // A clock that stepped back makes a notice young, never old.
        let age_ms = at_ms.saturating_sub(told_ms);
        match attempts >= self.attempts_max || age_ms > whole_ms(self.age_max) {
            true => Next::Dead,
            false => Next::Again { at_ms },
        }
    }

    /// Whether a notice has had all its attempts already, so that none is made. That is so when the
    /// process ended in the middle of the last one.
    pub fn is_used_up(&self, attempts_before: u32) -> bool {
        attempts_before >= self.attempts_max
    }

    /// The farthest that a planned attempt can lie ahead; one beyond was planned by another clock.
    pub fn farthest_ms(&self) -> u64 {
        whole_ms(self.longest.max(RETRY_AFTER_MAX))
    }

    fn delay(&self, attempts: u32, chance: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
        let whole = self.first.as_secs_f64() * f64::from(doublings).exp2();
        let whole = whole.min(self.longest.as_secs_f64());
        Duration::from_secs_f64(whole * (0.5 + 0.5 * chance.clamp(0.0, 1.0)))
    }
}

// === impl Line ===

impl Line {
    /// When it may be used again, on the clock of [`Line::took`]; that is in the past while all is
    /// well.
    pub fn resumes_ms(&self) -> u64 {
        self.resumes_ms
    }

    /// Learns from an answer. `now_ms` is of a clock that never steps back.
    pub fn took(&mut self, answer: &Answer, patience: &Patience, now_ms: u64, chance: f64) {
        match answer {
            // Who refuses one notice is there for the others.
            Answer::Delivered | Answer::Refused { .. } => *self = Self::default(),
            Answer::Failed { retry_after, .. } => {
                self.failures = self.failures.saturating_add(1);
                let pause = retry_after.map_or_else(
                    || patience.delay(self.failures, chance).min(PAUSE_MAX),
                    |asked| asked.min(RETRY_AFTER_MAX),
                );
                self.resumes_ms = now_ms.saturating_add(whole_ms(pause));
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    /// What an HTTP status means. `retry_after` is the field's value, `now_unix` for its dates.
    pub fn of_status(status: u16, retry_after: Option<&str>, now_unix: u64) -> Self {
        let reason = format!("it answered {status}");
        match status {
            200..=299 => Self::Delivered,
            300..=399 => Self::failed(&format!("{reason}: redirects are not followed")),
            // What is wrong with the message stays wrong. 401, 403 and 404 are not among these:
            // they say that a secret or an address is wrong, which an operator can mend.
            400 | 410 | 413 | 415 | 422 => Self::Refused { reason },
            _ => Self::Failed {
                reason,
                retry_after: retry_after.and_then(|value| wanted(value, now_unix)),
            },
        }
    }

    /// A failure that says nothing of when to come again.
    pub fn failed(reason: &str) -> Self {
        Self::Failed {
            reason: reason.to_owned(),
            retry_after: None,
        }
    }

    /// Why it was not delivered; empty when it was.
    pub fn reason(&self) -> &str {
        match self {
            Self::Delivered => "",
            Self::Failed { reason, .. } | Self::Refused { reason } => reason,
        }
    }
}

/// A `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
fn wanted(value: &str, now_unix: u64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_secs(now_unix)))
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(900),
        attempts_max: 16,
        age_max: Duration::from_secs(86_400),
    };

    fn failed(retry_after: Option<u64>) -> Answer {
        Answer::Failed {
            reason: "down".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_attempts_end() {
        let mut now = 0;
        let mut delays = Vec::new();
        for attempt in 1.. {
            match PATIENCE.next(&failed(None), attempt, 0, now, 1.0) {
                Next::Again { at_ms } => {
                    delays.push((at_ms - now) / 1000);
                    now = at_ms;
                }
                Next::Dead => break,
                Next::Done => unreachable!("it failed"),
            }
        }
        let expected = [
            1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900,
        ];
        assert_eq!(delays, expected);
    }

    #[test]
    fn what_is_delivered_or_refused_is_not_sent_again() {
        let next = |answer: &Answer| PATIENCE.next(answer, 1, 0, 0, 0.5);
        assert_eq!(next(&Answer::Delivered), Next::Done);
        let refused = Answer::of_status(422, Some("5"), 0);
        assert_eq!(next(&refused), Next::Dead);
        assert_eq!(refused.reason(), "it answered 422");
    }

    #[test]
    fn age_ends_it_and_a_clock_that_steps_back_does_not() {
        let day_ms = 86_400_000;
        assert_eq!(PATIENCE.next(&failed(None), 2, 0, day_ms, 0.0), Next::Dead);
        let young = PATIENCE.next(&failed(None), 2, day_ms, 0, 0.0);
        assert_eq!(young, Next::Again { at_ms: 1000 });
        // What is dead is told so now, not when the next attempt would have been.
        let last = PATIENCE.next(&failed(Some(3600)), 2, 0, day_ms - 1000, 0.0);
        assert_eq!(last, Next::Dead);
    }

    #[test]
    fn answers_are_told_apart() {
        for status in [200, 202, 204] {
            assert_eq!(Answer::of_status(status, None, 0), Answer::Delivered);
        }
        for status in [301, 401, 403, 404, 408, 425, 429, 500, 502, 503] {
            let answer = Answer::of_status(status, None, 0);
            assert!(matches!(answer, Answer::Failed { .. }), "{status}");
        }
        let after = |value: &str| match Answer::of_status(429, Some(value), 784_111_770) {
            Answer::Failed { retry_after, .. } => retry_after.map(|it| it.as_secs()),
            _ => None,
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:49:00 GMT"),
            Some(0),
            "it is over"
        );
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn a_receiver_that_fails_is_left_alone_and_forgiven_at_once() {
        let mut line = Line::default();
        let mut now = 5;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            line.took(&failed(None), &PATIENCE, now, 1.0);
            pauses.push((line.resumes_ms() - now) / 1000);
            now = line.resumes_ms();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        line.took(&failed(Some(99_999)), &PATIENCE, now, 1.0);
        assert_eq!(line.resumes_ms() - now, 3_600_000, "asked for, and bounded");
        line.took(&Answer::Delivered, &PATIENCE, now, 1.0);
        assert!(line.resumes_ms() <= now);
    }

    proptest! {
        /// Whatever answers come and whatever chance says, an end comes; no attempt is planned for
        /// the past, before it was asked for, or farther ahead than is said.
        #[test]
        fn every_notice_comes_to_an_end(
            answers in prop::collection::vec((prop::option::of(0u64..10_000), 0.0f64..1.0), 64),
            first in 1u64..100_000, longest in 1u64..10_000_000, attempts_max in 1u32..60,
        ) {
            let patience = Patience {
                first: Duration::from_millis(first),
                longest: Duration::from_millis(longest),
                attempts_max,
                ..PATIENCE
            };
            let mut now = 1_000;
            let mut ended = None;
            for (index, (asked, chance)) in answers.iter().enumerate() {
                let attempt = index as u32 + 1;
                match patience.next(&failed(*asked), attempt, 1_000, now, *chance) {
                    Next::Again { at_ms } => {
                        let asked_ms = asked.unwrap_or(0).min(3600) * 1000;
                        prop_assert!(at_ms >= now + asked_ms);
                        prop_assert!(at_ms - now <= patience.farthest_ms());
                        prop_assert!(at_ms - now >= (first.min(longest) / 2).max(asked_ms));
                        now = at_ms;
                    }
                    Next::Dead => { ended = Some(attempt); break; }
                    Next::Done => prop_assert!(false, "nothing was delivered"),
                }
            }
            let ended = ended.expect("an end");
            prop_assert!(ended <= attempts_max);
        }
    }
}
