//! Keep-alive connections that rest between two calls; one pool per core, no locks.
//!
//! Newest first: the connection that rested the shortest is the least likely to be dying, and the
//! surplus grows old and is closed.

use std::collections::VecDeque;

/// Resting connections of kind `C`.
pub struct Pool<C> {
    resting: VecDeque<Resting<C>>,
    size_max: usize,
    rest_ms_max: u64,
}

struct Resting<C> {
    connection: C,
    since_ms: u64,
}

// === impl Pool ===

impl<C> Pool<C> {
    /// Keeps at most `size_max` connections, none for longer than `rest_ms_max`.
    pub fn new(size_max: usize, rest_ms_max: u64) -> Self {
        Self {
            resting: VecDeque::new(),
            size_max,
            rest_ms_max,
        }
    }

    /// The freshest connection; drops those that rested too long.
    pub fn take(&mut self, now_ms: u64) -> Option<C> {
        self.expire(now_ms);
        self.resting.pop_back().map(|resting| resting.connection)
    }

    /// Puts a connection to rest; past the size the oldest is dropped.
    pub fn put(&mut self, connection: C, now_ms: u64) {
        if self.size_max == 0 {
            return;
        }
        if self.resting.len() == self.size_max {
            self.resting.pop_front();
        }
        self.resting.push_back(Resting {
            connection,
            since_ms: now_ms,
        });
    }

    /// Drops connections that rested too long.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some(oldest) = self.resting.front() {
            if now_ms.saturating_sub(oldest.since_ms) < self.rest_ms_max {
                break;
            }
            self.resting.pop_front();
        }
    }

    /// How many rest.
    pub fn count(&self) -> usize {
        self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshest_first_and_never_too_old() {
        let mut pool = Pool::new(2, 100);
        pool.put('a', 0);
        pool.put('b', 50);
        pool.put('c', 60);
        assert_eq!(pool.count(), 2);
        assert_eq!(pool.take(120), Some('c'));
        assert_eq!(pool.take(150), None, "b has rested 100 ms");
    }

    #[test]
    fn a_pool_of_none_keeps_none() {
        let mut pool = Pool::new(0, 100);
        pool.put('a', 0);
        assert_eq!(pool.count(), 0);
    }
}
