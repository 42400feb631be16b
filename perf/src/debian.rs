//! Tools that a command needs beside itself: found, or installed from Debian where that is allowed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

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

/// A program's path, after installing the package that brings it where it is missing and this is
/// Debian and root; else what is missing, and what would bring it.
///
/// `say` is told before anything is installed. On a machine that runs systemd a package may start
/// a service, which this does not undo.
pub fn ensure(name: &str, package: &str, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    if let Some(path) = program(name) {
        return Ok(path);
    }
    let command = format!("apt-get install -y --no-install-recommends {package}");
    if !rustix::process::getuid().is_root() || program("apt-get").is_none() {
        return Err(format!(
            "{name} is not installed; as root on Debian: {command}"
        ));
    }
    say(&format!("{name} is not installed; running: {command}"));
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    if apt_get(&install).is_err() {
        // Package lists may be missing or out of date.
        apt_get(&["update", "-qq"])?;
        apt_get(&install)?;
    }
    program(name).ok_or_else(|| format!("{package} was installed, but there is no {name}"))
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
    let last = errors.trim().lines().last().unwrap_or("no message");
    Err(format!("apt-get {}: {last}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_nothing_is_run_for_it() {
        let mut said = Vec::new();
        let found = ensure("sh", "dash", &mut |text| said.push(text.to_owned()));
        assert!(found.is_ok_and(|path| path.is_file()));
        assert!(said.is_empty(), "{said:?}");
    }
}
