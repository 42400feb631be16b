//! What kind of file some bytes begin.

/// How many of the first bytes [`classify`] needs at most; fewer may do.
pub const CLASSIFY_BYTES: usize = 256;

/// The longest header that a safetensors file may have, by its own rules.
const SAFETENSORS_HEADER_MAX: u64 = 100_000_000;

/// A kind of opaque bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BlobKind {
    /// `safetensors`: a length, then a JSON header.
    Safetensors,
    /// GGUF and its forerunners (GGML, GGMF, GGJT).
    Gguf,
    /// A Python pickle of protocol 2 to 5, which is also what old PyTorch files are.
    Pickle,
    /// An ONNX model.
    Onnx,
    /// A zip archive that PyTorch wrote.
    PytorchZip,
    /// A NumPy array, or an archive of them.
    Numpy,
    /// HDF5, as Keras writes it.
    Hdf5,
    /// A TensorFlow SavedModel.
    SavedModel,
    /// A TensorFlow Lite model.
    Tflite,
    /// A picture, a sound, a film or a PDF: opaque, but no weights.
    Media,
    /// A long run that is neither text nor anything that is known.
    Opaque,
}

// === impl BlobKind ===

impl BlobKind {
    /// The word used in findings and records.
    pub fn as_str(self) -> &'static str {
        match self {
            BlobKind::Safetensors => "safetensors",
            BlobKind::Gguf => "gguf",
            BlobKind::Pickle => "pickle",
            BlobKind::Onnx => "onnx",
            BlobKind::PytorchZip => "pytorch-zip",
            BlobKind::Numpy => "numpy",
            BlobKind::Hdf5 => "hdf5",
            BlobKind::SavedModel => "saved-model",
            BlobKind::Tflite => "tflite",
            BlobKind::Media => "media",
            BlobKind::Opaque => "opaque",
        }
    }

    /// Is it a file of model weights?
    pub fn is_weights(self) -> bool {
        !matches!(self, BlobKind::Media | BlobKind::Opaque)
    }
}

/// What kind of file begins with these bytes; `None` when they say nothing. Never
/// [`BlobKind::Opaque`]: that takes more than a beginning.
pub fn classify(bytes: &[u8]) -> Option<BlobKind> {
    type Test = fn(&[u8]) -> bool;
    let tests: [(Test, BlobKind); 10] = [
        (is_gguf, BlobKind::Gguf),
        (is_safetensors, BlobKind::Safetensors),
        (is_numpy, BlobKind::Numpy),
        (is_pytorch_zip, BlobKind::PytorchZip),
        (is_hdf5, BlobKind::Hdf5),
        (is_tflite, BlobKind::Tflite),
        (is_pickle, BlobKind::Pickle),
        (is_saved_model, BlobKind::SavedModel),
        (is_onnx, BlobKind::Onnx),
        (is_media, BlobKind::Media),
    ];
    let bytes = &bytes[..bytes.len().min(CLASSIFY_BYTES)];
    let kind = tests.iter().find(|(test, _)| test(bytes));
    kind.map(|(_, kind)| *kind)
}

fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn le_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

/// `GGUF` and a version; the older magics are the letters of a little-endian word.
fn is_gguf(bytes: &[u8]) -> bool {
    let version = |max: u32| le_u32(bytes, 4).is_some_and(|v| (1..=max).contains(&v));
    match bytes.get(..4) {
        Some(b"GGUF") => {
            version(16) || le_u32(bytes, 4).is_some_and(|v| (1..=16).contains(&v.swap_bytes()))
        }
        Some(b"tjgg" | b"fmgg") => version(16),
        // The oldest has no version; a vocabulary's size follows.
        Some(b"lmgg") => version(1 << 20),
        _ => false,
    }
}

/// Eight bytes of header length, then the header, whose first member is a tensor or the metadata.
fn is_safetensors(bytes: &[u8]) -> bool {
    let fits = le_u64(bytes, 0).is_some_and(|n| (2..=SAFETENSORS_HEADER_MAX).contains(&n));
    let header = bytes.get(8..).unwrap_or_default().trim_ascii_start();
    fits && header.starts_with(b"{\"")
}

