//! Readers of JSON and of event streams.

use std::path::Path;
use std::sync::OnceLock;

use penstock_policies::rule::Format;
use penstock_policies::scan::Scanner;
use penstock_policies::{PolicySet, PolicySources, Profiles, Route, Scope, Scratch};

use crate::choice;

struct Fixture {
    policies: PolicySet,
    scope: Scope,
    routes: Vec<Route>,
}

/// Compiles the policies before the first input, whose time is measured.
pub fn load_policies() {
    fixture();
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let policies = PolicySet::load(&PolicySources {
            withheld: &[],
            dir: &dir,
            pseudonym_key: [7; 32],
        })
        .unwrap_or_else(|errors| panic!("{}: {errors:#?}", dir.display()));
        let scope = policies.scope(&["everyone".to_owned()]);
        let profiles = Profiles::from_names(&["openai".to_owned(), "anthropic".to_owned()])
            .expect("shipped profiles");
        let paths = [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/messages",
        ];
        let routes = paths
            .iter()
            .map(|path| profiles.resolve("POST", path).expect("a shipped route"))
            .collect();
        Fixture {
            policies,
            scope,
            routes,
        }
    })
}

/// The outcome of a filter over a response that arrives in pieces of `stride` bytes.
fn filtered(bytes: &[u8], stride: usize, media: &str, route: &Route) -> (Vec<u8>, Option<String>) {
    let fixture = fixture();
    let mut filter = fixture
        .policies
        .response_filter(&fixture.scope, route, 200, Some(media))
        .expect("a media type with a reader");
    let mut out = Vec::new();
    for piece in bytes.chunks(stride) {
        if let Err(error) = filter.push(piece, &mut out) {
            return (out, Some(error.code().to_owned()));
        }
    }
    let error = filter
        .finish(&mut out)
        .err()
        .map(|error| error.code().to_owned());
    assert!(error.is_some() || filter.held_bytes() == 0, "held after a proper end");
    (out, error)
}

/// A response's filtered bytes do not depend on how it was cut.
pub fn sse_reader(data: &[u8]) {
    let (how, bytes) = choice(data);
    let media = [
        "text/event-stream",
        "application/x-ndjson",
        "application/json",
    ][how % 3];
    let route = &fixture().routes[how / 3 % 4];
    let stride = how / 12 + 1;
    let whole = filtered(bytes, bytes.len().max(1), media, route);
    let cut = filtered(bytes, stride, media, route);
    assert_eq!(cut.1, whole.1, "how it ended");
    assert_eq!(
        cut.0.escape_ascii().to_string(),
        whole.0.escape_ascii().to_string()
    );
}

/// What the inspector takes for JSON is JSON to another reader, and what it writes is, too.
pub fn json_walker(data: &[u8]) {
    let (how, body) = choice(data);
    let fixture = fixture();
    let route = &fixture.routes[how % 4];
    let mut scratch = Scratch::default();
    let inspect = |body: &[u8], scratch: &mut Scratch| {
        fixture
            .policies
            .inspect_request(&fixture.scope, route, body, scratch)
    };
    let Ok(verdict) = inspect(body, &mut scratch) else {
        return;
    };
    assert!(is_json(body), "taken for JSON: {}", body.escape_ascii());
    if let Some(masked) = &verdict.body {
        assert!(
            is_json(masked),
            "written as JSON: {}",
            masked.escape_ascii()
        );
        // Not inspected again: a replacement may itself be the context of another rule.
        if let Ok(read) = serde_json::from_slice::<serde_json::Value>(masked) {
            assert_eq!(read["model"].as_str(), verdict.model.as_deref());
            assert_eq!(read["stream"].as_bool(), verdict.stream);
        }
    } else {
        assert_eq!(
            inspect(body, &mut scratch).as_ref(),
            Ok(&verdict),
            "buffers are reused"
        );
    }
}

/// By a reader that shares no code; too deep for it counts as JSON.
fn is_json(body: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(_) => true,
        Err(error) => {
            let text = error.to_string();
            text.contains("recursion limit") || text.contains("number out of range")
        }
    }
}

/// Files of other programs: what loads compiles and loads the same again, what does not has a place.
pub fn imported_rules(data: &[u8]) {
    let (how, bytes) = choice(data);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let format = [Format::Gitleaks, Format::Presidio][how % 2];
    match format.read("fuzz", text) {
        Ok(imported) => {
            let again = format.read("fuzz", text).expect("it loaded before");
            assert_eq!(again.notes, imported.notes);
            assert!(imported.counts().0 <= imported.rules_in_file);
            if let Err(errors) = Scanner::compile(imported.pack.rules) {
                panic!("rules that loaded do not compile: {errors:?}");
            }
        }
        Err(faults) => {
            // YAML ends a line at a carriage return as well, and the text on a line of its own.
            let lines = text.matches(['\n', '\r']).count() + 2;
            assert!(!faults.is_empty(), "no fault is told");
            for fault in faults {
                assert!((1..=lines).contains(&fault.line), "{fault}");
            }
        }
    }
}
