//! `audio/transcriptions` and `audio/translations`: the double hears what the form's `prompt` says.
//!
//! The form is read on its own terms here, by plain search, so that a gateway's reading of it is
//! tested against another one.

use serde_json::json;

use super::ledger::Recorded;
use super::plan::Reply;

/// What is heard where the form has no prompt.
const HEARD: &str = "The gate stands where the river meets the old mill.";

/// The answer to a form with a file, a model and perhaps a prompt; else what is missing.
pub(super) fn answer(request: &Recorded) -> Result<Reply, &'static str> {
    let content_type = request.field("content-type").unwrap_or_default();
    let (_, boundary) = content_type
        .split_once("boundary=")
        .ok_or("the request is no form")?;
    let boundary = boundary.trim_matches('"');
    field(&request.body, boundary, "model").ok_or("the form names no model")?;
    let sound = field(&request.body, boundary, "file").ok_or("the form has no file")?;
    let prompt = field(&request.body, boundary, "prompt").map(String::from_utf8_lossy);
    let text = prompt.as_deref().unwrap_or(HEARD);
    let format = field(&request.body, boundary, "response_format");
    Ok(match format {
        Some(b"text") => Reply::whole(200, "text/plain; charset=utf-8", text.as_bytes().to_vec()),
        _ => {
            let seconds = sound.len() / 32_000;
            Reply::json(
                200,
                &json!({ "text": text, "usage": { "type": "duration", "seconds": seconds } }),
            )
        }
    })
}

/// The content of the part of that name.
fn field<'b>(body: &'b [u8], boundary: &str, name: &str) -> Option<&'b [u8]> {
    let delimiter = format!("--{boundary}");
    let wanted = format!("name=\"{name}\"");
    let mut rest = body;
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        rest = &rest[at + delimiter.len()..];
        let head_end = find(rest, b"\r\n\r\n")?;
        let end = find(rest, format!("\r\n{delimiter}").as_bytes())?;
        if find(&rest[..head_end], wanted.as_bytes()).is_some() {
            return rest.get(head_end + 4..end);
        }
    }
    None
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}
