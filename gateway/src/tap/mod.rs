//! What the gateway tells the recorder, and what happens when it cannot.
//!
//! One tap per core writes frames to that core's ring. A full ring makes frames wait in a bounded
//! backlog, in order; the connection that caused them waits too ([`Tap::place`]). Past the
//! backlog, or past the wait, frames are lost: they are counted, and the count goes into the log
//! as a gap as soon as there is room, so that nothing is lost silently.

mod record;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::{Frame, FrameBody, Gap, SessionId};
use penstock_recorder::ring::{Producer, PushError};

pub(crate) use record::{End, Moment, clip};
pub use record::{Open, Record};

use crate::config::OnLoss;
use crate::telemetry::CoreCounters;

/// Memory of the frames that may wait for room in the ring, per core. An exchange waits with the
/// frames of its present step, some six: thousands of exchanges have room here, each with a
/// prompt of a few KiB.
const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One core's way to the recorder.
pub struct Tap {
    inner: RefCell<Inner>,
    recorder_alive: Arc<AtomicBool>,
    on_recorder_loss: OnLoss,
    counters: Arc<CoreCounters>,
    enabled: bool,
}

struct Inner {
    producer: Option<Producer>,
    /// What a rehearsal asks for afterwards; none on a core that serves.
    kept: Option<Kept>,
    backlog: Backlog,
    lost: Option<Lost>,
}

/// Frames that wait, in order.
#[derive(Default)]
struct Backlog {
    frames: VecDeque<(Frame, Instant)>,
    /// Their memory.
    bytes: usize,
    /// How many ever waited.
    queued: u64,
}

/// All that a tap was given up to some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// What would have gone to a recorder, and what guards found, in full.
pub(crate) type Kept = (Vec<Frame>, Vec<(Direction, Finding)>);

/// What has been lost since the last gap was written.
struct Lost {
    sessions: u64,
    frames: u64,
    last_session: SessionId,
    from_unix_ns: u64,
    to_unix_ns: u64,
}

// === impl Tap ===

impl Tap {
    /// A tap into `producer`'s ring; `recorder_alive` is kept true by the control thread while a
    /// recorder is connected.
    pub fn new(
        producer: Producer,
        recorder_alive: Arc<AtomicBool>,
        on_recorder_loss: OnLoss,
        counters: Arc<CoreCounters>,
    ) -> Self {
        let inner = Inner {
            producer: Some(producer),
            kept: None,
            backlog: Backlog::default(),
            lost: None,
        };
        Self {
            inner: RefCell::new(inner),
            recorder_alive,
            on_recorder_loss,
            counters,
            enabled: true,
        }
    }

    /// A tap that records nothing, for a gateway whose recorder is switched off.
    pub fn disabled(counters: Arc<CoreCounters>) -> Self {
        let inner = Inner {
            producer: None,
            kept: None,
            backlog: Backlog::default(),
            lost: None,
        };
        Self {
            inner: RefCell::new(inner),
            recorder_alive: Arc::default(),
            on_recorder_loss: OnLoss::Serve,
            counters,
            enabled: false,
        }
    }

    /// A tap that keeps what it is given, for a rehearsal.
    pub(crate) fn keeping(counters: Arc<CoreCounters>) -> Self {
        let mut tap = Self::disabled(counters);
        tap.inner.get_mut().kept = Some(Kept::default());
        tap.enabled = true;
        tap
    }

