//! Asking before it counts: `explain` tells what would become of one request, `policy-diff` what
//! would have become of those on record; both say what the running gateway does.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use penstock_loadgen::client::Call;
use serde_json::{Value, json};

use crate::approvals::{ROLES, approve, chat, decide, ticket, with_approval};
use crate::approvals_wait::begin;
use crate::stack::{MODEL, POLICY, Stack, chat_body};
use crate::witness::{code, request_id, scripted_chat};

fn gateway(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway's program runs");
    let mut stdin = child.stdin.take().expect("its input");
    // It may end without reading all of it.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn explain(stack: &Stack, more: &[&str], request: &[u8]) -> (Option<i32>, String) {
    let config = stack.path("gateway.toml");
    let config = config.to_str().expect("a UTF-8 path");
    let mut arguments = vec!["explain", "--config", config, "--request", "-"];
    arguments.extend(more);
    let output = gateway(&arguments, request);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), format!("{said}{error}"))
}

fn explained(stack: &Stack, more: &[&str], request: &[u8]) -> (Option<i32>, Value) {
    let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    let (exit, said) = explain(stack, &more, request);
    let value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (exit, value)
}

fn secret() -> String {
    ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat()
}

const ALICE: [&str; 4] = ["--subject", "alice", "--groups", "engineers"];

#[test]
fn what_is_explained_is_what_happens() {
    let stack = Stack::unrecorded();
    let secret = secret();
    for body in [
        chat_body("hello", false),
        chat_body(&format!("my key is {secret}"), false),
        json!({"model": "other", "messages": []}).to_string(),
        json!({"messages": []}).to_string(),
        "{\"model\":".to_owned(),
        json!({"model": MODEL, "prompt": [1, 2]}).to_string(),
        json!({"model": MODEL, "messages": [{"content": [{"type": "image_url", "image_url": "data:,"}]}]})
            .to_string(),
    ] {
        let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
        let (exit, said) = explained(&stack, &ALICE, body.as_bytes());
        if answer.status() == 200 {
            assert_eq!((exit, &said["outcome"]), (Some(0), &json!("passes")), "{said}");
            assert_eq!(said["model_gets"], body);
            continue;
        }
        assert_eq!((exit, &said["outcome"]), (Some(1), &json!("refused")), "{said}");
        assert_eq!(said["refusal"]["code"], code(&answer));
        assert_eq!(said["refusal"]["status"], answer.status());
        // The very error, but for the call's own name.
        let mut own: Value = serde_json::from_str(said["caller_gets"].as_str().expect("a body"))
            .expect("JSON");
        let mut theirs = answer.json();
        own["request_id"] = Value::Null;
        theirs["request_id"] = Value::Null;
        assert_eq!(own, theirs);
        assert!(!said.to_string().contains(&secret));
    }
    let (_, said) = explained(&stack, &ALICE, chat_body("hello", false).as_bytes());
    assert_eq!(said["policy_version"], stack.status()["policy_version"]);
    assert_eq!(said["granted_by"], json!(["main.toml:2"]));
    assert_eq!(
        (&said["operation"], &said["subject"]),
        (&json!("infer"), &json!("alice"))
    );
    let (exit, said) = explained(
        &stack,
        &["--groups", "sales"],
        chat_body("x", false).as_bytes(),
    );
    assert_eq!(
        (exit, &said["refusal"]["code"]),
        (Some(1), &json!("operation_not_permitted"))
    );
}

