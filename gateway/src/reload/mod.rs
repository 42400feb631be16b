//! Policies, permissions, profiles, issuers, credential and certificates change while calls go on.
//!
//! A reload reads all files in one state ([`read`]), compiles them away from every core, runs each
//! rule's own examples, and puts the result in force with one store: a core takes it up with its
//! next call. A call keeps what it began with to its end, answer included, and its record names
//! that version. What is wrong is refused whole, with file, line and column, and what was in force
//! stays.
//!
//! It is asked for by `SIGHUP`, by the control API, and by the watch over the files. However often
//! it is asked for, at most one reload runs and one waits; everybody who asked meanwhile is told of
//! that one, which began after they asked. Certificates come the same way but stand for themselves:
//! a slip in a policy must not let a certificate run out, nor the other way round.

mod certificate;
mod changes;
mod inputs;
mod read;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use utoipa::ToSchema;

use crate::config::Config;
use crate::exchange::{InForce, Node, unix_seconds};
use crate::identity::{IdentityConfigError, IdentityShared, change_issuers};
use certificate::Certificate;

pub use certificate::TlsSlot;
pub use inputs::{Fault, Inputs, ProcessKey};

/// Those who may wait for one reload. Whoever comes later is told to come again.
const WAITERS_MAX: usize = 256;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The gateway started.
    Start,
    /// `SIGHUP`.
    Signal,
    /// The files changed.
    Watch,
    /// `POST /reload`.
    Call,
}

/// What became of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in force.
    Applied,
    /// The files say what they said before.
    Unchanged,
    /// Something is wrong; what was in force stays.
    Refused,
}

/// One reload, as the API, the log and the command line tell it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// Who asked; several, where requests were answered together.
    pub triggers: Vec<Trigger>,
    /// When it ended, seconds since 1970.
    pub at_unix: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What became of policies, permissions, profiles and the credential.
    pub policies: Outcome,
    /// What became of the certificate; absent where TLS is not configured.
    pub tls: Option<Outcome>,
    /// The same of the control listener's.
    pub control_tls: Option<Outcome>,
    /// The policy version in force now.
    pub policy_version: String,
    /// Everything that is wrong, where something was refused.
    pub errors: Vec<Fault>,
    /// What an operator should look at in what is in force.
    pub warnings: Vec<String>,
    /// Keys of `gateway.toml` that differ from those with which the gateway started and count only
    /// after a restart.
    pub needs_restart: Vec<String>,
}

/// What is in force, and how the last reload went.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The policy version in force.
    pub version: String,
    /// Since when, seconds since 1970.
    pub since_unix: u64,
    /// Who asked for it.
    pub by: Vec<Trigger>,
    /// Reloads that put something new in force.
    pub applied: u64,
    /// Reloads that found nothing new.
    pub unchanged: u64,
    /// Reloads that were refused, in whole or in part.
    pub refused: u64,
    /// When a reload, or the start, last found nothing wrong, seconds since 1970.
    pub last_good_unix: u64,
    /// The last one.
    pub last: Option<Attempt>,
}

/// Nobody more can wait.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// Asks for reloads, and tells how they went. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    file: PathBuf,
    node: Arc<Node>,
    identity: Arc<IdentityShared>,
    tls: Option<Certificate>,
    control_tls: Option<Certificate>,
    process_key: ProcessKey,
    started: toml::Table,
    wake: Notify,
    waiting: Mutex<Waiting>,
    standing: Mutex<Standing>,
    accepted: Mutex<Accepted>,
}

/// Who waits for the next reload.
#[derive(Default)]
struct Waiting {
    triggers: Vec<Trigger>,
    told: Vec<oneshot::Sender<Arc<Attempt>>>,
}

/// What was last put in force, to be compared with what is read.
struct Accepted {
    digest: blake3::Hash,
    warnings: Vec<String>,
    /// What the watch looks at.
    wanted: read::Wanted,
    watches_policies: bool,
}

// === impl Attempt ===

impl Attempt {
    /// Whether nothing was refused.
    pub fn is_good(&self) -> bool {
        !self.outcomes().contains(&Some(Outcome::Refused))
    }

    fn applied(&self) -> bool {
        self.outcomes().contains(&Some(Outcome::Applied))
    }

    fn outcomes(&self) -> [Option<Outcome>; 3] {
        [Some(self.policies), self.tls, self.control_tls]
    }
}

// === impl Reloader ===

