//! Notices on their way to a receiving server that notes every byte: what arrives, and what becomes
//! of what does not.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;

use super::receiving::{Does, Got, Receiving, serve};
use super::*;
use crate::notify::{Caller, Event, HeldBy};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn notice(approval: &str) -> Notice {
    Notice {
        approval: approval.to_owned(),
        event: Event::Requested,
        at_unix: 1_790_000_000,
        caller: Caller {
            issuer: "https://corp.example".to_owned(),
            subject: "ada <b>\"}".to_owned(),
        },
        model: Some("llama-3-8b".to_owned()),
        operation: "infer".to_owned(),
        holds: vec![HeldBy {
            name: "ask first".to_owned(),
            cause: "rule weight-export".to_owned(),
            groups: vec!["security".to_owned()],
            quorum: 2,
        }],
        excerpt: Some("copy\nthe weights".to_owned()),
        url: Some("https://gate.example/approvals/a1".to_owned()),
        expires_unix: 1_790_001_800,
        by: Vec::new(),
        reason: None,
    }
}

/// The secret of tests, made here so that none stands anywhere.
fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

/// HMAC-SHA256 as RFC 2104 defines it: what a receiver does who knows nothing of this program.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let digest =
        |parts: [&[u8]; 2]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parts.concat());
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = digest([&block.map(|byte| byte ^ 0x36), message]);
    STANDARD.encode(digest([&block.map(|byte| byte ^ 0x5c), inner.as_ref()]))
}

fn sections(text: &str, folder: &Path) -> Vec<NotifyConfig> {
    #[derive(serde::Deserialize)]
    struct Sections {
        notify: Vec<NotifyConfig>,
    }
    let Sections { mut notify } = toml::from_str(text).unwrap();
    notify.iter_mut().for_each(|it| it.resolve_paths(folder));
    notify
}

/// The issuer of everybody here.
fn issuers() -> [(String, String); 1] {
    [("corp".to_owned(), "https://corp.example".to_owned())]
}

const QUICK: &str = "timeout = \"5s\"\nretry_first = \"20ms\"\nretry_max = \"50ms\"\n";

fn webhook(name: &str, url: &str) -> String {
    format!(
        "[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\n\
         secret_file = \"secret\"\n{QUICK}"
    )
}

/// A folder with a secret.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), secret(7)).unwrap();
    folder
}

async fn started(text: &str, folder: &Path) -> Notifier {
    let notifier = Notifier::new(&sections(text, folder), &issuers()).unwrap();
    let state = State::open(&folder.join("state.db")).await.unwrap();
    notifier.load(&state).await.unwrap();
    notifier.run();
    notifier
}

/// Writes it down as if it were told of a change that is.
async fn tell(notifier: &Notifier, notice: Notice) {
    let addressed = notifier.address([notice]);
    let state = notifier.state().unwrap();
    state.tell(addressed.rows()).await.unwrap();
    notifier.posted(addressed);
}

async fn rows(notifier: &Notifier, standing: Standing) -> Vec<Delivery> {
    let filter = DeliveryFilter {
        standing: Some(standing),
        receiver: None,
    };
    notifier.page(&filter, "", 1000).await.unwrap()
}

