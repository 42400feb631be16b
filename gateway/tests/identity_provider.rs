//! Keys over a real socket: discovery, rotation, a provider that is down or misbehaves. Time stands
//! still and is moved by hand; nothing here waits for a clock.

mod identity_support;

use std::sync::{Arc, Barrier};

use identity_support::provider::{Mode, Provider};
use identity_support::{
    AUDIENCE, NOW, StillClock, TestKey, block_on, claims_with, file_issuer, jwks, keys, token,
};
use penstock_gateway::identity::{
    AuthError, Authenticator, IdentityShared, IssuerConfig, REFRESH_GAP_S, load_initial,
    run_refresher,
};
use serde_json::{Value, json};

const DAY: u64 = 86_400;

/// A provider, a gateway's view of it, and the time.
struct Scene {
    provider: Provider,
    clock: StillClock,
    shared: Arc<IdentityShared>,
    authenticator: Authenticator,
}

impl Scene {
    fn new(mode: Mode) -> Self {
        let provider = Provider::start(mode);
        let clock = StillClock::at(NOW);
        let config = IssuerConfig::new("idp", &provider.issuer(), AUDIENCE);
        let shared = IdentityShared::with_clock(vec![config], None, clock.clock())
            .expect("a good configuration");
        let authenticator = Authenticator::new(Arc::clone(&shared), 64);
        Self {
            provider,
            clock,
            shared,
            authenticator,
        }
    }

    fn loaded(keys: &[&TestKey]) -> Self {
        let scene = Self::new(Mode::Serve(jwks(keys)));
        assert_eq!(
            block_on(load_initial(&scene.shared)),
            1,
            "{:?}",
            scene.shared.status()
        );
        scene
    }

    /// Claims that stay good for ten days.
    fn claims(&self, subject: &str) -> Value {
        claims_with(json!({
            "iss": self.provider.issuer(), "sub": subject, "exp": NOW + 10 * DAY,
        }))
    }

    fn token(&self, key: &TestKey, subject: &str) -> String {
        token("ES256", key, &self.claims(subject))
    }

    fn present(&mut self, token: &str) -> Result<String, AuthError> {
        let field = format!("Bearer {token}");
        let principal = self
            .authenticator
            .authenticate(Some(field.as_bytes()), self.clock.now())?;
        Ok(principal.subject.clone())
    }

    fn code(&mut self, token: &str) -> &'static str {
        self.present(token)
            .map_or_else(|error| error.code, |_| "ok")
    }

    /// Waits for the refresh that a refusal offers, while the refresher runs.
    fn wait_for_refresh(&self, error: AuthError) {
        let wait = error.refresh.expect("a refresh is worth waiting for");
        block_on(async {
            tokio::select! {
                () = run_refresher(Arc::clone(&self.shared)) => unreachable!("it runs for ever"),
                () = wait => {}
            }
        });
    }

    fn trouble(&self) -> String {
        self.shared.status()[0].trouble.clone().unwrap_or_default()
    }
}

#[test]
fn discovery_finds_the_keys() {
    let mut scene = Scene::loaded(&[&keys().p256, &keys().rsa]);
    let token = scene.token(&keys().p256, "ada");
    assert_eq!(scene.code(&token), "ok");
    let status = scene.shared.status().remove(0);
    assert_eq!(
        (status.key_count, status.generation, status.fetched_unix),
        (2, 1, Some(NOW))
    );
    assert_eq!(scene.trouble(), "");
}

#[test]
fn a_jwks_address_needs_no_discovery() {
    let provider = Provider::start(Mode::ServeAs(
        "https://another.example".to_owned(),
        jwks(&[&keys().p256]),
    ));
    let mut config = IssuerConfig::new("idp", "https://idp.example", AUDIENCE);
    config.jwks_url = Some(format!("{}/keys", provider.issuer()));
    let shared = IdentityShared::new(vec![config], None).expect("a good configuration");
    assert_eq!(block_on(load_initial(&shared)), 1, "{:?}", shared.status());
}

