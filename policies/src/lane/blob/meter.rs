//! Base64 and hexadecimal runs of a text, measured while they grow.

use super::classify::{BlobKind, CLASSIFY_BYTES, classify};
use crate::lane::look::base64_value;

/// What a run looks like is asked first when so many bytes of it are decoded, then once more when
/// [`CLASSIFY_BYTES`] are: a few formats need their first member's name.
const FIRST_LOOK_BYTES: usize = 48;

/// A run that uses fewer characters of its alphabet than this is monotonous: a rule of dashes, a
/// sequence of bases, an ASCII drawing.
const DISTINCT_BASE64_MIN: u32 = 24;
const DISTINCT_HEX_MIN: u32 = 10;

/// Of so many decoded bytes in a hundred that are printable, a run is text in another alphabet;
/// the lane that decodes reads it.
const TEXT_PERCENT: usize = 85;

/// A run that a guard may want to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it is.
    pub kind: BlobKind,
    /// The first byte of the run in the text.
    pub start: usize,
    /// How many bytes of it have come.
    pub bytes: usize,
}

/// Follows the runs of one text that comes in pieces; how it is cut changes nothing.
///
/// A run is a longest stretch of base64 characters, of either alphabet, across line ends, whether
/// they are bytes or escaped as in JSON (`\n`). Hexadecimal is read as such when it has nothing
/// else.
#[derive(Debug)]
pub struct RunMeter {
    opaque_bytes: usize,
    at: usize,
    start: usize,
    /// Characters of the run, without line ends.
    count: usize,
    hex_only: bool,
    /// Characters seen, one bit each.
    distinct: u64,
    /// The last few characters, as values of six and of four bits.
    word: u32,
    nibble: u8,
    base64: Decoded,
    hex: Decoded,
    /// What has been told of this run.
    told: Option<BlobKind>,
    /// A backslash came, which may be half of an escaped line end.
    escape: bool,
}

/// The bytes of a run in one of its readings.
#[derive(Debug, Default)]
struct Decoded {
    first: Vec<u8>,
    count: usize,
    printable: usize,
}

// === impl RunMeter ===

impl RunMeter {
    /// A meter that calls a run opaque when it has more than `opaque_bytes` characters and does not
    /// decode to text.
    pub fn new(opaque_bytes: usize) -> RunMeter {
        RunMeter {
            opaque_bytes,
            at: 0,
            start: 0,
            count: 0,
            hex_only: true,
            distinct: 0,
            word: 0,
            nibble: 0,
            base64: Decoded::default(),
            hex: Decoded::default(),
            told: None,
            escape: false,
        }
    }

    /// Reads the next piece; tells each run once when it is known to be a file, and once when it
    /// is longer than the bound.
    pub fn push(&mut self, piece: &str, on_run: &mut dyn FnMut(Run)) {
        for byte in piece.bytes() {
            self.byte(byte, on_run);
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&mut self, byte: u8, on_run: &mut dyn FnMut(Run)) {
        let escape = std::mem::take(&mut self.escape);
        if let Some(value) = base64_value(byte).filter(|_| !escape) {
            self.character(byte, value, on_run);
            return;
        }
        match byte {
            b'\n' | b'\r' if self.count > 0 => {}
            b'n' | b'r' if escape => {}
            b'/' if escape => self.character(byte, 63, on_run),
            b'\\' if self.count > 0 && !escape => self.escape = true,
            _ => self.end(on_run),
        }
    }

    fn character(&mut self, byte: u8, value: u8, on_run: &mut dyn FnMut(Run)) {
        if self.count == 0 {
            self.start = self.at;
        }
        self.count += 1;
        self.distinct |= 1 << value;
        self.word = self.word << 6 | u32::from(value);
        if self.count.is_multiple_of(4) {
            let [_, bytes @ ..] = self.word.to_be_bytes();
            self.base64.take(&bytes);
        }
        match (byte as char).to_digit(16) {
            Some(digit) if self.hex_only => {
                self.nibble = self.nibble << 4 | digit as u8;
                if self.count.is_multiple_of(2) {
                    self.hex.take(&[self.nibble]);
                }
            }
            _ => self.hex_only = false,
        }
        self.look(on_run);
    }

    fn look(&mut self, on_run: &mut dyn FnMut(Run)) {
        let reading = if self.hex_only {
            &self.hex
        } else {
            &self.base64
        };
        let whole_group = self.count.is_multiple_of(if self.hex_only { 2 } else { 4 });
        let due = matches!(reading.count, FIRST_LOOK_BYTES..=50 | CLASSIFY_BYTES..=258);
        if whole_group && due && self.told.is_none() {
            self.classify(on_run);
        }
        if self.count == self.opaque_bytes + 1 && self.is_opaque() {
            let kind = self.told.unwrap_or(BlobKind::Opaque);
            self.tell(kind, on_run);
        }
    }

    fn classify(&mut self, on_run: &mut dyn FnMut(Run)) {
        let of_hex = classify(&self.hex.first).filter(|_| self.hex_only);
        if let Some(kind) = of_hex.or_else(|| classify(&self.base64.first)) {
            self.tell(kind, on_run);
        }
    }

    fn tell(&mut self, kind: BlobKind, on_run: &mut dyn FnMut(Run)) {
        self.told = Some(kind);
        on_run(Run {
            kind,
            start: self.start,
            bytes: self.count,
        });
    }

    fn is_opaque(&self) -> bool {
        let distinct = self.distinct.count_ones();
        if self.hex_only {
            distinct >= DISTINCT_HEX_MIN && !self.hex.is_text()
        } else {
            distinct >= DISTINCT_BASE64_MIN && !self.base64.is_text()
        }
    }

    /// The run is over: a short one is looked at now.
    fn end(&mut self, on_run: &mut dyn FnMut(Run)) {
        if self.count >= 16 && self.told.is_none() {
            self.classify(on_run);
        }
        if self.count > 0 {
            self.count = 0;
            self.hex_only = true;
            self.distinct = 0;
            self.told = None;
            self.base64.clear();
            self.hex.clear();
        }
    }
}

// === impl Decoded ===

impl Decoded {
    #[inline]
    fn take(&mut self, bytes: &[u8]) {
        self.count += bytes.len();
        let printable = |byte: &&u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        self.printable += bytes.iter().filter(printable).count();
        if self.first.len() < CLASSIFY_BYTES {
            self.first.extend_from_slice(bytes);
        }
    }

