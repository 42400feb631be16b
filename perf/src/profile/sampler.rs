//! Linux's own profiler, `perf`: found or installed, and told what to sample.
//!
//! Stacks are taken by copying the top of the stack at each sample and unwinding it afterwards by
//! the tables that panics need anyway (`--call-graph dwarf`), because release builds keep no frame
//! pointers. Where the processor's counters cannot be reached, as in most virtual machines, the
//! kernel's own timer stands in (`cpu-clock`): it cannot see code that runs with interrupts off,
//! and shows its time where they are switched on again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::debian;
use crate::error::{Doing, Error, Result};

/// The program.
const PERF: &str = "perf";

/// The Debian package that brings it.
const PACKAGE: &str = "linux-perf";

/// Bytes of the stack that are copied at each sample; deeper frames are lost.
const STACK_BYTES: u32 = 32 << 10;

/// `perf` has this much time to write down what it has sampled.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// `perf`, and what it can count here.
#[derive(Debug, Clone)]
pub struct Sampler {
    program: PathBuf,
    /// `cycles` or `cpu-clock`.
    pub event: &'static str,
}

/// A recording under way. It ends by itself, or when this is dropped.
#[derive(Debug)]
pub struct Recording {
    child: Child,
    data: PathBuf,
}

// === impl Sampler ===

impl Sampler {
    /// Finds `perf`, or installs it, and asks what it can count.
    pub fn ensure(say: &mut dyn FnMut(&str)) -> Result<Sampler> {
        let program = debian::ensure(PERF, PACKAGE, say).map_err(Error::Unable)?;
        let counted = Command::new(&program)
            .args(["stat", "-x", ",", "-e", "cycles", "true"])
            .output()
            .doing(|| format!("starting {}", program.display()))?;
        let event = match counts(&String::from_utf8_lossy(&counted.stderr)) {
            true => "cycles",
            false => "cpu-clock",
        };
        Ok(Sampler { program, event })
    }

    /// What the event's weights are.
    pub fn unit(&self) -> &'static str {
        match self.event {
            "cycles" => "cycles",
            _ => "ns",
        }
    }

    /// Samples processes for so long, from now on, on a core of its own choosing.
    pub fn record(
        &self,
        pids: &[u32],
        frequency_hz: u32,
        span: Duration,
        core: usize,
        folder: &Path,
    ) -> Result<Recording> {
        let data = folder.join("perf.data");
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let mut arguments: Vec<OsString> = vec![self.program.clone().into()];
        let words = [
            "record",
            "--quiet",
            "--event",
            self.event,
            "--freq",
            &frequency_hz.to_string(),
            "--call-graph",
            &format!("dwarf,{STACK_BYTES}"),
            "--pid",
            &pids.join(","),
            "--output",
        ];
        arguments.extend(words.map(OsString::from));
        arguments.push(data.clone().into());
        arguments.extend(["--", "sleep"].map(OsString::from));
        arguments.push(span.as_secs_f64().to_string().into());
        let child = Command::new(this)
            .args(["launch", "--core", &core.to_string(), "--"])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "starting perf".into())?;
        Ok(Recording { child, data })
    }

    /// Every sample of a recording, as text.
    pub fn script(&self, data: &Path) -> Result<Vec<u8>> {
        let output = Command::new(&self.program)
            .args(["script", "--no-inline", "--input"])
            .arg(data)
            .stdin(Stdio::null())
            .output()
            .doing(|| "starting perf script".into())?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(said("perf script", output.status, &output.stderr)),
        }
    }
}

/// Whether what `perf stat -x ,` printed has a number, and not `<not supported>`.
fn counts(stat: &str) -> bool {
    let value = stat.lines().find_map(|line| {
        let mut fields = line.split(',');
        let value = fields.next()?;
        fields
            .any(|field| field.starts_with("cycles"))
            .then_some(value)
    });
    value.is_some_and(|value| value.parse::<u64>().is_ok())
}

fn said(program: &str, status: ExitStatus, errors: &[u8]) -> Error {
    let errors = String::from_utf8_lossy(errors);
    Error::Unable(format!("{program} failed ({status}): {}", errors.trim()))
}

// === impl Recording ===

impl Recording {
    /// Waits until everything is written; gives the file.
    pub fn finish(mut self) -> Result<PathBuf> {
        let deadline = Instant::now() + WRITE_MAX;
        let status = loop {
            match self
                .child
                .try_wait()
                .doing(|| "looking after perf".into())?
            {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    return Err(Error::Unable(format!(
                        "perf is still writing after {} s",
                        WRITE_MAX.as_secs()
                    )));
                }
                None => std::thread::sleep(LOOK),
            }
        };
        let mut errors = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What it said is only shown, so what cannot be read of it is left out.
            let _ = std::io::Read::read_to_end(&mut stderr, &mut errors);
        }
        match status.success() && self.data.is_file() {
            true => Ok(self.data.clone()),
            false => Err(said("perf record", status, &errors)),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_when_perf_gives_a_number() {
        assert!(counts("1291238,,cycles,1000000,100.00,,\n"));
        assert!(counts("1291238,,cycles:u,1000000,100.00,,\n"));
        for without in [
            "<not supported>,,cycles,0,100.00,,\n",
            "<not counted>,,cycles,0,0.00,,\n",
            "Error:\nAccess to performance monitoring is limited.\n",
            "",
        ] {
            assert!(!counts(without), "{without}");
        }
    }
}
