//! `replay`: a session's answer again, as it came.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use penstock_recorder::log::{self, escape};

use super::{Failure, time};

#[derive(Args)]
pub(super) struct Options {
    /// Folder of the log.
    dir: PathBuf,
    /// The session, or the start of its id.
    session: String,
    /// So many times as fast.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Without waiting.
    #[arg(long, conflicts_with = "speed")]
    instant: bool,
    /// The bytes as the client got them, not their text. Not for a terminal.
    #[arg(long)]
    raw: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("a number above zero, like 2 or 0.5".to_owned()),
    }
}

pub(super) fn replay(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let session = log::open(&options.dir)?.session(&options.session)?;
    if let Some(open) = session.open() {
        let model = session.model().unwrap_or("-");
        eprintln!(
            "session {} · {} · {} · {}",
            session.id,
            escape::line(&open.subject),
            escape::line(model),
            time::utc(session.frames[0].frame.at_unix_ns),
        );
    }
    let started = session
        .frames
        .first()
        .map_or(0, |recorded| recorded.frame.at_unix_ns);
    let begun = Instant::now();
    let mut text = log::AnswerText::of_media(session.response_media());
    for (at, bytes) in session.response_chunks() {
        if !options.instant {
            let due = Duration::from_nanos(at.saturating_sub(started)).div_f64(options.speed);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        if options.raw {
            out.write_all(bytes)?;
        } else {
            out.write_all(escape::lines(&text.push(bytes)).as_bytes())?;
        }
        out.flush()?;
    }
    if !options.raw {
        writeln!(out, "{}", escape::lines(&text.finish()))?;
    }
    if session.close().is_none() {
        eprintln!("no end of this session is recorded");
    }
    Ok(())
}
