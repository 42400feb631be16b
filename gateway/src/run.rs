//! `penstock-gateway run`: puts the parts together, starts the cores, and ends them.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, ArcSwapOption};
use penstock_policies::PolicySet;
use penstock_recorder::ring;
use tokio::sync::watch;

use crate::approvals::Desk;
use crate::config::{Config, CorePlan, TlsSection, Topology, UpstreamAddress};
use crate::control::{
    Access, Approvals, Console, Control, Facts, Keys, Notifier, Revocations, RingOffer, Scim,
    Stops, TcpPlace,
};
use crate::cutoff::Cutoff;
use crate::exchange::{InForce, Node};
use crate::identity::{Authenticator, IdentityShared};
use crate::reload::{self, Inputs, ProcessKey, Reloader, TlsSlot};
use crate::shell::{self, Bound, Shutdown, WorkerSeed};
use crate::tap::Tap;
use crate::telemetry::{self, Counters, Tallies};
use crate::tokens::TokenCounter;

/// Runs to the end; the exit code of the process.
pub fn main(path: &Path) -> ExitCode {
    let loaded = ProcessKey::random()
        .map_err(|fault| fault.to_string())
        .and_then(|key| Ok((reload::load(path, &key)?, key)));
    let ((inputs, in_force), process_key) = match loaded {
        Ok(loaded) => loaded,
        Err(reason) => return refuse(&reason),
    };
    if let Err(error) = telemetry::start(&inputs.config.log) {
        return refuse(&error);
    }
    keep_panics_quiet();
    match start(&inputs, in_force, process_key) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => refuse(&reason),
    }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("penstock-gateway: {reason}");
    ExitCode::FAILURE
}

/// A panic's message can hold what it choked on, and that can be a prompt or a token. The place is
/// enough to find the defect.
fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(%place, "panic; the connection concerned ends");
    }));
}

/// Joins errors, one a line.
pub(crate) fn lines(errors: impl Iterator<Item = String>) -> String {
    errors.collect::<Vec<_>>().join("\n")
}

/// What an operator should hear about once, at start.
pub(crate) fn warnings(config: &Config, policy: &PolicySet) -> Vec<String> {
    let mut warnings: Vec<String> = policy.warnings().to_vec();
    if let Some(groups) = &config.identity.anonymous_groups {
        warnings.push(format!(
            "ANONYMOUS CALLERS ARE LET IN, as members of {groups:?}: anybody who can connect can \
             call. Remove `anonymous_groups` as soon as the first trial is over"
        ));
    }
    if !config.policy.enabled {
        warnings.push("POLICIES ARE OFF: nothing is authorized, inspected or masked".to_owned());
    }
    if let Some(address) = config.control.metrics.filter(|it| !it.ip().is_loopback()) {
        warnings.push(format!(
            "METRICS ARE OPEN: whoever reaches {address} reads, without a credential, which \
             models are asked and what guards find; bind `metrics` to a loopback address"
        ));
    }
    let roles = &config.control.roles;
    let nobody = [&roles.viewer, &roles.approver, &roles.admin]
        .iter()
        .all(|it| it.is_empty());
    if config.control.listen.is_some() && nobody {
        let reason = "[control.roles] names no group, so no token opens the control API over TCP; \
                      the socket and one-time links of `penstock-gateway console` do";
        warnings.push(reason.to_owned());
    }
    if !config.recorder.enabled {
        warnings.push("RECORDING IS OFF: no call leaves a trace".to_owned());
    }
    if config.listen.tls.is_none() && config.listen.tcp.is_some_and(|at| !at.ip().is_loopback()) {
        warnings.push("tokens and prompts travel in the clear: no [listen.tls]".to_owned());
    }
    warnings
}

