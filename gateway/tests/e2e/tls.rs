//! TLS on the listener: versions, protocol names, what is not TLS, and certificates that change
//! while connections go on. Keys and certificates are made here, at run time.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_loadgen::client::{Call, Connection, Head, parse_head};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use serde_json::json;

use crate::stack::{MODEL, Stack, post_bytes, scripted, wait};

/// A key pair and its certificate, which signs itself.
pub(crate) struct Pair {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

/// A TLS client that reads one answer after another.
struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<String> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

// === impl Pair ===

impl Pair {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]);
        let certificate = params
            .expect("a name")
            .self_signed(&key)
            .expect("a certificate");
        Self { certificate, key }
    }

    pub(crate) fn write(&self, folder: &Path) {
        self.write_certificate(folder);
        fs::write(folder.join("key.pem"), self.key_pem()).expect("the key is written");
    }

    fn write_certificate(&self, folder: &Path) {
        let pem = pem("CERTIFICATE", self.der());
        fs::write(folder.join("cert.pem"), pem).expect("the certificate is written");
    }

    fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key.serialize_der())
    }

    fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// A client that trusts this certificate, and remembers sessions of its own.
    fn trust(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Arc<ClientConfig> {
        self.trust_with(default_provider(), versions, alpn)
    }

    /// The same for a client that can do only what `provider` can.
    fn trust_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.der().clone())
            .expect("a certificate of ours");
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions that the provider has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

// === impl Client ===

impl Client {
    fn connect(
        address: SocketAddr,
        trusted: &Pair,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> std::io::Result<Self> {
        Self::under(address, trusted.trust(versions, alpn))
    }

    /// A connection of a client that remembers what `config` remembers.
    fn under(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config, name).expect("a session");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    fn modern(address: SocketAddr, trusted: &Pair) -> std::io::Result<Self> {
        Self::connect(address, trusted, &[&TLS13], &[b"http/1.1"])
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the request is sent");
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// A head, and its body where that has a length; chunks stay to be read by [`Client::rest`].
    fn answer(&mut self) -> (Head, Vec<u8>) {
        let end = loop {
            if let Some(at) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            assert!(
                self.fill().expect("an answer") > 0,
                "closed before an answer"
            );
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = parse_head(&head).expect("a head");
        let length = head
            .field("content-length")
            .map_or(0, |text| text.parse().expect("digits"));
        while self.buffer.len() < length {
            assert!(self.fill().expect("a body") > 0, "closed within the body");
        }
        let body = self.buffer.drain(..length).collect();
        (head, body)
    }

    /// All that comes until the other side ends; the error when it ends without saying so.
    fn rest(&mut self) -> (String, Option<ErrorKind>) {
        let ended = loop {
            match self.fill() {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.kind()),
            }
        };
        (String::from_utf8_lossy(&self.buffer).into_owned(), ended)
    }
}

/// A stack that listens with the pair in `folder`.
fn stack(folder: &Path) -> Stack {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    Stack::with(|setup| {
        setup.record = false;
        setup.listen = format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}");
        setup.limits = "head_read = \"1s\"".to_owned();
    })
}

#[test]
fn both_versions_carry_calls_and_streams() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let token = stack.token();
    for version in [&TLS12, &TLS13] {
        let mut client =
            Client::connect(stack.address(), &pair, &[version], &[b"h2", b"http/1.1"]).unwrap();
        assert_eq!(
            client.stream.conn.alpn_protocol(),
            Some(b"http/1.1".as_slice())
        );
        assert_eq!(client.stream.conn.protocol_version(), Some(version.version));
        // Larger than one record on the way in, and on the way out.
        let long = "order CUST-12345678 is ready ".repeat(2000);
        let body = scripted(&json!({ "text": long, "split": "whole" }), false);
        client.send(&post_bytes(&token, "/v1/chat/completions", &body));
        let (head, body) = client.answer();
        assert_eq!(head.status, 200);
        let body = String::from_utf8(body).unwrap();
        assert!(body.len() > 40_000 && !body.contains("12345678"));
        // On the same connection a stream, read to its end.
        let body = scripted(&json!({ "text": "a b c" }), true);
        let call = Call::post(
            "/v1/chat/completions",
            &serde_json::from_str(&body).unwrap(),
        );
        client.send(&call.token(&token).field("connection", "close").bytes());
        let (head, _) = client.answer();
        assert_eq!(head.status, 200);
        let (text, error) = client.rest();
        assert!(text.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{text}");
        assert_eq!(error, None, "the end is announced");
    }
    let seen = stack.double.requests();
    assert!(
        seen.iter()
            .all(|request| request.field("x-forwarded-proto") == Some("https"))
    );
}

#[test]
fn any_number_of_clients_resume_their_sessions() {
    // More than a server would commonly remember by itself.
    const CLIENTS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let call = Call::get("/v1/models").token(&stack.token()).bytes();
    for version in [&TLS12, &TLS13] {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| pair.trust(&[version], &[b"http/1.1"]))
            .collect();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            for config in &clients {
                let mut client = Client::under(stack.address(), config.clone()).unwrap();
                assert_eq!(client.stream.conn.handshake_kind(), Some(kind));
                // In TLS 1.3 tickets follow the handshake: they are read with the answer.
                client.send(&call);
                assert_eq!(client.answer().0.status, 200);
            }
        }
    }
}

