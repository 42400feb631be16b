//! Prompts that come as numbers: token ids, or the embeddings that tokens become.
//!
//! Engines take them in place of text. A guard reads text, so behind token ids anything could pass;
//! the gateway has no tokenizer of the model to undo them. Where a guard looks at requests they are
//! refused, and elsewhere each counts as the one token that it is.

use super::BodyError;
use crate::profile::Operation;
use crate::text::{Doc, Kind};

/// The members in which engines take a prompt as token ids.
const ID_MEMBERS: [&str; 6] = [
    "prompt",
    "input",
    "input_ids",
    "token_ids",
    "prompt_token_ids",
    TOKENS,
];

/// Also what a tokenizer is asked to turn back into text; no model reads that.
const TOKENS: &str = "tokens";

/// The members in which engines take a prompt as embeddings.
const EMBEDS_MEMBERS: [&str; 2] = ["prompt_embeds", "input_embeds"];

/// How many token ids the prompt has; an error if it has any, or embeddings, and a guard looks.
pub(super) fn token_ids(
    doc: &Doc<'_>,
    operation: Operation,
    guarded: bool,
) -> Result<u64, BodyError> {
    let mut count = 0_u64;
    for member in doc.members(0) {
        let named = |names: &[&'static str]| names.iter().copied().find(|name| *name == member.key);
        if let Some(name) = named(&EMBEDS_MEMBERS) {
            if guarded && doc.kind(member.value) != Kind::Null {
                return Err(BodyError::PromptNotText { member: name });
            }
        } else if let Some(name) = named(&ID_MEMBERS) {
            let numbers = numbers(doc, member.value);
            let for_a_model = !(operation == Operation::Tokenize && name == TOKENS);
            if guarded && for_a_model && numbers > 0 {
                return Err(BodyError::PromptNotText { member: name });
            }
            count = count.saturating_add(numbers);
        }
    }
    Ok(count)
}

/// The numbers in an array and in the arrays in it, but not in objects: those are messages, whose
/// numbers are no text. Recursion is bounded by the depth of the document.
fn numbers(doc: &Doc<'_>, node: usize) -> u64 {
    let of = |element| match doc.kind(element) {
        Kind::Number => 1,
        Kind::Array { .. } => numbers(doc, element),
        _ => 0,
    };
    doc.elements(node).map(of).sum()
}
