//! A notice in words and as data; the media lay them out and escape them.

use serde_json::{Value, json};

use super::notice::{Event, HeldBy, Notice, shorten};
use crate::cutoff::format_time;

/// The longest value of one row, in characters.
const VALUE_CHARS_MAX: usize = 1000;

/// What happened, in our own words alone.
pub(super) fn headline(event: Event) -> &'static str {
    match event {
        Event::Requested => "A request waits for approval",
        Event::Approved => "A request was approved",
        Event::Denied => "A request was denied",
        Event::Expired => "Nobody decided on a request in time",
        Event::Test => "A test: nothing waits",
    }
}

/// The same on one line, with who and what.
pub(super) fn title(notice: &Notice) -> String {
    let (who, what) = (&notice.caller.subject, &notice.operation);
    let model = notice.model.as_deref().unwrap_or("no model");
    let title = format!("{}: {who}, {what}, {model}", headline(notice.event));
    title.replace(['\n', '\t'], " ")
}

/// What a person wants to know, by name.
pub(super) fn rows(notice: &Notice) -> Vec<(&'static str, String)> {
    let caller = &notice.caller;
    let mut rows = vec![("Caller", format!("{} of {}", caller.subject, caller.issuer))];
    rows.extend(notice.model.clone().map(|model| ("Model", model)));
    rows.push(("Operation", notice.operation.clone()));
    let held: Vec<String> = notice.holds.iter().map(held_by).collect();
    if !held.is_empty() {
        rows.push(("Held by", held.join("\n")));
    }
    if notice.event == Event::Requested {
        rows.push(("Decide until", format_time(notice.expires_unix)));
    }
    if !notice.by.is_empty() {
        rows.push(("Decided by", notice.by.join(", ")));
    }
    rows.extend(notice.reason.clone().map(|reason| ("Reason", reason)));
    for (_, value) in &mut rows {
        shorten(value, VALUE_CHARS_MAX);
    }
    rows
}

fn held_by(held: &HeldBy) -> String {
    let HeldBy { name, cause, .. } = held;
    match held.groups.is_empty() {
        true => format!("{name}: {cause}"),
        false => format!(
            "{name}: {cause}; needs {} of {}",
            held.quorum,
            held.groups.join(", ")
        ),
    }
}

/// Everything, as programs read it.
pub(super) fn data(notice: &Notice) -> Value {
    json!({
        "approval": notice.approval,
        "event": notice.event,
        "at": format_time(notice.at_unix),
        "caller": notice.caller,
        "model": notice.model,
        "operation": notice.operation,
        "holds": notice.holds,
        "excerpt": notice.excerpt,
        "url": notice.url,
        "expires": format_time(notice.expires_unix),
        "by": notice.by,
        "reason": notice.reason,
    })
}
