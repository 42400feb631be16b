//! The words of the protocols themselves: the keys and enumerated values that the published APIs
//! define. A rule that matches one of them, say a rule on the word "message", must not take the
//! shape of a request or an answer apart.
//!
//! Only whole strings that are such a word are passed over, so nothing can hide in one; a key that
//! no API defines, or the same word inside a text, is inspected like everything else.

use super::{Place, Role, Step, Text};

/// A word list to be asked about every key and many values of every message: half of a small
/// answer's strings are the protocol's own. Words lie in the table itself, so that a question
/// touches one line of memory, which between two messages is seldom in the nearest cache.
struct Words {
    slots: [Word; SLOTS],
}

/// One of them, and how long it is; no word where that is 0.
#[derive(Clone, Copy)]
struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    length: u8,
}

/// The longest word that a list may have.
const WORD_BYTES_MAX: usize = 39;

/// Places of a table; a power of two, and four times as many as there are words, so that a word
/// is mostly at the first place where it is looked for.
const SLOTS: usize = 1024;

static KEY_WORDS: Words = Words::new(&KEYS);
static VALUE_WORDS: Words = Words::new(&VALUES);

/// Keys of the OpenAI, Anthropic, vLLM and NDJSON chat APIs; sorted.
#[rustfmt::skip] // a word list reads better filled than one word a line
const KEYS: [&str; 176] = [
    "accepted_prediction_tokens", "annotations", "arguments", "audio", "audio_tokens", "background",
    "best_of", "bytes", "cache_control", "cache_creation", "cache_creation_input_tokens",
    "cache_read_input_tokens", "cache_write_tokens", "cached_tokens", "call_id", "choices", "code",
    "completed_at", "completion_tokens", "completion_tokens_details", "container", "content",
    "content_block", "content_index", "continuous_usage_stats", "conversation", "created",
    "created_at", "created_by", "ctx", "data", "delta", "description", "detail", "details",
    "dimensions", "display_name", "done", "done_reason", "echo", "effort", "embedding",
    "embeddings", "encoding_format", "error", "eval_count", "eval_duration", "file", "file_id",
    "finish_reason", "first_id", "frequency_penalty", "function", "guided_json", "has_more", "id",
    "image", "image_url", "include_usage", "incomplete_details", "index", "input", "input_schema",
    "input_tokens", "input_tokens_details", "instructions", "is_error", "item", "item_id",
    "json_schema", "kv_transfer_params", "last_id", "list", "load_duration", "loc", "logit_bias",
    "logprob", "logprobs", "max_completion_tokens", "max_model_len", "max_output_tokens",
    "max_tokens", "max_tool_calls", "media_type", "message", "messages", "metadata", "min_p",
    "modalities", "model", "msg", "n", "name", "obfuscation", "object", "output", "output_index",
    "output_tokens", "output_tokens_details", "owned_by", "parallel_tool_calls", "param",
    "parameters", "parent", "part", "permission", "presence_penalty", "previous_response_id",
    "prompt", "prompt_eval_count", "prompt_eval_duration", "prompt_logprobs", "prompt_token_ids",
    "prompt_tokens", "prompt_tokens_details", "properties", "reasoning", "reasoning_content",
    "reasoning_tokens", "refusal", "rejected_prediction_tokens", "repetition_penalty", "request_id",
    "required", "response", "response_format", "response_id", "role", "root", "schema", "seed",
    "sequence_number", "server_tool_use", "service_tier", "signature", "source", "status", "stop",
    "stop_details", "stop_reason", "stop_sequence", "stop_sequences", "stop_token_ids", "store",
    "stream", "stream_options", "strict", "suffix", "summary", "summary_index", "system",
    "system_fingerprint", "temperature", "text", "text_offset", "thinking", "thinking_delta",
    "token", "token_ids", "token_logprobs", "tokens", "tool_call_id", "tool_calls", "tool_choice",
    "tool_use_id", "tools", "top_k", "top_logprobs", "top_p", "total_duration", "total_tokens",
    "truncation", "type", "url", "usage", "user",
];

