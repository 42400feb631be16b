//! `gateway.toml`: listeners, cores, issuers, upstream, recorder, bounds.
//!
//! Decoded strictly: an unknown key is an error with file, line and a suggestion. What is read
//! here is the shape; [`Config::load`] also checks what can be checked without starting
//! (files that exist, addresses that parse, values in range), so that a gateway that starts
//! does not discover a typing error on its first request.

mod approvals;
mod control;
mod cores;
mod limits;
mod scim;
mod state;
mod strict;
mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use approvals::ApprovalsSection;
pub(crate) use control::CONNECTIONS_PER_ADDRESS;
pub use control::{LocalPerson, LoginSection, RoleGroups};
pub use cores::{CorePlan, Topology};
pub use limits::Limits;
pub use scim::{ScimSection, SubjectAttribute};
pub use state::{PostgresPlace, StatePlace};
pub use strict::ConfigError;
pub(crate) use strict::parse as parse_strict;
pub use units::{Size, Span};

use crate::identity::IssuerConfig;
use crate::notify::{NotifyConfig, settle_all};

/// Everything that `gateway.toml` can say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it was read.
    #[serde(skip)]
    pub file: PathBuf,
    /// Where callers connect.
    pub listen: Listen,
    /// Which cores serve: `"auto"` or a list.
    #[serde(default)]
    pub cores: CoreChoice,
    /// Cores that `auto` never takes: the inference server's own.
    #[serde(default)]
    pub exclude_cores: Vec<usize>,
    /// What may be said, and by whom.
    pub policy: PolicySection,
    /// Identity providers whose tokens are accepted.
    #[serde(default, rename = "issuer")]
    pub issuers: Vec<IssuerConfig>,
    /// Identity beyond the issuers.
    #[serde(default)]
    pub identity: IdentitySection,
    /// The model behind the gate.
    pub upstream: UpstreamSection,
    /// Where records go.
    pub recorder: RecorderSection,
    /// The control listener.
    #[serde(default)]
    pub control: ControlSection,
    /// Requests that people decide on.
    #[serde(default)]
    pub approvals: ApprovalsSection,
    /// Bounds, each with a default.
    #[serde(default)]
    pub limits: Limits,
    /// Logging.
    #[serde(default)]
    pub log: LogSection,
    /// Who is told of what is held.
    #[serde(default)]
    pub notify: Vec<NotifyConfig>,
}

/// `[listen]`: at least one of `tcp` and `unix`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// TCP address; port 0 lets the system choose.
    pub tcp: Option<SocketAddr>,
    /// Unix socket path.
    pub unix: Option<PathBuf>,
    /// TLS on the TCP listener.
    pub tls: Option<TlsSection>,
    /// Written once every listener accepts: one line with the bound address.
    pub ready_file: Option<PathBuf>,
}

/// `[listen.tls]`: PEM files, read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Either `"auto"` or a list of core numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum CoreChoice {
    /// Choose from the topology.
    #[default]
    Auto,
    /// Exactly these.
    Listed(Vec<usize>),
}

/// `[policy]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySection {
    /// `false` switches authorization and inspection off: for measurements only.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Folder with `*.toml` and `packs/*.toml`.
    pub dir: Option<PathBuf>,
    /// 32 bytes, hexadecimal or raw; without it pseudonyms change with each start.
    pub pseudonym_key_file: Option<PathBuf>,
    /// Whether changed files are noticed and reloaded; `false` leaves it to `SIGHUP` and `reload`.
    #[serde(default = "yes")]
    pub watch: bool,
}

/// `[identity]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySection {
    /// Groups of a caller who presents no credential at all. Absent: such a caller is refused.
    pub anonymous_groups: Option<Vec<String>>,
    /// Verified tokens remembered per core.
    pub cache_entries: usize,
}

/// `[upstream]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSection {
    /// `host:port` or `unix:/path`.
    pub address: UpstreamAddress,
    /// Which routes the engine has: `openai`, `anthropic`, `vllm`.
    pub profiles: Vec<String>,
    /// A file whose content is sent upstream as `Authorization: Bearer …`.
    pub credential_file: Option<PathBuf>,
}

/// Where the model listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A literal TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[recorder]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecorderSection {
    /// `false` records nothing: for measurements and first trials; warned about loudly.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The recorder's Unix socket.
    pub socket: Option<PathBuf>,
    /// Data bytes of each core's ring, a power of two.
    #[serde(default = "default_ring_bytes")]
    pub ring_bytes: Size,
    /// What happens to calls while no recorder is connected.
    #[serde(default)]
    pub on_recorder_loss: OnLoss,
}