#[test]
fn fifty_who_meet_a_new_key_cause_one_fetch() {
    const ASKERS: usize = 50;
    let old = TestKey::p256("old");
    let new = TestKey::p256("new");
    let scene = Scene::loaded(&[&old]);
    assert_eq!(scene.provider.key_fetches(), 1);
    scene.provider.set(Mode::Serve(jwks(&[&old, &new])));
    scene.clock.advance(REFRESH_GAP_S);

    let refresher_shared = Arc::clone(&scene.shared);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let start = Arc::new(Barrier::new(ASKERS));
    let now = scene.clock.now();
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS)
            .map(|n| {
                let field = format!("Bearer {}", scene.token(&new, &format!("caller-{n}")));
                let (shared, start) = (Arc::clone(&scene.shared), Arc::clone(&start));
                scope.spawn(move || {
                    let mut authenticator = Authenticator::new(shared, 4);
                    start.wait();
                    let first = authenticator.authenticate(Some(field.as_bytes()), now);
                    if let Err(error) = first {
                        assert_eq!(error.code, "unknown_key");
                        let wait = error.refresh.expect("a refresh is worth waiting for");
                        // Every core waits on its own runtime, which is not tokio.
                        compio::runtime::Runtime::new()
                            .expect("a runtime")
                            .block_on(wait);
                    }
                    let again = authenticator.authenticate(Some(field.as_bytes()), now);
                    assert_eq!(
                        again.map(|p| p.subject.clone()).ok(),
                        Some(format!("caller-{n}"))
                    );
                })
            })
            .collect();
        let refresher = scope.spawn(move || {
            block_on(async {
                tokio::select! {
                    () = run_refresher(refresher_shared) => unreachable!("it runs for ever"),
                    _ = stopped => {}
                }
            });
        });
        let failed = askers
            .into_iter()
            .filter_map(|asker| asker.join().err())
            .count();
        stop.send(()).expect("the refresher is there");
        refresher.join().expect("the refresher ended");
        assert_eq!(failed, 0);
    });
    assert_eq!(scene.provider.key_fetches(), 2, "one fetch for all");
}

#[test]
fn unknown_keys_cannot_hammer_the_provider() {
    let mut scene = Scene::loaded(&[&keys().p256]);
    let stranger = scene.token(&TestKey::p256("made-up"), "eve");
    let error = scene.present(&stranger).expect_err("unknown");
    assert!(
        error.refresh.is_none(),
        "the keys were fetched a moment ago"
    );
    scene.clock.advance(REFRESH_GAP_S);
    let error = scene.present(&stranger).expect_err("unknown");
    scene.wait_for_refresh(error);
    for _ in 0..100 {
        let error = scene.present(&stranger).expect_err("still unknown");
        assert_eq!(error.code, "unknown_key");
        assert!(error.refresh.is_none());
    }
    assert_eq!(scene.provider.key_fetches(), 2);
    // What cannot be helped by fresh keys does not ask for them.
    scene.clock.advance(REFRESH_GAP_S);
    let forged = scene.token(&TestKey::p256(&keys().p256.id), "eve");
    assert!(
        scene
            .present(&forged)
            .expect_err("forged")
            .refresh
            .is_none()
    );
    assert_eq!(scene.provider.key_fetches(), 2);
}

#[test]
fn a_withdrawn_key_ends_remembered_tokens() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let mut scene = Scene::loaded(&[&old, &keys().p256]);
    let (by_old, by_kept) = (scene.token(&old, "ada"), scene.token(&keys().p256, "grace"));
    assert_eq!((scene.code(&by_old), scene.code(&by_kept)), ("ok", "ok"));
    assert_eq!(scene.authenticator.remembered_count(), 2);

    scene.provider.set(Mode::Serve(jwks(&[&new, &keys().p256])));
    scene.clock.advance(REFRESH_GAP_S);
    let by_new = scene.token(&new, "alan");
    let error = scene.present(&by_new).expect_err("not yet known");
    scene.wait_for_refresh(error);
    assert_eq!(scene.code(&by_new), "ok");
    assert_eq!(scene.code(&by_old), "unknown_key");
    assert_eq!(scene.code(&by_kept), "ok");
    assert_eq!(scene.authenticator.remembered_count(), 2);
    assert_eq!(scene.shared.status()[0].generation, 2);
}