#[test]
fn of_the_suites_the_cheapest_is_taken_and_each_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let call = Call::get("/v1/models").token(&stack.token()).bytes();
    let served = |provider: CryptoProvider, version: &'static SupportedProtocolVersion| {
        let config = pair.trust_with(provider, &[version], &[b"http/1.1"]);
        let mut client = Client::under(stack.address(), config).unwrap();
        client.send(&call);
        assert_eq!(client.answer().0.status, 200);
        client.stream.conn.negotiated_cipher_suite().unwrap()
    };
    // Clients of this library name AES-256 with SHA-384 first, as OpenSSL's do.
    for (version, cheapest) in [
        (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
    ] {
        assert_eq!(served(default_provider(), version).suite(), cheapest);
    }
    let mut alone = 0;
    for suite in default_provider().cipher_suites {
        // The certificate's key is no RSA key.
        if format!("{:?}", suite.suite()).contains("ECDHE_RSA") {
            continue;
        }
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..default_provider()
        };
        assert_eq!(served(provider, suite.version()), suite);
        alone += 1;
    }
    assert_eq!(alone, 6);
}

#[test]
fn an_answer_that_breaks_off_is_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let mut client = Client::modern(stack.address(), &pair).unwrap();
    let body = scripted(&json!({ "text": "a b c d", "truncate": "after:2" }), true);
    client.send(&post_bytes(&stack.token(), "/v1/chat/completions", &body));
    assert_eq!(client.answer().0.status, 200);
    let (text, error) = client.rest();
    assert!(
        !text.ends_with("0\r\n\r\n") && !text.contains("[DONE]"),
        "{text}"
    );
    assert!(error.is_some(), "the end is announced as if all were well");
}

