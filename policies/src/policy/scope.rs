//! What one caller may do and which guards apply to what the caller says and hears.
//!
//! A scope is computed once, when a token is verified, from the groups in it. It carries its own
//! share of the compiled rules, so that a call that began before a reload ends under the policy
//! under which it began.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::engine::{Engine, Sieve};
use super::glob::Glob;
use super::hold::{Approvers, HoldRule};
use super::media::MediaSet;
use super::tokens::{Extent, most_in};
use crate::inspect::CountedTokens;
use crate::profile::Operation;
use crate::verdict::{Action, Direction};

/// A caller's permissions and guards. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    inner: Arc<Inner>,
    /// Runs that are no text are what was asked for: embeddings.
    runs_pass: bool,
    /// Of the call that this copy is for, where they were counted before.
    counted: Option<Arc<CountedTokens>>,
}

struct Inner {
    /// Tells it from every other scope of this process.
    number: u64,
    /// Policies are off: everything is granted.
    everything: bool,
    grants: Vec<Arc<Grant>>,
    acting: Sieves,
    /// Of guards that only observe.
    observing: Sieves,
    engine: Option<Arc<Engine>>,
    holding: Holding,
}

/// What must be approved of what the caller does.
#[derive(Default)]
pub(super) struct Holding {
    pub(super) rules: Vec<Arc<HoldRule>>,
    /// By the names of the guards that hold.
    pub(super) approvers: Vec<(Arc<str>, Arc<Approvers>)>,
}

/// What is looked for in each direction; `None` where nothing is.
#[derive(Default)]
pub(super) struct Sieves {
    request: Option<Sieve>,
    response: Option<Sieve>,
    /// The same without guards on runs, where there are any.
    response_of_runs: Option<Sieve>,
}

/// Rules, and which of them are asked.
pub(crate) type Asked<'s> = (&'s Engine, &'s Sieve);

/// Who may do what, as parsed from one `[[grant]]`.
#[derive(Debug)]
pub(super) struct Grant {
    /// Where it stands: file name and line.
    pub(super) place: String,
    pub(super) groups: Vec<Glob>,
    pub(super) models: Vec<Glob>,
    pub(super) operations: Vec<Operation>,
    pub(super) limits: Limits,
    pub(super) media: MediaSet,
}

/// Bounds on one request. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Prompt length in tokens: by the model's tokenizer where there is one, otherwise estimated as
    /// text characters divided by four.
    pub prompt_tokens: Option<u64>,
    /// Body length in bytes, after content decoding.
    pub body_bytes: Option<u64>,
}

/// A permission that the caller lacks. The message never tells what exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Stable word for programs.
    pub code: &'static str,
    /// A sentence for the developer who reads it.
    pub message: String,
}

fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Relaxed)
}

// === impl Scope ===

impl Scope {
    pub(super) fn everything() -> Scope {
        let inner = Inner {
            number: next_number(),
            everything: true,
            grants: Vec::new(),
            acting: Sieves::default(),
            observing: Sieves::default(),
            engine: None,
            holding: Holding::default(),
        };
        Scope {
            inner: Arc::new(inner),
            runs_pass: false,
            counted: None,
        }
    }

    pub(super) fn new(
        grants: Vec<Arc<Grant>>,
        engine: Arc<Engine>,
        acting: Sieves,
        observing: Sieves,
        holding: Holding,
    ) -> Scope {
        let inner = Inner {
            number: next_number(),
            everything: false,
            grants,
            acting,
            observing,
            engine: Some(engine),
            holding,
        };
        Scope {
            inner: Arc::new(inner),
            runs_pass: false,
            counted: None,
        }
    }

    /// Whether some grant allows the operation at all, for some model or none.
    pub fn may_operate(&self, operation: Operation) -> Result<(), Denied> {
        if self.inner.everything || self.granting(operation).next().is_some() {
            return Ok(());
        }
        Err(Denied {
            code: "operation_not_permitted",
            message: format!(
                "None of your groups is granted the operation \"{operation}\". Ask the operator \
                 of this gateway for a grant."
            ),
        })
    }

