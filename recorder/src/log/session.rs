//! Sessions, put together from their frames.

use std::collections::HashMap;

use serde::Serialize;

use super::{Frames, Log, LogError, Recorded};
use crate::frame::{Close, FrameBody, Open, Outcome, SessionId};

/// How a session ended, as far as the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a frame that says so.
    Closed,
    /// Not yet, or the log is cut.
    Open,
    /// The gateway was gone before the session's end.
    Abandoned,
}

/// One line about a session.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The session.
    pub session: String,
    /// When it was opened, nanoseconds since 1970.
    pub opened_unix_ns: u64,
    /// Who called.
    pub subject: String,
    /// Who vouched for the caller.
    pub issuer: String,
    /// The groups of the caller.
    pub groups: Vec<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The operation.
    pub operation: String,
    /// The route.
    pub route: String,
    /// The policies that applied.
    pub policy_version: String,
    /// Status that the client got.
    pub status: Option<u16>,
    /// How it went.
    pub outcome: Option<Outcome>,
    /// How it ended.
    pub ended: Ended,
    /// Nanoseconds from the first to the last frame.
    pub duration_ns: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// Decisions taken.
    pub decisions: u64,
    /// Frames in the log.
    pub frames: u64,
    /// Every index from zero is there.
    pub whole: bool,
    #[serde(skip)]
    next_index: u32,
}

/// All frames of one session, in order.
#[derive(Debug, Clone)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// Its frames.
    pub frames: Vec<Recorded>,
}

/// Why a session was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None starts like this.
    #[error("no session starts with {0:?}; `sessions` lists them")]
    Unknown(String),
    /// Several start like this.
    #[error("{count} sessions start with {prefix:?}, among them {first} and {second}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        count: usize,
        /// One of them.
        first: SessionId,
        /// Another one.
        second: SessionId,
    },
    /// Hexadecimal digits and hyphens only.
    #[error("{0:?} is no start of a session id: hexadecimal digits and hyphens only")]
    NotAnId(String),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Damage does not hide what can be read: it is passed over here and told by `verify`.
pub(super) fn summaries(frames: Frames<'_>) -> Result<Vec<Summary>, LogError> {
    let mut order: Vec<Summary> = Vec::new();
    let mut places: HashMap<SessionId, usize> = HashMap::new();
    for recorded in frames {
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(LogError::Damaged { .. } | LogError::Frame { .. }) => continue,
            Err(error) => return Err(error),
        };
        let id = recorded.frame.session;
        if id.is_nil() {
            continue;
        }
        let place = *places.entry(id).or_insert_with(|| {
            order.push(Summary::new(&recorded));
            order.len() - 1
        });
        order[place].add(&recorded);
    }
    Ok(order)
}

