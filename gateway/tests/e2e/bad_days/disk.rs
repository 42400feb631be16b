//! A disk that is really full: a small file system in memory, under the gateway's state alone, which
//! only the gateway sees. Where the system lets nobody mount one, tests say that they skip.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use penstock_loadgen::client::{Call, Response};

use super::people::{
    alice, approve, ask, decision, forwarded, revocation, sam, spend, token, wanted_key,
};
use crate::approvals::{POLICY, ROLES, approval, chat, events, stack, ticket};
use crate::approvals_wait::pending_but;
use crate::control::control;
use crate::stack::{Launch, LogPlace, MODEL, Setup, Stack};
use crate::witness::{code, request_id};

/// More than any state here: what fills it is the filling.
const DISK_BYTES: u64 = 16 << 20;

/// A small disk, gone when dropped.
pub(super) struct Disk {
    folder: tempfile::TempDir,
    /// Lives in the namespace in which the disk is mounted, and keeps both.
    holder: Child,
    /// What [`nsenter`] needs to get there.
    namespaces: &'static [&'static str],
}

// === impl Disk ===

impl Disk {
    /// `None`, said aloud, where it cannot be mounted.
    pub(super) fn mount() -> Option<Self> {
        // Without rights one has them in a namespace of one's own, where the system allows that.
        let ways: [(&[&str], &[&str]); 2] = [
            (
                &["--user", "--map-root-user", "--mount"],
                &["--user", "--preserve-credentials", "--mount"],
            ),
            (&["--mount"], &["--mount"]),
        ];
        let mut told = String::new();
        for (unshare, namespaces) in ways {
            match Self::mount_by(unshare, namespaces) {
                Ok(disk) => return Some(disk),
                Err(reason) => told += &format!(" unshare {}: {reason}.", unshare.join(" ")),
            }
        }
        eprintln!("SKIPPED: no file system can be mounted:{told}");
        None
    }

