//! A disk that takes nothing for a while: what was pushed stays in the ring, the recorder stays,
//! and says so; with room again the log goes on without a hole.

use std::fs;
use std::path::Path;
use std::process::Command;

use penstock_recorder::frame::SessionId;
use penstock_recorder::link::LinkError;
use penstock_recorder::ring::PushError;
use penstock_recorder::segment;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::gateway::{Gateway, Process, chunk, close, numbered, open, session};
use super::host::{Host, eventually, possible};

const COMPLAINT: &str = "cannot write the log; frames wait in the rings";
const RELIEF: &str = "the log can be written again";
/// Files of the recorder that may grow as long as this and no longer, which fails like a full disk.
const CRAMPED_BYTES: u64 = 24 << 10;

/// A gateway that has opened one session and goes on with it.
struct Caller {
    gateway: Gateway,
    id: SessionId,
    next: u32,
}

// === impl Caller ===

impl Caller {
    fn connect(host: &Host) -> Self {
        let mut gateway = Gateway::new();
        gateway.connect(&host.socket()).expect("taken over");
        let id = session(1);
        gateway.push(&open(id, "alice", "llama"));
        Self {
            gateway,
            id,
            next: 1,
        }
    }

    /// `false`: the ring is full, and the frame is not in it.
    fn push(&mut self) -> bool {
        let frame = chunk(self.id, self.next, numbered(self.next));
        match self.gateway.producer.push(&frame) {
            Ok(()) => {
                self.next += 1;
                true
            }
            Err(error) => {
                assert_eq!(error, PushError::Full);
                false
            }
        }
    }

    /// Goes on until the recorder says that it cannot write, and then until the ring is full: the
    /// sign for a gateway to act as `on_recorder_loss` says.
    fn push_into_the_outage(&mut self, host: &Host) {
        eventually("the recorder complains", || {
            (0..64).all(|_| self.push());
            host.stderr().contains(COMPLAINT)
        });
        let used = self.gateway.producer.used();
        assert!(used > 0, "what is not written is still in the ring");
        while self.push() {}
        assert!(self.gateway.producer.used() >= used, "the head stands");
    }

    /// Ends the session; everything that was pushed is in the log, once and in order.
    fn assert_all_recorded(mut self, host: &mut Host) {
        self.gateway.push(&close(self.id, self.next));
        self.gateway.settle();
        host.stop();
        host.assert_verified();
        let frames = host.frames();
        let indexes = frames.iter().map(|recorded| recorded.frame.index);
        assert!(indexes.eq(0..=self.next), "{} frames", frames.len());
        assert!(
            frames.iter().all(|recorded| !recorded.by_recorder),
            "no gap"
        );
    }
}

fn limit_files(host: &Host, bytes: Option<u64>) {
    let pid = Pid::from_raw(host.pid() as i32);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).expect("the limit is set");
}

/// Whether limits of this process may be lifted again, which the tests do.
fn unlimited() -> bool {
    let limited = rustix::process::getrlimit(Resource::Fsize)
        .maximum
        .is_some();
    if limited {
        eprintln!("SKIPPED: a hard limit of file sizes is set");
    }
    !limited
}

#[test]
fn nothing_is_lost_while_writes_fail() {
    if !possible() || !unlimited() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut caller = Caller::connect(&host);
    caller.gateway.settle();
    limit_files(&host, Some(CRAMPED_BYTES));
    caller.push_into_the_outage(&host);
    assert!(host.stderr().contains(&segment::file_name(1)), "which file");
    let refused = Gateway::new().connect(&host.socket()).expect_err("not now");
    assert!(
        matches!(&refused, LinkError::Refused(why) if why.contains("cannot be written")),
        "{refused}"
    );
    limit_files(&host, None);
    eventually("it recovers", || host.stderr().contains(RELIEF));
    for _ in 0..1000 {
        let frame = chunk(caller.id, caller.next, numbered(caller.next));
        caller.gateway.push(&frame);
        caller.next += 1;
    }
    caller.assert_all_recorded(&mut host);
}

#[test]
fn a_recorder_that_cannot_write_stops_when_asked_and_the_next_one_goes_on() {
    if !possible() || !unlimited() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut caller = Caller::connect(&host);
    limit_files(&host, Some(CRAMPED_BYTES));
    caller.push_into_the_outage(&host);
    let status = host.terminate();
    assert_eq!(status.code(), Some(1), "not in good order");
    let told = host.stderr();
    assert!(told.contains("cannot write the log in"), "{told}");
    host.start();
    caller
        .gateway
        .connect(&host.socket())
        .expect("the same ring again");
    caller.assert_all_recorded(&mut host);
}

#[test]
fn a_segment_that_cannot_be_begun_is_begun_later() {
    if !possible() {
        return;
    }
    let mut host = Host::new("segment_bytes = \"64KiB\"");
    host.start();
    let mut caller = Caller::connect(&host);
    let obstacle = host.log_dir().join(segment::file_name(2));
    fs::create_dir(&obstacle).expect("made");
    caller.push_into_the_outage(&host);
    fs::remove_dir(&obstacle).expect("it was not touched");
    eventually("it recovers", || host.stderr().contains(RELIEF));
    caller.assert_all_recorded(&mut host);
    assert!(obstacle.is_file(), "now a segment");
}

#[test]
fn what_a_gateway_left_that_died_meanwhile_is_recorded() {
    if !possible() || !unlimited() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let id = session(1);
    limit_files(&host, Some(CRAMPED_BYTES));
    let gateway = Process::start(&host.socket(), id);
    eventually("the recorder complains", || {
        host.stderr().contains(COMPLAINT)
    });
    let pushed = gateway.kill();
    limit_files(&host, None);
    let mut frames = Vec::new();
    eventually("the session is marked as abandoned", || {
        frames = host.frames();
        frames.iter().any(|recorded| recorded.by_recorder)
    });
    host.stop();
    host.assert_verified();
    let indexes: Vec<u32> = frames
        .iter()
        .filter(|recorded| !recorded.by_recorder)
        .map(|recorded| recorded.frame.index)
        .collect();
    let logged = indexes.len() as u32;
    assert!(indexes.iter().copied().eq(0..logged), "once and in order");
    assert!(logged > pushed, "{pushed} were told, {logged} logged");
}

/// A file system in memory, of its own size; `None` where it may not be mounted.
struct Small<'a>(&'a Path);

// === impl Small ===

impl<'a> Small<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        mount(&["-t", "tmpfs", "-o", options, "penstock-test"], at).then_some(Self(at))
    }

    fn enlarge(&self) {
        let options = "remount,size=64m,nr_inodes=1000";
        assert!(mount(&["-o", options], self.0), "remounted");
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_file_system_is_survived() {
    if !possible() {
        return;
    }
    // Out of space in the middle of a segment, out of space about where one ends, out of files.
    for options in ["size=96k", "size=68k", "size=144k", "size=64m,nr_inodes=5"] {
        let mut host = Host::new("segment_bytes = \"64KiB\"");
        let dir = host.log_dir();
        fs::create_dir(&dir).expect("made");
        let Some(disk) = Small::mount(&dir, options) else {
            eprintln!("SKIPPED: a tmpfs may not be mounted here");
            return;
        };
        host.start();
        let mut caller = Caller::connect(&host);
        caller.push_into_the_outage(&host);
        disk.enlarge();
        eventually("it recovers", || host.stderr().contains(RELIEF));
        caller.assert_all_recorded(&mut host);
    }
}
