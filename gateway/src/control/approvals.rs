//! The control thread's side of approvals: the register of who waits, and the state that keeps what
//! was asked and decided.
//!
//! The state is the truth, the register only who is to be told: every change reads an approval,
//! lets [`Approval`] decide, and writes it in one statement that fails if anybody was quicker; then
//! it is made anew. A use is committed before the core that asked hears that it may forward, so an
//! approval cannot be used twice, whoever dies when. The rows of notices are committed with the
//! change that they tell of, so none is lost and none tells of what did not happen. What cannot be
//! read or written is refused.

mod keep;
mod news;
mod notice;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use super::Notifier;
use super::notify::Addressed;
use super::revocations::new_id;
use super::state::approvals::{Filter, Intake, PendingMax};
use super::state::{State, StateError};
use crate::approvals::{
    Approval, Ask, Claim, DecideError, Decision, Event, EventKind, Grant, Manner, Outcome, Person,
    Refusal, Standing, SteadyClock, Ticket, UseError, Waiting, Wanted, Window,
};
use crate::config::ApprovalsSection;
use news::News;

/// Questions of cores that are looked into at once.
const HANDS: usize = 32;
/// How often one change is tried anew because another came first.
const ATTEMPTS_MAX: usize = 16;
/// How long a connection that ended has to say why.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Changes that a subscriber may be behind before it misses some.
const CHANGES_MAX: usize = 256;

