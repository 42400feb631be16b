//! `sessions`: one line for each session, or one JSON object a line.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use penstock_recorder::log::{self, Ended, Summary, escape};

use super::{Failure, time};

#[derive(Args)]
pub(super) struct Options {
    /// Folder of the log.
    dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Only this caller's.
    #[arg(long, value_name = "S")]
    subject: Option<String>,
    /// Only this model's.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Only those opened since: 30m, 12h, 7d, 2026-11-21, 2026-11-21T06:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = time::moment)]
    since: Option<u64>,
}

pub(super) fn sessions(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let sessions = log::open(&options.dir)?.sessions()?;
    let wanted: Vec<&Summary> = sessions.iter().filter(|s| options.want(s)).collect();
    if options.json {
        for session in wanted {
            serde_json::to_writer(&mut *out, session).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    if wanted.is_empty() {
        writeln!(out, "no session")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<36}  {:<24}  {:<20}  {:<20}  {:>6}  {:<15}  {:>9}  {:>9}",
        "SESSION", "OPENED", "SUBJECT", "MODEL", "STATUS", "OUTCOME", "TOOK", "DECISIONS"
    )?;
    for session in wanted {
        let status = session
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        writeln!(
            out,
            "{:<36}  {:<24}  {:<20}  {:<20}  {:>6}  {:<15}  {:>9}  {:>9}",
            session.session,
            time::utc(session.opened_unix_ns),
            escape::line(&session.subject),
            escape::line(session.model.as_deref().unwrap_or("-")),
            status,
            outcome(session),
            time::span(session.duration_ns),
            session.decisions,
        )?;
    }
    Ok(())
}

/// How it went, in a word.
fn outcome(session: &Summary) -> String {
    match (session.ended, session.outcome) {
        (Ended::Abandoned, _) => "abandoned".to_owned(),
        (Ended::Open, _) => "open".to_owned(),
        (Ended::Closed, Some(outcome)) => super::show::outcome_word(outcome).to_owned(),
        (Ended::Closed, None) => "closed".to_owned(),
    }
}

// === impl Options ===

impl Options {
    fn want(&self, session: &Summary) -> bool {
        self.subject
            .as_ref()
            .is_none_or(|subject| *subject == session.subject)
            && self
                .model
                .as_ref()
                .is_none_or(|model| Some(model) == session.model.as_ref())
            && self
                .since
                .is_none_or(|since| session.opened_unix_ns >= since)
    }
}
