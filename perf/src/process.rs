//! Children: each pinned to its core, logging to a file, and gone when the measurement is gone.
//!
//! A child is started through this program's own hidden `launch` command, which pins itself, asks
//! the kernel for a signal should its parent die, and then becomes the child's program. So nothing
//! is left running, neither after an error or a panic (the guard's drop) nor after `kill -9`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cpu;
use crate::error::{Doing, Error, Result};

/// A child must be ready within this time. Python programs of a thousand files take long.
const START_MAX: Duration = Duration::from_secs(60);

/// A child has this long to end after SIGTERM before it is killed.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Pause between two looks at a child.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes of a child's log that are shown when it fails.
const LOG_SHOWN_BYTES: usize = 2000;

/// Which core each part runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The measured subject.
    pub subject: usize,
    /// The driver, which is this process.
    pub driver: usize,
    /// The upstream.
    pub upstream: usize,
    /// The recorder.
    pub recorder: usize,
}

/// A child that ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

// === impl Placement ===

impl Placement {
    /// The subject alone on the first core that this process may use, the rest on the others.
    pub fn on_this_machine() -> Result<Placement> {
        let allowed = sched_getaffinity(None).doing(|| "asking for this process's cores".into())?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| allowed.is_set(core))
            .collect();
        Ok(Placement::on(&cores))
    }

    fn on(cores: &[usize]) -> Placement {
        let (first, others) = cores
            .split_first()
            .map_or((0, cores), |(first, rest)| (*first, rest));
        let other = |index: usize| match others.is_empty() {
            true => first,
            false => others[index % others.len()],
        };
        Placement {
            subject: first,
            driver: other(0),
            upstream: other(1),
            recorder: other(2),
        }
    }

    /// True when the subject shares its core with nothing of the measurement.
    pub fn isolates_subject(&self) -> bool {
        self.subject != self.driver
    }
}

/// Restricts the calling thread, and what it starts, to one core.
pub fn pin_to(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).doing(|| format!("pinning to core {core}"))
}

/// Lets this process, and what it starts, open as many files as the system allows it to.
pub fn raise_file_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).doing(|| "raising the limit of open files".into())
}

/// What the hidden `launch` command does: never returns when it succeeds.
pub fn launch(core: usize, program: &[OsString]) -> Result<()> {
    pin_to(core)?;
    set_parent_process_death_signal(Some(Signal::TERM))
        .doing(|| "asking for a signal at the parent's death".into())?;
    let (name, arguments) = program
        .split_first()
        .ok_or_else(|| Error::Unable("launch: no program was named".into()))?;
    let error = Command::new(name).args(arguments).exec();
    Err(error).doing(|| format!("starting {}", name.display()))
}

/// A port that was free a moment ago, for programs that cannot tell which one they were given.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").doing(|| "looking for a free port".into())?;
    Ok(listener
        .local_addr()
        .doing(|| "looking for a free port".into())?
        .port())
}

// === impl Running ===

impl Running {
    /// Starts a program on a core. Its output goes to `directory`/`name`.log.
    pub fn start(
        name: &str,
        core: usize,
        program: &Path,
        arguments: &[OsString],
        directory: &Path,
    ) -> Result<Running> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).doing(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone().doing(|| "sharing a log file".into())?;
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let child = Command::new(this)
            .args(["launch", "--core", &core.to_string(), "--"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .doing(|| format!("starting {name}"))?;
        Ok(Running {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something accepts connections at `address`.
    pub fn wait_for_port(&mut self, address: SocketAddr) -> Result<()> {
        self.wait_until(|| TcpStream::connect(address).ok().map(drop))
    }

    /// Waits until the file holds a line, and returns it.
    pub fn wait_for_line(&mut self, file: &Path) -> Result<String> {
        self.wait_until(|| {
            let text = fs::read_to_string(file).ok()?;
            text.split_once('\n')
                .map(|(line, _)| line.trim().to_owned())
        })
    }

    /// Waits until `look` finds something; fails when the child ends before, or takes too long.
    pub fn wait_until<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.ended()? {
                return Err(self.failure(format!("ended at its start ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(format!("was not ready in {} s", START_MAX.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Fails when the child has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => Err(self.failure(format!("ended while it was measured ({status})"))),
            None => Ok(()),
        }
    }

    /// The file that holds what the child printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error about this child, with the end of its log.
    pub fn failure(&self, what: String) -> Error {
        let text = fs::read(&self.log).unwrap_or_default();
        let shown = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN_BYTES)..])
            .trim_end()
            .to_owned();
        let log = if shown.is_empty() {
            shown
        } else {
            format!("; it said:\n{shown}")
        };
        Error::Process {
            name: self.name.clone(),
            what,
            log,
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .doing(|| format!("looking after {}", self.name))
    }

    fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // The child has not been waited for, so its pid is still its own, and its descendants are
        // still below it.
        let descendants = cpu::process_tree(self.child.id());
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        for pid in descendants.into_iter().skip(1) {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_has_its_core_alone_where_there_are_two() {
        let two = Placement::on(&[0, 1]);
        assert_eq!(
            two,
            Placement {
                subject: 0,
                driver: 1,
                upstream: 1,
                recorder: 1
            }
        );
        assert!(two.isolates_subject());
        let eight = Placement::on(&[2, 3, 5, 7, 8]);
        assert_eq!(
            eight,
            Placement {
                subject: 2,
                driver: 3,
                upstream: 5,
                recorder: 7
            }
        );
        assert!(!Placement::on(&[4]).isolates_subject());
    }
}
