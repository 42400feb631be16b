//! A notice for a program, as the Standard Webhooks specification 1.0 lays it out: `type`,
//! `timestamp` and `data` in the body; id, time of sending and signature in the head.

use serde_json::json;

use super::message::{Message, Outgoing};
use super::signature::Secrets;
use super::words;
use crate::cutoff::format_time;

/// The message, signed for this moment.
pub(super) fn message(outgoing: &Outgoing<'_>, secrets: &Secrets, now_unix: u64) -> Message {
    let notice = outgoing.notice;
    let body = json!({
        "type": format!("approval.{}", notice.event.as_str()),
        "timestamp": format_time(notice.at_unix),
        "data": words::data(notice),
    });
    let body = body.to_string().into_bytes();
    let signature = secrets.sign(outgoing.id, now_unix, &body);
    Message::post(body)
        .with("webhook-id", outgoing.id)
        .with("webhook-timestamp", &now_unix.to_string())
        .with("webhook-signature", &signature)
}
