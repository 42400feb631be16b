//! The gateway's side of the hand-over. Blocking: it belongs on a control thread.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{
    ANSWER_BYTES, HANDSHAKE_TIMEOUT, Hello, LinkError, MAGIC, TEXT_BYTES_MAX, VERSION, u16_at,
    u32_at,
};
use crate::ring::RingFds;

/// Offers rings to the recorder that listens at `socket`.
///
/// After `Ok` the recorder has mapped all of them and drains them; the stream carries nothing more,
/// and its end of file says that the recorder is gone. Then offer the same rings again.
pub fn offer(socket: &Path, hello: &Hello, rings: &[&RingFds]) -> Result<UnixStream, LinkError> {
    if hello.rings as usize != rings.len() {
        let message = format!(
            "hello says {} rings, {} are given",
            hello.rings,
            rings.len()
        );
        return Err(LinkError::Invalid(message));
    }
    let head = hello.encode()?;
    let mut stream = UnixStream::connect(socket).map_err(|source| LinkError::Connect {
        socket: socket.display().to_string(),
        source,
    })?;
    stream
        .set_read_timeout(Some(HANDSHAKE_TIMEOUT))
        .map_err(LinkError::Broken)?;
    stream
        .set_write_timeout(Some(HANDSHAKE_TIMEOUT))
        .map_err(LinkError::Broken)?;

    // A recorder that refuses answers and closes early: its answer is worth more than our error.
    let sent = stream
        .write_all(&head)
        .and_then(|()| rings.iter().try_for_each(|ring| send_ring(&stream, ring)));
    match (read_answer(&mut stream), sent) {
        (Err(LinkError::Broken(_)), Err(error)) => Err(LinkError::Broken(error)),
        (Err(error), _) => Err(error),
        (Ok(()), Err(error)) => Err(LinkError::Broken(error)),
        (Ok(()), Ok(())) => {
            stream.set_read_timeout(None).map_err(LinkError::Broken)?;
            Ok(stream)
        }
    }
}

fn send_ring(stream: &UnixStream, ring: &RingFds) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [ring.memfd(), ring.eventfd()];
    // The space is made for exactly this message.
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let id = ring.id();
    let sent = sendmsg(
        stream,
        &[IoSlice::new(&id.0)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent == id.0.len() {
        Ok(())
    } else {
        Err(std::io::ErrorKind::WriteZero.into())
    }
}

fn read_answer(stream: &mut UnixStream) -> Result<(), LinkError> {
    let mut head = [0; ANSWER_BYTES];
    stream.read_exact(&mut head).map_err(LinkError::Broken)?;
    if head[..8] != MAGIC {
        return Err(LinkError::Foreign("its first bytes are unknown".to_owned()));
    }
    let text_bytes = usize::from(u16_at(&head, 16)).min(TEXT_BYTES_MAX);
    let mut text = vec![0; text_bytes];
    stream.read_exact(&mut text).map_err(LinkError::Broken)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = u32_at(&head, 8);
    if version != VERSION {
        return Err(LinkError::Foreign(format!(
            "it is of version {version}; it says: {text}"
        )));
    }
    match u32_at(&head, 12) {
        0 => Ok(()),
        _ => Err(LinkError::Refused(text)),
    }
}
