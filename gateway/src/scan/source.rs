//! What is scanned: files, folders, standard input; bytes made text, with the way back to the
//! bytes.
//!
//! Rules read text, files hold bytes. What is UTF-8 is taken as it is; UTF-16 with a byte order
//! mark is decoded; anything else is read around its invalid bytes, each run of which becomes one
//! replacement character, and the report says so. Offsets are always those of the file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest file that is scanned, in bytes.
pub const FILE_BYTES_MAX: u64 = 512 << 20;

/// The most files that one folder, with all that are below it, may bring.
const FILES_MAX: usize = 1_000_000;

/// Something to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Shown as `-`.
    Stdin,
    /// A file by its path.
    File(PathBuf),
}

/// A source's text.
#[derive(Debug)]
pub struct Text {
    /// The text that rules read.
    pub text: String,
    /// How the bytes were not plain UTF-8, in words for a person.
    pub remark: Option<String>,
    /// Where the distance between text and file changes: offset in the text, offset in the file.
    /// Ascending; empty when they are the same.
    steps: Vec<(usize, usize)>,
}

// === impl Source ===

impl Source {
    /// The sources that one argument names: `-`, a file, or every file below a folder, in the order
    /// of their paths. Links are followed when named, never when met.
    pub fn named(argument: &Path) -> Result<Vec<Source>, String> {
        if argument.as_os_str() == "-" {
            return Ok(vec![Source::Stdin]);
        }
        if !argument.is_dir() {
            return Ok(vec![Source::File(argument.to_owned())]);
        }
        let mut files = Vec::new();
        let mut folders = vec![argument.to_owned()];
        while let Some(folder) = folders.pop() {
            let fail = |error| format!("{}: cannot be listed: {error}", folder.display());
            for entry in std::fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let kind = entry.file_type().map_err(fail)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
            if files.len() > FILES_MAX {
                let folder = argument.display();
                return Err(format!("{folder}: more than {FILES_MAX} files"));
            }
        }
        files.sort();
        Ok(files.into_iter().map(Source::File).collect())
    }

    /// What reports call it.
    pub fn name(&self) -> String {
        match self {
            Source::Stdin => "-".to_owned(),
            Source::File(path) => path.display().to_string(),
        }
    }

    /// Reads it whole.
    pub fn read(&self) -> Result<Text, String> {
        let mut bytes = Vec::new();
        let read = match self {
            Source::Stdin => bounded(std::io::stdin().lock(), &mut bytes),
            Source::File(path) => {
                std::fs::File::open(path).and_then(|file| bounded(file, &mut bytes))
            }
        };
        read.map_err(|error| format!("cannot be read: {error}"))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!(
                "is larger than {} MiB; scan it in parts",
                FILE_BYTES_MAX >> 20
            ));
        }
        Ok(Text::decode(bytes))
    }
}

/// Reads one byte past the bound at most, by which it is told that there was more.
fn bounded(from: impl std::io::Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    from.take(FILE_BYTES_MAX + 1).read_to_end(bytes)
}

// === impl Text ===

impl Text {
    /// The bytes as text.
    pub fn decode(bytes: Vec<u8>) -> Text {
        match bytes {
            bytes if bytes.starts_with(&[0xFF, 0xFE]) => utf16(&bytes, u16::from_le_bytes),
            bytes if bytes.starts_with(&[0xFE, 0xFF]) => utf16(&bytes, u16::from_be_bytes),
            bytes => String::from_utf8(bytes).map_or_else(
                |error| lossy(error.as_bytes()),
                |text| Text {
                    text,
                    remark: None,
                    steps: Vec::new(),
                },
            ),
        }
    }

    /// The place in the file of a place in the text.
    pub fn in_file(&self, offset: usize) -> usize {
        let after = self.steps.partition_point(|(text, _)| *text <= offset);
        match after.checked_sub(1).map(|index| self.steps[index]) {
            Some((text, file)) => file + (offset - text),
            None => offset,
        }
    }
}

/// UTF-8 around what is not.
fn lossy(bytes: &[u8]) -> Text {
    let mut text = String::with_capacity(bytes.len());
    let mut steps = Vec::new();
    let mut invalid = 0;
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        at += chunk.valid().len() + chunk.invalid().len();
        invalid += chunk.invalid().len();
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            steps.push((text.len(), at));
        }
    }
    let s = if invalid == 1 { "" } else { "s" };
    Text {
        text,
        remark: Some(format!(
            "not UTF-8: scanned around {invalid} invalid byte{s}"
        )),
        steps,
    }
}

/// UTF-16 behind its byte order mark.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Text {
    let units = bytes[2..]
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]));
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut steps = Vec::with_capacity(bytes.len() / 2);
    let mut at = 2;
    let mut invalid = bytes.len() % 2;
    for decoded in char::decode_utf16(units) {
        steps.push((text.len(), at));
        let character = decoded.unwrap_or_else(|_| {
            invalid += 2;
            char::REPLACEMENT_CHARACTER
        });
        at += if character.len_utf16() == 2 { 4 } else { 2 };
        text.push(character);
    }
    steps.push((text.len(), at));
    let rest = match invalid {
        0 => String::new(),
        count => format!(", {count} bytes of it invalid"),
    };
    Text {
        text,
        remark: Some(format!("UTF-16{rest}: decoded")),
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_itself() {
        let text = Text::decode("aä".as_bytes().to_vec());
        assert_eq!((text.text.as_str(), text.in_file(3)), ("aä", 3));
        assert_eq!(text.remark, None);
    }

    #[test]
    fn invalid_bytes_do_not_move_what_follows() {
        let text = Text::decode(b"ab\xFF\xFFcd\xE2\x82 e".to_vec());
        assert_eq!(text.text, "ab\u{FFFD}\u{FFFD}cd\u{FFFD} e");
        let place = |what: &str| text.in_file(text.text.find(what).expect("is there"));
        assert_eq!((place("ab"), place("cd"), place(" e")), (0, 4, 8));
        assert_eq!(text.in_file(text.text.len()), 10);
        assert!(text.remark.expect("said").contains("4 invalid bytes"));
    }

    #[test]
    fn utf16_is_decoded_in_place() {
        let mut bytes = vec![0xFF, 0xFE];
        bytes.extend("a😀b".encode_utf16().flat_map(u16::to_le_bytes));
        bytes.push(0);
        let text = Text::decode(bytes);
        assert_eq!(text.text, "a😀b");
        assert_eq!(
            (text.in_file(0), text.in_file(1), text.in_file(5)),
            (2, 4, 8)
        );
        assert_eq!(text.in_file(6), 10);
        let big: Vec<u8> = [0xFE, 0xFF].into_iter().chain([0, b'x', 0xD8, 0]).collect();
        assert_eq!(Text::decode(big).text, "x\u{FFFD}");
    }
}