/// What all cores share.
pub(crate) fn make_node(config: &Config, in_force: InForce) -> Node {
    Node {
        name: node_name(),
        limits: config.limits.clone(),
        in_force: ArcSwap::from_pointee(in_force),
        upstream_host: match &config.upstream.address {
            UpstreamAddress::Tcp(address) => address.to_string(),
            UpstreamAddress::Unix(_) => "localhost".to_owned(),
        },
        cutoff: Cutoff::new(0),
        tallies: Tallies::new(0),
        desk: Desk::closed(),
        tokens: TokenCounter::closed(),
    }
}

fn node_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn start(inputs: &Inputs, in_force: InForce, process_key: ProcessKey) -> Result<(), String> {
    let config = &inputs.config;
    let warnings = warnings(config, &in_force.policy);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let missing = config.missing_secrets();
    if !missing.is_empty() {
        return Err(lines(missing.into_iter()));
    }
    let plan = CorePlan::choose(&config.cores, &config.exclude_cores, &Topology::read())?;
    for reason in &plan.reasons {
        tracing::info!("{reason}");
    }
    raise_file_limit(config, plan.serve.len());
    let mut node = make_node(config, in_force);
    node.cutoff = Cutoff::new(plan.serve.len());
    node.tallies = Tallies::new(plan.serve.len());
    let (desk, asks) = Desk::open(config.approvals.rules(config.upstream.address.to_string()));
    // Without a state there is nowhere to keep what was asked, and nobody who could answer.
    if config.control.state_place().is_some() {
        node.desk = desk;
    }
    let (tokens, counts) = TokenCounter::open();
    node.tokens = tokens;
    let node = Arc::new(node);
    let identity = IdentityShared::new(
        config.issuers.clone(),
        config.identity.anonymous_groups.clone(),
    )
    .map_err(|errors| lines(errors.iter().map(ToString::to_string)))?;
    let tls = tls_slot(config.listen.tls.as_ref())?;
    let control_tls = tls_slot(config.control.tls.as_ref())?;
    let counters = Counters::new(plan.serve.len());
    let recorder_alive = Arc::new(AtomicBool::new(false));
    let (taps, rings) = taps(config, &counters, &recorder_alive, &node.name)?;
    let (stop, shutdown) = watch::channel(false);
    let reloader = Reloader::new(
        inputs,
        node.clone(),
        identity.clone(),
        tls.clone(),
        control_tls.clone(),
        process_key,
        warnings,
    );
    let revocations = revocations(config, &node, &identity);
    let notifier = Notifier::new(&config.notify, &config.named_issuers())?;
    let mut control = Control {
        identity: identity.clone(),
        rings,
        recorder_alive,
        notifier: notifier.clone(),
        reloader: reloader.clone(),
        scim: scim(config, &revocations)?,
        revocations,
        keys: Keys::new(
            identity.clone(),
            node.cutoff.clone(),
            config.control.key_lifetime_max.0,
        ),
        approvals: Approvals::new(&config.approvals, &named_by(config, &node.name), notifier),
        asks,
        counts,
        socket: None,
        tcp: None,
        access: Access::new(&config.control, &config.named_issuers()),
        console: Console::default(),
        metrics: None,
        facts: Facts {
            driver: "",
            cores: plan.serve.clone(),
            listen: None,
            control_listen: None,
            control_url: None,
            upstream: config.upstream.address.to_string(),
            recording: config.recorder.enabled,
            on_recorder_loss: config.recorder.on_recorder_loss,
        },
        node: node.clone(),
        counters: counters.clone(),
        stop,
    };
    pin_to(plan.housekeeping);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the control thread's runtime: {error}"))?;
    runtime.block_on(async {
        survive_file_limits()?;
        let signals = reloader.listen_for_signals();
        signals.map_err(|error| format!("SIGHUP cannot be had: {error}"))?;
        let stops = Stops::listen().map_err(|error| format!("SIGTERM cannot be had: {error}"))?;
        control.prepare().await?;
        // All that listens is bound before anything is announced: who connects then waits, and is
        // not turned away.
        let bound = Bound::bind(&config.listen, plan.serve.len()).map_err(|e| e.to_string())?;
        control.socket = control_socket(config)?;
        control.tcp = control_listener(config, control_tls)?;
        let tcp = control.tcp.as_ref();
        control.facts.control_listen = tcp.and_then(|tcp| tcp.listener.local_addr().ok());
        control.facts.control_url = config.control.url_at(control.facts.control_listen);
        let console = control.facts.control_url.clone();
        control.approvals.found_at(console);
        let url = control.facts.control_url.as_deref();
        control.console = Console::new(&config.control, &config.issuers, url);
        control.metrics = metrics_listener(config)?;
        control.facts.listen = bound.tcp.map(|address| address.to_string());
        let seeds = Seeds {
            config,
            plan: &plan,
            node,
            identity,
            tls,
            counters,
            shutdown,
        };
        let (threads, driver) = seeds.start(bound.cores, taps)?;
        control.facts.driver = driver;
        announce(config, driver, control.facts.listen.as_deref())?;
        control
            .run(stops)
            .await
            .map_err(|error| format!("control API: {error}"))?;
        // Elsewhere, so that calls which are still under way find the control thread at work.
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A core that panicked has said so; the others still end in order.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// This gateway among all that share a state, and the same after a restart: several may run on one
/// node, each by a configuration of its own.
fn named_by(config: &Config, node: &str) -> String {
    let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
    format!("{node}:{}", file.display())
}

/// A file that reaches a limit on sizes is an error of whoever writes it, as a full disk is, and not
/// the end of the process, as which the signal counts by default.
fn survive_file_limits() -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // Nobody needs to hear of it: that it is caught is enough, and it stays caught.
    signal(kind)
        .map(|_| ())
        .map_err(|error| format!("SIGXFSZ cannot be had: {error}"))
}

/// The control API's socket.
fn control_socket(config: &Config) -> Result<Option<UnixListener>, String> {
    let Some(socket) = &config.control.socket else {
        return Ok(None);
    };
    let listener = shell::bind_unix(socket)
        .map_err(|error| format!("[control] socket = {socket:?}: {error}"))?;
    Ok(Some(listener))
}

/// The control API's port.
fn control_listener(config: &Config, tls: Option<TlsSlot>) -> Result<Option<TcpPlace>, String> {
    let Some(address) = config.control.listen else {
        return Ok(None);
    };
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("[control] listen = \"{address}\": {error}"))?;
    Ok(Some(TcpPlace {
        listener,
        tls,
        per_address_max: config.control.connections_per_address,
    }))
}

/// What a listener takes its certificate from.
fn tls_slot(section: Option<&TlsSection>) -> Result<Option<TlsSlot>, String> {
    let made = section.map(shell::server_config).transpose();
    let made = made.map_err(|error| error.to_string())?;
    Ok(made.map(|first| Arc::new(ArcSwapOption::from(Some(first)))))
}

/// The port for `/metrics`.
fn metrics_listener(config: &Config) -> Result<Option<std::net::TcpListener>, String> {
    let Some(address) = config.control.metrics else {
        return Ok(None);
    };
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("[control] metrics = \"{address}\": {error}"))?;
    Ok(Some(listener))
}

