//! Why a request body is not acceptable, in words for the developer who sent it.

use std::fmt;

use crate::policy::Denied;
use crate::text::JsonError;

/// Longest name of a model: it is logged, recorded and compared with every grant.
pub const MODEL_BYTES_MAX: usize = 256;

/// A body that is refused before any rule is asked, or for what its caller may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not UTF-8 at this byte.
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// Not JSON near this byte.
    NotJson {
        /// Offset near which it stops being JSON.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Nested too deep.
    TooDeep,
    /// Not a form as it must be.
    NotForm {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// JSON, but not an object.
    NotObject,
    /// No body where one is needed.
    Empty,
    /// A body where none is taken.
    Unexpected,
    /// `model` is missing or null where the route needs it.
    ModelMissing,
    /// `model` is not a string.
    ModelNotString,
    /// `model` is longer than [`MODEL_BYTES_MAX`].
    ModelTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The prompt is there as numbers, which no request guard can read.
    PromptNotText {
        /// The member of the body that has them.
        member: &'static str,
    },
    /// `model` is there more than once.
    DuplicateModel,
    /// `stream` is not true, false or null.
    StreamNotBool,
    /// `stream` is there more than once.
    DuplicateStream,
    /// The caller's grants do not reach this far.
    Denied(Denied),
}

// === impl BodyError ===

impl BodyError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            BodyError::NotUtf8 { .. } => "body_not_utf8",
            BodyError::NotJson { .. } => "body_not_json",
            BodyError::TooDeep => "body_too_deep",
            BodyError::NotForm { .. } => "body_not_form",
            BodyError::NotObject => "body_not_object",
            BodyError::Empty => "body_missing",
            BodyError::Unexpected => "body_unexpected",
            BodyError::ModelMissing => "model_missing",
            BodyError::ModelNotString => "model_not_string",
            BodyError::ModelTooLong { .. } => "model_too_long",
            BodyError::PromptNotText { .. } => "prompt_not_text",
            BodyError::DuplicateModel => "model_duplicate",
            BodyError::StreamNotBool => "stream_not_bool",
            BodyError::DuplicateStream => "stream_duplicate",
            BodyError::Denied(denied) => denied.code,
        }
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::Denied(_) => 403,
            _ => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::NotUtf8 { at } => {
                write!(f, "The request body is not UTF-8 at byte {at}.")
            }
            BodyError::NotJson { at, reason } => {
                write!(f, "The request body is not JSON near byte {at}: {reason}.")
            }
            BodyError::TooDeep => {
                write!(
                    f,
                    "The request body is nested deeper than {} levels.",
                    crate::text::DEPTH_MAX
                )
            }
            BodyError::NotForm { reason } => {
                write!(f, "The request body cannot be read as a form: {reason}.")
            }
            BodyError::NotObject => f.write_str("The request body must be a JSON object."),
            BodyError::Empty => f.write_str("This route needs a JSON request body."),
            BodyError::Unexpected => f.write_str("This route takes no request body."),
            BodyError::ModelMissing => {
                f.write_str("The request body must name its model in \"model\".")
            }
            BodyError::ModelNotString => f.write_str("\"model\" must be a string."),
            BodyError::ModelTooLong { bytes } => write!(
                f,
                "\"model\" has {bytes} bytes; at most {MODEL_BYTES_MAX} are taken."
            ),
            BodyError::PromptNotText { member } => write!(
                f,
                "\"{member}\" holds token ids or embeddings, which the guards on your requests \
                 cannot read; send the prompt as text."
            ),
            BodyError::DuplicateModel => {
                f.write_str("The request body has \"model\" more than once; send it once.")
            }
            BodyError::StreamNotBool => f.write_str("\"stream\" must be true or false."),
            BodyError::DuplicateStream => {
                f.write_str("The request body has \"stream\" more than once; send it once.")
            }
            BodyError::Denied(denied) => denied.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<JsonError> for BodyError {
    fn from(error: JsonError) -> BodyError {
        match error {
            JsonError::NotUtf8 { at } => BodyError::NotUtf8 { at },
            JsonError::NotJson { at, reason } => BodyError::NotJson { at, reason },
            JsonError::TooDeep => BodyError::TooDeep,
        }
    }
}
