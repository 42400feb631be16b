//! Penstock's policies: who may do what, and what may be said.
//!
//! Pure by design: bytes and an identity's groups go in, a decision and bytes come out. There are
//! no sockets here, no clock, no threads and no global state, so everything can be tested at every
//! split and replayed from a record.
//!
//! The way of a request: [`Profiles::resolve`] names its route, [`PolicySet::scope`] what its
//! caller may do, [`PolicySet::inspect_request`] what is to become of its body. The way of its
//! response: [`PolicySet::response_filter`] gives a filter that takes the upstream's bytes as they
//! come and gives back those that the client may have.
//!
//! | room | what happens there |
//! | --- | --- |
//! | [`rule`] | rules and packs: parsed, checked, shipped |
//! | [`scan`] | rules compiled into one scanner |
//! | [`prefilter`] | where in a text something may begin: the vectorised first look |
//! | [`mask`] | replacing matches, in whole texts and in texts that arrive in pieces |
//! | [`lane`] | text in other clothes: encodings undone, weights told from text |
//! | `policy` | the operator's files, compiled; scopes of callers |
//! | `profile` | routes of inference servers |
//! | `text` | strings of JSON documents, and their replacement in place |
//! | `inspect` | verdicts on requests; content codings |
//! | `respond` | responses: JSON, event streams, plain text; the gateway's own errors |

pub mod lane;
pub mod mask;
pub mod prefilter;
pub mod rule;
pub mod scan;

mod inspect;
mod policy;
mod profile;
mod respond;
mod text;
mod verdict;

pub use inspect::{
    BodyError, CODINGS_MAX, CountedTokens, DecodeBounds, DecodeError, FORM_PARTS_MAX,
    MODEL_BYTES_MAX, RATIO_FREE_BYTES, RequestVerdict, Scratch, TextVerdict, TokenCount,
    decode_content,
};
pub use policy::{
    Approvers, Covers, Denied, Glob, GuardSummary, Hold, HoldCause, Import, Library, Limits,
    ListedGrant, ListedGuard, Manner, Media, MediaSet, Observes, PolicyError, PolicyFiles,
    PolicySet, PolicySources, PolicyText, Replacement, Scope, Summary,
};
pub use profile::{Dialect, Endpoint, Operation, Profiles, RequestBody, Route, UnknownProfile};
pub use respond::{
    CHANNELS_MAX, EVENT_BYTES_MAX, FilterError, RESPONSE_BYTES_MAX, ResponseFilter,
    ResponseRefusal, error_body, error_event,
};
pub use rule::Confidence;
pub use rule::ExampleFailure;
pub use scan::Lane;
pub use text::DEPTH_MAX;
pub use verdict::{Action, Direction, FINDINGS_MAX, Finding};