fn is_numpy(bytes: &[u8]) -> bool {
    let single =
        bytes.starts_with(b"\x93NUMPY") && bytes.get(6).is_some_and(|v| (1..=3).contains(v));
    single || zip_name(bytes).is_some_and(|name| name.ends_with(b".npy"))
}

/// The name of the first member of a zip archive.
fn zip_name(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.strip_prefix(b"PK\x03\x04")?;
    let length = usize::from(u16::from_le_bytes([*header.get(22)?, *header.get(23)?]));
    header.get(26..26 + length)
}

/// `torch.save` puts the pickle first, in a folder named after the file; TorchScript archives begin
/// with their data or their code.
fn is_pytorch_zip(bytes: &[u8]) -> bool {
    zip_name(bytes).is_some_and(|name| {
        let file = name.split(|byte| *byte == b'/').next_back();
        matches!(
            file,
            Some(b"data.pkl" | b"constants.pkl" | b".format_version" | b"byteorder")
        )
    })
}

fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
}

/// A FlatBuffer whose identifier stands behind the offset of its root.
fn is_tflite(bytes: &[u8]) -> bool {
    let root = le_u32(bytes, 0).is_some_and(|at| (8..4096).contains(&at));
    root && bytes.get(4..8) == Some(b"TFL3")
}

/// `PROTO`, then an opcode with which a pickle can go on.
fn is_pickle(bytes: &[u8]) -> bool {
    let [0x80, protocol @ 2..=5, rest @ ..] = bytes else {
        return false;
    };
    match rest {
        // FRAME and the frame's length, which no real file has above a terabyte.
        [0x95, length @ ..] => {
            *protocol >= 4 && le_u64(length, 0).is_some_and(|n| (1..1 << 40).contains(&n))
        }
        // A dictionary, a list, a tuple, a set.
        [b'}' | b']' | b')' | 0x8F, next, ..] => {
            matches!(next, b'q' | b'r' | 0x94 | b'(' | b'.' | b'X' | 0x8C | b'K')
        }
        // A mark, then what it collects.
        [
            b'(',
            b'}' | b']' | b'(' | b'c' | b'K' | b'X' | b'N' | 0x8C,
            ..,
        ] => true,
        // A global, by its module's name: `ccollections\n…`, `ctorch._utils\n…`.
        [b'c', name @ ..] => name
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
            .count()
            .checked_sub(2)
            .is_some_and(|end| name.get(end + 2) == Some(&b'\n')),
        // PyTorch's old magic number, a long integer of ten bytes.
        [0x8A, 0x0A, ..] => true,
        // A short string, as long as it says and printable.
        [0x8C, length, text @ ..] => {
            let length = usize::from(*length).min(text.len());
            length > 0
                && text[..length]
                    .iter()
                    .all(|byte| (b' '..=b'~').contains(byte))
        }
        _ => false,
    }
}

/// Version 1 of a SavedModel, then its meta graph, which begins with its own description.
fn is_saved_model(bytes: &[u8]) -> bool {
    let Some([0x12, rest @ ..]) = bytes.strip_prefix(&[0x08, 0x01]) else {
        return false;
    };
    let length = rest.iter().position(|byte| byte & 0x80 == 0).unwrap_or(5);
    // A name of a producer would be printable here: that is ONNX.
    length < 5 && rest.get(length + 1) == Some(&0x0A) && rest.get(length + 2) != Some(&b'\n')
}

/// The version of the format, then the producer's name, its version, or the graph.
fn is_onnx(bytes: &[u8]) -> bool {
    let [0x08, 1..=20, tag, length, rest @ ..] = bytes else {
        return false;
    };
    let length = usize::from(*length);
    match tag {
        // producer_name: a short printable string, and another field behind it.
        0x12 => {
            (2..=64).contains(&length)
                && rest.len() > length
                && rest[..length].iter().all(u8::is_ascii_graphic)
                && matches!(rest[length], 0x1A | 0x22 | 0x28 | 0x32 | 0x3A | 0x42)
        }
        // graph, which begins with its first node.
        0x3A => rest.iter().take(4).any(|byte| *byte == 0x0A),
        _ => false,
    }
}

