//! Where cores have the tokens of long prompts counted: on threads of the housekeeping core.
//!
//! A tokenizer takes a third of a second for a megabyte that the scanner is through with in twenty
//! milliseconds, and a core that serves others has no third of a second. So it hands the prompt over
//! and goes on with everybody else; what cannot be counted is refused, never let through uncounted.

use std::sync::Arc;

use penstock_policies::{CountedTokens, TokenCount};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Prompts that wait to be counted, of all cores.
const WAITING_MAX: usize = 256;
/// Prompts that are counted at once. They share one core; the second keeps a short one from waiting
/// for a very long one.
const COUNTERS: usize = 2;

/// A prompt's body, and what was counted in it.
pub type Counted = (Vec<u8>, Option<CountedTokens>);

/// The way to those who count.
#[derive(Debug)]
pub struct TokenCounter {
    jobs: Option<mpsc::Sender<Job>>,
}

/// A prompt to be counted, and where it goes then.
#[derive(Debug)]
pub struct Job {
    count: TokenCount,
    reply: oneshot::Sender<Counted>,
}

/// So many wait that no more are taken, or nobody counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

// === impl TokenCounter ===

impl TokenCounter {
    /// A way, and its other end, for [`serve`].
    #[must_use]
    pub fn open() -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { jobs: Some(sender) }, receiver)
    }

    /// A way that leads nowhere.
    #[must_use]
    pub fn closed() -> Self {
        Self { jobs: None }
    }

    /// Hands a prompt over, without waiting. Whoever drops the receiver no longer needs the number.
    ///
    /// # Errors
    /// When too many wait, or nobody counts.
    pub fn count(&self, count: TokenCount) -> Result<oneshot::Receiver<Counted>, Busy> {
        let (reply, counted) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Busy)?;
        jobs.try_send(Job { count, reply }).map_err(|_| Busy)?;
        Ok(counted)
    }
}

/// Counts, for as long as there is somebody who asks.
pub async fn serve(mut jobs: mpsc::Receiver<Job>) {
    let places = Arc::new(Semaphore::new(COUNTERS));
    while let Some(Job { count, reply }) = jobs.recv().await {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        if reply.is_closed() {
            continue;
        }
        // These threads run where the control thread does: they inherit its core.
        tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(count.run());
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_policies::{PolicySet, Profiles};

    fn a_count() -> TokenCount {
        let policy = PolicySet::allow_all();
        let profiles = Profiles::from_names(&["openai".to_owned()]).expect("is shipped");
        let route = profiles
            .resolve("POST", "/v1/completions")
            .expect("a route");
        TokenCount::new(&policy.scope(&[]), &route, "", b"{}".to_vec())
    }

    #[tokio::test]
    async fn what_nobody_counts_and_what_too_many_ask_is_refused_at_once() {
        assert_eq!(TokenCounter::closed().count(a_count()).err(), Some(Busy));
        let (counter, jobs) = TokenCounter::open();
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| counter.count(a_count())).collect();
        assert!(waiting.iter().all(Result::is_ok));
        assert_eq!(counter.count(a_count()).err(), Some(Busy));
        // Half of them go away; the others get their bodies back.
        let kept: Vec<_> = waiting.into_iter().step_by(2).flatten().collect();
        drop(counter);
        serve(jobs).await;
        for counted in kept {
            assert_eq!(counted.await.expect("a reply").0, b"{}");
        }
    }
}
