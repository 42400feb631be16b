//! Penstock itself: the gateway, and its recorder where there is one.

use std::fs;
use std::path::PathBuf;

use super::credential::ISSUER;
use super::{Setting, Started, Subject, arguments, fill};
use crate::error::{Doing, Error, Result};
use crate::process::Running;

/// Program of the gateway; it lies beside this one.
pub const GATEWAY: &str = "penstock-gateway";

/// Program of the recorder; it lies beside this one.
pub const RECORDER: &str = "penstock-recorder";

/// A program that was built together with this one.
pub fn sibling(name: &str) -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    Some(this.parent()?.join(name)).filter(|file| file.is_file())
}

// === impl Setting ===

impl Setting<'_> {
    /// Starts the gateway with one of its templates, and the recorder first when `records`.
    pub(super) fn start_penstock(
        &self,
        subject: Subject,
        template: &str,
        records: bool,
    ) -> Result<Started> {
        let directory = self.directory.display().to_string();
        let core = self.placement.subject.to_string();
        let upstream = self.upstream.to_string();
        let mut tls = String::new();
        if self.scenario.wire.is_tls() {
            let (certificate, key) = self.write_certificate()?;
            let (certificate, key) = (certificate.display(), key.display());
            tls = format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}");
        }
        let limits = if self.sheds {
            ""
        } else {
            "queue_delay = \"0s\""
        };
        let values = [
            ("tls", &*tls),
            ("limits", limits),
            ("dir", &*directory),
            ("core", &core),
            ("upstream", &upstream),
            ("issuer", ISSUER),
        ];
        let recorder = match records {
            true => Some(self.start_recorder(&values)?),
            false => None,
        };
        let policies = self.directory.join("policies");
        fs::create_dir_all(&policies).doing(|| "making a policy folder".into())?;
        let policy = include_str!("../../subjects/penstock-policy.toml");
        self.write("policies/main.toml", policy)?;
        self.write("jwks.json", &self.credential.jwks)?;
        let config = self.write("gateway.toml", &fill(template, &values)?)?;

        let program = built(GATEWAY)?;
        let run = arguments(&[&"run", &"--config", &config]);
        let core = self.placement.subject;
        let mut process = Running::start(subject.name(), core, &program, &run, self.directory)?;
        let line = process.wait_for_line(&self.directory.join("gateway.ready"))?;
        match line.parse() {
            Ok(address) => Ok(Started {
                address,
                process,
                recorder,
            }),
            Err(_) => Err(process.failure(format!("says that it listens at `{line}`"))),
        }
    }

    fn start_recorder(&self, values: &[(&str, &str)]) -> Result<Running> {
        let template = include_str!("../../subjects/penstock-recorder.toml");
        let config = self.write("recorder.toml", &fill(template, values)?)?;
        let program = built(RECORDER)?;
        let run = arguments(&[&"run", &"--config", &config]);
        let core = self.placement.recorder;
        let mut recorder = Running::start("recorder", core, &program, &run, self.directory)?;
        let socket = self.directory.join("recorder.sock");
        recorder.wait_until(|| socket.exists().then_some(()))?;
        Ok(recorder)
    }
}

fn built(name: &str) -> Result<PathBuf> {
    sibling(name).ok_or_else(|| Error::Unable(format!("{name} is not built")))
}