fn is_media(bytes: &[u8]) -> bool {
    const MAGIC: [&[u8]; 9] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xFF\xD8\xFF",
        b"GIF87a",
        b"GIF89a",
        b"%PDF-",
        b"OggS\x00",
        b"fLaC\x00",
        b"ID3\x03\x00",
        b"ID3\x04\x00",
    ];
    let riff =
        bytes.starts_with(b"RIFF") && matches!(bytes.get(8..12), Some(b"WEBP" | b"WAVE" | b"AVI "));
    let iso = bytes.get(4..8) == Some(b"ftyp");
    let matroska = bytes.starts_with(b"\x1A\x45\xDF\xA3");
    riff || iso || matroska || MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::{BlobKind, classify};

    fn zip(name: &str) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.extend([0; 22]);
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name.bytes());
        bytes
    }

    fn with_length(length: u64, rest: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes(), rest].concat()
    }

    #[test]
    fn every_kind_is_told() {
        let cases: [(BlobKind, Vec<u8>); 19] = [
            (
                BlobKind::Safetensors,
                with_length(1024, b"{\"__metadata__\":{"),
            ),
            (
                BlobKind::Safetensors,
                with_length(90, b"{\"w\":{\"dtype\":\"F32\""),
            ),
            (
                BlobKind::Gguf,
                b"GGUF\x03\x00\x00\x00\x24\x01\x00\x00".to_vec(),
            ),
            (BlobKind::Gguf, b"tjgg\x03\x00\x00\x00".to_vec()),
            (
                BlobKind::Pickle,
                b"\x80\x04\x95\x0d\x00\x00\x00\x00\x00\x00\x00}".to_vec(),
            ),
            (BlobKind::Pickle, b"\x80\x02}q\x00X\x04\x00".to_vec()),
            (
                BlobKind::Pickle,
                b"\x80\x02ccollections\nOrderedDict\nq".to_vec(),
            ),
            (
                BlobKind::Pickle,
                b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
            ),
            (BlobKind::Pickle, b"\x80\x03]q\x00(K\x01".to_vec()),
            (
                BlobKind::Onnx,
                b"\x08\x07\x12\x07pytorch\x1a\x031.9".to_vec(),
            ),
            (BlobKind::Onnx, b"\x08\x08\x3a\x95\x06\x0a\x1f\x0a".to_vec()),
            (BlobKind::PytorchZip, zip("archive/data.pkl")),
            (BlobKind::PytorchZip, zip("model_best/data.pkl")),
            (BlobKind::Numpy, b"\x93NUMPY\x01\x00v\x00{'descr'".to_vec()),
            (BlobKind::Numpy, zip("weights.npy")),
            (BlobKind::Hdf5, b"\x89HDF\r\n\x1a\n\x00".to_vec()),
            (
                BlobKind::SavedModel,
                b"\x08\x01\x12\xf4\x9c\x01\x0a\x82".to_vec(),
            ),
            (BlobKind::Tflite, b"\x1c\x00\x00\x00TFL3\x14\x00".to_vec()),
            (BlobKind::Media, b"\x89PNG\r\n\x1a\n\x00\x00".to_vec()),
        ];
        for (kind, bytes) in cases {
            assert_eq!(classify(&bytes), Some(kind), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_only_looks_alike_is_not() {
        let cases: [&[u8]; 12] = [
            b"",
            b"GGUF is a format for weights.",
            b"{\"__metadata__\":{}}",
            b"PK\x03\x04",
            b"\x80\x04",
            b"\x80\x02hello",
            b"\x08\x01",
            b"\x08\x07\x12\x07a b c",
            b"NUMPY",
            b"The TFL3 identifier",
            b"\x7fELF\x02\x01\x01",
            b"%PD",
        ];
        for bytes in cases {
            assert_eq!(classify(bytes), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(classify(&zip("report/index.html")), None);
        assert_eq!(classify(&with_length(1 << 40, b"{\"")), None);
    }

    /// No prefix panics, and what is told early stays told.
    #[test]
    fn prefixes_are_no_trouble() {
        let whole = zip("archive/data.pkl");
        for end in 0..whole.len() {
            assert_eq!(classify(&whole[..end]), None);
        }
    }
}
