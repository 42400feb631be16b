//! What must wait for a person: guards that hold, and `[[hold]]`, which asks about a call for what
//! it is rather than for what is said in it.
//!
//! A guard holds a request in which one of its rules matches. A `[[hold]]` holds every call of the
//! operations, groups and models that it names, or only those whose prompt is longer than so many
//! tokens. Both name their approvers; who they are, and what an approval is good for, is all that
//! this crate says about approving.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::file::{ApproversTable, HoldTable};
use super::glob::Glob;
use super::resolve::Place;
use super::scope::Scope;
use crate::inspect::RequestVerdict;
use crate::profile::{Operation, Route};
use crate::rule::Confidence;
use crate::scan::Lane;
use crate::verdict::{Action, Finding};

/// How long approvers have when nothing else is said.
const EXPIRES: Duration = Duration::from_secs(30 * 60);
/// The longest that a request may stay open, and that an approval may be good for.
const SPAN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// More people than this will not be found.
const QUORUM_MAX: u32 = 16;
/// The rule of a finding that says that a call is held for what it is.
const OPERATION_RULE: &str = "operation";
/// The rule of a finding that says that a call is held for the length of its prompt.
const TOKENS_RULE: &str = "prompt-tokens";

/// How a cause says how long a prompt is.
const TOKENS_TOLD: &str = "the prompt has ";

/// Who may let a held request go on, and what their approval is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvers {
    groups: Vec<Glob>,
    /// How many different people must approve.
    pub quorum: u32,
    /// How long they have.
    pub expires: Duration,
    /// How the caller waits.
    pub manner: Manner,
    /// What an approval is good for.
    pub covers: Covers,
}

/// How a caller waits for an approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As the caller asks for, by `Prefer` (RFC 7240); by ticket when they ask for nothing.
    #[default]
    Caller,
    /// The connection is kept until somebody has decided.
    Wait,
    /// The caller gets a ticket and comes back with it.
    Ticket,
}

/// What an approval is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    /// That request, once.
    #[default]
    Request,
    /// Whatever the same person sends that is held for the same reason, for so long.
    Window(Duration),
}

/// Something that must be approved before a request may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The guard or the `[[hold]]` that asks for it.
    pub name: Arc<str>,
    /// Why.
    pub cause: HoldCause,
    /// Who may let it go on.
    pub approvers: Arc<Approvers>,
}

/// Why a request is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// A rule matched: where, never what.
    Rule {
        /// The rule's id.
        rule: Arc<str>,
        /// The text it was found in, as a path.
        location: String,
        /// First byte of the match within that text.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// The call does something that is asked about.
    Operation(Operation),
    /// The prompt is longer than may go unasked.
    PromptTokens {
        /// How long it is.
        counted: u64,
        /// From where on it is asked about.
        over: u64,
    },
}

/// One `[[hold]]`, resolved.
#[derive(Debug)]
pub(super) struct HoldRule {
    pub(super) name: Arc<str>,
    operations: Vec<Operation>,
    /// Empty: every model, and calls that name none.
    models: Vec<Glob>,
    /// Empty: every caller.
    pub(super) groups: Vec<Glob>,
    pub(super) except_groups: Vec<Glob>,
    prompt_tokens: Option<u64>,
    observe: bool,
    approvers: Arc<Approvers>,
}

// === impl Approvers ===

impl Approvers {
    /// Whether somebody of these groups is one of them.
    pub fn includes(&self, groups: &[String]) -> bool {
        let belongs = |glob: &Glob| groups.iter().any(|group| glob.matches(group));
        self.groups.iter().any(belongs)
    }

    /// The patterns of their groups' names.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(Glob::as_str)
    }
}

impl fmt::Display for Approvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<&str> = self.groups().collect();
        write!(f, "{} of {}", self.quorum, groups.join(", "))
    }
}

// === impl HoldCause ===

impl HoldCause {
    /// The rule's id, or the word that stands in its place.
    pub fn rule(&self) -> &str {
        match self {
            HoldCause::Rule { rule, .. } => rule,
            HoldCause::Operation(_) => OPERATION_RULE,
            HoldCause::PromptTokens { .. } => TOKENS_RULE,
        }
    }

