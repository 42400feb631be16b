//! The gateways whose rings are being drained, from their welcome to their last frame.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::books::Books;
use super::doorman::{Door, LinkId};
use super::writer::{Ledger, now_unix_ns};
use crate::frame::{ArchivedFrame, Gap, SessionId};
use crate::link::{Guest, Refusal};
use crate::ring::{Consumer, Corrupt, FrameBuffer, RingId};
use crate::segment::{Kind, NewRecord};

/// Bytes taken from one ring before the next one has its turn.
const TURN_BYTES: u64 = 256 << 10;
/// A gateway that may still be alive has this long to come back before the sessions it left open
/// are marked as abandoned.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether such a gateway has ended.
const ORPHANS_SEEN_EVERY: Duration = Duration::from_millis(200);
/// Longest reason in a gap.
const REASON_CHARS_MAX: usize = 200;

#[derive(Default)]
pub(super) struct Guests {
    rings: Vec<Ring>,
    links: HashMap<LinkId, Link>,
    orphans: HashMap<RingId, Orphan>,
    orphans_seen: Option<Instant>,
    buffer: FrameBuffer,
}

struct Ring {
    consumer: Consumer,
    link: LinkId,
    /// Nothing more will be taken from it.
    finished: bool,
    unfit: Unfit,
}

struct Link {
    name: String,
    pid: i32,
    stream: UnixStream,
    gone: bool,
}

/// Frames that were no frames, since the last gap was written for them.
#[derive(Default)]
struct Unfit {
    count: u64,
    /// Ring position just past the last of them.
    end: u64,
    from_unix_ns: u64,
    reason: String,
}

/// A ring with open sessions that nobody brings at the moment.
struct Orphan {
    until: Instant,
    pid: i32,
}

// === impl Guests ===

impl Guests {
    /// After a restart nobody is here yet, but sessions may be open.
    pub(super) fn after_restart(books: &Books) -> Self {
        let until = Instant::now() + COMES_BACK_WITHIN;
        let rings = books.rings_with_sessions().into_iter();
        let orphans = rings.map(|ring| (ring, Orphan { until, pid: 0 })).collect();
        Self {
            orphans,
            ..Self::default()
        }
    }

    /// Takes a gateway's rings over, each where the log says that it ends.
    pub(super) fn take_in(
        &mut self,
        link: LinkId,
        guest: Guest,
        ledger: &mut Ledger,
        door: &Door,
    ) -> Result<(), Refusal> {
        let Guest {
            hello,
            uid,
            pid,
            rings,
            stream,
        } = guest;
        let mut resumed = Vec::with_capacity(rings.len());
        let mut refusal = None;
        for mut consumer in rings {
            if refusal.is_none() {
                refusal = self.resume(&mut consumer, ledger).err();
            }
            resumed.push(consumer);
        }
        if let Some(refusal) = refusal {
            resumed
                .iter()
                .for_each(|consumer| door.forget_bell(consumer.bell()));
            return Err(refusal);
        }
        let rings = resumed.len();
        let name = hello.gateway.escape_debug().to_string();
        tracing::info!(gateway = name, pid, uid, rings, "taken over");
        for consumer in resumed {
            self.orphans.remove(&consumer.id());
            let unfit = Unfit::default();
            self.rings.push(Ring {
                consumer,
                link,
                finished: false,
                unfit,
            });
        }
        self.links.insert(
            link,
            Link {
                name,
                pid,
                stream,
                gone: false,
            },
        );
        Ok(())
    }

    fn resume(&self, consumer: &mut Consumer, ledger: &mut Ledger) -> Result<(), Refusal> {
        let (id, head) = (consumer.id(), consumer.released());
        if self.rings.iter().any(|ring| ring.consumer.id() == id) {
            let why = format!("ring {id} is still being drained; try again");
            return Err(Refusal::Resume(why));
        }
        let known = ledger.books.position(id);
        let lost = match known {
            Some(position) => match consumer.resume_at(position) {
                Ok(()) => return Ok(()),
                // Behind the head: the log was rolled back under us. What lies between is gone.
                Err(Corrupt::Resume { .. }) if position < head => head - position,
                Err(error) => return Err(Refusal::Resume(format!("ring {id}: {error}"))),
            },
            None if head == 0 => return Ok(()),
            None => head,
        };
        let reason = format!("{lost} bytes of ring {id} were let go of, but are not in this log");
        tracing::error!(reason, "frames are missing");
        let now = now_unix_ns();
        let gap = Gap {
            from_unix_ns: 0,
            to_unix_ns: now,
            reason,
            ..Gap::default()
        };
        ledger.gap(id, head, (SessionId::NIL, 0), gap);
        Ok(())
    }