/// What to do with a call that cannot be recorded.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// Answer 503.
    #[default]
    Refuse,
    /// Serve, count, and record the gap once the recorder is back.
    Serve,
}

/// `[control]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSection {
    /// Unix socket of the control API; absent: no control API.
    pub socket: Option<PathBuf>,
    /// Where revocations, keys and the like are kept: `sqlite:///var/lib/penstock/state.db`, or
    /// `postgres://user@host/database` for gateways that share them. Absent: `state.db` beside the
    /// socket.
    pub state: Option<StatePlace>,
    /// A file with the password for a Postgres state.
    pub state_password_file: Option<PathBuf>,
    /// A file with revocations, read again when it changes.
    pub revocations_file: Option<PathBuf>,
    /// The longest that a key which this gateway issues may live.
    pub key_lifetime_max: Span,
    /// Where `GET /metrics` is served in the clear, for a scraper that cannot reach the socket:
    /// `127.0.0.1:9464`. Absent: on the socket alone.
    pub metrics: Option<SocketAddr>,
    /// Where the control API and the console listen besides the socket: `127.0.0.1:9443`.
    pub listen: Option<SocketAddr>,
    /// TLS there; mandatory unless it is a loopback address.
    pub tls: Option<TlsSection>,
    /// Connections that one address may have there at a time.
    pub connections_per_address: usize,
    /// What links to the console begin with, where that is not the bound address.
    pub url: Option<String>,
    /// Which groups may do what.
    pub roles: RoleGroups,
    /// Persons behind user ids of this machine.
    pub local: Vec<LocalPerson>,
    /// Signing in to the console at an identity provider.
    pub login: Option<LoginSection>,
    /// The folder with the recorder's segments, for the console to show.
    pub log_dir: Option<PathBuf>,
    /// Who tells, by SCIM 2.0, of people that come and go.
    pub scim: Option<ScimSection>,
}

/// `[log]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// `text` or `json`.
    #[serde(default)]
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or per-module directives.
    #[serde(default = "default_level")]
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

fn yes() -> bool {
    true
}

fn default_ring_bytes() -> Size {
    Size::mib(4)
}

fn default_level() -> String {
    "info".to_owned()
}

/// How long an issued key may live when nothing else is said: 90 days.
const KEY_LIFETIME_MAX_S: u64 = 90 * 24 * 3600;
/// Smallest ring that still takes the largest frame with room to spare.
const RING_BYTES_MIN: usize = 512 * 1024;
/// Largest ring: beyond it a recorder that cannot keep up is better noticed than hidden.
const RING_BYTES_MAX: usize = 1 << 30;

// === impl Config ===

