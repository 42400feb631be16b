//! The segment that is being written: a buffer in front, writes in flight, one sync at a time.
//!
//! Whole chunks go out as they fill. A sync first writes what is left, filled up with zeros to a
//! block, and keeps the last partial block in the buffer: the next write repeats it, with the same
//! bytes where it had some. While a sync is under way nothing else is written, so that the two
//! never overlap; the buffer grows meanwhile, up to a bound.
//!
//! Nothing that was written is forgotten before a sync says that it is on the disk. After an error
//! everything since the last good sync is taken back into the buffer, as if it had never been
//! written, and is written again to the same place, with the same bytes: also what the system had
//! taken and may have dropped when the sync failed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use glommio::Task;

use super::Config;
use super::files::{Access, SegmentFile};
use super::notify::Notify;
use super::recover::{Recovered, sync_dir};
use crate::ring::RingId;
use crate::segment::{Encoder, FileHeader, Kind, LogId, NewRecord, State, file_name};

/// Bytes of one write.
const WRITE_BYTES: usize = 512 << 10;
/// Writes under way at once.
const WRITES_MAX: usize = 8;
/// The buffer's bound: beyond it the caller must wait for the sync that is under way.
const PENDING_BYTES_MAX: usize = 16 << 20;

pub(super) struct Store {
    place: Place,
    number: u64,
    file: Rc<SegmentFile>,
    encoder: Encoder,
    /// Bytes of the segment from `pending_at` on, which is a multiple of the block size.
    pending: Vec<u8>,
    pending_at: u64,
    opening_bytes: u64,
    /// Bytes that the last sync made durable, or will.
    sync_begun: u64,
    /// Bytes that the last good sync made durable.
    synced: u64,
    writes: VecDeque<Task<io::Result<()>>>,
    /// What was written since the last good sync, in order; a last partial block is in the next
    /// one again.
    unproven: Vec<Written>,
    syncing: bool,
    /// The last record is in: nothing may follow it in this segment.
    ended: bool,
}

/// Bytes that were handed to the system, and where in the segment they belong.
#[derive(Clone)]
struct Written {
    at: u64,
    bytes: Rc<Vec<u8>>,
}

/// What stays the same from segment to segment.
#[derive(Clone)]
struct Place {
    dir: PathBuf,
    access: Access,
    file_mode: u32,
    segment_bytes: u64,
    log: LogId,
}

/// A sync that is under way.
pub(super) struct Syncing {
    task: Task<io::Result<()>>,
    done: Rc<Cell<bool>>,
    bytes: u64,
}

// === impl Store ===

impl Store {
    /// Begins the next segment of a log, durably.
    pub(super) async fn open(
        config: &Config,
        recovered: &mut Recovered,
        now_unix_ns: u64,
    ) -> io::Result<Self> {
        let dir = config.directory.clone();
        let access = Access::of(&dir)?;
        match access {
            Access::Direct => tracing::info!("segments are written past the page cache (O_DIRECT)"),
            Access::Buffered => tracing::warn!(
                dir = %dir.display(),
                "this file system refuses O_DIRECT; segments are written through the page cache"
            ),
        }
        let place = Place {
            dir,
            access,
            file_mode: config.file_mode,
            segment_bytes: config.segment_bytes,
            log: recovered.log,
        };
        let header = FileHeader {
            number: recovered.number,
            created_unix_ns: now_unix_ns,
            log: recovered.log,
            first_sequence: recovered.first_sequence,
            previous_bytes: recovered.previous_bytes,
            previous_chain: recovered.previous_chain,
        };
        let mut store = Self::begin(place, &header).await?;
        if let Some(resumed) = recovered.resumed {
            store.control(Kind::Resumed, &resumed.encode(), now_unix_ns);
        }
        store.control(Kind::State, &recovered.books.state().encode(), now_unix_ns);
        store.opened().await?;
        Ok(store)
    }

