//! Request heads of which no connection has need now.
//!
//! A head's memory is used from a request's first byte to the end of its answer, by few of a core's
//! connections at a time. What rests gives it back, and the next that calls gets what was used
//! last, which the processor still has at hand.

use std::cell::RefCell;

use crate::http1::RequestHead;

/// So many are kept.
const HEADS_MAX: usize = 64;
/// Memory of a head that is kept; a larger one is rare and freed.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The heads of one core.
#[derive(Default)]
pub(super) struct Heads(RefCell<Vec<RequestHead>>);

// === impl Heads ===

impl Heads {
    /// A head with nothing in it.
    pub(super) fn take(&self) -> RequestHead {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a head's memory for another request, and nothing of what is in it.
    pub(super) fn put(&self, mut head: RequestHead) {
        let mut heads = self.0.borrow_mut();
        if heads.len() < HEADS_MAX && head.memory() <= HEAD_BYTES_MAX {
            head.clear();
            heads.push(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, HeadScanner, Method, parse_request_into};

    fn read(mut head: RequestHead, text: &str) -> RequestHead {
        let limits = HeadLimits {
            request_line: 4096,
            head: 32 * 1024,
            fields: 100,
        };
        let mut scanner = HeadScanner::default();
        parse_request_into(&mut scanner, text.as_bytes(), &limits, &mut head).unwrap();
        head
    }

    #[test]
    fn a_head_comes_back_with_nothing_of_the_last_request() {
        let heads = Heads::default();
        let text = "HEAD /a?b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer b\r\n\r\n";
        let head = read(heads.take(), text);
        let memory = head.memory();
        assert!(memory >= text.len());
        heads.put(head);
        let head = heads.take();
        assert_eq!(head.memory(), memory, "its memory is kept");
        assert_eq!(head.method, Method::Get);
        assert_eq!((head.path(), head.query(), head.host()), ("/", None, ""));
        assert!(head.fields.is_empty() && head.fields.get("authorization").is_none());
    }

    #[test]
    fn neither_many_nor_large_ones_are_kept() {
        let heads = Heads::default();
        let long = "x".repeat(HEAD_BYTES_MAX);
        let large = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n");
        heads.put(read(heads.take(), &large));
        assert_eq!(heads.take().memory(), 0);
        for _ in 0..2 * HEADS_MAX {
            heads.put(RequestHead::default());
        }
        assert_eq!(heads.0.borrow().len(), HEADS_MAX);
    }
}
