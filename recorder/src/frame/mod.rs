//! The frame: one event of one session, as the gateway saw it.
//!
//! A session is one exchange between a client and a model. It starts with [`Open`], ends with
//! [`Close`], and everything between them is in the order in which it happened; `index` counts
//! from zero within the session, so that a reader can tell a missing frame from a quiet one.
//!
//! Frames are [rkyv] archives. Inside the ring and inside the log they are the same bytes: what
//! the producer serialised is what the reader validates, years later. A change of any type here
//! is a change of the format: it needs a new [`SCHEMA_VERSION`].
//!
//! Not here: originals of masked text. What a frame carries is what the model or the client saw.

mod session_id;

use rkyv::util::AlignedVec;
use rkyv::with::AsBox;
use rkyv::{Archive, Deserialize, Serialize};

pub use session_id::{ArchivedSessionId, NotASessionId, SessionId};

/// Version of the types here, written at the head of each segment.
///
/// 2 adds [`Approval`] behind the kinds that there were, and leaves those as they are, byte for byte.
pub const SCHEMA_VERSION: u32 = 2;

/// The oldest version that this program still reads.
pub const SCHEMA_VERSION_MIN: u32 = 1;

/// The longest piece of a body that one frame may carry; longer bodies are cut by the sender.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Room for the fixed part of a frame, with the alignment gaps between its variable parts.
const FIXED_BYTES: usize = size_of::<ArchivedFrame>() + BOXED_BYTES + 64;

/// The largest part that is archived out of line.
const BOXED_BYTES: usize = size_of::<ArchivedOpen>() + size_of::<ArchivedClose>();

/// Room for what one string or list costs beyond its own bytes.
const FIELD_BYTES: usize = 16;

/// One event of one session.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Frame {
    /// The session that this belongs to; nil when the recorder speaks of no session in particular.
    pub session: SessionId,
    /// Position within the session, from zero.
    pub index: u32,
    /// Wall clock at the gateway, nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What happened.
    pub body: FrameBody,
}

/// What happened.
///
/// The large kinds are archived out of line: the archive of an enum is as large as its largest
/// kind, and most frames are small pieces of a stream.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one lives at a time, on a stack; boxing would allocate
pub enum FrameBody {
    /// Who calls, and what they want.
    Open(#[rkyv(with = AsBox)] Open),
    /// A piece of the request's body, as the model saw it.
    RequestBody(RequestBody),
    /// A rule matched, and what was done about it.
    Decision(#[rkyv(with = AsBox)] Decision),
    /// A control ran, was skipped, or failed open.
    Control(Control),
    /// The head of the answer.
    ResponseHead(ResponseHead),
    /// A piece of the answer's body, as the client saw it.
    ResponseChunk(ResponseChunk),
    /// The end of the session.
    Close(#[rkyv(with = AsBox)] Close),
    /// Something is missing from the record here, and why.
    Gap(#[rkyv(with = AsBox)] Gap),
    /// A person was asked about the request, or has answered.
    Approval(#[rkyv(with = AsBox)] Approval),
}

/// Who calls, and what they want.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Open {
    /// The identity provider that vouched for the caller.
    pub issuer: String,
    /// The caller, in the provider's terms.
    pub subject: String,
    /// Groups that the caller belonged to at that moment.
    pub groups: Vec<String>,
    /// The token's `jti`, where it has one. Never the token.
    pub token_id: Option<String>,
    /// Address of the caller: `ip:port`, or `unix`.
    pub client: String,
    /// What the caller's software calls itself.
    pub user_agent: Option<String>,
    /// Request method.
    pub method: String,
    /// Request path, without the query.
    pub path: String,
    /// Pattern of the route that the path resolved to.
    pub route: String,
    /// Operation that the route stands for (`infer`, `embed`, …).
    pub operation: String,
    /// Format of the API (`openai`, `anthropic`).
    pub dialect: String,
    /// Model asked for, where the request named one.
    pub model: Option<String>,
    /// Version of the policies that applied.
    pub policy_version: String,
    /// The gateway (node) that served this.
    pub gateway: String,
    /// The core of that gateway.
    pub core: u32,
}

/// A piece of the request's body.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct RequestBody {
    /// Where in the body this piece starts.
    pub offset: u64,
    /// No piece follows.
    pub last: bool,
    /// Media type of the body.
    pub media: String,
    /// At most [`PIECE_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// A rule matched. Says where, never what: the value is not recorded.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Decision {
    /// Name of the guard.
    pub guard: String,
    /// Id of the rule.
    pub rule: String,
    /// What was done (`flag`, `mask`, `block`, …).
    pub action: String,
    /// `request` or `response`.
    pub direction: String,
    /// The text it was found in, as a path (`messages[0].content`).
    pub location: String,
    /// First byte within that text.
    pub start: u64,
    /// One past the last byte within that text.
    pub end: u64,
}

/// Whether a control did its work.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ControlState {
    /// It ran.
    Ran,
    /// It was not needed, and why is in the detail.
    Skipped,
    /// It could not run, and its configuration said to go on.
    FailedOpen,
}

/// A control ran, was skipped, or failed open.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Control {
    /// Name of the control.
    pub name: String,
    /// What became of it.
    pub state: ControlState,
    /// Why, for a person.
    pub detail: String,
}

/// The head of the answer.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct ResponseHead {
    /// Status that the client got.
    pub status: u16,
    /// Media type that the client got.
    pub media: String,
    /// Status that the upstream gave; zero when it was not asked.
    pub upstream_status: u16,
}

