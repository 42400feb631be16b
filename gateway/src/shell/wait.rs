//! Waiting for the first of several things: the client, the upstream, a deadline.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::io::Io;
use super::timers::Deadline;

/// What came first.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes arrived.
    Data,
    /// The other side ended its half.
    Gone,
    /// The connection broke.
    Broken,
    /// The deadline has passed.
    Due,
}

/// What came first, of two connections.
#[derive(Debug)]
pub(super) enum Pair {
    /// Of the upstream.
    Upstream(Event),
    /// The client has gone.
    ClientGone,
    /// The deadline has passed.
    Due,
}

/// What came first while something else than bytes was awaited.
#[derive(Debug)]
pub(super) enum Awaited<T> {
    /// That.
    Done(T),
    /// The client has gone.
    ClientGone,
    /// The deadline has passed.
    Due,
}

/// Requests that a client may send ahead while its present one is being answered. Beyond it the
/// client's bytes stay in its own kernel.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

// === impl Event ===

impl Event {
    fn of(filled: &io::Result<usize>) -> Self {
        match filled {
            Ok(0) => Self::Gone,
            Ok(_) => Self::Data,
            Err(_) => Self::Broken,
        }
    }
}

/// Waits for bytes on one connection.
pub(super) async fn readable(io: &mut Io, deadline: &Deadline) -> Event {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = io.poll_fill(cx) {
            return Poll::Ready(Event::of(&outcome));
        }
        deadline.poll_due(cx).map(|()| Event::Due)
    })
    .await
}

/// Waits for up to `left` more bytes of a body, which come straight behind it where they can.
pub(super) async fn readable_behind(
    io: &mut Io,
    body: &mut Vec<u8>,
    left: usize,
    deadline: &Deadline,
) -> Event {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = io.poll_fill_behind(body, left, cx) {
            return Poll::Ready(Event::of(&outcome));
        }
        deadline.poll_due(cx).map(|()| Event::Due)
    })
    .await
}

/// Waits for bytes of the upstream, while watching whether the client stays.
pub(super) async fn upstream_readable(
    client: &mut Io,
    upstream: &mut Io,
    deadline: &Deadline,
) -> Pair {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = upstream.poll_fill(cx) {
            return Poll::Ready(Pair::Upstream(Event::of(&outcome)));
        }
        if poll_gone(client, cx).is_ready() {
            return Poll::Ready(Pair::ClientGone);
        }
        deadline.poll_due(cx).map(|()| Pair::Due)
    })
    .await
}

/// Awaits something while watching whether the client stays. Where both come at once the client
/// has gone: nobody is there to have what came.
pub(super) async fn awaiting<T>(
    client: &mut Io,
    deadline: &Deadline,
    future: impl Future<Output = T>,
) -> Awaited<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if poll_gone(client, cx).is_ready() {
            return Poll::Ready(Awaited::ClientGone);
        }
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Awaited::Done(done));
        }
        deadline.poll_due(cx).map(|()| Awaited::Due)
    })
    .await
}

/// Ready once the client has gone. Reads ahead only as far as the bound; past it, whether the
/// client is still there is seen when its answer is written.
fn poll_gone(client: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
    while client.input().len() < AHEAD_BYTES_MAX {
        match client.poll_fill(cx) {
            Poll::Ready(Ok(count)) if count > 0 => {}
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}

/// Writes all, or fails with `TimedOut` at the deadline. Gives the buffer back, emptied. A caller
/// who is cut off does not end it: half an event could not be told from a broken connection.
pub(super) async fn write(io: &mut Io, bytes: Vec<u8>, deadline: &Deadline) -> io::Result<Vec<u8>> {
    let mut writing = pin!(io.write(bytes));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = writing.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        deadline
            .poll_late(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// How a write to the upstream ended.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it is on its way.
    Whole,
    /// The upstream answered, or hung up, before it had all.
    Answered,
    /// The client has gone.
    ClientGone,
    /// It failed, or the deadline has passed.
    Failed(io::Error),
}

/// Writes to the upstream while watching for an early answer of its, and for the client.
pub(super) async fn write_watching(
    client: &mut Io,
    upstream: &mut Io,
    head: Bytes,
    body: Bytes,
    deadline: &Deadline,
) -> Sent {
    let mut writing = pin!(upstream.write_aside(head, body));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = writing.as_mut().poll(cx) {
            return Poll::Ready(match outcome {
                Ok(()) => Sent::Whole,
                // What it said before it hung up is worth more than that it did.
                Err(_) if upstream.poll_fill(cx).is_ready() && !upstream.input().is_empty() => {
                    Sent::Answered
                }
                Err(error) => Sent::Failed(error),
            });
        }
        if upstream.poll_fill(cx).is_ready() {
            return Poll::Ready(Sent::Answered);
        }
        if poll_gone(client, cx).is_ready() {
            return Poll::Ready(Sent::ClientGone);
        }
        deadline
            .poll_due(cx)
            .map(|()| Sent::Failed(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// Runs `future`, or fails with `TimedOut` at the deadline.
pub(super) async fn bounded<T>(
    future: impl Future<Output = io::Result<T>>,
    deadline: &Deadline,
) -> io::Result<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        deadline
            .poll_due(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}
