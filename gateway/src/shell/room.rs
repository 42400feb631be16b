//! Waiting for room in the ring.
//!
//! When the recorder is behind, who has written a frame that found no room waits until it has one:
//! thousands of exchanges at once, where thousands are served. One task looks at the ring for all
//! of them, and wakes those whose frames are in it, in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::tap::{Place, Tap};

/// How often a full ring is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Who waits on one core.
#[derive(Default)]
pub(super) struct Room {
    waiting: RefCell<VecDeque<Waiting>>,
    /// Of all that ever waited, so many do no longer.
    ended: Cell<u64>,
    /// Who looks, while nobody waits.
    looking: RefCell<Option<Waker>>,
}

struct Waiting {
    place: Place,
    until: Instant,
    waker: Waker,
}

// === impl Room ===

impl Room {
    /// Waits until all that was written up to `place` is in the ring, and at most for `limit`, which
    /// is the same for all who wait; false when that is over.
    pub(super) async fn for_all_to(&self, tap: &Tap, place: Place, limit: Duration) -> bool {
        let mut number = None;
        std::future::poll_fn(|cx| self.poll(tap, place, limit, &mut number, cx)).await
    }

    fn poll(
        &self,
        tap: &Tap,
        place: Place,
        limit: Duration,
        number: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        if tap.has_taken(place) {
            return Poll::Ready(true);
        }
        match *number {
            Some(number) if number < self.ended.get() => Poll::Ready(false),
            Some(_) => Poll::Pending,
            None => {
                let mut waiting = self.waiting.borrow_mut();
                *number = Some(self.ended.get() + waiting.len() as u64);
                waiting.push_back(Waiting {
                    place,
                    until: Instant::now() + limit,
                    waker: cx.waker().clone(),
                });
                if let Some(looking) = self.looking.take() {
                    looking.wake();
                }
                Poll::Pending
            }
        }
    }

    /// Looks at the ring for those who wait, for ever. `sleep` is the runtime's.
    pub(super) async fn look<S: Future<Output = ()>>(
        &self,
        tap: &Tap,
        sleep: impl Fn(Duration) -> S,
    ) {
        loop {
            std::future::poll_fn(|cx| {
                if !self.waiting.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.looking.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            sleep(LOOK).await;
            self.wake(tap, Instant::now());
        }
    }

    /// Wakes whose frames are in the ring, and whose wait is over. Both are in order.
    fn wake(&self, tap: &Tap, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) =
            waiting.pop_front_if(|first| tap.has_taken(first.place) || first.until <= now)
        {
            self.ended.set(self.ended.get() + 1);
            first.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::config::OnLoss;
    use crate::tap::tests::{drain, fill, piece, tap};

    const LIMIT: Duration = Duration::from_secs(2);

    /// How often a waker was used.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_when_there_is_room_in_order_and_once() {
        let (tap, mut consumer) = tap(OnLoss::Refuse);
        let room = Room::default();
        let woken: [Arc<Count>; 2] = Default::default();
        let wakers = woken.clone().map(Waker::from);
        let wakes = || {
            woken
                .each_ref()
                .map(|count| count.0.load(Ordering::Relaxed))
        };
        fill(&tap);
        let mut first = pin!(room.for_all_to(&tap, tap.place(), LIMIT));
        let cx = &mut Context::from_waker(&wakers[0]);
        assert_eq!(first.as_mut().poll(cx), Poll::Pending);
        (0..4000).for_each(|_| assert!(tap.record(piece(1024))));
        let last = tap.place();
        let mut second = pin!(room.for_all_to(&tap, last, LIMIT));
        let cx = &mut Context::from_waker(&wakers[1]);
        assert_eq!(second.as_mut().poll(cx), Poll::Pending);

        room.wake(&tap, Instant::now());
        assert_eq!(wakes(), [0, 0]);
        drain(&mut consumer);
        room.wake(&tap, Instant::now());
        assert_eq!(wakes(), [1, 0]);
        let cx = &mut Context::from_waker(&wakers[0]);
        assert_eq!(first.as_mut().poll(cx), Poll::Ready(true));
        let cx = &mut Context::from_waker(&wakers[1]);
        assert_eq!(second.as_mut().poll(cx), Poll::Pending);
        while !tap.has_taken(last) {
            drain(&mut consumer);
        }
        room.wake(&tap, Instant::now());
        assert_eq!(second.as_mut().poll(cx), Poll::Ready(true));
        assert_eq!(wakes(), [1, 1]);
        let mut third = pin!(room.for_all_to(&tap, last, LIMIT));
        assert_eq!(third.as_mut().poll(cx), Poll::Ready(true), "at once");
    }

    #[test]
    fn nobody_waits_longer_than_the_limit() {
        let (tap, mut consumer) = tap(OnLoss::Refuse);
        let room = Room::default();
        let cx = &mut Context::from_waker(Waker::noop());
        fill(&tap);
        let mut waiting = pin!(room.for_all_to(&tap, tap.place(), LIMIT));
        assert_eq!(waiting.as_mut().poll(cx), Poll::Pending);
        // Whoever went away meanwhile is in nobody's way.
        {
            let mut gone = pin!(room.for_all_to(&tap, tap.place(), LIMIT));
            assert_eq!(gone.as_mut().poll(cx), Poll::Pending);
        }
        let mut later = pin!(room.for_all_to(&tap, tap.place(), 2 * LIMIT));
        assert_eq!(later.as_mut().poll(cx), Poll::Pending);
        room.wake(&tap, Instant::now());
        assert_eq!(waiting.as_mut().poll(cx), Poll::Pending);
        room.wake(&tap, Instant::now() + LIMIT);
        assert_eq!(waiting.as_mut().poll(cx), Poll::Ready(false));
        assert_eq!(later.as_mut().poll(cx), Poll::Pending);
        drain(&mut consumer);
        room.wake(&tap, Instant::now());
        assert_eq!(later.as_mut().poll(cx), Poll::Ready(true));
    }
}
