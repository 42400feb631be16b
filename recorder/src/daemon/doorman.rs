//! Waits for everything that can happen outside, and tells the writer.
//!
//! One thread waits with epoll: on the listening socket, on the sockets of the gateways (their end
//! of file), on the bells of the rings (edge-triggered and never read), and on a pipe that signals
//! write to. It never waits for a peer. Who is there the kernel says at once: a stranger is turned
//! away in passing, and only users on the list get one of the few hand-overs, each on a thread of
//! its own and bounded in time. That a signal asks for the end is noted in the signal's handler, so
//! that nothing at the door can come between.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

use super::notify::Notify;
use super::socket::{self, SocketFile};
use super::{Config, RunError, io};
use crate::link::{self, Guest, Peer, Refusal};

/// Hand-overs at the same time; one more is turned away.
const GREETERS_MAX: usize = 16;
/// News that the writer has not looked at yet; beyond that it is busy, and the door waits for it.
const NEWS_MAX: usize = 256;
/// After a failed accept (out of descriptors, most likely) the listener is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Callers that were turned away at the door are told of at most this often.
const TURNED_AWAY_TOLD_EVERY: Duration = Duration::from_secs(10);
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
}

/// The writer's side of the door.
pub(super) struct Door {
    pub(super) news: Receiver<News>,
    epoll: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    _socket: SocketFile, // goes with the door
}

const LISTENER: u64 = 0;
const SIGNAL: u64 = 1;
const BELL: u64 = 2;
const FIRST_LINK: u64 = 3;

/// Begins to listen. The socket appears here; nobody is taken in before the writer runs.
pub(super) fn open(config: &Config, notify: Arc<Notify>) -> Result<Door, RunError> {
    let (listener, socket) =
        socket::listen(&config.socket, config.socket_mode).map_err(|error| {
            io(
                format!("cannot listen at {}", config.socket.display()),
                error,
            )
        })?;
    let (signals, end) = UnixStream::pair().map_err(|e| io("cannot make a pipe".to_owned(), e))?;
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(&stop, &end).map_err(|error| io("cannot watch signals".to_owned(), error))?;
    let epoll = watch(&listener, &signals).map_err(|e| io("cannot use epoll".to_owned(), e))?;
    let epoll = Arc::new(epoll);
    let (sender, news) = sync_channel(NEWS_MAX);
    let doorman = Doorman {
        listener,
        accept_at: None,
        _signals: signals,
        epoll: Arc::clone(&epoll),
        sender,
        notify,
        stop: Arc::clone(&stop),
        allowed_uids: config.allowed_uids.clone(),
        greeters: Arc::new(AtomicUsize::new(0)),
        next_link: FIRST_LINK,
        turned_away: TurnedAway::default(),
    };
    thread::Builder::new()
        .name("doorman".to_owned())
        .spawn(move || doorman.watch())
        .map_err(|error| io("cannot start a thread".to_owned(), error))?;
    Ok(Door {
        news,
        epoll,
        stop,
        _socket: socket,
    })
}

/// The flag says that a signal came; the pipe wakes whoever sleeps.
fn watch_signals(stop: &Arc<AtomicBool>, end: &UnixStream) -> std::io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
        signal_hook::low_level::pipe::register(signal, end.try_clone()?)?;
    }
    // A file that grew as long as the process may make one is an error of that write (EFBIG), which
    // is handled like a full disk, and no reason to be killed.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
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
    /// The listener is left alone until then.
    accept_at: Option<Instant>,
    _signals: UnixStream, // watched, never read
    epoll: Arc<OwnedFd>,
    sender: SyncSender<News>,
    notify: Arc<Notify>,
    stop: Arc<AtomicBool>,
    allowed_uids: Vec<u32>,
    greeters: Arc<AtomicUsize>,
    next_link: u64,
    turned_away: TurnedAway,
}

/// Callers who were turned away at the door, since it was last told.
#[derive(Default)]
struct TurnedAway {
    count: u64,
    told: Option<Instant>,
}

// === impl Door ===

