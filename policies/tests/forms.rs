//! Forms and media: what is inspected, what a grant must name, what goes on and what is recorded.

mod support;

use penstock_policies::{Action, BodyError, Media, MediaSet, PolicySet, RequestVerdict, Scratch};
use support::{everyone, masked, policy, policy_of, route};

const TYPE: &str = "multipart/form-data; boundary=b0undary";

fn policy_with(media: &str) -> PolicySet {
    policy_of(&format!(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
media = [{media}]

[[guard]]
name = "test guard"
direction = "request"
packs = ["test"]
action = "mask"
"#
    ))
}

/// A form of fields, and of files with their media types.
fn form(fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let head = format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    for (file_name, media, content) in files {
        let head = format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"{file_name}\"\r\nContent-Type: {media}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--b0undary--\r\n");
    out
}

fn inspect(policy: &PolicySet, body: &[u8]) -> Result<RequestVerdict, BodyError> {
    let scope = policy.scope(&everyone());
    policy.inspect_form(&scope, &route("/v1/audio/transcriptions"), TYPE, body)
}

const SOUND: &[u8] = b"RIFF\x00\x01 CUST-12345678 \xff";

#[test]
fn fields_are_text_and_files_pass_as_they_are() {
    let policy = policy_with("\"audio\"");
    let fields = [
        ("model", "whisper-1"),
        ("prompt", "about CUST-12345678, please"),
    ];
    let verdict = inspect(&policy, &form(&fields, &[("a.wav", "audio/wav", SOUND)])).unwrap();
    assert_eq!(verdict.action, Action::Mask);
    assert_eq!(verdict.model.as_deref(), Some("whisper-1"));
    assert_eq!(
        verdict.findings.len(),
        1,
        "what is in the sound is not looked at"
    );
    assert_eq!(verdict.findings[0].location, "form.prompt");
    let text = masked("about CUST-12345678, please");
    let fields = [("model", "whisper-1"), ("prompt", text.as_str())];
    let expected = form(&fields, &[("a.wav", "audio/wav", SOUND)]);
    assert_eq!(verdict.body.as_deref(), Some(expected.as_slice()));
    assert_eq!(verdict.media, MediaSet::from_iter([Media::Audio]));
    let recorded = String::from_utf8(verdict.recorded.expect("has a file")).expect("is text");
    assert!(recorded.contains("bytes, blake3 ") && recorded.contains(&text));
    assert!(!recorded.contains("RIFF") && !recorded.contains("12345678"));
}

#[test]
fn names_of_files_and_fields_are_text_too() {
    let policy = policy_with("\"file\"");
    let fields = [("model", "m"), ("CUST-12345678", "x")];
    let body = form(
        &fields,
        &[("CUST-87654321.pdf", "application/pdf", b"%PDF")],
    );
    let verdict = inspect(&policy, &body).unwrap();
    assert_eq!(verdict.findings.len(), 2);
    let places: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| f.location.as_str())
        .collect();
    assert_eq!(places, ["form.*", "form.file"]);
    let body = String::from_utf8(verdict.body.unwrap()).unwrap();
    assert!(
        !body.contains("12345678") && !body.contains("87654321"),
        "{body}"
    );
}

#[test]
fn what_no_guard_can_read_needs_a_grant() {
    let sound = form(&[("model", "m")], &[("a.wav", "audio/wav", SOUND)]);
    for (media, passes) in [
        ("", false),
        ("\"image\"", false),
        ("\"image\", \"audio\"", true),
    ] {
        let verdict = inspect(&policy_with(media), &sound);
        match verdict {
            Ok(_) => assert!(passes, "{media}"),
            Err(error) => {
                assert!(!passes, "{media}");
                assert_eq!((error.status(), error.code()), (403, "media_not_permitted"));
                assert!(error.to_string().contains("\"audio\""), "{error}");
            }
        }
    }
    let unguarded =
        policy_of("[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n");
    assert!(inspect(&unguarded, &sound).is_ok(), "nobody looks");
}

#[test]
fn pictures_in_json_prompts_need_a_grant_too() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"what
        is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#;
    let body = body.replace('\n', " ");
    let chat = |policy: &PolicySet| {
        let scope = policy.scope(&everyone());
        let route = route("/v1/chat/completions");
        policy.inspect_request(&scope, &route, body.as_bytes(), &mut Scratch::default())
    };
    let error = chat(&policy("mask")).unwrap_err();
    assert_eq!(error.code(), "media_not_permitted");
    let verdict = chat(&policy_with("\"image\"")).unwrap();
    assert_eq!(verdict.media, MediaSet::from_iter([Media::Image]));
    assert_eq!(verdict.body, None, "and it goes on as it is");
}

#[test]
fn forms_that_could_be_read_in_two_ways_are_refused() {
    let policy = policy_with("\"audio\"");
    let cases = [
        (form(&[("prompt", "x")], &[]), "model_missing"),
        (
            form(&[("model", "a"), ("model", "b")], &[]),
            "model_duplicate",
        ),
        (
            form(&[("model", "a"), ("stream", "maybe")], &[]),
            "stream_not_bool",
        ),
        (
            form(
                &[("model", "a"), ("stream", "true"), ("stream", "false")],
                &[],
            ),
            "stream_duplicate",
        ),
        (form(&[("model", &"m".repeat(300))], &[]), "model_too_long"),
        (b"{\"model\":\"m\"}".to_vec(), "body_not_form"),
        (Vec::new(), "body_missing"),
    ];
    for (body, code) in cases {
        let error = inspect(&policy, &body).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().ends_with('.'), "{error}");
    }
    let mut broken = form(&[("model", "m"), ("prompt", "x")], &[]);
    let at = broken.iter().position(|byte| *byte == b'x').unwrap();
    broken[at] = 0xff;
    assert_eq!(
        inspect(&policy, &broken).unwrap_err().code(),
        "body_not_form"
    );
}
