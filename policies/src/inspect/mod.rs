//! The verdict on a request body: read whole, before one byte of it goes to the model.
//!
//! Every string, every key and every number of eight digits or more is a text of its own,
//! duplicates included, and is also read decoded ([`crate::lane`]). What this does not see: a value
//! cut in two over two strings, and a number that has fewer digits than that before its point or
//! exponent. Token ids are an encoding of the prompt itself, so they are refused where a guard
//! looks, see `prompt`; pictures and sound pass only where a grant names them, see `media`.

mod decode;
mod error;
mod form;
mod media;
mod multipart;
mod prompt;
mod recall;
mod role;
mod single;
mod tokens;

pub use decode::{CODINGS_MAX, DecodeBounds, DecodeError, RATIO_FREE_BYTES, decode_content};
pub use error::{BodyError, MODEL_BYTES_MAX};
pub use multipart::FORM_PARTS_MAX;
pub use single::TextVerdict;
pub use tokens::{CountedTokens, TokenCount};

use crate::mask::Vault;
use crate::policy::{Asked, Denied, Extent, Hold, MediaSet, PolicySet, Scope};
use crate::profile::{RequestBody, Route};
use crate::rule::Speaker;
use crate::text::{Doc, Edits, Kind, Parser, Role, is_protocol, render};
use crate::verdict::{Action, Finding, Findings};
use recall::{Known, Recall, Said};
use role::Roles;

/// What is decided about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestVerdict {
    /// The worst of the findings' actions.
    pub action: Action,
    /// What was found, without the values; at most [`crate::FINDINGS_MAX`], and as many of what
    /// only observes.
    pub findings: Vec<Finding>,
    /// The body to send on instead of the original; `None`: send the original, byte for byte.
    pub body: Option<Vec<u8>>,
    /// What was masked and is to be put back in the answer:
    /// [`ResponseFilter::restoring`](crate::ResponseFilter::restoring).
    pub vault: Vault,
    /// The model asked for, as the upstream will read it.
    pub model: Option<String>,
    /// Whether a stream was asked for, if the body says.
    pub stream: Option<bool>,
    /// Prompt length in tokens, and one for each token id: of all string values, by the model's
    /// tokenizer where a bound is set and one is known, otherwise their characters divided by four.
    pub prompt_tokens: u64,
    /// What must be approved before the request may go on; empty unless the action is to hold.
    pub holds: Vec<Hold>,
    /// What to write down instead of the body that goes on, where that has files in it: the same
    /// with each file's kind, length and digest in its place. Nobody has looked at a file, so it has
    /// no place in a log that is said to leak nothing.
    pub recorded: Option<Vec<u8>>,
    /// What is in it that no guard can read, and that passes because a grant says so.
    pub media: MediaSet,
}

/// What one core keeps from request to request: buffers, and which texts it has read before.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) parser: Parser,
    edits: Edits,
    recall: Option<Recall>,
}

// === impl Scratch ===

impl Scratch {
    /// One that knows about so many texts again which the same caller sends again, and does not read
    /// those a second time in which nothing was found. The key is secret, and drawn for this alone.
    /// Takes 22 to 43 bytes of memory for each; with none, as in [`Scratch::default`], every text is read.
    pub fn recalling(key: [u8; 16], texts: usize) -> Scratch {
        Scratch {
            recall: (texts > 0).then(|| Recall::new(key, texts)),
            ..Scratch::default()
        }
    }

    /// How many texts were known again since this was last asked.
    pub fn take_recalled(&mut self) -> u64 {
        self.recall.as_mut().map_or(0, Recall::take_recalled)
    }
}

// === impl RequestVerdict ===

impl RequestVerdict {
    fn allow() -> RequestVerdict {
        RequestVerdict {
            action: Action::Allow,
            findings: Vec::new(),
            body: None,
            vault: Vault::default(),
            model: None,
            stream: None,
            prompt_tokens: 0,
            holds: Vec::new(),
            recorded: None,
            media: MediaSet::NONE,
        }
    }
}

// === impl PolicySet ===

