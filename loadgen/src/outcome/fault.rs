//! Why an exchange did not end well, in classes that stay the same from run to run.

use std::fmt;

/// Classes of errors. Written as `status_503`, `timeout`, `not_sent`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Answered with a status that is not 2xx.
    Status(u16),
    /// No connection could be made.
    Connect,
    /// Nothing listens there.
    Refused,
    /// The connection was reset.
    Reset,
    /// No TLS could be agreed on, or the certificate is not good.
    Tls,
    /// It took longer than one request may.
    Timeout,
    /// The connection was closed before an answer came, or inside its head.
    Closed,
    /// A stream or a body that ended before its proper end.
    Truncated,
    /// An answer that is not HTTP, or a body that is not what its media type says.
    Malformed,
    /// An error event inside a stream that began well.
    ErrorEvent,
    /// Reading or writing failed in another way.
    Io,
    /// It was due and never started: no connection came free in time.
    NotSent,
    /// It had started and was not over when the run ended.
    Unfinished,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Fault::Status(status) => return write!(f, "status_{status}"),
            Fault::Connect => "connect",
            Fault::Refused => "refused",
            Fault::Reset => "reset",
            Fault::Tls => "tls",
            Fault::Timeout => "timeout",
            Fault::Closed => "closed",
            Fault::Truncated => "truncated",
            Fault::Malformed => "malformed",
            Fault::ErrorEvent => "error_event",
            Fault::Io => "io",
            Fault::NotSent => "not_sent",
            Fault::Unfinished => "unfinished",
        };
        f.write_str(word)
    }
}
