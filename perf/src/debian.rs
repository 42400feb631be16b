//! Tools that a command needs beside itself: found, or installed from Debian where that is allowed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::subject::install;

/// A program's path, after installing the package that brings it where it is missing and this is
/// Debian and root; else what is missing, and what would bring it.
pub fn ensure(program: &str, package: &str, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    if let Some(path) = install::program(program) {
        return Ok(path);
    }
    let command = format!("apt-get install -y --no-install-recommends {package}");
    if !rustix::process::getuid().is_root() || install::program("apt-get").is_none() {
        return Err(format!(
            "{program} is not installed; as root on Debian: {command}"
        ));
    }
    say(&format!("{program} is not installed; running: {command}"));
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", package])?;
    install::program(program)
        .ok_or_else(|| format!("{package} was installed, but there is no {program}"))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("apt-get: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "apt-get {}: {}",
            arguments.join(" "),
            errors.trim()
        )),
    }
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
