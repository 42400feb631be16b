//! Connections in the order in which something of theirs runs out, each with the same patience: a
//! doubly linked list in two arrays, so that every change is a few stores, and its size is the
//! number of connections whatever happens.

/// No connection.
const NONE: u32 = u32::MAX;

/// A waiting line of connections.
pub(super) struct Line {
    /// Of each connection, the ones before and behind it.
    links: Vec<(u32, u32)>,
    since_ns: Vec<u64>,
    inside: Vec<bool>,
    first: u32,
    last: u32,
}

// === impl Line ===

impl Line {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            links: vec![(NONE, NONE); connections],
            since_ns: vec![0; connections],
            inside: vec![false; connections],
            first: NONE,
            last: NONE,
        }
    }

    /// Puts a connection at the end; `now_ns` is not before those of the others.
    pub(super) fn join(&mut self, slot: u32, now_ns: u64) {
        self.leave(slot);
        let at = slot as usize;
        self.links[at] = (self.last, NONE);
        self.since_ns[at] = now_ns;
        self.inside[at] = true;
        match self.last {
            NONE => self.first = slot,
            last => self.links[last as usize].1 = slot,
        }
        self.last = slot;
    }

    /// Takes a connection out, wherever it stands.
    pub(super) fn leave(&mut self, slot: u32) {
        if !std::mem::take(&mut self.inside[slot as usize]) {
            return;
        }
        let (before, behind) = self.links[slot as usize];
        match before {
            NONE => self.first = behind,
            before => self.links[before as usize].1 = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => self.links[behind as usize].0 = before,
        }
    }

    /// The connection that has waited longest, and since when.
    pub(super) fn first(&self) -> Option<(u32, u64)> {
        (self.first != NONE).then(|| (self.first, self.since_ns[self.first as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_who_has_waited_longest() {
        let mut line = Line::new(4);
        assert_eq!(line.first(), None);
        for (slot, at) in [(2, 10), (0, 20), (3, 30)] {
            line.join(slot, at);
        }
        line.leave(0);
        line.leave(0);
        assert_eq!(line.first(), Some((2, 10)));
        line.join(2, 40);
        assert_eq!(line.first(), Some((3, 30)));
        line.leave(3);
        assert_eq!(line.first(), Some((2, 40)));
        line.leave(2);
        assert_eq!(line.first(), None);
        line.join(1, 50);
        assert_eq!(line.first(), Some((1, 50)));
    }
}
