//! Counting: the harness `counts` under callgrind, through gungraun's runner.
//!
//! What makes counts repeat: the runner clears the environment and switches address randomisation
//! off; valgrind shows every program the same processor, up to AVX2 where the real one has that; the
//! cases run once before they are counted. What is left is the compiler, the C library and valgrind
//! itself, which the record names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::cases::CASES;
use super::record::MadeWith;
use crate::debian;
use crate::error::{Doing, Error, Result};

/// The runner must be of the library's version exactly; the root's `Cargo.toml` asks for the same.
const RUNNER_VERSION: &str = "0.20.0";

/// Where tools are installed, from the root of the repository.
const TOOLS: &str = "target/tools";

/// How the counted code is built, from the root of the repository.
const BUILD: &str = "perf/benches/counts.toml";

/// What counts depend on, here.
pub fn made_with() -> Result<MadeWith> {
    let said = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .doing(|| format!("starting {program}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let compiler = said("rustc", &["--version", "--verbose"])?;
    let line = |start: &str| {
        let found = compiler.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_default().trim().to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(MadeWith {
        compiler: format!("rustc {} {}", line("release:"), line("host:")),
        libc: said("getconf", &["GNU_LIBC_VERSION"])?,
        valgrind: said("valgrind", &["--version"])?,
        vectors: vectors(&cpus).to_owned(),
    })
}

/// What valgrind lets a program see of the processor's vector instructions.
fn vectors(cpuinfo: &str) -> &'static str {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    match flags.is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "avx2")) {
        true => "AVX2",
        false => "no AVX2",
    }
}

/// Makes sure that valgrind and the runner are there; says what is missing otherwise.
pub fn ensure(root: &Path, say: &mut dyn FnMut(&str)) -> std::result::Result<PathBuf, String> {
    debian::ensure("valgrind", "valgrind", say)?;
    let tools = root.join(TOOLS);
    let runner = tools.join("bin/gungraun-runner");
    if version(&runner).as_deref() == Some(RUNNER_VERSION) {
        return Ok(runner);
    }
    say(&format!(
        "installing gungraun-runner {RUNNER_VERSION} in {TOOLS} (a minute or two, once)"
    ));
    let output = Command::new("cargo")
        // It only starts valgrind and reads what that wrote: building it fast is what counts.
        .args(["install", "--quiet", "--locked", "--debug"])
        .args(["gungraun-runner", "--version"])
        .arg(format!("={RUNNER_VERSION}"))
        .arg("--root")
        .arg(&tools)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    match output.status.success() {
        true => Ok(runner),
        false => Err(format!(
            "gungraun-runner could not be installed: {}",
            end_of(&output)
        )),
    }
}

fn version(runner: &Path) -> Option<String> {
    let output = Command::new(runner).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_ascii_whitespace().last().map(str::to_owned)
}

/// Builds and counts: instructions a unit, by the case's name.
pub fn count(root: &Path, runner: &Path) -> Result<BTreeMap<String, f64>> {
    // Where the harness looks for its runner.
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let own = runner.parent().map(Path::to_owned);
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&folders)))
        .map_err(|error| Error::Unable(format!("the path of {}: {error}", runner.display())))?;
    let output = Command::new("cargo")
        .current_dir(root)
        .args(["bench", "--quiet", "--locked"])
        // The whole workspace, so that its dependencies have the features that its tests built.
        .args(["--workspace", "--bench", "counts"])
        .args(["--profile", "dev", "--config", BUILD])
        .args(["--", "--output-format=json", "--parallel=auto"])
        .env("PATH", path)
        // Parts that are compiled again by themselves are not what a fresh build makes.
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .output()
        .doing(|| "starting cargo bench".into())?;
    if !output.status.success() {
        return Err(Error::Unable(format!(
            "counting failed: {}",
            end_of(&output)
        )));
    }
    let counts = read(&String::from_utf8_lossy(&output.stdout))?;
    let missing: Vec<&str> = CASES
        .iter()
        .map(|case| case.name)
        .filter(|name| !counts.contains_key(*name))
        .collect();
    match missing.is_empty() {
        true => Ok(counts),
        false => Err(Error::Unable(format!(
            "not counted: {}",
            missing.join(", ")
        ))),
    }
}

/// Reads the runner's lines, one object a case.
fn read(text: &str) -> Result<BTreeMap<String, f64>> {
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let wrong = || Error::Unable(format!("not a summary of gungraun: {line}"));
        let summary: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        let name = summary["id"].as_str().ok_or_else(wrong)?;
        let profiles = summary["profiles"].as_array().ok_or_else(wrong)?;
        let instructions = profiles
            .iter()
            .find_map(|profile| profile["data"]["total"]["metrics"]["Ir"]["values"]["new"].as_u64())
            .ok_or_else(wrong)?;
        // A case that the list does not have is an old one's leftover.
        if let Some(case) = CASES.iter().find(|case| case.name == name) {
            counts.insert(name.to_owned(), instructions as f64 / f64::from(case.units));
        }
    }
    Ok(counts)
}

/// The last of what a program said.
fn end_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_and_divided_by_the_units_of_a_run() {
        let of = |name: &str, ir: u64| {
            format!(
                r#"{{"id":"{name}","profiles":[{{"tool":"callgrind","data":{{"parts":[],"total":{{"metrics":{{"Ir":{{"change":null,"values":{{"new":{ir},"old":7}}}}}}}}}}}}]}}"#
            )
        };
        let text = format!(
            "{}\n{}\n{}\n",
            of("frame", 6400),
            of("scan_prose", 99),
            of("old", 1)
        );
        let counts = read(&text).expect("summaries");
        assert_eq!(counts.len(), 2);
        assert_eq!((counts["frame"], counts["scan_prose"]), (100.0, 99.0));
        assert!(read("{\"id\":\"frame\"}").is_err());
        assert!(read("Compiling…\n").expect("no line of it").is_empty());
    }

    #[test]
    fn valgrind_shows_what_the_processor_has_up_to_avx2() {
        assert_eq!(
            vectors("processor: 0\nflags\t\t: sse2 avx avx2 avx512f\n"),
            "AVX2"
        );
        assert_eq!(vectors("flags\t\t: sse2 avx\n"), "no AVX2");
        assert_eq!(vectors(""), "no AVX2");
    }
}
