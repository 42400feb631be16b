//! One refresh for many askers: coalesced, rate-limited, awaitable from any runtime.
//!
//! A core that meets an unknown key asks the gate and gets something to wait for. Everybody who
//! asks while a fetch is wanted or under way waits for that one. Fetches on demand begin at least
//! [`REFRESH_GAP_S`] apart, so tokens with made-up key ids cannot turn the gateway on its provider.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, watch};

/// The least time between two fetches that unknown keys can cause, per issuer, in seconds.
pub const REFRESH_GAP_S: u64 = 10;

/// Resolves when the fetch or question that it was handed out for has ended, well or not. It has no limit of
/// its own: the one who waits sets it. Works on any runtime.
pub struct RefreshWait(Pin<Box<dyn Future<Output = ()> + Send>>);

/// The gate of one issuer.
pub(super) struct RefreshGate {
    state: Mutex<GateState>,
    /// Counts fetches that have ended.
    ended: watch::Sender<u64>,
    /// Wakes the task that fetches.
    wanted: Notify,
}

#[derive(Default)]
struct GateState {
    wanted: bool,
    under_way: bool,
    begun_unix: Option<u64>,
}

/// A fetch under way; ends it when dropped, however that comes about.
pub(super) struct Attempt<'a>(&'a RefreshGate);

// === impl RefreshGate ===

impl RefreshGate {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            ended: watch::Sender::new(0),
            wanted: Notify::new(),
        }
    }

    /// Asks for a fetch. `None` when the last one began too recently for another to be worth it.
    pub(super) fn ask(&self, now_unix: u64) -> Option<RefreshWait> {
        let mut state = self.lock();
        if !state.wanted && !state.under_way {
            // A clock that was set back must not close the gate for as long: compare both ways.
            let too_soon = state
                .begun_unix
                .is_some_and(|begun| now_unix.abs_diff(begun) < REFRESH_GAP_S);
            if too_soon {
                return None;
            }
            state.wanted = true;
            self.wanted.notify_one();
        }
        // Subscribed under the lock, which the end of a fetch takes too: it cannot be missed.
        let ended = self.ended.subscribe();
        drop(state);
        Some(RefreshWait::on(ended))
    }

    /// Waits until somebody wants a fetch that has not begun.
    pub(super) async fn wanted(&self) {
        // A permit may be left over from a wish that a scheduled fetch has already fulfilled.
        while !self.lock().wanted {
            self.wanted.notified().await;
        }
    }

    /// Begins a fetch, which fulfils every wish so far.
    pub(super) fn begin(&self, now_unix: u64) -> Attempt<'_> {
        let mut state = self.lock();
        state.wanted = false;
        state.under_way = true;
        state.begun_unix = Some(now_unix);
        Attempt(self)
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        // Nothing in here panics half-way through a change, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}

// === impl RefreshWait ===

impl RefreshWait {
    /// Resolves when `ended` changes, or can no longer.
    pub(super) fn on<T: Send + Sync + 'static>(mut ended: watch::Receiver<T>) -> Self {
        Self(Box::pin(async move {
            // An error means that its sender is gone, and with it anything to wait for.
            let _ = ended.changed().await;
        }))
    }
}

impl Future for RefreshWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for RefreshWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshWait")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn many_askers_one_fetch() {
        let gate = RefreshGate::new();
        let mut waits: Vec<_> = (0..50).map(|_| gate.ask(100).expect("open")).collect();
        assert!(gate.wanted().now_or_never().is_some());
        let attempt = gate.begin(100);
        waits.push(gate.ask(100).expect("one is under way"));
        assert!(
            gate.wanted().now_or_never().is_none(),
            "the wish is being fulfilled"
        );
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        drop(attempt);
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_some()));
        assert!(
            gate.wanted().now_or_never().is_none(),
            "one fetch was enough"
        );
    }

    #[test]
    fn the_gap_is_kept() {
        let gate = RefreshGate::new();
        drop(gate.begin(100));
        assert!(gate.ask(100 + REFRESH_GAP_S - 1).is_none());
        assert!(gate.ask(100 + REFRESH_GAP_S).is_some());
    }

    #[test]
    fn a_clock_set_back_does_not_close_the_gate() {
        let gate = RefreshGate::new();
        drop(gate.begin(1_000_000));
        assert!(gate.ask(500_000).is_some());
    }

    #[test]
    fn a_fetch_that_is_abandoned_ends() {
        let gate = RefreshGate::new();
        let attempt = gate.begin(100);
        let wait = gate.ask(100).expect("one is under way");
        drop(attempt);
        assert!(wait.now_or_never().is_some());
    }

    #[test]
    fn a_gate_that_is_gone_keeps_nobody_waiting() {
        let gate = RefreshGate::new();
        let wait = gate.ask(100).expect("open");
        drop(gate);
        assert!(wait.now_or_never().is_some());
    }
}