/// Something that has happened to an approval.
#[derive(Clone, Debug)]
pub(in crate::control) struct Change {
    /// As it is since.
    pub(in crate::control) approval: Arc<Approval>,
    /// What happened.
    pub(in crate::control) event: EventKind,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(in crate::control) enum ApprovalError {
    /// No approval has this id.
    #[error("no approval has the id {0:?}; `approvals list` shows those there are")]
    Unknown(String),
    /// The person's word does not count.
    #[error(transparent)]
    Refused(DecideError),
    /// The state cannot be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// All approvals.
pub struct Approvals {
    settings: Settings,
    /// What links to the console begin with, where it can be reached.
    console: OnceLock<String>,
    /// Names this process among all that used the same state.
    run: String,
    state: OnceLock<State>,
    clock: SteadyClock,
    waiting: Mutex<HashMap<String, Waiter>>,
    changes: broadcast::Sender<Change>,
    news: Mutex<News>,
    notifier: Notifier,
    counts: [AtomicU64; EventKind::ALL.len()],
    /// What an earlier run left waiting is not withdrawn yet.
    has_orphans: AtomicBool,
}

/// What the configuration says.
struct Settings {
    pending: PendingMax,
    keep: Duration,
    gateway: String,
}

/// A connection that waits.
struct Waiter {
    told: Arc<watch::Sender<(Standing, Vec<Event>)>>,
    revision: u64,
}

// === impl Approvals ===

impl Approvals {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(section: &ApprovalsSection, gateway: &str, notifier: Notifier) -> Arc<Self> {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Arc::new(Self {
            settings: Settings {
                pending: PendingMax {
                    per_caller: section.pending_per_caller,
                    in_all: section.pending,
                },
                keep: section.keep.0,
                gateway: gateway.to_owned(),
            },
            console: OnceLock::new(),
            run: new_id(),
            state: OnceLock::new(),
            clock: SteadyClock::from(0),
            waiting: Mutex::default(),
            changes,
            news: Mutex::default(),
            notifier,
            counts: Default::default(),
            has_orphans: AtomicBool::new(true),
        })
    }

    /// Reads how far the clock was, and withdraws what an earlier run of this gateway left waiting:
    /// those connections have ended with it.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) async fn load(&self, state: &State) -> Result<(), String> {
        let floor = state.approvals_changed_ms().await;
        self.clock.raise(floor.map_err(|error| error.to_string())?);
        // Nobody else sets it: this runs once.
        let _ = self.state.set(state.clone());
        // A disk that is full keeps nobody out: that is done when there is room again.
        if let Err(error) = self.withdraw_orphans(state).await {
            tracing::error!("connections of an earlier run still stand as waiting: {error}");
        }
        let listened = self.listen(state).await;
        listened.map_err(|error| error.to_string())?;
        let pending = state.pending_approvals().await;
        let pending = pending.map_err(|error| error.to_string())?;
        if pending > 0 {
            tracing::info!(pending, "approvals loaded");
        }
        Ok(())
    }

    /// Answers the cores, for as long as there are any.
    pub(super) async fn serve(self: Arc<Self>, mut asks: mpsc::Receiver<Ask>) {
        let hands = Arc::new(Semaphore::new(HANDS));
        while let Some(ask) = asks.recv().await {
            // It is never closed.
            let Ok(hand) = hands.clone().acquire_owned().await else {
                return;
            };
            let approvals = self.clone();
            tokio::spawn(async move {
                approvals.answer(ask).await;
                drop(hand);
            });
        }
    }

    /// Whoever no longer waits for a reply has dropped it; what it brings is dropped then, too.
    async fn answer(self: &Arc<Self>, ask: Ask) {
        match ask {
            Ask::Open { wanted, reply } => {
                let _ = reply.send(self.open(*wanted).await);
            }
            Ask::Spend { claim, reply } => {
                let _ = reply.send(self.spend(*claim).await);
            }
            Ask::Withdraw { id, reason } => self.withdraw(&id, reason).await,
            Ask::Release { id, reply } => {
                let _ = reply.send(self.release(&id).await);
            }
        }
    }

    /// A request is held.
    async fn open(self: &Arc<Self>, mut wanted: Wanted) -> Result<Outcome, Refusal> {
        let state = self.state.get().ok_or(Refusal::Unavailable)?;
        let now = self.clock.now_ms();
        let windows = state
            .windows(&wanted.caller, now)
            .await
            .map_err(unavailable)?;
        for held in &mut wanted.holds {
            let fits = |it: &&Window| it.hold == held.hold && it.cause == held.cause;
            // The policy in force must still say that approvals cover more than one request.
            let open = held.window_s.and_then(|_| windows.iter().find(fits));
            held.covered_by = open.map(|window| window.approval.clone());
        }
        if wanted.holds.iter().all(|held| held.covered_by.is_some()) {
            return self.covered(state, &wanted).await;
        }
        if wanted.manner == Manner::Ticket {
            let known = state.open_ticket(&wanted.digest, now).await;
            if let Some(known) = known.map_err(unavailable)? {
                return Ok(Outcome::Ticket(self.ticket(&known)));
            }
        }
        let lasts_ms = u64::try_from(wanted.lasts.as_millis()).unwrap_or(u64::MAX);
        let approval = Approval::request(
            new_id(),
            wanted.digest,
            (wanted.caller, wanted.matter),
            wanted.holds,
            wanted.manner,
            (now, lasts_ms),
        );
        let of = (self.settings.gateway.as_str(), self.run.as_str());
        let most = self.settings.pending;
        let notices = self.notices(&approval, 0);
        let kept = state.keep_approval(&approval, of, most, notices.rows());
        match kept.await.map_err(unavailable)? {
            Intake::Taken => {}
            Intake::CallerFull => return Err(Refusal::CallerFull(most.per_caller)),
            Intake::Full => return Err(Refusal::Full(most.in_all)),
        }
        let ticket = self.ticket(&approval);
        let outcome = match approval.manner {
            Manner::Ticket => Outcome::Ticket(ticket),
            Manner::Wait => Outcome::Waiting(Waiting {
                ticket,
                standing: self.wait_for(&approval),
            }),
        };
        self.notifier.posted(notices);
        self.tell(&approval, 0);
        Ok(outcome)
    }

    /// Every hold is open by earlier approvals.
    async fn covered(&self, state: &State, wanted: &Wanted) -> Result<Outcome, Refusal> {
        let mut grants: Vec<Grant> = Vec::new();
        for id in wanted
            .holds
            .iter()
            .filter_map(|held| held.covered_by.as_ref())
        {
            if grants.iter().any(|grant| grant.approval.id == *id) {
                continue;
            }
            let approval = state.approval(id).await.map_err(unavailable)?;
            let approval = Arc::new(approval.ok_or(Refusal::Unavailable)?);
            tracing::info!(
                id,
                subject = wanted.caller.subject,
                session = wanted.matter.session,
                "a held request passes by an earlier approval"
            );
            grants.push(Grant { approval });
        }
        Ok(Outcome::Passes(grants))
    }

    /// Registers a connection that waits; when its end is dropped, the approval is withdrawn.
    fn wait_for(self: &Arc<Self>, approval: &Approval) -> watch::Receiver<(Standing, Vec<Event>)> {
        let start = (approval.standing, approval.history.clone());
        let (told, standing) = watch::channel(start);
        let told = Arc::new(told);
        let waiter = Waiter {
            told: told.clone(),
            revision: approval.revision,
        };
        self.waiting().insert(approval.id.clone(), waiter);
        let (approvals, id) = (self.clone(), approval.id.clone());
        tokio::spawn(async move {
            told.closed().await;
            let last = told.borrow().0;
            approvals.waiting().remove(&id);
            if matches!(last, Standing::Pending | Standing::Approved) {
                tokio::time::sleep(LAST_WORDS).await;
                approvals
                    .withdraw(&id, "the caller's connection ended")
                    .await;
            }
        });
        standing
    }

    /// A request comes with an approval.
    async fn spend(&self, claim: Claim) -> Result<Grant, Refusal> {
        let of = (claim.digest.as_str(), claim.policy_version.as_str());
        let spent = self.change(&claim.id, |approval, now| {
            approval.spend(now, &claim.caller, of, &claim.session)
        });
        match spent.await {
            Ok((approval, Ok(()))) => Ok(Grant {
                approval: Arc::new(approval),
            }),
            Ok((_, Err(UseError::Unknown))) | Err(ApprovalError::Unknown(_)) => Err(Refusal::Use {
                error: UseError::Unknown,
                history: Vec::new(),
            }),
            Ok((approval, Err(error))) => Err(Refusal::Use {
                error,
                history: approval.history,
            }),
            Err(error) => {
                tracing::error!("an approval was not used: {error}");
                Err(Refusal::Unavailable)
            }
        }
    }

    /// Whoever waited waits no longer.
    async fn withdraw(&self, id: &str, reason: &str) {
        let withdrawn = self.change(id, |approval, now| {
            // One that went on as a ticket waits for nobody.
            approval.manner == Manner::Wait && approval.withdraw(now, reason)
        });
        if let Err(error) = withdrawn.await {
            // It can no longer be used: only its own connection could have. The next start of this
            // gateway withdraws it.
            tracing::error!(id, "an approval was not withdrawn: {error}");
        }
    }

    /// Whoever waited comes back with a ticket.
    async fn release(&self, id: &str) -> Result<Ticket, Refusal> {
        let released = self.change(id, |approval, now| {
            if !approval.expire(now) {
                approval.manner = Manner::Ticket;
            }
        });
        let (approval, ()) = released.await.map_err(|error| {
            tracing::error!(id, "a wait was not made a ticket: {error}");
            Refusal::Unavailable
        })?;
        match approval.standing {
            Standing::Pending | Standing::Approved => Ok(self.ticket(&approval)),
            standing => Err(Refusal::Use {
                error: UseError::Over(standing),
                history: approval.history,
            }),
        }
    }

    /// A person says yes or no.
    ///
    /// # Errors
    /// When there is no such approval, their word does not count, or it cannot be written down.
    pub(in crate::control) async fn decide(
        &self,
        id: &str,
        person: &Person,
        decision: Decision,
        reason: &str,
    ) -> Result<Approval, ApprovalError> {
        let decided = self.change(id, |approval, now| {
            approval.decide(now, person, decision, reason)
        });
        let (approval, decided) = decided.await?;
        decided.map_err(ApprovalError::Refused)?;
        Ok(approval)
    }

    /// The one with this id.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(in crate::control) async fn get(&self, id: &str) -> Result<Approval, ApprovalError> {
        let found = self
            .state()?
            .approval(id)
            .await
            .map_err(ApprovalError::state)?;
        found.ok_or_else(|| ApprovalError::Unknown(id.to_owned()))
    }

