//! A whole Penstock for one test: the double and the identity provider in this process, the
//! recorder and the gateway as the real programs, everything on loopback at free ports, in a
//! folder that goes away with it.
//!
//! A test says only what is particular to it: `Stack::with(|setup| setup.limits("head_read =
//! \"300ms\""))`. The gateway's log is in [`Stack::log`], so that every test can look for what must
//! not be in it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use penstock_loadgen::client::{Connection, Response};
use penstock_loadgen::double::{Double, DoubleOptions};
use penstock_loadgen::issuer::{Issuer, IssuerOptions};

/// How long a program may take to be ready or to end; far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The model that the default policy grants to the default caller.
pub(crate) const MODEL: &str = "llama-3-8b";

/// What is particular to a test. Each text is put into `gateway.toml` as it is.
pub(crate) struct Setup {
    /// Before the first section.
    pub(crate) top: String,
    /// Under `[limits]`.
    pub(crate) limits: String,
    /// Under `[listen]`, after `tcp` and `ready_file`.
    pub(crate) listen: String,
    /// Under `[upstream]`, after `address` and `profiles`.
    pub(crate) upstream: String,
    /// The upstream's address where it is not the double's TCP address.
    pub(crate) upstream_address: Option<String>,
    /// Under `[recorder]`, after `socket`.
    pub(crate) recorder: String,
    /// Under `[policy]`, in place of its folder.
    pub(crate) policies: String,
    /// Under `[[issuer]]`, after `name`, `url` and `audiences`.
    pub(crate) issuer: String,
    /// Under `[control]`, after `socket`.
    pub(crate) control: String,
    /// More files of the stack's folder, by name.
    pub(crate) files: Vec<(String, String)>,
    /// More sections.
    pub(crate) more: String,
    /// `policies/main.toml`.
    pub(crate) policy: String,
    /// How the double is set up.
    pub(crate) double: DoubleOptions,
    /// How the identity provider is set up.
    pub(crate) provider: IssuerOptions,
    /// The identity provider answers nothing yet when the gateway starts.
    pub(crate) provider_fails: bool,
    /// Start a recorder.
    pub(crate) record: bool,
    /// Under which the gateway is started.
    pub(crate) launch: Launch,
    /// Where the recorder writes, if not into the stack's folder.
    pub(crate) log_place: Option<LogPlace>,
}

/// A log in a place of its own.
pub(crate) struct LogPlace {
    /// Under which the recorder is started.
    pub(crate) launch: Launch,
    /// The folder as the recorder sees it.
    pub(crate) inside: PathBuf,
    /// The same as tests see it.
    pub(crate) outside: PathBuf,
}

/// How a program is started, if not as it is.
#[derive(Clone, Default)]
pub(crate) struct Launch {
    /// A program that becomes the one that is meant, and its arguments.
    pub(crate) through: Vec<String>,
    /// More of the environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A running Penstock.
pub(crate) struct Stack {
    folder: tempfile::TempDir,
    pub(crate) double: Double,
    pub(crate) issuer: Issuer,
    recorder: Option<Program>,
    launch: Launch,
    log_place: Option<LogPlace>,
    gateway: Program,
    address: SocketAddr,
}

/// A child process, ended by its own id when dropped.
struct Program(Child);

/// Everything granted to `engineers` on one model, secrets blocked on their way in, personal data
/// and customer numbers masked on their way out.
pub(crate) const POLICY: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["llama-3-*", "bench-*"]
operations = ["infer", "embed", "models", "tokenize"]

[[guard]]
name = "no secrets in"
direction = "request"
packs = ["secrets"]
action = "block"

[[guard]]
name = "personal data out"
direction = "response"
packs = ["secrets", "personal", "customer"]
action = "mask"
except_groups = ["privacy-office"]
"#;

// === impl Setup ===

impl Default for Setup {
    fn default() -> Self {
        Self {
            top: String::new(),
            limits: String::new(),
            listen: String::new(),
            upstream: String::new(),
            upstream_address: None,
            recorder: String::new(),
            policies: "dir = \"policies\"".to_owned(),
            issuer: String::new(),
            control: String::new(),
            files: Vec::new(),
            more: String::new(),
            policy: POLICY.to_owned(),
            double: DoubleOptions::default(),
            provider: IssuerOptions::default(),
            provider_fails: false,
            record: true,
            launch: Launch::default(),
            log_place: None,
        }
    }
}

// === impl Launch ===

impl Launch {
    fn command(&self, program: PathBuf) -> Command {
        let mut command = match self.through.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.envs(self.environment.iter().cloned());
        command
    }
}

// === impl Stack ===

impl Stack {
    /// With all defaults.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// Without a recorder, for tests of what a record does not change.
    pub(crate) fn unrecorded() -> Self {
        Self::with(|setup| setup.record = false)
    }

