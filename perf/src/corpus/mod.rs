//! Texts that nobody here wrote: English prose, code, chat bodies and Chinese.
//!
//! `penstock-perf corpus` gathers them from packages that are installed (`scripts/corpora` installs
//! those that are missing) into a folder that git ignores. What is taken is sorted and bounded, so
//! that the same packages give the same bytes; a BLAKE3 of each corpus says whether they did. The
//! other commands read that folder.

mod chat;
mod plain;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

pub use sources::{Gathered, gather};

/// The corpora, in the order of every table.
pub const NAMES: [&str; 4] = ["english", "code", "json", "chinese"];

/// Where the commands look for them unless told otherwise, relative to the repository's root.
pub const FOLDER: &str = "target/corpora";

/// How many bytes of each are gathered.
pub const BYTES_EACH: usize = 4 << 20;

/// One of them.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// All of it.
    pub text: String,
}

/// Gathers the corpora.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder that receives them.
    #[arg(long, default_value = FOLDER)]
    into: PathBuf,
    /// Bytes of each corpus.
    #[arg(long, default_value_t = BYTES_EACH)]
    bytes: usize,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// The command; true when every corpus is full.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let gathered = gather(&arguments.into, arguments.bytes)?;
    for corpus in &gathered {
        if arguments.json {
            println!(
                "{}",
                serde_json::json!({"corpus": corpus.name, "bytes": corpus.bytes,
                    "blake3": corpus.blake3, "sources": corpus.sources})
            );
            continue;
        }
        println!(
            "{} {} bytes, blake3 {}",
            corpus.name, corpus.bytes, corpus.blake3
        );
        for (source, bytes) in &corpus.sources {
            println!("    {bytes:>9} {source}");
        }
    }
    let full = |corpus: &Gathered| corpus.bytes * 10 >= arguments.bytes * 9;
    for corpus in gathered.iter().filter(|corpus| !full(corpus)) {
        eprintln!(
            "{} is short: scripts/corpora installs what it is made of",
            corpus.name
        );
    }
    Ok(gathered.iter().all(full))
}

/// Reads what was gathered, or says how to gather it.
pub fn load(folder: &Path, names: &[String]) -> Result<Vec<Corpus>> {
    let mut corpora = Vec::new();
    for name in NAMES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let path = folder.join(format!("{name}.txt"));
        let text = fs::read_to_string(&path)
            .doing(|| format!("reading {} (scripts/corpora makes it)", path.display()))?;
        corpora.push(Corpus { name, text });
    }
    if corpora.is_empty() {
        return Err(Error::Unable(format!(
            "no such corpus; there are: {}",
            NAMES.join(", ")
        )));
    }
    Ok(corpora)
}

// === impl Corpus ===

impl Corpus {
    /// The corpus as messages: cut behind a line's end, of at least `bytes` each but for the last.
    pub fn messages(&self, bytes: usize) -> Vec<&str> {
        let mut messages = Vec::new();
        let mut rest = self.text.as_str();
        while rest.len() > bytes {
            let at = rest.ceil_char_boundary(bytes);
            let end = rest[at..]
                .find('\n')
                .map_or(rest.len(), |line| at + line + 1);
            let (message, after) = rest.split_at(end);
            messages.push(message);
            rest = after;
        }
        if !rest.is_empty() {
            messages.push(rest);
        }
        messages
    }

    /// The corpus as blocks of exactly `bytes`, but for characters that a cut would split.
    pub fn blocks(&self, bytes: usize) -> Vec<&str> {
        blocks(&self.text, bytes)
    }
}

/// A text in pieces of `bytes`, each shortened to whole characters.
pub fn blocks(text: &str, bytes: usize) -> Vec<&str> {
    let mut blocks = Vec::with_capacity(text.len() / bytes + 1);
    let mut rest = text;
    while !rest.is_empty() {
        // A character is at most four bytes; a cut inside the first one would never advance.
        let at = rest.floor_char_boundary(bytes.max(4).min(rest.len()));
        let (block, after) = rest.split_at(at);
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_blocks_lose_nothing() {
        let text = "eins\nzwei öäü\ndrei\n\nvier".to_owned();
        let corpus = Corpus {
            name: "english",
            text,
        };
        assert_eq!(
            corpus.messages(3),
            ["eins\n", "zwei öäü\n", "drei\n", "\nvier"]
        );
        for bytes in 1..30 {
            assert_eq!(corpus.messages(bytes).concat(), corpus.text);
            assert_eq!(corpus.blocks(bytes).concat(), corpus.text);
            assert!(
                corpus
                    .blocks(bytes)
                    .iter()
                    .all(|block| block.len() <= bytes.max(4))
            );
        }
    }
}