fn revocations(config: &Config, node: &Node, identity: &Arc<IdentityShared>) -> Arc<Revocations> {
    Revocations::new(
        node.cutoff.clone(),
        identity.clone(),
        config.control.state_place(),
        config.control.revocations_file.clone(),
    )
}

/// Where a provisioning service tells of people.
fn scim(config: &Config, revocations: &Arc<Revocations>) -> Result<Option<Arc<Scim>>, String> {
    let section = config.control.scim.as_ref();
    section
        .map(|section| Scim::new(section, revocations.clone()))
        .transpose()
}

/// Raises the limit on open files as far as it goes: a call takes two, and the usual limit of 1024
/// is a leftover from `select`.
fn raise_file_limit(config: &Config, cores: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit on open files cannot be raised: {error}");
    }
    let wanted = (config.limits.connections_per_core * cores * 2) as u64;
    if let Some(current) = getrlimit(Resource::Nofile)
        .current
        .filter(|have| *have < wanted)
    {
        tracing::warn!(
            "{current} files may be open; `connections_per_core` = {} on {cores} cores may need \
             {wanted}. Raise LimitNOFILE, or lower the bound",
            config.limits.connections_per_core
        );
    }
}

/// One tap per core, and the rings to hand over.
fn taps(
    config: &Config,
    counters: &Counters,
    alive: &Arc<AtomicBool>,
    gateway: &str,
) -> Result<(Vec<Tap>, Option<RingOffer>), String> {
    let count = counters.count();
    let Some(socket) = config
        .recorder
        .socket
        .clone()
        .filter(|_| config.recorder.enabled)
    else {
        return Ok((
            (0..count)
                .map(|core| Tap::disabled(counters.core(core)))
                .collect(),
            None,
        ));
    };
    let mut taps = Vec::with_capacity(count);
    let mut rings = Vec::with_capacity(count);
    for core in 0..count {
        let (producer, fds) = ring::create(config.recorder.ring_bytes.0)
            .map_err(|error| format!("a ring cannot be made: {error}"))?;
        let on_recorder_loss = config.recorder.on_recorder_loss;
        taps.push(Tap::new(
            producer,
            alive.clone(),
            on_recorder_loss,
            counters.core(core),
        ));
        rings.push(fds);
    }
    Ok((
        taps,
        Some(RingOffer::new(socket, gateway.to_owned(), rings)),
    ))
}

