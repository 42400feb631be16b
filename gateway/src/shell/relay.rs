//! From the decided request to the end of its answer: the upstream connection, and the way of the
//! bytes back.

use std::io;

use std::time::Duration;

use super::connection::{Connection, Next, Sending};
use super::io::Io;
use super::timers::CUT_GRACE;
use super::wait::{Event, Pair, Sent, bounded, upstream_readable, write, write_watching};
use super::worker::Worker;
use crate::config::UpstreamAddress;
use crate::exchange::{Abort, Answer, Answering, Forwarded, UpstreamRequest};
use crate::http1::{
    ChunkDecoder, HEAD_MAX, HeadLimits, HeadScanner, Persistence, Progress, ResponseFraming,
    ResponseHead, parse_response_into,
};

/// Heads of answers: generous, since the model is ours.
const RESPONSE_LIMITS: HeadLimits = HeadLimits {
    request_line: 8 * 1024,
    head: HEAD_MAX,
    fields: 200,
};
/// Room for what an exchange adds to what the upstream sent: framing, a mask longer than its value.
const OUT_BYTES_MORE: usize = 256;
/// Interim answers (1xx) that an upstream may send before the answer.
const INTERIM_MAX: usize = 8;

/// Sends the request, relays the answer, says how the connection goes on.
pub(super) async fn run(
    connection: &mut Connection<'_>,
    forwarded: Forwarded,
    request: UpstreamRequest,
) -> Next {
    let worker = connection.worker;
    if !settled(worker).await || !forwarded.is_recorded() {
        let answer = forwarded.unrecorded();
        return connection.refuse(answer).await;
    }
    if connection.deadline.is_cut() {
        return revoke(connection, forwarded).await;
    }
    let mut upstream = match send(connection, request).await {
        Ok(Some(upstream)) => upstream,
        Ok(None) => return Next::Drop,
        Err(_) if connection.deadline.is_cut() => return revoke(connection, forwarded).await,
        Err(answer) => {
            let answer = forwarded.upstream_failed(answer);
            return connection.refuse(answer).await;
        }
    };
    let head = match read_head(connection, &mut upstream, &forwarded).await {
        Ok(Some(head)) => head,
        // The client went away; dropping the upstream connection frees the engine's slot.
        Ok(None) => return Next::Drop,
        Err(HeadFault::Failed(_)) if connection.deadline.is_cut() => {
            drop(upstream);
            return revoke(connection, forwarded).await;
        }
        Err(HeadFault::Failed(answer)) => {
            let answer = forwarded.upstream_failed(answer);
            return connection.refuse(answer).await;
        }
        Err(HeadFault::Malformed(fault)) => {
            let answer = forwarded.upstream_malformed(&fault);
            return connection.refuse(answer).await;
        }
    };
    let reusable = head.keep_alive && head.framing != ResponseFraming::UntilClose;
    let framing = head.framing;
    let version = connection.head.version;
    let answering = match forwarded.answer(head, version, connection.persistence()) {
        // Boxed: it would stand once in each of the futures that it is handed on to.
        Ok(answering) => Box::new(answering),
        Err(answer) => return connection.refuse(answer).await,
    };
    let relayed = Relay {
        connection,
        upstream: &mut upstream,
        body: Body::new(framing),
        write_max: worker.core.node.limits.write_stall.0,
    }
    .run(answering)
    .await;
    match relayed {
        Ok(persistence) => {
            // Looking begins a read that stays with the connection while it rests: so the next
            // look, before it is used again, sees whether the engine has closed it.
            if reusable && !upstream.spoiled() && !upstream.disturbed() {
                worker
                    .pool
                    .borrow_mut()
                    .put(upstream, worker.timers.now_ms());
            }
            if persistence == Persistence::Close {
                Next::Close
            } else {
                Next::Again
            }
        }
        Err(next) => next,
    }
}

/// The caller was cut off before an answer of the model's began.
async fn revoke(connection: &mut Connection<'_>, forwarded: Forwarded) -> Next {
    connection.deadline.take_cut();
    let answer = forwarded.revoked();
    connection.refuse(answer.closing()).await
}

/// Waits, bounded, until every frame so far is in the ring.
async fn settled(worker: &Worker) -> bool {
    let tap = &worker.core.tap;
    let place = tap.place();
    let limit = worker.core.node.limits.ring_wait.0;
    tap.has_taken(place) || worker.room.for_all_to(tap, place, limit).await || tap.give_up()
}

