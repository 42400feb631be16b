//! The names of what the micro-benches measure, with the unit in which each is counted.
//!
//! `perf/benches/cases/` holds the work itself, and includes this file.

/// One measurable piece of the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name in records, and on the command line of the harnesses.
    pub name: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Units in one run of the harness.
    pub units: u32,
    /// What happens in one unit.
    pub what: &'static str,
}

/// All of them, in the order in which they are shown.
pub const CASES: [Case; 11] = [
    case(
        "request_head",
        "head",
        16,
        "a request's head of 0.9 KiB is read and judged",
    ),
    case(
        "response_head",
        "head",
        16,
        "a response's head is read and judged",
    ),
    case(
        "chunked_body",
        "body",
        16,
        "a body of 1 KiB in chunks of 128 bytes is decoded",
    ),
    case(
        "json_walk",
        "body",
        16,
        "a chat request of 1 KiB is validated and walked; one idle rule",
    ),
    case(
        "scan_prose",
        "KiB",
        1,
        "1 KiB of prose, every shipped pack and every lane",
    ),
    case("scan_code", "KiB", 1, "1 KiB of code, the same"),
    case(
        "scan_json",
        "KiB",
        1,
        "1 KiB of JSON with escapes, the same",
    ),
    case(
        "jwt_hit",
        "token",
        64,
        "a token that was verified before is known again",
    ),
    case(
        "event",
        "event",
        57,
        "a token's event: read, scanned, masked, recorded, written",
    ),
    case(
        "frame",
        "frame",
        64,
        "a frame of 200 bytes goes into the ring",
    ),
    case(
        "small_call",
        "call",
        8,
        "1 KiB in, 1 KiB out, everything on, without sockets",
    ),
];

const fn case(name: &'static str, unit: &'static str, units: u32, what: &'static str) -> Case {
    Case {
        name,
        unit,
        units,
        what,
    }
}
