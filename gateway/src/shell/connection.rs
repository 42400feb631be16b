//! One client connection: requests one after another, each read, decided, forwarded, answered.
//!
//! All decisions are the exchange's; this file moves bytes and watches the clock. A panic in an
//! exchange ends this connection only: the client gets a 500 where nothing was sent yet, and the
//! core goes on.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use penstock_policies::Dialect;

use super::count;
use super::hold;
use super::io::Io;
use super::live::Entry;
use super::relay;
use super::timers::Deadline;
use super::tls::Tls;
use super::wait::{Event, readable, readable_behind, write};
use super::worker::Worker;
use crate::exchange::{
    Admitted, Answer, Forwarded, Inspected, Peer, Refused, UpstreamRequest, admit, shed,
};
use crate::http1::{
    ChunkDecoder, Framing, HeadLimits, HeadScanner, Method, Persistence, Progress, RequestHead,
    Version, parse_request_into, write_continue,
};

/// A refused request's body up to this size is read and dropped, so that the connection can go on.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;
/// What a connection that found no room reads and drops, so that its answer is not lost to a reset.
/// Others that close do so up to the size of a body: SDKs write all of it before they read.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How long a closing connection waits for more to drop, or for its client to close.
const LINGER: Duration = Duration::from_secs(2);
/// How long it does so at most, while more keeps coming.
const LINGER_MAX: Duration = Duration::from_secs(10);
/// How long a request waits for fresh keys before it is decided with those at hand.
const KEYS_WAIT: Duration = Duration::from_secs(3);
/// How often a slow body's rate is looked at, once its grace is over.
const RATE_LOOK: Duration = Duration::from_secs(1);

/// The most that an exchange may take while its answer streams, beside what it holds on the heap. An
/// `await` of something large at a place that few reach makes every stream as large: box it.
const EXCHANGE_BYTES_MAX: usize = 4096;

/// A connection and what its requests share.
pub(super) struct Connection<'a> {
    pub(super) worker: &'a Worker,
    pub(super) io: Io,
    pub(super) deadline: Deadline,
    pub(super) head: RequestHead,
    peer: Peer,
    secure: bool,
    scanner: HeadScanner,
    /// Something of the present answer may have been sent.
    pub(super) answer_begun: bool,
}

/// What follows an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next request.
    Again,
    /// A clean end, after what the client still sends has been read.
    Close,
    /// Nothing more can be said on this connection.
    Drop,
    /// A reset: what was sent must not look whole.
    Cut,
}

/// Why a body was not read.
enum BodyFault {
    TooLarge,
    TooSlow,
    Malformed(Answer),
    CutOff,
    Gone,
}

/// An answer of our own on its way. Boxed: there are many places that may send one, and whatever
/// waits at any of them would be larger by it.
pub(super) type Sending<'a> = Pin<Box<dyn Future<Output = Next> + 'a>>;

/// Serves a connection to its end.
pub(super) async fn serve(worker: &Rc<Worker>, io: Io, peer: Peer) {
    let deadline = worker.timers.slot();
    let Some((io, secure)) = secured(worker, io, peer, &deadline).await else {
        return;
    };
    let mut connection = Connection {
        worker,
        io,
        deadline,
        head: worker.heads.take(),
        peer,
        secure,
        scanner: HeadScanner::default(),
        answer_begun: false,
    };
    while connection.begun().await {
        connection.answer_begun = false;
        // Boxed for as long as it lasts: most connections rest most of the time, and those are small.
        let exchange = connection.exchange();
        debug_assert!(size_of_val(&exchange) <= EXCHANGE_BYTES_MAX);
        let exchange = AssertUnwindSafe(Box::pin(exchange));
        let next = match exchange.catch_unwind().await {
            Ok(next) => next,
            Err(_) => connection.after_panic().await,
        };
        match next {
            Next::Again => {}
            Next::Close => return connection.linger().await,
            Next::Drop => return,
            Next::Cut => return connection.io.reset_on_close(),
        }
    }
}

/// Answers a connection for which there is no room.
pub(super) async fn refuse_full(worker: &Rc<Worker>, io: Io, peer: Peer) {
    let deadline = worker.timers.slot();
    deadline.set(LINGER);
    // A TLS client understands nothing but TLS: it sees the connection close.
    if worker.tls.is_some() && matches!(peer, Peer::Tcp(_)) {
        return;
    }
    let mut answer = Answer::new(
        503,
        "too_many_connections",
        "This gateway serves as many connections as it may. Try again in a moment.",
    );
    answer.seal(Dialect::OpenAi, "");
    let mut out = Vec::new();
    answer.write(&mut out, false, Persistence::Close);
    let mut io = io;
    if write(&mut io, out, &deadline).await.is_ok() && io.finish().await.is_ok() {
        drain(&mut io, &deadline, LINGER_BYTES_MAX).await;
    }
}