    async fn begin(place: Place, header: &FileHeader) -> io::Result<Self> {
        let path = place.dir.join(file_name(header.number));
        let file = SegmentFile::create(&path, place.access, place.file_mode).await?;
        if let Err(error) = sync_dir(&place.dir) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let mut pending = Vec::with_capacity(2 * WRITE_BYTES);
        let encoder = Encoder::begin(header, &mut pending);
        tracing::info!(file = %path.display(), "segment begun");
        Ok(Self {
            place,
            number: header.number,
            file: Rc::new(file),
            encoder,
            pending,
            pending_at: 0,
            opening_bytes: 0,
            sync_begun: 0,
            synced: 0,
            writes: VecDeque::new(),
            unproven: Vec::new(),
            syncing: false,
            ended: false,
        })
    }

    /// Appends a record to the buffer.
    pub(super) fn append(&mut self, record: &NewRecord<'_>) {
        debug_assert!(!self.ended, "nothing follows the end of a segment");
        self.encoder.append(record, &mut self.pending);
    }

    fn control(&mut self, kind: Kind, body: &[u8], now_unix_ns: u64) {
        self.append(&NewRecord {
            kind,
            by_recorder: true,
            ring: RingId::NIL,
            ring_position: 0,
            written_unix_ns: now_unix_ns,
            body,
        });
    }

    /// The opening records are in: make them durable, and note what they take.
    async fn opened(&mut self) -> io::Result<()> {
        self.sync_now().await?;
        self.opening_bytes = self.encoder.bytes();
        Ok(())
    }

    /// The segment is full: nothing is to be appended before it is rotated. A long opening (many
    /// open sessions) does not count, or a segment could be full before it has taken anything.
    pub(super) fn is_spent(&self) -> bool {
        let limit = self.place.segment_bytes;
        self.encoder.bytes() >= limit.max(self.opening_bytes + limit / 2)
    }

    /// Number of the segment.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes that no sync has begun to make durable.
    pub(super) fn unsynced(&self) -> u64 {
        self.encoder.bytes() - self.sync_begun
    }

    /// The buffer is full and a sync is under way: wait for it before appending more.
    pub(super) fn is_full(&self) -> bool {
        self.syncing && self.pending.len() >= PENDING_BYTES_MAX
    }

    /// Sends out what makes whole chunks. Waits when too many writes are under way.
    pub(super) async fn write_chunks(&mut self) -> io::Result<()> {
        while !self.syncing && self.pending.len() >= WRITE_BYTES {
            if self.writes.len() >= WRITES_MAX
                && let Some(oldest) = self.writes.pop_front()
            {
                oldest.await?;
            }
            let rest = self.pending.split_off(WRITE_BYTES);
            let chunk = Written {
                at: self.pending_at,
                bytes: Rc::new(std::mem::replace(&mut self.pending, rest)),
            };
            self.unproven.push(chunk.clone());
            let file = Rc::clone(&self.file);
            self.writes.push_back(glommio::spawn_local(async move {
                file.write(chunk.at, &chunk.bytes).await
            }));
            self.pending_at += WRITE_BYTES as u64;
        }
        Ok(())
    }

