//! CPU time and memory of a process and its descendants, read from `/proc`.
//!
//! The scheduler's own account per thread (`schedstat`) counts nanoseconds. It forgets threads that
//! ended, so the tick-based account of the whole process (`stat`), which does not, stands in when a
//! thread went away between two readings. On loopback the work of receiving is partly done by the
//! sender, inside its system call; that holds for every subject alike.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Ticks per second in which the kernel reports times to programs: `USER_HZ`, 100 on every
/// architecture that this runs on, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// What a process tree had used when it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    processes: BTreeMap<u32, ProcessUsage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ProcessUsage {
    /// Nanoseconds on a CPU of each living thread.
    threads: BTreeMap<u32, u64>,
    /// Nanoseconds on a CPU of the whole process, in steps of a tick.
    ticked_ns: u64,
}

/// The process and all its descendants, itself first.
pub fn process_tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in numbered_entries("/proc") {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut index = 0;
    while index < tree.len() {
        tree.extend(children.remove(&tree[index]).unwrap_or_default());
        index += 1;
    }
    tree
}

/// Resident memory of the process and its descendants; pages that they share count for each.
pub fn resident_bytes(root: u32) -> u64 {
    let kibibytes = |pid| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    process_tree(root)
        .into_iter()
        .filter_map(kibibytes)
        .sum::<u64>()
        << 10
}

/// Memory of the process and its descendants in which a shared page counts once, in parts; where
/// the kernel does not tell, what is resident.
pub fn proportional_bytes(root: u32) -> u64 {
    let kibibytes = |pid| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    let all: Option<u64> = process_tree(root).into_iter().map(kibibytes).sum();
    all.map_or_else(|| resident_bytes(root), |kibibytes| kibibytes << 10)
}

/// Reads the counters of the calling process alone, without its children.
pub fn own_usage() -> Usage {
    let mut processes = BTreeMap::new();
    processes.insert(std::process::id(), ProcessUsage::of(std::process::id()));
    Usage { processes }
}

/// CPU time that everything on the machine has used, and that its host has taken away from it.
pub fn machine_busy() -> Duration {
    let ticks = busy_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default());
    Duration::from_nanos(ticks * 1_000_000_000 / TICKS_PER_SECOND)
}

/// Ticks of the first line, but for idle and waiting ones; guests are counted as users (proc(5)).
fn busy_ticks(stat: &str) -> u64 {
    let numbers = stat.lines().next().unwrap_or_default();
    let ticks = numbers.split_ascii_whitespace().skip(1).take(8);
    ticks
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum()
}

// === impl Usage ===

impl Usage {
    /// Reads the counters of a process and its descendants.
    pub fn of_tree(root: u32) -> Usage {
        let processes = process_tree(root)
            .into_iter()
            .map(|pid| (pid, ProcessUsage::of(pid)))
            .collect();
        Usage { processes }
    }

    /// CPU time used between an earlier reading and this one.
    pub fn since(&self, earlier: &Usage) -> Duration {
        let none = ProcessUsage::default();
        let ns = self
            .processes
            .iter()
            .map(|(pid, usage)| usage.since(earlier.processes.get(pid).unwrap_or(&none)));
        Duration::from_nanos(ns.sum())
    }
}

// === impl ProcessUsage ===

impl ProcessUsage {
    fn of(pid: u32) -> ProcessUsage {
        let threads = numbered_entries(&format!("/proc/{pid}/task"))
            .filter_map(|thread| {
                let path = format!("/proc/{pid}/task/{thread}/schedstat");
                let text = fs::read_to_string(path).ok()?;
                Some((thread, text.split_ascii_whitespace().next()?.parse().ok()?))
            })
            .collect();
        let ticks = Stat::of(pid).map_or(0, |stat| stat.ticks);
        ProcessUsage {
            threads,
            ticked_ns: ticks * 1_000_000_000 / TICKS_PER_SECOND,
        }
    }

    fn since(&self, earlier: &ProcessUsage) -> u64 {
        let all_alive = earlier
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if !all_alive || self.threads.is_empty() {
            return self.ticked_ns.saturating_sub(earlier.ticked_ns);
        }
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or(0);
        self.threads
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(before(thread)))
            .sum()
    }
}

struct Stat {
    parent: u32,
    /// User and system time, of ended threads too.
    ticks: u64,
}

// === impl Stat ===

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in parentheses, may hold anything; fields are counted from its end (proc(5)).
    fn parse(text: &str) -> Option<Stat> {
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            parent: number(1)? as u32,
            ticks: number(11)? + number(12)?,
        })
    }
}

fn numbered_entries(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(threads: &[(u32, u64)], ticked_ns: u64) -> ProcessUsage {
        ProcessUsage {
            threads: threads.iter().copied().collect(),
            ticked_ns,
        }
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) (b c) S 7 42 42 0 -1 4194560 1 0 0 0 13 29 0 0 20 0 1 0 9 8 7";
        let stat = Stat::parse(text).expect("valid");
        assert_eq!((stat.parent, stat.ticks), (7, 42));
        assert!(Stat::parse("42 (a").is_none());
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        assert_eq!(
            busy_ticks("cpu  1 2 4 1000 1000 8 16 32 1 0\ncpu0 1 1 1"),
            63
        );
        assert_eq!(busy_ticks(""), 0);
        assert!(!machine_busy().is_zero());
    }

    #[test]
    fn threads_are_summed_and_an_ended_one_falls_back_to_ticks() {
        let before = process(&[(1, 100), (2, 50)], 1_000);
        assert_eq!(
            process(&[(1, 160), (2, 55), (3, 9)], 9_000).since(&before),
            74
        );
        assert_eq!(process(&[(1, 160)], 9_000).since(&before), 8_000);
    }

    #[test]
    fn this_process_is_seen_working() {
        let before = own_usage();
        let mut text = String::new();
        while own_usage().since(&before) < Duration::from_millis(2) {
            text.push('x');
        }
        assert!(Usage::of_tree(std::process::id()).since(&before) >= Duration::from_millis(2));
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert!(proportional_bytes(std::process::id()) > 100_000);
    }
}