/// Sends the request on a pooled connection or a new one.
///
/// A pooled connection may have died while it rested. It is looked at before use, and where the
/// write fails, or the connection ends in its midst, the request, of which the model cannot have
/// received the whole, is sent once more on a new connection. After a write that succeeded nothing
/// is sent again: the model may have begun.
///
/// `None` when the client went away meanwhile.
async fn send(
    connection: &mut Connection<'_>,
    request: UpstreamRequest,
) -> Result<Option<Io>, Answer> {
    let worker = connection.worker;
    while let Some(mut upstream) = take_pooled(worker) {
        if upstream.disturbed() {
            continue;
        }
        match hand_over(connection, &mut upstream, &request).await {
            Sent::Whole => return Ok(Some(upstream)),
            Sent::Answered if !upstream.input().is_empty() => return Ok(Some(upstream)),
            Sent::ClientGone => return Ok(None),
            Sent::Answered | Sent::Failed(_) => break,
        }
    }
    let mut upstream = connect(connection).await?;
    match hand_over(connection, &mut upstream, &request).await {
        Sent::Whole | Sent::Answered => Ok(Some(upstream)),
        Sent::ClientGone => Ok(None),
        Sent::Failed(error) => {
            let what = "broke off while it was sent the request";
            Err(failed(&error, "upstream_reset", what))
        }
    }
}

/// Writes the request to one connection.
async fn hand_over(
    connection: &mut Connection<'_>,
    upstream: &mut Io,
    request: &UpstreamRequest,
) -> Sent {
    let UpstreamRequest { head, body } = request.clone();
    let stall = connection.worker.core.node.limits.write_stall.0;
    let Connection { io, deadline, .. } = connection;
    deadline.set(stall);
    if body.is_empty() {
        // The kernel takes it at once: to watch meanwhile would cost more than it could tell.
        return match bounded(upstream.write_aside(head, body), deadline).await {
            Ok(()) => Sent::Whole,
            Err(error) => Sent::Failed(error),
        };
    }
    let sent = write_watching(io, upstream, head, body, deadline).await;
    if matches!(sent, Sent::Answered) {
        // An engine may refuse a body before it has all of it. Its answer counts; the connection,
        // on which it still waits for the rest, is not used again.
        upstream.spoil();
    }
    sent
}

fn take_pooled(worker: &Worker) -> Option<Io> {
    if worker.pool.borrow().count() == 0 {
        return None;
    }
    worker.pool.borrow_mut().take(worker.timers.now_ms())
}

async fn connect(connection: &mut Connection<'_>) -> Result<Io, Answer> {
    let worker = connection.worker;
    connection
        .deadline
        .set(worker.core.node.limits.upstream_connect.0);
    let connected = match &worker.upstream {
        UpstreamAddress::Tcp(address) => {
            bounded(Io::connect_tcp(*address), &connection.deadline).await
        }
        UpstreamAddress::Unix(path) => bounded(Io::connect_unix(path), &connection.deadline).await,
    };
    connected.map_err(|error| {
        tracing::warn!(upstream = %worker.upstream, "cannot connect: {error}");
        failed(&error, "upstream_unreachable", "cannot be reached")
    })
}

/// 504 when it was a matter of time, else 502.
fn failed(error: &io::Error, code: &'static str, what: &str) -> Answer {
    if error.kind() == io::ErrorKind::TimedOut {
        let message = "The model's server did not answer in time.";
        return Answer::new(504, "upstream_timeout", message);
    }
    Answer::new(502, code, format!("The model's server {what}."))
}

enum HeadFault {
    Failed(Answer),
    Malformed(crate::http1::ResponseFault),
}

/// Reads the answer's head; `None` when the client went away first.
async fn read_head(
    connection: &mut Connection<'_>,
    upstream: &mut Io,
    forwarded: &Forwarded,
) -> Result<Option<ResponseHead>, HeadFault> {
    let limits = &connection.worker.core.node.limits;
    let mut scanner = HeadScanner::default();
    let mut head = ResponseHead::default();
    let mut interims = 0;
    connection.deadline.set(limits.upstream_first_byte.0);
    loop {
        let parsed = parse_response_into(
            &mut scanner,
            upstream.input(),
            forwarded.head_request(),
            &RESPONSE_LIMITS,
            &mut head,
        );
        match parsed.map_err(HeadFault::Malformed)? {
            Progress::Complete { consumed, .. } => {
                upstream.consume(consumed);
                if !head.interim {
                    return Ok(Some(head));
                }
                interims += 1;
                if interims > INTERIM_MAX {
                    let message = "The model's server sent too many interim answers.";
                    let answer = Answer::new(502, "upstream_malformed", message);
                    return Err(HeadFault::Failed(answer));
                }
                continue;
            }
            Progress::Incomplete => {}
        }
        let waited = upstream_readable(&mut connection.io, upstream, &connection.deadline).await;
        let kind = match waited {
            Pair::Upstream(Event::Data) => continue,
            Pair::ClientGone => return Ok(None),
            Pair::Upstream(Event::Gone | Event::Broken) => io::ErrorKind::ConnectionReset,
            Pair::Upstream(Event::Due) | Pair::Due => io::ErrorKind::TimedOut,
        };
        let what = "closed the connection before it answered";
        return Err(HeadFault::Failed(failed(
            &kind.into(),
            "upstream_reset",
            what,
        )));
    }
}

