//! The sender of notices.
//!
//! [`Notifier::tell`] puts a notice into a bounded queue and returns: whoever has something to tell
//! never waits for a receiver, nor for the state.

use tokio::sync::mpsc;

use crate::notify::Notice;

/// Notices that wait to be written down.
const QUEUE_MAX: usize = 4096;

/// Tells receivers what happens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    queue: Option<mpsc::Sender<Notice>>,
}

// === impl Notifier ===

impl Notifier {
    /// One that has nobody to tell.
    pub fn silent() -> Self {
        Self { queue: None }
    }

    /// Tells everybody whom it concerns; at once, whatever state they are in. Telling the same twice
    /// (approval and event) tells it once.
    pub fn tell(&self, notice: Notice) {
        let Some(queue) = &self.queue else {
            return;
        };
        if queue.try_send(notice.bounded()).is_err() {
            tracing::error!("a notice is lost: {QUEUE_MAX} wait to be written down already");
        }
    }
}