/// A piece of the answer's body.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct ResponseChunk {
    /// At most [`PIECE_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// How a session ended.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Outcome {
    /// The answer was delivered whole.
    Completed,
    /// Refused before the upstream was asked: not known, not permitted, malformed.
    Refused,
    /// A guard stopped it.
    Blocked,
    /// The client went away.
    ClientGone,
    /// The upstream failed.
    UpstreamFailed,
    /// The gateway failed.
    GatewayFailed,
}

/// Nanoseconds from the session's opening; zero for what did not happen.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Timings {
    /// The request was inspected.
    pub inspected: u64,
    /// The request was sent on.
    pub forwarded: u64,
    /// The first byte of the answer came.
    pub first_byte: u64,
    /// The last byte of the answer was sent.
    pub last_byte: u64,
    /// The longest that text was held back by masking.
    pub held_max: u64,
}

/// A control and what became of it, repeated in [`Close`] so that one frame tells all.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct ControlRun {
    /// Name of the control.
    pub name: String,
    /// What became of it.
    pub state: ControlState,
}

/// The end of a session.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Close {
    /// Status that the client got.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable code of the error, where there was one.
    pub error_code: Option<String>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body, as sent.
    pub response_bytes: u64,
    /// Model that answered, as far as known.
    pub model: Option<String>,
    /// When what happened.
    pub timings: Timings,
    /// Which controls ran, were skipped, or failed open.
    pub controls: Vec<ControlRun>,
}

/// Something is missing from the record.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Gap {
    /// Sessions that are missing or cut short.
    pub sessions: u64,
    /// Frames that are missing, as far as known.
    pub frames: u64,
    /// Start of the time that is concerned.
    pub from_unix_ns: u64,
    /// End of the time that is concerned.
    pub to_unix_ns: u64,
    /// Why, for a person.
    pub reason: String,
}

/// What became of a request for approval. A session has all of it that happened until then, whoever
/// did it and when; so a frame can tell of something older than its session.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct Approval {
    /// Names the request for approval.
    pub id: String,
    /// `requested`, `approved`, `denied`, `expired`, `withdrawn` or `used`.
    pub event: String,
    /// When it happened, nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// Who vouches for the person who did it; empty where nobody did.
    pub issuer: String,
    /// The person who did it.
    pub subject: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What had to be approved: a guard or a hold, and why it asks, a line each.
    pub holds: Vec<String>,
    /// Hexadecimal digits of the digest that an approval is bound to.
    pub digest: String,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid frame: {reason}")]
