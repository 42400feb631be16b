//! What receivers of notices are told of an approval.

use crate::approvals::{Approval, Event, EventKind, Standing};
use crate::notify::{self, Caller, HeldBy, Notice};

/// The notice of something that has just happened; nothing for what concerns nobody, such as the
/// first of two people who must say yes.
pub(super) fn notice(approval: &Approval, event: &Event, url: Option<String>) -> Option<Notice> {
    let kind = match event.event {
        EventKind::Requested => notify::Event::Requested,
        EventKind::Approved if approval.standing == Standing::Approved => notify::Event::Approved,
        EventKind::Denied => notify::Event::Denied,
        EventKind::Expired => notify::Event::Expired,
        EventKind::Approved | EventKind::Withdrawn | EventKind::Used => return None,
    };
    let matter = &approval.matter;
    let holds = approval.holds.iter().filter(|it| it.covered_by.is_none());
    let excerpts = matter.excerpts.iter();
    let excerpts: Vec<&str> = excerpts.filter_map(|it| it.text.as_deref()).collect();
    let decided = |it: &&Event| matches!(it.event, EventKind::Approved | EventKind::Denied);
    let people = approval.history.iter().filter(decided);
    Some(Notice {
        approval: approval.id.clone(),
        event: kind,
        at_unix: event.at_ms / 1000,
        caller: Caller {
            issuer: approval.caller.issuer.clone(),
            subject: approval.caller.subject.clone(),
        },
        model: matter.model.clone(),
        operation: matter.operation.clone(),
        holds: holds
            .map(|held| HeldBy {
                name: held.hold.clone(),
                cause: held.why.clone(),
                groups: held.groups.clone(),
                quorum: held.quorum,
            })
            .collect(),
        excerpt: (!excerpts.is_empty()).then(|| excerpts.join("\n")),
        url,
        expires_unix: approval.expires_ms / 1000,
        by: people
            .filter_map(|it| it.by.as_ref().map(|(_, subject)| subject.clone()))
            .collect(),
        reason: Some(event.reason.clone()).filter(|reason| !reason.is_empty()),
    })
}