#[test]
fn people_read_which_rule_where_and_how_it_was_read() {
    let stack = Stack::unrecorded();
    let secret = secret();
    let hidden: String = secret
        .bytes()
        .map(|byte| format!("\\\\x{byte:02x}"))
        .collect();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\nContent-Type: application/json\n\n\
         {{\"model\":\"{MODEL}\",\"messages\":[{{\"content\":\"use {hidden} now\"}}]}}"
    );
    let (exit, said) = explain(&stack, &ALICE, request.as_bytes());
    assert_eq!(exit, Some(1), "{said}");
    for part in [
        "route         /v1/chat/completions → infer (openai)",
        "caller        alice, groups engineers",
        "granted by    main.toml:2",
        "request block: rule aws-access-key-id (guard \"no secrets in\") at messages[0].content [4..84], \
         escaped lane, high confidence: 80 bytes (--show shows them)",
        "what happens  refused: 403 request_blocked; the model receives nothing",
        "control       inspect request: ran",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let plain = chat_body(&format!("use {secret} now"), false);
    assert!(
        !explain(&stack, &ALICE, plain.as_bytes())
            .1
            .contains(&secret)
    );
    let shown = [&ALICE[..], &["--show"]].concat();
    assert!(
        explain(&stack, &shown, plain.as_bytes())
            .1
            .contains(&secret)
    );
}

#[test]
fn what_would_be_held_says_who_is_asked() {
    let stack = crate::approvals::stack(|_| {});
    let body = chat_body("hello", false);
    let (exit, said) = explained(&stack, &ALICE, body.as_bytes());
    assert_eq!(
        (exit, &said["outcome"]),
        (Some(1), &json!("held")),
        "{said}"
    );
    assert_eq!(said["refusal"]["code"], "approval_required");
    let (_, said) = explain(&stack, &ALICE, body.as_bytes());
    let what = "what happens  held: asks 1 of security (\"ask first\": the operation is \"infer\"); \
                until then the model receives nothing";
    assert!(said.contains(what), "{said}");
}

#[test]
fn answers_and_streams_are_explained_too() {
    let stack = Stack::unrecorded();
    let file = stack.path("answer");
    let path = file.to_str().expect("a UTF-8 path");
    let with = [&ALICE[..], &["--response", path]].concat();
    let body = chat_body("hello", true);
    let event = |text: &str| {
        format!(
            "data: {}\n\n",
            json!({"choices": [{"index": 0, "delta": {"content": text}}]})
        )
    };
    fs::write(
        &file,
        format!("{}{}", event("order CUST-1234"), event("5678 is ready")),
    )
    .expect("written");
    let (exit, said) = explained(&stack, &with, body.as_bytes());
    assert_eq!(
        (exit, &said["outcome"]),
        (Some(0), &json!("passes")),
        "{said}"
    );
    let gets = said["caller_gets"].as_str().expect("a stream");
    assert!(
        gets.contains("<customer:") && !gets.contains("5678"),
        "{gets}"
    );
    assert_eq!(said["found"][0]["verdict"], "mask");
    assert_eq!(said["found"][0]["direction"], "response");
    fs::write(&file, "HTTP/1.1 200 OK\nContent-Type: image/png\n\n\u{1}").expect("written");
    let (exit, said) = explained(&stack, &with, body.as_bytes());
    assert_eq!(
        (exit, &said["outcome"]),
        (Some(1), &json!("stopped")),
        "{said}"
    );
}

#[test]
fn claims_are_read_as_their_issuer_is_configured() {
    let stack = Stack::unrecorded();
    let file = stack.path("claims.json");
    let path = file.to_str().expect("a UTF-8 path");
    let claims = |audience: &str| json!({"iss": stack.issuer.url(), "aud": audience, "sub": "bob", "groups": ["engineers"], "exp": 4_000_000_000_u64});
    fs::write(&file, claims("penstock").to_string()).expect("written");
    let body = chat_body("hello", false);
    let (exit, said) = explained(&stack, &["--token-claims", path], body.as_bytes());
    assert_eq!((exit, &said["subject"]), (Some(0), &json!("bob")), "{said}");
    fs::write(&file, claims("other").to_string()).expect("written");
    let (exit, said) = explain(&stack, &["--token-claims", path], body.as_bytes());
    assert_eq!(exit, Some(1));
    assert!(said.contains("refused: 401 wrong_audience"), "{said}");
    // What cannot be explained is another exit code.
    for more in [
        &["--token-claims", "/no/such/file"][..],
        &["--response", "/no/such/file"],
    ] {
        assert_eq!(explain(&stack, more, body.as_bytes()).0, Some(2));
    }
    assert_eq!(explain(&stack, &["--fly"], body.as_bytes()).0, Some(2));
}

/// Lines of `policy-diff --json`: differences by session, and the sums.
fn differences(stack: &Stack, policy: &str) -> (Option<i32>, Vec<Value>, Value) {
    let candidate = stack.path("candidate.toml");
    fs::write(&candidate, policy).expect("written");
    let (log, candidate) = (stack.segments(), candidate);
    let paths = [
        log.to_str().expect("UTF-8"),
        candidate.to_str().expect("UTF-8"),
    ];
    let output = gateway(
        &[
            "policy-diff",
            "--json",
            "--log",
            paths[0],
            "--candidate",
            paths[1],
        ],
        b"",
    );
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let sums = lines
        .pop()
        .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), lines, sums)
}

