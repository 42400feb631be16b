//! Finds the programs of subjects, and installs from Debian what is missing where that is allowed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::penstock::{GATEWAY, RECORDER, sibling};
use super::{Subject, foreign};

/// Folders that are looked through after those of `PATH`: daemons often live outside it.
const DAEMON_FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where a program is.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DAEMON_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Makes sure that a subject can be started; says what is missing otherwise.
///
/// Installing needs root and apt-get; `say` is told before it begins. On a machine that runs
/// systemd the package also starts the proxy's service, which this does not undo.
pub fn ensure(subject: Subject, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    match subject {
        Subject::Direct | Subject::Floor => Ok(()),
        Subject::Nginx | Subject::Haproxy => ensure_package(subject.name(), say),
        Subject::Envoy | Subject::Litellm | Subject::Portkey => foreign::ensure(subject, say),
        Subject::PenstockOff | Subject::PenstockAuth => ensure_built(&[GATEWAY]),
        Subject::PenstockOn => ensure_built(&[GATEWAY, RECORDER]),
    }
}

fn ensure_built(names: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = names
        .iter()
        .filter(|name| sibling(name).is_none())
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|name| format!(" -p {name}")).collect();
    let profile = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    Err(format!(
        "{} must lie beside this program: cargo build{profile}{}",
        missing.join(" and "),
        packages.concat()
    ))
}

fn ensure_package(name: &str, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    if program(name).is_some() {
        return Ok(());
    }
    let command = format!("apt-get install -y --no-install-recommends {name}");
    if !rustix::process::getuid().is_root() || program("apt-get").is_none() {
        return Err(format!("{name} is not installed; as root: {command}"));
    }
    say(&format!("{name} is not installed; running: {command}"));
    let install = ["install", "-y", "-qq", "--no-install-recommends", name];
    if apt_get(&install).is_err() {
        // Package lists may be missing or out of date.
        apt_get(&["update", "-qq"])?;
        apt_get(&install)?;
    }
    match program(name) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{name} was installed, but there is no such program"
        )),
    }
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("apt-get: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors
        .trim()
        .lines()
        .last()
        .unwrap_or("no message")
        .to_owned();
    Err(format!("apt-get {}: {last}", arguments.join(" ")))
}
