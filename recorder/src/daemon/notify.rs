//! Wakes the writer from other threads. Level-triggered: a wake that comes early is not lost.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

/// One waiter, any number of wakers.
#[derive(Default)]
pub(super) struct Notify {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

// === impl Notify ===

impl Notify {
    /// Wakes the waiter, now or when it next waits.
    pub(super) fn wake(&self) {
        self.rung.store(true, Ordering::Release);
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for a wake, but not longer than this.
    pub(super) async fn wait(&self, timeout: Duration) {
        let mut timer = Timer::new(timeout);
        std::future::poll_fn(|context| self.poll(context, &mut timer)).await;
    }

    fn poll(&self, context: &mut Context<'_>, timer: &mut Timer) -> Poll<()> {
        if self.rung.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // Between the first look and leaving the waker somebody may have rung.
        if self.rung.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        Pin::new(timer).poll(context).map(|_| ())
    }
}
