//! The console: signing in, what each role sees and may do, what every answer carries, and that
//! nothing from elsewhere is ever markup in it. How it looks and behaves in a browser is tested in
//! `tests/console/`.

use std::net::SocketAddr;

use penstock_loadgen::client::{Call, Connection, Response};
use serde_json::{Value, json};

use crate::control::verb_ok;
use crate::operators::{OVER_TCP, ask, over_tcp};
use crate::stack::{MODEL, Stack};
use crate::witness::request_id;

/// Every page that needs a session.
const PAGES: &[&str] = &[
    "/console",
    "/console/now",
    "/console/approvals",
    "/console/approvals/waiting",
    "/console/calls",
    "/console/policies",
    "/console/revocations",
    "/console/keys",
];

/// Every form: where it goes, the role it needs, and what it holds.
const FORMS: &[(&str, &str, &str)] = &[
    ("/console/reload", "admin", ""),
    (
        "/console/approvals/none/decide",
        "approver",
        "decision=deny&reason=r",
    ),
    (
        "/console/revocations/add",
        "admin",
        "kind=subject&value=zoe&issuer=&until=&reason=r",
    ),
    ("/console/revocations/none/lift", "admin", ""),
    (
        "/console/keys/add",
        "admin",
        "owner=zoe&issuer=&name=n&groups=&expires=1h",
    ),
    ("/console/keys/none/rotate", "admin", "overlap=1h"),
    ("/console/keys/none/revoke", "admin", "reason=r"),
];

/// Somebody's browser: the cookie, and where it goes.
pub(crate) struct Browser {
    address: SocketAddr,
    cookie: String,
}

