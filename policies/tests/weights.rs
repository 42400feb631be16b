//! Weights and opaque runs: stopped wherever text goes, told early in a stream, and nothing else.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use penstock_policies::{Action, FilterError, PolicySet, Scratch};
use serde_json::{Value, json};
use support::{Style, everyone, load, policy_of, route, run, write};

const STYLE: Style = Style {
    newline: "\n",
    ascii: false,
    done: false,
};

fn policy_with(guard: &str) -> PolicySet {
    policy_of(&format!(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer", "embed"]
media = ["audio", "image", "file"]

[[guard]]
name = "weights stay here"
direction = "both"
{guard}
"#
    ))
}

fn guarded() -> PolicySet {
    policy_with("weights = true\nopaque_bytes = 4096\naction = \"block\"")
}

/// Bytes without any pattern, the same ones each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// The first bytes of files of each format, with noise behind.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let header = br#"{"model.embed_tokens.weight":{"dtype":"BF16","shape":[1,2]}}"#;
    let mut safetensors = (header.len() as u64).to_le_bytes().to_vec();
    safetensors.extend_from_slice(header);
    let mut zip = b"PK\x03\x04\x00\x00\x08\x08\x00\x00".to_vec();
    zip.extend_from_slice(&[0; 16]);
    zip.extend_from_slice(&[0x10, 0, 0, 0]);
    zip.extend_from_slice(b"archive/data.pkl");
    let mut all = vec![
        (
            "weights-gguf",
            b"GGUF\x03\x00\x00\x00\x23\x01\x00\x00".to_vec(),
        ),
        ("weights-safetensors", safetensors),
        (
            "weights-numpy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', ".to_vec(),
        ),
        (
            "weights-pickle",
            b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94(".to_vec(),
        ),
        ("weights-pytorch-zip", zip),
    ];
    for (_, file) in &mut all {
        file.extend(noise(600));
    }
    all
}

