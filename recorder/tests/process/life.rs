//! A recorder's life without crashes: starting, taking in, refusing, rotating, resting, ending.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use penstock_recorder::frame::FrameBody;
use penstock_recorder::link::LinkError;
use penstock_recorder::segment;

use super::gateway::{Gateway, chunk, close, numbered, open, session};
use super::host::{Host, eventually, possible};

#[test]
fn several_gateways_are_recorded_while_the_log_is_read() {
    if !possible() {
        return;
    }
    let mut host = Host::new("segment_bytes = \"128KiB\"");
    host.start();
    let socket = host.socket();
    let gateways: Vec<_> = (1..=3u8)
        .map(|number| {
            let socket = socket.clone();
            thread::spawn(move || {
                let mut gateway = Gateway::new();
                gateway.connect(&socket).expect("taken over");
                let id = session(number);
                gateway.push(&open(id, "alice", "llama"));
                (1..400).for_each(|index| gateway.push(&chunk(id, index, numbered(index))));
                gateway.push(&close(id, 400));
                gateway.settle();
            })
        })
        .collect();
    // Reading while it is written finds a whole log, every time.
    while gateways.iter().any(|gateway| !gateway.is_finished()) {
        host.assert_verified();
    }
    gateways
        .into_iter()
        .for_each(|gateway| gateway.join().expect("no panic"));
    let live = segment::verify(&host.log_dir()).expect("readable");
    assert_eq!((live.state, live.is_good()), ("live", true));
    host.stop();
    let report = segment::verify(&host.log_dir()).expect("readable");
    assert!(report.is_good() && report.segments > 3, "{report:?}");
    assert_eq!(report.state, "closed");
    let frames = host.frames();
    for number in 1..=3 {
        let indexes: Vec<u32> = frames
            .iter()
            .filter(|recorded| recorded.frame.session == session(number))
            .map(|recorded| recorded.frame.index)
            .collect();
        assert!(indexes.iter().copied().eq(0..=400), "session {number}");
    }
}

#[test]
fn an_idle_recorder_rests_and_wakes_for_a_bell() {
    if !possible() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut gateway = Gateway::new();
    gateway.connect(&host.socket()).expect("taken over");
    gateway.push(&open(session(1), "alice", "llama"));
    gateway.settle();
    thread::sleep(Duration::from_millis(200));
    let ticks = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .expect("a name")
            .1
            .split(' ')
            .collect();
        fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system")
    };
    let before = ticks(host.pid());
    thread::sleep(Duration::from_millis(1500));
    let used = ticks(host.pid()) - before;
    assert!(used <= 2, "{used} ticks of 10 ms in 1.5 s of rest");
    gateway.push(&close(session(1), 1));
    gateway.settle();
    host.stop();
    assert_eq!(host.frames().len(), 2);
}

#[test]
fn strangers_and_a_second_recorder_are_refused() {
    if !possible() {
        return;
    }
    let uid = rustix::process::geteuid().as_raw();
    let mut host = Host::new(&format!("allowed_uids = [{}]", uid + 1));
    host.start();
    let refused = Gateway::new()
        .connect(&host.socket())
        .expect_err("not on the list");
    assert!(matches!(refused, LinkError::Refused(why) if why.contains("allowed_uids")));
    // A second recorder on the same folder.
    let second = Command::new(env!("CARGO_BIN_EXE_penstock-recorder"))
        .args(["run", "--config"])
        .arg(host.path("recorder.toml"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("another recorder"), "{text}");
    host.stop();
    assert!(!host.socket().exists(), "the socket goes with its recorder");
}

#[test]
fn a_hostile_gateway_is_hung_up_on_and_the_others_go_on() {
    if !possible() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut honest = Gateway::new();
    honest.connect(&host.socket()).expect("taken over");
    let mut hostile = Gateway::new();
    hostile.connect(&host.socket()).expect("taken over");
    hostile.push(&open(session(1), "mallory", "llama"));
    hostile.settle();
    // Its own memory, behind the ring's back: the tail goes beyond the end.
    rustix::io::pwrite(hostile.fds.memfd(), &u64::MAX.to_ne_bytes(), 256).expect("writable");
    rustix::io::write(hostile.fds.eventfd(), &1u64.to_ne_bytes()).expect("rings");
    let mut stream = hostile.stream.take().expect("connected");
    assert_eq!(stream.read(&mut [0; 1]).expect("ends"), 0, "hung up");
    honest.push(&open(session(2), "alice", "llama"));
    honest.push(&close(session(2), 1));
    honest.settle();
    let refused = hostile
        .connect(&host.socket())
        .expect_err("the same ring again");
    assert!(matches!(refused, LinkError::Refused(_)), "{refused}");
    host.stop();
    host.assert_verified();
    let reasons: Vec<String> = host
        .frames()
        .into_iter()
        .filter_map(|recorded| match recorded.frame.body {
            FrameBody::Gap(gap) if recorded.by_recorder => Some(gap.reason),
            _ => None,
        })
        .collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("is corrupt")),
        "{reasons:?}"
    );
}

