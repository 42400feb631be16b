//! Waits for everything that can happen outside, and tells the writer.
//!
//! One thread waits with epoll: on the listening socket, on the sockets of the gateways (their end
//! of file), on the bells of the rings (edge-triggered and never read), and on a pipe that signals
//! write to. Each hand-over runs on a thread of its own, bounded in number and time, so that a peer
//! that dawdles holds up nobody.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::epoll;

use super::notify::Notify;
use super::{Config, RunError, io};
use crate::link::{self, Guest, Refusal};

/// Hand-overs at the same time; one more is turned away.
const GREETERS_MAX: usize = 16;
/// News that the writer has not looked at yet; beyond that the doorman waits.
const NEWS_MAX: usize = 256;
/// Longest wait for the writer to take rings over.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Names one gateway's connection while it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct LinkId(u64);

/// What happened outside.
pub(super) enum News {
    /// A gateway brings rings, and waits for an answer.
    Arrived {
        link: LinkId,
        guest: Box<Guest>,
        /// Whether it is welcome, or why not.
        answer: SyncSender<Result<(), Refusal>>,
    },
    /// A gateway's connection closed.
    Gone(LinkId),
    /// A signal asks for the end.
    Stop,
}

/// The writer's side of the door.
pub(super) struct Door {
    pub(super) news: Receiver<News>,
    epoll: Arc<OwnedFd>,
    socket: PathBuf,
}

const LISTENER: u64 = 0;
const SIGNAL: u64 = 1;
const BELL: u64 = 2;
const FIRST_LINK: u64 = 3;

/// Begins to listen. The socket appears here; nobody is taken in before the writer runs.
pub(super) fn open(config: &Config, notify: Arc<Notify>) -> Result<Door, RunError> {
    let listener = listen(&config.socket, config.socket_mode)?;
    let (signals, end) = UnixStream::pair().map_err(|e| io("cannot make a pipe".to_owned(), e))?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        end.try_clone()
            .and_then(|end| signal_hook::low_level::pipe::register(signal, end))
            .map_err(|error| io(format!("cannot watch signal {signal}"), error))?;
    }
    let epoll = watch(&listener, &signals).map_err(|e| io("cannot use epoll".to_owned(), e))?;
    let epoll = Arc::new(epoll);
    let (sender, news) = sync_channel(NEWS_MAX);
    let doorman = Doorman {
        listener,
        _signals: signals,
        epoll: Arc::clone(&epoll),
        sender,
        notify,
        allowed_uids: config.allowed_uids.clone().into(),
        greeters: Arc::new(AtomicUsize::new(0)),
        next_link: Arc::new(AtomicU64::new(FIRST_LINK)),
    };
    thread::Builder::new()
        .name("doorman".to_owned())
        .spawn(move || doorman.watch())
        .map_err(|error| io("cannot start a thread".to_owned(), error))?;
    Ok(Door {
        news,
        epoll,
        socket: config.socket.clone(),
    })
}

/// Binds, taking the place of a socket that a dead recorder left behind.
fn listen(path: &Path, mode: u32) -> Result<UnixListener, RunError> {
    let failed = |error| io(format!("cannot listen at {}", path.display()), error);
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(failed(std::io::Error::new(
                ErrorKind::AlreadyExists,
                "something that is no socket is there",
            )));
        }
        // The folder is locked by now, so whoever listened there for this log is gone.
        if UnixStream::connect(path).is_ok() {
            return Err(failed(std::io::Error::new(
                ErrorKind::AddrInUse,
                "another process listens there",
            )));
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn watch(listener: &UnixListener, signals: &UnixStream) -> std::io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64;
    epoll::add(&epoll, listener, data(LISTENER), epoll::EventFlags::IN)?;
    epoll::add(
        &epoll,
        signals,
        data(SIGNAL),
        epoll::EventFlags::IN | epoll::EventFlags::ET,
    )?;
    Ok(epoll)
}

struct Doorman {
    listener: UnixListener,
    _signals: UnixStream, // watched, never read
    epoll: Arc<OwnedFd>,
    sender: SyncSender<News>,
    notify: Arc<Notify>,
    allowed_uids: Arc<[u32]>,
    greeters: Arc<AtomicUsize>,
    next_link: Arc<AtomicU64>,
}

