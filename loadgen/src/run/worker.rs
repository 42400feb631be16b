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
            Trouble::Closed => "closed",
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

async fn exchange(
    course: &Course,
    connection: &mut Option<(Socket, Vec<u8>)>,
) -> Result<Answered, Trouble> {
    let target = &course.options.target;
    let (socket, buffer) = match connection {
        Some(connection) => connection,
        None => {
            let socket = target.connect().await.map_err(|_| Trouble::Connect)?;
            connection.insert((socket, Vec::new()))
        }
    };
    socket.write(target.request()).await?;
    reader::read(socket, buffer).await
}
