//! The recorder's side of the hand-over. Blocking, on a thread of its own, bounded in time.

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::{
    HANDSHAKE_TIMEOUT, HELLO_BYTES, Hello, MAGIC, NAME_BYTES_MAX, RINGS_MAX, Status, VERSION,
    encode_answer, u16_at, u32_at,
};
use crate::ring::{AttachError, Consumer, RingId, attach};

/// Longest wait for a refused gateway to finish its sentence, and how often it is waited.
const LINGER: Duration = Duration::from_millis(200);
const LINGER_READS_MAX: u32 = 2 * RINGS_MAX;

/// A gateway whose rings are mapped and checked, and which waits for an answer.
pub struct Guest {
    /// What it says about itself.
    pub hello: Hello,
    /// The user it runs as, which the kernel vouches for.
    pub uid: u32,
    /// The process it is, which the kernel vouches for; zero when it lives in another container.
    pub pid: i32,
    /// Its rings.
    pub rings: Vec<Consumer>,
    /// Closes when it is gone.
    pub stream: UnixStream,
}

/// Why a gateway was turned away.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The connection broke, or a message took too long.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// Not on the list.
    #[error("user {uid} may not bring rings; add it to `allowed_uids` if it should")]
    User {
        /// The user it runs as.
        uid: u32,
    },
    /// Not the hand-over's first bytes.
    #[error("this is no gateway: its first bytes are unknown")]
    Foreign,
    /// Another version of the hand-over.
    #[error("version {version} of the hand-over; this recorder speaks {VERSION}")]
    Version {
        /// The version it speaks.
        version: u32,
    },
    /// A count or a name out of bounds, or not what was said.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A ring that cannot be trusted.
    #[error("ring {index}: {source}")]
    Ring {
        /// Which one.
        index: u32,
        /// Why.
        source: AttachError,
    },
    /// The log cannot go on with this ring.
    #[error("{0}")]
    Resume(String),
}

/// Receives a gateway's rings. Nothing is drained yet, and no answer is given.
pub fn receive(
    mut stream: UnixStream,
    allowed_uids: &[u32],
) -> Result<Guest, (UnixStream, Refusal)> {
    match receive_rings(&mut stream, allowed_uids) {
        Ok((hello, uid, pid, rings)) => Ok(Guest {
            hello,
            uid,
            pid,
            rings,
            stream,
        }),
        Err(refusal) => Err((stream, refusal)),
    }
}

/// Tells a gateway why not, and closes. Failing to tell is of no consequence.
///
/// What the gateway still has to say is read first: a socket that is closed with something unread
/// takes the answer back with it.
pub fn refuse(mut stream: UnixStream, refusal: &Refusal) {
    let _ = stream.write_all(&encode_answer(Status::Refused, &refusal.to_string()));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(LINGER));
    let mut unread = [0; 1024];
    for _ in 0..LINGER_READS_MAX {
        if !matches!(stream.read(&mut unread), Ok(read) if read > 0) {
            return;
        }
    }
}

/// Tells a gateway that its rings are taken over.
pub fn welcome(stream: &mut UnixStream, rings: usize) -> std::io::Result<()> {
    let text = format!("{rings} rings taken over");
    stream.write_all(&encode_answer(Status::TakenOver, &text))?;
    stream.set_read_timeout(None)
}

type Received = (Hello, u32, i32, Vec<Consumer>);

fn receive_rings(stream: &mut UnixStream, allowed_uids: &[u32]) -> Result<Received, Refusal> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    // Not rustix: its process id cannot be zero, and a peer in another container has no other.
    let peer = getsockopt(&*stream, sockopt::PeerCredentials).map_err(std::io::Error::from)?;
    let uid = peer.uid();
    if !allowed_uids.contains(&uid) {
        return Err(Refusal::User { uid });
    }
    let hello = read_hello(stream)?;
    let mut rings: Vec<Consumer> = Vec::with_capacity(hello.rings as usize);
    for index in 0..hello.rings {
        let (id, memfd, bell) = receive_ring(stream)?;
        let ring = attach(memfd, bell).map_err(|source| Refusal::Ring { index, source })?;
        if ring.id() != id || rings.iter().any(|other| other.id() == id) {
            let message = format!("ring {index} does not have the id that was announced");
            return Err(Refusal::Malformed(message));
        }
        rings.push(ring);
    }
    Ok((hello, uid, peer.pid(), rings))
}

fn read_hello(stream: &mut UnixStream) -> Result<Hello, Refusal> {
    let mut head = [0; HELLO_BYTES];
    stream.read_exact(&mut head)?;
    if head[..8] != MAGIC {
        return Err(Refusal::Foreign);
    }
    let version = u32_at(&head, 8);
    if version != VERSION {
        return Err(Refusal::Version { version });
    }
    let rings = u32_at(&head, 12);
    if rings == 0 || rings > RINGS_MAX {
        return Err(Refusal::Malformed(format!(
            "{rings} rings; from 1 to {RINGS_MAX} are taken"
        )));
    }
    let name_bytes = usize::from(u16_at(&head, 20));
    if name_bytes > NAME_BYTES_MAX {
        return Err(Refusal::Malformed(format!("a name of {name_bytes} bytes")));
    }
    let mut name = vec![0; name_bytes];
    stream.read_exact(&mut name)?;
    let gateway = String::from_utf8(name)
        .map_err(|_| Refusal::Malformed("a name that is not UTF-8".to_owned()))?;
    Ok(Hello {
        gateway,
        pid: u32_at(&head, 16),
        rings,
    })
}

/// One ring: sixteen bytes that carry two descriptors. Superfluous ones are closed by the kernel,
/// as there is no room for them.
fn receive_ring(stream: &UnixStream) -> Result<(RingId, OwnedFd, OwnedFd), Refusal> {
    let mut id = [0; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut id)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let message = recvmsg(stream, &mut parts, &mut control, flags).map_err(std::io::Error::from)?;
    let mut fds = Vec::with_capacity(2);
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if message.bytes != id.len() || message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Refusal::Malformed("a ring was cut short".to_owned()));
    }
    let [memfd, bell] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|fds| Refusal::Malformed(format!("{} descriptors where two belong", fds.len())))?;
    Ok((RingId(id), memfd, bell))
}