    /// The connection closed. What is still in the rings is drained before they are let go of.
    pub(super) fn gone(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link)
            && !link.gone
        {
            link.gone = true;
            tracing::info!(
                gateway = link.name,
                pid = link.pid,
                "gone; draining what it left"
            );
        }
    }

    /// Moves frames into the log, from each ring a turn's worth. `false`: nothing was there.
    pub(super) fn drain(&mut self, ledger: &mut Ledger) -> bool {
        let mut moved = false;
        for ring in &mut self.rings {
            let start = ring.consumer.position();
            while !ring.finished
                && ring.consumer.position() - start < TURN_BYTES
                && !ledger.store.is_spent()
            {
                match ring.consumer.receive(&mut self.buffer) {
                    Ok(Some(received)) => {
                        ring.write(received.end, &self.buffer, ledger);
                        moved = true;
                    }
                    Ok(None) => break,
                    Err(corrupt) => {
                        let link = self.links.get_mut(&ring.link);
                        ring.condemn(corrupt, link, ledger);
                    }
                }
            }
        }
        moved
    }

    /// Whether a ring is filled to this part with what is not yet let go of.
    pub(super) fn pressed(&self, part: u64) -> bool {
        self.rings.iter().any(|ring| {
            let consumer = &ring.consumer;
            consumer.position() - consumer.released() >= consumer.capacity() / part
        })
    }

    /// Writes the gaps for frames that were none.
    pub(super) fn confess(&mut self, ledger: &mut Ledger) {
        self.rings.iter_mut().for_each(|ring| ring.confess(ledger));
    }

    /// How far each ring is written, for [`release`](Self::release) once that is synced.
    pub(super) fn positions(&self) -> Vec<(RingId, u64)> {
        self.rings
            .iter()
            .map(|ring| (ring.consumer.id(), ring.consumer.position()))
            .collect()
    }

    /// Lets go of what is durable.
    pub(super) fn release(&mut self, positions: &[(RingId, u64)]) {
        for (id, position) in positions {
            if let Some(ring) = self.rings.iter_mut().find(|ring| ring.consumer.id() == *id)
                && *position > ring.consumer.released()
            {
                ring.consumer.release(*position);
            }
        }
    }

    /// Parts from gateways that are gone and drained, and marks the sessions that nobody will end.
    pub(super) fn part(&mut self, ledger: &mut Ledger, door: &Door) {
        if self.links.values().any(|link| link.gone) {
            self.part_from_the_gone(ledger, door);
        }
        if self.orphans.is_empty() {
            return;
        }
        let now = Instant::now();
        if self
            .orphans_seen
            .is_none_or(|seen| now - seen >= ORPHANS_SEEN_EVERY)
        {
            self.orphans_seen = Some(now);
            let lost = self.orphans.extract_if(|_, orphan| orphan.is_lost(now));
            lost.for_each(|(ring, _)| abandon(ring, ledger));
        }
    }

    fn part_from_the_gone(&mut self, ledger: &mut Ledger, door: &Door) {
        let links = &self.links;
        let gone = |ring: &mut Ring| -> bool {
            let drained = ring.finished || ring.consumer.is_empty();
            let told = ring.consumer.released() == ring.consumer.position();
            links.get(&ring.link).is_none_or(|link| link.gone) && drained && told
        };
        let parted: Vec<Ring> = self.rings.extract_if(.., gone).collect();
        for mut ring in parted {
            ring.confess(ledger);
            door.forget_bell(ring.consumer.bell());
            if let Some(link) = self.links.get(&ring.link) {
                self.orphans.insert(ring.consumer.id(), link.orphan());
                self.orphans_seen = None;
            }
        }
        let rings = &self.rings;
        self.links
            .retain(|id, link| !link.gone || rings.iter().any(|ring| ring.link == *id));
    }

    /// Says on every ring that we are about to sleep; `false` when a frame has come meanwhile.
    pub(super) fn sleep(&mut self) -> bool {
        let asleep = self
            .rings
            .iter_mut()
            .all(|ring| ring.finished || ring.consumer.sleep());
        if !asleep {
            self.wake();
        }
        asleep
    }

    pub(super) fn wake(&mut self) {
        self.rings.iter_mut().for_each(|ring| ring.consumer.wake());
    }
}