#[test]
fn another_key_under_the_same_id_ends_remembered_tokens() {
    let (old, new) = (TestKey::p256("same"), TestKey::p256("same"));
    let mut scene = Scene::loaded(&[&old]);
    let by_old = scene.token(&old, "ada");
    assert_eq!(scene.code(&by_old), "ok");
    scene.provider.set(Mode::Serve(jwks(&[&new])));
    scene.clock.advance(REFRESH_GAP_S);
    let unknown = scene.token(&TestKey::p256("unknown"), "eve");
    let error = scene.present(&unknown).expect_err("unknown");
    scene.wait_for_refresh(error);
    assert_eq!(scene.code(&by_old), "bad_signature");
    let by_new = scene.token(&new, "ada");
    assert_eq!(scene.code(&by_new), "ok");
}

#[test]
fn a_provider_that_is_down_is_believed_for_a_while() {
    let mut scene = Scene::loaded(&[&keys().p256]);
    let remembered = scene.token(&keys().p256, "ada");
    assert_eq!(scene.code(&remembered), "ok");

    for mode in [Mode::HangUp, Mode::Status(500), Mode::Redirect] {
        scene.provider.set(mode.clone());
        scene.clock.advance(DAY / 4);
        let unknown = scene.token(&TestKey::p256("unknown"), "eve");
        let error = scene.present(&unknown).expect_err("unknown");
        scene.wait_for_refresh(error);
        assert_ne!(scene.trouble(), "", "{mode:?}");
        assert_eq!(scene.code(&remembered), "ok", "{mode:?}");
        let other = scene.token(&keys().p256, &format!("{mode:?}"));
        assert_eq!(scene.code(&other), "ok", "{mode:?}");
    }
    assert_eq!(scene.shared.status()[0].fetched_unix, Some(NOW));

    scene.clock.advance(DAY / 4);
    assert_eq!(scene.code(&remembered), "ok", "a day old to the second");
    scene.clock.advance(1);
    let error = scene.present(&remembered).expect_err("too old to trust");
    assert_eq!(
        (error.status, error.code),
        (503, "identity_provider_unavailable")
    );
    assert_eq!(error.www_authenticate, None);

    scene.provider.set(Mode::Serve(jwks(&[&keys().p256])));
    scene.wait_for_refresh(error);
    assert_eq!(scene.code(&remembered), "ok");
    assert_eq!(scene.trouble(), "");
}

#[test]
fn a_provider_that_was_never_there() {
    let mut scene = Scene::new(Mode::HangUp);
    assert_eq!(block_on(load_initial(&scene.shared)), 0);
    let token = scene.token(&keys().p256, "ada");
    let error = scene.present(&token).expect_err("no keys");
    assert_eq!(
        (error.status, error.code),
        (503, "identity_provider_unavailable")
    );
    assert!(error.refresh.is_none(), "tried a moment ago");
    scene.clock.advance(REFRESH_GAP_S);
    let error = scene.present(&token).expect_err("no keys");
    scene.provider.set(Mode::Serve(jwks(&[&keys().p256])));
    scene.wait_for_refresh(error);
    assert_eq!(scene.code(&token), "ok");
}

#[test]
fn one_provider_down_leaves_the_others() {
    let down = Provider::start(Mode::HangUp);
    let up = Provider::start(Mode::Serve(jwks(&[&keys().p256])));
    let configs = vec![
        IssuerConfig::new("down", &down.issuer(), AUDIENCE),
        IssuerConfig::new("up", &up.issuer(), AUDIENCE),
    ];
    let shared = IdentityShared::with_clock(configs, None, StillClock::at(NOW).clock())
        .expect("a good configuration");
    assert_eq!(block_on(load_initial(&shared)), 1);
    let mut authenticator = Authenticator::new(shared, 4);
    for (provider, expected) in [(&down, "identity_provider_unavailable"), (&up, "ok")] {
        let claims = claims_with(json!({"iss": provider.issuer()}));
        let field = format!("Bearer {}", token("ES256", &keys().p256, &claims));
        let outcome = authenticator.authenticate(Some(field.as_bytes()), NOW);
        assert_eq!(outcome.map_or_else(|error| error.code, |_| "ok"), expected);
    }
}

