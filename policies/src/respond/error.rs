//! Why a response is not passed on. Each of these ends the exchange.

use std::fmt;

use crate::text::JsonError;
use crate::verdict::Finding;

/// A response whose media type has no reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseRefusal {
    /// Stable word for programs.
    pub code: &'static str,
    /// A sentence for the developer who reads it.
    pub message: String,
}

/// A response that began well and may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// A guard that blocks found something; none of the match was sent.
    Blocked(Finding),
    /// What had to be JSON is not.
    NotJson {
        /// Offset within the body or the event's data.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// What had to be UTF-8 is not.
    NotUtf8 {
        /// Offset within the body or the event's data.
        at: usize,
    },
    /// A body, an event, or the number of channels is over its bound.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Readable in parts, but not as a whole.
    Malformed(&'static str),
}

// === impl FilterError ===

impl FilterError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            FilterError::Blocked(finding) if finding.is_excess() => "inspection_exhausted",
            FilterError::Blocked(_) => "response_blocked",
            FilterError::NotJson { .. } => "response_not_json",
            FilterError::NotUtf8 { .. } => "response_not_utf8",
            FilterError::TooLarge { .. } => "response_too_large",
            FilterError::Malformed(_) => "response_malformed",
        }
    }

    /// The HTTP status of the answer, where one can still be given.
    pub fn status(&self) -> u16 {
        match self {
            FilterError::Blocked(finding) if !finding.is_excess() => 403,
            _ => 502,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Blocked(finding) if finding.is_excess() => write!(
                f,
                "The response was stopped: {} would take more work to inspect than its length \
                 allows.",
                finding.location
            ),
            FilterError::Blocked(finding) => write!(
                f,
                "The response was stopped by the guard \"{}\" (rule {}).",
                finding.guard, finding.rule
            ),
            FilterError::NotJson { at, reason } => {
                write!(
                    f,
                    "The model server's response is not JSON near byte {at}: {reason}."
                )
            }
            FilterError::NotUtf8 { at } => {
                write!(f, "The model server's response is not UTF-8 at byte {at}.")
            }
            FilterError::TooLarge { what, limit } => {
                write!(
                    f,
                    "The model server's response has {what} over the bound of {limit}."
                )
            }
            FilterError::Malformed(reason) => {
                write!(f, "The model server's response cannot be read: {reason}.")
            }
        }
    }
}

impl std::error::Error for FilterError {}

impl From<JsonError> for FilterError {
    fn from(error: JsonError) -> FilterError {
        match error {
            JsonError::NotUtf8 { at } => FilterError::NotUtf8 { at },
            JsonError::NotJson { at, reason } => FilterError::NotJson { at, reason },
            JsonError::TooDeep => FilterError::TooLarge {
                what: "a nesting depth",
                limit: crate::text::DEPTH_MAX,
            },
        }
    }
}

// === impl ResponseRefusal ===

impl fmt::Display for ResponseRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ResponseRefusal {}
