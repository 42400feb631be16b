//! An answer made ready: the bytes to send, and how to send them.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Api, Ask};
use super::detail;
use super::script::{Answer, Close, Framing, Profile, Truncate};
use crate::run::answer::response::DIGEST_FIELD;

/// Room that tests may ask a delay to take, at most.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// What to do with a request.
pub(super) enum Plan {
    /// Close without a byte; with a reset if told so.
    Vanish { reset: bool },
    /// These bytes, then close.
    Raw(Vec<u8>),
    /// A proper answer, or one that breaks off.
    Reply(Box<Reply>),
}

/// An answer with its head.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Body,
    pub(super) delivery: Delivery,
    /// The head is written as uvicorn writes it.
    pub(super) uvicorn: bool,
}

/// The body before framing and encoding.
pub(super) enum Body {
    Whole(Vec<u8>),
    Stream(Vec<Piece>),
}

/// One event of a stream.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Whether it carries a delta: these are counted, paced and stalled.
    pub(super) delta: bool,
}

/// How the bytes go out.
#[derive(Default)]
pub(super) struct Delivery {
    pub(super) ttft: Duration,
    pub(super) inter_token: Duration,
    pub(super) stalls: Vec<(usize, Duration)>,
    pub(super) burst: usize,
    pub(super) wire_bytes: Option<usize>,
    pub(super) wire_pause: Duration,
    pub(super) truncate: Option<Truncate>,
    pub(super) close: Option<Close>,
    pub(super) framing: Option<Framing>,
    pub(super) encoding: Option<String>,
    /// Deltas that a plain body takes to generate.
    pub(super) deltas: usize,
}

// === impl Reply ===

impl Reply {
    /// A JSON answer without peculiarities.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::whole(status, "application/json", value.to_string().into_bytes())
    }

    pub(super) fn whole(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: content_type.into(),
            fields: Vec::new(),
            body: Body::Whole(body),
            delivery: Delivery::default(),
            uvicorn: false,
        }
    }
}

impl Delivery {
    /// As `answer` says.
    pub(super) fn of(answer: &Answer) -> Self {
        let ms = |ms: u64| Duration::from_millis(ms).min(DELAY_MAX);
        Self {
            ttft: ms(answer.ttft_ms.unwrap_or(0)),
            inter_token: ms(answer.inter_token_ms.unwrap_or(0)),
            stalls: answer
                .stall
                .iter()
                .map(|(delta, stall)| (*delta, ms(*stall)))
                .collect(),
            burst: answer.burst.unwrap_or(1).max(1),
            wire_bytes: answer.wire_bytes.map(|bytes| bytes.max(1)),
            wire_pause: ms(answer.wire_ms),
            truncate: answer.truncate,
            close: answer.close,
            framing: answer.framing,
            encoding: answer.encoding.clone(),
            deltas: 0,
        }
    }

    /// How long to wait before delta `index`.
    pub(super) fn pause(&self, index: usize) -> Duration {
        let usual = if index == 0 {
            self.ttft
        } else {
            self.inter_token
        };
        let stalls = self.stalls.iter().filter(|(delta, _)| *delta == index);
        usual + stalls.map(|(_, stall)| *stall).sum::<Duration>()
    }
}

// === making plans ===

/// The plan for an ask that is answered by generating: `make` gives the body of the API.
pub(super) fn generate(ask: &Ask, make: impl FnOnce(&Ask) -> Body) -> Plan {
    let answer = &ask.answer;
    match answer.close {
        Some(Close::Before) => return Plan::Vanish { reset: false },
        Some(Close::Reset) => return Plan::Vanish { reset: true },
        _ => {}
    }
    if let Some(raw) = &answer.raw {
        return Plan::Raw(raw.clone().into_bytes());
    }
    let status = answer.status.unwrap_or(200);
    let mut content_type = "application/json".to_owned();
    let body = if let Some(body) = &answer.body {
        Body::Whole(body.clone().into_bytes())
    } else if let Some(events) = &answer.events {
        content_type = "text/event-stream; charset=utf-8".into();
        let pieces = events.iter().map(|event| Piece {
            bytes: event.clone().into(),
            delta: true,
        });
        Body::Stream(pieces.collect())
    } else if status >= 400 && ask.transformers() {
        let reply = detail::scripted_error(ask, status);
        content_type = reply.content_type;
        reply.body
    } else if status >= 400 {
        let message = answer.message.as_deref().unwrap_or("as the script says");
        Body::Whole(error_body(ask.api, Profile::Openai, status, message).into_bytes())
    } else {
        make(ask)
    };
    let body = if answer.invalid_json {
        spoil(body)
    } else {
        body
    };
    if matches!(body, Body::Stream(_)) {
        content_type = "text/event-stream; charset=utf-8".into();
    }
    let mut delivery = Delivery::of(answer);
    if matches!(body, Body::Whole(_)) {
        delivery.deltas = ask.completion_tokens();
    }
    let fields = answer.headers.iter().map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), value)
    });
    let mut fields: Vec<_> = fields.collect();
    if answer.digest {
        let digest = blake3::hash(ask.text(0).as_bytes());
        fields.push((DIGEST_FIELD.into(), digest.to_string()));
    }
    Plan::Reply(Box::new(Reply {
        status,
        content_type: answer.content_type.clone().unwrap_or(content_type),
        fields,
        body,
        delivery,
        uvicorn: false,
    }))
}

/// A body cut so that it is no JSON: the whole one, or the last delta's event.
fn spoil(body: Body) -> Body {
    match body {
        Body::Whole(mut bytes) => {
            bytes.truncate(bytes.len().saturating_sub(2));
            Body::Whole(bytes)
        }
        Body::Stream(mut pieces) => {
            if let Some(last) = pieces.iter_mut().rev().find(|piece| piece.delta) {
                let end = last.bytes.trim_ascii_end().len();
                last.bytes.truncate(end.saturating_sub(2));
                last.bytes.extend_from_slice(b"\n\n");
            }
            Body::Stream(pieces)
        }
    }
}

/// An error in the format of the API, or as the profile writes it.
pub(super) fn error_body(api: Api, profile: Profile, status: u16, message: &str) -> String {
    if profile == Profile::Transformers {
        return json!({ "detail": message }).to_string();
    }
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let error = match api {
        Api::Messages => {
            json!({ "type": "error", "error": { "type": kind, "message": message } })
        }
        _ => json!({ "error": {
            "message": message, "type": kind, "param": null, "code": status,
        } }),
    };
    error.to_string()
}

/// A data-only event.
pub(super) fn data(json: &str, delta: bool) -> Piece {
    Piece {
        bytes: format!("data: {json}\n\n").into_bytes(),
        delta,
    }
}

/// A named event.
pub(super) fn named(name: &str, json: &str, delta: bool) -> Piece {
    Piece {
        bytes: format!("event: {name}\ndata: {json}\n\n").into_bytes(),
        delta,
    }
}
