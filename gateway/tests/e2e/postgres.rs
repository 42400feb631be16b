//! A Postgres of a test's own: the real server from the system's packages, on a Unix socket in a
//! folder that goes away with it, as a user without rights where the test runs as root. Where it is
//! missing or cannot run, a test says that it skips, and why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::stack::wait;

/// The user of the database and of its superuser.
const USER: &str = "penstock";

pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Option<Child>,
    /// Made up for each cluster.
    pub(crate) password: String,
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster and starts it; `None`, said aloud, where that cannot be.
    pub(crate) fn start() -> Option<Self> {
        let made = Self::make().and_then(|mut it| it.serve().map(|()| it));
        made.map_err(|reason| eprintln!("SKIPPED: no Postgres: {reason}"))
            .ok()
    }

    fn make() -> Result<Self, String> {
        let programs = programs().ok_or("initdb is not installed (Debian: postgresql)")?;
        // Under /tmp, where another user may be let in, and with a short path: sockets' are bounded.
        let folder = tempfile::Builder::new()
            .prefix("pg")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let random: [u8; 12] = std::array::from_fn(|_| rand_byte());
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let this = Self {
            folder,
            programs,
            server: None,
            password,
        };
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(this.folder.path(), open).map_err(|error| error.to_string())?;
        fs::write(this.path("password"), &this.password).map_err(|error| error.to_string())?;
        let made = this
            .command("initdb")
            .args([
                "--auth=scram-sha-256",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--username", USER, "--pwfile"])
            .arg(this.path("password"))
            .arg("--pgdata")
            .arg(this.path("data"))
            .output()
            .map_err(|error| error.to_string())?;
        match made.status.success() {
            true => Ok(this),
            false => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
        }
    }

    /// Starts the server and waits until it takes connections.
    pub(crate) fn serve(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.path("server.log")).map_err(|error| error.to_string())?;
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.path("data"))
            .arg("-k")
            .arg(self.folder.path())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=20",
            ])
            .args([
                "-c",
                "unix_socket_permissions=0777",
                "-c",
                "shared_buffers=16MB",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        self.server = Some(server);
        let answers = || {
            let asked = self
                .command("pg_isready")
                .arg("-q")
                .arg("-h")
                .arg(self.folder.path())
                .status();
            asked.is_ok_and(|status| status.success())
        };
        match wait(answers) {
            true => Ok(()),
            false => Err(fs::read_to_string(self.path("server.log")).unwrap_or_default()),
        }
    }

    /// Ends the server at once, as a crash would end its connections (SIGQUIT).
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // The server itself: what it was started through has become it.
        let pid = i32::try_from(server.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = server.wait();
    }

    /// What `[control]` says of it.
    pub(crate) fn state(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!(
            "state = \"postgres://{USER}@{socket}/postgres\"\n\
             state_password_file = \"{}\"",
            self.path("password").display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of its programs, as a user without rights: the server refuses to run as root.
    fn command(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        if !rustix::process::getuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"])
            .arg(program)
            .current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where initdb and postgres are; Debian keeps them out of PATH.
fn programs() -> Option<PathBuf> {
    let has = |folder: &Path| folder.join("initdb").exists() && folder.join("postgres").exists();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = versions.flatten().map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .chain(std::env::split_paths(&path))
        .find(|folder| has(folder))
}

fn rand_byte() -> u8 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(()).to_le_bytes()[0]
}
