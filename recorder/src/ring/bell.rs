//! The bell that the producer rings when the consumer said that it sleeps: an eventfd.
//!
//! The consumer side never reads it: it waits for edges with epoll, so a hostile peer that hands
//! over some other file can at worst wake the recorder for nothing.

#[cfg(not(loom))]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Wakes the consumer.
#[cfg(not(loom))]
pub(super) struct Bell(OwnedFd);

/// Wakes the consumer.
#[cfg(loom)]
#[derive(Clone)]
pub(super) struct Bell(std::sync::Arc<loom::sync::Notify>);

// === impl Bell ===

#[cfg(not(loom))]
impl Bell {
    pub(super) fn new(eventfd: OwnedFd) -> Self {
        Self(eventfd)
    }

    /// One system call; it can only fail when the counter is full, which wakes as well.
    pub(super) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(loom)]
impl Bell {
    pub(super) fn new() -> Self {
        Self(std::sync::Arc::new(loom::sync::Notify::new()))
    }

    pub(super) fn ring(&self) {
        self.0.notify();
    }

    pub(super) fn wait(&self) {
        self.0.wait();
    }
}
