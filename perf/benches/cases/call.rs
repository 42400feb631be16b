//! Calls through the exchange as the shell drives it, everything on: token, every shipped pack both
//! ways, frames into a ring. Only the sockets are missing.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use penstock_gateway::approvals::Desk;
use penstock_gateway::config::{Limits, OnLoss};
use penstock_gateway::cutoff::Cutoff;
use penstock_gateway::exchange::{Answering, Core, InForce, Inspected, Node, Peer, admit};
use penstock_gateway::http1::{
    HeadLimits, Persistence, Progress, RequestHead, Version, parse_request, parse_response,
};
use penstock_gateway::identity::{Authenticator, IdentityShared, IssuerConfig, load_initial};
use penstock_gateway::tap::Tap;
use penstock_gateway::telemetry::{Counters, Tallies};
use penstock_gateway::tokens::TokenCounter;
use penstock_loadgen::issuer::{Algorithm, KeySet, TokenSpec, mint, now_unix};
use penstock_policies::{PolicySet, PolicySources, Profiles};

use crate::codec::RESPONSE_HEAD;
use crate::recording::{Drain, ring};
use crate::{Case, bytes, good};

/// Units of a run.
const TOKENS: u32 = 64;
const CALLS: u32 = 8;

/// The policy of `penstock-on`: every shipped pack, in both directions.
const POLICY: &str = include_str!("../../subjects/penstock-policy.toml");

const ISSUER: &str = "http://127.0.0.1:9/bench";

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 10:00:00 GMT\r\n\
    server: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// A token that was verified before.
pub(crate) struct TokenHit {
    authenticator: Authenticator,
    value: Vec<u8>,
    now_unix: u64,
}

/// Whole calls: 1 KiB in, 1 KiB out.
pub(crate) struct Calls {
    place: Place,
    request: RequestHead,
    body: Vec<u8>,
    answer: Vec<u8>,
    out: Vec<u8>,
}

/// Events of one stream, each a token's text: read, scanned, masked, recorded, written as a chunk.
pub(crate) struct Events {
    place: Place,
    request: RequestHead,
    body: Vec<u8>,
    events: Vec<Vec<u8>>,
    /// A stream whose first events have passed.
    answering: Option<Answering>,
    out: Vec<u8>,
}

/// A core with everything on, and the caller's token.
struct Place {
    core: Rc<Core>,
    drain: Drain,
    field: String,
}

fn identity() -> (Authenticator, String) {
    // ES256, because an RSA key takes too long to make under callgrind. A hit does not depend on it
    // but for the token's length.
    let keys = KeySet::generate(&[Algorithm::Es256]).expect("keys");
    // A fixed `jti`: the usual one has a process's number, and so not always the same length.
    let caller = TokenSpec::new("penstock-perf", &["bench"]).claim("jti", "bench-0001");
    let token = mint(&keys, &caller, ISSUER, now_unix()).expect("a token");
    let folder = tempfile::tempdir().expect("a folder");
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, keys.jwks().to_string()).expect("the folder is new");
    let mut issuer = IssuerConfig::new("bench", ISSUER, "penstock");
    issuer.jwks_file = Some(jwks);
    let shared = IdentityShared::new(vec![issuer], None).expect("is valid");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    assert_eq!(runtime.block_on(load_initial(&shared)), 1, "no keys");
    (Authenticator::new(shared, 16), token)
}

// === impl TokenHit ===

impl TokenHit {
    pub(crate) fn new() -> TokenHit {
        let (authenticator, token) = identity();
        TokenHit {
            authenticator,
            value: format!("Bearer {token}").into_bytes(),
            now_unix: now_unix(),
        }
    }
}

impl Case for TokenHit {
    fn run(&mut self) {
        for _ in 0..TOKENS {
            let value = black_box(self.value.as_slice());
            let known = self.authenticator.authenticate(Some(value), self.now_unix);
            assert!(known.is_ok());
        }
    }

    fn units(&self) -> u32 {
        TOKENS
    }
}