async fn wait_for_rows(notifier: &Notifier, standing: Standing, count: usize) -> Vec<Delivery> {
    let began = Instant::now();
    loop {
        let found = rows(notifier, standing).await;
        if found.len() == count {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{standing:?}: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_webhook_gets_exactly_this_and_can_check_it() {
    run(async {
        let server = Receiving::start(&[Does::Answer(200)]).await;
        let folder = folder();
        let two = format!("{}\n{}\n", secret(9), secret(7));
        std::fs::write(folder.path().join("secret"), two).unwrap();
        let notifier = started(&webhook("hook", &server.url), folder.path()).await;
        tell(&notifier, notice("a1")).await;
        let got = server.wait_for(1).await.remove(0);
        assert_eq!(got.line, "POST /hook/s3cret HTTP/1.1");
        let expected = r#"{"type":"approval.requested","timestamp":"2026-09-21T14:13:20Z","data":{"approval":"a1","event":"requested","at":"2026-09-21T14:13:20Z","caller":{"issuer":"https://corp.example","subject":"ada <b>\"}"},"model":"llama-3-8b","operation":"infer","holds":[{"name":"ask first","cause":"rule weight-export","groups":["security"],"quorum":2}],"excerpt":"copy\nthe weights","url":"https://gate.example/approvals/a1","expires":"2026-09-21T14:43:20Z","by":[],"reason":null}}"#;
        assert_eq!(got.body, expected);
        assert_eq!(got.field("content-type"), "application/json");
        assert_eq!(got.field("webhook-id"), "a1_requested_hook");
        let timestamp: u64 = got.field("webhook-timestamp").parse().unwrap();
        assert!(timestamp.abs_diff(now_ms() / 1000) < 60);
        let signed = format!("a1_requested_hook.{timestamp}.{}", got.body);
        let by = |byte: u8| format!("v1,{}", hmac(&[byte; 32], signed.as_bytes()));
        assert_eq!(
            got.field("webhook-signature"),
            format!("{} {}", by(9), by(7))
        );
        let row = wait_for_rows(&notifier, Standing::Delivered, 1)
            .await
            .remove(0);
        assert_eq!((row.attempts, row.last_error.as_str()), (1, ""));

        // The old secret goes without a restart.
        std::fs::write(folder.path().join("secret"), secret(9)).unwrap();
        tell(&notifier, notice("a2")).await;
        let got = server.wait_for(2).await.remove(1);
        let timestamp = got.field("webhook-timestamp");
        let signed = format!("a2_requested_hook.{timestamp}.{}", got.body);
        let signature = format!("v1,{}", hmac(&[9; 32], signed.as_bytes()));
        assert_eq!(got.field("webhook-signature"), signature);
    });
}

#[test]
fn slack_teams_and_tickets_get_exactly_this() {
    run(async {
        let folder = folder();
        let mut text = String::new();
        let mut servers = Vec::new();
        for name in ["slack", "teams", "ticket"] {
            let server = Receiving::start(&[Does::Answer(200)]).await;
            std::fs::write(folder.path().join(format!("{name}.url")), &server.url).unwrap();
            text += &format!(
                "[[notify]]\nname = \"{name}\"\nkind = \"{name}\"\nurl_file = \"{name}.url\"\n{QUICK}"
            );
            text += match name {
                "slack" => {
                    "secret_file = \"signing\"\n[[notify.people]]\nslack = \"U1\"\n\
                     issuer = \"https://corp.example\"\nsubject = \"grace\"\n"
                }
                "ticket" => {
                    "method = \"PUT\"\nbody = '{\"summary\": {{ title }}, \"n\": [{{ holds[0].quorum }}]}'\n\
                     header_files = { Authorization = \"basic\" }\n"
                }
                _ => "",
            };
            servers.push(server);
        }
        std::fs::write(folder.path().join("signing"), "f".repeat(32)).unwrap();
        std::fs::write(folder.path().join("basic"), "Basic eDp5\n").unwrap();
        let notifier = started(&text, folder.path()).await;
        tell(&notifier, notice("a1")).await;
        for (server, expected) in servers.iter().zip([SLACK, TEAMS, TICKET]) {
            let got = server.wait_for(1).await.remove(0);
            assert_eq!(got.body, expected);
            assert_eq!(got.field("content-type"), "application/json");
        }
        let ticket = servers[2].got().remove(0);
        assert_eq!(ticket.line, "PUT /hook/s3cret HTTP/1.1");
        assert_eq!(ticket.field("authorization"), "Basic eDp5");
        wait_for_rows(&notifier, Standing::Delivered, 3).await;
    });
}

const SLACK: &str = r#"{"text":"A request waits for approval: ada &lt;b&gt;\"}, infer, llama-3-8b","blocks":[{"type":"header","text":{"type":"plain_text","text":"A request waits for approval","emoji":false}},{"type":"section","fields":[{"type":"mrkdwn","text":"*Caller*"},{"type":"plain_text","text":"ada &lt;b&gt;\"} of https://corp.example","emoji":false},{"type":"mrkdwn","text":"*Model*"},{"type":"plain_text","text":"llama-3-8b","emoji":false},{"type":"mrkdwn","text":"*Operation*"},{"type":"plain_text","text":"infer","emoji":false},{"type":"mrkdwn","text":"*Held by*"},{"type":"plain_text","text":"ask first: rule weight-export; needs 2 of security","emoji":false},{"type":"mrkdwn","text":"*Decide until*"},{"type":"plain_text","text":"2026-09-21T14:43:20Z","emoji":false}]},{"type":"divider"},{"type":"section","text":{"type":"plain_text","text":"copy\nthe weights","emoji":false}},{"type":"actions","block_id":"penstock","elements":[{"type":"button","action_id":"penstock_approve","value":"a1","style":"primary","text":{"type":"plain_text","text":"Approve","emoji":false},"confirm":{"title":{"type":"plain_text","text":"Approve this request?","emoji":false},"text":{"type":"plain_text","text":"It goes on as if it had not been held.","emoji":false},"confirm":{"type":"plain_text","text":"Approve","emoji":false},"deny":{"type":"plain_text","text":"Cancel","emoji":false}}},{"type":"button","action_id":"penstock_deny","style":"danger","text":{"type":"plain_text","text":"Deny, with a reason","emoji":false},"url":"https://gate.example/approvals/a1"}]},{"type":"context","elements":[{"type":"mrkdwn","text":"<https://gate.example/approvals/a1|Open approval a1>","verbatim":true}]}],"unfurl_links":false,"unfurl_media":false}"#;
const TEAMS: &str = r#"{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","fallbackText":"A request waits for approval","body":[{"type":"TextBlock","text":"A request waits for approval","size":"Large","weight":"Bolder","wrap":true},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Caller: ","weight":"Bolder"},{"type":"TextRun","text":"ada <b>\"} of https://corp.example"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Model: ","weight":"Bolder"},{"type":"TextRun","text":"llama-3-8b"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Operation: ","weight":"Bolder"},{"type":"TextRun","text":"infer"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Held by: ","weight":"Bolder"},{"type":"TextRun","text":"ask first: rule weight-export; needs 2 of security"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Decide until: ","weight":"Bolder"},{"type":"TextRun","text":"2026-09-21T14:43:20Z"}]},{"type":"Container","style":"emphasis","items":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"copy\nthe weights","fontType":"Monospace"}]}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"Approval a1","isSubtle":true}]}],"msteams":{"width":"Full"},"actions":[{"type":"Action.OpenUrl","title":"Decide in the console","url":"https://gate.example/approvals/a1"}]}}]}"#;
const TICKET: &str =
    r#"{"summary": "A request waits for approval: ada <b>\"}, infer, llama-3-8b", "n": [2]}"#;

#[test]
fn a_receiver_that_fails_gets_the_same_again_until_it_has_it() {
    run(async {
        let does = [
            Does::Answer(500),
            Does::Die,
            Does::AnswerWith(503, "X: y"),
            Does::Answer(204),
        ];
        let server = Receiving::start(&does).await;
        let folder = folder();
        let notifier = started(&webhook("hook", &server.url), folder.path()).await;
        tell(&notifier, notice("a1")).await;
        let row = wait_for_rows(&notifier, Standing::Delivered, 1)
            .await
            .remove(0);
        assert_eq!(row.attempts, 4);
        let got = server.got();
        assert_eq!(got.len(), 4);
        for again in &got {
            assert_eq!(again.body, got[0].body);
            assert_eq!(again.field("webhook-id"), "a1_requested_hook");
        }
        let figures = notifier.figures().remove(0);
        assert_eq!(
            (figures.delivered, figures.failed, figures.given_up),
            (1, 3, 0)
        );
        // Told again, by whoever is not sure that it was: once is enough.
        tell(&notifier, notice("a1")).await;
        tell(&notifier, notice("a2")).await;
        let got = server.wait_for(5).await;
        assert_eq!(got[4].field("webhook-id"), "a2_requested_hook");
    });
}

#[test]
fn who_asks_to_be_left_alone_is() {
    run(async {
        let does = [Does::AnswerWith(429, "Retry-After: 1"), Does::Answer(200)];
        let server = Receiving::start(&does).await;
        let folder = folder();
        let notifier = started(&webhook("hook", &server.url), folder.path()).await;
        tell(&notifier, notice("a1")).await;
        server.wait_for(1).await;
        // Also with what else there is to tell.
        tell(&notifier, notice("a2")).await;
        let got = server.wait_for(3).await;
        let waited = got[1].at.duration_since(got[0].at);
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    });
}

#[test]
fn a_receiver_that_hangs_delays_itself_alone() {
    run(async {
        let hanging = Receiving::start(&[Does::Hang]).await;
        let good = Receiving::start(&[Does::Answer(200)]).await;
        let folder = folder();
        let mut text = webhook("hanging", &hanging.url).replace("\"5s\"", "\"300s\"");
        text += &webhook("good", &good.url);
        let notifier = started(&text, folder.path()).await;
        for number in 0..20 {
            tell(&notifier, notice(&format!("a{number}"))).await;
        }
        wait_for_rows(&notifier, Standing::Delivered, 20).await;
        assert_eq!(good.got().len(), 20);
        assert_eq!(hanging.got().len(), 1, "one at a time");
        assert_eq!(rows(&notifier, Standing::Waiting).await.len(), 20);
    });
}

#[test]
fn an_attempt_is_bounded_and_what_is_given_up_can_be_sent_again_or_dropped() {
    run(async {
        let does = [
            Does::Hang,
            Does::Hang,
            Does::Hang,
            Does::Hang,
            Does::Answer(200),
        ];
        let server = Receiving::start(&does).await;
        let folder = folder();
        let text = webhook("hook", &server.url).replace("\"5s\"", "\"50ms\"");
        let notifier = started(&format!("{text}attempts_max = 2\n"), folder.path()).await;
        tell(&notifier, notice("a1")).await;
        tell(&notifier, notice("a2")).await;
        let dead = wait_for_rows(&notifier, Standing::Dead, 2).await;
        for row in &dead {
            assert_eq!(
                (row.attempts, row.last_error.as_str()),
                (2, "no answer within 50ms")
            );
        }
        until("the figures", || notifier.figures()[0].dead == 2).await;
        notifier.send_again(&dead[0].id).await.unwrap();
        wait_for_rows(&notifier, Standing::Delivered, 1).await;
        notifier.give_up(&dead[1].id).await.unwrap();
        for gone in [&dead[0].id, &dead[1].id, "x"] {
            let error = notifier.send_again(gone).await.unwrap_err();
            assert!(matches!(error, NotifyError::UnknownId(_)), "{error}");
        }
        until("the figures", || notifier.figures()[0].dead == 0).await;
        assert_eq!(server.got().len(), 5);
    });
}

#[test]
fn what_a_receiver_will_never_take_is_not_repeated() {
    run(async {
        let server = Receiving::start(&[Does::Answer(422), Does::Answer(200)]).await;
        let folder = folder();
        let notifier = started(&webhook("hook", &server.url), folder.path()).await;
        tell(&notifier, notice("a1")).await;
        let dead = wait_for_rows(&notifier, Standing::Dead, 1).await.remove(0);
        assert_eq!(
            (dead.attempts, dead.last_error.as_str()),
            (1, "it answered 422")
        );
        tell(&notifier, notice("a2")).await;
        wait_for_rows(&notifier, Standing::Delivered, 1).await;
    });
}

#[test]
fn redirects_are_not_followed_and_errors_name_no_secret() {
    run(async {
        let elsewhere = Receiving::start(&[Does::Answer(200)]).await;
        let field = format!("Location: {}", elsewhere.url).leak();
        let server = Receiving::start(&[Does::AnswerWith(307, field)]).await;
        let folder = folder();
        let (chat, gone) = (folder.path().join("chat"), folder.path().join("gone"));
        std::fs::write(&chat, &server.url).unwrap();
        // Nobody listens there any more.
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        std::fs::write(&gone, format!("http://{port}/s3cret")).unwrap();
        let mut text = String::new();
        for name in ["chat", "gone"] {
            text += &format!(
                "[[notify]]\nname = \"{name}\"\nkind = \"teams\"\nurl_file = \"{name}\"\n\
                 {QUICK}attempts_max = 2\n"
            );
        }
        let notifier = started(&text, folder.path()).await;
        tell(&notifier, notice("a1")).await;
        let dead = wait_for_rows(&notifier, Standing::Dead, 2).await;
        let errors: Vec<&str> = dead.iter().map(|row| row.last_error.as_str()).collect();
        assert_eq!(errors[0], "it answered 307: redirects are not followed");
        assert!(
            errors[1].starts_with("it cannot be reached: "),
            "{errors:?}"
        );
        assert!(!errors.concat().contains("s3cret"), "{errors:?}");
        assert!(elsewhere.got().is_empty());
        // What cannot be read is said without what stands in it.
        std::fs::write(&chat, "ftp://x.example/s3cret").unwrap();
        tell(&notifier, notice("a2")).await;
        let dead = wait_for_rows(&notifier, Standing::Dead, 4).await;
        let row = dead
            .iter()
            .find(|row| row.id == "a2_requested_chat")
            .unwrap();
        assert!(
            row.last_error.contains("must hold one https URL"),
            "{}",
            row.last_error
        );
        assert!(!row.last_error.contains("s3cret"));
        let again = Notifier::new(&sections(&text, folder.path()), &issuers())
            .err()
            .unwrap();
        assert!(
            again.contains("must hold one https URL") && !again.contains("s3cret"),
            "{again}"
        );
    });
}

#[test]
fn a_restart_in_the_middle_loses_nothing() {
    let folder = folder();
    let path = folder.path();
    // The server outlives the gateway.
    let server = run(async { std::net::TcpListener::bind("127.0.0.1:0").unwrap() });
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/hook", server.local_addr().unwrap());
    let text = webhook("hook", &url).replace("\"5s\"", "\"400ms\"");
    run(async {
        let notifier = started(&text, path).await;
        tell(&notifier, notice("a1")).await;
        tell(&notifier, notice("a2")).await;
        // It is being sent: the connection stands in the server's queue, and nobody answers.
        let mut taken = rows(&notifier, Standing::Waiting).await;
        let began = Instant::now();
        while taken.iter().all(|row| row.attempts == 0) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
            taken = rows(&notifier, Standing::Waiting).await;
        }
        assert_eq!(taken.len(), 2);
    });
    // The process has ended with all its tasks; the next one sends both.
    run(async {
        let listener = TcpListener::from_std(server).unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let noted = got.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, noted.clone(), vec![Does::Answer(200)]));
            }
        });
        let notifier = started(&text, path).await;
        let rows = wait_for_rows(&notifier, Standing::Delivered, 2).await;
        assert!(
            rows.iter().any(|row| row.attempts >= 2),
            "one had been begun"
        );
        let ids: Vec<_> = got
            .lock()
            .unwrap()
            .iter()
            .map(|it| it.field("webhook-id").to_owned())
            .collect();
        for id in ["a1_requested_hook", "a2_requested_hook"] {
            assert!(ids.iter().any(|got| got == id), "{ids:?}");
        }
    });
}

