//! What the micro-benches measure: one small piece of the data path each, on the same bytes every
//! time, without a socket.
//!
//! Two harnesses run these: `counts` (instructions, by callgrind) and `times` (wall clock, by
//! criterion). A case is made outside of the measurement and has run once before it, so that what
//! is measured is the steady state of a connection, a stream or a core. The texts are
//! prose in which no rule finds anything.

// By its path, not as a dependency: see Cargo.toml.
#[path = "../../src/bench/cases.rs"]
pub mod names;

mod bytes;
mod call;
mod codec;
mod recording;
mod scanning;

/// One measurable piece of work.
pub trait Case {
    /// Makes room for the next run; never measured.
    fn prepare(&mut self) {}

    /// Does the work, [`Case::units`] times.
    fn run(&mut self);

    /// Units of work in a run: heads, texts, events, frames.
    fn units(&self) -> u32;
}

/// A case by its name, warmed up.
pub fn case(name: &str) -> Box<dyn Case> {
    let mut case: Box<dyn Case> = match name {
        "request_head" => Box::new(codec::RequestHeads::new()),
        "response_head" => Box::new(codec::ResponseHeads::new()),
        "chunked_body" => Box::new(codec::ChunkedBody::new()),
        "json_walk" => Box::new(scanning::JsonWalk::new()),
        "scan_prose" => Box::new(scanning::Text::new(scanning::PROSE)),
        "scan_code" => Box::new(scanning::Text::new(scanning::CODE)),
        "scan_json" => Box::new(scanning::Text::new(scanning::JSON)),
        "jwt_hit" => Box::new(call::TokenHit::new()),
        "small_call" => Box::new(call::Calls::new()),
        "event" => Box::new(call::Events::new()),
        "frame" => Box::new(recording::Frames::new()),
        name => panic!("no case {name}"),
    };
    let named = names::CASES.iter().find(|named| named.name == name);
    assert_eq!(named.map(|named| named.units), Some(case.units()), "{name}");
    case.prepare();
    case.run();
    case.prepare();
    case
}

/// What cannot fail on these bytes, of types that do not show themselves.
pub(crate) fn good<T, E>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(_) => panic!("{what}"),
    }
}