// === impl Place ===

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("main.toml"), POLICY).expect("the folder is new");
        let policy = PolicySet::load(&PolicySources {
            dir: folder.path(),
            pseudonym_key: [7; 32],
            withheld: &[],
        });
        let node = Node {
            name: "bench".to_owned(),
            limits: Limits {
                // The same call comes again and again; what is counted is one that is new.
                remembered_texts: 0,
                ..Limits::default()
            },
            in_force: ArcSwap::from_pointee(InForce {
                policy: Arc::new(policy.expect("the policy is valid")),
                profiles: Profiles::from_names(&["openai".to_owned()]).expect("is shipped"),
                credential: None,
            }),
            cutoff: Cutoff::new(1),
            tallies: Tallies::new(1),
            upstream_host: "127.0.0.1:8000".to_owned(),
            desk: Desk::closed(),
            tokens: TokenCounter::closed(),
        };
        let counters = Counters::new(1).core(0);
        let (producer, drain) = ring();
        let alive = Arc::new(AtomicBool::new(true));
        let tap = Tap::new(producer, alive, OnLoss::Refuse, counters.clone());
        let (authenticator, token) = identity();
        Place {
            core: Core::new(Arc::new(node), 0, authenticator, tap, counters),
            drain,
            field: format!("Authorization: Bearer {token}"),
        }
    }

    fn request(&self, streams: bool) -> (RequestHead, Vec<u8>) {
        let bytes = bytes::request(&self.field, streams);
        match parse_request(&bytes, &HeadLimits::default()) {
            Ok(Progress::Complete { value, consumed }) => (value, bytes[consumed..].to_vec()),
            other => panic!("not a request: {other:?}"),
        }
    }

    /// From the head of a request to the head of its answer.
    fn begin(
        &self,
        request: &RequestHead,
        body: &[u8],
        head: &[u8],
        out: &mut Vec<u8>,
    ) -> Answering {
        let admitted = good(
            admit(&self.core, request, Peer::Unix, false, true),
            "refused",
        );
        let begun = good(admitted.begin(request, body.to_vec()), "turned away");
        let inspected = begun.inspect(request);
        let Inspected::Forwarded(forwarded, sent) = good(inspected, "not forwarded") else {
            panic!("held");
        };
        black_box(sent);
        let head = match parse_response(head, false, &HeadLimits::default()) {
            Ok(Progress::Complete { value, .. }) => value,
            other => panic!("not a response: {other:?}"),
        };
        let answered = forwarded.answer(head, Version::Http11, Persistence::KeepAlive);
        let mut answering = good(answered, "not answered");
        answering.start(out);
        answering
    }
}

// === impl Calls ===

impl Calls {
    pub(crate) fn new() -> Calls {
        let place = Place::new();
        let (request, body) = place.request(false);
        Calls {
            place,
            request,
            body,
            answer: bytes::answer(),
            out: Vec::with_capacity(64 << 10),
        }
    }
}

impl Case for Calls {
    fn prepare(&mut self) {
        self.place.drain.drain();
    }

    fn run(&mut self) {
        for _ in 0..CALLS {
            self.out.clear();
            let (request, body) = (&self.request, &self.body);
            let mut answering = self
                .place
                .begin(request, body, RESPONSE_HEAD, &mut self.out);
            good(
                answering.data(black_box(&self.answer), &mut self.out),
                "passes",
            );
            good(answering.end(&mut self.out), "ends");
            answering.complete();
            assert!(
                self.out.ends_with(&self.answer),
                "the answer came unchanged"
            );
        }
    }

    fn units(&self) -> u32 {
        CALLS
    }
}

// === impl Events ===

/// Events that pass before a run, so that the stream's channels exist.
const EVENTS_BEFORE: usize = 4;

impl Events {
    pub(crate) fn new() -> Events {
        let place = Place::new();
        let (request, body) = place.request(true);
        Events {
            place,
            request,
            body,
            events: bytes::events(),
            answering: None,
            out: Vec::with_capacity(64 << 10),
        }
    }

    fn measured(&self) -> &[Vec<u8>] {
        // Neither the first, nor the finish reason and the end.
        &self.events[EVENTS_BEFORE..self.events.len() - 2]
    }
}

impl Case for Events {
    fn prepare(&mut self) {
        if let Some(mut answering) = self.answering.take() {
            for event in &self.events[self.events.len() - 2..] {
                good(answering.data(event, &mut self.out), "passes");
            }
            good(answering.end(&mut self.out), "ends");
            answering.complete();
        }
        self.place.drain.drain();
        self.out.clear();
        let (request, body) = (&self.request, &self.body);
        let mut answering = self.place.begin(request, body, STREAM_HEAD, &mut self.out);
        for event in &self.events[..EVENTS_BEFORE] {
            good(answering.data(event, &mut self.out), "passes");
        }
        self.answering = Some(answering);
    }

    fn run(&mut self) {
        let mut answering = self.answering.take().expect("it was prepared");
        let mut out = std::mem::take(&mut self.out);
        for event in self.measured() {
            let event = black_box(event.as_slice());
            good(answering.data(event, &mut out), "passes");
        }
        self.out = out;
        self.answering = Some(answering);
    }

    fn units(&self) -> u32 {
        self.measured().len() as u32
    }
}
