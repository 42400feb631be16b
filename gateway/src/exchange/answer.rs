//! Answers of our own: refusals and failures, in the format of the API that was addressed.

use penstock_policies::{
    BodyError, DecodeError, Denied, Dialect, Finding, error_body, error_event,
};

use super::hold::APPROVAL_FIELD;
use crate::approvals::Ticket;
use crate::http1::{
    self, FieldError, Method, Persistence, Refusal, ResponseFraming, ResponseWriter, Version,
};
use crate::identity::AuthError;

/// Seconds after which a refused caller may try again, where trying again can help.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that ends a call.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// For a developer who must act on it.
    pub message: String,
    /// The body, once sealed.
    pub body: Vec<u8>,
    /// The connection cannot go on after this.
    pub close: bool,
    request_id: String,
    www_authenticate: Option<String>,
    retry_after: bool,
    /// The approval that it is about.
    approval: Option<(String, String)>,
    /// Set where it is the end of a stream that has begun, in this version.
    in_stream: Option<Version>,
}

// === impl Answer ===

impl Answer {
    /// An answer after which the connection may go on.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            body: Vec::new(),
            close: false,
            request_id: String::new(),
            www_authenticate: None,
            retry_after: matches!(status, 429 | 503),
            approval: None,
            in_stream: None,
        }
    }

    /// The same answer, and the connection ends with it.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same answer with the id and the place of an approval, for programs.
    pub(super) fn about(mut self, ticket: &Ticket) -> Self {
        self.approval = Some((ticket.id.clone(), ticket.url.clone()));
        self
    }

    /// Whoever calls has been cut off.
    pub fn revoked() -> Self {
        Self::from(&AuthError::revoked())
    }

    /// What the guard found, told without the value.
    pub(super) fn blocked(finding: Option<&Finding>, code: &'static str, what: &str) -> Self {
        let message = match finding {
            Some(finding) if finding.is_excess() => {
                let message = format!(
                    "{what} {} would take more work to inspect than its length allows: text that \
                     repeats beginnings of secrets or numbers thousands of times does this. Send \
                     it in parts, or ask the operator of this gateway to raise work_per_kib.",
                    finding.location
                );
                return Self::new(422, "inspection_exhausted", message);
            }
            Some(finding) => format!(
                "{what} Guard \"{}\" matched rule \"{}\" in {} (bytes {} to {}). Remove or replace \
                 that text and send the request again; if you think that the rule is wrong, tell \
                 the operator of this gateway the request id.",
                finding.guard, finding.rule, finding.location, finding.start, finding.end
            ),
            None => what.to_owned(),
        };
        Self::new(403, code, message)
    }

    /// Fills the body in, in the format of the API that was addressed.
    pub fn seal(&mut self, dialect: Dialect, request_id: &str) {
        self.request_id = request_id.to_owned();
        self.body = error_body(dialect, self.status, self.code, &self.message, request_id);
        self.tell_approval();
    }

    /// The same for a client whose stream has begun: the error is its last event, and the connection
    /// ends with it.
    pub(super) fn seal_in_stream(&mut self, dialect: Dialect, request_id: &str, version: Version) {
        self.body = error_event(dialect, self.status, self.code, &self.message, request_id);
        self.tell_approval();
        self.in_stream = Some(version);
        self.close = true;
    }

    /// Puts the approval into the error object of either format, of which nothing follows but the
    /// request's id.
    fn tell_approval(&mut self) {
        let Some((id, url)) = &self.approval else {
            return;
        };
        let Some(end) = memchr::memmem::rfind(&self.body, b"},\"request_id\":") else {
            debug_assert!(false, "the error object has another form");
            return;
        };
        let told = serde_json::json!({ "approval_id": id, "approval_url": url }).to_string();
        // Without its braces: two more members.
        let members = format!(",{}", &told[1..told.len() - 1]);
        self.body.splice(end..end, members.into_bytes());
    }

    /// Appends head and body.
    pub fn write(&self, out: &mut Vec<u8>, head_request: bool, persistence: Persistence) {
        if let Some(version) = self.in_stream {
            return self.write_in_stream(version, out);
        }
        let start = out.len();
        if self.try_write(out, head_request, persistence).is_err() {
            // All values are ours and printable; were one not, the client still gets a status.
            debug_assert!(false, "a field of ours cannot be written");
            out.truncate(start);
            ResponseWriter::new(out, self.status).finish(ResponseFraming::None, Persistence::Close);
        }
    }

    fn write_in_stream(&self, version: Version, out: &mut Vec<u8>) {
        match version {
            Version::Http11 => {
                http1::chunk(out, &self.body);
                http1::last_chunk(out);
            }
            Version::Http10 => out.extend_from_slice(&self.body),
        }
    }

    fn try_write(
        &self,
        out: &mut Vec<u8>,
        head_request: bool,
        persistence: Persistence,
    ) -> Result<(), FieldError> {
        let mut writer = ResponseWriter::new(out, self.status);
        writer.field("content-type", b"application/json")?;
        if !self.request_id.is_empty() {
            writer.field("x-request-id", self.request_id.as_bytes())?;
        }
        if let Some((id, _)) = &self.approval {
            writer.field(APPROVAL_FIELD, id.as_bytes())?;
        }
        if let Some(challenge) = &self.www_authenticate {
            writer.field("www-authenticate", challenge.as_bytes())?;
        }
        if self.retry_after {
            writer.field("retry-after", RETRY_AFTER_SECONDS.as_bytes())?;
        }
        if self.status == 405 {
            writer.field("allow", Method::ALLOW.as_bytes())?;
        }
        let length = self.body.len() as u64;
        if head_request {
            writer.finish_head(Some(length), persistence);
        } else {
            writer.finish(ResponseFraming::Length(length), persistence);
            out.extend_from_slice(&self.body);
        }
        Ok(())
    }
}

impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.status, refusal.code, refusal.message).closing()
    }
}

impl From<&AuthError> for Answer {
    fn from(error: &AuthError) -> Self {
        let mut answer = Self::new(error.status, error.code, error.message);
        answer.www_authenticate = error.www_authenticate.clone();
        answer
    }
}

impl From<Denied> for Answer {
    fn from(denied: Denied) -> Self {
        Self::new(403, denied.code, denied.message)
    }
}

impl From<BodyError> for Answer {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl From<DecodeError> for Answer {
    fn from(error: DecodeError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}
