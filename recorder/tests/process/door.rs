//! Who may come in is let in, whatever those do who may not; and a signal is heard in any case.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use penstock_recorder::link::LinkError;
use rustix::process::Uid;

use super::gateway::{Gateway, close, open, session};
use super::host::{Host, eventually, possible};

/// More than there are hand-overs at a time.
const CROWD: u32 = 24;
/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Callers that send a byte now and then and never finish; hung up on, they come again.
struct Crowd {
    over: Arc<AtomicBool>,
    /// How often one was hung up on.
    hung_up: Arc<AtomicU32>,
    threads: Vec<thread::JoinHandle<()>>,
}

// === impl Crowd ===

impl Crowd {
    fn gather(socket: &Path, user: Option<Uid>) -> Self {
        let (over, hung_up) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let callers = (0..CROWD).map(|_| {
            let (socket, over, hung_up) = (socket.to_owned(), over.clone(), hung_up.clone());
            thread::spawn(move || {
                if let Some(user) = user {
                    // This thread alone: the kernel vouches for whoever connects.
                    rustix::thread::set_thread_uid(user).expect("root may");
                }
                while !over.load(Ordering::Relaxed) {
                    dribble(&socket, &over);
                    hung_up.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = callers.collect();
        Self {
            over,
            hung_up,
            threads,
        }
    }

    fn hung_up(&self) -> u32 {
        self.hung_up.load(Ordering::Relaxed)
    }

    fn disperse(self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .for_each(|caller| caller.join().expect("no panic"));
    }
}

/// The start of an honest hello, again and again, until somebody hangs up.
fn dribble(socket: &Path, over: &AtomicBool) {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return thread::sleep(Duration::from_millis(5));
    };
    for byte in b"PNSTLINK".iter().chain(&[1, 0, 0, 0]).cycle() {
        if over.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn strangers_keep_nobody_out() {
    if !possible() {
        return;
    }
    if own_uid() != 0 {
        eprintln!("SKIPPED: only root can call as two users");
        return;
    }
    // Where another user can get to.
    let mut host = Host::within(&std::env::temp_dir(), "socket_mode = \"0666\"");
    fs::set_permissions(host.path(""), fs::Permissions::from_mode(0o755)).expect("opened");
    host.start();
    let crowd = Crowd::gather(&host.socket(), Some(Uid::from_raw(NOBODY)));
    eventually("each stranger was hung up on", || crowd.hung_up() > CROWD);
    for number in 1..=4 {
        let mut gateway = Gateway::new();
        gateway.connect(&host.socket()).expect("at the first try");
        gateway.push(&open(session(number), "alice", "llama"));
        gateway.push(&close(session(number), 1));
        gateway.settle();
    }
    host.stop();
    crowd.disperse();
    assert_eq!(host.frames().len(), 8);
    let told = host.stderr();
    assert!(told.contains("user 65534 may not bring rings"), "{told}");
    let lines = told.matches("turned away").count();
    assert!(lines <= 8, "strangers cannot fill the log: {lines} lines");
}

#[test]
fn strangers_alone_are_answered_and_hung_up_on() {
    if !possible() {
        return;
    }
    let mut host = Host::new(&format!("allowed_uids = [{}]", own_uid() + 1));
    host.start();
    let crowd = Crowd::gather(&host.socket(), None);
    eventually("each was hung up on", || crowd.hung_up() > 2 * CROWD);
    let mut answer = [0; 8];
    let mut stream = UnixStream::connect(host.socket()).expect("connects");
    stream.read_exact(&mut answer).expect("without a question");
    assert_eq!(&answer, b"PNSTLINK");
    host.stop();
    crowd.disperse();
}

#[test]
fn guests_that_dawdle_hold_up_neither_a_signal_nor_others_for_long() {
    if !possible() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let idlers: Vec<UnixStream> = (0..CROWD)
        .map(|_| UnixStream::connect(host.socket()).expect("connects"))
        .collect();
    let refused = Gateway::new().connect(&host.socket()).expect_err("full");
    assert!(
        matches!(&refused, LinkError::Refused(why) if why.contains("in progress")),
        "{refused}"
    );
    // Each hand-over has one deadline, so the places become free.
    let mut gateway = Gateway::new();
    eventually("there is room again", || {
        gateway.connect(&host.socket()).is_ok()
    });
    gateway.push(&open(session(1), "alice", "llama"));
    gateway.settle();
    drop(idlers);
    let crowd = Crowd::gather(&host.socket(), None);
    eventually("all places are taken", || crowd.hung_up() > 0);
    host.stop();
    crowd.disperse();
}

fn run(host: &Host) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_penstock-recorder"))
        .args(["run", "--config"])
        .arg(host.path("recorder.toml"))
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, told)
}

#[test]
fn what_is_not_a_dead_recorders_is_left_where_it_is() {
    if !possible() {
        return;
    }
    let mut host = Host::new("socket_mode = \"0600\"");
    let socket: PathBuf = host.socket();
    fs::write(&socket, "precious").expect("written");
    let (output, told) = run(&host);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no socket"), "{told}");
    assert_eq!(fs::read(&socket).expect("still there"), b"precious");
    fs::remove_file(&socket).expect("removed");

    let other = UnixListener::bind(&socket).expect("binds");
    let (output, told) = run(&host);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("another process listens there"), "{told}");
    assert!(socket.exists());
    drop(other);

    host.start();
    let mode = fs::metadata(&socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    host.stop();
    assert!(!socket.exists());
}