/// A guest that is not taken in: its bells will not be listened to.
pub(super) fn send_off(guest: &Guest, door: &Door) {
    guest
        .rings
        .iter()
        .for_each(|ring| door.forget_bell(ring.bell()));
}

/// Marks the sessions of a ring that will get no end any more.
fn abandon(ring: RingId, ledger: &mut Ledger) {
    let open = ledger.books.abandon(ring);
    let Some(position) = ledger.books.position(ring) else {
        return;
    };
    if !open.is_empty() {
        tracing::warn!(%ring, sessions = open.len(), "sessions were abandoned by their gateway");
    }
    let now = now_unix_ns();
    for session in open {
        let reason = "abandoned: the gateway ended before the session did".to_owned();
        let gap = Gap {
            sessions: 1,
            frames: 0,
            from_unix_ns: now,
            to_unix_ns: now,
            reason,
        };
        ledger.gap(ring, position, (session.session, session.next_index), gap);
    }
}

// === impl Ring ===

impl Ring {
    /// Validates a frame and appends it; bytes that are none are counted instead.
    fn write(&mut self, end: u64, bytes: &FrameBuffer, ledger: &mut Ledger) {
        let id = self.consumer.id();
        match ArchivedFrame::checked(bytes) {
            Ok(frame) => {
                self.confess(ledger);
                ledger.store.append(&NewRecord {
                    kind: Kind::Frame,
                    by_recorder: false,
                    ring: id,
                    ring_position: end,
                    written_unix_ns: now_unix_ns(),
                    body: bytes,
                });
                ledger.books.frame(id, end, frame);
            }
            Err(error) => {
                if self.unfit.count == 0 {
                    tracing::warn!(ring = %id, %error, "a gateway pushed what is no frame");
                    self.unfit.from_unix_ns = now_unix_ns();
                    self.unfit.reason = error.to_string();
                }
                self.unfit.count += 1;
                self.unfit.end = end;
            }
        }
    }

    /// One gap for all frames in a row that were none, in their place.
    fn confess(&mut self, ledger: &mut Ledger) {
        if self.unfit.count == 0 {
            return;
        }
        let unfit = std::mem::take(&mut self.unfit);
        let gap = Gap {
            sessions: 0,
            frames: unfit.count,
            from_unix_ns: unfit.from_unix_ns,
            to_unix_ns: now_unix_ns(),
            reason: unfit.reason.chars().take(REASON_CHARS_MAX).collect(),
        };
        ledger.gap(self.consumer.id(), unfit.end, (SessionId::NIL, 0), gap);
    }

    /// The ring cannot be trusted any more: say so, and hang up.
    fn condemn(&mut self, corrupt: Corrupt, link: Option<&mut Link>, ledger: &mut Ledger) {
        self.confess(ledger);
        let id = self.consumer.id();
        tracing::error!(ring = %id, %corrupt, "a ring is corrupt; hanging up on its gateway");
        let now = now_unix_ns();
        let reason = format!("ring {id} is corrupt: {corrupt}");
        let gap = Gap {
            from_unix_ns: now,
            to_unix_ns: now,
            reason,
            ..Gap::default()
        };
        ledger.gap(id, self.consumer.position(), (SessionId::NIL, 0), gap);
        self.finished = true;
        if let Some(link) = link {
            let _ = link.stream.shutdown(Shutdown::Both);
            link.gone = true;
        }
    }
}

// === impl Link ===

impl Link {
    fn orphan(&self) -> Orphan {
        Orphan {
            until: Instant::now() + COMES_BACK_WITHIN,
            pid: self.pid,
        }
    }
}

// === impl Orphan ===

impl Orphan {
    /// Nobody will come back: the time is up, or the process has ended.
    fn is_lost(&self, now: Instant) -> bool {
        if self.until <= now {
            return true;
        }
        // Zero: it lives in another container, and only time can tell.
        self.pid > 0
            && match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
                // A process that nobody has waited for yet is still listed, as a zombie.
                Ok(stat) => stat
                    .rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            }
    }
}