/// The answer's body as it comes from the upstream.
enum Body {
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Done,
}

/// One answer on its way.
struct Relay<'a, 'w> {
    connection: &'a mut Connection<'w>,
    upstream: &'a mut Io,
    body: Body,
    /// How long the client may take to take what it is sent.
    write_max: Duration,
}

// === impl Relay ===

impl Relay<'_, '_> {
    /// Relays to the end; how the client's connection goes on, or why it cannot.
    async fn run(mut self, mut answering: Box<Answering>) -> Result<Persistence, Next> {
        let persistence = answering.persistence();
        let mut out = Vec::with_capacity(2048);
        answering.start(&mut out);
        loop {
            match self.pass(&mut answering, &mut out) {
                Ok(()) => {}
                Err(Passing::Malformed) => {
                    let answer = Answer::new(
                        502,
                        "upstream_malformed",
                        "The model's server sent a body that is not valid HTTP.",
                    );
                    return Err(self.abort(answering.upstream_broke(answer), out).await);
                }
                Err(Passing::Aborted(abort)) => return Err(self.abort(abort, out).await),
            }
            if matches!(self.body, Body::Done) {
                let worker = self.connection.worker;
                if let Err(abort) = worker.in_one_piece(|| answering.end(&mut out)) {
                    return Err(self.abort(abort, out).await);
                }
                if !self.kept(&answering).await {
                    return Err(self.abort(answering.unrecorded(), Vec::new()).await);
                }
                return match self.flush(out).await {
                    Ok(_) => {
                        answering.complete();
                        Ok(persistence)
                    }
                    Err(next) => Err(self.lost(*answering, next)),
                };
            }
            if !out.is_empty() {
                if !self.kept(&answering).await {
                    return Err(self.abort(answering.unrecorded(), Vec::new()).await);
                }
                out = match self.flush(out).await {
                    Ok(out) => out,
                    Err(next) => return Err(self.lost(*answering, next)),
                };
            }
            // A model that is never waited for would never let this be seen.
            if self.connection.deadline.is_cut() {
                return Err(self.cut_off(*answering, out).await);
            }
            match self.wait(&mut answering, &mut out).await {
                Ok(()) => {}
                Err(Waiting::ClientGone) => return Err(Next::Drop),
                Err(Waiting::CutOff) => return Err(self.cut_off(*answering, out).await),
                Err(Waiting::Aborted(abort)) => return Err(self.abort(abort, out).await),
                Err(Waiting::Broke(answer)) => {
                    return Err(self.abort(answering.upstream_broke(answer), out).await);
                }
            }
        }
    }

    /// Whether what is about to be shown is in the ring, or need not be.
    async fn kept(&self, answering: &Answering) -> bool {
        settled(self.connection.worker).await && answering.is_recorded()
    }

    /// Hands what the upstream has sent so far through the exchange.
    fn pass(&mut self, answering: &mut Answering, out: &mut Vec<u8>) -> Result<(), Passing> {
        loop {
            let input = self.upstream.input();
            let (data, consumed, done) = match &mut self.body {
                Body::Done => return Ok(()),
                Body::Length(left) => {
                    let take = input
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                    (0..take, take, *left == 0)
                }
                Body::UntilClose => (0..input.len(), input.len(), false),
                Body::Chunked(_) if input.is_empty() => return Ok(()),
                Body::Chunked(decoder) => {
                    let step = decoder.decode(input).map_err(|_| Passing::Malformed)?;
                    (step.data, step.consumed, step.done)
                }
            };
            let idle = consumed == 0;
            out.reserve(data.len() + OUT_BYTES_MORE);
            let passed = if data.is_empty() {
                Ok(())
            } else {
                answering.data(&input[data], out)
            };
            self.upstream.consume(consumed);
            if done {
                self.body = Body::Done;
            }
            passed.map_err(Passing::Aborted)?;
            if done || idle {
                return Ok(());
            }
        }
    }

