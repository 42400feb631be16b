//! A recorder process for a test: started, killed, started again on the same folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use penstock_recorder::log::{self, Recorded};

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    dir: tempfile::TempDir,
    child: Option<Child>,
    extra: String,
}

/// Whether the machine lets a recorder run; says so where not.
pub(crate) fn possible() -> bool {
    match penstock_recorder::daemon::probe() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("SKIPPED: {reason}");
            false
        }
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

// === impl Host ===

impl Host {
    /// A folder on the disk that the build lives on, so that direct writes are exercised.
    pub(crate) fn new(extra: &str) -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")), extra)
    }

    pub(crate) fn within(parent: &Path, extra: &str) -> Self {
        let dir = tempfile::tempdir_in(parent).expect("a folder");
        let host = Self {
            dir,
            child: None,
            extra: extra.to_owned(),
        };
        let text = format!(
            "socket = {:?}\ndirectory = {:?}\n{}\n",
            host.socket(),
            host.log_dir(),
            host.extra
        );
        fs::write(host.path("recorder.toml"), text).expect("written");
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("recorder.sock")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.path("log")
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let ready = self.path("ready");
        let _ = fs::remove_file(&ready);
        let stderr = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("stderr"))
            .expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_penstock-recorder"))
            .args(["run", "--config"])
            .arg(self.path("recorder.toml"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("starts");
        self.child = Some(child);
        eventually("the recorder is ready", || {
            let ended = self
                .child
                .as_mut()
                .expect("started")
                .try_wait()
                .expect("known");
            assert!(
                ended.is_none(),
                "the recorder ended: {ended:?}\n{}",
                self.stderr()
            );
            ready.exists()
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("started");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "{status}\n{}", self.stderr());
    }

    /// SIGTERM; it must end before our patience does.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("started");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("known") {
                return status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it does not stop\n{}", self.stderr());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Every frame in the log.
    pub(crate) fn frames(&self) -> Vec<Recorded> {
        let log = log::open(&self.log_dir()).expect("a log");
        log.frames().collect::<Result<_, _>>().expect("readable")
    }

    /// Runs the tool.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_penstock-recorder"))
            .args(arguments)
            .output()
            .expect("runs")
    }

    /// `verify` on the log; it must be good.
    pub(crate) fn assert_verified(&self) {
        let output = self.tool(&["verify", self.log_dir().to_str().expect("UTF-8"), "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", self.stderr());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- the recorder's log ---\n{}", self.stderr());
        }
    }
}