#[test]
fn bytes_that_are_no_frame_become_a_gap() {
    if !possible() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut gateway = Gateway::new();
    let start = gateway.producer.position();
    gateway.push(&open(session(1), "alice", "llama"));
    let spoiled = gateway.producer.position();
    gateway.push(&chunk(session(1), 1, vec![b'x'; 2000]));
    let end = gateway.producer.position();
    gateway.push(&close(session(1), 2));
    // Spoil the second frame in the ring: its archived root, at its very end.
    let garbage = vec![0xEE; 600];
    let at = 4096 + end - 8 - garbage.len() as u64;
    assert!(start < spoiled && at > spoiled + 4096); // within the payload
    rustix::io::pwrite(gateway.fds.memfd(), &garbage, at).expect("writable");
    gateway.connect(&host.socket()).expect("taken over");
    gateway.settle();
    host.stop();
    host.assert_verified();
    let frames = host.frames();
    assert_eq!(frames.len(), 3, "{frames:?}");
    assert!(matches!(&frames[1].frame.body, FrameBody::Gap(gap) if gap.frames == 1));
    assert!(frames[1].by_recorder && frames[1].frame.session.is_nil());
    let ids: Vec<u32> = [&frames[0], &frames[2]]
        .map(|recorded| recorded.frame.index)
        .into();
    assert_eq!(ids, [0, 2]);
}

#[test]
fn memory_file_systems_are_written_through_the_page_cache() {
    let memory = Path::new("/dev/shm");
    if !possible() || !memory.is_dir() {
        return;
    }
    let mut host = Host::within(memory, "");
    host.start();
    let mut gateway = Gateway::new();
    gateway.connect(&host.socket()).expect("taken over");
    gateway.push(&open(session(1), "alice", "llama"));
    gateway.push(&close(session(1), 1));
    gateway.settle();
    host.kill();
    host.start();
    host.stop();
    assert!(
        host.stderr().contains("refuses O_DIRECT"),
        "{}",
        host.stderr()
    );
    assert_eq!(host.frames().len(), 2);
    host.assert_verified();
}

#[test]
fn a_restart_on_an_altered_log_goes_on_and_keeps_the_evidence() {
    if !possible() {
        return;
    }
    let mut host = Host::new("");
    host.start();
    let mut gateway = Gateway::new();
    gateway.connect(&host.socket()).expect("taken over");
    gateway.push(&open(session(1), "alice", "llama"));
    gateway.push(&close(session(1), 1));
    gateway.settle();
    host.stop();
    let first = host.log_dir().join(segment::file_name(1));
    let mut bytes = fs::read(&first).expect("readable");
    let at = bytes
        .windows(5)
        .position(|window| window == b"alice")
        .expect("the subject");
    bytes[at] = b'A';
    fs::write(&first, &bytes).expect("written");
    host.start();
    gateway.connect(&host.socket()).expect("taken over again");
    gateway.push(&open(session(2), "bob", "llama"));
    gateway.settle();
    host.stop();
    assert_eq!(
        fs::read(&first).expect("readable"),
        bytes,
        "evidence is kept"
    );
    let report = segment::verify(&host.log_dir()).expect("readable");
    let problem = report.problems.first().expect("found");
    assert_eq!(problem.trouble, segment::Trouble::Altered);
    let range = problem.offset.expect("a place")..problem.end.expect("a place");
    assert!(range.contains(&(at as u64)), "{at} in {range:?}");
    assert_eq!(report.problems.len(), 1, "{report:?}");
    eventually("the second session is there", || {
        host.log_dir().join(segment::file_name(2)).exists()
    });
}
