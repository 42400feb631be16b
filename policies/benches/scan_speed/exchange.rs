//! What one call costs, without any I/O: its request, its answer, an event of its stream.

use std::hint::black_box;

use penstock_policies::{PolicySet, PolicySources, Profiles, Scope, Scratch};

use crate::{PROSE, time};

const POLICY: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "secrets"
direction = "both"
packs = ["secrets"]
action = "block"

[[guard]]
name = "personal data"
direction = "both"
packs = ["personal", "customer"]
action = "mask"

[[guard]]
name = "injection"
direction = "request"
packs = ["injection", "high-risk"]
action = "flag"
"#;

/// All that is done to one request and its answer, without any I/O.
pub(crate) fn measure() {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    std::fs::write(dir.path().join("main.toml"), POLICY).expect("the folder is new");
    let policy = PolicySet::load(&PolicySources {
        withheld: &[],
        dir: dir.path(),
        pseudonym_key: [7; 32],
    });
    let policy = policy.expect("the policy is valid");
    let scope = policy.scope(&["staff".to_owned()]);
    let route = Profiles::from_names(&["openai".to_owned()])
        .expect("is shipped")
        .resolve("POST", "/v1/chat/completions")
        .expect("is a route");
    let prose: String = PROSE.replace('"', "").chars().cycle().take(800).collect();
    let request = format!(
        r#"{{"model":"llama-3","messages":[{{"role":"system","content":"Be kind."}},{{"role":"user","content":"{prose}"}}],"temperature":0.7,"max_tokens":256,"stream":false}}"#
    );
    let answer = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"llama-3","choices":[{{"index":0,"message":{{"role":"assistant","content":"{prose}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":12}}}}"#
    );
    let events: Vec<String> = prose
        .split_inclusive(' ')
        .map(|word| {
            format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"llama-3\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n"
            )
        })
        .collect();
    let mut scratch = Scratch::default();
    let inspect = time(|| {
        let verdict = policy.inspect_request(&scope, &route, request.as_bytes(), &mut scratch);
        black_box(verdict.is_ok());
    });
    println!("nanoseconds an exchange, secrets blocked, personal data masked, injection flagged");
    println!("request of {:>5} bytes {inspect:>18.0}", request.len());
    let filter = |scope: &Scope, media: &str, pieces: &mut dyn Iterator<Item = &str>| {
        let mut filter = policy
            .response_filter(scope, &route, 200, Some(media))
            .expect("a media type of the route");
        let mut out = Vec::new();
        for piece in pieces {
            filter
                .push(piece.as_bytes(), &mut out)
                .expect("is well-formed");
        }
        filter.finish(&mut out).expect("is well-formed");
        black_box(out);
    };
    let whole = time(|| {
        filter(
            &scope,
            "application/json",
            &mut [answer.as_str()].into_iter(),
        )
    });
    println!("answer of {:>6} bytes {whole:>18.0}", answer.len());
    let pieces = || events.iter().map(String::as_str);
    let stream = time(|| filter(&scope, "text/event-stream", &mut pieces()));
    println!(
        "one event of a stream {:>17.0}",
        stream / events.len() as f64
    );
}
