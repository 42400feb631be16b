//! The segment that is being written: a buffer in front, writes in flight, one sync at a time.
//!
//! Whole chunks go out as they fill. A sync first writes what is left, filled up with zeros to a
//! block, and keeps the last partial block in the buffer: the next write repeats it, with the same
//! bytes where it had some. While a sync is under way nothing else is written, so that the two
//! never overlap; the buffer grows meanwhile, up to a bound.

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
    writes: VecDeque<Task<io::Result<()>>>,
    syncing: bool,
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
        sync_dir(&place.dir)?;
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
            writes: VecDeque::new(),
            syncing: false,
        })
    }

    /// Appends a record to the buffer.
    pub(super) fn append(&mut self, record: &NewRecord<'_>) {
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
            let chunk = std::mem::replace(&mut self.pending, rest);
            let (file, at) = (Rc::clone(&self.file), self.pending_at);
            self.writes.push_back(glommio::spawn_local(
                async move { file.write(at, &chunk).await },
            ));
            self.pending_at += WRITE_BYTES as u64;
        }
        Ok(())
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
        let writes = std::mem::take(&mut self.writes);
        let done = Rc::new(Cell::new(false));
        let is_done = Rc::clone(&done);
        let task = glommio::spawn_local(async move {
            let result = write_and_sync(&file, writes, at, &rest).await;
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

    /// Takes note of a sync that is done. Waits for it, if it is not.
    pub(super) async fn end_sync(&mut self, syncing: Syncing) -> io::Result<()> {
        syncing.task.await?;
        self.syncing = false;
        self.encoder.synced(syncing.bytes);
        Ok(())
    }

    async fn sync_now(&mut self) -> io::Result<()> {
        let syncing = self.begin_sync(None);
        self.end_sync(syncing).await
    }

    /// Finishes the segment in good order: everything durable, then a record that says so.
    async fn finish(&mut self, now_unix_ns: u64) -> io::Result<()> {
        self.sync_now().await?;
        self.control(Kind::End, &[], now_unix_ns);
        self.sync_now().await?;
        self.file.truncate(self.encoder.bytes()).await?;
        self.file.sync().await
    }

    /// Finishes this segment and begins the next one. No sync may be under way.
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
        next.opened().await?;
        std::mem::replace(self, next).close().await
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
    mut at: u64,
    rest: &[u8],
) -> io::Result<()> {
    for write in writes {
        write.await?;
    }
    for chunk in rest.chunks(WRITE_BYTES) {
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