/// What every core's thread is made from.
struct Seeds<'a> {
    config: &'a Config,
    plan: &'a CorePlan,
    node: Arc<Node>,
    identity: Arc<IdentityShared>,
    tls: Option<TlsSlot>,
    counters: Counters,
    shutdown: Shutdown,
}

impl Seeds<'_> {
    fn start(
        self,
        listeners: Vec<shell::Listeners>,
        taps: Vec<Tap>,
    ) -> Result<(Vec<JoinHandle<()>>, &'static str), String> {
        let (started, starts) = crossbeam::channel::bounded(self.plan.serve.len());
        let mut threads = Vec::new();
        let parts = listeners.into_iter().zip(taps).enumerate();
        for (index, (listeners, tap)) in parts {
            let identity = self.identity.clone();
            let entries = self.config.identity.cache_entries;
            let seed = WorkerSeed {
                core: self.plan.serve[index],
                index,
                node: self.node.clone(),
                listeners,
                tls: self.tls.clone(),
                upstream: self.config.upstream.address.clone(),
                authenticator: Box::new(move || Authenticator::new(identity, entries)),
                tap,
                counters: self.counters.core(index),
                shutdown: self.shutdown.clone(),
            };
            let thread = shell::start(seed, started.clone())
                .map_err(|error| format!("a core's thread cannot be started: {error}"))?;
            threads.push(thread);
        }
        drop(started);
        let mut driver = "";
        for start in starts {
            driver = start.map_err(|error| format!("no I/O driver can be had: {error}"))?;
        }
        Ok((threads, driver))
    }
}

fn announce(config: &Config, driver: &str, listen: Option<&str>) -> Result<(), String> {
    let unix = config
        .listen
        .unix
        .as_ref()
        .map(|path| format!("unix:{}", path.display()));
    let places: Vec<&str> = listen.into_iter().chain(unix.as_deref()).collect();
    tracing::info!(
        driver,
        upstream = %config.upstream.address,
        "listening on {}",
        places.join(" and ")
    );
    if let Some(path) = &config.listen.ready_file {
        let line = listen.map_or_else(|| places.join(" "), str::to_owned);
        // Renamed into place, so that a reader never sees half a line.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{line}\n"))
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

/// Keeps this thread, and those that it starts, off the serving cores.
fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!("the control thread cannot be pinned to core {core}: {error}");
    }
}