    /// The length of a prompt as the text of such a cause says it: records keep no other trace of
    /// it.
    pub fn tokens_told(text: &str) -> Option<u64> {
        let (_, told) = text.rsplit_once(TOKENS_TOLD)?;
        told.split_once(' ')?.0.parse().ok()
    }
}

impl fmt::Display for HoldCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldCause::Rule { rule, location, .. } => {
                write!(f, "rule \"{rule}\" matched in {location}")
            }
            HoldCause::Operation(operation) => write!(f, "the operation is \"{operation}\""),
            HoldCause::PromptTokens { counted, over } => {
                write!(f, "{TOKENS_TOLD}{counted} tokens, more than {over}")
            }
        }
    }
}

// === impl HoldRule ===

impl HoldRule {
    /// Lets it act on nothing any more.
    pub(super) fn observe(&mut self) {
        self.observe = true;
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let operations: Vec<&str> = self.operations.iter().map(|it| it.as_str()).collect();
        let tokens = self
            .prompt_tokens
            .map(|tokens| format!(" of more than {tokens} tokens"));
        let observed = if self.observe { ", only observed" } else { "" };
        format!(
            "\"{}\": {}{} for {}{observed}",
            self.name,
            operations.join(", "),
            tokens.unwrap_or_default(),
            self.approvers
        )
    }

    /// The number of tokens from which on it asks about such a call; `None` where it does not.
    pub(super) fn bound_on(&self, operation: Operation, model: Option<&str>) -> Option<u64> {
        self.prompt_tokens
            .filter(|_| self.is_about(operation, model))
    }

    /// The same, whatever the model is.
    pub(super) fn bound_on_any_model(&self, operation: Operation) -> Option<u64> {
        self.prompt_tokens
            .filter(|_| self.operations.contains(&operation))
    }

    fn is_about(&self, operation: Operation, model: Option<&str>) -> bool {
        let model = model.unwrap_or_default();
        self.operations.contains(&operation)
            && (self.models.is_empty() || self.models.iter().any(|glob| glob.matches(model)))
    }

    /// Why it asks about this call, if it does.
    fn cause(&self, operation: Operation, model: Option<&str>, tokens: u64) -> Option<HoldCause> {
        if !self.is_about(operation, model) {
            return None;
        }
        match self.prompt_tokens {
            None => Some(HoldCause::Operation(operation)),
            Some(over) if tokens > over => Some(HoldCause::PromptTokens {
                counted: tokens,
                over,
            }),
            Some(_) => None,
        }
    }
}

// === impl Scope ===

impl Scope {
    /// What must be approved for these findings of guards that hold.
    pub fn held_by(&self, held: Vec<Finding>) -> Vec<Hold> {
        let mut holds = Vec::new();
        for finding in held {
            let approvers = self.approvers_of(&finding.guard);
            debug_assert!(
                approvers.is_some(),
                "a guard that holds names its approvers"
            );
            holds.extend(approvers.map(|approvers| Hold {
                name: finding.guard,
                cause: HoldCause::Rule {
                    rule: finding.rule,
                    location: finding.location,
                    start: finding.start,
                    end: finding.end,
                },
                approvers: approvers.clone(),
            }));
        }
        holds
    }

    /// The `[[hold]]`s that ask about such a call, whatever is said in it: their names, and the
    /// number of tokens from which on those ask that ask about long prompts only.
    pub fn asks_about(
        &self,
        operation: Operation,
        model: Option<&str>,
    ) -> impl Iterator<Item = (&str, Option<u64>)> {
        let rules = self.holds().iter();
        let asking = rules.filter(move |rule| !rule.observe && rule.is_about(operation, model));
        asking.map(|rule| (&*rule.name, rule.prompt_tokens))
    }

    /// Adds to a verdict what must be approved: `held` has the finding of each guard that holds.
    pub(crate) fn hold(
        &self,
        route: &Route,
        mut verdict: RequestVerdict,
        held: Vec<Finding>,
    ) -> RequestVerdict {
        let mut holds = self.held_by(held);
        for rule in self.holds() {
            let model = verdict.model.as_deref();
            let Some(cause) = rule.cause(route.operation, model, verdict.prompt_tokens) else {
                continue;
            };
            verdict.findings.push(rule.finding(&cause));
            if !rule.observe {
                verdict.action = verdict.action.max(Action::Hold);
                holds.push(Hold {
                    name: rule.name.clone(),
                    cause,
                    approvers: rule.approvers.clone(),
                });
            }
        }
        if verdict.action == Action::Hold {
            verdict.holds = holds;
        }
        verdict
    }
}