impl Browser {
    /// Signs in by a link that the command line makes, for the bearer of a token or for the user
    /// at the socket.
    pub(crate) fn sign_in(stack: &Stack, address: SocketAddr, token: Option<&str>) -> Self {
        let mut arguments = vec!["console".to_owned(), "--json".to_owned()];
        if let Some(token) = token {
            let file = stack.path("link-token");
            std::fs::write(&file, token).expect("written");
            arguments.extend(["--token-file".to_owned(), file.display().to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let link: Value = serde_json::from_str(&verb_ok(stack, &arguments)).expect("JSON");
        let code = link["url"].as_str().expect("a URL").split("code=").nth(1);
        let answer = use_link(address, code.expect("a code"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let cookie = answer.head.field("set-cookie").expect("a cookie");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        Self { address, cookie }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        ask(self.address, &Call::get(path).field("cookie", &self.cookie))
    }

    /// The session's token, out of the form for signing out that each page has.
    pub(crate) fn csrf(&self) -> String {
        let page = self.get("/console").text();
        let value = page.split("name=\"csrf\" value=\"").nth(1);
        let value = value.and_then(|rest| rest.split('"').next());
        value.expect("a form with a token").to_owned()
    }

    /// Sends a form as a page of the console would.
    pub(crate) fn post(&self, path: &str, form: &str) -> Response {
        let form = format!("csrf={}&{form}", self.csrf());
        ask(
            self.address,
            &self
                .form(path, &form)
                .field("sec-fetch-site", "same-origin"),
        )
    }

    fn form(&self, path: &str, form: &str) -> Call {
        Call::new("POST", path)
            .field("cookie", &self.cookie)
            .field("content-type", "application/x-www-form-urlencoded")
            .body(form)
    }
}

fn use_link(address: SocketAddr, code: &str) -> Response {
    let call = Call::new("POST", "/console/link")
        .field("content-type", "application/x-www-form-urlencoded")
        .field("sec-fetch-site", "same-origin")
        .body(format!("code={code}"));
    ask(address, &call)
}

fn link(stack: &Stack) -> String {
    let told: Value = serde_json::from_str(&verb_ok(stack, &["console", "--json"])).expect("JSON");
    told["url"].as_str().expect("a URL").to_owned()
}

#[test]
fn a_link_signs_in_once_and_only_by_a_form_of_ours() {
    let (stack, address) = over_tcp(|_| {});
    let url = link(&stack);
    assert!(
        url.starts_with(&format!("http://{address}/console/link?code=")),
        "{url}"
    );
    let code = url.split("code=").nth(1).expect("a code").to_owned();
    // Looking at it does not use it up: programs look at links before people do.
    let path = format!("/console/link?code={code}");
    for _ in 0..2 {
        let looked = ask(address, &Call::get(&path));
        assert_eq!(looked.status(), 200);
        assert!(looked.text().contains("uid:"), "{}", looked.text());
        assert!(looked.head.field("set-cookie").is_none());
    }
    let foreign = Call::new("POST", "/console/link")
        .field("content-type", "application/x-www-form-urlencoded")
        .field("origin", "https://evil.example")
        .body(format!("code={code}"));
    assert_eq!(ask(address, &foreign).status(), 403);
    let used = use_link(address, &code);
    assert_eq!(used.status(), 200);
    let cookie = used.head.field("set-cookie").expect("a cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure"),
        "loopback in the clear: {cookie}"
    );
    assert_eq!(use_link(address, &code).status(), 410);
    assert_eq!(use_link(address, "made-up").status(), 410);
    // A link is made on the machine itself, not over the network.
    let token = stack.issuer.token("grace", &["sre"]);
    let asked = ask(address, &Call::new("POST", "/console-links").token(&token));
    assert_eq!(
        (asked.status(), asked.json()["code"].as_str()),
        (403, Some("not_local"))
    );
    // Neither link nor cookie is in the log.
    let log = stack.log();
    let id = cookie.split(['=', ';']).nth(1).expect("a value");
    assert!(log.contains("signed in to the console"), "{log}");
    assert!(!log.contains(&code) && !log.contains(id));
}

#[test]
fn by_tls_the_cookie_is_bound_to_the_host() {
    let (stack, address) = over_tcp(|setup| {
        // A proxy in front ends TLS; browsers see https.
        setup.control = format!("url = \"https://gateway.example\"\n{OVER_TCP}");
    });
    let url = link(&stack);
    let code = url.strip_prefix("https://gateway.example/console/link?code=");
    let used = use_link(address, code.expect("by the configured address"));
    let cookie = used.head.field("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.starts_with("__Host-penstock="), "{cookie}");
    for part in ["; Secure", "; Path=/", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[test]
fn every_page_and_form_takes_whom_it_should() {
    let (stack, address) = over_tcp(|_| {});
    for page in PAGES {
        let answer = ask(address, &Call::get(page));
        assert_eq!(answer.status(), 303, "{page}");
        assert_eq!(
            answer.head.field("location"),
            Some("/console/login"),
            "{page}"
        );
        let script = Call::get(page).field("sec-fetch-mode", "cors");
        assert_eq!(ask(address, &script).status(), 401, "{page}");
    }
    for (path, ..) in FORMS {
        let call = Call::new("POST", path).body("csrf=x");
        assert_eq!(ask(address, &call).status(), 401, "{path}");
    }
    let roles = [
        ("staff", "viewer"),
        ("security", "approver"),
        ("sre", "admin"),
    ];
    for (rank, (group, _)) in roles.iter().enumerate() {
        let token = stack.issuer.token("vera", &[group]);
        let browser = Browser::sign_in(&stack, address, Some(&token));
        for page in PAGES {
            assert_eq!(browser.get(page).status(), 200, "{page} for {group}");
        }
        for (path, needed, form) in FORMS {
            let may = roles.iter().position(|(_, role)| role == needed) <= Some(rank);
            let status = browser.post(path, form).status();
            assert_eq!(status, if may { 303 } else { 403 }, "{path} for {group}");
        }
    }
    // Somebody without a role gets no link.
    let token = stack.issuer.token("eve", &["others"]);
    std::fs::write(stack.path("eve"), token).expect("written");
    let file = stack.path("eve").display().to_string();
    let refused = crate::control::verb(&stack, &["console", "--token-file", &file]);
    assert!(!refused.status.success());
}

#[test]
fn every_answer_forbids_what_pages_do_not_need() {
    let (stack, address) = over_tcp(|_| {});
    let browser = Browser::sign_in(&stack, address, None);
    let style = browser.get("/console").text();
    let asset = style
        .split("href=\"/console/assets/")
        .nth(1)
        .and_then(|it| it.split('"').next());
    let asset = format!("/console/assets/{}", asset.expect("a style sheet"));
    let open = [
        "/console/login",
        "/console/link?code=x",
        "/console/nothing",
        asset.as_str(),
    ];
    for path in PAGES.iter().chain(&open) {
        let answer = browser.get(path);
        let field = |name: &str| answer.head.field(name).unwrap_or_default().to_owned();
        if *path == "/console/nothing" {
            assert_eq!(answer.status(), 404);
            continue;
        }
        let policy = field("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "connect-src 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(field("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(field("referrer-policy"), "no-referrer", "{path}");
        let cached = field("cache-control");
        assert_eq!(cached == "no-store", *path != asset, "{path}: {cached}");
        let text = answer.text();
        let inline =
            text.contains("<style") || text.contains(" style=") || text.contains(" onclick=");
        assert!(!inline || *path == asset, "{path}");
        let scripts = text.matches("<script").count();
        assert!(
            scripts == text.matches("<script src=\"/console/assets/").count(),
            "{path}"
        );
    }
}

#[test]
fn forms_are_taken_from_pages_of_the_session_only() {
    let (stack, address) = over_tcp(|_| {});
    let browser = Browser::sign_in(&stack, address, None);
    let csrf = browser.csrf();
    let good = format!("csrf={csrf}");
    let own = format!("http://{address}");
    let send = |call: Call| ask(address, &call).status();
    let form = |text: &str| browser.form("/console/reload", text);
    assert_eq!(send(form(&good)), 403, "from nowhere");
    assert_eq!(
        send(form(&good).field("origin", "https://evil.example")),
        403
    );
    assert_eq!(send(form(&good).field("origin", "null")), 403);
    let cross = form(&good)
        .field("origin", "null")
        .field("sec-fetch-site", "cross-site");
    assert_eq!(send(cross), 403);
    assert_eq!(send(form("csrf=").field("origin", &own)), 403);
    assert_eq!(send(form("").field("origin", &own)), 403);
    let other = Browser::sign_in(&stack, address, None).csrf();
    assert_eq!(
        send(form(&format!("csrf={other}")).field("origin", &own)),
        403
    );
    assert_eq!(send(form(&good).field("origin", &own)), 303);
    let null = form(&good)
        .field("origin", "null")
        .field("sec-fetch-site", "same-origin");
    assert_eq!(send(null), 303);
    // Two cookies of the name are none; a token alone opens no page.
    let twice = Call::get("/console").field("cookie", &format!("{0}; {0}x", browser.cookie));
    assert_eq!(ask(address, &twice).status(), 303);
    let token = stack.issuer.token("grace", &["sre"]);
    assert_eq!(
        ask(address, &Call::get("/console").token(&token)).status(),
        303
    );
    // And a session is no credential for the API.
    assert_eq!(browser.get("/status").status(), 401);
    assert_eq!(browser.post("/console/logout", "").status(), 303);
    assert_eq!(browser.get("/console").status(), 303, "signed out");
}

#[test]
fn who_is_revoked_is_out_at_once() {
    let (stack, address) = over_tcp(|_| {});
    let token = stack.issuer.token("vera", &["sre"]);
    let vera = Browser::sign_in(&stack, address, Some(&token));
    let admin = Browser::sign_in(&stack, address, None);
    assert_eq!(vera.get("/console").status(), 200);
    let form = "kind=subject&value=vera&issuer=&until=&reason=left+us";
    assert_eq!(admin.post("/console/revocations/add", form).status(), 303);
    assert_eq!(vera.get("/console").status(), 303);
    let page = admin.get("/console/revocations").text();
    assert!(
        page.contains("vera") && page.contains("left us") && page.contains("is cut off"),
        "{page}"
    );
    let id = page
        .split("/console/revocations/")
        .nth(2)
        .and_then(|rest| rest.split('/').next());
    let lift = format!("/console/revocations/{}/lift", id.expect("an id"));
    assert_eq!(admin.post(&lift, "").status(), 303);
    assert!(
        admin
            .get("/console/revocations")
            .text()
            .contains("Nobody is cut off")
    );
    assert_eq!(
        vera.get("/console").status(),
        303,
        "the session has ended for good"
    );
}

#[test]
fn a_key_is_shown_once() {
    let (stack, address) = over_tcp(|_| {});
    let browser = Browser::sign_in(&stack, address, None);
    let form = "owner=ada&issuer=&name=nightly&groups=engineers%2C+staff&expires=1h";
    assert_eq!(browser.post("/console/keys/add", form).status(), 303);
    // The session's token is read from a page before; what was left for the next page was shown there.
    let page = browser.get("/console/keys").text();
    assert!(
        page.contains("nightly") && page.contains("engineers, staff"),
        "{page}"
    );
    assert_eq!(page.matches("class=\"secret\"").count(), 1, "{page}");
    let key = page
        .split("id=\"secret\">")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    let key = key.expect("a key").to_owned();
    assert!(key.starts_with("pk_") && key.len() == 52);
    assert!(!browser.get("/console/keys").text().contains(&key));
    let answer = stack.send(Call::chat(MODEL, "hello", false).token(&key));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn what_strangers_wrote_is_text() {
    let evil = "<img src=x onerror=alert(1)>\"'&<script>alert(2)</script>";
    let (stack, address) = over_tcp(|setup| {
        setup.record = true;
        setup.control = format!("{OVER_TCP}log_dir = \"log\"\n");
    });
    let said = json!({"model": MODEL, "messages": [{"role": "user", "content": evil}]});
    let call = Call::post("/v1/chat/completions", &said).field("user-agent", evil);
    let good = stack.send(call.token(&stack.token()));
    assert_eq!(good.status(), 200, "{}", good.text());
    let named = json!({"model": evil, "messages": [{"role": "user", "content": "x"}]});
    let refused = stack.send(Call::post("/v1/chat/completions", &named).token(&stack.token()));
    assert_eq!(refused.status(), 403);
    let (good, refused) = (request_id(&good), request_id(&refused));
    stack.session(&good);
    stack.session(&refused);
    let browser = Browser::sign_in(&stack, address, None);
    let reason = "reason=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&until=&issuer=&kind=subject&value=%3Cscript%3Ex";
    assert_eq!(
        browser.post("/console/revocations/add", reason).status(),
        303
    );
    let paths = [
        "/console/calls".to_owned(),
        "/console/calls?subject=%3Cscript%3E&model=%22%3E%3Cscript%3E".to_owned(),
        format!("/console/calls/{good}"),
        format!("/console/calls/{good}/replay"),
        format!("/console/calls/{refused}"),
        "/console/calls/%3Cscript%3E".to_owned(),
        "/console/revocations".to_owned(),
    ];
    for path in paths {
        let page = browser.get(&path).text();
        assert!(
            !page.contains("<img") && !page.contains("<script>"),
            "{path}: {page}"
        );
    }
    let page = browser.get(&format!("/console/calls/{good}")).text();
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{page}"
    );
}

#[test]
fn the_log_is_shown_newest_first_while_it_is_written() {
    const CALLS: usize = 60;
    let (stack, address) = over_tcp(|setup| {
        setup.record = true;
        setup.control = format!("{OVER_TCP}log_dir = \"log\"\n");
    });
    let browser = Browser::sign_in(&stack, address, None);
    let mut ids = Vec::new();
    let mut connection: Connection = stack.connect();
    for nth in 0..CALLS {
        let subject = if nth % 2 == 0 { "alice" } else { "bob" };
        let token = stack.issuer.token(subject, &["engineers"]);
        let call = Call::chat(MODEL, "hello", false).token(&token);
        call.over(&mut connection).expect("sent");
        ids.push(request_id(&connection.read_response().expect("an answer")));
        if nth == CALLS / 2 {
            stack.session(&ids[nth]);
            assert!(browser.get("/console/calls").text().contains(&ids[nth]));
        }
    }
    stack.session(&ids[CALLS - 1]);
    let first = browser.get("/console/calls").text();
    let place = |text: &str, id: &str| text.find(&format!("/console/calls/{id}\""));
    let places: Vec<_> = ids.iter().rev().map(|id| place(&first, id)).collect();
    assert!(places[..50].iter().all(Option::is_some), "{first}");
    assert!(places[..50].is_sorted(), "the newest first");
    assert!(
        places[50..].iter().all(Option::is_none),
        "a page has its bound"
    );
    let next = first
        .split("rel=\"next\" href=\"")
        .nth(1)
        .and_then(|it| it.split('"').next());
    let next = next.expect("there are more").replace("&amp;", "&");
    let second = browser.get(&next).text();
    assert!(
        ids[..10].iter().all(|id| place(&second, id).is_some()),
        "{second}"
    );
    assert!(ids[10..].iter().all(|id| place(&second, id).is_none()));
    let bobs = browser.get("/console/calls?subject=bob").text();
    assert!(place(&bobs, &ids[1]).is_some() && place(&bobs, &ids[0]).is_none());
    let pieces = browser
        .get(&format!("/console/calls/{}/pieces", ids[0]))
        .json();
    assert!(
        !pieces["pieces"].as_array().expect("pieces").is_empty(),
        "{pieces}"
    );
    let unknown = browser.get("/console/calls/01234567-89ab-7fff-bfff-ffffffffffff");
    assert_eq!(unknown.status(), 404);
}