impl PolicySet {
    /// Inspects a whole, content-decoded request body.
    ///
    /// The caller asks `scope.may_operate` before it reads a body, and `scope.may_use` with the
    /// verdict's model afterwards. Bounds of the caller's grants are enforced here, because they
    /// need the text: [`BodyError::Denied`].
    pub fn inspect_request(
        &self,
        scope: &Scope,
        route: &Route,
        body: &[u8],
        scratch: &mut Scratch,
    ) -> Result<RequestVerdict, BodyError> {
        if route.body == RequestBody::Form {
            // A form is read with its content type: see `inspect_form`.
            return Err(BodyError::Unexpected);
        }
        if route.body == RequestBody::None {
            let empty = body.is_empty();
            return if empty {
                Ok(scope.hold(route, RequestVerdict::allow(), Vec::new()))
            } else {
                Err(BodyError::Unexpected)
            };
        }
        if scope.is_everything() {
            return Ok(RequestVerdict::allow());
        }
        if body.is_empty() && !route.names_model {
            return Ok(scope.hold(route, RequestVerdict::allow(), Vec::new()));
        }
        if body.is_empty() {
            return Err(BodyError::Empty);
        }
        let Scratch {
            parser,
            edits,
            recall,
        } = scratch;
        edits.clear();
        let known = Known {
            scope,
            recall: recall.as_mut(),
        };
        parser.with(body, |doc| inspect(known, route, doc, edits))?
    }
}

fn inspect(
    mut known: Known<'_>,
    route: &Route,
    doc: &Doc<'_>,
    edits: &mut Edits,
) -> Result<RequestVerdict, BodyError> {
    let scope = known.scope;
    let head = Head::read(doc)?;
    let mut findings = Findings::default();
    let mut extent = Extent::default();
    let mut seen = Findings::default();
    let (guarded, observed) = (scope.request(), scope.observed_request());
    extent.ids = prompt::token_ids(doc, route.operation, guarded.is_some())?;
    let media = media::in_prompt(doc);
    let asks = |(_, sieve): Asked<'_>| sieve.asks_for_roles();
    let by_role = guarded.is_some_and(asks) || observed.is_some_and(asks);
    let mut roles = by_role.then(|| Roles::read(doc));
    doc.walk(&mut |place, text| {
        if text.role == Role::String {
            extent.add(text.value);
        }
        if guarded.is_none() && observed.is_none() || is_protocol(place, &text) {
            return;
        }
        let location = || render(place.path, text.is_key());
        let speaker = roles
            .as_mut()
            .map_or(Speaker::User, |roles| roles.of(text.node));
        let said = |observed| Said {
            text: text.value,
            speaker,
            observed,
        };
        if let Some(asked) = observed {
            known.mask(asked, said(true), &mut seen, &location);
        }
        if let Some(asked) = guarded
            && let Some(masked) = known.mask(asked, said(false), &mut findings, &location)
        {
            edits.text(text.node, doc.span(text.node), masked);
        }
    });
    // The name that counts is the one that the upstream will read.
    let model = head.model.map(|node| {
        let original = doc.str(node).unwrap_or_default();
        edits
            .text_of(node)
            .map_or_else(|| original.to_owned(), |masked| masked.clone())
    });
    if let Some(bytes) = model.as_ref().map(String::len) {
        // Masking may have made it longer.
        within_model_bytes(bytes)?;
    }
    if route.names_model && model.is_none() {
        return Err(BodyError::ModelMissing);
    }
    let texts = |each: &mut dyn FnMut(&str)| tokens::strings(doc, each);
    let prompt_tokens = scope.count_tokens(route.operation, model.as_deref(), extent, texts);
    within_limits(
        scope,
        route,
        model.as_deref(),
        doc.raw().len() as u64,
        prompt_tokens,
    )?;
    within_media(scope, route, model.as_deref(), media)?;
    if observed.is_some() && guarded.is_none() {
        let readable = prompt::token_ids(doc, route.operation, true).map(|_| ());
        let granted = readable.and_then(|()| media_granted(scope, route, model.as_deref(), media));
        granted.unwrap_or_else(|error| seen.note(error.code()));
    }
    let action = findings.worst();
    let body = (!edits.is_empty() && action != Action::Block).then(|| {
        let mut body = Vec::with_capacity(doc.raw().len());
        edits.apply(doc.raw(), &mut body);
        body
    });
    let vault = std::mem::take(&mut findings.vault);
    let held = findings.take_held();
    let mut findings = findings.take();
    findings.extend(seen.take_observed());
    let verdict = RequestVerdict {
        holds: Vec::new(),
        vault,
        action,
        findings,
        body,
        model,
        stream: head.stream,
        prompt_tokens,
        recorded: None,
        media,
    };
    Ok(scope.hold(route, verdict, held))
}

