//! A server's side of a connection over the codec alone: what it would understand of given bytes.

use penstock_gateway::http1::{
    ChunkDecoder, Framing, HeadLimits, HeadScanner, Method, Progress, Refusal, RequestHead,
    Version, parse_request_into,
};

/// Everything that a request told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) host: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) body: Vec<u8>,
}

/// What came out of a connection's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Request>,
    pub(crate) refusal: Option<Refusal>,
    /// The bytes ended within a message.
    pub(crate) unfinished: bool,
}

/// Reads a connection as a server does: bytes arrive in pieces that end at `cuts`, heads and bodies
/// follow one another, the first refusal ends it.
pub(crate) fn serve(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Outcome {
    let mut server = Server::default();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        server.buffer.extend_from_slice(&bytes[from..cut]);
        from = cut;
        if let Err(refusal) = server.advance() {
            server.outcome.refusal = Some(refusal);
            return server.outcome;
        }
    }
    server.outcome.unfinished = server.body.is_some() || !server.buffer.is_empty();
    server.outcome
}

#[derive(Default)]
struct Server {
    buffer: Vec<u8>,
    scanner: HeadScanner,
    head: RequestHead,
    body: Option<Body>,
    outcome: Outcome,
}

enum Body {
    Length(u64),
    Chunked(ChunkDecoder),
}

impl Server {
    fn advance(&mut self) -> Result<(), Refusal> {
        loop {
            let moved = if self.body.is_some() {
                self.advance_body()?
            } else {
                self.advance_head()?
            };
            if !moved {
                return Ok(());
            }
        }
    }

    fn advance_head(&mut self) -> Result<bool, Refusal> {
        let limits = HeadLimits::default();
        let (scanner, head) = (&mut self.scanner, &mut self.head);
        let Progress::Complete { consumed, .. } =
            parse_request_into(scanner, &self.buffer, &limits, head)?
        else {
            return Ok(false);
        };
        self.buffer.drain(..consumed);
        self.outcome.requests.push(describe(&self.head));
        self.body = match self.head.framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(ChunkDecoder::new())),
        };
        Ok(true)
    }

    fn advance_body(&mut self) -> Result<bool, Refusal> {
        let into = &mut self
            .outcome
            .requests
            .last_mut()
            .expect("a head came first")
            .body;
        let (consumed, done) = match self.body.as_mut().expect("asked for") {
            Body::Length(left) => {
                let take = self.buffer.len().min(*left as usize);
                into.extend_from_slice(&self.buffer[..take]);
                *left -= take as u64;
                (take, *left == 0)
            }
            Body::Chunked(decoder) => {
                let step = decoder.decode(&self.buffer)?;
                into.extend_from_slice(&self.buffer[step.data]);
                (step.consumed, step.done)
            }
        };
        self.buffer.drain(..consumed);
        if done {
            self.body = None;
        }
        Ok(consumed > 0)
    }
}

fn describe(head: &RequestHead) -> Request {
    Request {
        method: head.method,
        version: head.version,
        target: head.target().into(),
        path: head.path().into(),
        query: head.query().map(Into::into),
        host: head.host().into(),
        fields: head
            .fields
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        framing: head.framing,
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
        body: Vec::new(),
    }
}
