//! `show`: one session, everything about it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use penstock_recorder::frame::{Close, ControlState, FrameBody, Open, Outcome};
use penstock_recorder::log::{self, Session, escape};
use serde_json::{Value, json};

use super::{Failure, time};

#[derive(Args)]
pub(super) struct Options {
    /// Folder of the log.
    dir: PathBuf,
    /// The session, or the start of its id.
    session: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn show(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let session = log::open(&options.dir)?.session(&options.session)?;
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &as_json(&session)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        as_text(&session, out)?;
    }
    Ok(())
}

fn as_json(session: &Session) -> Value {
    let of_kind = |kind: &str| -> Vec<Value> {
        session
            .bodies()
            .filter(|body| body.kind() == kind)
            .map(|body| match body {
                FrameBody::Decision(decision) => json!(decision),
                FrameBody::Control(control) => json!(control),
                FrameBody::ResponseHead(head) => json!(head),
                FrameBody::Gap(gap) => json!(gap),
                FrameBody::Approval(approval) => json!(approval),
                _ => Value::Null,
            })
            .collect()
    };
    let started = started(session);
    let (media, request) = session.request_body();
    let chunks: Vec<Value> = session
        .response_chunks()
        .map(|(at, bytes)| json!({ "after_ns": at.saturating_sub(started), "body": body(bytes) }))
        .collect();
    json!({
        "session": session.id.to_string(),
        "opened_unix_ns": started,
        "open": session.open(),
        "request": { "media": media, "body": body(&request) },
        "decisions": of_kind("decision"),
        "approvals": of_kind("approval"),
        "controls": of_kind("control"),
        "response": {
            "head": of_kind("response_head").into_iter().next(),
            "body": body(&session.response_body()),
            "chunks": chunks,
        },
        "close": session.close(),
        "gaps": of_kind("gap"),
    })
}

/// Text where it is text; hexadecimal digits where not.
fn body(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

fn as_text(session: &Session, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "session      {}", session.id)?;
    writeln!(out, "opened       {}", time::utc(started(session)))?;
    if let Some(open) = session.open() {
        identity(session, open, out)?;
    }
    let decisions = session.bodies().filter_map(|body| match body {
        FrameBody::Decision(decision) => Some(decision),
        _ => None,
    });
    for (index, d) in decisions.enumerate() {
        let title = if index == 0 { "\ndecisions\n" } else { "" };
        let (action, direction) = (escape::line(&d.action), escape::line(&d.direction));
        let (guard, rule) = (escape::line(&d.guard), escape::line(&d.rule));
        let place = escape::line(&d.location);
        writeln!(
            out,
            "{title}  {action:<6} {direction:<9} {rule} (guard {guard:?}) at {place} [{}..{}]",
            d.start, d.end
        )?;
    }
    approvals(session, out)?;
    controls(session, out)?;
    let (media, request) = session.request_body();
    writeln!(
        out,
        "\nrequest, as the model saw it ({}, {} bytes)",
        escape::line(&media),
        request.len()
    )?;
    indented(&escape::bytes(&request), out)?;
    let response = session.response_body();
    let media = session.response_media();
    writeln!(
        out,
        "\nanswer, as the client saw it ({}, {} bytes)",
        escape::line(media),
        response.len()
    )?;
    let mut text = log::AnswerText::of_media(media);
    let mut shown = text.push(&response);
    shown.push_str(&text.finish());
    indented(&escape::lines(&shown), out)?;
    match session.close() {
        Some(close) => end(close, out)?,
        None => writeln!(out, "\nno end is recorded")?,
    }
    for body in session.bodies() {
        if let FrameBody::Gap(gap) = body {
            writeln!(out, "\ngap          {}", escape::line(&gap.reason))?;
        }
    }
    Ok(())
}

