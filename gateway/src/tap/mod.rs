//! What the gateway tells the recorder, and what happens when it cannot.
//!
//! One tap per core writes frames to that core's ring. A full ring makes frames wait in a bounded
//! backlog, in order; the connection that caused them waits too ([`Tap::settled`]). Past the
//! backlog, or past the wait, frames are lost: they are counted, and the count goes into the log
//! as a gap as soon as there is room, so that nothing is lost silently.

mod record;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::{Frame, FrameBody, Gap, SessionId};
use penstock_recorder::ring::{Producer, PushError};

pub(crate) use record::{End, Moment, clip};
pub use record::{Open, Record};

use crate::config::OnLoss;
use crate::telemetry::CoreCounters;

/// Frames that may wait for room in the ring, per core.
const BACKLOG_FRAMES_MAX: usize = 1024;

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
    backlog: VecDeque<Frame>,
    lost: Option<Lost>,
}

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
            backlog: VecDeque::new(),
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
            backlog: VecDeque::new(),
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
        if inner.lost.is_some() || inner.backlog.len() >= BACKLOG_FRAMES_MAX {
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

    /// Frames that wait for room in the ring.
    pub fn backlog_count(&self) -> usize {
        self.inner.borrow().backlog.len()
    }

    /// The wait for room is over. With `on_recorder_loss = "serve"` what waits is given up and
    /// counted, and true says that the exchange may go on; with `"refuse"` it must end.
    pub fn give_up(&self) -> bool {
        if self.on_recorder_loss == OnLoss::Refuse {
            return false;
        }
        let mut inner = self.inner.borrow_mut();
        while let Some(frame) = inner.backlog.pop_front() {
            inner.lose(&frame, &self.counters);
        }
        true
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
        while let Some(frame) = self.backlog.pop_front() {
            match self.push(&frame) {
                Ok(()) => counters.frames.bump(),
                Err(PushError::Full) => return self.backlog.push_front(frame),
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