    /// What was kept since the last call.
    pub(crate) fn take_kept(&self) -> Kept {
        let mut inner = self.inner.borrow_mut();
        inner.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Findings, which say more than their frames.
    fn keep_findings(&self, way: Direction, findings: &[Finding]) {
        if let Some((_, kept)) = &mut self.inner.borrow_mut().kept {
            kept.extend(findings.iter().map(|finding| (way, finding.clone())));
        }
    }

    /// False when recording is switched off, so that no frame need be built.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// May a new exchange begin? With `on_recorder_loss = "refuse"` only while a recorder is
    /// connected.
    pub fn admits(&self) -> bool {
        if !self.enabled || self.recorder_alive.load(Ordering::Relaxed) || self.keeps() {
            return true;
        }
        if self.on_recorder_loss == OnLoss::Serve {
            self.counters.unrecorded.bump();
            return true;
        }
        false
    }

    fn keeps(&self) -> bool {
        self.inner.borrow().kept.is_some()
    }

    /// Hands one frame over, or queues it, or counts it as lost; false when it was lost.
    pub fn record(&self, frame: Frame) -> bool {
        let mut inner = self.inner.borrow_mut();
        if inner.producer.is_none() {
            if let Some((frames, _)) = &mut inner.kept {
                frames.push(frame);
            }
            return true;
        }
        inner.flush(&self.counters);
        if inner.backlog.is_empty() && inner.lost.is_none() {
            match inner.push(&frame) {
                Ok(()) => {
                    self.counters.frames.bump();
                    return true;
                }
                Err(PushError::TooLarge) => {
                    inner.lose(&frame, &self.counters);
                    return false;
                }
                Err(PushError::Full) => {}
            }
        }
        if inner.lost.is_some() || inner.backlog.bytes >= BACKLOG_BYTES_MAX {
            // Once something was lost, what follows of it is of no use before the gap is written.
            inner.lose(&frame, &self.counters);
            return false;
        }
        inner.backlog.push_back(frame);
        true
    }

    /// Whether calls go on when their frames are lost.
    pub fn tolerates_loss(&self) -> bool {
        self.on_recorder_loss == OnLoss::Serve
    }

    /// True when every frame so far is in the ring (or counted as lost).
    pub fn settled(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.flush(&self.counters);
        inner.backlog.is_empty()
    }

    /// Everything so far: whoever wrote it waits until it [has been taken](Tap::has_taken).
    pub fn place(&self) -> Place {
        Place(self.inner.borrow().backlog.queued)
    }

    /// True when all frames up to there are in the ring (or counted as lost).
    pub fn has_taken(&self, place: Place) -> bool {
        let mut inner = self.inner.borrow_mut();
        if inner.backlog.first() < place {
            inner.flush(&self.counters);
        }
        inner.backlog.first() >= place
    }

    /// How long the frame has waited that has done so longest, where calls wait for it and not in
    /// vain: those that need no record, or get none, are not late by it.
    pub fn behind(&self) -> Duration {
        if self.tolerates_loss() || !self.recorder_alive.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let inner = self.inner.borrow();
        let first = inner.backlog.frames.front();
        first.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Frames that wait for room in the ring.
    pub fn backlog_count(&self) -> usize {
        self.inner.borrow().backlog.frames.len()
    }

    /// The wait for room is over. With `on_recorder_loss = "serve"` what waits is given up and
    /// counted, and true says that the exchange may go on; with `"refuse"` it must end.
    pub fn give_up(&self) -> bool {
        if self.on_recorder_loss == OnLoss::Refuse {
            return false;
        }
        let mut inner = self.inner.borrow_mut();
        while let Some((frame, _)) = inner.backlog.pop_front() {
            inner.lose(&frame, &self.counters);
        }
        true
    }
}

// === impl Backlog ===

impl Backlog {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What waits first is behind all of this.
    fn first(&self) -> Place {
        Place(self.queued - self.frames.len() as u64)
    }

    fn push_back(&mut self, frame: Frame) {
        self.bytes += weight(&frame);
        self.queued += 1;
        self.frames.push_back((frame, Instant::now()));
    }

    fn pop_front(&mut self) -> Option<(Frame, Instant)> {
        let first = self.frames.pop_front()?;
        self.bytes -= weight(&first.0);
        Some(first)
    }

    /// Puts back what was taken out.
    fn push_front(&mut self, frame: Frame, since: Instant) {
        self.bytes += weight(&frame);
        self.frames.push_front((frame, since));
    }
}

/// The memory of a frame, without what is small in it.
fn weight(frame: &Frame) -> usize {
    size_of::<Frame>()
        + match &frame.body {
            FrameBody::RequestBody(piece) => piece.bytes.len(),
            FrameBody::ResponseChunk(piece) => piece.bytes.len(),
            _ => 0,
        }
}

// === impl Inner ===

impl Inner {
    fn push(&mut self, frame: &Frame) -> Result<(), PushError> {
        match &mut self.producer {
            Some(producer) => producer.push(frame),
            None => Ok(()),
        }
    }

    /// Moves what waits into the ring as far as there is room. The gap comes last: while something
    /// counts as lost nothing more is queued, so all that waits is older.
    fn flush(&mut self, counters: &CoreCounters) {
        while let Some((frame, since)) = self.backlog.pop_front() {
            match self.push(&frame) {
                Ok(()) => counters.frames.bump(),
                Err(PushError::Full) => return self.backlog.push_front(frame, since),
                Err(PushError::TooLarge) => self.lose(&frame, counters),
            }
        }
        if let Some(lost) = &self.lost {
            let frame = lost.to_frame();
            if self.push(&frame).is_ok() {
                self.lost = None;
            }
        }
    }

    fn lose(&mut self, frame: &Frame, counters: &CoreCounters) {
        counters.frames_lost.bump();
        match &mut self.lost {
            Some(lost) => {
                lost.frames += 1;
                lost.sessions += u64::from(lost.last_session != frame.session);
                lost.last_session = frame.session;
                lost.to_unix_ns = frame.at_unix_ns;
            }
            None => {
                self.lost = Some(Lost {
                    sessions: 1,
                    frames: 1,
                    last_session: frame.session,
                    from_unix_ns: frame.at_unix_ns,
                    to_unix_ns: frame.at_unix_ns,
                });
            }
        }
    }
}

// === impl Lost ===

impl Lost {
    fn to_frame(&self) -> Frame {
        Frame {
            session: SessionId([0; 16]),
            index: 0,
            at_unix_ns: self.to_unix_ns,
            body: FrameBody::Gap(Gap {
                sessions: self.sessions,
                frames: self.frames,
                from_unix_ns: self.from_unix_ns,
                to_unix_ns: self.to_unix_ns,
                reason: "the gateway's ring was full".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use penstock_recorder::frame::RequestBody;
    use penstock_recorder::ring::{Consumer, FrameBuffer, attach, create};

    use super::*;
    use crate::telemetry::Counters;

    const RING_BYTES: usize = 512 * 1024;
    const PIECE_BYTES: usize = 16 * 1024;

    /// A piece of a prompt.
    pub(crate) fn piece(bytes: usize) -> Frame {
        Frame {
            session: SessionId::v7(0, [0; 10]),
            index: 0,
            at_unix_ns: 0,
            body: FrameBody::RequestBody(RequestBody {
                bytes: vec![b'x'; bytes],
                ..RequestBody::default()
            }),
        }
    }

    /// A tap, and the recorder's end of its ring.
    pub(crate) fn tap(on_loss: OnLoss) -> (Tap, Consumer) {
        let (producer, fds) = create(RING_BYTES).expect("a ring");
        let (memfd, bell) = fds.into_parts();
        let consumer = attach(memfd, bell).expect("the other end");
        let alive = Arc::new(AtomicBool::new(true));
        let tap = Tap::new(producer, alive, on_loss, Counters::new(1).core(0));
        (tap, consumer)
    }

    /// Fills the ring, and a little more.
    pub(crate) fn fill(tap: &Tap) {
        while tap.backlog_count() == 0 {
            assert!(tap.record(piece(PIECE_BYTES)));
        }
    }

    /// Takes all that is in the ring; how many frames that was.
    pub(crate) fn drain(consumer: &mut Consumer) -> u64 {
        let mut buffer = FrameBuffer::default();
        let mut count = 0;
        while let Some(received) = consumer.receive(&mut buffer).expect("sound") {
            consumer.release(received.end);
            count += 1;
        }
        count
    }

    #[test]
    fn who_comes_first_has_room_first_and_nothing_is_lost() {
        let (tap, mut consumer) = tap(OnLoss::Refuse);
        assert!(tap.has_taken(tap.place()));
        fill(&tap);
        let first = tap.place();
        // More of them than fit a ring, and by far more than a thousand.
        let mut written = tap.counters.frames.read() + 1;
        for _ in 0..4000 {
            assert!(tap.record(piece(1024)));
            written += 1;
        }
        let last = tap.place();
        assert!(first < last);
        assert!(!tap.has_taken(first) && !tap.has_taken(last));
        assert!(tap.behind() > Duration::ZERO);
        let mut read = drain(&mut consumer);
        assert!(tap.has_taken(first) && !tap.has_taken(last));
        while !tap.has_taken(last) {
            read += drain(&mut consumer);
        }
        read += drain(&mut consumer);
        assert_eq!((read, tap.backlog_count()), (written, 0));
        assert_eq!(tap.inner.borrow().backlog.bytes, 0);
        assert_eq!(tap.counters.frames_lost.read(), 0);
        assert_eq!(tap.behind(), Duration::ZERO);
    }

    #[test]
    fn past_the_bound_frames_are_lost_and_told_as_a_gap() {
        let (tap, mut consumer) = tap(OnLoss::Refuse);
        fill(&tap);
        let mut kept = 0;
        while tap.record(piece(PIECE_BYTES)) {
            kept += 1;
        }
        assert!(kept * PIECE_BYTES < BACKLOG_BYTES_MAX);
        assert!(kept * (PIECE_BYTES + 1024) > BACKLOG_BYTES_MAX);
        assert!(!tap.record(piece(1)), "what follows is of no use, either");
        assert_eq!(tap.counters.frames_lost.read(), 2);
        let written = tap.counters.frames.read() + tap.backlog_count() as u64;
        let mut read = 0;
        while !tap.settled() {
            read += drain(&mut consumer);
        }
        read += drain(&mut consumer);
        assert!(tap.record(piece(1)));
        read += drain(&mut consumer);
        assert_eq!(read, written + 2, "the gap, and what came after it");
    }

    #[test]
    fn a_recorder_is_late_only_where_calls_wait_for_it() {
        let (serving, _consumer) = tap(OnLoss::Serve);
        fill(&serving);
        assert_eq!(
            serving.behind(),
            Duration::ZERO,
            "they are served unrecorded"
        );
        let (refusing, _consumer) = tap(OnLoss::Refuse);
        fill(&refusing);
        assert!(refusing.behind() > Duration::ZERO);
        refusing.recorder_alive.store(false, Ordering::Relaxed);
        assert_eq!(
            refusing.behind(),
            Duration::ZERO,
            "they are refused as it is"
        );
    }
}