#[test]
fn a_log_tells_what_other_policies_would_have_done() {
    let stack = Stack::start();
    let hello = stack.chat("hello, is jane@example.com there?");
    let blocked = stack.chat(&format!("my key is {}", secret()));
    let body = scripted_chat(
        &json!({"text": "order CUST-12345678 is ready", "split": "chars:5"}),
        true,
    );
    let masked = stack.call(Call::post("/v1/chat/completions", &body));
    let stranger = stack.issuer.token("mallory", &["sales"]);
    let refused = stack.post(
        &stranger,
        "/v1/chat/completions",
        &chat_body("hello", false),
    );
    let unknown = stack.post("x", "/v1/chat/completions", &chat_body("hello", false));
    for answer in [&hello, &blocked, &masked, &refused, &unknown] {
        stack.session_of(answer);
    }

    let (exit, lines, sums) = differences(&stack, POLICY);
    assert_eq!((exit, lines.len()), (Some(0), 0), "{lines:?}");
    assert_eq!(
        (&sums["sums"]["exchanges"], &sums["sums"]["same"]),
        (&json!(5), &json!(5))
    );
    assert!(
        sums["limits"]
            .as_str()
            .expect("said")
            .contains("A value that was masked is not in it")
    );

    let other = POLICY
        .replace(
            "groups = [\"engineers\"]",
            "groups = [\"engineers\", \"sales\"]",
        )
        .replace(
            "packs = [\"secrets\"]\naction",
            "rules = [\"email-address\"]\naction",
        )
        .replace("\"personal\", \"customer\"", "\"personal\"");
    let (exit, lines, sums) = differences(&stack, &other);
    assert_eq!(exit, Some(1));
    let change = |answer| {
        let id = request_id(answer);
        let line = lines.iter().find(|line| line["session"] == id.as_str());
        line.map(|line| {
            (
                line["change"].clone(),
                line["because"].as_str().unwrap_or_default().to_owned(),
            )
        })
    };
    let (what, why) = change(&hello).expect("it is told");
    assert_eq!(what, "stopped");
    assert!(
        why.contains("request_blocked: guard \"no secrets in\", rule email-address"),
        "{why}"
    );
    let (what, why) = change(&blocked).expect("it is told");
    assert_eq!(what, "not_stopped");
    assert!(
        why.contains("aws-access-key-id") && why.contains("not on record"),
        "{why}"
    );
    let (what, why) = change(&masked).expect("it is told");
    assert_eq!(what, "masked_less");
    assert!(why.contains("rule customer-id"), "{why}");
    let (what, why) = change(&refused).expect("it is told");
    assert_eq!(
        (what, why.as_str()),
        (
            json!("not_stopped"),
            "the operation \"infer\" would be granted"
        )
    );
    assert_eq!(change(&unknown), None);
    assert_eq!(sums["sums"]["same"], 1);

    // What was masked is not on record, and is known all the same to be blocked by then.
    let harder = POLICY.replace("action = \"mask\"", "action = \"block\"");
    let (_, lines, _) = differences(&stack, &harder);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["change"], &lines[0]["then"]),
        (&json!("stopped"), &json!("200"))
    );
    // Text for people, and what cannot be read.
    let (log, candidate) = (stack.segments(), stack.path("candidate.toml"));
    let [log, candidate] = [&log, &candidate].map(|path| path.to_str().expect("UTF-8"));
    let said = gateway(
        &["policy-diff", "--log", log, "--candidate", candidate],
        b"",
    );
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    assert!(
        said.contains(
            "200 → would be stopped: guard \"personal data out\" would block on rule customer-id"
        ),
        "{said}"
    );
    assert!(said.contains("5 exchanges under policy"), "{said}");
    let failed = gateway(
        &["policy-diff", "--log", "/no/such", "--candidate", candidate],
        b"",
    );
    assert_eq!(failed.status.code(), Some(2));
}

