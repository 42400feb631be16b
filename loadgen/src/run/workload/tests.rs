//! Requests as they go out: drawn, planted, addressed.

use serde_json::Value;

use super::*;

fn options(api: Api, source: Source) -> WorkloadOptions {
    WorkloadOptions {
        api,
        model: "m\"1".into(),
        stream: true,
        usage: true,
        extra_fields: String::new(),
        output: None,
        source,
        secrets_share: 0.0,
        secrets: Secrets::documented(0),
        disconnects_share: 0.0,
        disconnect_after: DisconnectAfter::Texts(1),
        new_connections_share: 0.0,
        identities: Identities::default(),
        seed: 9,
    }
}

fn workload(options: WorkloadOptions) -> Workload {
    Workload::new(options, "h", "/base", "x-a: b\r\n").unwrap()
}

fn synthetic(shared_prefix: f64) -> Source {
    Source::Synthetic {
        prompt: Lengths::fixed(20),
        shared_prefix,
        prefixes: 1,
    }
}

/// Head and body of the next request.
fn next(workload: &mut Workload, index: u64) -> (String, Value, Job) {
    let mut out = Vec::new();
    let job = workload.write(index, &mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.split("content-length: ").nth(1).unwrap();
    assert_eq!(length, body.len().to_string());
    (head.to_owned(), serde_json::from_str(body).unwrap(), job)
}

#[test]
fn each_api_gets_the_shape_it_knows() {
    for (api, text, length) in [
        (Api::Chat, "/messages/0/content", "max_tokens"),
        (Api::Completions, "/prompt", "max_tokens"),
        (Api::Responses, "/input", "max_output_tokens"),
        (Api::Messages, "/messages/0/content", "max_tokens"),
        (Api::Embeddings, "/input", "none"),
    ] {
        let mut options = options(api, Source::One(Prompt::text("say \"hi\"\n")));
        options.output = Some(Lengths::fixed(5));
        let (head, body, _) = next(&mut workload(options), 0);
        let line = format!("POST /base{} HTTP/1.1\r\nhost: h\r\n", api.path());
        assert!(
            head.starts_with(&line) && head.contains("\r\nx-a: b\r\n"),
            "{head}"
        );
        assert_eq!(head.contains("anthropic-version"), api == Api::Messages);
        assert_eq!(body["model"], "m\"1");
        assert_eq!(body.pointer(text).unwrap(), "say \"hi\"\n");
        assert_eq!(body["stream"].is_null(), api == Api::Embeddings);
        let asked = matches!(api, Api::Chat | Api::Completions);
        assert_eq!(body["stream_options"].is_object(), asked);
        assert_eq!(body[length].as_u64(), (api != Api::Embeddings).then_some(5));
    }
}

#[test]
fn synthetic_prompts_have_their_length_and_share_their_beginning() {
    let mut workload = workload(options(Api::Completions, synthetic(0.5)));
    let mut prompts = Vec::new();
    for index in 0..50 {
        let (_, body, _) = next(&mut workload, index);
        let prompt = body["prompt"].as_str().unwrap().to_owned();
        assert_eq!(prompt.split_whitespace().count(), 20);
        prompts.push(prompt);
    }
    let beginning = |prompt: &String, words: usize| {
        prompt
            .split_whitespace()
            .take(words)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(
        prompts
            .iter()
            .all(|prompt| beginning(prompt, 10) == beginning(&prompts[0], 10))
    );
    let mut eleven: Vec<_> = prompts.iter().map(|prompt| beginning(prompt, 11)).collect();
    eleven.sort();
    eleven.dedup();
    assert_eq!(
        eleven.len(),
        50,
        "the eleventh word is a prompt's own number"
    );
}

#[test]
fn shares_are_kept_and_the_seed_decides() {
    let made = || {
        let mut options = options(Api::Chat, synthetic(0.0));
        options.secrets_share = 0.2;
        options.disconnects_share = 0.1;
        options.new_connections_share = 0.5;
        options.identities = Identities::bearers(["a", "b", "c"]).unwrap();
        workload(options)
    };
    let mut workload = made();
    let (mut planted, mut hung_up, mut fresh, mut of_b) = (0, 0, 0, 0);
    for index in 0..2_000 {
        let (head, body, job) = next(&mut workload, index);
        let text = body["messages"][0]["content"].as_str().unwrap();
        let values = workload.secrets().values();
        let stands = |which: usize| text.contains(&values[which]);
        assert!(job.planted.is_none_or(stands), "{text}");
        planted += usize::from(job.planted.is_some());
        hung_up += usize::from(job.disconnect == Some(DisconnectAfter::Texts(1)));
        fresh += usize::from(job.new_connection);
        of_b += usize::from(head.contains("\r\nauthorization: Bearer b\r\n"));
        assert_eq!(job.identity == 1, head.contains("Bearer b"));
    }
    assert!(
        (340..460).contains(&planted) && (150..250).contains(&hung_up),
        "{planted} {hung_up}"
    );
    assert!(
        (900..1100).contains(&fresh) && (580..750).contains(&of_b),
        "{fresh} {of_b}"
    );
    let (mut one, mut other) = (made(), made());
    assert!((0..100).all(|index| next(&mut one, index) == next(&mut other, index)));
}

#[test]
fn traces_and_logs_bring_lengths_and_bodies() {
    let entry = |prompt, output| Entry {
        at_ns: 0,
        prompt_tokens: prompt,
        output_tokens: output,
    };
    let entries = Arc::from([entry(Some(7), Some(3)), entry(None, None)]);
    let source = Source::Traced(entries, Box::new(synthetic(0.0)));
    let mut traced = workload(options(Api::Chat, source));
    let words = |body: &Value| {
        let text = body["messages"][0]["content"].as_str().unwrap_or_default();
        text.split_whitespace().count()
    };
    let (_, body, _) = next(&mut traced, 0);
    assert_eq!((words(&body), body["max_tokens"].as_u64()), (7, Some(3)));
    let (_, body, _) = next(&mut traced, 1);
    assert_eq!((words(&body), body["max_tokens"].as_u64()), (20, None));

    let call = |request| Call { at_ns: 0, request };
    let calls = Arc::from([
        call(Some((Api::Messages, b"{\"a\":1}".to_vec()))),
        call(None),
    ]);
    let source = Source::Recorded(calls, Box::new(Source::One(Prompt::text("else"))));
    let mut recorded = workload(options(Api::Chat, source));
    let (head, body, job) = next(&mut recorded, 0);
    assert!(head.starts_with("POST /base/v1/messages ") && job.api == Api::Messages);
    assert_eq!(body, serde_json::json!({ "a": 1 }));
    assert_eq!(next(&mut recorded, 1).1["messages"][0]["content"], "else");
}

#[test]
fn secrets_go_into_texts_only() {
    let body = Prompt {
        said: files::Said::Body("{}".into()),
        output_tokens: None,
        api: None,
    };
    let mut options = options(Api::Chat, Source::One(body));
    options.secrets_share = 0.5;
    assert!(Workload::new(options, "h", "", "").is_err());
}