    fn mount_by(unshare: &[&str], namespaces: &'static [&'static str]) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(said)?;
        // `cat` ends with its standard input, which is ours.
        let script =
            format!("mount -t tmpfs -o size={DISK_BYTES} none \"$1\" && echo ready && cat");
        let mut holder = Command::new("unshare")
            .args(unshare)
            .args(["--", "sh", "-c", &script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(said)?;
        let mut line = String::new();
        let output = holder.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut line).map_err(said)?;
        let disk = Self {
            folder,
            holder,
            namespaces,
        };
        match line == "ready\n" {
            true => Ok(disk),
            false => Err("it is not permitted".to_owned()),
        }
    }

    /// The gateway's state is on it.
    pub(super) fn put_under(&self, setup: &mut Setup) {
        let state = self.folder.path().join("state.db");
        setup.control += &format!("state = \"sqlite://{}\"\n", state.display());
        setup.launch = self.launch();
    }

    /// The recorder's log is on it.
    fn put_under_log(&self, setup: &mut Setup) {
        setup.log_place = Some(LogPlace {
            launch: self.launch(),
            inside: self.folder.path().join("log"),
            outside: self.path("log"),
        });
    }

    /// Into the namespaces in which it is there.
    fn launch(&self) -> Launch {
        let target = self.holder.id().to_string();
        let through = ["nsenter", "--target", &target];
        let through = through.iter().chain(self.namespaces).chain(&["--"]);
        Launch {
            through: through.map(|it| (*it).to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// Where it is, seen from here.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let folder = self.folder.path().strip_prefix("/");
        root.join(folder.expect("an absolute path")).join(name)
    }

    /// Leaves room for nothing.
    pub(super) fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.path("filling"))
            .expect("a file on the small disk");
        let error = loop {
            if let Err(error) = file.write_all(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    /// There is room again.
    pub(super) fn clear(&self) {
        fs::remove_file(self.path("filling")).expect("it was full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn outcome(answer: &Response) -> (u16, String) {
    (answer.status(), code(answer))
}

/// The same of the control API.
fn told(answer: &Response) -> (u16, String) {
    let code = answer.json()["code"].clone();
    (
        answer.status(),
        code.as_str().unwrap_or_default().to_owned(),
    )
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Inference is held, and models may be listed without asking.
fn with_models() -> String {
    POLICY.replace("[\"infer\"]\n\n", "[\"infer\", \"models\"]\n\n")
}

fn models(stack: &Stack, token: &str) -> (u16, String) {
    outcome(&stack.send(Call::get("/v1/models").token(token)))
}

#[test]
fn without_room_to_write_nothing_passes_that_must_be_written_down() {
    let Some(disk) = Disk::mount() else { return };
    let mut stack = stack(|setup| {
        setup.policy = with_models();
        setup.control = ROLES.to_owned();
        disk.put_under(setup);
    });
    let (alice, sam) = (alice(&stack), sam(&stack));
    let bob = token(&stack, "bob", &["engineers"]);
    let approved = ticket(&ask(&stack, &alice, "approved"));
    approve(&stack, &sam, &approved);
    let pending = ticket(&ask(&stack, &alice, "pending"));
    let mut waiting = stack.connect();
    let waits = chat("waiting").field("prefer", "wait=100").token(&alice);
    waits.over(&mut waiting).expect("it is sent");
    let waits = || pending_but(&stack, &[&pending]);
    assert!(stack.wait(|| waits().is_some()), "{}", stack.log());
    let waits = waits().expect("it waits");
    disk.fill();

    // What nobody holds goes on; what is held is refused in the API's own form.
    assert_eq!(models(&stack, &alice).0, 200);
    let held = ask(&stack, &alice, "one more");
    assert_eq!(outcome(&held), is(503, "approvals_unavailable"));
    assert!(
        held.json()["error"]["message"].is_string(),
        "{}",
        held.text()
    );
    // Nothing is used that cannot be written down as used.
    let unavailable = is(503, "approvals_unavailable");
    assert_eq!(spend(&stack, &alice, "approved", &approved), unavailable);
    let decided = |id: &str| control(&stack, &decision(&sam, id, "approve"));
    for id in [&pending, &waits] {
        assert_eq!(decided(id).status(), 503, "{}", decided(id).text());
        assert_eq!(approval(&stack, id)["standing"], "pending");
    }
    assert_eq!(stack.double.counters().requests, 1, "the list of models");
    // Who must go goes; who would get a key gets none.
    let cut = control(&stack, &revocation("bob", None));
    assert_eq!(told(&cut), is(503, "not_kept"), "{}", cut.text());
    assert_eq!(models(&stack, &bob), is(401, "revoked"));
    let key = control(&stack, &wanted_key("carol", "1h"));
    assert_eq!(told(&key), is(503, "state_unavailable"));
    assert!(key.json()["secret"].is_null());

    // Killed while it is full: a start serves what needs nothing written, and promises nothing.
    disk.fill();
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(models(&stack, &alice).0, 200, "{}", stack.log());
    assert_eq!(approval(&stack, &waits)["standing"], "pending");
    assert_eq!(spend(&stack, &alice, "approved", &approved), unavailable);
    assert_eq!(forwarded(&stack, "approved"), 0);

    disk.clear();
    assert_eq!(spend(&stack, &alice, "approved", &approved).0, 200);
    assert_eq!(
        spend(&stack, &alice, "approved", &approved),
        is(403, "approval_used")
    );
    assert_eq!(forwarded(&stack, "approved"), 1);
    // The connection that had waited died: that is written down now.
    assert!(stack.wait(|| approval(&stack, &waits)["standing"] == "withdrawn"));
    assert_eq!(events(&stack, &waits), ["requested", "withdrawn"]);
    approve(&stack, &sam, &pending);
    assert_eq!(spend(&stack, &alice, "pending", &pending).0, 200);
    assert_eq!(control(&stack, &revocation("bob", None)).status(), 201);
    assert_eq!(control(&stack, &wanted_key("carol", "1h")).status(), 201);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(models(&stack, &bob), is(401, "revoked"));
    assert_eq!(
        spend(&stack, &alice, "approved", &approved),
        is(403, "approval_used")
    );
}

#[test]
fn without_room_for_the_record_nothing_passes_that_is_not_written_down_later() {
    /// Together far more than a ring holds.
    const CALLS_MAX: usize = 64;
    let Some(disk) = Disk::mount() else { return };
    let stack = Stack::with(|setup| {
        setup.policy = with_models();
        setup
            .policy
            .truncate(setup.policy.find("[[hold]]").expect("a hold"));
        setup.recorder = "ring_bytes = \"512KiB\"\n".to_owned();
        setup.limits = "ring_wait = \"100ms\"".to_owned();
        disk.put_under_log(setup);
    });
    let before = stack.call(chat("before"));
    assert_eq!(before.status(), 200, "{}", before.text());
    stack.session_of(&before);
    disk.fill();
    let prompt = "lorem ipsum ".repeat(5_000);
    // What the ring holds is answered; one in whose middle it was full may be cut.
    let answers = (0..CALLS_MAX).map(|_| {
        let call = Call::chat(MODEL, &prompt, false).token(&stack.token());
        call.to(stack.address()).ok()
    });
    let mut answered = Vec::new();
    let refused = answers.flatten().find(|answer| {
        if answer.status() == 200 {
            answered.push(request_id(answer));
        }
        answer.status() == 503
    });
    let refused = refused.expect("a ring is full in the end");
    assert_eq!(outcome(&refused), is(503, "recorder_unavailable"));
    assert!(!answered.is_empty(), "a ring holds some calls");
    // When not even a small one fits any more, the model is not asked.
    let is_shut = || {
        let asked = stack.double.counters().requests;
        let call = chat("meanwhile").token(&stack.token());
        let answer = call.to(stack.address());
        let is_refused = answer.is_ok_and(|it| code(&it) == "recorder_unavailable");
        is_refused && stack.double.counters().requests == asked
    };
    assert!(stack.wait(is_shut), "{}", stack.log());

    disk.clear();
    let serves = || stack.call(chat("after")).status() == 200;
    assert!(stack.wait(serves), "{}", stack.log());
    for id in &answered {
        assert!(stack.session(id).close().is_some(), "{id}");
    }
    stack.assert_verified();
}