/// What asks about weights, and about prompts of more tokens than these.
const ASKING: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "ask first"
direction = "request"
rules = ["weight-export"]
action = "hold"
approvers = { groups = ["security"] }

[[hold]]
name = "long ones"
operations = ["infer"]
prompt_tokens = 1000
approvers = { groups = ["security"] }
"#;

/// A log with every way in which a held request can have ended, and one that nothing held; the
/// sessions, by name.
fn asked_about(stack: &Stack) -> Vec<(&'static str, String)> {
    let mut made = Vec::new();
    let weights = || chat("please export the model weights to my bucket");
    made.push(("plain", request_id(&stack.call(chat("hello")))));
    let asked = stack.call(weights());
    let id = ticket(&asked);
    made.push(("asked", request_id(&asked)));
    approve(stack, &id);
    let used = || stack.call(with_approval(weights(), &id));
    let passed = used();
    assert_eq!(passed.status(), 200, "{}", passed.text());
    made.push(("approved", request_id(&passed)));
    // Its record has the first use, too.
    let again = used();
    assert_eq!(code(&again), "approval_used");
    made.push(("used", request_id(&again)));
    let id = ticket(&stack.call(weights()));
    decide(stack, &id, "deny", "sam", &["security"]);
    let denied = stack.call(with_approval(weights(), &id));
    assert_eq!(code(&denied), "approval_denied");
    made.push(("denied", request_id(&denied)));
    let long = stack.call(chat(&"word ".repeat(2000)));
    ticket(&long);
    made.push(("long", request_id(&long)));
    // A stream that waited; its head was sent before the model was asked.
    let answer = json!({"text": "order CUST-12345678 is ready", "split": "chars:5"});
    let mut body = scripted_chat(&answer, true);
    let system = json!({"role": "system", "content": "dump all your weights"});
    let messages = body["messages"].as_array_mut().expect("messages");
    messages.insert(0, system);
    let call = Call::post("/v1/chat/completions", &body).field("prefer", "wait=60");
    let (mut connection, id) = begin(stack, call);
    let head = connection.read_head().expect("a head");
    approve(stack, &id);
    while connection.next_event().expect("it goes on").is_some() {}
    made.push((
        "waited",
        head.field("x-request-id").expect("an id").to_owned(),
    ));
    // A header field is not on record at all.
    let noted = || chat("hi").field("x-note", "dump all your weights");
    let id = ticket(&stack.call(noted()));
    approve(stack, &id);
    let passed = stack.call(with_approval(noted(), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    made.push(("noted", request_id(&passed)));
    for (_, session) in &made {
        stack.session(session);
    }
    made
}

#[test]
fn being_held_is_an_outcome_of_its_own_then_and_now() {
    let stack = Stack::with(|setup| {
        setup.policy = ASKING.to_owned();
        setup.control = ROLES.to_owned();
    });
    let made = asked_about(&stack);
    let told = |policy: &str| {
        let (exit, lines, sums) = differences(&stack, policy);
        let change = |session: &str| {
            let line = lines.iter().find(|line| line["session"] == session)?;
            line["change"].as_str().map(str::to_owned)
        };
        let changes: Vec<(&str, String)> = made
            .iter()
            .filter_map(|(name, session)| change(session).map(|it| (*name, it)))
            .collect();
        (exit, changes, sums["sums"].clone(), lines)
    };
    let all = |names: &[&'static str], change: &str| -> Vec<(&'static str, String)> {
        names
            .iter()
            .map(|name| (*name, change.to_owned()))
            .collect()
    };
    let (exit, changes, sums, lines) = told(ASKING);
    assert_eq!((exit, changes), (Some(0), Vec::new()), "{lines:?}");
    assert_eq!(
        (&sums["was_approved"], &sums["was_held"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(
        (&sums["exchanges"], &sums["same"]),
        (&json!(10), &json!(10))
    );

    // Nobody is asked about anything any more.
    let free = &ASKING[..ASKING.find("[[guard]]").expect("a guard")];
    let (exit, changes, _, lines) = told(free);
    let held = [
        "asked", "approved", "used", "denied", "long", "waited", "noted",
    ];
    assert_eq!(
        (exit, changes),
        (Some(1), all(&held, "not_held")),
        "{lines:?}"
    );
    let because = lines[0]["because"].as_str().expect("a reason");
    assert!(
        because.contains("ask first: rule \"weight-export\" matched in messages[0].content"),
        "{because}"
    );
    // Only about long ones: how long those were of which nothing is on record, nobody knows.
    let long = &ASKING[ASKING.find("[[hold]]").expect("a hold")..];
    let (_, changes, _, lines) = told(&format!("{free}{long}"));
    let names = ["asked", "approved", "used", "denied", "waited", "noted"];
    let what = [
        "untold", "not_held", "untold", "untold", "not_held", "not_held",
    ];
    let expected: Vec<_> = names.into_iter().zip(what.map(str::to_owned)).collect();
    assert_eq!(changes, expected, "{lines:?}");
    // Weights are blocked.
    let weights = ["asked", "approved", "used", "denied", "waited", "noted"];
    let harder = ASKING.replace(
        "\"hold\"\napprovers = { groups = [\"security\"] }",
        "\"block\"",
    );
    assert_eq!(told(&harder).1, all(&weights, "stopped"));
    // Only the prompts of another length are asked about.
    let longer = ASKING.replace("1000", "100000");
    assert_eq!(told(&longer).1, all(&["long"], "not_held"));
    let shorter = ASKING.replace("1000", "500");
    assert_eq!(told(&shorter).1, []);
    // All are, and answers are masked.
    let every = ASKING.replace("prompt_tokens = 1000\n", "");
    assert_eq!(told(&every).1, all(&["plain"], "held"));
    let masking = format!(
        "{ASKING}\n[[guard]]\nname = \"out\"\ndirection = \"response\"\npacks = [\"customer\"]\n\
         action = \"mask\"\n"
    );
    assert_eq!(told(&masking).1, all(&["waited"], "masked_more"));

    // For people.
    let candidate = stack.path("candidate.toml");
    let log = stack.segments();
    let text = |policy: &str| {
        fs::write(&candidate, policy).expect("written");
        let [log, candidate] = [&log, &candidate].map(|path| path.to_str().expect("UTF-8"));
        let said = gateway(
            &["policy-diff", "--log", log, "--candidate", candidate],
            b"",
        );
        String::from_utf8(said.stdout).expect("UTF-8")
    };
    let (free, every) = (text(free), text(&every));
    println!("{free}\n{every}");
    for part in [
        "  alice  200 after approval → would not be held: what held it would not: ask first: rule",
        "  alice  held, 403 approval_denied → would not be held: ",
        "       9 were held and would not be for what held them",
        "Of all, 3 were held and went on with approval, 6 were held and did not go on.",
    ] {
        assert!(free.contains(part), "{part:?} is not in\n{free}");
    }
    let part = "  alice  200 → would be held: it would need approval by 1 of security (\"long ones\": \
                the operation is \"infer\")";
    assert!(every.contains(part), "{part:?} is not in\n{every}");
}
