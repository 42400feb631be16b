//! Last phase: the model's answer passes through its filter to the client, and into the record as
//! the client saw it, but for values that were put back for this caller: those are recorded masked.

use std::time::{Duration, Instant};

use penstock_policies::{
    Action, DecodeBounds, Direction, FilterError, Finding, ResponseFilter, ResponseRefusal,
    decode_content, error_event,
};
use penstock_recorder::frame::Outcome;

use super::answer::Answer;
use super::context::unix_ns;
use super::inspect::Forwarded;
use super::waiting::Waiting;
use super::{Call, heads};
use crate::http1::{
    self, Persistence, ResponseFault, ResponseFraming, ResponseHead, ResponseWriter, Version,
};
use crate::tap::Moment;

/// A head that does not say which body follows it.
const AMBIGUOUS: ResponseFault = ResponseFault {
    code: "body_ambiguous",
    message: "The upstream declared its body's type or encoding more than once.",
};

/// How the body reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPlan {
    /// There is none.
    None,
    /// Byte for byte, as long as the model said.
    Length(u64),
    /// As it comes, of unknown length.
    Streamed,
    /// Inspected whole, then sent with its length; nothing is sent before that.
    Whole,
}

/// An answer on its way to the client.
pub struct Answering {
    call: Call,
    filter: ResponseFilter,
    plan: BodyPlan,
    head: ResponseHead,
    head_request: bool,
    version: Version,
    persistence: Persistence,
    /// The encoding to undo before the filter, for a body that is inspected whole.
    encoding: Option<String>,
    encoded: Vec<u8>,
    payload: Vec<u8>,
    /// Fields of the head that a guard withholds from the client.
    withheld: Vec<String>,
    waiting: Waiting,
    masked: bool,
    /// What passes unread has so far ended where an event ends.
    between_events: bool,
}

/// The answer cannot be completed.
pub enum Abort {
    /// Nothing was sent yet: the client gets this instead.
    Answer(Box<Answer>),
    /// The stream was ended with an error event, now in the output; then the connection closes.
    Ended,
    /// The connection must be cut, so that what was sent cannot be taken for a whole answer.
    Cut,
}

// === impl Forwarded ===

impl Forwarded {
    /// The upstream could not be reached, or failed before its answer began.
    pub fn upstream_failed(mut self, answer: Answer) -> Answer {
        self.call.core.counters.upstream_failures.bump();
        self.call.refuse(answer, Outcome::UpstreamFailed)
    }

    /// The upstream's head is not HTTP as we speak it.
    pub fn upstream_malformed(self, fault: &ResponseFault) -> Answer {
        tracing::warn!(
            code = fault.code,
            "upstream response refused: {}",
            fault.message
        );
        self.upstream_failed(Answer::new(
            502,
            "upstream_malformed",
            "The model's server sent an answer that is not valid HTTP.",
        ))
    }

    /// The caller was cut off.
    pub fn revoked(mut self) -> Answer {
        self.call.core.counters.cut_off.bump();
        self.call.refuse(Answer::revoked(), Outcome::Blocked)
    }

    /// True when the request was HEAD.
    pub fn head_request(&self) -> bool {
        self.head_request
    }

    /// Whether the model may be asked: what happened so far was kept, or need not be.
    pub fn is_recorded(&self) -> bool {
        self.call.is_recorded()
    }

    /// The record could not be kept.
    pub fn unrecorded(mut self) -> Answer {
        let answer = Answer::new(
            503,
            "recorder_unavailable",
            "Calls are recorded here, and the recorder does not keep up. Try again later.",
        );
        self.call.refuse(answer, Outcome::GatewayFailed)
    }