fn answer(text: &str) -> Value {
    json!({"id": "c", "object": "chat.completion", "model": "m", "choices":
        [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
}

fn blocked_by(result: Result<Vec<u8>, FilterError>) -> String {
    match result {
        Err(FilterError::Blocked(finding)) => finding.rule.to_string(),
        other => panic!("passed: {other:?}"),
    }
}

#[test]
fn every_format_is_stopped_in_a_whole_answer_and_in_a_request() {
    let policy = guarded();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (rule, file) in files() {
        let wrapped: Vec<String> = STANDARD
            .encode(&file)
            .as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        for text in [
            STANDARD.encode(&file),
            URL_SAFE_NO_PAD.encode(&file),
            hex(&file),
            format!("Here it is:\n{}\nDone.", wrapped.join("\n")),
        ] {
            let body = answer(&text).to_string();
            let found = blocked_by(run(&policy, "application/json", &[body.as_bytes()]));
            assert_eq!(found, rule, "{}", &text[..40]);
            let scope = policy.scope(&everyone());
            let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
            let verdict = policy.inspect_request(
                &scope,
                &route("/v1/chat/completions"),
                body.to_string().as_bytes(),
                &mut Scratch::default(),
            );
            let verdict = verdict.expect("is a request");
            assert_eq!(verdict.action, Action::Block);
            assert_eq!(&*verdict.findings[0].rule, rule);
        }
    }
}

#[test]
fn a_stream_of_weights_ends_in_its_first_kilobyte() {
    let policy = guarded();
    for (rule, file) in files() {
        let text = STANDARD.encode([file, noise(100_000)].concat());
        for piece in [3, 7, 64, 1000] {
            let events: Vec<Value> = text
                .as_bytes()
                .chunks(piece)
                .map(|piece| {
                    let piece = std::str::from_utf8(piece).unwrap();
                    json!({"object": "chat.completion.chunk", "choices":
                        [{"index": 0, "delta": {"content": piece}}]})
                })
                .collect();
            let scope = policy.scope(&everyone());
            let mut filter = support::filter(&policy, &scope, "text/event-stream");
            let mut out = Vec::new();
            let result = events.iter().try_for_each(|event| {
                filter.push(
                    STYLE.stream(std::slice::from_ref(event)).as_bytes(),
                    &mut out,
                )
            });
            assert_eq!(blocked_by(result.map(|()| out.clone())), rule);
            let sent = support::texts(&support::read_events(&out));
            let sent: usize = sent.values().map(String::len).sum();
            assert!(
                sent < 1024,
                "{rule} in pieces of {piece}: {sent} characters were sent"
            );
        }
    }
}

#[test]
fn a_long_run_that_is_no_text_is_stopped_and_shorter_ones_are_not() {
    let policy = guarded();
    let stream = |text: &str| {
        run(
            &policy,
            "application/json",
            &[answer(text).to_string().as_bytes()],
        )
    };
    assert_eq!(
        blocked_by(stream(&STANDARD.encode(noise(4000)))),
        "opaque-run"
    );
    assert!(stream(&STANDARD.encode(noise(2000))).is_ok());
    let unbounded = policy_with("weights = true\naction = \"block\"");
    let body = answer(&STANDARD.encode(noise(40_000))).to_string();
    assert!(run(&unbounded, "application/json", &[body.as_bytes()]).is_ok());
}

#[test]
fn what_people_and_programs_write_is_no_run() {
    let policy = guarded();
    let prose = "The gate stands where the river meets the old mill. ".repeat(400);
    let picture = [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR".to_vec(), noise(9000)].concat();
    for text in [
        prose.clone(),
        STANDARD.encode(&prose),
        "-".repeat(9000),
        "=".repeat(9000),
        "ACGT".repeat(3000),
        "a_long_identifier_of_a_program::".repeat(300),
        STANDARD.encode(picture),
        "水门立在河与老磨坊相会之处。".repeat(300),
    ] {
        let body = answer(&text).to_string();
        let out = run(&policy, "application/json", &[body.as_bytes()]);
        assert_eq!(out.as_deref(), Ok(body.as_bytes()), "{}", &text[..28]);
    }
}

#[test]
fn embeddings_are_what_was_asked_for() {
    let policy = guarded();
    let scope = policy.scope(&everyone());
    let body = json!({"object": "list", "data": [{"embedding": STANDARD.encode(noise(12_000))}]});
    let mut filter = policy
        .response_filter(
            &scope,
            &route("/v1/embeddings"),
            200,
            Some("application/json"),
        )
        .unwrap();
    let mut out = Vec::new();
    filter.push(body.to_string().as_bytes(), &mut out).unwrap();
    filter.finish(&mut out).unwrap();
    assert_eq!(out, body.to_string().into_bytes());
}

#[test]
fn a_file_of_a_form_is_told_by_its_beginning() {
    let policy = guarded();
    let scope = policy.scope(&everyone());
    for (rule, file) in files() {
        let mut body = b"--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
            .to_vec();
        body.extend_from_slice(&file);
        body.extend_from_slice(b"\r\n--B--\r\n");
        let route = route("/v1/audio/transcriptions");
        let verdict = policy
            .inspect_form(&scope, &route, "multipart/form-data; boundary=B", &body)
            .expect("is a form");
        assert_eq!((verdict.action, verdict.body), (Action::Block, None));
        assert_eq!(&*verdict.findings[0].rule, rule);
    }
}

#[test]
fn a_guard_on_weights_cannot_mask_and_needs_a_sane_bound() {
    let errors = |guard: &str| {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[[guard]]\nname = \"g\"\ndirection = \"response\"\n{guard}\n");
        write(dir.path(), "main.toml", &text);
        load(dir.path())
            .err()
            .map(|errors| errors.join("\n"))
            .unwrap_or_default()
    };
    assert!(errors("weights = true\naction = \"mask\"").contains("main.toml:5"));
    assert!(errors("opaque_bytes = 20\naction = \"block\"").contains("at least 256"));
    assert!(errors("action = \"block\"").contains("stop weights"));
    assert_eq!(errors("weights = true\naction = \"block\""), "");
}
