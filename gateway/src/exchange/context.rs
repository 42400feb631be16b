//! What all exchanges of one core share: permissions, keys, the tap, counters.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use penstock_policies::{PolicySet, Profiles, Scope, Scratch};
use penstock_recorder::frame::SessionId;

use crate::approvals::Desk;
use crate::config::Limits;
use crate::cutoff::Cutoff;
use crate::identity::{Authenticator, Principal};
use crate::tap::Tap;
use crate::telemetry::{CoreCounters, Tallies, Tally};
use crate::tokens::TokenCounter;
use crate::upstream::Credential;

/// What decides on calls and is replaced whole while they go on.
pub struct InForce {
    /// Who may do what, and what may be said.
    pub policy: Arc<PolicySet>,
    /// Which routes the engine has.
    pub profiles: Profiles,
    /// Presented to the model in the caller's stead.
    pub credential: Option<Credential>,
}

/// What is the same on all cores; read-only but for what is in force.
pub struct Node {
    /// This node's name in records.
    pub name: String,
    /// Every bound.
    pub limits: Limits,
    /// What the cores count and time, for the control thread to ask for.
    pub tallies: Arc<Tallies>,
    /// A call takes it up when it begins, and keeps it to its end.
    pub in_force: ArcSwap<InForce>,
    /// `Host` of upstream requests.
    pub upstream_host: String,
    /// Who may no longer call.
    pub cutoff: Arc<Cutoff>,
    /// Where held requests are asked about.
    pub desk: Arc<Desk>,
    /// Where the tokens of long prompts are counted.
    pub tokens: TokenCounter,
}

/// One core's own.
pub struct Core {
    /// Shared with the other cores.
    pub node: Arc<Node>,
    /// The core's number.
    pub number: u32,
    /// Verifies credentials.
    pub authenticator: RefCell<Authenticator>,
    /// The way to the recorder.
    pub tap: Tap,
    /// This core's counters.
    pub counters: Arc<CoreCounters>,
    /// The wait for running exchanges is over: those that are dropped now were ended by us.
    pub stopped: Cell<bool>,
    /// What this core counts and times.
    pub tally: RefCell<Tally>,
    pub(super) scratch: RefCell<Scratch>,
    /// The policy under which the last scope was computed.
    scoped_under: RefCell<Weak<PolicySet>>,
    ids: RefCell<Ids>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process on this node, through the Unix socket.
    Unix,
}

/// A caller's scope under one policy, kept with the verified token that it was computed for.
struct Scoped {
    policy: Arc<PolicySet>,
    scope: Scope,
}

/// Session ids: time and random bits, drawn many at once.
struct Ids {
    pool: [u8; 640],
    used: usize,
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    unix_ns() / 1_000_000_000
}

// === impl Core ===

impl Core {
    /// A core with nothing remembered.
    pub fn new(
        node: Arc<Node>,
        number: u32,
        authenticator: Authenticator,
        tap: Tap,
        counters: Arc<CoreCounters>,
    ) -> Rc<Self> {
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).expect("the system's random numbers fail");
        let scratch = Scratch::recalling(key, node.limits.remembered_texts);
        Rc::new(Self {
            node,
            number,
            authenticator: RefCell::new(authenticator),
            tap,
            counters,
            stopped: Cell::new(false),
            tally: RefCell::default(),
            scratch: RefCell::new(scratch),
            scoped_under: RefCell::default(),
            ids: RefCell::new(Ids {
                pool: [0; 640],
                used: 640,
            }),
        })
    }

    /// What this caller may do under `policy`; computed once per verified token and policy.
    pub(super) fn scope(&self, policy: &Arc<PolicySet>, principal: &Principal) -> Scope {
        if !std::ptr::eq(self.scoped_under.borrow().as_ptr(), Arc::as_ptr(policy)) {
            // Tokens that rest would keep every policy alive under which they were last seen.
            self.authenticator.borrow().forget_derived();
            *self.scoped_under.borrow_mut() = Arc::downgrade(policy);
        }
        if let Some(known) = principal.derived::<Scoped>()
            && Arc::ptr_eq(&known.policy, policy)
        {
            return known.scope.clone();
        }
        let scope = policy.scope_of(&principal.tenant, &principal.groups);
        principal.set_derived(Rc::new(Scoped {
            policy: policy.clone(),
            scope: scope.clone(),
        }));
        scope
    }

    /// A new session id.
    pub(super) fn session(&self, now_unix_ns: u64) -> SessionId {
        SessionId::v7(now_unix_ns / 1_000_000, self.ids.borrow_mut().draw())
    }
}

// === impl Ids ===

impl Ids {
    fn draw(&mut self) -> [u8; 10] {
        if self.used + 10 > self.pool.len() {
            // Ids must not collide, nor be guessed from one another; without random numbers
            // nothing here is safe, TLS and token caches included.
            aws_lc_rs::rand::fill(&mut self.pool).expect("the system's random numbers fail");
            self.used = 0;
        }
        let mut drawn = [0; 10];
        drawn.copy_from_slice(&self.pool[self.used..self.used + 10]);
        self.used += 10;
        drawn
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}