    /// Takes the upstream's head and plans how its body passes.
    pub fn answer(
        mut self,
        head: ResponseHead,
        version: Version,
        persistence: Persistence,
    ) -> Result<Answering, Answer> {
        let now = unix_ns();
        self.call.record.moment(Moment::FirstByte, now);
        // Said twice, they would be read one way here and perhaps the other way by the client.
        let twice = |name| head.fields.count(name) > 1;
        if twice("content-type") || twice("content-encoding") {
            return Err(self.upstream_malformed(&AMBIGUOUS));
        }
        if head.status == 401 {
            return Err(self.upstream_failed(Answer::new(
                502,
                "upstream_unauthorized",
                "The model's server refused the gateway's own credential. Nothing is wrong with \
                 yours: tell the operator of this gateway.",
            )));
        }
        if self.call.begun.is_some()
            && let Some(answer) = no_stream(&head)
        {
            return Err(self.upstream_failed(answer));
        }
        let withheld = self.withheld(&head, now);
        let content_type = head.fields.text("content-type");
        let made = self.in_force.policy.response_filter(
            &self.scope,
            &self.route,
            head.status,
            content_type,
        );
        let vault = std::mem::take(&mut self.vault);
        let filter = match made {
            Ok(filter) => filter
                .restoring(vault, head.status, content_type)
                .with_max_body(self.call.core.node.limits.response_body.0),
            Err(refusal) => return Err(self.media_refused(&refusal)),
        };
        self.call
            .record
            .control("inspect response", self.scope.guards_response());
        if filter.observes() {
            self.call.record.control("observe response", true);
        }
        if filter.restores() {
            self.call.record.control("restore", true);
        }
        let encoding = heads::text(head.fields.get("content-encoding"))
            .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        let bodiless = head.framing == ResponseFraming::None;
        let plan = match head.framing {
            ResponseFraming::None => BodyPlan::None,
            _ if encoding.is_some() && (filter.streams() || self.call.begun.is_some()) => {
                return Err(self.upstream_failed(Answer::new(
                    502,
                    "upstream_encoding",
                    "The model's server sent a compressed stream, which cannot be inspected.",
                )));
            }
            _ if encoding.is_some() => BodyPlan::Whole,
            // Its head is out, and named no length.
            _ if self.call.begun.is_some() => BodyPlan::Streamed,
            ResponseFraming::Length(length) if filter.passes_through() => BodyPlan::Length(length),
            _ if filter.passes_through() || filter.streams() => BodyPlan::Streamed,
            _ => BodyPlan::Whole,
        };
        debug_assert!(bodiless == (plan == BodyPlan::None));
        let until_close = plan == BodyPlan::Streamed && version == Version::Http10;
        Ok(Answering {
            call: self.call,
            filter,
            plan,
            head,
            head_request: self.head_request,
            version,
            persistence: if until_close {
                Persistence::Close
            } else {
                persistence
            },
            encoding,
            encoded: Vec::new(),
            payload: Vec::new(),
            withheld,
            waiting: Waiting::default(),
            masked: false,
            between_events: true,
        })
    }

    /// The fields of the answer's head that the client must not see, whatever the guard's action:
    /// what does not arrive needs no blocking.
    fn withheld(&mut self, head: &ResponseHead, now: u64) -> Vec<String> {
        let way = Direction::Response;
        let passes = heads::passes_to_client;
        let found = heads::inspect_fields(
            &self.in_force.policy,
            &self.scope,
            way,
            &head.fields,
            passes,
        );
        self.call.found(now, way, &found.findings);
        let mut withheld = found.withheld;
        let credential = self.in_force.credential.as_ref();
        if let Some(secret) = credential.and_then(|credential| credential.withheld()) {
            let repeats = |value: &[u8]| memchr::memmem::find(value, secret.as_bytes()).is_some();
            let fields = head.fields.iter().filter(|(_, value)| repeats(value));
            withheld.extend(fields.map(|(name, _)| name.to_owned()));
        }
        withheld
    }

    fn media_refused(self, refusal: &ResponseRefusal) -> Answer {
        self.upstream_failed(Answer::new(502, refusal.code, refusal.message.clone()))
    }
}

// === impl Answering ===

impl Answering {
    /// How the body passes.
    pub fn plan(&self) -> BodyPlan {
        self.plan
    }

