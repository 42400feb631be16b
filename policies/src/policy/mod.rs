//! The operator's policy: a folder of TOML files, read whole, checked whole, then immutable.
//!
//! A set that exists is valid: `load` returns either a set in which every name has been resolved
//! and every rule compiled, or all that is wrong with the folder. The gateway holds it behind an
//! `Arc` and swaps it between two requests.

mod bound;
mod compile;
pub(crate) mod engine;
mod error;
mod file;
mod files;
mod glob;
mod hold;
mod library;
mod listed;
mod media;
mod resolve;
mod runs;
mod scope;
mod sieve;
mod tokens;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use error::PolicyError;
pub use files::PolicyFiles;
pub use glob::Glob;
pub use hold::{Approvers, Covers, Hold, HoldCause, Manner};
pub use library::{Import, Library, Source as PolicyText};
pub use listed::{ListedGrant, ListedGuard};
pub use media::{Media, MediaSet};
pub(crate) use scope::Asked;
pub use scope::{Denied, Limits, Scope};
pub(crate) use tokens::Extent;

use crate::mask::MaskKey;
use crate::rule::{Confidence, ExampleFailure, Pack, Template};
use crate::scan::RuleIndex;
use crate::verdict::{Action, Direction};
use engine::Engine;
use hold::HoldRule;
use runs::RunRule;
use scope::{Grant, Holding, Sieves};
use sieve::Part;

/// Where a policy comes from.
#[derive(Clone, Copy)]
pub struct PolicySources<'a> {
    /// Folder of `*.toml`, merged in the order of their names, and of `packs/*.toml`.
    pub dir: &'a Path,
    /// Secret from which the pseudonyms in replacements are derived.
    pub pseudonym_key: [u8; 32],
    /// Texts that no caller may see in any answer, whatever the policy says: the credentials that
    /// the gateway presents. Each of 8 to 1536 visible ASCII characters.
    pub withheld: &'a [String],
}

/// A loaded, compiled, immutable policy.
pub struct PolicySet {
    everything: bool,
    grants: Vec<Arc<Grant>>,
    guards: Vec<Guard>,
    holds: Vec<Arc<HoldRule>>,
    engine: Option<Arc<Engine>>,
    /// Every pack that was read, for their examples.
    packs: Vec<Pack>,
    version: String,
    warnings: Vec<String>,
    summary: Summary,
}

/// What a rule writes in the place of a value, to be found again in a text of the record.
#[derive(Clone, Debug)]
pub struct Replacement {
    rule: String,
    template: Template,
}

/// One `[[guard]]`, resolved.
struct Guard {
    name: Arc<str>,
    request: bool,
    response: bool,
    action: Action,
    /// Matches of less confidence do not count.
    least: Confidence,
    /// What is masked on the way in is put back in the answer.
    restores: bool,
    /// Empty: every caller.
    groups: Vec<Glob>,
    except_groups: Vec<Glob>,
    /// The rules on whose matches it acts.
    rules: Vec<RuleIndex>,
    /// The rules whose matches it only records.
    observed: Vec<RuleIndex>,
    runs: Option<RunRule>,
    /// What it says of runs is only recorded.
    observes_runs: bool,
    /// Who may let go on what it holds; there for every guard whose action is to hold.
    approvers: Option<Arc<Approvers>>,
}

/// What a policy consists of, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Policy files, in the order in which they were merged.
    pub files: Vec<String>,
    /// Number of grants.
    pub grants: usize,
    /// The guards, in order.
    pub guards: Vec<GuardSummary>,
    /// Which calls a person is asked about, whatever is said in them: a line each.
    pub holds: Vec<String>,
    /// Tokenizers, and the models that they belong to: a line each.
    pub tokenizers: Vec<String>,
    /// Packs that were read, each with the number of its rules.
    pub packs: Vec<(String, usize)>,
    /// Rules that at least one guard uses.
    pub rules_used: usize,
}

/// One guard, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSummary {
    /// Its name.
    pub name: String,
    /// `request`, `response` or `both`.
    pub direction: &'static str,
    /// What it does on a match.
    pub action: Action,
    /// How many rules it uses.
    pub rules: usize,
    /// Who may let go on what it holds.
    pub approvers: Option<String>,
    /// How much of it only decides and records, and does not act.
    pub observes: Observes,
}

/// How much of a guard only decides and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observes {
    /// It acts on all that it finds.
    Nothing,
    /// It acts, but not on the matches of so many of its rules.
    Rules(usize),
    /// It acts on nothing.
    Everything,
}

// === impl Replacement ===

impl Replacement {
    /// How many bytes of `text` it takes where it begins there; `None` where it does not, or could
    /// not be told from other text.
    pub fn length_at(&self, text: &str) -> Option<usize> {
        self.template.length_at(&self.rule, text)
    }
}

// === impl PolicySet ===

impl PolicySet {
    /// Reads and compiles a policy folder. All errors that can be told apart are returned at once.
    pub fn load(sources: &PolicySources<'_>) -> Result<PolicySet, Vec<PolicyError>> {
        let files = PolicyFiles::read(sources.dir)?;
        PolicySet::compile(&files, sources.pseudonym_key, sources.withheld)
    }