    fn is_text(&self) -> bool {
        self.printable * 100 >= self.count * TEXT_PERCENT
    }

    fn clear(&mut self) {
        self.first.clear();
        self.count = 0;
        self.printable = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{BlobKind, Run, RunMeter};
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    fn runs(text: &str, cut: usize) -> Vec<Run> {
        let mut meter = RunMeter::new(200);
        let mut runs = Vec::new();
        for piece in text.as_bytes().chunks(cut) {
            let piece = std::str::from_utf8(piece).expect("is ASCII");
            meter.push(piece, &mut |run| runs.push(run));
        }
        meter.push(" ", &mut |run| runs.push(run));
        runs
    }

    /// Bytes without an order, the same each time.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_u32;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..count).map(next).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn weights_are_told_however_they_are_cut() {
        let gguf = [b"GGUF\x03\x00\x00\x00".to_vec(), noise(400)].concat();
        let encoded = BASE64_STANDARD.encode(&gguf);
        let wrapped: Vec<&str> = encoded
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).expect("is ASCII"))
            .collect();
        let texts = [
            format!("Here: {encoded}"),
            format!("Here: {}", wrapped.join("\n")),
            format!("{{\"a\":\"{}\"}}", wrapped.join("\\n")),
            format!("0x {}", hex(&gguf)),
        ];
        for text in &texts {
            let expected = runs(text, text.len());
            assert_eq!(expected[0].kind, BlobKind::Gguf, "{text}");
            assert!(expected[0].bytes <= 110, "{expected:?}");
            for cut in [1, 2, 3, 5, 7, 64] {
                assert_eq!(runs(text, cut), expected);
            }
        }
    }

    #[test]
    fn short_files_are_told_at_their_end() {
        let text = format!(
            "a {} b",
            BASE64_STANDARD.encode(b"\x93NUMPY\x01\x00v\x00{'descr'")
        );
        assert_eq!(runs(&text, 4)[0].kind, BlobKind::Numpy);
    }

    #[test]
    fn opaque_is_what_is_long_and_no_text() {
        let opaque = |text: &str| runs(text, 9).iter().map(|run| run.kind).collect::<Vec<_>>();
        assert_eq!(
            opaque(&BASE64_STANDARD.encode(noise(300))),
            [BlobKind::Opaque]
        );
        assert_eq!(opaque(&hex(&noise(300))), [BlobKind::Opaque]);
        assert_eq!(opaque(&BASE64_STANDARD.encode(noise(100))), []);
        let prose = "It was the best of times, it was the worst of times, and so on. ".repeat(9);
        assert_eq!(opaque(&BASE64_STANDARD.encode(&prose)), []);
        assert_eq!(opaque(&prose), []);
        assert_eq!(opaque(&"-".repeat(4000)), []);
        assert_eq!(opaque(&"ACGT".repeat(1000)), []);
        assert_eq!(opaque(&"d41d8cd98f00b204e9800998ecf8427e ".repeat(50)), []);
    }
}