#[test]
fn what_is_not_tls_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let hello_and_junk = [b"\x16\x03\x01\0\x05hello".as_slice(), &[0xff; 400]].concat();
    for bytes in [
        Call::chat(MODEL, "hello", false)
            .token(&stack.token())
            .bytes(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        hello_and_junk,
        // Half of a handshake, and then nothing: the head's time runs already.
        b"\x16\x03\x01\x02\0".to_vec(),
    ] {
        let mut socket = TcpStream::connect(stack.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(
            !answer.starts_with(b"HTTP"),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
        assert!(answer.len() < 100, "{} bytes", answer.len());
    }
    // A protocol that is not spoken here, and a client that trusts somebody else.
    assert!(Client::connect(stack.address(), &pair, &[&TLS13], &[b"h2"]).is_err());
    assert!(Client::modern(stack.address(), &Pair::new()).is_err());
    assert_eq!(stack.double.counters().connections, 0);
    let mut client = Client::modern(stack.address(), &pair).unwrap();
    client.send(&Call::get("/v1/models").token(&stack.token()).bytes());
    assert_eq!(client.answer().0.status, 200);
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new, other) = (Pair::new(), Pair::new(), Pair::new());
    old.write(folder.path());
    let stack = stack(folder.path());
    let get = Call::get("/v1/models").token(&stack.token()).bytes();
    let served = |client: &mut Client| {
        client.send(&get);
        client.answer().0.status
    };
    let mut before = Client::modern(stack.address(), &old).unwrap();
    assert_eq!(served(&mut before), 200);

    new.write(folder.path());
    assert!(wait(|| Client::modern(stack.address(), &new).is_ok()));
    assert!(
        Client::modern(stack.address(), &old).is_err(),
        "both certificates are served"
    );
    assert_eq!(served(&mut before), 200, "an old connection goes on");

    // A certificate without its key, and then no certificate at all.
    other.write_certificate(folder.path());
    assert!(
        wait(|| stack.log().contains("TLS files not taken")),
        "{}",
        stack.log()
    );
    let mut still = Client::modern(stack.address(), &new).unwrap();
    assert_eq!(served(&mut still), 200);
    let refusals = stack.log().matches("TLS files not taken").count();
    fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
    assert!(wait(
        || stack.log().matches("TLS files not taken").count() > refusals
    ));
    assert_eq!(
        served(&mut Client::modern(stack.address(), &new).unwrap()),
        200
    );

    // Once it is whole, it counts.
    other.write(folder.path());
    assert!(
        wait(|| Client::modern(stack.address(), &other).is_ok()),
        "{}",
        stack.log()
    );
    let key = other.key_pem();
    let line = key.lines().nth(1).unwrap();
    assert!(!stack.log().contains(line), "a key is in the log");
}

#[test]
fn a_session_goes_on_with_new_keys_and_its_end_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let stack = stack(folder.path());
    let token = stack.token();
    let mut client = Client::modern(stack.address(), &pair).unwrap();
    for _ in 0..3 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        client.send(&Call::get("/v1/models").token(&token).bytes());
        assert_eq!(client.answer().0.status, 200);
    }
    // A byte a record.
    for byte in Call::get("/v1/models").token(&token).bytes() {
        client.send(&[byte]);
    }
    assert_eq!(client.answer().0.status, 200);
    // Whether it says so or not: a client that goes is noticed in mid-stream.
    let body = scripted(&json!({ "ttft_ms": 60000 }), true);
    for (gone, says_so) in [(1, true), (2, false)] {
        let mut client = Client::modern(stack.address(), &pair).unwrap();
        client.send(&post_bytes(&token, "/v1/chat/completions", &body));
        assert_eq!(client.answer().0.status, 200);
        if says_so {
            client.stream.conn.send_close_notify();
            client.stream.flush().unwrap();
        } else {
            client
                .stream
                .sock
                .shutdown(std::net::Shutdown::Both)
                .unwrap();
        }
        let soon = Duration::from_secs(10);
        assert!(
            stack
                .double
                .wait(soon, |counters| counters.cancelled == gone),
            "{says_so}"
        );
    }
}

#[test]
fn the_unix_socket_beside_a_tls_port_is_clear() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(folder.path());
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.listen = format!(
            "unix = \"gateway.sock\"\ntls = {{ certificate = {certificate:?}, key = {key:?} }}"
        );
    });
    let mut unix = Connection::unix(&stack.path("gateway.sock")).unwrap();
    let get = Call::get("/v1/models").token(&stack.token());
    get.over(&mut unix).unwrap();
    assert_eq!(unix.read_response().unwrap().status(), 200);
    let mut client = Client::modern(stack.address(), &pair).unwrap();
    client.send(&get.bytes());
    assert_eq!(client.answer().0.status, 200);
    let seen = stack.double.requests();
    let schemes: Vec<_> = seen
        .iter()
        .map(|request| request.field("x-forwarded-proto"))
        .collect();
    assert_eq!(schemes, [Some("http"), Some("https")]);
}
