//! The verdict on a form: its fields are text, its files are governed by policy.
//!
//! Forms are how sound and pictures come to a model's server. A field is inspected like a string of
//! a JSON body, and so are the names of fields and files. A file is never called inspected: it
//! passes only where a grant names its kind, and what it begins with must not be a model's weights.

use std::borrow::Cow;

use super::multipart::{Form, WrittenPart};
use super::{
    BodyError, RequestVerdict, media_granted, within_limits, within_media, within_model_bytes,
};
use crate::policy::{Extent, Media, MediaSet, PolicySet, Scope};
use crate::profile::Route;
use crate::rule::Speaker;
use crate::verdict::{Action, Findings};

/// Longest name of a field that a location shows.
const SHOWN_BYTES_MAX: usize = 32;

// === impl PolicySet ===

impl PolicySet {
    /// Inspects a whole, content-decoded form. `content_type` is the field's whole value.
    ///
    /// Like [`PolicySet::inspect_request`], with one difference: a form is always written anew.
    pub fn inspect_form(
        &self,
        scope: &Scope,
        route: &Route,
        content_type: &str,
        body: &[u8],
    ) -> Result<RequestVerdict, BodyError> {
        if scope.is_everything() {
            return Ok(RequestVerdict::allow());
        }
        if body.is_empty() {
            return Err(BodyError::Empty);
        }
        let form =
            Form::read(content_type, body).map_err(|reason| BodyError::NotForm { reason })?;
        let head = Head::read(&form)?;
        let (mut findings, mut seen) = (Findings::default(), Findings::default());
        let mut extent = Extent::default();
        let mut media = MediaSet::NONE;
        let mut parts = Vec::with_capacity(form.parts.len());
        let mut model = head.model.map(str::to_owned);
        for part in &form.parts {
            let mut written = WrittenPart::from(part);
            let location = || location(part.name);
            let mut mask = |text: &mut Cow<'_, str>| {
                if let Some((engine, sieve)) = scope.observed_request() {
                    engine.mask_as(sieve, Speaker::User, text, &mut seen, &location);
                }
                let (engine, sieve) = scope.request()?;
                let masked =
                    engine.mask_as(sieve, Speaker::User, text, &mut findings, &location)?;
                *text = Cow::Owned(masked);
                Some(())
            };
            mask(&mut written.name);
            if let Some(file_name) = &mut written.file_name {
                mask(file_name);
            }
            if part.is_text() {
                let text =
                    std::str::from_utf8(part.content).map_err(|error| BodyError::NotForm {
                        reason: not_utf8(error),
                    })?;
                extent.add(text);
                let mut text = Cow::Borrowed(text);
                if mask(&mut text).is_some() {
                    if part.name == "model" {
                        model = Some(text.to_string());
                    }
                    written.content = Cow::Owned(text.into_owned().into_bytes());
                }
            } else {
                if let Some((_, sieve)) = scope.request() {
                    sieve.measure_file(part.content, &mut findings, &location);
                }
                if let Some((_, sieve)) = scope.observed_request() {
                    sieve.measure_file(part.content, &mut seen, &location);
                }
                media.insert(part.media_type.map_or(Media::File, Media::of_type));
            }
            parts.push(written);
        }
        if let Some(model) = &model {
            within_model_bytes(model.len())?;
        }
        if route.names_model && model.is_none() {
            return Err(BodyError::ModelMissing);
        }
        let texts = |each: &mut dyn FnMut(&str)| form.texts(each);
        let prompt_tokens = scope.count_tokens(route.operation, model.as_deref(), extent, texts);
        within_limits(
            scope,
            route,
            model.as_deref(),
            body.len() as u64,
            prompt_tokens,
        )?;
        within_media(scope, route, model.as_deref(), media)?;
        if scope.observes_request() && !scope.guards_request() {
            let granted = media_granted(scope, route, model.as_deref(), media);
            granted.unwrap_or_else(|error| seen.note(error.code()));
        }
        let action = findings.worst();
        let write = |parts: &[WrittenPart<'_>]| {
            let mut out = Vec::with_capacity(body.len() + 64);
            Form::write(parts, form.boundary(), &mut out);
            out
        };
        let passes = action != Action::Block;
        let written = passes.then(|| write(&parts));
        let recorded = (passes && !media.is_empty()).then(|| {
            for (part, read) in parts.iter_mut().zip(&form.parts) {
                if !read.is_text() {
                    part.content = Cow::Owned(digest(read.content).into_bytes());
                }
            }
            write(&parts)
        });
        let vault = std::mem::take(&mut findings.vault);
        let held = findings.take_held();
        let mut findings = findings.take();
        findings.extend(seen.take_observed());
        let verdict = RequestVerdict {
            holds: Vec::new(),
            action,
            findings,
            vault,
            body: written,
            recorded,
            model,
            stream: head.stream,
            prompt_tokens,
            media,
        };
        Ok(scope.hold(route, verdict, held))
    }
}

/// What stands for a file in the record.
fn digest(content: &[u8]) -> String {
    let hash = blake3::hash(content).to_hex();
    format!("[{} bytes, blake3 {hash}]", content.len())
}

/// A field's place in words that are safe to log: its name may be the secret itself.
fn location(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'[' | b']');
    let shown = name.len() <= SHOWN_BYTES_MAX && name.bytes().all(plain);
    format!("form.{}", if shown { name } else { "*" })
}

fn not_utf8(_: std::str::Utf8Error) -> &'static str {
    "a field of text is not UTF-8"
}

/// The fields that decide where a request goes; a second one could be read by the server behind.
pub(super) struct Head<'b> {
    pub(super) model: Option<&'b str>,
    stream: Option<bool>,
}

impl<'b> Head<'b> {
    pub(super) fn read(form: &Form<'b>) -> Result<Head<'b>, BodyError> {
        let model = only(
            form,
            "model",
            BodyError::DuplicateModel,
            BodyError::ModelNotString,
        )?;
        let stream = only(
            form,
            "stream",
            BodyError::DuplicateStream,
            BodyError::StreamNotBool,
        )?;
        let stream = match stream {
            None => None,
            Some("true" | "True" | "1") => Some(true),
            Some("false" | "False" | "0") => Some(false),
            Some(_) => return Err(BodyError::StreamNotBool),
        };
        Ok(Head { model, stream })
    }
}

/// The text of the one field of that name.
fn only<'b>(
    form: &Form<'b>,
    name: &str,
    twice: BodyError,
    no_text: BodyError,
) -> Result<Option<&'b str>, BodyError> {
    let mut named = form.parts.iter().filter(|part| part.name == name);
    let (Some(part), rest) = (named.next(), named.next()) else {
        return Ok(None);
    };
    if rest.is_some() {
        return Err(twice);
    }
    match std::str::from_utf8(part.content) {
        Ok(text) if part.is_text() => Ok(Some(text)),
        _ => Err(no_text),
    }
}
