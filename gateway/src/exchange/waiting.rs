//! How long text of an answer has waited for more: what its bound is held against, and what the
//! record tells of it.

use std::time::{Duration, Instant};

/// Since when text is held back, while some is.
#[derive(Default)]
pub(super) struct Waiting(Option<Hold>);

/// Text that is held back.
struct Hold {
    since: Instant,
    /// What had been let out when it began.
    released: usize,
}

// === impl Waiting ===

impl Waiting {
    /// Takes note of whether text is held now, and of how much was let out so far. How long what was
    /// held until now has waited, when it waits no more. Events that bring no text, such as pings, do
    /// not make it younger.
    ///
    /// The clock is asked once at most, and only where something changed: this is done at every event.
    pub(super) fn note(
        &mut self,
        holds: bool,
        released: usize,
        clock: impl FnOnce() -> Instant,
    ) -> Option<Duration> {
        let stays = match &self.0 {
            Some(hold) => holds && hold.released == released,
            None => !holds,
        };
        if stays {
            return None;
        }
        let since = clock();
        let began = holds.then_some(Hold { since, released });
        let over = std::mem::replace(&mut self.0, began)?;
        Some(since.saturating_duration_since(over.since))
    }

    /// For how long the text that is held may still be held; `None` while none is.
    pub(super) fn left(&self, bound: Duration) -> Option<Duration> {
        let hold = self.0.as_ref()?;
        Some(bound.saturating_sub(hold.since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Waiting;

    #[test]
    fn text_waits_from_when_it_is_held_until_more_is_let_out() {
        let (start, mut waiting) = (Instant::now(), Waiting::default());
        let mut note = |after_ms, holds, released| {
            let clock = || start + Duration::from_millis(after_ms);
            let waited = waiting.note(holds, released, clock);
            waited.map(|waited| waited.as_millis())
        };
        assert_eq!(note(0, false, 5), None);
        assert_eq!(note(10, true, 9), None);
        assert_eq!(note(20, true, 9), None, "a ping");
        assert_eq!(
            note(30, true, 12),
            Some(20),
            "other text waits from here on"
        );
        assert_eq!(note(35, false, 20), Some(5));
        assert_eq!(note(50, false, 30), None);
    }

    #[test]
    fn the_clock_is_not_asked_where_nothing_changed() {
        let mut waiting = Waiting::default();
        let never = || -> Instant { panic!("asked") };
        assert_eq!(waiting.note(false, 1, never), None);
        assert_eq!(waiting.left(Duration::from_secs(1)), None);
        waiting.note(true, 1, Instant::now);
        assert_eq!(waiting.note(true, 1, never), None);
        assert!(waiting.left(Duration::from_secs(3600)).is_some());
    }
}
