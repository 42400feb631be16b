//! Where and when a measurement ran: figures without that are worth nothing.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine, as a reader of the results needs to know it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct Machine {
    /// The model that the first CPU gives for itself.
    pub cpu: String,
    /// CPUs that are online.
    pub cores: usize,
    /// Frequency governor of the first CPU, where the kernel tells.
    pub governor: Option<String>,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Total memory.
    pub memory_bytes: u64,
}

/// A moment, as ISO 8601 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    unix_seconds: u64,
}

/// The commit that this tree is at, with `+` when files differ from it; none outside a repository.
pub fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        commit
    } else {
        format!("{commit}+")
    })
}

// === impl Machine ===

impl Machine {
    /// The one that this runs on.
    pub fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let line = |path: &str| read(path).trim().to_owned();
        let governor = line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        let cpus = read("/proc/cpuinfo");
        Machine {
            cpu: field(&cpus, "model name").unwrap_or("unknown").to_owned(),
            cores: cpus
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            governor: Some(governor).filter(|name| !name.is_empty()),
            kernel: format!("Linux {}", line("/proc/sys/kernel/osrelease")),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes << 10),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let governor = match &self.governor {
            Some(governor) => format!(", governor {governor}"),
            None => String::new(),
        };
        format!(
            "{}, {} cores{governor}, {:.1} GiB, {}",
            self.cpu,
            self.cores,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel
        )
    }
}

/// Value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

// === impl Moment ===

impl Moment {
    /// This one.
    pub fn now() -> Moment {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            unix_seconds: since.as_secs(),
        }
    }

    /// `2026-01-02T03:04:05Z`.
    pub fn iso(self) -> String {
        let (year, month, day) = civil_date(self.unix_seconds / 86_400);
        let second = self.unix_seconds % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Moment {
    /// Reads what [`Moment::iso`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Moment> {
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            let digits = text.get(range)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        // what the calendar does not have comes out as another moment, and so is not accepted
        let days = days_since_1970(year, month, day)?;
        let moment = Moment {
            unix_seconds: ((days * 24 + hour) * 60 + minute) * 60 + second,
        };
        (moment.iso() == text).then_some(moment)
    }

    /// For whatever takes the system's time.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.unix_seconds)
    }
}

/// The other direction of [`civil_date`]; `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// The algorithm counts from 1 March, so that the leap day is the last of a year: H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms".
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        let iso = |unix_seconds| Moment { unix_seconds }.iso();
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(iso(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn what_was_written_is_read() {
        for unix_seconds in [0, 951_782_399, 951_782_400, 1_767_225_599, 4_107_542_400] {
            let moment = Moment { unix_seconds };
            assert_eq!(Moment::parse(&moment.iso()), Some(moment));
        }
        for bad in [
            "",
            "1969-12-31T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00",
        ] {
            assert_eq!(Moment::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_cores_memory_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(machine.describe().contains("Linux "));
    }
}