pub(super) fn find(log: &Log, prefix: &str) -> Result<Session, FindError> {
    let digits: String = prefix
        .chars()
        .filter(|c| *c != '-')
        .collect::<String>()
        .to_lowercase();
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(FindError::NotAnId(prefix.to_owned()));
    }
    let mut found: Vec<Session> = Vec::new();
    for recorded in log.frames() {
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(LogError::Damaged { .. } | LogError::Frame { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let id = recorded.frame.session;
        let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
        if id.is_nil() || !hex.starts_with(&digits) {
            continue;
        }
        match found.iter().position(|session| session.id == id) {
            Some(0) => found[0].frames.push(recorded),
            // Of a second one only the name is needed, to say that there are several.
            Some(_) => {}
            None if found.is_empty() => found.push(Session {
                id,
                frames: vec![recorded],
            }),
            None => found.push(Session {
                id,
                frames: Vec::new(),
            }),
        }
    }
    match found.len() {
        0 => Err(FindError::Unknown(prefix.to_owned())),
        1 => Ok(found.swap_remove(0)),
        count => Err(FindError::Ambiguous {
            prefix: prefix.to_owned(),
            count,
            first: found[0].id,
            second: found[1].id,
        }),
    }
}

// === impl Summary ===

impl Summary {
    fn new(first: &Recorded) -> Self {
        Self {
            session: first.frame.session.to_string(),
            opened_unix_ns: first.frame.at_unix_ns,
            subject: String::new(),
            issuer: String::new(),
            groups: Vec::new(),
            model: None,
            operation: String::new(),
            route: String::new(),
            policy_version: String::new(),
            status: None,
            outcome: None,
            ended: Ended::Open,
            duration_ns: 0,
            request_bytes: 0,
            response_bytes: 0,
            decisions: 0,
            frames: 0,
            whole: true,
            next_index: 0,
        }
    }

    fn add(&mut self, recorded: &Recorded) {
        let frame = &recorded.frame;
        self.duration_ns = frame.at_unix_ns.saturating_sub(self.opened_unix_ns);
        if recorded.by_recorder {
            self.ended = if self.ended == Ended::Open {
                Ended::Abandoned
            } else {
                self.ended
            };
            return;
        }
        self.frames += 1;
        self.whole &= frame.index == self.next_index;
        self.next_index = frame.index.wrapping_add(1);
        match &frame.body {
            FrameBody::Open(open) => self.describe(open),
            FrameBody::RequestBody(body) => self.request_bytes += body.bytes.len() as u64,
            FrameBody::Decision(_) => self.decisions += 1,
            FrameBody::ResponseHead(head) => self.status = Some(head.status),
            FrameBody::ResponseChunk(chunk) => self.response_bytes += chunk.bytes.len() as u64,
            FrameBody::Close(close) => {
                self.ended = Ended::Closed;
                self.status = Some(close.status);
                self.outcome = Some(close.outcome);
                self.model = close.model.clone().or(self.model.take());
            }
            FrameBody::Control(_) | FrameBody::Approval(_) => {}
            FrameBody::Gap(_) => self.whole = false,
        }
    }

    fn describe(&mut self, open: &Open) {
        self.subject = open.subject.clone();
        self.issuer = open.issuer.clone();
        self.groups = open.groups.clone();
        self.model = open.model.clone();
        self.operation = open.operation.clone();
        self.route = open.route.clone();
        self.policy_version = open.policy_version.clone();
    }
}

// === impl Session ===

impl Session {
    /// Who called, and what they wanted.
    pub fn open(&self) -> Option<&Open> {
        self.bodies().find_map(|body| match body {
            FrameBody::Open(open) => Some(open),
            _ => None,
        })
    }

    /// How it ended.
    pub fn close(&self) -> Option<&Close> {
        self.bodies().find_map(|body| match body {
            FrameBody::Close(close) => Some(close),
            _ => None,
        })
    }

    /// The model, as its end tells; the opening is written before the request's body is read.
    pub fn model(&self) -> Option<&str> {
        let told = self.close().and_then(|close| close.model.as_deref());
        told.or_else(|| self.open().and_then(|open| open.model.as_deref()))
    }

    /// The request's body as the model saw it, with its media type.
    pub fn request_body(&self) -> (String, Vec<u8>) {
        let (mut media, mut bytes) = (String::new(), Vec::new());
        for body in self.bodies() {
            if let FrameBody::RequestBody(piece) = body {
                media.clone_from(&piece.media);
                bytes.extend_from_slice(&piece.bytes);
            }
        }
        (media, bytes)
    }

    /// Media type of the answer.
    pub fn response_media(&self) -> &str {
        let media = self.bodies().find_map(|body| match body {
            FrameBody::ResponseHead(head) => Some(head.media.as_str()),
            _ => None,
        });
        media.unwrap_or("")
    }

    /// The pieces of the answer as the client saw them, with nanoseconds since 1970.
    pub fn response_chunks(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.frames
            .iter()
            .filter_map(|recorded| match &recorded.frame.body {
                FrameBody::ResponseChunk(chunk) => {
                    Some((recorded.frame.at_unix_ns, chunk.bytes.as_slice()))
                }
                _ => None,
            })
    }

    /// The answer's body as the client saw it.
    pub fn response_body(&self) -> Vec<u8> {
        self.response_chunks()
            .flat_map(|(_, bytes)| bytes)
            .copied()
            .collect()
    }

    /// What happened, in order.
    pub fn bodies(&self) -> impl Iterator<Item = &FrameBody> {
        self.frames.iter().map(|recorded| &recorded.frame.body)
    }
}