impl Door {
    /// Whether a signal asked for the end.
    pub(super) fn is_closing(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// No more bells: the ring is about to be dropped.
    pub(super) fn forget_bell(&self, bell: impl AsFd) {
        // A bell that was never added, or whose copy was closed already, is none to forget.
        let _ = epoll::delete(&*self.epoll, bell);
    }
}

// === impl TurnedAway ===

impl TurnedAway {
    /// Counts one more, and tells of it unless that was done a moment ago: a caller must not be
    /// able to fill the operator's log.
    fn note(&mut self, refusal: &Refusal) {
        self.count += 1;
        let now = Instant::now();
        if self
            .told
            .is_none_or(|told| now - told >= TURNED_AWAY_TOLD_EVERY)
        {
            let callers = std::mem::take(&mut self.count);
            self.told = Some(now);
            tracing::warn!(reason = %refusal, callers, "turned away at the door");
        }
    }
}

// === impl Doorman ===

impl Doorman {
    /// Until the process ends.
    fn watch(mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.until_accept();
            let waited = epoll::wait(
                &*self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            );
            match waited {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for gateways; stopping");
                    self.stop.store(true, Ordering::Relaxed);
                    self.notify.wake();
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    SIGNAL | BELL => self.notify.wake(),
                    link => {
                        // The writer hangs up only when the process ends.
                        let _ = self.sender.send(News::Gone(LinkId(link)));
                        self.notify.wake();
                    }
                }
            }
        }
    }

    /// How long to wait at most; listens again when a pause is over.
    fn until_accept(&mut self) -> Option<Timespec> {
        let left = self.accept_at?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.accept_at = None;
            self.listen_for(epoll::EventFlags::IN);
            return None;
        }
        Some(Timespec {
            tv_sec: 0, // a pause is shorter than a second
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    fn listen_for(&self, flags: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(LISTENER);
        if let Err(error) = epoll::modify(&*self.epoll, &self.listener, data, flags) {
            tracing::error!(%error, "cannot watch the socket");
        }
    }

    fn accept(&mut self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a gateway");
                self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                return self.listen_for(epoll::EventFlags::empty());
            }
        };
        let peer = match link::identify(&stream, &self.allowed_uids) {
            Ok(peer) => peer,
            Err(refusal) => return self.turn_away(stream, &refusal),
        };
        // Only this thread adds, so what is seen here can only become less.
        if self.greeters.load(Ordering::Acquire) >= GREETERS_MAX {
            let why = format!("{GREETERS_MAX} hand-overs are in progress; try again");
            return self.turn_away(stream, &Refusal::Resume(why));
        }
        self.greeters.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = self.send_greeter(stream, peer) {
            self.greeters.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start a thread for a gateway");
        }
    }

    fn turn_away(&mut self, stream: UnixStream, refusal: &Refusal) {
        link::turn_away(stream, refusal);
        self.turned_away.note(refusal);
    }

    fn send_greeter(&mut self, stream: UnixStream, peer: Peer) -> std::io::Result<()> {
        let greeter = Greeter {
            epoll: Arc::clone(&self.epoll),
            sender: self.sender.clone(),
            notify: Arc::clone(&self.notify),
            link: LinkId(self.next_link),
        };
        self.next_link += 1;
        let greeters = Arc::clone(&self.greeters);
        let greet = move || {
            if let Err((stream, refusal)) = greeter.greet(stream, peer) {
                tracing::warn!(reason = %refusal, "a gateway was turned away");
                if let Some(stream) = stream {
                    link::refuse(stream, &refusal);
                }
            }
            greeters.fetch_sub(1, Ordering::AcqRel);
        };
        thread::Builder::new()
            .name("greeter".to_owned())
            .spawn(greet)?;
        Ok(())
    }
}

struct Greeter {
    epoll: Arc<OwnedFd>,
    sender: SyncSender<News>,
    notify: Arc<Notify>,
    link: LinkId,
}

// === impl Greeter ===

impl Greeter {
    /// One hand-over, from hello to welcome.
    fn greet(self, stream: UnixStream, peer: Peer) -> Result<(), (Option<UnixStream>, Refusal)> {
        if let Err(error) = stream.set_nonblocking(false) {
            return Err((None, error.into()));
        }
        let guest =
            link::receive(stream, peer).map_err(|(stream, refusal)| (Some(stream), refusal))?;
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
