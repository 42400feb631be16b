//! The watched file: revocations that another program, or a person with an editor, writes.
//!
//! ```toml
//! [[revoke]]
//! subject = "contractor-7"
//! issuer = "corp"                  # name or URL; not needed where there is only one
//! until = "2026-12-31T00:00:00Z"   # absent: for good
//! reason = "contract ended"
//! ```
//!
//! It is decoded strictly and taken whole or not at all. One whose time is over is let be: it cuts
//! nobody off.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::register::REVOCATIONS_MAX;
use super::revocation::{Revocation, Source, Wanted, is_text};
use super::time::parse_until;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why the file was not taken: one line for an operator, beginning with the file and the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    revoke: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: Option<String>,
    subject: Option<String>,
    owner: Option<String>,
    client: Option<String>,
    session: Option<String>,
    token: Option<String>,
    key: Option<String>,
    until: Option<String>,
    reason: String,
}

/// Reads the file; `issuers` are those configured, as (name, URL).
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_file(
    file: &Path,
    issuers: &[(String, String)],
) -> Result<Vec<Arc<Revocation>>, FileError> {
    let wrong = |reason: String| FileError(format!("{}: {reason}", file.display()));
    let unread = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let size = std::fs::metadata(file).map_err(unread)?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(unread)?;
    let written: Written =
        crate::config::parse_strict(file, &text).map_err(|error| FileError(error.to_string()))?;
    if written.revoke.len() > REVOCATIONS_MAX {
        return Err(wrong(format!("has more than {REVOCATIONS_MAX} entries")));
    }
    let by = file.display().to_string();
    let entries = written.revoke.into_iter().enumerate();
    entries
        .map(|(index, entry)| {
            entry
                .revocation(index, &by, issuers)
                .map_err(|reason| wrong(format!("[[revoke]] number {}: {reason}", index + 1)))
        })
        .collect()
}

// === impl Entry ===

impl Entry {
    fn revocation(
        self,
        index: usize,
        by: &str,
        issuers: &[(String, String)],
    ) -> Result<Arc<Revocation>, String> {
        let wanted = Wanted {
            issuer: self.issuer,
            subject: self.subject,
            owner: self.owner,
            client: self.client,
            session: self.session,
            // What "so far" means would change with every reading.
            logins: None,
            token: self.token,
            key: self.key,
        };
        let target = wanted.target(issuers).map_err(|error| error.to_string())?;
        if !is_text(&self.reason) {
            return Err("`reason` must be a line of text".to_owned());
        }
        // From the beginning of time: a time that is over is no mistake here.
        let until = self
            .until
            .map(|text| {
                match text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('-') {
                    true => parse_until(&text, 0),
                    false => Err(format!("`until` is {text:?}: write 2026-12-31T00:00:00Z")),
                }
            })
            .transpose()?;
        Ok(Arc::new(Revocation {
            // Behind all others in a list, and the same at every reading.
            id: format!("file-{index:06}"),
            target,
            until,
            reason: self.reason,
            by: by.to_owned(),
            source: Source::File,
            created: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Arc<Revocation>>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revocations.toml");
        std::fs::write(&path, text).unwrap();
        let issuers = [("corp".to_owned(), "https://corp.example".to_owned())];
        read_file(&path, &issuers).map_err(|error| {
            let text = error.to_string();
            text.split_once("revocations.toml").unwrap().1.to_owned()
        })
    }

    #[test]
    fn strictly_read() {
        let good = "[[revoke]]\nsubject = \"ada\"\nreason = \"left\"\n\
                    until = \"2020-01-01T00:00:00Z\"\n\
                    [[revoke]]\nkey = \"k\"\nreason = \"lost\"\n";
        let read_good = read(good).unwrap();
        assert_eq!(read_good.len(), 2);
        assert_eq!(read_good[0].until, Some(1_577_836_800));
        assert_eq!(read("").unwrap().len(), 0);
        for (from, to, said) in [
            ("subject", "subjekt", ":2:1: unknown field `subjekt`"),
            ("reason = \"left\"", "", ":1:1: missing field `reason`"),
            ("\"left\"", "\"\"", ": [[revoke]] number 1: `reason`"),
            (
                "2020-01-01T00",
                "tomorrow",
                ": [[revoke]] number 1: `until`",
            ),
            ("key = \"k\"", "", ": [[revoke]] number 2: say exactly one"),
            (
                "subject = \"ada\"",
                "subject = \"ada\"\nissuer = \"x\"",
                ": [[revoke]] number 1: no",
            ),
        ] {
            let error = read(&good.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
