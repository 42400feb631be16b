//! The subjects: what is put between the driver and the upstream, and how it is set up.
//!
//! Each subject's whole configuration is a template in `perf/subjects/`, so that anybody can judge
//! whether the comparison is fair, and change it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::debian;
use crate::driver::body::Lateness;
use crate::error::{Doing, Error, Result};
use crate::process::{Placement, Running, free_port};
use crate::scenario::{Method, Scenario};

pub mod certificate;
pub mod credential;
pub mod foreign;
pub mod install;
pub mod penstock;

use certificate::Certificate;
use credential::Credential;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Nothing in between: the figures are those of the upstream itself, on the subject's core.
    Direct,
    /// A raw io_uring relay of bytes: the least that any subject could cost.
    Floor,
    /// nginx, relaying blindly.
    Nginx,
    /// haproxy, relaying blindly.
    Haproxy,
    /// Envoy, relaying blindly.
    Envoy,
    /// LiteLLM's proxy.
    Litellm,
    /// Portkey's gateway.
    Portkey,
    /// Penstock as a strict relay: no identity, no policies, no recording.
    PenstockOff,
    /// Penstock verifying tokens, and nothing more.
    PenstockAuth,
    /// Penstock with everything on.
    PenstockOn,
}

/// Every subject, in the order in which help names them.
pub const SUBJECTS: &[Subject] = &[
    Subject::Direct,
    Subject::Floor,
    Subject::Nginx,
    Subject::Haproxy,
    Subject::Envoy,
    Subject::Litellm,
    Subject::Portkey,
    Subject::PenstockOff,
    Subject::PenstockAuth,
    Subject::PenstockOn,
];

/// Where and for what a subject is started.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// What it will carry.
    pub scenario: &'a Scenario,
    /// What it forwards to.
    pub upstream: SocketAddr,
    /// Which core is whose.
    pub placement: Placement,
    /// Whether it may refuse what it could only serve late, as it does by default.
    pub sheds: bool,
    /// An empty folder of its own.
    pub directory: &'a Path,
    /// The caller, for subjects that look at callers.
    pub credential: &'a Credential,
    /// What it shows where the scenario is encrypted.
    pub certificate: &'a Certificate,
}

/// A subject that accepts connections, and all that belongs to it.
#[derive(Debug)]
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// The measured process.
    pub process: Running,
    /// A process that works for it and is accounted for separately.
    pub recorder: Option<Running>,
}

// === impl Subject ===

