//! Reads certificate and key again when either file changes. A pair that does not fit, as in the
//! middle of a rotation, is reported and the old one stays.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;

use crate::config::TlsSection;
use crate::shell::server_config;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When and how large; what changes when a file is replaced.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// Runs for ever.
pub(super) async fn keep(section: TlsSection, snapshot: Arc<ArcSwapOption<ServerConfig>>) {
    let mut seen = stamp(&section);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp(&section);
        if now == seen {
            continue;
        }
        match server_config(&section) {
            Ok(config) => {
                snapshot.store(Some(config));
                tracing::info!(
                    "TLS certificate read again: {}",
                    section.certificate.display()
                );
            }
            Err(error) => tracing::error!("TLS files not taken, the old ones stay: {error}"),
        }
        seen = now;
    }
}

fn stamp(section: &TlsSection) -> Stamp {
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    [of(&section.certificate), of(&section.key)]
}