    /// With these bounds, without a recorder.
    pub(crate) fn bounded(limits: &str) -> Self {
        Self::with(|setup| {
            setup.record = false;
            setup.limits = limits.to_owned();
        })
    }

    /// With what `change` makes particular.
    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let double = Double::start(setup.double.clone()).expect("the double starts");
        let issuer = Issuer::start(setup.provider.clone()).expect("the issuer starts");
        issuer.fail(setup.provider_fails);
        let policies = folder.path().join("policies");
        fs::create_dir_all(&policies).expect("a folder for policies");
        fs::write(policies.join("main.toml"), &setup.policy).expect("the policy is written");
        for (name, text) in &setup.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("its folder");
            fs::write(path, text).expect("a file is written");
        }
        let config = render(&setup, &double, &issuer);
        fs::write(folder.path().join("gateway.toml"), config)
            .expect("the configuration is written");
        let place = setup.log_place.as_ref();
        let recorder = setup.record.then(|| start_recorder(folder.path(), place));
        let gateway = start_gateway(folder.path(), &setup.launch);
        let address = await_ready(folder.path());
        Self {
            folder,
            double,
            issuer,
            recorder,
            launch: setup.launch,
            log_place: setup.log_place,
            gateway,
            address,
        }
    }

    /// Where callers connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The stack's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A token of somebody whom the default policy grants inference.
    pub(crate) fn token(&self) -> String {
        self.issuer.token("alice", &["engineers"])
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::tcp(self.address).expect("the gateway accepts")
    }

    /// Sends one request with this token and JSON body, and reads the whole answer.
    pub(crate) fn post(&self, token: &str, path: &str, body: &str) -> Response {
        let mut connection = self.connect();
        connection
            .send(&post_bytes(token, path, body))
            .expect("the request is sent");
        connection.read_response().expect("an answer")
    }

    /// A chat request with one user message, answered whole.
    pub(crate) fn chat(&self, text: &str) -> Response {
        self.post(
            &self.token(),
            "/v1/chat/completions",
            &chat_body(text, false),
        )
    }

    /// What the gateway has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("gateway.log")).unwrap_or_default()
    }

    /// The gateway's process id.
    pub(crate) fn gateway_pid(&self) -> u32 {
        self.gateway.0.id()
    }

    /// Asks the gateway to stop (SIGTERM).
    pub(crate) fn terminate_gateway(&self) {
        let pid = i32::try_from(self.gateway_pid()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("the gateway is signalled");
    }

    /// Waits until the gateway has ended of itself, and returns its exit code.
    pub(crate) fn gateway_exit(&mut self) -> Option<i32> {
        let mut code = None;
        let ended = wait(|| match self.gateway.0.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            _ => false,
        });
        assert!(ended, "the gateway goes on:\n{}", self.log());
        code
    }

    /// Lets the recorder stand still (SIGSTOP), or go on (SIGCONT).
    pub(crate) fn pause_recorder(&self, paused: bool) {
        let recorder = self.recorder.as_ref().expect("a recorder runs");
        let pid = i32::try_from(recorder.0.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        let signal = match paused {
            true => rustix::process::Signal::STOP,
            false => rustix::process::Signal::CONT,
        };
        rustix::process::kill_process(pid, signal).expect("the recorder is signalled");
    }

    /// Kills the recorder at once (SIGKILL).
    pub(crate) fn kill_recorder(&mut self) {
        if let Some(mut recorder) = self.recorder.take() {
            recorder.end();
        }
    }

    /// Starts a recorder on the same folder again.
    pub(crate) fn start_recorder(&mut self) {
        let recorder = start_recorder(self.folder.path(), self.log_place.as_ref());
        self.recorder = Some(recorder);
    }

    /// Kills the gateway at once (SIGKILL).
    pub(crate) fn kill_gateway(&mut self) {
        self.gateway.end();
    }

    /// Starts a gateway with the same configuration again, at an address of its own.
    pub(crate) fn start_gateway(&mut self) {
        self.gateway = start_gateway(self.folder.path(), &self.launch);
        self.address = await_ready(self.folder.path());
    }

    /// Starts a gateway that must end of itself; its exit code.
    pub(crate) fn gateway_refuses(&mut self) -> Option<i32> {
        self.gateway = start_gateway(self.folder.path(), &self.launch);
        self.gateway_exit()
    }

    /// Runs `penstock-recorder` on the log and returns its output when it succeeds.
    pub(crate) fn recorder_tool(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(binary("penstock-recorder"))
            .args(arguments)
            .output()
            .expect("penstock-recorder runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// The folder with the segments.
    pub(crate) fn segments(&self) -> PathBuf {
        match &self.log_place {
            Some(place) => place.outside.clone(),
            None => self.path("log"),
        }
    }

    /// Waits until `done` holds; false when patience ran out first.
    pub(crate) fn wait(&self, done: impl FnMut() -> bool) -> bool {
        wait(done)
    }
}

/// The bytes of a POST.
pub(crate) fn post_bytes(token: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A chat body with one user message.
pub(crate) fn chat_body(text: &str, stream: bool) -> String {
    serde_json::json!({
        "model": MODEL,
        "stream": stream,
        "messages": [{"role": "user", "content": text}],
    })
    .to_string()
}

/// A chat body to which the double answers as `answer` says (`penstock-loadgen upstream --help`).
pub(crate) fn scripted(answer: &serde_json::Value, stream: bool) -> String {
    chat_body(&format!("[[double: {answer}]]"), stream)
}

fn render(setup: &Setup, double: &Double, issuer: &Issuer) -> String {
    let recorder = match setup.record || !setup.recorder.is_empty() {
        true => format!("socket = \"recorder.sock\"\n{}", setup.recorder),
        false => "enabled = false".to_owned(),
    };
    let upstream = match &setup.upstream_address {
        Some(address) => address.clone(),
        None => double.address().to_string(),
    };
    format!(
        "{}\n[listen]\ntcp = \"127.0.0.1:0\"\nready_file = \"gateway.ready\"\n{}\n\
         [policy]\n{}\n\
         [[issuer]]\nname = \"dev\"\nurl = \"{}\"\naudiences = [\"penstock\"]\n{}\n\
         [upstream]\naddress = \"{}\"\nprofiles = [\"openai\", \"anthropic\", \"vllm\"]\n{}\n\
         [recorder]\n{recorder}\n\
         [control]\nsocket = \"control.sock\"\n{}\n\
         [limits]\nqueue_delay = \"0s\"\n{}\n{}\n",
        setup.top,
        setup.listen,
        setup.policies,
        issuer.url(),
        setup.issuer,
        upstream,
        setup.upstream,
        setup.control,
        setup.limits,
        setup.more,
    )
}

/// A program of this workspace, next to the gateway's.
fn binary(name: &str) -> PathBuf {
    let gateway = Path::new(env!("CARGO_BIN_EXE_penstock-gateway"));
    let path = gateway.with_file_name(name);
    assert!(
        path.exists(),
        "{name} is not built: cargo build --workspace --bins"
    );
    path
}

fn spawn(folder: &Path, command: &mut Command, log: &str) -> Program {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(log))
        .expect("a log file");
    let child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log file twice"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    Program(child)
}

fn start_recorder(folder: &Path, place: Option<&LogPlace>) -> Program {
    let log = folder.join("log");
    let (inside, outside) = place.map_or((&log, &log), |it| (&it.inside, &it.outside));
    fs::create_dir_all(outside).expect("a folder for the log");
    let socket = folder.join("recorder.sock");
    let _ = fs::remove_file(&socket);
    let config = format!(
        "socket = \"{}\"\ndirectory = \"{}\"\n",
        socket.display(),
        inside.display()
    );
    fs::write(folder.join("recorder.toml"), config).expect("the recorder's configuration");
    let launch = place.map(|it| it.launch.clone()).unwrap_or_default();
    let mut command = launch.command(binary("penstock-recorder"));
    let config = folder.join("recorder.toml");
    command.args(["run", "--config"]).arg(config);
    let recorder = spawn(folder, &mut command, "recorder.log");
    assert!(wait(|| socket.exists()), "{}", tail(folder, "recorder.log"));
    recorder
}

fn start_gateway(folder: &Path, launch: &Launch) -> Program {
    let _ = fs::remove_file(folder.join("gateway.ready"));
    let mut command = launch.command(binary("penstock-gateway"));
    // By its whole path: it may be started somewhere else.
    let config = folder.join("gateway.toml");
    command.args(["run", "--config"]).arg(config);
    spawn(folder, &mut command, "gateway.log")
}

fn await_ready(folder: &Path) -> SocketAddr {
    let ready = folder.join("gateway.ready");
    assert!(wait(|| ready.exists()), "{}", tail(folder, "gateway.log"));
    let line = fs::read_to_string(ready).expect("the ready file");
    line.trim().parse().expect("an address in the ready file")
}

fn tail(folder: &Path, log: &str) -> String {
    let text = fs::read_to_string(folder.join(log)).unwrap_or_default();
    format!("not ready; {log} says:\n{text}")
}

/// Waits until `done` holds; false when patience ran out first.
pub(crate) fn wait(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

// === impl Program ===

impl Program {
    fn end(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
