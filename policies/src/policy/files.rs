//! What a policy is made from: the texts of its folder, whoever has read them.
//!
//! Reading is kept apart from compiling. A gateway that reloads must know that what it read is one
//! state of the folder and not a mixture of two, and that takes a clock and patience, which are not
//! this crate's; everybody else reads plainly, by [`PolicyFiles::read`].

use std::path::{Path, PathBuf};

use super::error::PolicyError;
use super::library::{FILE_BYTES_MAX, FILES_MAX, PACK_ENDINGS, Source, read_folder};

/// What ends the name of a policy file.
const POLICY_ENDINGS: [&str; 1] = ["toml"];
/// What ends the name of a tokenizer.
const TOKENIZER_ENDINGS: [&str; 1] = ["json"];
/// Largest tokenizer, in bytes. Those of today's models have 2 to 20 MB.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;

/// The files of a policy folder, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The folder.
    pub dir: PathBuf,
    /// Its `*.toml`, in the order of their names.
    pub policies: Vec<Source>,
    /// The files of its `packs`, in the order of their names.
    pub packs: Vec<Source>,
    /// The files of its `tokenizers`, in the order of their names.
    pub tokenizers: Vec<Source>,
}

// === impl PolicyFiles ===

impl PolicyFiles {
    /// Largest file, in bytes.
    pub const FILE_BYTES_MAX: u64 = FILE_BYTES_MAX;
    /// Largest tokenizer, in bytes.
    pub const TOKENIZER_BYTES_MAX: u64 = TOKENIZER_BYTES_MAX;
    /// Most files in the folder, in its `packs`, and in its `tokenizers`.
    pub const FILES_MAX: usize = FILES_MAX;

    /// Reads a folder as it is at this moment.
    pub fn read(dir: &Path) -> Result<PolicyFiles, Vec<PolicyError>> {
        let policies = read_folder(dir, &POLICY_ENDINGS, FILE_BYTES_MAX)?;
        let below = |folder: &Path, endings, bytes_max| match folder.is_dir() {
            true => read_folder(folder, endings, bytes_max),
            false => Ok(Vec::new()),
        };
        let packs = PolicyFiles::pack_dir(dir);
        let tokenizers = PolicyFiles::tokenizer_dir(dir);
        Ok(PolicyFiles {
            dir: dir.to_owned(),
            policies,
            packs: below(&packs, &PACK_ENDINGS, FILE_BYTES_MAX)?,
            tokenizers: below(&tokenizers, &TOKENIZER_ENDINGS, TOKENIZER_BYTES_MAX)?,
        })
    }

    /// Where the packs of a policy folder are.
    pub fn pack_dir(dir: &Path) -> PathBuf {
        dir.join("packs")
    }

    /// Where the tokenizers of a policy folder are.
    pub fn tokenizer_dir(dir: &Path) -> PathBuf {
        dir.join("tokenizers")
    }

    /// May a file of this name in the folder be a policy?
    pub fn is_policy(path: &Path) -> bool {
        ends_in(path, &POLICY_ENDINGS)
    }

    /// May a file of this name in `packs` be a pack?
    pub fn is_pack(path: &Path) -> bool {
        ends_in(path, &PACK_ENDINGS)
    }

    /// May a file of this name in `tokenizers` be a tokenizer?
    pub fn is_tokenizer(path: &Path) -> bool {
        ends_in(path, &TOKENIZER_ENDINGS)
    }
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default();
    endings.iter().any(|known| *known == ending)
}