    /// After an error: takes back whatever no good sync has followed, to be written again.
    pub(super) async fn take_back(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            // Whether it went well does not matter: it is done again.
            let _ = write.await;
        }
        let Some(first) = self.unproven.first() else {
            return;
        };
        let start = first.at;
        let mut bytes = Vec::new();
        for written in self.unproven.drain(..) {
            bytes.truncate((written.at - start) as usize);
            bytes.extend_from_slice(&written.bytes);
        }
        bytes.truncate((self.pending_at - start) as usize);
        bytes.append(&mut self.pending);
        self.pending = bytes;
        self.pending_at = start;
        self.sync_begun = self.synced;
    }

    /// Begins to make everything appended so far durable.
    pub(super) fn begin_sync(&mut self, notify: Option<Arc<Notify>>) -> Syncing {
        debug_assert!(!self.syncing, "one sync at a time");
        self.syncing = true;
        self.sync_begun = self.encoder.bytes();
        let (file, at) = (Rc::clone(&self.file), self.pending_at);
        let block = self.place.access.block_bytes();
        let kept = self.pending.split_off(self.pending.len() / block * block);
        let mut rest = std::mem::replace(&mut self.pending, kept);
        self.pending_at += rest.len() as u64;
        rest.extend_from_slice(&self.pending);
        let bytes = Rc::new(rest);
        let rest = Written { at, bytes };
        self.unproven.push(rest.clone());
        let writes = std::mem::take(&mut self.writes);
        let done = Rc::new(Cell::new(false));
        let is_done = Rc::clone(&done);
        let task = glommio::spawn_local(async move {
            let result = write_and_sync(&file, writes, &rest).await;
            is_done.set(true);
            if let Some(notify) = notify {
                notify.wake();
            }
            result
        });
        Syncing {
            task,
            done,
            bytes: self.sync_begun,
        }
    }

    /// Takes note of a sync that is done. Waits for it, if it is not. After an error:
    /// [`take_back`](Self::take_back).
    pub(super) async fn end_sync(&mut self, syncing: Syncing) -> io::Result<()> {
        let result = syncing.task.await;
        self.syncing = false;
        result?;
        self.unproven.clear();
        self.synced = syncing.bytes;
        self.encoder.synced(syncing.bytes);
        Ok(())
    }

    async fn sync_now(&mut self) -> io::Result<()> {
        let syncing = self.begin_sync(None);
        self.end_sync(syncing).await
    }

    /// Finishes the segment in good order: everything durable, then a record that says so. After an
    /// error it can be called again.
    async fn finish(&mut self, now_unix_ns: u64) -> io::Result<()> {
        if !self.ended {
            self.sync_now().await?;
            self.control(Kind::End, &[], now_unix_ns);
            self.ended = true;
        }
        self.sync_now().await?;
        self.file.truncate(self.encoder.bytes()).await?;
        self.file.sync().await
    }

    /// Whether the segment is finished, or was about to be when an error came: then
    /// [`rotate`](Self::rotate) again before anything is appended.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Finishes this segment and begins the next one. No sync may be under way. After an error it
    /// can be called again.
    pub(super) async fn rotate(&mut self, state: &State, now_unix_ns: u64) -> io::Result<()> {
        self.finish(now_unix_ns).await?;
        let header = FileHeader {
            number: self.number + 1,
            created_unix_ns: now_unix_ns,
            log: self.place.log,
            first_sequence: self.encoder.sequence(),
            previous_bytes: self.encoder.bytes(),
            previous_chain: self.encoder.chain(),
        };
        let mut next = Self::begin(self.place.clone(), &header).await?;
        next.control(Kind::State, &state.encode(), now_unix_ns);
        if let Err(error) = next.opened().await {
            // Nothing in it is known to be durable: it must not stand in the next attempt's way.
            let _ = std::fs::remove_file(next.path());
            let _ = next.close().await;
            return Err(error);
        }
        if let Err(error) = std::mem::replace(self, next).close().await {
            tracing::warn!(%error, "closing a finished segment failed; it is whole");
        }
        Ok(())
    }

    /// The file that is being written.
    pub(super) fn path(&self) -> PathBuf {
        self.place.dir.join(file_name(self.number))
    }

    /// Finishes the log in good order. No sync may be under way.
    pub(super) async fn end(mut self, now_unix_ns: u64) -> io::Result<()> {
        self.finish(now_unix_ns).await?;
        self.close().await
    }

    async fn close(self) -> io::Result<()> {
        // Every write has been waited for, so nobody else holds the file.
        match Rc::try_unwrap(self.file) {
            Ok(file) => file.close().await,
            Err(_) => Ok(()),
        }
    }
}

async fn write_and_sync(
    file: &SegmentFile,
    writes: VecDeque<Task<io::Result<()>>>,
    rest: &Written,
) -> io::Result<()> {
    // All are waited for, also behind one that failed: they must not overlap with a repetition.
    let mut result = Ok(());
    for write in writes {
        result = result.and(write.await);
    }
    result?;
    let mut at = rest.at;
    for chunk in rest.bytes.chunks(WRITE_BYTES) {
        file.write(at, chunk).await?;
        at += chunk.len() as u64;
    }
    file.sync().await
}

// === impl Syncing ===

impl Syncing {
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }
}