impl Reloader {
    /// Takes over after a start with these inputs.
    pub fn new(
        inputs: &Inputs,
        node: Arc<Node>,
        identity: Arc<IdentityShared>,
        tls: Option<TlsSlot>,
        control_tls: Option<TlsSlot>,
        process_key: ProcessKey,
        warnings: Vec<String>,
    ) -> Self {
        let config = &inputs.config;
        let standing = Standing {
            version: node.in_force.load().policy.version().to_owned(),
            since_unix: unix_seconds(),
            by: vec![Trigger::Start],
            applied: 0,
            unchanged: 0,
            refused: 0,
            last_good_unix: unix_seconds(),
            last: None,
        };
        let accepted = Accepted {
            digest: inputs.digest,
            warnings,
            wanted: inputs::wanted_by(config),
            watches_policies: config.policy.watch,
        };
        Self(Arc::new(Inner {
            file: config.file.clone(),
            node,
            identity,
            tls: Certificate::new(tls, config.listen.tls.as_ref()),
            control_tls: Certificate::new(control_tls, config.control.tls.as_ref()),
            process_key,
            started: inputs.table.clone(),
            wake: Notify::new(),
            waiting: Mutex::default(),
            standing: Mutex::new(standing),
            accepted: Mutex::new(accepted),
        }))
    }

    /// Asks for a reload that begins after this call; what is received is how it went.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn ask(&self, trigger: Trigger) -> Result<oneshot::Receiver<Arc<Attempt>>, TooMany> {
        let (told, tells) = oneshot::channel();
        let mut waiting = lock(&self.0.waiting);
        if waiting.told.len() == WAITERS_MAX {
            return Err(TooMany);
        }
        if !waiting.triggers.contains(&trigger) {
            waiting.triggers.push(trigger);
        }
        waiting.told.push(told);
        drop(waiting);
        self.0.wake.notify_one();
        Ok(tells)
    }

    /// What is in force.
    pub fn standing(&self) -> Standing {
        lock(&self.0.standing).clone()
    }

    /// Reloads whenever it is asked for, one at a time. Runs for ever.
    pub async fn run(self) {
        tokio::spawn(watch::keep(self.clone()));
        loop {
            self.0.wake.notified().await;
            let Waiting { triggers, told } = std::mem::take(&mut *lock(&self.0.waiting));
            if told.is_empty() {
                continue;
            }
            let inner = self.0.clone();
            let runtime = Handle::current();
            let work = move || Arc::new(inner.reload(triggers, &runtime));
            match tokio::task::spawn_blocking(work).await {
                // Whoever asked may have gone.
                Ok(attempt) => told.into_iter().for_each(|told| {
                    let _ = told.send(attempt.clone());
                }),
                Err(error) => tracing::error!("a reload ended before its time: {error}"),
            }
        }
    }

    /// Asks for a reload at every `SIGHUP`. Runs for ever.
    ///
    /// # Errors
    /// When the signal cannot be had.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        let reloader = self.clone();
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                // Where too many wait, one of them will be answered for this, too.
                let _ = reloader.ask(Trigger::Signal);
            }
        });
        Ok(())
    }
}

// === impl Inner ===