#[test]
fn answers_that_are_not_keys() {
    let serve = |text: &str| Mode::Serve(text.to_owned());
    let oversized = |bytes: usize, declared: bool| Mode::Oversized { bytes, declared };
    let modes = [
        (oversized(1024 * 1024 + 1, true), "larger than"),
        (oversized(8 * 1024 * 1024, false), "larger than"),
        (serve(""), "not valid JSON"),
        (serve("<html>"), "not valid JSON"),
        (serve("[]"), "not an object"),
        (serve("{}"), "no array `keys`"),
        (serve(r#"{"keys":{}}"#), "no array `keys`"),
        (serve(r#"{"keys":[],"keys":[]}"#), "not valid JSON"),
        (
            serve(&json!({"keys": vec![json!({}); 129]}).to_string()),
            "more than 128",
        ),
        (Mode::Status(204), "answered 204"),
        (Mode::Status(404), "answered 404"),
        (Mode::Redirect, "answered 302"),
        (
            Mode::ServeAs("https://evil.example".to_owned(), String::new()),
            "speaks for issuer",
        ),
    ];
    for (mode, reason) in modes {
        let scene = Scene::new(mode.clone());
        assert_eq!(block_on(load_initial(&scene.shared)), 0, "{mode:?}");
        assert!(
            scene.trouble().contains(reason),
            "{mode:?}: {}",
            scene.trouble()
        );
    }
}

#[test]
fn the_provider_of_a_private_authority() {
    let provider = Provider::start_tls(Mode::Serve(jwks(&[&keys().p256])));
    let other = Provider::start_tls(Mode::HangUp);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let own = provider.certificate.as_deref().expect("it speaks TLS");
    let others = other.certificate.as_deref().expect("it speaks TLS");
    let load = |ca_file: Option<std::path::PathBuf>| {
        let mut config = IssuerConfig::new("idp", &provider.issuer(), AUDIENCE);
        config.ca_file = ca_file;
        let shared = IdentityShared::new(vec![config], None).expect("a good configuration");
        block_on(load_initial(&shared));
        let status = shared.status().remove(0);
        (status.key_count, status.trouble.unwrap_or_default())
    };
    assert_eq!(load(Some(file("own.pem", own))), (1, String::new()));
    assert_eq!(
        load(Some(file("both.pem", &format!("{others}\n{own}\n")))),
        (1, String::new())
    );
    for (ca_file, reason) in [
        (None, "certificate"),
        (Some(file("other.pem", others)), "certificate"),
        (Some(file("garbage.pem", "garbage")), "ca_file"),
        (Some(folder.path().join("missing.pem")), "missing.pem"),
    ] {
        let (key_count, trouble) = load(ca_file);
        assert_eq!(key_count, 0, "{reason}");
        assert!(trouble.contains(reason), "{reason}: {trouble}");
    }
}

#[test]
fn a_provider_that_withdraws_every_key_is_obeyed() {
    let mut scene = Scene::loaded(&[&keys().p256]);
    let token = scene.token(&keys().p256, "ada");
    assert_eq!(scene.code(&token), "ok");
    scene
        .provider
        .set(Mode::Serve(json!({"keys": []}).to_string()));
    scene.clock.advance(REFRESH_GAP_S);
    let unknown = scene.token(&TestKey::p256("unknown"), "eve");
    let error = scene.present(&unknown).expect_err("unknown");
    scene.wait_for_refresh(error);
    assert_eq!(scene.code(&token), "unknown_key");
}

#[test]
fn a_key_file_is_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("keys.json");
    std::fs::write(&path, jwks(&[&keys().p256])).expect("written");
    let clock = StillClock::at(NOW);
    let issuer = "cluster.local";
    let shared = IdentityShared::with_clock(vec![file_issuer(issuer, &path)], None, clock.clock())
        .expect("a good configuration");
    assert_eq!(block_on(load_initial(&shared)), 1);
    let mut authenticator = Authenticator::new(Arc::clone(&shared), 4);
    let claims = claims_with(json!({"iss": issuer}));
    let by_new = format!("Bearer {}", token("EdDSA", &keys().ed, &claims));
    let by_old = format!("Bearer {}", token("ES256", &keys().p256, &claims));
    assert!(
        authenticator
            .authenticate(Some(by_old.as_bytes()), NOW)
            .is_ok()
    );

    std::fs::write(&path, jwks(&[&keys().ed])).expect("written");
    clock.advance(REFRESH_GAP_S);
    let error = authenticator
        .authenticate(Some(by_new.as_bytes()), clock.now())
        .expect_err("unknown");
    let wait = error.refresh.expect("worth waiting for");
    block_on(async {
        tokio::select! {
            () = run_refresher(Arc::clone(&shared)) => unreachable!("it runs for ever"),
            () = wait => {}
        }
    });
    assert!(
        authenticator
            .authenticate(Some(by_new.as_bytes()), clock.now())
            .is_ok()
    );
    assert!(
        authenticator
            .authenticate(Some(by_old.as_bytes()), clock.now())
            .is_err()
    );
}

#[test]
fn a_remembered_token_ends_with_its_time() {
    let mut scene = Scene::loaded(&[&keys().p256]);
    let claims = claims_with(json!({
        "iss": scene.provider.issuer(), "exp": NOW + 100, "nbf": NOW + 50,
    }));
    let token = token("ES256", &keys().p256, &claims);
    assert_eq!(scene.code(&token), "ok", "within the leeway before nbf");
    scene.clock.advance(99);
    assert_eq!(scene.code(&token), "ok");
    assert_eq!(scene.authenticator.remembered_count(), 1);
    scene.clock.advance(60);
    assert_eq!(scene.code(&token), "ok", "within the leeway after exp");
    scene.clock.advance(1);
    assert_eq!(scene.code(&token), "token_expired");
    assert_eq!(scene.authenticator.remembered_count(), 0);
}

#[test]
fn the_cache_is_bounded_and_gives_the_same_principal() {
    let scene = Scene::loaded(&[&keys().p256]);
    let mut authenticator = Authenticator::new(Arc::clone(&scene.shared), 8);
    for n in 0..20 {
        let field = format!(
            "Bearer {}",
            scene.token(&keys().p256, &format!("caller-{n}"))
        );
        let mut ask = || {
            authenticator
                .authenticate(Some(field.as_bytes()), NOW)
                .expect("good")
        };
        assert!(std::rc::Rc::ptr_eq(&ask(), &ask()));
    }
    assert_eq!(authenticator.remembered_count(), 8);
}

#[test]
fn callers_without_a_credential() {
    let shared = |groups: Option<Vec<String>>| {
        IdentityShared::new(Vec::new(), groups).expect("a good configuration")
    };
    let mut closed = Authenticator::new(shared(None), 4);
    let error = closed.authenticate(None, NOW).expect_err("nobody");
    assert_eq!((error.status, error.code), (401, "missing_credential"));
    assert_eq!(
        error.www_authenticate.as_deref(),
        Some("Bearer realm=\"penstock\"")
    );

    let mut open = Authenticator::new(shared(Some(vec!["trial".to_owned()])), 4);
    let principal = open.authenticate(None, NOW).expect("anybody");
    assert_eq!(principal.groups, ["trial"]);
    assert_eq!(
        principal.kind,
        penstock_gateway::identity::PrincipalKind::Anonymous
    );
    for bad in ["", "Bearer ", "Bearer x", "Basic dTpw"] {
        let error = open
            .authenticate(Some(bad.as_bytes()), NOW)
            .expect_err("a bad credential");
        assert_eq!(error.status, 401, "{bad:?}");
    }
}