/// What those APIs enumerate; sorted.
#[rustfmt::skip] // a word list reads better filled than one word a line
const VALUES: [&str; 100] = [
    "api_error", "assistant", "authentication_error", "auto", "base64", "cancelled",
    "chat.completion", "chat.completion.chunk", "completed", "content_block_delta",
    "content_block_start", "content_block_stop", "content_filter", "default", "developer",
    "disabled", "embedding", "enabled", "end_turn", "error", "failed", "file", "float", "function",
    "function_call", "image_url", "in_progress", "incomplete", "input_file", "input_image",
    "input_json_delta", "input_text", "invalid_request_error", "json_object", "json_schema",
    "length", "list", "max_output_tokens", "max_tokens", "message", "message_delta",
    "message_start", "message_stop", "model", "none", "not_found_error", "output_text",
    "output_text.delta", "overloaded_error", "pause_turn", "permission_error", "ping", "priority",
    "queued", "rate_limit_error", "reasoning", "reasoning_text", "redacted_thinking", "refusal",
    "required", "response", "response.completed", "response.content_part.added",
    "response.content_part.done", "response.created", "response.failed",
    "response.function_call_arguments.delta", "response.function_call_arguments.done",
    "response.in_progress", "response.incomplete", "response.output_item.added",
    "response.output_item.done", "response.output_text.annotation.added",
    "response.output_text.delta", "response.output_text.done", "response.queued",
    "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
    "response.reasoning_text.delta", "response.reasoning_text.done", "response.refusal.delta",
    "response.refusal.done", "server_error", "signature_delta", "standard", "stop", "stop_sequence",
    "summary_text", "system", "text", "text_completion", "text_delta", "thinking", "thinking_delta",
    "tool", "tool_calls", "tool_use", "user",
];

/// Most digits of a clock: seconds of an era, nanoseconds of a quarter of an hour. No card and no
/// account number is as short as that.
const CLOCK_DIGITS_MAX: usize = 12;

// === impl Words ===

impl Words {
    const fn new(words: &[&str]) -> Words {
        assert!(words.len() * 4 <= SLOTS);
        let none = Word {
            bytes: [0; WORD_BYTES_MAX],
            length: 0,
        };
        let mut slots = [none; SLOTS];
        let mut index = 0;
        while index < words.len() {
            let word = words[index].as_bytes();
            let mut place = Words::place(word);
            while slots[place].length > 0 {
                place = (place + 1) % SLOTS;
            }
            let (first, _) = slots[place].bytes.split_at_mut(word.len());
            first.copy_from_slice(word);
            slots[place].length = word.len() as u8;
            index += 1;
        }
        Words { slots }
    }

    /// Where a word is looked for first: told by its length, its ends and its middle.
    const fn place(word: &[u8]) -> usize {
        let length = word.len();
        if length == 0 {
            return 0;
        }
        let letters = [
            word[0],
            word[length / 2],
            word[length - 1],
            word[length / 4],
        ];
        let mixed = u32::from_le_bytes(letters).wrapping_mul(0x9E37_79B1);
        ((mixed >> 20) as usize ^ (length * 37)) % SLOTS
    }

    #[inline]
    fn contains(&self, word: &str) -> bool {
        let word = word.as_bytes();
        let mut place = Words::place(word);
        loop {
            let slot = &self.slots[place];
            match usize::from(slot.length) {
                0 => return false,
                length if length == word.len() && slot.bytes[..length] == *word => return true,
                _ => place = (place + 1) % SLOTS,
            }
        }
    }
}

/// Whether this text is the protocol speaking, and not a person, a program or a model.
pub(crate) fn is_protocol(place: &Place<'_, '_>, text: &Text<'_>) -> bool {
    match text.role {
        Role::Key => KEY_WORDS.contains(text.value),
        Role::Number => is_clock(place, text.value),
        Role::String => {
            let key = place.path.last();
            matches!(key, Some(Step::Key(key)) if is_enumerated(key))
                && VALUE_WORDS.contains(text.value)
        }
    }
}