// === impl Door ===

impl Door {
    /// No more bells: the ring is about to be dropped.
    pub(super) fn forget_bell(&self, bell: impl AsFd) {
        // A bell that was never added, or whose copy was closed already, is none to forget.
        let _ = epoll::delete(&*self.epoll, bell);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

// === impl Doorman ===

impl Doorman {
    /// Until the process ends.
    fn watch(self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let waited = epoll::wait(
                &*self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            );
            match waited {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for gateways; stopping");
                    self.tell(News::Stop);
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    SIGNAL => self.tell(News::Stop),
                    BELL => self.notify.wake(),
                    link => self.tell(News::Gone(LinkId(link))),
                }
            }
        }
    }

    fn tell(&self, news: News) {
        // The writer hangs up only when the process ends.
        let _ = self.sender.send(news);
        self.notify.wake();
    }

    fn accept(&self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a gateway");
                thread::sleep(Duration::from_millis(100)); // out of descriptors, most likely
                return;
            }
        };
        if self.greeters.fetch_add(1, Ordering::AcqRel) >= GREETERS_MAX {
            self.greeters.fetch_sub(1, Ordering::AcqRel);
            let why = format!("{GREETERS_MAX} hand-overs are in progress; try again");
            link::refuse(stream, &Refusal::Resume(why));
            return;
        }
        let greeter = Greeter {
            epoll: Arc::clone(&self.epoll),
            sender: self.sender.clone(),
            notify: Arc::clone(&self.notify),
            allowed_uids: Arc::clone(&self.allowed_uids),
            link: LinkId(self.next_link.fetch_add(1, Ordering::Relaxed)),
        };
        let greeters = Arc::clone(&self.greeters);
        let spawned = thread::Builder::new()
            .name("greeter".to_owned())
            .spawn(move || {
                if let Err((stream, refusal)) = greeter.greet(stream) {
                    tracing::warn!(reason = %refusal, "a gateway was turned away");
                    if let Some(stream) = stream {
                        link::refuse(stream, &refusal);
                    }
                }
                greeters.fetch_sub(1, Ordering::AcqRel);
            });
        if let Err(error) = spawned {
            self.greeters.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start a thread for a gateway");
        }
    }
}

struct Greeter {
    epoll: Arc<OwnedFd>,
    sender: SyncSender<News>,
    notify: Arc<Notify>,
    allowed_uids: Arc<[u32]>,
    link: LinkId,
}

// === impl Greeter ===

impl Greeter {
    /// One hand-over, from hello to welcome.
    fn greet(self, stream: UnixStream) -> Result<(), (Option<UnixStream>, Refusal)> {
        if let Err(error) = stream.set_nonblocking(false) {
            return Err((None, error.into()));
        }
        let guest = link::receive(stream, &self.allowed_uids)
            .map_err(|(stream, refusal)| (Some(stream), refusal))?;
        let mut stream = guest
            .stream
            .try_clone()
            .map_err(|error| (None, error.into()))?;
        let rings = guest.rings.len();
        for ring in &guest.rings {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            let data = epoll::EventData::new_u64(BELL);
            if let Err(error) = epoll::add(&*self.epoll, ring.bell(), data, flags) {
                return Err((Some(stream), Refusal::Broken(error.into())));
            }
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let arrived = News::Arrived {
            link: self.link,
            guest: Box::new(guest),
            answer,
        };
        self.tell(arrived);
        match answered.recv_timeout(TAKE_OVER_TIMEOUT) {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return Err((Some(stream), refusal)),
            Err(_) => {
                // Should it take them over after all, it hears at once that nobody is there.
                self.tell(News::Gone(self.link));
                let why = "the recorder is too busy, or stopping; try again".to_owned();
                return Err((Some(stream), Refusal::Resume(why)));
            }
        }
        let data = epoll::EventData::new_u64(self.link.0);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        let watched = link::welcome(&mut stream, rings)
            .and_then(|()| Ok(epoll::add(&*self.epoll, &stream, data, flags)?));
        if watched.is_err() {
            self.tell(News::Gone(self.link));
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // The writer hangs up only when the process ends.
        let _ = self.sender.send(news);
        self.notify.wake();
    }
}