    /// Whether some grant allows the operation on this model.
    pub fn may_use(&self, operation: Operation, model: &str) -> Result<(), Denied> {
        self.may_operate(operation)?;
        if self.inner.everything || self.granting_model(operation, model).next().is_some() {
            return Ok(());
        }
        Err(Denied {
            code: "model_not_permitted",
            message: format!(
                "None of your groups is granted \"{operation}\" on the requested model, or there \
                 is no such model."
            ),
        })
    }

    /// Where the grants stand that allow this: `main.toml:3`.
    pub fn grants(&self, operation: Operation, model: Option<&str>) -> Vec<String> {
        let names = |grant: &&Grant| match model {
            Some(model) if operation.is_per_model() => {
                grant.models.iter().any(|glob| glob.matches(model))
            }
            _ => true,
        };
        let granting = self.granting(operation).filter(names);
        granting.map(|grant| grant.place.clone()).collect()
    }

    /// What a match of this rule leads to where it counts most, and whose guard says so; `None` where
    /// no guard acts on it.
    pub fn verdict_on(&self, direction: Direction, rule: &str) -> Option<(String, Action)> {
        let (engine, sieve) = match direction {
            Direction::Request => self.request(),
            Direction::Response => self.response(),
        }?;
        sieve.verdict_on(engine, rule)
    }

    /// The bounds on a request: of all grants that allow it the most generous counts.
    pub fn limits(&self, operation: Operation, model: Option<&str>) -> Limits {
        let mut limits: Option<Limits> = None;
        let generous = |left: Option<u64>, right: Option<u64>| Some(left?.max(right?));
        for grant in self.granting(operation) {
            if model.is_some_and(|model| !grant.models.iter().any(|glob| glob.matches(model))) {
                continue;
            }
            limits = Some(limits.map_or(grant.limits, |so_far| Limits {
                prompt_tokens: generous(so_far.prompt_tokens, grant.limits.prompt_tokens),
                body_bytes: generous(so_far.body_bytes, grant.limits.body_bytes),
            }));
        }
        limits.unwrap_or_default()
    }

    /// The media that a request may carry past the guards: what any grant that allows it names.
    pub fn media(&self, operation: Operation, model: Option<&str>) -> MediaSet {
        let fits = |grant: &&Grant| {
            model.is_none_or(|model| grant.models.iter().any(|glob| glob.matches(model)))
        };
        self.granting(operation)
            .filter(fits)
            .fold(MediaSet::NONE, |media, grant| media.union(grant.media))
    }

    /// Whether any guard acts on what this caller sends.
    pub fn guards_request(&self) -> bool {
        self.inner.acting.request.is_some()
    }

    /// Whether any guard acts on what this caller receives.
    pub fn guards_response(&self) -> bool {
        self.inner.acting.response.is_some()
    }

    /// Whether any guard looks at what this caller sends without acting on it.
    pub fn observes_request(&self) -> bool {
        self.inner.observing.request.is_some()
    }

    /// Whether any guard looks at what this caller receives without acting on it.
    pub fn observes_response(&self) -> bool {
        self.inner.observing.response.is_some()
    }

    /// Whether policies are off altogether.
    pub fn is_everything(&self) -> bool {
        self.inner.everything
    }