/// Puts TLS on a TCP connection where configured, and runs its handshake.
async fn secured(worker: &Worker, io: Io, peer: Peer, deadline: &Deadline) -> Option<(Io, bool)> {
    let (Some(tls), Peer::Tcp(_)) = (&worker.tls, peer) else {
        return Some((io, false));
    };
    let session = Tls::new(tls.load_full()?).ok()?;
    let mut io = io.with_tls(session);
    deadline.set(worker.core.node.limits.head_read.0);
    match super::wait::bounded(io.handshake(), deadline).await {
        Ok(()) => Some((io, true)),
        Err(error) => {
            tracing::debug!(%peer, "TLS handshake failed: {error}");
            None
        }
    }
}

/// Reads and drops until the other side ends, within bounds.
async fn drain(io: &mut Io, deadline: &Deadline, bytes_max: usize) {
    let since = Instant::now();
    let mut dropped = 0;
    while dropped < bytes_max && since.elapsed() < LINGER_MAX {
        let length = io.input().len();
        dropped += length;
        io.consume(length);
        deadline.set(LINGER);
        if !matches!(readable(io, deadline).await, Event::Data) {
            return;
        }
    }
}

// === impl Connection ===

impl<'w> Connection<'w> {
    /// One request and its answer.
    async fn exchange(&mut self) -> Next {
        // Boxed: what deciding takes is gone while the answer streams, which may be for minutes.
        match Box::pin(self.decide()).await {
            Ok((_live, forwarded, request)) => relay::run(self, forwarded, request).await,
            Err(next) => next,
        }
    }

    /// One request up to where it goes to the model, or its whole exchange where it does not.
    async fn decide(&mut self) -> Result<(Entry<'w>, Forwarded, UpstreamRequest), Next> {
        match self.read_head().await {
            Ok(true) => {}
            Ok(false) => return Err(Next::Drop),
            Err(answer) => return Err(self.refuse_head(answer).await),
        }
        if self.worker.shedding.refuses() {
            let answer = shed(&self.worker.core, &self.head);
            return Err(self.refuse_unread(answer).await);
        }
        let admitted = match self.admit().await {
            Ok(admitted) => admitted,
            Err(answer) => return Err(self.refuse_unread(answer).await),
        };
        let worker = self.worker;
        let live = worker.live.enter(&self.deadline, admitted.principal());
        if self.head.expect_continue && admitted.takes_body() && !self.send_continue().await {
            return Err(Next::Drop);
        }
        let body = match self.read_body(admitted.body_max).await {
            Ok(body) => body,
            Err(fault) => return Err(self.refuse_body(admitted, fault).await),
        };
        let mut begun = match admitted.begin(&self.head, body) {
            Ok(begun) => begun,
            Err(answer) => return Err(self.refuse(answer).await),
        };
        if begun.must_count() {
            // Boxed: few are counted.
            begun = Box::pin(count::run(self, begun)).await?;
        }
        match worker.in_one_piece(|| begun.inspect(&self.head)) {
            Ok(Inspected::Forwarded(forwarded, request)) => Ok((live, forwarded, request)),
            // Boxed: few are held.
            Ok(Inspected::Held(held)) => Err(Box::pin(hold::run(self, *held)).await),
            Err(answer) => Err(self.refuse(answer).await),
        }
    }

    /// Rests until a request begins; false when the connection ends before one does. What a resting
    /// connection needs not, the core's others have.
    async fn begun(&mut self) -> bool {
        if !self.io.input().is_empty() {
            return true;
        }
        if self.worker.stopping.get() {
            return false;
        }
        self.io.rest();
        self.worker.heads.put(std::mem::take(&mut self.head));
        self.deadline
            .set_resting(self.worker.core.node.limits.idle.0);
        let begun = matches!(readable(&mut self.io, &self.deadline).await, Event::Data);
        self.head = self.worker.heads.take();
        begun
    }

    /// True once a head is read; false when the connection ends before it does.
    async fn read_head(&mut self) -> Result<bool, Answer> {
        let limits = &self.worker.core.node.limits;
        let bounds = HeadLimits {
            request_line: limits.request_line.0,
            head: limits.head.0,
            fields: limits.fields,
        };
        self.deadline.set(limits.head_read.0);
        loop {
            let input = self.io.input();
            match parse_request_into(&mut self.scanner, input, &bounds, &mut self.head) {
                Ok(Progress::Complete { consumed, .. }) => {
                    self.io.consume(consumed);
                    return Ok(true);
                }
                Ok(Progress::Incomplete) => {}
                Err(refusal) => return Err(Answer::from(&refusal)),
            }
            match readable(&mut self.io, &self.deadline).await {
                Event::Data => {}
                Event::Gone | Event::Broken => return Ok(false),
                Event::Due => {
                    let message = "The request's head did not arrive in time.";
                    return Err(Answer::new(408, "request_timeout", message));
                }
            }
        }
    }