    /// Compiles what was read; for the rest see [`PolicySources`].
    pub fn compile(
        files: &PolicyFiles,
        pseudonym_key: [u8; 32],
        withheld: &[String],
    ) -> Result<PolicySet, Vec<PolicyError>> {
        compile::compile(files, pseudonym_key, withheld)
    }

    /// Policies off: every operation on every model, and no guard.
    pub fn allow_all() -> PolicySet {
        PolicySet {
            everything: true,
            grants: Vec::new(),
            guards: Vec::new(),
            holds: Vec::new(),
            engine: None,
            packs: Vec::new(),
            version: compile::version_of([("allow-all", "")].into_iter()),
            warnings: vec!["policies are off: every caller may do everything".to_owned()],
            summary: Summary::default(),
        }
    }

    /// Sixteen hexadecimal digits over the names and contents of everything that was read.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Runs every rule's own examples, used by a guard or not.
    pub fn check_examples(&self) -> Vec<ExampleFailure> {
        let rules = self.packs.iter().flat_map(|pack| &pack.rules);
        rules.flat_map(|rule| rule.check_examples()).collect()
    }

    /// What this rule writes in the place of a value; `None` where no guard uses the rule.
    pub fn replacement_of(&self, rule: &str) -> Option<Replacement> {
        let scanner = &self.engine.as_ref()?.scanner;
        let found = scanner.rule(scanner.index_of(rule)?);
        Some(Replacement {
            rule: rule.to_owned(),
            template: found.template.clone(),
        })
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the policy consists of.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What a caller with these groups may do and which guards apply, where there is one tenant.
    pub fn scope(&self, groups: &[String]) -> Scope {
        self.scoped(groups, |key| key.clone())
    }

    /// The same for a caller of one of several tenants, whose pseudonyms are then its tenant's own.
    /// Computed once per token.
    pub fn scope_of(&self, tenant: &str, groups: &[String]) -> Scope {
        self.scoped(groups, |key| key.for_tenant(tenant))
    }

    fn scoped(&self, groups: &[String], key: impl FnOnce(&MaskKey) -> MaskKey) -> Scope {
        let Some(engine) = self.engine.as_ref().filter(|_| !self.everything) else {
            return Scope::everything();
        };
        let belongs = |globs: &[Glob]| {
            globs
                .iter()
                .any(|glob| groups.iter().any(|group| glob.matches(group)))
        };
        let grants = self
            .grants
            .iter()
            .filter(|grant| belongs(&grant.groups))
            .cloned()
            .collect();
        let concerns = |groups: &[Glob], except: &[Glob]| {
            (groups.is_empty() || belongs(groups)) && !belongs(except)
        };
        let applying: Vec<&Guard> = self
            .guards
            .iter()
            .filter(|guard| concerns(&guard.groups, &guard.except_groups))
            .collect();
        let named = |guard: &&Guard| Some((guard.name.clone(), guard.approvers.clone()?));
        let holding = Holding {
            rules: self
                .holds
                .iter()
                .filter(|hold| concerns(&hold.groups, &hold.except_groups))
                .cloned()
                .collect(),
            approvers: applying.iter().filter_map(named).collect(),
        };
        let key = key(&engine.key);
        let sieves = |part| {
            let build = |way| sieve::build(engine, &applying, way, part, &key);
            Sieves::new(build(Direction::Request), build(Direction::Response))
        };
        let (acting, observing) = (sieves(Part::Acting), sieves(Part::Observing));
        Scope::new(grants, engine.clone(), acting, observing, holding)
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("version", &self.version)
            .field("grants", &self.grants.len())
            .field("guards", &self.guards.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PolicySources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySources")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

// === impl Observes ===

impl fmt::Display for Observes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observes::Nothing => Ok(()),
            Observes::Rules(count) => write!(f, ", {count} of them only observed"),
            Observes::Everything => f.write_str(", only observed"),
        }
    }
}

// === impl Guard ===

impl Guard {
    /// Lets it act on nothing any more.
    fn observe(&mut self) {
        self.observed.append(&mut self.rules);
        self.observes_runs = true;
    }

    fn observes(&self) -> Observes {
        let acts_on_runs = self.runs.is_some() && !self.observes_runs;
        match (self.rules.is_empty() && !acts_on_runs, self.observed.len()) {
            (true, _) => Observes::Everything,
            (false, 0) => Observes::Nothing,
            (false, count) => Observes::Rules(count),
        }
    }

    fn looks(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        }
    }
}

// === impl Summary ===

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "files   {}", self.files.join(", "))?;
        let packs: Vec<String> = self
            .packs
            .iter()
            .map(|(name, rules)| format!("{name} ({rules})"))
            .collect();
        writeln!(f, "packs   {}", packs.join(", "))?;
        writeln!(f, "grants  {}", self.grants)?;
        writeln!(f, "rules   {} in use", self.rules_used)?;
        for guard in &self.guards {
            writeln!(
                f,
                "guard   \"{}\": {}{} on a match of {} rules in the {}{}",
                guard.name,
                guard.action,
                guard
                    .approvers
                    .as_ref()
                    .map(|approvers| format!(" for {approvers}"))
                    .unwrap_or_default(),
                guard.rules,
                guard.direction,
                guard.observes
            )?;
        }
        for hold in &self.holds {
            writeln!(f, "hold    {hold}")?;
        }
        for tokenizer in &self.tokenizers {
            writeln!(f, "tokens  {tokenizer}")?;
        }
        Ok(())
    }
}