pub struct InvalidFrame {
    /// What the validator found.
    pub reason: String,
}

// === impl Frame ===

impl Frame {
    /// At most this many bytes are needed to serialise the frame; usually a little fewer.
    pub fn encoded_bytes_max(&self) -> usize {
        FIXED_BYTES + self.body.variable_bytes()
    }

    /// Serialises the frame on the heap; the ring does without this copy.
    pub fn encode(&self) -> AlignedVec {
        rkyv::to_bytes::<rkyv::rancor::Error>(self)
            // Only a failing writer or allocator can stop serialising, and both are the heap.
            .expect("serialising to memory does not fail")
    }

    /// Reads a frame from bytes that nobody else can change any more.
    ///
    /// Every byte is checked (bytecheck) before it is believed.
    pub fn decode(bytes: &AlignedVec) -> Result<Self, InvalidFrame> {
        let archived = ArchivedFrame::checked(bytes)?;
        rkyv::deserialize::<Self, rkyv::rancor::Error>(archived).map_err(|error| InvalidFrame {
            reason: error.to_string(),
        })
    }
}

impl ArchivedFrame {
    /// Checks bytes and gives the frame in place, without copying it.
    pub fn checked(bytes: &AlignedVec) -> Result<&Self, InvalidFrame> {
        rkyv::access::<Self, rkyv::rancor::Error>(bytes).map_err(|error| InvalidFrame {
            reason: first_line(&error.to_string()),
        })
    }

    /// The session that this frame belongs to.
    pub fn session_id(&self) -> SessionId {
        SessionId(self.session.0)
    }
}

/// Validators explain themselves with a trace of several lines; the first says what.
fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or("unknown")
        .chars()
        .take(200)
        .collect()
}

// === impl FrameBody ===

impl FrameBody {
    /// Name of the kind, as `show` and JSON write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::RequestBody(_) => "request_body",
            Self::Decision(_) => "decision",
            Self::Control(_) => "control",
            Self::ResponseHead(_) => "response_head",
            Self::ResponseChunk(_) => "response_chunk",
            Self::Close(_) => "close",
            Self::Gap(_) => "gap",
            Self::Approval(_) => "approval",
        }
    }

    fn variable_bytes(&self) -> usize {
        match self {
            Self::Open(open) => open.variable_bytes(),
            Self::RequestBody(body) => of(&body.media) + body.bytes.len() + FIELD_BYTES,
            Self::Decision(d) => {
                of(&d.guard) + of(&d.rule) + of(&d.action) + of(&d.direction) + of(&d.location)
            }
            Self::Control(control) => of(&control.name) + of(&control.detail),
            Self::ResponseHead(head) => of(&head.media),
            Self::ResponseChunk(chunk) => chunk.bytes.len() + FIELD_BYTES,
            Self::Close(close) => {
                let controls = close.controls.iter();
                let each = size_of::<ArchivedControlRun>();
                of_option(&close.error_code)
                    + of_option(&close.model)
                    + controls.map(|run| of(&run.name) + each).sum::<usize>()
            }
            Self::Gap(gap) => of(&gap.reason),
            Self::Approval(approval) => {
                let texts = [
                    &approval.id,
                    &approval.event,
                    &approval.issuer,
                    &approval.subject,
                    &approval.digest,
                ];
                texts
                    .into_iter()
                    .chain(&approval.holds)
                    .map(|text| of(text))
                    .sum::<usize>()
                    + of_option(&approval.reason)
            }
        }
    }
}

