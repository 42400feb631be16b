//! The recorder's side of the hand-over.
//!
//! Who is there is asked first, of the kernel, without a wait: [`identify`]. A stranger is told so in
//! passing ([`turn_away`]) and costs nothing more. What does wait for the peer ([`receive`],
//! [`refuse`]) belongs on a thread of its own, and ends at a moment that is fixed when it begins,
//! however the peer spreads its bytes.

use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::{
    HANDSHAKE_TIMEOUT, HELLO_BYTES, Hello, MAGIC, NAME_BYTES_MAX, RINGS_MAX, Status, VERSION,
    encode_answer, u16_at, u32_at,
};
use crate::ring::{AttachError, Consumer, RingId, attach};

/// Longest wait, in total, for a refused gateway to finish its sentence.
const LINGER: Duration = Duration::from_millis(200);

/// Who is at the other end, which the kernel vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user it runs as.
    pub uid: u32,
    /// The process it is; zero when it lives in another container.
    pub pid: i32,
}

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

/// Asks the kernel who is there, and the list whether it may come in. Never waits.
pub fn identify(stream: &UnixStream, allowed_uids: &[u32]) -> Result<Peer, Refusal> {
    // Not rustix: its process id cannot be zero, and a peer in another container has no other.
    let peer = getsockopt(stream, sockopt::PeerCredentials).map_err(std::io::Error::from)?;
    let uid = peer.uid();
    if !allowed_uids.contains(&uid) {
        return Err(Refusal::User { uid });
    }
    let pid = peer.pid();
    Ok(Peer { uid, pid })
}

/// Receives the rings of a gateway that may bring them, within [`HANDSHAKE_TIMEOUT`] in total.
/// Nothing is drained yet, and no answer is given.
pub fn receive(mut stream: UnixStream, peer: Peer) -> Result<Guest, (UnixStream, Refusal)> {
    match receive_rings(&mut stream, Instant::now() + HANDSHAKE_TIMEOUT) {
        Ok((hello, rings)) => Ok(Guest {
            hello,
            uid: peer.uid,
            pid: peer.pid,
            rings,
            stream,
        }),
        Err(refusal) => Err((stream, refusal)),
    }
}

/// Says why not, if that is possible at once, and closes. Never waits and reads nothing.
pub fn turn_away(mut stream: UnixStream, refusal: &Refusal) {
    if stream.set_nonblocking(true).is_ok() {
        // Nothing was sent before, so the answer has room; a peer that is gone needs none.
        let _ = stream.write(&encode_answer(Status::Refused, &refusal.to_string()));
    }
}

/// Tells a gateway why not, and closes. Failing to tell is of no consequence.
///
/// What the gateway still has to say is read first, for 200 ms in total at most: closing with
/// something unread would look to it like a connection that broke.
pub fn refuse(mut stream: UnixStream, refusal: &Refusal) {
    let deadline = Instant::now() + LINGER;
    let _ = stream.set_write_timeout(Some(LINGER));
    let _ = stream.write_all(&encode_answer(Status::Refused, &refusal.to_string()));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut unread = [0; 1024];
    while matches!(read_until(&mut stream, &mut unread, deadline), Ok(read) if read > 0) {}
}

/// Tells a gateway that its rings are taken over.
pub fn welcome(stream: &mut UnixStream, rings: usize) -> std::io::Result<()> {
    let text = match rings {
        1 => "1 ring taken over".to_owned(),
        more => format!("{more} rings taken over"),
    };
    stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.write_all(&encode_answer(Status::TakenOver, &text))?;
    stream.set_read_timeout(None)
}

fn receive_rings(
    stream: &mut UnixStream,
    deadline: Instant,
) -> Result<(Hello, Vec<Consumer>), Refusal> {
    let hello = read_hello(stream, deadline)?;
    let mut rings: Vec<Consumer> = Vec::with_capacity(hello.rings as usize);
    for index in 0..hello.rings {
        let (id, memfd, bell) = receive_ring(stream, deadline)?;
        let ring = attach(memfd, bell).map_err(|source| Refusal::Ring { index, source })?;
        if ring.id() != id || rings.iter().any(|other| other.id() == id) {
            let message = format!("ring {index} does not have the id that was announced");
            return Err(Refusal::Malformed(message));
        }
        rings.push(ring);
    }
    Ok((hello, rings))
}

/// Lets the next read wait for what is left until the deadline, which must not have passed.
fn wait_until(stream: &UnixStream, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))
}

fn read_until(stream: &mut UnixStream, to: &mut [u8], deadline: Instant) -> std::io::Result<usize> {
    wait_until(stream, deadline)?;
    stream.read(to)
}

/// `read_exact`, with one deadline for all its reads.
fn fill_until(stream: &mut UnixStream, to: &mut [u8], deadline: Instant) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < to.len() {
        match read_until(stream, &mut to[filled..], deadline) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_hello(stream: &mut UnixStream, deadline: Instant) -> Result<Hello, Refusal> {
    let mut head = [0; HELLO_BYTES];
    fill_until(stream, &mut head, deadline)?;
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
    fill_until(stream, &mut name, deadline)?;
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
fn receive_ring(
    stream: &UnixStream,
    deadline: Instant,
) -> Result<(RingId, OwnedFd, OwnedFd), Refusal> {
    wait_until(stream, deadline)?;
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
