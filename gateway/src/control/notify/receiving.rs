//! A receiving server for tests: it does what it is told and notes every byte that it gets.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::tests::until;

/// What a receiving server does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    Answer(u16),
    /// With another field.
    AnswerWith(u16, &'static str),
    /// Reads it and never says anything.
    Hang,
    /// Closes the connection in the middle of an answer.
    Die,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) line: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) at: Instant,
}

/// A server that notes what it gets.
pub(super) struct Receiving {
    pub(super) url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

// === impl Receiving ===

impl Receiving {
    /// Does one thing after another, and the last one for ever.
    pub(super) async fn start(does: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (noted, does) = (got.clone(), does.to_vec());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, noted.clone(), does.clone()));
            }
        });
        Self { url, got }
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(super) async fn wait_for(&self, count: usize) -> Vec<Got> {
        until(&format!("{count} requests"), || self.got().len() >= count).await;
        self.got()
    }
}

impl Got {
    pub(super) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

pub(super) async fn serve(mut stream: TcpStream, noted: Arc<Mutex<Vec<Got>>>, does: Vec<Does>) {
    while let Some(got) = read(&mut stream).await {
        let index = {
            let mut noted = noted.lock().unwrap();
            noted.push(got);
            noted.len() - 1
        };
        let answer = match does[index.min(does.len() - 1)] {
            Does::Answer(status) => {
                format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok")
            }
            Does::AnswerWith(status, field) => {
                format!("HTTP/1.1 {status} X\r\n{field}\r\nContent-Length: 0\r\n\r\n")
            }
            Does::Hang => return std::future::pending().await,
            Does::Die => {
                let _ = stream.write_all(b"HTTP/1.1 20").await;
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[end..].to_vec()).unwrap();
    let at = Instant::now();
    Some(Got {
        line,
        fields,
        body,
        at,
    })
}
