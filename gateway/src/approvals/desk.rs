//! Where cores ask: a bounded queue to the control thread, and answers as promises.
//!
//! A core never waits for the state's file and never holds a lock for it: it puts an [`Ask`] into
//! the queue, or hears at once that there is no room, and awaits the answer beside everything else
//! that its connection waits for. Whoever drops what an answer would come to has withdrawn.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::approval::{Approval, Caller, Event, HeldBy, Manner, Matter, Standing, UseError};
use super::excerpt::Show;

/// Questions that wait for the control thread, of all cores.
const ASKS_MAX: usize = 1024;

/// What cores must know of `[approvals]`.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The longest that a connection is kept.
    pub wait_max: Duration,
    /// How often a stream that waits says that it still does.
    pub keep_alive: Duration,
    /// What approvers see.
    pub show: Show,
    /// Where requests go, as approvals are bound to it.
    pub upstream: String,
}

/// The way to the control thread.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    asks: Option<mpsc::Sender<Ask>>,
}

/// A core's question.
#[derive(Debug)]
pub enum Ask {
    /// A request is held: may it pass, and if not yet, how will it be heard of?
    Open {
        /// The request.
        wanted: Box<Wanted>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Outcome, Refusal>>,
    },
    /// A request comes with an approval, or its wait is over: may it pass now?
    Spend {
        /// By which approval.
        claim: Box<Claim>,
        /// Where the answer goes. Whoever gets a [`Grant`] may forward the request: the use is
        /// written down already.
        reply: oneshot::Sender<Result<Grant, Refusal>>,
    },
    /// Whoever waited for it waits no longer.
    Withdraw {
        /// The approval.
        id: String,
        /// Why, for its history.
        reason: &'static str,
    },
    /// Whoever waited has waited long enough: it goes on as a ticket.
    Release {
        /// The approval.
        id: String,
        /// Where the ticket goes.
        reply: oneshot::Sender<Result<Ticket, Refusal>>,
    },
}

/// A held request.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of the canonical request.
    pub digest: String,
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub matter: Matter,
    /// What holds it.
    pub holds: Vec<HeldBy>,
    /// How they want to hear of it.
    pub manner: Manner,
    /// How long there is to decide.
    pub lasts: Duration,
}

/// A request that comes with an approval.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The approval's id.
    pub id: String,
    /// Who comes.
    pub caller: Caller,
    /// Of the canonical request.
    pub digest: String,
    /// The policies by which it is held now.
    pub policy_version: String,
    /// The session of the request.
    pub session: String,
}

/// What becomes of a held request.
#[derive(Debug)]
pub enum Outcome {
    /// Earlier approvals cover it.
    Passes(Vec<Grant>),
    /// To be sent again once approved.
    Ticket(Ticket),
    /// To be waited for.
    Waiting(Waiting),
}

/// A request may go on.
#[derive(Clone, Debug)]
pub struct Grant {
    /// By this approval.
    pub approval: Arc<Approval>,
}

/// What a caller is told of an approval that is not decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The approval's id.
    pub id: String,
    /// Where approvers find it.
    pub url: String,
    /// When its time is over, in seconds since 1970.
    pub expires_unix: u64,
    /// It is approved: the request can be sent again now.
    pub approved: bool,
}

/// An approval that is waited for.
#[derive(Debug)]
pub struct Waiting {
    /// The same as for those who do not wait.
    pub ticket: Ticket,
    /// Where it stands, and how it got there; dropping this withdraws it.
    pub standing: watch::Receiver<(Standing, Vec<Event>)>,
}

/// Why a held request does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This caller waits for as many approvals as one may.
    CallerFull(usize),
    /// So many wait that no more are taken.
    Full(usize),
    /// The approval does not fit.
    Use {
        /// Why.
        error: UseError,
        /// What has happened to it; nothing that is not this caller's to know.
        history: Vec<Event>,
    },
    /// Nobody can be asked, or it cannot be written down.
    Unavailable,
}

/// Nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

// === impl Desk ===

impl Desk {
    /// A desk and the end at which its questions arrive.
    #[must_use]
    pub fn open(rules: Rules) -> (Arc<Self>, mpsc::Receiver<Ask>) {
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        let asks = Some(sender);
        (Arc::new(Self { rules, asks }), receiver)
    }

    /// A desk at which nobody sits: all that is held is refused.
    #[must_use]
    pub fn closed() -> Arc<Self> {
        Arc::new(Self {
            rules: Rules::default(),
            asks: None,
        })
    }

    /// What cores must know.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts a question, without waiting.
    ///
    /// # Errors
    /// When nobody is there, or too many ask at once.
    pub fn ask(&self, ask: Ask) -> Result<(), Unavailable> {
        let asks = self.asks.as_ref().ok_or(Unavailable)?;
        asks.try_send(ask).map_err(|_| Unavailable)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_secs(300),
            keep_alive: Duration::from_secs(5),
            show: Show::default(),
            upstream: String::new(),
        }
    }
}