    /// Whether the client's connection goes on after this answer.
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Appends the head, unless it must wait for the body's length.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        let framing = match self.plan {
            BodyPlan::Whole => return,
            BodyPlan::None => ResponseFraming::None,
            BodyPlan::Length(length) => ResponseFraming::Length(length),
            BodyPlan::Streamed if self.version == Version::Http10 => ResponseFraming::UntilClose,
            BodyPlan::Streamed => ResponseFraming::Chunked,
        };
        self.write_head(framing, out);
    }

    fn write_head(&mut self, framing: ResponseFraming, out: &mut Vec<u8>) {
        let call = &mut self.call;
        if call.begun.is_some() {
            return;
        }
        call.status = self.head.status;
        let media = self.head.fields.text("content-type").unwrap_or_default();
        if call.core.tap.enabled() {
            let status = self.head.status;
            call.record
                .response_head(&call.core.tap, unix_ns(), status, media, status);
        }
        let mut writer = ResponseWriter::new(out, self.head.status);
        let withheld = &self.withheld;
        writer.copy(&self.head.fields, |name| {
            heads::passes_to_client(name) && !withheld.iter().any(|other| other == name)
        });
        // A session id is hexadecimal digits and hyphens.
        let written = writer.field("x-request-id", call.id.as_bytes());
        debug_assert!(written.is_ok());
        if self.head_request {
            writer.finish_head(self.head.declared_length, self.persistence);
        } else {
            writer.finish(framing, self.persistence);
        }
    }

    /// Takes a piece of the upstream's body and appends what the client gets for it.
    pub fn data(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Abort> {
        if self.encoding.is_some() {
            let limit = self.call.core.node.limits.response_body.0;
            if self.encoded.len() + input.len() > limit {
                let what = "the encoded response";
                return Err(self.fail(&FilterError::TooLarge { what, limit }, out));
            }
            self.encoded.extend_from_slice(input);
            return Ok(());
        }
        self.between_events = input.ends_with(b"\n\n") || input.ends_with(b"\r\n\r\n");
        if self.filter.passes_through() && !self.filter.observes() {
            record(&mut self.call, input);
            self.send_piece(input, out);
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let pushed = self.filter.push(input, &mut payload);
        self.deliver(pushed, payload, out)
    }

    /// Held text has waited too long: its tail is masked.
    pub fn expire(&mut self, out: &mut Vec<u8>) -> Result<(), Abort> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let expired = self.filter.expire(&mut payload);
        self.deliver(expired, payload, out)
    }

    /// For how long the text that is held back may still be held; `None` while none is.
    pub fn hold_left(&self, bound: Duration) -> Option<Duration> {
        self.waiting.left(bound)
    }

    fn holds(&self) -> bool {
        self.plan == BodyPlan::Streamed && self.filter.held_bytes() > 0
    }

    fn deliver(
        &mut self,
        filtered: Result<(), FilterError>,
        payload: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Abort> {
        self.note_findings();
        // A body that is inspected whole sends nothing before its end.
        if self.plan != BodyPlan::Whole {
            record(&mut self.call, self.filter.masked().unwrap_or(&payload));
            self.send_piece(&payload, out);
        }
        self.payload = payload;
        self.note_hold();
        filtered.map_err(|error| self.fail(&error, out))
    }

    fn send_piece(&self, piece: &[u8], out: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        if self.plan == BodyPlan::Streamed && self.version == Version::Http11 {
            http1::chunk(out, piece);
        } else {
            out.extend_from_slice(piece);
        }
    }

    /// The upstream's body is complete: appends the rest. Once that is sent:
    /// [`Answering::complete`].
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Abort> {
        match self.plan {
            BodyPlan::None => {}
            // What acts has let all of it through; what observes may wait for the end.
            BodyPlan::Length(_) => {
                let mut payload = std::mem::take(&mut self.payload);
                payload.clear();
                let finished = self.filter.finish(&mut payload);
                self.deliver(finished, payload, out)?;
            }
            BodyPlan::Streamed => {
                let mut payload = std::mem::take(&mut self.payload);
                payload.clear();
                let finished = self.filter.finish(&mut payload);
                self.deliver(finished, payload, out)?;
                if self.version == Version::Http11 {
                    http1::last_chunk(out);
                }
            }
            BodyPlan::Whole => self.end_whole(out)?,
        }
        Ok(())
    }

    /// The whole answer was handed to the client. An answer that is dropped before this is recorded
    /// as one whose client went away.
    pub fn complete(mut self) {
        self.call.record.moment(Moment::LastByte, unix_ns());
        self.call.end(Outcome::Completed, None);
    }

    /// Whether what this answer has shown so far may be shown: its frames were kept, or the
    /// configuration says to serve without.
    pub fn is_recorded(&self) -> bool {
        self.call.is_recorded()
    }

    fn end_whole(&mut self, out: &mut Vec<u8>) -> Result<(), Abort> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        if let Some(encoding) = self.encoding.take() {
            let limits = &self.call.core.node.limits;
            let bounds = DecodeBounds {
                max_bytes: limits.response_body.0,
                max_ratio: limits.decode_ratio,
            };
            let decoded = decode_content(&encoding, &self.encoded, &bounds);
            let pushed = match decoded {
                Ok(decoded) => self.filter.push(&decoded, &mut payload),
                Err(error) => {
                    let message = format!("The model's answer cannot be decoded: {error}");
                    return Err(self.answer_instead(
                        Answer::new(502, "upstream_encoding", message),
                        Outcome::UpstreamFailed,
                    ));
                }
            };
            if let Err(error) = pushed {
                return Err(self.fail(&error, out));
            }
        }
        let finished = {
            let core = self.call.core.clone();
            let mut scratch = core.scratch.borrow_mut();
            self.filter.finish_in(&mut scratch, &mut payload)
        };
        self.note_findings();
        if let Err(error) = finished {
            return Err(self.fail(&error, out));
        }
        self.write_head(ResponseFraming::Length(payload.len() as u64), out);
        record(&mut self.call, self.filter.masked().unwrap_or(&payload));
        self.send_piece(&payload, out);
        self.payload = payload;
        Ok(())
    }

    /// The upstream broke off in the middle. What was sent must not look complete, and what the
    /// filter holds is never released.
    pub fn upstream_broke(mut self, answer: Answer) -> Abort {
        if self.plan == BodyPlan::Whole {
            return self.answer_instead(answer, Outcome::UpstreamFailed);
        }
        self.call.core.counters.upstream_failures.bump();
        self.call.end(Outcome::UpstreamFailed, Some(answer.code));
        Abort::Cut
    }

    /// The record could not be kept: the answer must not go on without it.
    pub fn unrecorded(mut self) -> Abort {
        self.call
            .end(Outcome::GatewayFailed, Some("recorder_unavailable"));
        Abort::Cut
    }

    fn answer_instead(&mut self, answer: Answer, outcome: Outcome) -> Abort {
        if outcome == Outcome::UpstreamFailed {
            self.call.core.counters.upstream_failures.bump();
        }
        Abort::Answer(Box::new(self.call.refuse(answer, outcome)))
    }

    /// The filter refuses to go on.
    fn fail(&mut self, error: &FilterError, out: &mut Vec<u8>) -> Abort {
        let (answer, outcome) = match error {
            FilterError::Blocked(finding) => (blocked(finding), Outcome::Blocked),
            other => {
                let answer = Answer::new(other.status(), other.code(), other.to_string());
                (answer, Outcome::UpstreamFailed)
            }
        };
        if outcome == Outcome::Blocked {
            self.call.core.counters.blocked.bump();
        }
        if self.plan == BodyPlan::Whole {
            return self.answer_instead(answer, outcome);
        }
        if outcome == Outcome::Blocked && self.filter.streams() {
            return self.end_with(&answer, out);
        }
        self.call.core.counters.upstream_failures.bump();
        self.call.end(outcome, Some(answer.code));
        Abort::Cut
    }

    /// Ends a stream with an error as its last event.
    fn end_with(&mut self, answer: &Answer, out: &mut Vec<u8>) -> Abort {
        let Call { dialect, id, .. } = &self.call;
        let event = error_event(*dialect, answer.status, answer.code, &answer.message, id);
        record(&mut self.call, &event);
        self.send_piece(&event, out);
        if self.version == Version::Http11 {
            http1::last_chunk(out);
        }
        self.call.end(Outcome::Blocked, Some(answer.code));
        Abort::Ended
    }

    /// The caller was cut off. A stream ends with an error event; an answer of which nothing was
    /// sent becomes an error; anything else is cut, so that it cannot be taken for whole.
    pub fn revoked(mut self, out: &mut Vec<u8>) -> Abort {
        self.call.core.counters.cut_off.bump();
        let answer = Answer::revoked();
        if self.plan == BodyPlan::Whole {
            return self.answer_instead(answer, Outcome::Blocked);
        }
        let media = self.head.fields.text("content-type").unwrap_or_default();
        let unread_events = self.plan == BodyPlan::Streamed
            && self.between_events
            && media.starts_with("text/event-stream");
        if self.filter.streams() || (self.filter.passes_through() && unread_events) {
            return self.end_with(&answer, out);
        }
        self.call.end(Outcome::Blocked, Some(answer.code));
        Abort::Cut
    }

    fn note_findings(&mut self) {
        let findings = self.filter.take_findings();
        if findings.is_empty() {
            return;
        }
        let call = &mut self.call;
        if !self.masked
            && findings
                .iter()
                .any(|finding| finding.action == Action::Mask)
        {
            self.masked = true;
            call.core.counters.masked_responses.bump();
        }
        call.found(unix_ns(), Direction::Response, &findings);
    }

    /// Notes since when the text that is held now has been held.
    fn note_hold(&mut self) {
        let (holds, released) = (self.holds(), self.filter.released_bytes());
        if let Some(waited) = self.waiting.note(holds, released, Instant::now) {
            let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
            self.call.record.held(waited);
        }
    }
}

/// What a client whose stream has begun is told of an answer that is no stream of events.
fn no_stream(head: &ResponseHead) -> Option<Answer> {
    let media = head.fields.text("content-type").unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    let is_stream = media.eq_ignore_ascii_case("text/event-stream");
    if head.status == 200 && is_stream && head.framing != ResponseFraming::None {
        return None;
    }
    let status = if head.status >= 400 { head.status } else { 502 };
    let message = format!(
        "The request was approved and sent on, but the model's server answered with status {} and \
         no stream of events.",
        head.status
    );
    Some(Answer::new(status, "upstream_not_a_stream", message))
}

/// Writes down a piece of the answer: what is sent, but where values were put back, the masked
/// form.
fn record(call: &mut Call, piece: &[u8]) {
    if call.core.tap.enabled() && !piece.is_empty() {
        call.record.response_chunk(&call.core.tap, unix_ns(), piece);
    }
}

fn blocked(finding: &Finding) -> Answer {
    Answer::blocked(
        Some(finding),
        "response_blocked",
        "The model's answer was blocked.",
    )
}