/// Whether a number is the time at which, or for which, an engine worked.
fn is_clock(place: &Place<'_, '_>, digits: &str) -> bool {
    let Some((Step::Key(key), above)) = place.path.split_last() else {
        return false;
    };
    let in_envelope = above.iter().all(|step| match step {
        Step::Key(key) => has_clocks(key),
        Step::Index(_) => true,
    });
    digits.len() <= CLOCK_DIGITS_MAX && is_clock_key(key) && in_envelope
}

/// Whether the values of this key are enumerated.
fn is_enumerated(key: &str) -> bool {
    matches!(
        key,
        "done_reason"
            | "encoding_format"
            | "finish_reason"
            | "object"
            | "reason"
            | "role"
            | "service_tier"
            | "status"
            | "stop_reason"
            | "tool_choice"
            | "type"
    )
}

/// Whether this is the key of a clock that engines stamp on their answers.
fn is_clock_key(key: &str) -> bool {
    matches!(
        key,
        "completed_at"
            | "created"
            | "created_at"
            | "eval_duration"
            | "expires_at"
            | "load_duration"
            | "prompt_eval_duration"
            | "total_duration"
    )
}

/// Whether an object of this name has clocks, as the document itself has.
fn has_clocks(key: &str) -> bool {
    matches!(key, "data" | "permission" | "response")
}

#[cfg(test)]
mod tests {
    use super::super::Parser;
    use super::*;

    /// The strings of `raw` that are not the protocol's own.
    fn spoken(raw: &str) -> Vec<String> {
        let mut found = Vec::new();
        let read = Parser::default().with(raw.as_bytes(), |doc| {
            doc.walk(&mut |place, text| {
                if !is_protocol(place, &text) {
                    found.push(text.value.to_owned());
                }
            });
        });
        read.expect("the test's own JSON");
        found
    }

    #[test]
    fn the_lists_are_sorted() {
        for words in [&KEYS[..], &VALUES[..]] {
            assert!(words.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn tables_have_their_words_and_no_others() {
        for (table, words) in [(&KEY_WORDS, &KEYS[..]), (&VALUE_WORDS, &VALUES[..])] {
            for word in words {
                assert!(table.contains(word), "{word}");
                let (shorter, longer) = (word[1..].to_owned(), format!("{word}s"));
                for other in [shorter, longer, word.to_uppercase(), format!("{word}\0")] {
                    assert_eq!(table.contains(&other), words.contains(&&*other), "{other}");
                }
            }
            assert!(!table.contains("") && !table.contains(&"x".repeat(300)));
        }
        let asked = |word: &&str| {
            let home = Words::place(word.as_bytes());
            KEY_WORDS.slots[home].bytes[..word.len()] == *word.as_bytes()
        };
        let at_home = KEYS.iter().filter(|word| asked(word)).count();
        assert!(at_home * 10 > KEYS.len() * 8, "{at_home} of {}", KEYS.len());
    }

    #[test]
    fn the_shape_of_an_answer_is_passed_over_and_what_it_says_is_not() {
        let raw = r#"{"object":"chat.completion","choices":[{"message":{"role":"assistant",
            "content":"message"},"finish_reason":"stop"}],"model":"m","note":"stop"}"#;
        assert_eq!(spoken(raw), ["message", "m", "note", "stop"]);
        assert_eq!(spoken(r#"{"type":"stop it"}"#), ["stop it"]);
        assert_eq!(
            spoken(r#"{"messages ":1,"Message":2}"#),
            ["messages ", "Message"]
        );
    }

    #[test]
    fn the_clocks_of_an_envelope_are_passed_over_and_no_other_number_is() {
        let raw = r#"{"created":1700000000,"response":{"created_at":1700000001},
            "data":[{"created":1700000002}],"total_duration":123456789012,
            "seed":1700000003,"input":{"created":1700000004},"created":4111111111111111}"#;
        let long: Vec<String> = spoken(raw)
            .into_iter()
            .filter(|text| text.len() > 8)
            .collect();
        assert_eq!(long, ["1700000003", "1700000004", "4111111111111111"]);
    }
}