/// What no guard can read passes only where no guard looks, or where a grant says so.
fn within_media(
    scope: &Scope,
    route: &Route,
    model: Option<&str>,
    media: MediaSet,
) -> Result<(), BodyError> {
    if !scope.guards_request() {
        return Ok(());
    }
    media_granted(scope, route, model, media)
}

fn media_granted(
    scope: &Scope,
    route: &Route,
    model: Option<&str>,
    media: MediaSet,
) -> Result<(), BodyError> {
    match media.first_beyond(scope.media(route.operation, model)) {
        None => Ok(()),
        Some(kind) => Err(BodyError::Denied(Denied {
            code: "media_not_permitted",
            message: format!(
                "The prompt has content of the kind \"{kind}\", which the guards on your requests \
                 cannot read and no grant of yours names. Send text, or ask the operator of this \
                 gateway for a grant with media = [\"{kind}\"]."
            ),
        })),
    }
}

fn within_limits(
    scope: &Scope,
    route: &Route,
    model: Option<&str>,
    bytes: u64,
    prompt_tokens: u64,
) -> Result<(), BodyError> {
    let limits = scope.limits(route.operation, model);
    if let Some(limit) = limits.body_bytes.filter(|limit| bytes > *limit) {
        return Err(BodyError::Denied(Denied {
            code: "body_over_grant",
            message: format!("The body has {bytes} bytes; your grant allows {limit}."),
        }));
    }
    if let Some(limit) = limits.prompt_tokens.filter(|limit| prompt_tokens > *limit) {
        return Err(BodyError::Denied(Denied {
            code: "prompt_over_grant",
            message: format!(
                "The prompt has about {prompt_tokens} tokens; your grant allows {limit}. Shorten \
                 it, or ask the operator of this gateway for a larger grant."
            ),
        }));
    }
    Ok(())
}

fn within_model_bytes(bytes: usize) -> Result<(), BodyError> {
    if bytes > MODEL_BYTES_MAX {
        return Err(BodyError::ModelTooLong { bytes });
    }
    Ok(())
}

/// The members that decide where a request goes. A second copy of one of them could be read
/// differently by the gateway and by the server behind it, so it is refused.
struct Head {
    model: Option<usize>,
    stream: Option<bool>,
}

impl Head {
    fn read(doc: &Doc<'_>) -> Result<Head, BodyError> {
        if !matches!(doc.kind(0), Kind::Object { .. }) {
            return Err(BodyError::NotObject);
        }
        let mut model = None;
        let mut stream = None;
        for member in doc.members(0) {
            match member.key {
                "model" if model.is_some() => return Err(BodyError::DuplicateModel),
                "model" => model = Some(member.value),
                "stream" if stream.is_some() => return Err(BodyError::DuplicateStream),
                "stream" => stream = Some(member.value),
                _ => {}
            }
        }
        let stream = match stream.map(|node| doc.kind(node)) {
            None | Some(Kind::Null) => None,
            Some(Kind::Bool(value)) => Some(value),
            Some(_) => return Err(BodyError::StreamNotBool),
        };
        match model.map(|node| (node, doc.kind(node))) {
            None | Some((_, Kind::Null)) => Ok(Head {
                model: None,
                stream,
            }),
            Some((node, Kind::String)) => {
                within_model_bytes(doc.str(node).map_or(0, str::len))?;
                Ok(Head {
                    model: Some(node),
                    stream,
                })
            }
            Some(_) => Err(BodyError::ModelNotString),
        }
    }
}
