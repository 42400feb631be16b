//! Forms: what the model's server gets of one, and what the record keeps of its files.

use penstock_loadgen::client::{Call, Response};
use penstock_recorder::frame::ControlState;

use crate::stack::{POLICY, Stack};
use crate::witness::{close_of, code};

const SOUND: &[u8] = b"RIFF\x00\x01\x02\xff\r\n--not the boundary";

fn form(fields: &[(&str, &str)], sound: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.extend_from_slice(
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    out.extend_from_slice(
        b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
          Content-Type: audio/wav\r\n\r\n",
    );
    out.extend_from_slice(sound);
    out.extend_from_slice(b"\r\n--B--\r\n");
    out
}

/// The default policy with one more grant of everything to the same groups, sound included.
fn hearing() -> Stack {
    Stack::with(|setup| {
        setup.policy = format!(
            "{POLICY}\n[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\
             media = [\"audio\"]\n"
        );
    })
}

fn transcribe(stack: &Stack, body: Vec<u8>) -> Response {
    let call = Call::new("POST", "/v1/audio/transcriptions")
        .field("content-type", "multipart/form-data; boundary=B")
        .body(body);
    stack.call(call)
}

fn secret() -> String {
    ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat()
}

#[test]
fn a_form_is_written_anew_and_its_file_is_not_kept() {
    let stack = hearing();
    let fields = [("model", "whisper"), ("prompt", "names: Dana, Łukasz")];
    let body = form(&fields, SOUND);
    let answer = transcribe(&stack, body.clone());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json()["text"], "names: Dana, Łukasz");
    let request = stack.double.requests().pop().expect("it arrived");
    assert_eq!(request.body, body, "every byte of the file too");

    let session = stack.session_of(&answer);
    let (media, recorded) = session.request_body();
    assert!(media.starts_with("multipart/form-data"), "{media}");
    let recorded = String::from_utf8(recorded).expect("a record without the file is text");
    assert!(recorded.contains("names: Dana"), "{recorded}");
    assert!(recorded.contains(&format!("[{} bytes, blake3 ", SOUND.len())));
    let skipped = close_of(&session)
        .controls
        .iter()
        .any(|control| control.name == "inspect audio" && control.state == ControlState::Skipped);
    assert!(skipped, "the record says that nobody looked into the sound");
}

#[test]
fn a_field_of_a_form_is_inspected_like_any_text() {
    let stack = hearing();
    let secret = secret();
    let answer = transcribe(
        &stack,
        form(&[("model", "whisper"), ("prompt", &secret)], SOUND),
    );
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (403, "request_blocked")
    );
    assert!(
        answer.text().contains("in form.prompt (bytes "),
        "{}",
        answer.text()
    );
    assert_eq!(stack.double.counters().requests, 0);
    stack.assert_never_written(&[&secret]);
}

#[test]
fn sound_needs_a_grant() {
    let stack = Stack::start();
    let answer = transcribe(&stack, form(&[("model", "whisper")], SOUND));
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (403, "media_not_permitted")
    );
    let json = Call::new("POST", "/v1/audio/transcriptions")
        .field("content-type", "application/json")
        .body("{\"model\":\"whisper\"}");
    let answer = stack.call(json);
    assert_eq!(answer.status(), 415);
    assert!(
        answer.text().contains("multipart/form-data"),
        "{}",
        answer.text()
    );
    assert_eq!(stack.double.counters().requests, 0);
}