    /// Tells it from every other scope of this process; copies have the same.
    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }

    pub(crate) fn request(&self) -> Option<Asked<'_>> {
        self.asked(self.inner.acting.request.as_ref())
    }

    pub(crate) fn response(&self) -> Option<Asked<'_>> {
        self.asked(self.inner.acting.response(self.runs_pass))
    }

    pub(crate) fn observed_request(&self) -> Option<Asked<'_>> {
        self.asked(self.inner.observing.request.as_ref())
    }

    pub(crate) fn observed_response(&self) -> Option<Asked<'_>> {
        self.asked(self.inner.observing.response(self.runs_pass))
    }

    fn asked<'s>(&'s self, sieve: Option<&'s Sieve>) -> Option<Asked<'s>> {
        Some((self.inner.engine.as_deref()?, sieve?))
    }

    /// The calls that are asked about, whatever is said in them.
    pub(super) fn holds(&self) -> &[Arc<HoldRule>] {
        &self.inner.holding.rules
    }

    /// Who may let go on what this guard holds.
    pub(super) fn approvers_of(&self, guard: &str) -> Option<&Arc<Approvers>> {
        let mut all = self.inner.holding.approvers.iter();
        all.find(|(name, _)| &**name == guard).map(|(_, it)| it)
    }

    /// The tokens of a prompt: exactly where something depends on their number and the model's
    /// tokenizer is known. `each` gives the prompt's texts one by one.
    pub(crate) fn count_tokens(
        &self,
        operation: Operation,
        model: Option<&str>,
        extent: Extent,
        each: impl FnOnce(&mut dyn FnMut(&str)),
    ) -> u64 {
        let Some(engine) = &self.inner.engine else {
            return extent.estimate();
        };
        // Masking may have made it another model.
        let counted = self
            .counted
            .as_ref()
            .filter(|it| it.model.as_deref() == model);
        if let Some(counted) = counted {
            return counted.tokens;
        }
        let holds = self.holds().iter();
        let bounds = holds.filter_map(|hold| hold.bound_on(operation, model));
        let bound = bounds
            .chain(self.limits(operation, model).prompt_tokens)
            .min();
        engine.tokenizers.count(model, extent, bound, each)
    }

    /// Whether a body of this size may have more tokens than anything that bounds this operation
    /// lets pass, where tokens are counted at all.
    pub(crate) fn may_reach_bound(&self, operation: Operation, bytes: usize) -> bool {
        let Some(engine) = &self.inner.engine else {
            return false;
        };
        if engine.tokenizers.is_empty() {
            return false;
        }
        let holds = self.holds().iter();
        let bounds = holds.filter_map(|hold| hold.bound_on_any_model(operation));
        let granted = self.granting(operation);
        let bounds = bounds.chain(granted.filter_map(|grant| grant.limits.prompt_tokens));
        bounds.min().is_some_and(|bound| most_in(bytes) > bound)
    }

    /// Takes over what was counted; for the one call that this copy is for.
    pub fn counted(&mut self, tokens: CountedTokens) {
        self.counted = Some(Arc::new(tokens));
    }

    /// The scope for what this operation answers: embeddings are runs that are no text.
    pub(crate) fn for_answers_of(&self, operation: Operation) -> Scope {
        let mut scope = self.clone();
        scope.runs_pass = operation == Operation::Embed;
        scope
    }

    fn granting(&self, operation: Operation) -> impl Iterator<Item = &Grant> {
        self.inner
            .grants
            .iter()
            .map(|grant| &**grant)
            .filter(move |grant| grant.operations.contains(&operation))
    }

    fn granting_model(&self, operation: Operation, model: &str) -> impl Iterator<Item = &Grant> {
        self.granting(operation)
            .filter(move |grant| grant.models.iter().any(|glob| glob.matches(model)))
    }
}

// === impl Sieves ===

impl Sieves {
    pub(super) fn new(request: Option<Sieve>, response: Option<Sieve>) -> Sieves {
        Sieves {
            request,
            response_of_runs: response.as_ref().and_then(Sieve::without_runs),
            response,
        }
    }

    fn response(&self, runs_pass: bool) -> Option<&Sieve> {
        let of_runs = self.response_of_runs.as_ref().filter(|_| runs_pass);
        of_runs.or(self.response.as_ref())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("everything", &self.inner.everything)
            .field("grants", &self.inner.grants.len())
            .field("guards_request", &self.guards_request())
            .field("guards_response", &self.guards_response())
            .finish()
    }
}

// === impl Denied ===

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Denied {}
