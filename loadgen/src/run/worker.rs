//! One connection's task: wait for an intended start, send, read, count.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::time::timeout;

use super::Course;
use super::reader::{self, Answered};
use crate::http::Socket;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Connect,
    Closed,
    /// Closed before a byte of an answer: on a kept connection that is the server's right.
    Stale,
    Malformed,
    Timeout,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Trouble::Closed
    }
}

impl Trouble {
    pub(super) fn name(self) -> &'static str {
        match self {
            Trouble::Connect => "connect",
            Trouble::Closed | Trouble::Stale => "closed",
            Trouble::Malformed => "malformed",
            Trouble::Timeout => "timeout",
        }
    }
}

pub(super) async fn work(course: Rc<Course>) {
    let mut connection = None;
    while let Some(intended) = course.next().await {
        let sent = Instant::now();
        let exchange = exchange(&course, &mut connection);
        let outcome = match timeout(course.options.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::Timeout),
        };
        if !outcome.as_ref().is_ok_and(|answered| answered.keep) {
            connection = None;
        }
        course
            .tally
            .borrow_mut()
            .note(intended, sent, Instant::now(), outcome);
        if connection.is_none() {
            // A target that refuses at once must not keep this thread to itself.
            tokio::task::yield_now().await;
        }
    }
}

/// One request and its answer; once more on a fresh connection when a kept one proves dead.
async fn exchange(
    course: &Course,
    connection: &mut Option<(Socket, Vec<u8>)>,
) -> Result<Answered, Trouble> {
    if let Some((socket, buffer)) = connection {
        match attempt(course, socket, buffer).await {
            Err(Trouble::Stale) => {}
            done => return done,
        }
    }
    let socket = course.options.target.connect().await;
    let socket = socket.map_err(|_| Trouble::Connect)?;
    let (socket, buffer) = connection.insert((socket, Vec::new()));
    attempt(course, socket, buffer).await
}

async fn attempt(
    course: &Course,
    socket: &Socket,
    buffer: &mut Vec<u8>,
) -> Result<Answered, Trouble> {
    let sent = socket.write(course.options.target.request()).await;
    sent.map_err(|_| Trouble::Stale)?;
    if buffer.is_empty() && !matches!(socket.read(buffer).await, Ok(1..)) {
        return Err(Trouble::Stale);
    }
    reader::read(socket, buffer).await
}
