//! What a connection takes that rests, and what a stream takes.
//!
//! First some traffic, so that what is allocated once is there. Then connections are opened, each
//! has one small answer and rests; the growth, divided, is what one takes. Then each asks for a
//! stream and is looked at in the middle of it; the growth over the resting ones, divided, is what
//! a stream takes, with its connection to the upstream. It is memory of the subject's processes in
//! which shared pages count once (PSS). Buffers of sockets are the kernel's and not in it.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::round::{Round, Stage};
use crate::cpu;
use crate::driver::answer::AnswerReader;
use crate::driver::body::Counted;
use crate::driver::plan::Prepared;
use crate::driver::wire::Wire;
use crate::error::{Error, Result};
use crate::report::{Figure, Sample};

/// Connections of the traffic before, and how often each of them asks.
const WARM: [usize; 2] = [32, 50];

/// What is freed later than it is done with is freed by then.
const SETTLE: Duration = Duration::from_millis(700);

/// Streams are looked at after so many events.
const EVENTS: u32 = 5;

/// One answer may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Round ===

impl Round<'_> {
    pub(super) fn memory(&self, stage: &Stage) -> Result<Sample> {
        let plan = self.plan(stage.target, stage.upstream_address);
        let mut dialer = self.dialer(stage.target)?;
        let (small, stream) = (plan.of(0, 1, 0), plan.of(0, 1, 1));
        let measured = stage.measured();
        let mut sample = Sample::default();

        let mut warm = Vec::new();
        for _ in 0..WARM[0] {
            let mut wire = dialer.dial(0)?;
            for _ in 0..WARM[1] {
                self.ask(&mut wire, small)?;
            }
            warm.push(wire);
        }
        drop(warm);
        thread::sleep(SETTLE);
        let before = cpu::proportional_bytes(measured);

        let mut wires = Vec::with_capacity(self.scenario.connections);
        for _ in 0..self.scenario.connections {
            let mut wire = dialer.dial(0)?;
            self.ask(&mut wire, small)?;
            wires.push(wire);
        }
        thread::sleep(SETTLE);
        let resting = cpu::proportional_bytes(measured);

        for wire in &mut wires {
            send(wire, stream)?;
        }
        thread::sleep(self.scenario.step * EVENTS);
        let streaming = cpu::proportional_bytes(measured);
        let resident = cpu::resident_bytes(measured);
        for wire in &mut wires {
            self.is_streaming(wire, stream)?;
        }
        let each = |more: u64, less: u64| (more as f64 - less as f64) / wires.len() as f64;
        sample.set(Figure::BytesPerIdleConnection, each(resting, before));
        sample.set(Figure::BytesPerStream, each(streaming, resting));
        sample.set(Figure::RssBytes, resident as f64);
        Ok(sample)
    }

    fn ask(&self, wire: &mut Wire, prepared: &Prepared) -> Result<()> {
        send(wire, prepared)?;
        let mut reader = AnswerReader::new(self.subject.lateness());
        while !self.feed(wire, prepared, &mut reader)? {}
        Ok(())
    }

    /// Some of the stream has come, all of it right, and not its end.
    fn is_streaming(&self, wire: &mut Wire, prepared: &Prepared) -> Result<()> {
        let mut reader = AnswerReader::new(self.subject.lateness());
        match self.feed(wire, prepared, &mut reader)? {
            false => Ok(()),
            true => Err(Error::Unable("a stream ended too early".into())),
        }
    }

    /// Reads once; true when the answer is complete.
    fn feed(&self, wire: &mut Wire, what: &Prepared, reader: &mut AnswerReader) -> Result<bool> {
        let wrong = |what: String| Error::Answer {
            connection: 0,
            what,
        };
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16 << 10];
        loop {
            match wire.read(&mut buffer) {
                Ok(0) => return Err(wrong("closed".into())),
                Ok(count) => {
                    let counted = &mut Counted::default();
                    return reader
                        .feed(&buffer[..count], &what.expected, counted)
                        .map_err(wrong);
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(wrong(format!("receiving: {error}")));
                }
                Err(_) if Instant::now() > deadline => return Err(wrong("nothing came".into())),
                Err(_) => thread::yield_now(),
            }
        }
    }
}

fn send(wire: &mut Wire, prepared: &Prepared) -> Result<()> {
    let mut request = Vec::new();
    prepared.write(0, &mut request);
    match wire.write(&request) {
        Ok(count) if count == request.len() => Ok(()),
        Ok(_) => Err(Error::Unable(
            "a small request did not fit its socket".into(),
        )),
        Err(error) => Err(Error::Answer {
            connection: 0,
            what: format!("sending: {error}"),
        }),
    }
}