impl Subject {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Direct => "direct",
            Subject::Floor => "floor",
            Subject::Nginx => "nginx",
            Subject::Haproxy => "haproxy",
            Subject::Envoy => "envoy",
            Subject::Litellm => "litellm",
            Subject::Portkey => "portkey",
            Subject::PenstockOff => "penstock-off",
            Subject::PenstockAuth => "penstock-auth",
            Subject::PenstockOn => "penstock-on",
        }
    }

    /// Why it does not take part in a scenario, where it does not.
    pub fn unfit_for(self, scenario: &Scenario) -> Option<&'static str> {
        match self {
            Subject::Direct | Subject::Floor if scenario.wire.is_tls() => Some("knows no TLS"),
            Subject::Litellm | Subject::Portkey if scenario.wire.is_tls() => {
                Some("not set up for TLS here")
            }
            Subject::Litellm | Subject::Portkey if scenario.method == Method::Memory => {
                Some("not asked")
            }
            _ => None,
        }
    }

    /// True when a caller must present its token. The others get as many bytes without meaning.
    pub fn wants_token(self) -> bool {
        matches!(self, Subject::PenstockAuth | Subject::PenstockOn)
    }

    /// Masking may hold a possible beginning of a secret back until the next event. Two subjects
    /// write requests and answers anew.
    pub fn lateness(self) -> Lateness {
        match self {
            Subject::PenstockOn => Lateness::Allowed,
            Subject::Litellm | Subject::Portkey => Lateness::Rewritten,
            _ => Lateness::Refused,
        }
    }

    /// Starts it and waits until it accepts connections. `Direct` has nothing to start.
    pub fn start(self, setting: &Setting<'_>) -> Result<Option<Started>> {
        match self {
            Subject::Direct => Ok(None),
            Subject::Floor => setting.start_floor().map(Some),
            Subject::Nginx => setting.start_nginx().map(Some),
            Subject::Haproxy => setting.start_haproxy().map(Some),
            Subject::Envoy => setting.start_envoy().map(Some),
            Subject::Litellm => setting.start_litellm().map(Some),
            Subject::Portkey => setting.start_portkey().map(Some),
            Subject::PenstockOff => {
                let template = include_str!("../../subjects/penstock-off.toml");
                setting.start_penstock(self, template, false).map(Some)
            }
            Subject::PenstockAuth => {
                let template = include_str!("../../subjects/penstock-auth.toml");
                setting.start_penstock(self, template, false).map(Some)
            }
            Subject::PenstockOn => {
                let template = include_str!("../../subjects/penstock-on.toml");
                setting.start_penstock(self, template, true).map(Some)
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Subject, String> {
        SUBJECTS
            .iter()
            .find(|subject| subject.name() == name)
            .copied()
            .ok_or_else(|| {
                let names: Vec<_> = SUBJECTS.iter().map(|subject| subject.name()).collect();
                format!("no subject `{name}`; there are {}", names.join(", "))
            })
    }
}

// === impl Setting ===

impl Setting<'_> {
    /// The floor is this program; it has nothing to configure but its upstream.
    fn start_floor(&self) -> Result<Started> {
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let upstream = self.upstream.to_string();
        let run = arguments(&[&"floor", &"--upstream", &upstream]);
        let core = self.placement.subject;
        let mut process = Running::start("floor", core, &this, &run, self.directory)?;
        let log = process.log().to_owned();
        let line = process.wait_for_line(&log)?;
        match line.parse() {
            Ok(address) => Ok(Started {
                address,
                process,
                recorder: None,
            }),
            Err(_) => Err(process.failure("did not say where it listens".into())),
        }
    }

    fn start_nginx(&self) -> Result<Started> {
        let buffering = if self.scenario.streams() { "off" } else { "on" };
        let mut tls = ("", String::new());
        if self.scenario.wire.is_tls() {
            let (certificate, key) = self.write_certificate()?;
            let (certificate, key) = (certificate.display(), key.display());
            tls.0 = " ssl";
            // The suite that costs it least, as the gateway prefers it.
            tls.1 = format!(
                "ssl_certificate {certificate}; ssl_certificate_key {key}; \
                 ssl_prefer_server_ciphers on; \
                 ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;"
            );
        }
        self.start_proxy(
            Subject::Nginx,
            include_str!("../../subjects/nginx.conf"),
            &[
                ("buffering", buffering),
                ("ssl", tls.0),
                ("certificate", &tls.1),
            ],
            |config| arguments(&[&"-e", &"stderr", &"-p", &self.directory, &"-c", &config]),
        )
    }

    fn start_haproxy(&self) -> Result<Started> {
        let no = if self.scenario.streams() { "" } else { "no" };
        let mut tls = String::new();
        if self.scenario.wire.is_tls() {
            let both = [&*self.certificate.certificate, &*self.certificate.key].concat();
            let both = self.write("tls.pem", &both)?;
            let suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
            tls = format!(" ssl crt {} ciphersuites {suites}", both.display());
        }
        self.start_proxy(
            Subject::Haproxy,
            include_str!("../../subjects/haproxy.cfg"),
            &[("no", no), ("tls", &tls)],
            |config| arguments(&[&"-db", &"-f", &config]),
        )
    }

    /// Starts a program that is told its port and is ready when that accepts connections.
    fn start_proxy(
        &self,
        subject: Subject,
        template: &str,
        values: &[(&str, &str)],
        arguments: impl Fn(&Path) -> Vec<OsString>,
    ) -> Result<Started> {
        let name = subject.name();
        let program = debian::program(name)
            .ok_or_else(|| Error::Unable(format!("{name} is not installed")))?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let directory = self.directory.display().to_string();
        let (listen, upstream) = (address.to_string(), self.upstream.to_string());
        // A client has a connection on each side.
        let connections = (2 * self.scenario.connections + 1000).max(4000).to_string();
        let mut all = vec![
            ("connections", &*connections),
            ("dir", &directory),
            ("listen", &listen),
            ("upstream", &upstream),
        ];
        all.extend_from_slice(values);
        let config = self.write(&format!("{name}.conf"), &fill(template, &all)?)?;
        let core = self.placement.subject;
        let mut process =
            Running::start(name, core, &program, &arguments(&config), self.directory)?;
        process.wait_for_port(address)?;
        Ok(Started {
            address,
            process,
            recorder: None,
        })
    }

    /// The files of certificate and key.
    fn write_certificate(&self) -> Result<(PathBuf, PathBuf)> {
        let certificate = self.write("tls.crt", &self.certificate.certificate)?;
        Ok((certificate, self.write("tls.key", &self.certificate.key)?))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn arguments(parts: &[&dyn AsRef<std::ffi::OsStr>]) -> Vec<OsString> {
    parts.iter().map(|part| part.as_ref().to_owned()).collect()
}

/// Puts values in the place of `{{names}}`. A name without a value is a defect of the template.
fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part
            .split_once("}}")
            .ok_or_else(|| Error::Unable("a template has {{ without }}".into()))?;
        let (_, value) = values
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| Error::Unable(format!("a template asks for {{{{{name}}}}}")))?;
        text.push_str(value);
        text.push_str(after);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_completely_or_not_at_all() {
        let values = [("a", "1"), ("b", "2")];
        assert_eq!(
            fill("x {{a}}{ {{b}} }{{a}}", &values).expect("complete"),
            "x 1{ 2 }1"
        );
        assert!(
            fill("{{c}}", &values)
                .expect_err("no value")
                .to_string()
                .contains("{{c}}")
        );
        assert!(fill("{{a", &values).is_err());
    }

    #[test]
    fn names_parse_to_themselves_and_others_are_told_what_there_is() {
        for subject in SUBJECTS {
            assert_eq!(subject.name().parse::<Subject>().as_ref(), Ok(subject));
        }
        assert!(
            "apache"
                .parse::<Subject>()
                .expect_err("none")
                .contains("direct, floor, nginx")
        );
    }
}
