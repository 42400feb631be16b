//! An identity provider on a loopback port, as small as it can be, that misbehaves on request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the provider answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Discovery and this key set.
    Serve(String),
    /// Discovery in this issuer's name, and this key set.
    ServeAs(String, String),
    /// Closes every connection without an answer.
    HangUp,
    /// This status and nothing else.
    Status(u16),
    /// Sends everybody to another place.
    Redirect,
    /// A key set of this many bytes, with or without its length declared.
    Oversized { bytes: usize, declared: bool },
}

pub(crate) struct Provider {
    address: SocketAddr,
    /// The certificate to trust, in PEM, when this provider speaks TLS.
    pub(crate) certificate: Option<String>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    origin: String,
    mode: Mutex<Mode>,
    key_fetches: AtomicUsize,
    stop: AtomicBool,
}

impl Provider {
    pub(crate) fn start(mode: Mode) -> Self {
        Self::listen(mode, None)
    }

    /// The same over TLS, with a certificate of its own making.
    pub(crate) fn start_tls(mode: Mode) -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key that fits");
        let certificate = super::pem("CERTIFICATE", made.cert.der());
        Self::listen(mode, Some((Arc::new(config), certificate)))
    }

    fn listen(mode: Mode, tls: Option<(Arc<ServerConfig>, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let (tls, certificate) = tls.unzip();
        let state = Arc::new(State {
            origin: format!("http{}://{address}", if tls.is_some() { "s" } else { "" }),
            mode: Mutex::new(mode),
            key_fetches: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    break;
                }
                // A caller that goes away in the middle is part of what is tested.
                let _ = stream.and_then(|stream| serving.answer_over(stream, tls.as_ref()));
            }
        });
        Self {
            address,
            certificate,
            state,
            thread: Some(thread),
        }
    }

    pub(crate) fn issuer(&self) -> String {
        self.state.origin.clone()
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("not poisoned") = mode;
    }

    /// How many times the key set was asked for.
    pub(crate) fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn answer_over(
        &self,
        stream: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
    ) -> std::io::Result<()> {
        let Some(tls) = tls else {
            return self.answer(stream);
        };
        let connection = ServerConnection::new(Arc::clone(tls)).expect("a good configuration");
        let mut stream = StreamOwned::new(connection, stream);
        self.answer(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let path = read_path(&mut stream)?;
        let keys = path == "/keys";
        self.key_fetches
            .fetch_add(usize::from(keys), Ordering::SeqCst);
        let mode = self.mode.lock().expect("not poisoned").clone();
        let origin = self.origin.as_str();
        let discovery = |issuer: &str| {
            serde_json::json!({"issuer": issuer, "jwks_uri": format!("{origin}/keys")}).to_string()
        };
        match mode {
            Mode::HangUp => Ok(()),
            Mode::Status(status) => write!(
                stream,
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Mode::Redirect => write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {origin}/elsewhere\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            ),
            Mode::Serve(jwks) if keys => ok(&mut stream, &jwks),
            Mode::ServeAs(_, jwks) if keys => ok(&mut stream, &jwks),
            Mode::Oversized { bytes, declared } if keys => {
                let length = format!("Content-Length: {bytes}\r\n");
                let length = if declared { length.as_str() } else { "" };
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n"
                )?;
                stream.write_all(&vec![b' '; bytes])
            }
            Mode::ServeAs(issuer, _) => ok(&mut stream, &discovery(&issuer)),
            Mode::Serve(_) | Mode::Oversized { .. } => ok(&mut stream, &discovery(origin)),
        }
    }
}

fn ok(stream: &mut impl Write, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn read_path(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.split(' ').nth(1).unwrap_or_default().to_owned())
}
