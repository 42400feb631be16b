//! Media in JSON prompts: the parts of a message's content that are no text.
//!
//! They are told by the `type` of a content part, or by the member that carries the data, as the
//! OpenAI, Anthropic, vLLM and Ollama APIs name them. A part whose type is not known passes as the
//! strings that it is made of, which are inspected; base64 in it shows as a run that is no text.

use crate::policy::{Media, MediaSet};
use crate::text::{Doc, Kind};

/// Types of content parts, with what they carry; sorted.
const TYPES: [(&str, Media); 14] = [
    ("audio", Media::Audio),
    ("audio_embeds", Media::Audio),
    ("audio_url", Media::Audio),
    ("document", Media::File),
    ("file", Media::File),
    ("image", Media::Image),
    ("image_embeds", Media::Image),
    ("image_pil", Media::Image),
    ("image_url", Media::Image),
    ("input_audio", Media::Audio),
    ("input_file", Media::File),
    ("input_image", Media::Image),
    ("video", Media::Video),
    ("video_url", Media::Video),
];

/// Members that carry media in a part whatever its type is; sorted.
const MEMBERS: [(&str, Media); 11] = [
    ("audio_embeds", Media::Audio),
    ("audio_url", Media::Audio),
    ("file_data", Media::File),
    ("file_id", Media::Remote),
    ("file_url", Media::Remote),
    ("image_embeds", Media::Image),
    ("image_pil", Media::Image),
    ("image_url", Media::Image),
    ("images", Media::Image),
    ("input_audio", Media::Audio),
    ("video_url", Media::Video),
];

/// Where prompts are, at the top of a body.
const PROMPTS: [&str; 7] = [
    "content",
    "documents",
    "images",
    "input",
    "messages",
    "prompt",
    "system",
];

/// Deepest nesting at which a part is looked for: a tool's result within a message's content.
const DEPTH_MAX: usize = 8;

/// The kinds of media in a prompt.
pub(super) fn in_prompt(doc: &Doc<'_>) -> MediaSet {
    let mut found = MediaSet::NONE;
    for member in doc.members(0) {
        match member.key {
            "multi_modal_data" | "mm_processor_kwargs" if !is_null(doc, member.value) => {
                found.insert(Media::File);
            }
            "images" if !is_empty(doc, member.value) => found.insert(Media::Image),
            key if PROMPTS.contains(&key) => look(doc, member.value, 0, &mut found),
            _ => {}
        }
    }
    found
}

/// Looks at a message, a part, or an array of them.
fn look(doc: &Doc<'_>, node: usize, depth: usize, found: &mut MediaSet) {
    if depth > DEPTH_MAX {
        return;
    }
    for element in doc.elements(node) {
        look(doc, element, depth + 1, found);
    }
    if !matches!(doc.kind(node), Kind::Object { .. }) {
        return;
    }
    let mut kind = None;
    let mut refers = false;
    let mut text_source = false;
    for member in doc.members(node) {
        match member.key {
            "type" => kind = doc.str(member.value).and_then(|name| named(&TYPES, name)),
            // Anthropic: a document may be plain text, and is inspected then.
            "source" => {
                let source = |key| doc.member(member.value, key).and_then(|at| doc.str(at));
                text_source = source("type") == Some("text");
                refers |= matches!(source("type"), Some("url" | "file"));
            }
            "content" | "output" | "parts" | "input" => {
                look(doc, member.value, depth + 1, found);
            }
            key => {
                if let Some(media) = named(&MEMBERS, key)
                    && !is_empty(doc, member.value)
                {
                    found.insert(media);
                    refers |= is_reference(doc, member.value);
                }
            }
        }
    }
    if let Some(media) = kind.filter(|_| !text_source) {
        found.insert(media);
    }
    if refers {
        found.insert(Media::Remote);
    }
}

fn named(names: &[(&str, Media)], name: &str) -> Option<Media> {
    let found = names.binary_search_by_key(&name, |(known, _)| known);
    found.ok().map(|index| names[index].1)
}

/// Is this a URL that the server would fetch, or an object with one?
fn is_reference(doc: &Doc<'_>, node: usize) -> bool {
    let url = match doc.kind(node) {
        Kind::String => doc.str(node),
        Kind::Object { .. } => doc.member(node, "url").and_then(|at| doc.str(at)),
        _ => None,
    };
    url.is_some_and(|url| !url.trim_start().to_ascii_lowercase().starts_with("data:"))
}

fn is_null(doc: &Doc<'_>, node: usize) -> bool {
    doc.kind(node) == Kind::Null
}

fn is_empty(doc: &Doc<'_>, node: usize) -> bool {
    match doc.kind(node) {
        Kind::Null | Kind::Array { empty: true } | Kind::Object { empty: true } => true,
        Kind::String => doc.str(node).is_some_and(str::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Parser;

    fn kinds(body: &str) -> Vec<&'static str> {
        let mut parser = Parser::default();
        let found = parser.with(body.as_bytes(), in_prompt);
        let found = found.expect("the test's own JSON");
        found.iter().map(Media::as_str).collect()
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(TYPES.is_sorted_by_key(|(name, _)| *name));
        assert!(MEMBERS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn text_is_no_media() {
        for body in [
            r#"{"prompt":"image_url"}"#,
            r#"{"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"messages":[{"content":[{"type":"text","text":"image_url"}]}]}"#,
            r#"{"tools":[{"function":{"parameters":{"properties":{"image_url":{"type":"image"}}}}}]}"#,
            r#"{"audio":{"voice":"alloy"},"messages":[]}"#,
            r#"{"messages":[{"content":[{"type":"document","source":{"type":"text","data":"x"}}]}]}"#,
            r#"{"messages":[{"content":"x","images":[]}]}"#,
        ] {
            assert_eq!(kinds(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn media_of_every_api_is_seen() {
        let part = |part: &str| format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
        let cases = [
            (
                part(r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}"#),
                vec!["image"],
            ),
            (
                part(r#"{"image_url":"https://h/x.png"}"#),
                vec!["image", "remote"],
            ),
            (
                part(r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#),
                vec!["audio"],
            ),
            (
                part(r#"{"type":"video_url","video_url":{"url":"file:///etc/x"}}"#),
                vec!["video", "remote"],
            ),
            (
                part(r#"{"type":"image","source":{"type":"base64","data":"AA"}}"#),
                vec!["image"],
            ),
            (
                part(r#"{"type":"document","source":{"type":"url","url":"https://h/x.pdf"}}"#),
                vec!["file", "remote"],
            ),
            (
                part(
                    r#"{"type":"tool_result","content":[{"type":"image","source":{"type":"base64"}}]}"#,
                ),
                vec!["image"],
            ),
            (
                r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#
                    .to_owned(),
                vec!["file", "remote"],
            ),
            (
                r#"{"messages":[{"role":"user","content":"x","images":["AA"]}]}"#.to_owned(),
                vec!["image"],
            ),
            (
                r#"{"prompt":"x","images":["AA"]}"#.to_owned(),
                vec!["image"],
            ),
            (
                r#"{"prompt":"x","multi_modal_data":{"image":"AA"}}"#.to_owned(),
                vec!["file"],
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(kinds(&body), expected, "{body}");
        }
    }
}
