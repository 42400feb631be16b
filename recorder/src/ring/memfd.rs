//! Making a ring, and taking one over that another process made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::bell::Bell;
use super::layout::{DATA_BYTES_MAX, DATA_BYTES_MIN, DataSize, HEADER_BYTES, MAGIC, VERSION};
use super::region::Region;
use super::{Consumer, Producer, RingId};

/// Seals without which a ring is refused: its size must never change again.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// What a recorder needs to take over a ring; kept by the gateway for as long as the ring lives,
/// because the same ring is offered again to a restarted recorder.
#[derive(Debug)]
pub struct RingFds {
    id: RingId,
    memfd: OwnedFd,
    eventfd: OwnedFd,
}

/// Why a ring was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Not sealed against shrinking, growing and further seals.
    #[error("the ring's memory is not sealed: seals are {seals:#x}, {SEALS:?} are needed")]
    NotSealed {
        /// The seals that it has.
        seals: u32,
    },
    /// Not a memfd at all.
    #[error("the ring's file is no memfd: {0}")]
    NotMemory(io::Error),
    /// No size that a ring can have.
    #[error(
        "the ring's memory has {bytes} bytes, which is not {HEADER_BYTES} plus a power of two from \
         {DATA_BYTES_MIN} to {DATA_BYTES_MAX}"
    )]
    Size {
        /// The size that it has.
        bytes: u64,
    },
    /// The header page is of another kind or version.
    #[error("the ring's header does not fit: {reason}")]
    Header {
        /// What does not fit.
        reason: String,
    },
    /// The system refused.
    #[error("the ring's memory cannot be mapped: {0}")]
    Map(io::Error),
}

/// Makes a ring whose data is `data_bytes` long: a power of two, at least 512 KiB, at most 1 GiB.
pub fn create(data_bytes: usize) -> io::Result<(Producer, RingFds)> {
    let size = DataSize::new(data_bytes).ok_or_else(|| {
        let message = format!(
            "a ring has a power of two of bytes, from {DATA_BYTES_MIN} to {DATA_BYTES_MAX}; got \
             {data_bytes}"
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })?;
    let memfd = new_memfd()?;
    ftruncate(&memfd, HEADER_BYTES as u64 + size.bytes())?;
    fcntl_add_seals(&memfd, SEALS)?;
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;

    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty())?;
    let id = RingId(id);
    let mut region = Region::map(&memfd, size)?;
    region.write_header(id);
    let producer = Producer::new(region, Bell::new(bell.try_clone()?), id);
    Ok((
        producer,
        RingFds {
            id,
            memfd,
            eventfd: bell,
        },
    ))
}

/// Takes over a ring from the file descriptors that a gateway sent; believes nothing about them.
pub fn attach(memfd: OwnedFd, bell: OwnedFd) -> Result<Consumer, AttachError> {
    let seals = fcntl_get_seals(&memfd).map_err(|error| AttachError::NotMemory(error.into()))?;
    if !seals.contains(SEALS) {
        return Err(AttachError::NotSealed {
            seals: seals.bits(),
        });
    }
    let bytes = fstat(&memfd)
        .map_err(|error| AttachError::Map(error.into()))?
        .st_size as u64;
    let size = usize::try_from(bytes)
        .ok()
        .and_then(|bytes| bytes.checked_sub(HEADER_BYTES))
        .and_then(DataSize::new)
        .ok_or(AttachError::Size { bytes })?;
    let region = Region::map(&memfd, size).map_err(AttachError::Map)?;
    let header = region.read_header();
    let reason = if header.magic != MAGIC {
        Some("it does not start with the ring's magic".to_owned())
    } else if header.version != VERSION {
        Some(format!(
            "version {} where {VERSION} is known",
            header.version
        ))
    } else if header.header_bytes as usize != HEADER_BYTES || header.data_bytes != size.bytes() {
        Some(format!(
            "it claims {} + {} bytes",
            header.header_bytes, header.data_bytes
        ))
    } else if header.id == RingId::NIL {
        Some("it has no id".to_owned())
    } else {
        None
    };
    if let Some(reason) = reason {
        return Err(AttachError::Header { reason });
    }
    Consumer::new(region, Bell::new(bell), header.id).map_err(|corrupt| AttachError::Header {
        reason: corrupt.to_string(),
    })
}

/// A sealable memfd, not executable where the kernel knows of that (6.3).
fn new_memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("penstock-ring", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => Ok(memfd_create("penstock-ring", flags)?),
        other => Ok(other?),
    }
}

// === impl RingFds ===

impl RingFds {
    /// The ring's name.
    pub fn id(&self) -> RingId {
        self.id
    }

    /// The shared memory.
    pub fn memfd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    /// The bell.
    pub fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Another handle on the same ring.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (memfd, eventfd) = (self.memfd.try_clone()?, self.eventfd.try_clone()?);
        Ok(Self {
            id: self.id,
            memfd,
            eventfd,
        })
    }

    /// The shared memory and the bell, as the recorder receives them.
    pub fn into_parts(self) -> (OwnedFd, OwnedFd) {
        (self.memfd, self.eventfd)
    }
}