impl HoldRule {
    fn finding(&self, cause: &HoldCause) -> Finding {
        let action = if self.observe {
            Action::Flag
        } else {
            Action::Hold
        };
        Finding {
            guard: self.name.clone(),
            rule: Arc::from(cause.rule()),
            action,
            location: "$".to_owned(),
            start: 0,
            end: 0,
            confidence: Confidence::High,
            lane: Lane::Plain,
            observed: self.observe.then_some(Action::Hold),
        }
    }
}

// === impl Place ===

impl Place<'_> {
    /// What a `[[hold]]` means; nothing if any of it is wrong.
    pub(super) fn hold(&mut self, table: &Spanned<HoldTable>) -> Option<HoldRule> {
        let before = self.errors.len();
        let hold = table.get_ref();
        if hold.name.get_ref().is_empty() {
            let reason = "a hold needs a name: people will read it in an answer";
            self.error(&hold.name, reason);
        }
        let operations = self.operations(&hold.operations);
        if hold.operations.is_empty() {
            self.error(table, "a hold must name the operations that it asks about");
        }
        if let Some(tokens) = &hold.prompt_tokens
            && let Some(operation) = operations.iter().find(|it| !it.is_per_model())
        {
            let reason = format!("\"{operation}\" has no prompt whose tokens could be counted");
            self.error(tokens, reason);
        }
        let approvers = self.approvers(&hold.approvers);
        if self.errors.len() > before {
            return None;
        }
        let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect();
        Some(HoldRule {
            name: Arc::from(hold.name.get_ref().as_str()),
            operations,
            models: globs(&hold.models),
            groups: globs(&hold.groups),
            except_groups: globs(&hold.except_groups),
            prompt_tokens: hold.prompt_tokens.as_ref().map(|tokens| *tokens.get_ref()),
            observe: hold.observe,
            approvers: Arc::new(approvers),
        })
    }

    /// What `approvers = { … }` means. What is wrong in it leaves an error.
    pub(super) fn approvers(&mut self, table: &Spanned<ApproversTable>) -> Approvers {
        let ApproversTable {
            groups,
            quorum,
            expires,
            manner,
            window,
        } = table.get_ref();
        if groups.is_empty() || groups.iter().any(String::is_empty) {
            self.error(table, "approvers must name their groups");
        }
        let quorum = quorum.unwrap_or(1);
        if quorum == 0 {
            self.error(table, "a quorum of 0 would approve by itself");
        } else if quorum > QUORUM_MAX {
            let reason =
                format!("a quorum of {quorum} will not come together; {QUORUM_MAX} at most");
            self.error(table, reason);
        }
        let manner = manner.as_ref().map(|word| match word.get_ref().as_str() {
            "caller" => Manner::Caller,
            "wait" => Manner::Wait,
            "ticket" => Manner::Ticket,
            _ => {
                self.unknown(word, "manner", ["caller", "wait", "ticket"].into_iter());
                Manner::Ticket
            }
        });
        let expires = expires.as_ref().map(|text| self.span("expires", text));
        let window = window.as_ref().map(|text| self.span("window", text));
        Approvers {
            groups: groups.iter().map(|text| Glob::new(text)).collect(),
            quorum,
            expires: expires.unwrap_or(EXPIRES),
            manner: manner.unwrap_or_default(),
            covers: window.map_or(Covers::Request, Covers::Window),
        }
    }

    fn span(&mut self, name: &str, text: &Spanned<String>) -> Duration {
        let written = text.get_ref();
        let span = duration(written);
        match span.filter(|span| !span.is_zero() && *span <= SPAN_MAX) {
            Some(span) => span,
            None => {
                let reason = format!(
                    "{name} = \"{written}\" is not a duration such as \"30m\", of at most 30 days"
                );
                self.error(text, reason);
                EXPIRES
            }
        }
    }
}

/// Digits and a unit: `s`, `m`, `h` or `d`.
fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(*unit))?;
    let digits = text.strip_suffix(unit)?;
    let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| plain)?;
    Some(Duration::from_secs(count * seconds))
}