    /// Waits for more of the answer.
    async fn wait(&mut self, answering: &mut Answering, out: &mut Vec<u8>) -> Result<(), Waiting> {
        let limits = &self.connection.worker.core.node.limits;
        // Between two tokens a stream has no buffer: most of its time it waits.
        if out.is_empty() {
            *out = Vec::new();
        }
        self.upstream.rest();
        self.connection.io.rest();
        let idle = limits.upstream_idle.0;
        let hold = answering
            .hold_left(limits.hold.0)
            .filter(|left| *left < idle);
        let holding = hold.is_some();
        self.connection.deadline.set(hold.unwrap_or(idle));
        let Connection { io, deadline, .. } = &mut *self.connection;
        match upstream_readable(io, self.upstream, deadline).await {
            Pair::Upstream(Event::Data) => Ok(()),
            Pair::ClientGone => Err(Waiting::ClientGone),
            Pair::Upstream(Event::Gone) if matches!(self.body, Body::UntilClose) => {
                self.body = Body::Done;
                Ok(())
            }
            Pair::Upstream(Event::Gone | Event::Broken) => Err(Waiting::Broke(Answer::new(
                502,
                "upstream_reset",
                "The model's server broke off in the middle of its answer.",
            ))),
            Pair::Upstream(Event::Due) | Pair::Due if self.connection.deadline.is_cut() => {
                Err(Waiting::CutOff)
            }
            Pair::Upstream(Event::Due) | Pair::Due if holding => {
                answering.expire(out).map_err(Waiting::Aborted)
            }
            Pair::Upstream(Event::Due) | Pair::Due => Err(Waiting::Broke(Answer::new(
                504,
                "upstream_timeout",
                "The model's server stopped in the middle of its answer.",
            ))),
        }
    }

    /// Sends what is ready to the client and gives the buffer back.
    async fn flush(&mut self, out: Vec<u8>) -> Result<Vec<u8>, Next> {
        if out.is_empty() {
            return Ok(out);
        }
        self.connection.answer_begun = true;
        self.connection.deadline.set(self.write_max);
        let Connection { io, deadline, .. } = &mut *self.connection;
        // A client that cannot be written to has gone, or does not read.
        write(io, out, deadline).await.map_err(|_| Next::Drop)
    }

    /// The caller was cut off: what was let through already goes out with the error behind it, at
    /// once or not at all, since the engine works until the upstream connection is dropped.
    fn cut_off(&mut self, answering: Answering, mut out: Vec<u8>) -> Sending<'_> {
        self.connection.deadline.take_cut();
        self.write_max = CUT_GRACE;
        let abort = answering.revoked(&mut out);
        self.abort(abort, out)
    }

    /// The client cannot be written to. Where that is because it was cut off and did not read, the
    /// record says so, and what it has does not look whole.
    fn lost(&mut self, answering: Answering, next: Next) -> Next {
        if !self.connection.deadline.take_cut() {
            return next;
        }
        // There is nobody who would read the event.
        let _ = answering.revoked(&mut Vec::new());
        Next::Cut
    }

    /// Ends an answer that cannot be completed. The upstream connection is dropped with it.
    fn abort(&mut self, abort: Abort, out: Vec<u8>) -> Sending<'_> {
        if let Abort::Answer(answer) = abort {
            return self.connection.refuse(answer.closing());
        }
        let ended = matches!(abort, Abort::Ended);
        Box::pin(async move {
            // What had been inspected already may go, once it is in the ring.
            if !settled(self.connection.worker).await {
                return Next::Cut;
            }
            match self.flush(out).await {
                Ok(_) if ended => Next::Close,
                Err(next) if ended => next,
                // Reset, so that what was sent cannot be taken for whole.
                _ => Next::Cut,
            }
        })
    }
}

enum Passing {
    Malformed,
    Aborted(Abort),
}

enum Waiting {
    ClientGone,
    CutOff,
    Broke(Answer),
    Aborted(Abort),
}

// === impl Body ===

impl Body {
    fn new(framing: ResponseFraming) -> Self {
        match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => Self::Done,
            ResponseFraming::Length(length) => Self::Length(length),
            ResponseFraming::Chunked => Self::Chunked(ChunkDecoder::new()),
            ResponseFraming::UntilClose => Self::UntilClose,
        }
    }
}
