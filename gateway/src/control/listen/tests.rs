//! Clients that are slow, idle, half gone or many: each is ended, and its place is free again. That
//! it is shows in who is served: most listeners here have one place.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use axum::routing::get;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

/// Clients that get no further are ended soon.
const SHORT: Patience = Patience {
    head: Duration::from_millis(150),
    handshake: Duration::from_millis(150),
    unread: Duration::from_millis(150),
};
/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(40);
/// More than the sockets between two programs hold.
const MUCH: usize = 64 << 20;

/// A listener on a thread of its own; ends with this.
struct Served {
    address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn start(places: Arc<Places>, patience: Patience, tls: Option<Arc<ServerConfig>>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let place = TcpPlace {
        listener,
        tls: tls.map(|config| Arc::new(ArcSwapOption::from(Some(config)))),
        per_address_max: usize::MAX,
    };
    std::thread::spawn(move || {
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/much", get(async || "x".repeat(MUCH)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            serve_tcp_within(place, router, places, patience).unwrap();
            // An error says the same: the test is over.
            let _ = stopped.await;
        });
    });
    Served {
        address,
        _stop: stop,
    }
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// From another address of this machine.
fn connect_from(served: &Served, from: [u8; 4]) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&served.address.into()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.into()
}

/// Whether a request is answered on this connection.
fn is_served(stream: &mut (impl std::io::Read + std::io::Write)) -> bool {
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while asked.is_ok()
        && !answer.ends_with(b"\r\n\r\nhere")
        && stream.read_exact(&mut byte).is_ok()
    {
        answer.extend(byte);
    }
    answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"here")
}

/// Whether the other side has ended it.
fn has_ended(mut stream: &TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        // A reset; but for the time of the reading.
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Writes one byte after the other for as long as somebody takes them; how many those were.
fn trickle(mut stream: &TcpStream, bytes: impl Iterator<Item = u8>) -> usize {
    let mut written = 0;
    for byte in bytes {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        written += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    written
}

fn nothing(_: &TcpStream) {}

fn half_a_head(mut stream: &TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: he").unwrap();
}

fn a_head_byte_by_byte(stream: &TcpStream) {
    let endless = b"GET / HTTP/1.1\r\nx-a: "
        .iter()
        .copied()
        .chain(std::iter::repeat(b'a'));
    let written = trickle(stream, endless);
    assert!(written < HEAD_BYTES_MAX, "it was ended for its size");
}

fn half_closed(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

fn half_closed_in_a_head(stream: &TcpStream) {
    half_a_head(stream);
    half_closed(stream);
}

fn a_rest_after_a_request(stream: &TcpStream) {
    assert!(is_served(&mut { stream }));
}

#[test]
fn whoever_gets_no_further_is_ended_and_the_place_is_free_again() {
    type Client = fn(&TcpStream);
    let clients: [(&str, Client); 6] = [
        ("idle", nothing),
        ("half a head", half_a_head),
        ("byte by byte", a_head_byte_by_byte),
        ("half-closed", half_closed),
        ("half-closed in a head", half_closed_in_a_head),
        ("resting", a_rest_after_a_request),
    ];
    let served = start(Places::new(1, 1), SHORT, None);
    for (what, client) in clients {
        let stream = connect(&served);
        client(&stream);
        assert!(is_served(&mut connect(&served)), "{what} keeps its place");
        assert!(has_ended(&stream), "{what} is still connected");
    }
}

#[test]
fn whoever_takes_nothing_of_an_answer_is_ended() {
    let served = start(Places::new(1, 1), SHORT, None);
    let mut stream = connect(&served);
    let asked = b"GET /much HTTP/1.1\r\nHost: here\r\n\r\n";
    stream.write_all(asked).unwrap();
    assert!(is_served(&mut connect(&served)));
    let mut got = Vec::new();
    let whole = stream.read_to_end(&mut got).is_ok() && got.len() > MUCH;
    assert!(!whole, "it was kept for a reader that stayed away");
}

#[test]
fn whoever_never_finishes_a_handshake_is_ended() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let session = || {
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(client.clone(), name).unwrap()
    };
    let mut hello = Vec::new();
    session().write_tls(&mut hello).unwrap();

    let patience = Patience {
        handshake: Duration::from_millis(500),
        ..SHORT
    };
    let served = start(Places::new(1, 1), patience, Some(Arc::new(server)));
    // On a busy machine an honest handshake may be too slow for these bounds: another is tried.
    let is_free = || {
        let start = std::time::Instant::now();
        let mut tries = std::iter::repeat_with(|| StreamOwned::new(session(), connect(&served)))
            .take_while(|_| start.elapsed() < SOON);
        tries.any(|mut stream| is_served(&mut stream))
    };
    for sent in [0, 1, hello.len() / 2, hello.len()] {
        let mut stream = connect(&served);
        stream.write_all(&hello[..sent]).unwrap();
        assert!(is_free(), "{sent} bytes of a hello keep their place");
        assert!(has_ended(&stream), "{sent} bytes of a hello stay connected");
    }
    // What is no handshake is no reason to wait.
    let mut stream = connect(&served);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(has_ended(&stream) && is_free());
}

#[test]
fn one_address_does_not_keep_the_others_out() {
    let served = start(Places::new(8, 2), PATIENCE, None);
    let mut ours = [connect(&served), connect(&served)];
    assert!(ours.iter_mut().all(is_served));
    for _ in 0..8 {
        assert!(has_ended(&connect(&served)), "one more than its share");
    }
    assert!(is_served(&mut connect_from(&served, [127, 0, 0, 2])));
    let [first, mut second] = ours;
    assert!(is_served(&mut second), "those that were there go on");
    drop(first);
    let start = std::time::Instant::now();
    while !is_served(&mut connect(&served)) {
        assert!(start.elapsed() < SOON, "its place is not free again");
    }
}
