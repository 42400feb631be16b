//! Connections: kept and new ones, TLS, hanging up, who asks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::{SOON, double};

#[test]
fn a_kept_connection_that_died_is_no_error() {
    let double = double();
    let mut options = options(&double, "[[double: close=silently]]");
    options.requests_max = 20;
    options.connections = 1;
    let counts = done(options).counts;
    assert_eq!((counts.completed, counts.intended), (20, 20), "{counts:?}");
    assert_eq!(double.counters().connections, 20);
}

#[test]
fn connections_are_kept_or_new_as_asked() {
    let double = double();
    for (share, least, most) in [(0.0, 1, 8), (1.0, 100, 100), (0.5, 25, 90)] {
        double.clear();
        let mut options = options(&double, "hi");
        options.workload.new_connections_share = share;
        let outcome = done(options);
        let made = double.counters().connections;
        assert_eq!(outcome.counts.completed, 100);
        assert!((least..=most).contains(&made), "{share}: {made}");
        assert_eq!(outcome.counts.connections, made);
        assert_eq!(times(&outcome, Metric::Connect, Basis::Sent).count, made);
    }
}

#[test]
fn the_generator_hangs_up_where_it_is_asked_to() {
    let double = double();
    let prompt = "[[double: text=\"a b c d e f\" inter_token_ms=100]]";
    for after in [
        DisconnectAfter::Texts(0),
        DisconnectAfter::Texts(2),
        DisconnectAfter::Nanoseconds(50 * MS),
    ] {
        double.clear();
        let mut options = streams(&double, prompt);
        options.workload.disconnects_share = 1.0;
        options.workload.disconnect_after = after;
        let counts = done(options).counts;
        assert_eq!(
            (counts.left_on_purpose, counts.completed),
            (10, 0),
            "{after:?} {counts:?}"
        );
        assert_eq!(counts.error_rate, 0.0);
        // The server notices: it was interrupted in the middle.
        assert!(
            double.wait(SOON, |seen| seen.cancelled == 10),
            "{:?}",
            double.counters()
        );
    }
    let mut some = streams(&double, "[[double: text=\"a b c d e f\" inter_token_ms=5]]");
    some.requests_max = 100;
    some.workload.disconnects_share = 0.3;
    let counts = done(some).counts;
    assert!((10..=50).contains(&counts.left_on_purpose), "{counts:?}");
    assert_eq!(counts.completed + counts.left_on_purpose, 100);
}

#[test]
fn many_identities_ask_each_with_its_token() {
    let double = double();
    let mut options = options(&double, "hi");
    options.workload.identities = Identities::bearers(["t0", "t1", "t2"]).unwrap();
    options.fields = "x-team: water\r\n".into();
    done(options);
    let requests = double.requests();
    let of = |token: &str| {
        let value = format!("Bearer {token}");
        requests
            .iter()
            .filter(|r| r.field("authorization") == Some(&value))
            .count()
    };
    let (first, second, third) = (of("t0"), of("t1"), of("t2"));
    assert_eq!(first + second + third, 100);
    assert!(
        first.min(second).min(third) > 10,
        "{first} {second} {third}"
    );
    assert!(
        requests
            .iter()
            .all(|request| request.field("x-team") == Some("water"))
    );
}

/// A TLS server before the double: a thread a connection, each in its turn.
fn terminator(upstream: SocketAddr) -> (SocketAddr, tempfile::TempDir, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let der = STANDARD.encode(made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    std::fs::write(&ca, pem).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || relay(StreamOwned::new(tls, client), upstream));
        }
    });
    (address, folder, ca)
}

/// Request by request: requests are small, and an answer ends when the double has been quiet.
fn relay(mut client: StreamOwned<ServerConnection, TcpStream>, upstream: SocketAddr) {
    let mut server = TcpStream::connect(upstream).unwrap();
    server
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut buffer = [0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = client.read(&mut buffer) else {
            return;
        };
        if server.write_all(&buffer[..count]).is_err() {
            return;
        }
        let mut answered = false;
        loop {
            match server.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    answered = true;
                    if client.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                Err(_) if answered => break,
                Err(_) => {}
            }
        }
    }
}

#[test]
fn tls_is_spoken_and_timed_and_certificates_are_looked_at() {
    let double = double();
    let (address, _folder, ca) = terminator(double.address());
    let access = |authorities: Option<&PathBuf>, name: Option<&str>| Access {
        authorities: authorities.cloned(),
        server_name: name.map(str::to_owned),
        ..Access::default()
    };
    let run = |access: &Access, share: f64| {
        let url = format!("https://{address}/v1");
        let mut options = options_for("unix:/unused", "hi");
        options.target = Target::new(&url, access).unwrap();
        options.workload.new_connections_share = share;
        options.requests_max = 10;
        done(options)
    };
    let kept = run(&access(Some(&ca), None), 0.0);
    assert_eq!(
        (kept.counts.completed, kept.asked.tls),
        (10, true),
        "{:?}",
        kept.counts
    );
    let fresh = run(&access(Some(&ca), Some("localhost")), 1.0);
    assert_eq!(fresh.counts.completed, 10, "{:?}", fresh.counts);
    assert_eq!(times(&fresh, Metric::Tls, Basis::Sent).count, 10);
    let other_name = run(&access(Some(&ca), Some("example.com")), 0.0);
    assert_eq!(
        other_name.counts.errors["tls"], 10,
        "{:?}",
        other_name.counts
    );
    // Nobody's authority but its own signed it.
    let (_, _other_folder, other_ca) = terminator(double.address());
    let untrusted = run(&access(Some(&other_ca), None), 0.0);
    assert_eq!(untrusted.counts.errors["tls"], 10, "{:?}", untrusted.counts);
}
