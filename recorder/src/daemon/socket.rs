//! The socket that gateways connect to: made so that nobody finds it open too wide for a moment,
//! put in the place of nothing but what a dead recorder left, and taken away at the end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// While the socket is being made, only its owner may connect. The owner's own bits all stay, so
/// that nothing else made in this moment is harmed.
const UMASK: Mode = Mode::from_raw_mode(0o077);

/// The file of a socket; it goes when this goes.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that a successor's is not taken for ours.
    id: (u64, u64),
}

/// Binds, taking the place of a socket that a dead recorder left behind. To be called before there
/// are other threads: for a moment the whole process makes files for its owner alone.
pub(super) fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    clear(path)?;
    let before = rustix::process::umask(UMASK);
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        id: (made.dev(), made.ino()),
    };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// Removes a socket on which nobody answers; anything else that is there is an error.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let what = "something that is no socket is there; move it away, or listen elsewhere";
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Without waiting: whoever is there may be too busy to answer, and is there all the same.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let caller = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&caller, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        // Another type of socket, a full queue, no permission: it may well be somebody's.
        Ok(()) | Err(_) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.id);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s");
        let refused = |path: &Path| listen(path, 0o660).err().expect("refused").kind();

        fs::write(&path, "precious").expect("written");
        assert_eq!(refused(&path), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        fs::remove_file(&path).expect("removed");

        std::os::unix::fs::symlink("/nowhere", &path).expect("linked");
        assert_eq!(refused(&path), ErrorKind::AlreadyExists);
        fs::remove_file(&path).expect("removed");

        let other = UnixDatagram::bind(&path).expect("binds");
        assert_eq!(refused(&path), ErrorKind::AddrInUse);
        drop(other);
        fs::remove_file(&path).expect("removed");

        let other = UnixListener::bind(&path).expect("binds");
        assert_eq!(refused(&path), ErrorKind::AddrInUse);
        // So many callers that the next one would have to wait.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let address = SocketAddrUnix::new(&path).expect("an address");
        let mut callers = Vec::new();
        rustix::net::listen(&other, 1).expect("a short queue");
        for _ in 0..8 {
            let caller =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("made");
            let _ = connect(&caller, &address);
            callers.push(caller);
        }
        assert_eq!(refused(&path), ErrorKind::AddrInUse);
        drop(other);

        let (listener, file) = listen(&path, 0o640).expect("nobody answers there any more");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        UnixStream::connect(&path).expect("connects");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn the_socket_of_a_successor_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s");
        let (_first, file) = listen(&path, 0o600).expect("binds");
        fs::rename(&path, dir.path().join("away")).expect("moved");
        let _successor = UnixListener::bind(&path).expect("binds");
        drop(file);
        assert!(path.exists());
    }
}