impl Inner {
    /// One reload. Blocks.
    fn reload(&self, triggers: Vec<Trigger>, runtime: &Handle) -> Attempt {
        let began = Instant::now();
        let mut errors = Vec::new();
        let mut needs_restart = Vec::new();
        let read = Inputs::read(&self.file);
        let policies = match &read {
            Ok(inputs) => {
                needs_restart = changes::needing_restart(&self.started, &inputs.table);
                self.policies(inputs, runtime, &mut errors)
            }
            Err(faults) => {
                errors.clone_from(faults);
                Outcome::Refused
            }
        };
        let (of_data, of_control) = match read {
            Ok(inputs) => (inputs.config.listen.tls, inputs.config.control.tls),
            Err(_) => (None, None),
        };
        let tls = self.tls.as_ref().map(|it| it.reload(of_data, &mut errors));
        let control_tls = self.control_tls.as_ref();
        let control_tls = control_tls.map(|it| it.reload(of_control, &mut errors));
        let warnings = lock(&self.accepted).warnings.clone();
        let attempt = Attempt {
            triggers,
            at_unix: unix_seconds(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            policies,
            tls,
            control_tls,
            policy_version: self.node.in_force.load().policy.version().to_owned(),
            errors,
            warnings,
            needs_restart,
        };
        self.tell(&attempt);
        attempt
    }

    /// Puts policies and issuers in force if they are new and good.
    fn policies(&self, inputs: &Inputs, runtime: &Handle, errors: &mut Vec<Fault>) -> Outcome {
        if lock(&self.accepted).digest == inputs.digest {
            return Outcome::Unchanged;
        }
        let built = inputs.build(&self.process_key).and_then(|in_force| {
            let failed = inputs::failed_examples(&in_force, &inputs.config);
            if failed.is_empty() {
                Ok(in_force)
            } else {
                Err(failed)
            }
        });
        let in_force = match built.and_then(|in_force| {
            self.issuers(&inputs.config, runtime)?;
            Ok(in_force)
        }) {
            Ok(in_force) => in_force,
            Err(faults) => {
                errors.extend(faults);
                return Outcome::Refused;
            }
        };
        let mut accepted = lock(&self.accepted);
        accepted.digest = inputs.digest;
        accepted.warnings = crate::run::warnings(&inputs.config, &in_force.policy);
        accepted.wanted = inputs::wanted_by(&inputs.config);
        accepted.watches_policies = inputs.config.policy.watch;
        drop(accepted);
        self.node.in_force.store(Arc::new(in_force));
        Outcome::Applied
    }

    /// Puts other issuers in force, where they differ and nothing is wrong with them.
    fn issuers(&self, config: &Config, runtime: &Handle) -> Result<(), Vec<Fault>> {
        let anonymous = config.identity.anonymous_groups.clone();
        let change = change_issuers(&self.identity, config.issuers.clone(), anonymous);
        match runtime.block_on(change) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let names = self.identity.names();
                let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
                tracing::info!("issuers now: {}", names.join(", "));
                Ok(())
            }
            Err(wrong) => {
                let fault =
                    |error: &IdentityConfigError| Fault::of(&config.file, &error.to_string());
                Err(wrong.iter().map(fault).collect())
            }
        }
    }

    /// Into the log, and into what the API tells; but not that a look at the files brought nothing.
    fn tell(&self, attempt: &Attempt) {
        let Attempt {
            triggers, took_ms, ..
        } = attempt;
        let version = &attempt.policy_version;
        for error in &attempt.errors {
            tracing::error!("{error}");
        }
        match attempt.policies {
            Outcome::Applied => {
                tracing::info!(?triggers, took_ms, "policy {version} is in force");
                for warning in &attempt.warnings {
                    tracing::warn!("{warning}");
                }
            }
            Outcome::Refused => {
                tracing::error!(?triggers, "policies not taken, policy {version} stays");
            }
            Outcome::Unchanged => tracing::debug!(?triggers, "policies are unchanged"),
        }
        for (listener, outcome) in [("", attempt.tls), ("control ", attempt.control_tls)] {
            match outcome {
                Some(Outcome::Applied) => tracing::info!("{listener}TLS certificate read again"),
                Some(Outcome::Refused) => {
                    tracing::error!("{listener}TLS files not taken, the old ones stay");
                }
                _ => {}
            }
        }
        for key in &attempt.needs_restart {
            tracing::warn!(
                "`{key}` has changed in {}, which needs a restart",
                self.file.display()
            );
        }
        let mut standing = lock(&self.standing);
        if attempt.is_good() {
            standing.last_good_unix = attempt.at_unix;
        }
        let unchanged = attempt.is_good() && !attempt.applied();
        // What was wrong and has been put back is worth telling.
        let mends = standing.last.as_ref().is_some_and(|last| !last.is_good());
        if unchanged && !mends && attempt.triggers == [Trigger::Watch] {
            return;
        }
        if attempt.policies == Outcome::Applied {
            standing.version.clone_from(version);
            standing.since_unix = attempt.at_unix;
            standing.by.clone_from(triggers);
        }
        match (attempt.is_good(), attempt.applied()) {
            (false, _) => standing.refused += 1,
            (true, true) => standing.applied += 1,
            (true, false) => standing.unchanged += 1,
        }
        standing.last = Some(attempt.clone());
    }
}

/// Reads and builds what a start, `check` or `explain` needs.
///
/// # Errors
/// All that is wrong, one a line.
pub fn load(path: &Path, process_key: &ProcessKey) -> Result<(Inputs, InForce), String> {
    let loaded = Inputs::read(path).and_then(|inputs| {
        let in_force = inputs.build(process_key)?;
        Ok((inputs, in_force))
    });
    loaded.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// A panic of another holder leaves nothing half done here: each holder stores whole values.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
