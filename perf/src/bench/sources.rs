//! A digest of everything that instruction counts are of.
//!
//! The record carries it: where it is unchanged nothing can have slipped, and `scripts/lint` need
//! not build and count. It is taken of files as they lie there, whatever is committed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// Files and folders, from the root of the repository.
const SOURCES: [&str; 14] = [
    "Cargo.lock",
    "Cargo.toml",
    "gateway/Cargo.toml",
    "gateway/src",
    "loadgen/src/issuer",
    "perf/benches",
    "perf/src/bench/cases.rs",
    "perf/subjects/penstock-policy.toml",
    "policies/Cargo.toml",
    "policies/packs",
    "policies/src",
    "recorder/Cargo.toml",
    "recorder/src",
    "rust-toolchain.toml",
];

/// The digest, as hexadecimal digits.
pub fn digest(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let bytes = fs::read(&file).doing(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        hasher.update(name.as_os_str().as_encoded_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).doing(|| format!("reading {}", path.display()))?;
    for entry in entries {
        let entry = entry.doing(|| format!("reading {}", path.display()))?;
        collect(&entry.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for source in SOURCES {
            let path = root.path().join(source);
            let folder = path.parent().expect("has one");
            fs::create_dir_all(folder).expect("is new");
            match path.extension() {
                Some(_) => fs::write(&path, source).expect("is new"),
                None => {
                    fs::create_dir_all(path.join("deep")).expect("is new");
                    fs::write(path.join("deep/lib.rs"), source).expect("is new");
                }
            }
        }
        root
    }

    #[test]
    fn any_byte_or_name_of_a_source_changes_it_and_nothing_else_does() {
        let root = tree();
        let of = || digest(root.path()).expect("readable");
        let first = of();
        assert_eq!(first.len(), 64);
        fs::write(root.path().join("README.md"), "changed").expect("writable");
        assert_eq!(of(), first);
        fs::write(root.path().join("policies/src/deep/lib.rs"), "changed").expect("writable");
        let second = of();
        assert_ne!(second, first);
        let deep = root.path().join("gateway/src/deep");
        fs::rename(deep.join("lib.rs"), deep.join("other.rs")).expect("renamed");
        assert_ne!(of(), second);
        fs::remove_file(root.path().join("Cargo.lock")).expect("removable");
        assert!(digest(root.path()).is_err());
    }
}