impl Open {
    fn variable_bytes(&self) -> usize {
        let texts = [
            &self.issuer,
            &self.subject,
            &self.client,
            &self.method,
            &self.path,
            &self.route,
            &self.operation,
            &self.dialect,
            &self.policy_version,
            &self.gateway,
        ];
        texts.into_iter().map(|text| of(text)).sum::<usize>()
            + self.groups.iter().map(|group| of(group)).sum::<usize>()
            + of_option(&self.token_id)
            + of_option(&self.user_agent)
            + of_option(&self.model)
    }
}

fn of(text: &str) -> usize {
    text.len() + FIELD_BYTES
}

fn of_option(text: &Option<String>) -> usize {
    text.as_deref().map_or(0, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Frame {
        Frame {
            session: SessionId::v7(1_700_000_000_000, [7; 10]),
            index: 0,
            at_unix_ns: 1_700_000_000_000_000_000,
            body: FrameBody::Open(Open {
                subject: "alice".into(),
                groups: vec!["ml".into(), "a-group-with-a-long-name".into()],
                ..Open::default()
            }),
        }
    }

    #[test]
    fn frames_survive_the_round_trip_within_their_bound() {
        let frame = open();
        let bytes = frame.encode();
        assert!(bytes.len() <= frame.encoded_bytes_max());
        assert_eq!(Frame::decode(&bytes).expect("valid"), frame);
    }

    #[test]
    fn approvals_survive_the_round_trip_within_their_bound() {
        for holds in [0, 1, 7] {
            let approval = Approval {
                id: "0191".repeat(9),
                event: "withdrawn".into(),
                at_unix_ns: u64::MAX,
                issuer: "https://corp.example".into(),
                subject: "ada".into(),
                reason: Some("é".repeat(500)),
                holds: vec!["\"ask first\": rule \"weight-export\" matched".into(); holds],
                digest: "00".repeat(32),
            };
            let body = FrameBody::Approval(approval);
            let frame = Frame { body, ..open() };
            let bytes = frame.encode();
            assert!(bytes.len() <= frame.encoded_bytes_max());
            assert_eq!(Frame::decode(&bytes).expect("valid"), frame);
        }
    }

    /// What version 1 wrote, byte for byte: logs are read for years.
    #[test]
    fn frames_of_version_1_are_what_they_were() {
        let control = FrameBody::Control(Control {
            name: "authenticate".into(),
            state: ControlState::FailedOpen,
            detail: "no keys to be had".into(),
        });
        let opened = "612d67726f75702d776974682d612d6c6f6e672d6e616d656d6cffffffffffff98000000e0ffffff\
             ffffffffffffffff616c696365ffffffe0ffffff02000000000000000000000000000000ffffffff\
             ffffffff000000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffff\
             ffffffffffffffffffffffffffffffff000000000000000000000000ffffffffffffffffffffffff\
             ffffffff00000000018bcfe5680077078707070707070707000000000000000000002a36fe9c9717\
             000000005cffffff0000000000000000000000000000000000000000000000000000000000000000";
        let controlled = "61757468656e7469636174656e6f206b65797320746f20626520686164000000018bcfe568007707\
             8707070707070707000000000000000000002a36fe9c9717030000008c000000bcffffff02000000\
             91000000bcffffff00000000000000000000000000000000";
        for (body, hex) in [(open().body, opened), (control, controlled)] {
            let frame = Frame { body, ..open() };
            let bytes = frame.encode();
            let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex);
            assert_eq!(Frame::decode(&bytes).expect("valid"), frame);
        }
    }

    #[test]
    fn a_piece_of_a_stream_costs_little_more_than_its_bytes() {
        let body = FrameBody::ResponseChunk(ResponseChunk {
            bytes: vec![0; 100],
        });
        let frame = Frame { body, ..open() };
        assert!(frame.encode().len() <= 100 + 80, "{}", frame.encode().len());
    }

    #[test]
    fn every_flipped_byte_is_refused_or_gives_some_valid_frame() {
        let bytes = open().encode();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[index] ^= 1 << bit;
                // What matters is that this neither panics nor reads outside of the bytes.
                let _ = Frame::decode(&altered);
            }
        }
    }
}
