//! What the log holds so far: how far each ring is written, and which sessions have no end yet.
//! Pure bookkeeping; the same code runs while writing and while reading the log at a restart.

use std::collections::HashMap;

use crate::frame::{ArchivedFrame, ArchivedFrameBody, SessionId};
use crate::ring::RingId;
use crate::segment::{Kind, OpenSession, Record, State};
use crate::{frame, ring};

/// Rings that are remembered; beyond that the ones that were silent longest are forgotten.
const RINGS_MAX: usize = 1024;
/// Open sessions that are followed; beyond that a session that never ends is not marked as such.
const SESSIONS_MAX: usize = 1 << 18;

#[derive(Debug, Default)]
pub(super) struct Books {
    rings: HashMap<RingId, Entry>,
    sessions: HashMap<(RingId, SessionId), u32>,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: u64,
    touched: u64,
}

// === impl Books ===

impl Books {
    /// A record was appended that brings the ring to this position.
    pub(super) fn moved(&mut self, ring: RingId, position: u64) {
        self.clock += 1;
        let touched = self.clock;
        self.rings.insert(ring, Entry { position, touched });
        if self.rings.len() > 2 * RINGS_MAX {
            self.forget_the_silent();
        }
    }

    /// A frame was appended.
    pub(super) fn frame(&mut self, ring: RingId, position: u64, frame: &ArchivedFrame) {
        self.moved(ring, position);
        let key = (ring, frame.session_id());
        if key.1.is_nil() {
            return;
        }
        if matches!(frame.body, ArchivedFrameBody::Close(_)) {
            self.sessions.remove(&key);
            return;
        }
        let next = frame.index.to_native().wrapping_add(1);
        if let Some(known) = self.sessions.get_mut(&key) {
            *known = next;
        } else if matches!(frame.body, ArchivedFrameBody::Open(_))
            && self.sessions.len() < SESSIONS_MAX
        {
            self.sessions.insert(key, next);
        }
    }

    /// A record was read back from the log.
    pub(super) fn replay(&mut self, record: &Record<'_>, buffer: &mut ring::FrameBuffer) {
        let header = &record.header;
        match header.kind {
            Kind::State => {
                if let Some(state) = State::decode(record.body) {
                    self.restore(&state);
                }
            }
            Kind::Frame => {
                buffer.clear();
                buffer.extend_from_slice(record.body);
                match frame::ArchivedFrame::checked(buffer) {
                    Ok(_) if header.ring == RingId::NIL => {}
                    Ok(found) if header.by_recorder => {
                        self.moved(header.ring, header.ring_position);
                        self.sessions.remove(&(header.ring, found.session_id()));
                    }
                    Ok(found) => self.frame(header.ring, header.ring_position, found),
                    Err(_) => self.moved(header.ring, header.ring_position),
                }
            }
            Kind::Resumed | Kind::End => {}
        }
    }

    /// How far a ring is written.
    pub(super) fn position(&self, ring: RingId) -> Option<u64> {
        self.rings.get(&ring).map(|entry| entry.position)
    }

    /// The rings that have open sessions.
    pub(super) fn rings_with_sessions(&self) -> Vec<RingId> {
        let mut rings: Vec<RingId> = self.sessions.keys().map(|(ring, _)| *ring).collect();
        rings.sort_unstable();
        rings.dedup();
        rings
    }

    /// Takes the open sessions of a ring out of the books: they will be marked as abandoned.
    pub(super) fn abandon(&mut self, ring: RingId) -> Vec<OpenSession> {
        let mut open: Vec<OpenSession> = self
            .sessions
            .extract_if(|(of, _), _| *of == ring)
            .map(|((ring, session), next_index)| OpenSession {
                session,
                ring,
                next_index,
            })
            .collect();
        open.sort_unstable_by_key(|open| open.session);
        open
    }

    /// For the start of a segment.
    pub(super) fn state(&mut self) -> State {
        self.forget_the_silent();
        let mut rings: Vec<_> = self
            .rings
            .iter()
            .map(|(ring, e)| (*ring, e.position))
            .collect();
        rings.sort_unstable();
        let mut sessions: Vec<_> = self
            .sessions
            .iter()
            .map(|((ring, session), next)| OpenSession {
                session: *session,
                ring: *ring,
                next_index: *next,
            })
            .collect();
        sessions.sort_unstable_by_key(|open| (open.ring, open.session));
        State { rings, sessions }
    }

    fn restore(&mut self, state: &State) {
        *self = Self::default();
        for (ring, position) in &state.rings {
            self.moved(*ring, *position);
        }
        for open in state.sessions.iter().take(SESSIONS_MAX) {
            self.sessions
                .insert((open.ring, open.session), open.next_index);
        }
    }

    fn forget_the_silent(&mut self) {
        if self.rings.len() <= RINGS_MAX {
            return;
        }
        let mut touched: Vec<u64> = self.rings.values().map(|entry| entry.touched).collect();
        touched.sort_unstable();
        let oldest_kept = touched[touched.len() - RINGS_MAX];
        self.rings.retain(|_, entry| entry.touched >= oldest_kept);
        let rings = &self.rings;
        self.sessions
            .retain(|(ring, _), _| rings.contains_key(ring));
    }
}