impl Config {
    /// Reads and checks `path`. Relative paths in the file are relative to the file's folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::plain(path, format!("cannot be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Checks `text`, the content of `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = strict::parse(path, text)?;
        config.file = path.to_owned();
        let base = path.parent().unwrap_or(Path::new("."));
        config.resolve_paths(base);
        config
            .validate()
            .map_err(|reason| ConfigError::plain(path, reason))?;
        Ok(config)
    }

    /// Name and URL of each issuer.
    pub fn named_issuers(&self) -> Vec<(String, String)> {
        let named = |issuer: &IssuerConfig| (issuer.name.clone(), issuer.url.clone());
        self.issuers.iter().map(named).collect()
    }

    /// Files with secrets that are read only when they are needed, and cannot be; they are missed
    /// before anybody needs them.
    pub(crate) fn missing_secrets(&self) -> Vec<String> {
        let state = match &self.control.state {
            Some(StatePlace::Postgres(server)) => server.password_file.as_ref(),
            _ => None,
        };
        let asker = |issuer: &IssuerConfig| {
            let section = issuer.introspection.as_ref()?;
            Some(section.client_secret_file.clone())
        };
        let scim = self.control.scim.as_ref().map(|it| it.token_file.clone());
        self.issuers
            .iter()
            .filter_map(asker)
            .chain(state.cloned())
            .chain(scim)
            .filter_map(|file| {
                let error = std::fs::File::open(&file).err()?;
                Some(format!("{}: cannot be read: {error}", file.display()))
            })
            .collect()
    }

    fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        };
        let optional = [
            &mut self.listen.unix,
            &mut self.listen.ready_file,
            &mut self.policy.dir,
            &mut self.policy.pseudonym_key_file,
            &mut self.upstream.credential_file,
            &mut self.recorder.socket,
            &mut self.control.socket,
            &mut self.control.revocations_file,
            &mut self.control.log_dir,
        ];
        optional.into_iter().flatten().for_each(resolve);
        if let Some(scim) = &mut self.control.scim {
            resolve(&mut scim.token_file);
        }
        for tls in [&mut self.listen.tls, &mut self.control.tls]
            .into_iter()
            .flatten()
        {
            resolve(&mut tls.certificate);
            resolve(&mut tls.key);
        }
        if let Some(login) = &mut self.control.login {
            login.client_secret_file.iter_mut().for_each(resolve);
        }
        if let UpstreamAddress::Unix(path) = &mut self.upstream.address {
            resolve(path);
        }
        if let Some(place) = &mut self.control.state {
            if let StatePlace::Postgres(server) = place {
                server.password_file = self.control.state_password_file.take();
            }
            place.resolve(resolve);
        }
        for issuer in &mut self.issuers {
            issuer.resolve_paths(base);
        }
        for receiver in &mut self.notify {
            receiver.resolve_paths(base);
        }
    }

    fn validate(&self) -> Result<(), String> {
        let say = |reason: &str| Err(reason.to_owned());
        if self.listen.tcp.is_none() && self.listen.unix.is_none() {
            return say("[listen] needs `tcp`, `unix`, or both");
        }
        if self.listen.tls.is_some() && self.listen.tcp.is_none() {
            return say("[listen.tls] applies to `tcp`, which is absent");
        }
        if self.upstream.profiles.is_empty() {
            return say("[upstream] `profiles` names none, so every route would be refused");
        }
        if self.policy.enabled && self.policy.dir.is_none() {
            return say("[policy] needs `dir`: the folder with the policy files");
        }
        if self.recorder.enabled && self.recorder.socket.is_none() {
            return say("[recorder] needs `socket`; to record nothing say `enabled = false`");
        }
        let ring = self.recorder.ring_bytes.0;
        if !ring.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&ring) {
            return say("[recorder] `ring_bytes` must be a power of two from 512KiB to 1GiB");
        }
        if self.issuers.is_empty() && self.identity.anonymous_groups.is_none() {
            return say(
                "nobody could call: add an [[issuer]], or for a first trial \
                 `anonymous_groups` in [identity]",
            );
        }
        if self
            .control
            .scim
            .as_ref()
            .is_some_and(|it| it.subject.is_empty())
        {
            return say("[control] scim: `subject` names no attribute; leave it out for the usual");
        }
        if self.control.state_password_file.is_some() {
            return say("[control] `state_password_file` is for a `state` of postgres://…");
        }
        if self.identity.cache_entries == 0 {
            return say("[identity] `cache_entries` must be at least 1");
        }
        for issuer in &self.issuers {
            issuer.validate()?;
        }
        self.approvals.validate()?;
        self.control.validate(&self.named_issuers())?;
        settle_all(&self.notify, &self.named_issuers())?;
        if !self.notify.is_empty() && self.control.state_place().is_none() {
            return say(
                "[[notify]] needs a state, where notices are kept until they arrive: name \
                 `socket` or `state` in [control]",
            );
        }
        self.limits.validate()
    }
}

// === impl ControlSection ===

impl ControlSection {
    /// The database with the state: as configured, or beside the socket. Without either there is
    /// nobody who could put anything in it.
    pub fn state_place(&self) -> Option<StatePlace> {
        let beside = || Some(self.socket.as_ref()?.with_file_name("state.db"));
        let file = || beside().map(StatePlace::Sqlite);
        self.state.clone().or_else(file)
    }
}

// === impl CoreChoice ===

impl<'de> Deserialize<'de> for CoreChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Word(String),
            List(Vec<usize>),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Word(word)) if word == "auto" => Ok(Self::Auto),
            Ok(Raw::List(list)) if !list.is_empty() => Ok(Self::Listed(list)),
            _ => Err(serde::de::Error::custom(
                "must be \"auto\" or a list like [2, 3]",
            )),
        }
    }
}

// === impl UpstreamAddress ===

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for UpstreamAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        // `localhost` is resolved here, once: the data path never waits for a name service.
        let literal = text.replacen("localhost:", "127.0.0.1:", 1);
        literal.parse().map(Self::Tcp).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not an address: write \"127.0.0.1:8000\" or \"unix:/path\" \
                 (the gateway stands on the model's own node, so no name is resolved)"
            ))
        })
    }
}

impl Default for ControlSection {
    fn default() -> Self {
        Self {
            socket: None,
            state: None,
            state_password_file: None,
            revocations_file: None,
            metrics: None,
            scim: None,
            key_lifetime_max: Span::secs(KEY_LIFETIME_MAX_S),
            listen: None,
            tls: None,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            url: None,
            roles: RoleGroups::default(),
            local: Vec::new(),
            login: None,
            log_dir: None,
        }
    }
}

impl Default for IdentitySection {
    fn default() -> Self {
        Self {
            anonymous_groups: None,
            cache_entries: 4096,
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: default_level(),
        }
    }
}
