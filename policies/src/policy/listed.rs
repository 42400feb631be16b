//! A policy as people look it over: its grants and guards, as they were resolved.

use super::{Grant, Guard, Limits, PolicySet};
use crate::profile::Operation;
use crate::verdict::Action;

/// One `[[grant]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGrant {
    /// Where it stands: file name and line.
    pub place: String,
    /// Patterns of groups.
    pub groups: Vec<String>,
    /// Patterns of models.
    pub models: Vec<String>,
    /// What may be done.
    pub operations: Vec<Operation>,
    /// Kinds of content that no guard reads and that may be sent all the same.
    pub media: Vec<&'static str>,
    /// Bounds on one request.
    pub limits: Limits,
}

/// One `[[guard]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGuard {
    /// Its name.
    pub name: String,
    /// It looks at what callers send.
    pub request: bool,
    /// It looks at what the model answers.
    pub response: bool,
    /// What it does on a match.
    pub action: Action,
    /// Patterns of groups whom it is for; empty: everybody.
    pub groups: Vec<String>,
    /// Patterns of groups whom it is not for.
    pub except_groups: Vec<String>,
    /// Rules on whose matches it acts.
    pub rules: usize,
    /// Rules whose matches it only records.
    pub observed: usize,
    /// It looks for weights and long runs that are no text, too.
    pub runs: bool,
    /// What is masked on the way in is put back in the answer.
    pub restores: bool,
}

impl PolicySet {
    /// Every grant, in the order of the files.
    pub fn listed_grants(&self) -> Vec<ListedGrant> {
        self.grants
            .iter()
            .map(|grant| listed_grant(grant))
            .collect()
    }

    /// Every guard, in the order of the files.
    pub fn listed_guards(&self) -> Vec<ListedGuard> {
        self.guards.iter().map(listed_guard).collect()
    }
}

fn listed_grant(grant: &Grant) -> ListedGrant {
    ListedGrant {
        place: grant.place.clone(),
        groups: grant.groups.iter().map(ToString::to_string).collect(),
        models: grant.models.iter().map(ToString::to_string).collect(),
        operations: grant.operations.clone(),
        media: grant.media.iter().map(|media| media.as_str()).collect(),
        limits: grant.limits,
    }
}

fn listed_guard(guard: &Guard) -> ListedGuard {
    ListedGuard {
        name: guard.name.to_string(),
        request: guard.request,
        response: guard.response,
        action: guard.action,
        groups: guard.groups.iter().map(ToString::to_string).collect(),
        except_groups: guard
            .except_groups
            .iter()
            .map(ToString::to_string)
            .collect(),
        rules: guard.rules.len(),
        observed: guard.observed.len(),
        runs: guard.runs.is_some(),
        restores: guard.restores,
    }
}
