//! How a run goes, in one line of a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::chart::nanoseconds;
use crate::outcome::Progress;

/// How often the line is drawn.
const EVERY: Duration = Duration::from_millis(250);
/// Over how long a rate is taken: the newest draws.
const DRAWS: usize = 8;

/// A line that is drawn until it is dropped. Nothing where stderr is no terminal.
pub struct Live {
    running: Option<(SyncSender<()>, JoinHandle<()>)>,
}

// === impl Live ===

impl Live {
    /// Draws to stderr, if that is a terminal and it is wanted.
    pub fn start(progress: Arc<Progress>, planned: Duration, wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self { running: None };
        }
        let (stop, stopped) = sync_channel::<()>(1);
        let draw = move || {
            let bar = ProgressBar::with_draw_target(
                Some(planned.as_millis() as u64),
                ProgressDrawTarget::stderr(),
            );
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:8} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            let start = Instant::now();
            let mut seen = Vec::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                seen.push((start.elapsed().as_secs_f64(), progress.completed()));
                let first = seen.len().saturating_sub(DRAWS);
                let (from, to) = (seen[first], seen[seen.len() - 1]);
                let rate = (to.1 - from.1) as f64 / (to.0 - from.0).max(f64::EPSILON);
                seen.drain(..first);
                bar.set_position(start.elapsed().min(planned).as_millis() as u64);
                bar.set_message(line(&progress, rate));
            }
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(draw);
        Self {
            running: thread.ok().map(|thread| (stop, thread)),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join(); // it only draws
        }
    }
}

fn line(progress: &Progress, rate: f64) -> String {
    let mut text = format!(
        "{rate:.0}/s  in flight {}  good {}  errors {}",
        progress.in_flight(),
        progress.completed(),
        progress.errors()
    );
    let waiting = progress.intended().saturating_sub(progress.started());
    if waiting > 0 {
        text.push_str(&format!("  waiting {waiting}"));
    }
    let (name, p50, p99) = if progress.ttft_p99_ns() > 0 {
        ("ttft", progress.ttft_p50_ns(), progress.ttft_p99_ns())
    } else {
        (
            "end to end",
            progress.end_to_end_p50_ns(),
            progress.end_to_end_p99_ns(),
        )
    };
    if p99 > 0 {
        let (p50, p99) = (nanoseconds(p50 as f64), nanoseconds(p99 as f64));
        text.push_str(&format!("  {name} p50 {p50} p99 {p99}"));
    }
    text
}