fn identity(session: &Session, open: &Open, out: &mut impl Write) -> io::Result<()> {
    let none = || "-".to_owned();
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(none, escape::line);
    let groups: Vec<String> = open
        .groups
        .iter()
        .map(|group| escape::line(group))
        .collect();
    let rows = [
        ("subject", escape::line(&open.subject)),
        ("issuer", escape::line(&open.issuer)),
        ("groups", groups.join(", ")),
        ("token", or_none(&open.token_id)),
        ("client", escape::line(&open.client)),
        ("software", or_none(&open.user_agent)),
        (
            "request",
            escape::line(&format!("{} {}", open.method, open.path)),
        ),
        (
            "operation",
            escape::line(&format!("{} ({})", open.operation, open.dialect)),
        ),
        ("model", session.model().map_or_else(none, escape::line)),
        ("policies", escape::line(&open.policy_version)),
        (
            "gateway",
            escape::line(&format!("{}, core {}", open.gateway, open.core)),
        ),
    ];
    rows.iter()
        .try_for_each(|(name, value)| writeln!(out, "{name:<12} {value}"))
}

/// What was asked of people, and what they said.
fn approvals(session: &Session, out: &mut impl Write) -> io::Result<()> {
    let mut title = "\napprovals\n";
    let mut known = Vec::new();
    for body in session.bodies() {
        let FrameBody::Approval(a) = body else {
            continue;
        };
        let (event, id) = (escape::line(&a.event), escape::line(&a.id));
        let who = match a.subject.is_empty() {
            true => String::new(),
            false => format!(
                " by {} of {}",
                escape::line(&a.subject),
                escape::line(&a.issuer)
            ),
        };
        let reason = a
            .reason
            .as_deref()
            .map(|it| format!(": {}", escape::line(it)));
        writeln!(
            out,
            "{title}  {event:<9} {} {id}{who}{}",
            time::utc(a.at_unix_ns),
            reason.unwrap_or_default()
        )?;
        title = "";
        if !known.contains(&&a.id) {
            known.push(&a.id);
            for hold in &a.holds {
                writeln!(out, "            for {}", escape::line(hold))?;
            }
        }
    }
    Ok(())
}

fn controls(session: &Session, out: &mut impl Write) -> io::Result<()> {
    let mut title = "\ncontrols\n";
    let told = session.bodies().filter_map(|body| match body {
        FrameBody::Control(c) => Some((c.name.as_str(), c.state, c.detail.as_str())),
        _ => None,
    });
    let mut names = Vec::new();
    for (name, state, detail) in told {
        names.push(name.to_owned());
        let (name, detail) = (escape::line(name), escape::line(detail));
        writeln!(out, "{title}  {:<11} {name}  {detail}", state_word(state))?;
        title = "";
    }
    let closing = session
        .close()
        .map(|close| close.controls.as_slice())
        .unwrap_or_default();
    for run in closing.iter().filter(|run| !names.contains(&run.name)) {
        writeln!(
            out,
            "{title}  {:<11} {}",
            state_word(run.state),
            escape::line(&run.name)
        )?;
        title = "";
    }
    Ok(())
}

fn end(close: &Close, out: &mut impl Write) -> io::Result<()> {
    let code = close
        .error_code
        .as_deref()
        .map(escape::line)
        .unwrap_or_default();
    writeln!(
        out,
        "\nend          {} {} {code}",
        close.status,
        outcome_word(close.outcome)
    )?;
    let t = &close.timings;
    writeln!(
        out,
        "timings      inspected {}, forwarded {}, first byte {}, last byte {}, held at most {}",
        time::span(t.inspected),
        time::span(t.forwarded),
        time::span(t.first_byte),
        time::span(t.last_byte),
        time::span(t.held_max),
    )?;
    writeln!(
        out,
        "bytes        {} in, {} out",
        close.request_bytes, close.response_bytes
    )
}

fn indented(text: &str, out: &mut impl Write) -> io::Result<()> {
    text.lines().try_for_each(|line| writeln!(out, "  {line}"))
}

fn started(session: &Session) -> u64 {
    session
        .frames
        .first()
        .map_or(0, |recorded| recorded.frame.at_unix_ns)
}

fn state_word(state: ControlState) -> &'static str {
    match state {
        ControlState::Ran => "ran",
        ControlState::Skipped => "skipped",
        ControlState::FailedOpen => "FAILED OPEN",
    }
}

pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Refused => "refused",
        Outcome::Blocked => "blocked",
        Outcome::ClientGone => "client gone",
        Outcome::UpstreamFailed => "upstream failed",
        Outcome::GatewayFailed => "gateway failed",
    }
}