    /// At most `limit`, in the order in which they were asked for or against it, behind `after`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn page(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Approval>, ApprovalError> {
        let found = self.state()?.approvals(filter, after, limit).await;
        found.map_err(ApprovalError::state)
    }

    /// Everything that happens to approvals from now on, at this gateway and at all that share its
    /// state.
    pub(in crate::control) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Milliseconds since 1970, as approvals count them.
    pub(in crate::control) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The console can be reached there; to be said once, before anybody asks.
    pub fn found_at(&self, url: Option<String>) {
        if let Some(url) = url {
            let _ = self.console.set(url);
        }
    }

    /// Where approvers find it: in the console, or without one by its path in the control API.
    pub(in crate::control) fn url_of(&self, id: &str) -> String {
        match self.console.get() {
            Some(console) => format!("{console}/console/approvals/{id}"),
            None => format!("/approvals/{id}"),
        }
    }

    /// How many wait for people; `None` where that cannot be known.
    pub(in crate::control) async fn pending(&self) -> Option<u64> {
        self.state.get()?.pending_approvals().await.ok()
    }

    /// How often what has happened, since the start.
    pub(in crate::control) fn counts(&self) -> Vec<(&'static str, u64)> {
        let read = |(kind, count): (&EventKind, &AtomicU64)| {
            (kind.as_str(), count.load(Ordering::Relaxed))
        };
        EventKind::ALL.iter().zip(&self.counts).map(read).collect()
    }

    /// Lets `act` change an approval and writes that down; what it is since, and what `act` said.
    async fn change<T>(
        &self,
        id: &str,
        act: impl Fn(&mut Approval, u64) -> T,
    ) -> Result<(Approval, T), ApprovalError> {
        let state = self.state()?;
        for _ in 0..ATTEMPTS_MAX {
            let read = state.approval(id).await.map_err(ApprovalError::state)?;
            let before = read.ok_or_else(|| ApprovalError::Unknown(id.to_owned()))?;
            let mut approval = before.clone();
            let now = self.clock.now_ms();
            let said = act(&mut approval, now);
            if approval == before {
                return Ok((approval, said));
            }
            let from = before.history.len();
            let notices = self.notices(&approval, from);
            let changed = state.change_approval(&approval, now, notices.rows());
            if changed.await.map_err(ApprovalError::state)? {
                approval.revision += 1;
                self.notifier.posted(notices);
                self.tell(&approval, from);
                return Ok((approval, said));
            }
        }
        let reason = "too many change it at once; try again";
        Err(ApprovalError::Unavailable(reason.to_owned()))
    }

    /// What receivers are told of what happens now: of its history from there on.
    fn notices(&self, approval: &Approval, from: usize) -> Addressed {
        let url = self.console.get().map(|_| self.url_of(&approval.id));
        let events = approval.history[from..].iter();
        let notices = events.filter_map(|event| notice::notice(approval, event, url.clone()));
        self.notifier.address(notices)
    }

    /// What this gateway has made happen, from there on in its history, is told to whoever waits,
    /// to subscribers, to the log, and counted.
    fn tell(&self, approval: &Approval, from: usize) {
        self.tell_waiter(approval);
        for event in &approval.history[from..] {
            self.counts[event.event as usize].fetch_add(1, Ordering::Relaxed);
            let by = event.by.as_ref().map(|(_, subject)| subject.as_str());
            tracing::info!(
                id = approval.id,
                event = event.event.as_str(),
                standing = approval.standing.as_str(),
                subject = approval.caller.subject,
                session = event.session,
                by,
                reason = event.reason,
                "approval"
            );
        }
        self.publish(approval, Some(from));
    }

    /// Tells subscribers what they have not been told of it; `from`: this gateway has made happen
    /// what stands in its history from there on.
    fn publish(&self, approval: &Approval, from: Option<usize>) {
        let now = self.clock.now_ms();
        let news = self.news().of(approval, from, now);
        if news.is_empty() {
            return;
        }
        let shared = Arc::new(approval.clone());
        for event in &approval.history[news] {
            // Nobody may be listening.
            let _ = self.changes.send(Change {
                approval: shared.clone(),
                event: event.event,
            });
        }
    }

    fn tell_waiter(&self, approval: &Approval) {
        if let Some(waiter) = self.waiting().get_mut(&approval.id) {
            waiter.revision = approval.revision;
            let now = (approval.standing, approval.history.clone());
            waiter.told.send_replace(now);
        }
    }

    fn ticket(&self, approval: &Approval) -> Ticket {
        Ticket {
            id: approval.id.clone(),
            url: self.url_of(&approval.id),
            expires_unix: approval.expires_ms / 1000,
            approved: approval.standing == Standing::Approved,
        }
    }

    fn state(&self) -> Result<&State, ApprovalError> {
        let nowhere = || "there is no state to keep approvals in ([control] state)".to_owned();
        self.state
            .get()
            .ok_or_else(|| ApprovalError::Unavailable(nowhere()))
    }

    fn news(&self) -> MutexGuard<'_, News> {
        // As with `waiting`.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiter>> {
        // Nothing that is done under it can panic half way, so what a panic left is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ApprovalError ===

impl ApprovalError {
    fn state(error: StateError) -> Self {
        tracing::error!("approvals: {error}");
        Self::Unavailable(error.to_string())
    }
}

fn unavailable(error: StateError) -> Refusal {
    tracing::error!("a held request is refused: {error}");
    Refusal::Unavailable
}