    /// Admits the request, waiting once for fresh keys where they may change the answer.
    async fn admit(&mut self) -> Result<Admitted, Answer> {
        let core = &self.worker.core;
        let refused = match admit(core, &self.head, self.peer, self.secure, false) {
            Ok(admitted) => return Ok(admitted),
            Err(refused) => refused,
        };
        let Refused {
            answer,
            refresh: Some(refresh),
        } = refused
        else {
            return Err(refused.answer);
        };
        drop(answer);
        self.deadline.set(KEYS_WAIT);
        let wait = async {
            refresh.await;
            Ok(())
        };
        // Whether the keys came or the wait is over: the second decision is final.
        let _ = super::wait::bounded(wait, &self.deadline).await;
        admit(core, &self.head, self.peer, self.secure, true).map_err(|refused| refused.answer)
    }

    async fn send_continue(&mut self) -> bool {
        let mut out = Vec::new();
        write_continue(&mut out);
        self.deadline
            .set(self.worker.core.node.limits.write_stall.0);
        write(&mut self.io, out, &self.deadline).await.is_ok()
    }

    /// Reads the whole body, at most `size_max` bytes of it.
    async fn read_body(&mut self, size_max: usize) -> Result<Vec<u8>, BodyFault> {
        match self.head.framing {
            Framing::None | Framing::Length(0) => Ok(Vec::new()),
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| BodyFault::TooLarge)?;
                self.read_length(length, size_max).await
            }
            Framing::Chunked => self.read_chunked(size_max).await,
        }
    }

    async fn read_length(&mut self, length: usize, size_max: usize) -> Result<Vec<u8>, BodyFault> {
        if length > size_max {
            return Err(BodyFault::TooLarge);
        }
        // Memory is taken as bytes arrive, not as they are announced.
        let mut body = Vec::with_capacity(length.min(self.io.input().len().max(4096)));
        let mut pace = Pace::new(self);
        loop {
            let input = self.io.input();
            let take = input.len().min(length - body.len());
            body.extend_from_slice(&input[..take]);
            self.io.consume(take);
            if body.len() == length {
                return Ok(body);
            }
            let left = length - body.len();
            self.more(&mut pace, &mut body, Some(left)).await?;
        }
    }

    async fn read_chunked(&mut self, size_max: usize) -> Result<Vec<u8>, BodyFault> {
        let mut decoder = ChunkDecoder::new();
        let mut body = Vec::new();
        let mut pace = Pace::new(self);
        loop {
            while !self.io.input().is_empty() {
                let input = self.io.input();
                let step = decoder
                    .decode(input)
                    .map_err(|refusal| BodyFault::Malformed(Answer::from(&refusal)))?;
                if body.len() + step.data.len() > size_max {
                    return Err(BodyFault::TooLarge);
                }
                body.extend_from_slice(&input[step.data]);
                self.io.consume(step.consumed);
                if step.done {
                    return Ok(body);
                }
            }
            self.more(&mut pace, &mut body, None).await?;
        }
    }

    /// Waits for more of a body; fails when it comes slower than it must. Where it is known how much
    /// is left, and that this follows as it is, it may be behind the body afterwards.
    async fn more(
        &mut self,
        pace: &mut Pace,
        body: &mut Vec<u8>,
        left: Option<usize>,
    ) -> Result<(), BodyFault> {
        let received = body.len();
        loop {
            self.deadline.set(pace.next_look());
            let event = match left {
                Some(left) => readable_behind(&mut self.io, body, left, &self.deadline).await,
                None => readable(&mut self.io, &self.deadline).await,
            };
            match event {
                Event::Data => return Ok(()),
                Event::Gone | Event::Broken => return Err(BodyFault::Gone),
                Event::Due if self.deadline.take_cut() => return Err(BodyFault::CutOff),
                Event::Due if pace.keeps_up(received) => {}
                Event::Due => return Err(BodyFault::TooSlow),
            }
        }
    }

    /// A head that is no head: there is no exchange, and no next request can be found.
    async fn refuse_head(&mut self, mut answer: Answer) -> Next {
        self.worker.core.counters.refused.bump();
        answer.seal(Dialect::OpenAi, "");
        self.send(&answer.closing(), Persistence::Close).await
    }

    /// Refused on its head alone: the body, if any, has not been read.
    async fn refuse_unread(&mut self, answer: Answer) -> Next {
        let unread = match self.head.framing {
            Framing::None => Some(0),
            // A client that waits for `100 Continue` will not send the body, or will; only
            // closing is safe.
            Framing::Length(length) if !self.head.expect_continue => Some(length),
            _ => None,
        };
        match unread.filter(|length| *length <= DISCARD_BYTES_MAX) {
            Some(length) if !answer.close && self.head.keep_alive => {
                let next = self.refuse(answer).await;
                if next == Next::Again && !self.discard(length).await {
                    Next::Drop
                } else {
                    next
                }
            }
            _ => self.refuse(answer.closing()).await,
        }
    }

    async fn refuse_body(&mut self, admitted: Admitted, fault: BodyFault) -> Next {
        let answer = match fault {
            BodyFault::TooLarge => admitted.too_large(),
            BodyFault::TooSlow => {
                let message = "The request's body came too slowly.";
                admitted.refuse(Answer::new(408, "request_timeout", message))
            }
            BodyFault::CutOff => admitted.refuse(Answer::revoked()),
            BodyFault::Malformed(answer) => admitted.refuse(answer),
            // Dropping the exchange records that the client went away.
            BodyFault::Gone => return Next::Drop,
        };
        self.refuse(answer).await
    }

    /// Sends an answer of our own.
    pub(super) fn refuse(&mut self, answer: Answer) -> Sending<'_> {
        let persistence = if answer.close {
            Persistence::Close
        } else {
            self.persistence()
        };
        self.send(&answer, persistence)
    }

    fn send(&mut self, answer: &Answer, persistence: Persistence) -> Sending<'_> {
        let mut out = Vec::with_capacity(512 + answer.body.len());
        answer.write(&mut out, self.head.method == Method::Head, persistence);
        self.answer_begun = true;
        self.deadline
            .set(self.worker.core.node.limits.write_stall.0);
        Box::pin(async move {
            match write(&mut self.io, out, &self.deadline).await {
                Ok(_) if persistence == Persistence::Close => Next::Close,
                Ok(_) => Next::Again,
                Err(_) => Next::Drop,
            }
        })
    }

    /// Whether this connection can go on after the present answer.
    pub(super) fn persistence(&self) -> Persistence {
        if !self.head.keep_alive || self.worker.stopping.get() {
            Persistence::Close
        } else if self.head.version == Version::Http10 {
            Persistence::KeepAliveStated
        } else {
            Persistence::KeepAlive
        }
    }

    /// Reads and drops `length` bytes.
    async fn discard(&mut self, mut length: u64) -> bool {
        self.deadline.set(LINGER);
        loop {
            let take = self
                .io
                .input()
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            self.io.consume(take);
            length -= take as u64;
            if length == 0 {
                return true;
            }
            if !matches!(readable(&mut self.io, &self.deadline).await, Event::Data) {
                return false;
            }
        }
    }

    async fn after_panic(&mut self) -> Next {
        self.worker.core.counters.panics.bump();
        if self.answer_begun {
            return Next::Cut;
        }
        let message = "The gateway failed on this request. The operator's log says where.";
        let mut answer = Answer::new(500, "internal_error", message);
        answer.seal(Dialect::OpenAi, "");
        self.send(&answer, Persistence::Close).await
    }

    /// Ends our half, and reads what the client still sends, so that the kernel does not answer it
    /// with a reset that would destroy our last bytes on their way.
    async fn linger(&mut self) {
        self.deadline.set(LINGER);
        if super::wait::bounded(self.io.finish(), &self.deadline)
            .await
            .is_ok()
        {
            let bytes_max = self.worker.core.node.limits.body.0.max(LINGER_BYTES_MAX);
            drain(&mut self.io, &self.deadline, bytes_max).await;
        }
    }
}

/// How fast a body comes.
struct Pace {
    since: Instant,
    grace: Duration,
    bytes_per_second: usize,
    grace_over: bool,
}

// === impl Pace ===

impl Pace {
    fn new(connection: &Connection<'_>) -> Self {
        let limits = &connection.worker.core.node.limits;
        Self {
            since: Instant::now(),
            grace: limits.body_grace.0,
            bytes_per_second: limits.body_rate.0,
            grace_over: false,
        }
    }

    fn next_look(&self) -> Duration {
        if self.grace_over {
            return RATE_LOOK;
        }
        self.grace.saturating_sub(self.since.elapsed())
    }

    fn keeps_up(&mut self, received: usize) -> bool {
        self.grace_over = true;
        let needed = self.since.elapsed().as_secs_f64() * self.bytes_per_second as f64;
        received as f64 >= needed
    }
}
