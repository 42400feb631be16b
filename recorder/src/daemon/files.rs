//! The file of a segment on glommio: past the page cache (O_DIRECT) where the file system takes
//! that, through it where not.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use glommio::io::{BufferedFile, DmaFile, OpenOptions};

/// Direct writes start and end at multiples of this: no common disk wants more.
pub(super) const BLOCK_BYTES: usize = 4096;
/// File systems whose files live in memory: glommio takes them for direct, but nothing is gained.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// How a folder takes writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Direct,
    Buffered,
}

pub(super) enum SegmentFile {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

// === impl Access ===

impl Access {
    /// Asks the file system, with a file that exists for a moment only.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        if rustix::fs::statfs(dir)?.f_type as u64 == TMPFS_MAGIC {
            return Ok(Self::Buffered);
        }
        let probe = dir.join(".direct-probe");
        let opened = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32)
            .open(&probe);
        let access = match &opened {
            Ok(_) => Self::Direct,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                Self::Buffered
            }
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let _ = std::fs::remove_file(&probe);
        Ok(access)
    }

    /// Multiple that writes must keep to.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Self::Direct => BLOCK_BYTES,
            Self::Buffered => 1,
        }
    }
}

// === impl SegmentFile ===

impl SegmentFile {
    /// Makes a new file; one that exists is an error.
    pub(super) async fn create(path: &Path, access: Access, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        Ok(match access {
            Access::Direct => Self::Direct(options.dma_open(path).await?),
            Access::Buffered => Self::Buffered(options.buffered_open(path).await?),
        })
    }

    /// Writes at a multiple of the block size, filling the last block up with zeros.
    pub(super) async fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let written = match self {
            Self::Direct(file) => {
                let length = bytes.len().next_multiple_of(BLOCK_BYTES);
                let mut buffer = file.alloc_dma_buffer(length);
                let (data, rest) = buffer.as_bytes_mut().split_at_mut(bytes.len());
                data.copy_from_slice(bytes);
                rest.fill(0);
                file.write_at(buffer, at).await?.min(bytes.len())
            }
            Self::Buffered(file) => file.write_at(bytes.to_vec(), at).await?,
        };
        if written < bytes.len() {
            let message = format!(
                "{written} of {} bytes were written: disk full?",
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::WriteZero, message));
        }
        Ok(())
    }

    /// Waits until everything written is on disk.
    pub(super) async fn sync(&self) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.fdatasync().await?,
            Self::Buffered(file) => file.fdatasync().await?,
        }
        Ok(())
    }

    /// Cuts what padding left behind the last record.
    pub(super) async fn truncate(&self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.truncate(bytes).await?,
            Self::Buffered(file) => file.truncate(bytes).await?,
        }
        Ok(())
    }

    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::Direct(file) => file.close().await?,
            Self::Buffered(file) => file.close().await?,
        }
        Ok(())
    }
}