#[test]
fn only_who_is_concerned_gets_a_row_and_what_has_no_room_is_counted() {
    let folder = folder();
    let text = webhook("hook", "http://127.0.0.1:9/");
    let notifier = Notifier::new(&sections(&text, folder.path()), &issuers()).unwrap();
    let rows = |notifier: &Notifier, notices: Vec<Notice>| {
        let addressed = notifier.address(notices);
        let ids = addressed.rows().iter().map(|row| row.id.clone());
        (ids.collect::<Vec<_>>(), addressed)
    };
    let (ids, addressed) = rows(&notifier, vec![notice("a"), notice("b")]);
    assert_eq!(ids, ["a_requested_hook", "b_requested_hook"]);
    notifier.posted(addressed);
    let none = Notifier::new(&[], &[]).unwrap();
    assert!(rows(&none, vec![notice("a")]).0.is_empty());
    notifier.0.mailboxes[0]
        .waiting
        .store(WAITING_MAX, Ordering::Relaxed);
    let (ids, addressed) = rows(&notifier, vec![notice("c")]);
    assert!(ids.is_empty());
    assert_eq!(
        notifier.lost(),
        0,
        "not before it is known to have happened"
    );
    notifier.posted(addressed);
    assert_eq!(notifier.lost(), 1);
}

#[test]
fn a_test_is_sent_at_once_and_says_what_it_is() {
    run(async {
        let server = Receiving::start(&[Does::Answer(200)]).await;
        let folder = folder();
        let text = webhook("hook", &server.url) + "groups = [\"nobody\"]\nevents = [\"denied\"]\n";
        let notifier = started(&text, folder.path()).await;
        let id = notifier.test("hook").await.unwrap();
        let got = server.wait_for(1).await.remove(0);
        assert_eq!(got.field("webhook-id"), id);
        assert!(
            got.body.starts_with("{\"type\":\"approval.test\","),
            "{}",
            got.body
        );
        assert!(notifier.test("other").await.is_err());
    });
}
