//! A Postgres of a test's own: the real server from the system's packages, on a Unix socket in a
//! folder that goes away with it, as a user without rights where the test runs as root. Where it is
//! missing or cannot run, a test says that it skips, and why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::stack::wait;
use crate::tls::pem;

/// The user of the database and of its superuser.
const USER: &str = "penstock";
/// Nothing on the network, no care for a crash of the machine, little memory.
const SETTINGS: [&str; 5] = [
    "listen_addresses=",
    "fsync=off",
    "max_connections=20",
    "unix_socket_permissions=0777",
    "shared_buffers=16MB",
];

pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Option<Child>,
    /// `name=value`, each.
    settings: Vec<String>,
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

    /// The same over TCP, where it takes connections in TLS alone and shows a certificate for this
    /// name; its port, and the certificate to trust.
    pub(crate) fn start_tls(name: &str) -> Option<(Self, u16, PathBuf)> {
        let made = Self::make().and_then(|mut it| {
            let port = it.set_up_tls(name).map_err(|error| error.to_string())?;
            it.serve().map(|()| (it, port))
        });
        let (this, port) = made
            .map_err(|reason| eprintln!("SKIPPED: no Postgres: {reason}"))
            .ok()?;
        let certificate = this.path("server.crt");
        Some((this, port, certificate))
    }

    fn set_up_tls(&mut self, name: &str) -> std::io::Result<u16> {
        let made =
            rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let certificate = pem("CERTIFICATE", made.cert.der());
        fs::write(self.path("server.crt"), certificate)?;
        let key = self.path("server.key");
        fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der()))?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        if rustix::process::getuid().is_root() {
            // The server wants to own it; `nobody` has this number on Linux.
            std::os::unix::fs::chown(&key, Some(65534), Some(65534))?;
        }
        let rules = "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";
        fs::write(self.path("rules"), rules)?;
        // Free a moment ago, and hardly taken since.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        self.settings
            .retain(|it| !it.starts_with("listen_addresses"));
        let path = |name: &str| self.path(name).display().to_string();
        self.settings.extend([
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", path("server.crt")),
            format!("ssl_key_file={}", path("server.key")),
            format!("hba_file={}", path("rules")),
        ]);
        Ok(port)
    }

    fn make() -> Result<Self, String> {
        let programs = programs().ok_or("initdb is not installed (Debian: postgresql)")?;
        // Where another user may be let in, and with a short path: sockets' are bounded.
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
            settings: SETTINGS.map(str::to_owned).to_vec(),
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
            .args(self.settings.iter().flat_map(|it| ["-c", it]))
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
                .args(["-p", &self.port()])
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

    fn port(&self) -> String {
        let said = self.settings.iter().find_map(|it| it.strip_prefix("port="));
        said.unwrap_or("5432").to_owned()
    }

    /// The file with the password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.path("password")
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
