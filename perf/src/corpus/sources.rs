//! Which files of which packages become a corpus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::plain::{self, Form};
use super::{Corpus, chat};
use crate::error::{Doing, Result};

/// What one corpus was made of.
#[derive(Debug)]
pub struct Gathered {
    /// One of [`super::NAMES`].
    pub name: &'static str,
    /// How long it became.
    pub bytes: usize,
    /// Of all its bytes, in hexadecimal.
    pub blake3: String,
    /// Its sources and how many bytes came from each.
    pub sources: Vec<(String, usize)>,
}

/// Files of one package.
struct Source {
    corpus: &'static str,
    /// Who brings it, in words for the report.
    package: &'static str,
    root: &'static str,
    /// A file counts when its path has one of these endings; all do when there is none.
    endings: &'static [&'static str],
    form: Form,
    /// The most that it contributes, in parts of a hundred of the corpus.
    share: usize,
    /// The most that one file contributes: a corpus of one file's habits says little.
    file_bytes_max: usize,
}

const fn source(
    corpus: &'static str,
    package: &'static str,
    root: &'static str,
    endings: &'static [&'static str],
    form: Form,
    share: usize,
) -> Source {
    Source {
        corpus,
        package,
        root,
        endings,
        form,
        share,
        file_bytes_max: usize::MAX,
    }
}

/// Code: many files, a little of each.
const fn code(
    package: &'static str,
    root: &'static str,
    endings: &'static [&'static str],
    share: usize,
) -> Source {
    let mut source = source("code", package, root, endings, Form::Plain, share);
    source.file_bytes_max = 24 << 10;
    source
}

const SOURCES: [Source; 16] = [
    source(
        "english",
        "bible-kjv",
        "target/corpora/from",
        &["bible.txt"],
        Form::Plain,
        20,
    ),
    source(
        "english",
        "debian-handbook",
        "/usr/share/doc/debian-handbook/html/en-US",
        &[".html"],
        Form::Html,
        40,
    ),
    source(
        "english",
        "debian-reference-en",
        "/usr/share/debian-reference",
        &["debian-reference.en.txt.gz"],
        Form::Plain,
        20,
    ),
    source(
        "english",
        "fortunes",
        "/usr/share/games/fortunes",
        &[],
        Form::Terminal,
        30,
    ),
    source(
        "english",
        "jargon-text",
        "/usr/share/doc/jargon-text",
        &["jargon.txt.gz"],
        Form::Plain,
        40,
    ),
    code("crates of Cargo.lock", "registry", &[".rs"], 45),
    code("libpython3-stdlib", "/usr/lib/python3.11", &[".py"], 30),
    code("libc6-dev, linux-libc-dev", "/usr/include", &[".h"], 20),
    code(
        "shell scripts of Debian packages",
        "/usr/share",
        &[".sh"],
        10,
    ),
    source(
        "json",
        "iso-codes",
        "/usr/share/iso-codes/json",
        &[".json"],
        Form::Plain,
        30,
    ),
    source(
        "chinese",
        "fortunes-zh",
        "/usr/share/games/fortunes",
        &["/chinese", "/tang300", "/song100"],
        Form::Terminal,
        60,
    ),
    source(
        "chinese",
        "debian-handbook",
        "/usr/share/doc/debian-handbook/html/zh-CN",
        &[".html"],
        Form::Html,
        40,
    ),
    source(
        "chinese",
        "debian-reference-zh-cn",
        "/usr/share/debian-reference",
        &["debian-reference.zh-cn.txt.gz"],
        Form::Plain,
        30,
    ),
    source(
        "chinese",
        "debian-faq-zh-cn",
        "/usr/share/doc/debian/FAQ",
        &["debian-faq.zh-cn.txt.gz"],
        Form::Plain,
        10,
    ),
    source(
        "chinese",
        "debian-reference-zh-cn",
        "/usr/share/debian-reference",
        &[".zh-cn.html"],
        Form::Html,
        30,
    ),
    source(
        "chinese",
        "debian-handbook",
        "/usr/share/doc/debian-handbook/html/zh-TW",
        &[".html"],
        Form::Html,
        40,
    ),
];

/// Fortunes in other alphabets or languages stand in the same folder.
const NOT_ENGLISH: [&str; 5] = ["/chinese", "/tang300", "/song100", ".dat", ".u8"];

/// Gathers every corpus into `folder`, at most `bytes` of each.
pub fn gather(folder: &Path, bytes: usize) -> Result<Vec<Gathered>> {
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    let mut gathered: Vec<Gathered> = Vec::new();
    let mut texts: Vec<Corpus> = Vec::new();
    for name in ["english", "code", "chinese", "json"] {
        let mut text = String::with_capacity(bytes);
        let mut sources = Vec::new();
        for source in SOURCES.iter().filter(|source| source.corpus == name) {
            let room = (bytes - text.len()).min(bytes / 100 * source.share);
            let before = text.len();
            take(source, room, &mut text);
            if text.len() > before {
                sources.push((source.package.to_owned(), text.len() - before));
            }
        }
        if name == "json" {
            // Paragraphs of all other corpora in turn, so that bodies speak of everything.
            let mut parts: Vec<Vec<&str>> = texts.iter().map(|of| of.messages(700)).collect();
            let most = parts.iter().map(Vec::len).max().unwrap_or(0);
            let turns = (0..most).flat_map(|at| {
                parts
                    .iter_mut()
                    .filter_map(move |of| of.get(at).copied())
                    .collect::<Vec<_>>()
            });
            let turns: Vec<&str> = turns.collect();
            let wrapped = chat::wrap(&turns, bytes - text.len());
            sources.push((
                "chat bodies around the other corpora".to_owned(),
                wrapped.len(),
            ));
            text.insert_str(0, &wrapped);
        }
        text.truncate(text.floor_char_boundary(bytes));
        let path = folder.join(format!("{name}.txt"));
        fs::write(&path, &text).doing(|| format!("writing {}", path.display()))?;
        gathered.push(Gathered {
            name,
            bytes: text.len(),
            blake3: blake3::hash(text.as_bytes()).to_hex().to_string(),
            sources,
        });
        texts.push(Corpus { name, text });
    }
    Ok(gathered)
}

/// Appends at most `room` bytes of a source.
fn take(source: &Source, room: usize, text: &mut String) {
    let end = text.len() + room;
    for path in files(source) {
        if text.len() >= end {
            return;
        }
        let Some(part) = plain::read(&path, source.form) else {
            continue;
        };
        let room = (end - text.len()).min(source.file_bytes_max);
        text.push_str(&part[..part.floor_char_boundary(room.min(part.len()))]);
        if !text.ends_with('\n') && text.len() < end {
            text.push('\n');
        }
    }
}

/// The files of a source, in an order that every machine agrees on.
fn files(source: &Source) -> Vec<PathBuf> {
    let roots = match source.root {
        "registry" => locked_crates(),
        root => vec![PathBuf::from(root)],
    };
    let mut found = Vec::new();
    for root in roots {
        let mut below = Vec::new();
        walk(&root, &mut below);
        below.sort();
        // A few files of each crate show more kinds of code than one crate's every file.
        let most = if source.root == "registry" {
            6
        } else {
            usize::MAX
        };
        let wanted = below.into_iter().filter(|path| counts(source, path));
        found.extend(wanted.take(most));
    }
    found
}

fn counts(source: &Source, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let ends = |endings: &[&str]| endings.iter().any(|end| path.ends_with(end));
    (source.endings.is_empty() || ends(source.endings))
        && !(source.corpus == "english" && ends(&NOT_ENGLISH))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {} // links, and what cannot be read
        }
    }
}

/// The folders of the locked dependencies' sources, where cargo keeps them.
fn locked_crates() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(registry) = home.map(|home| home.join("registry/src")) else {
        return Vec::new();
    };
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(version) = line.strip_prefix("version = ") {
            names.insert(format!("{name}-{}", version.trim_matches('"')));
        }
    }
    let indexes = fs::read_dir(registry).into_iter().flatten().flatten();
    let indexes: Vec<PathBuf> = indexes.map(|entry| entry.path()).collect();
    let folder = |name: &String| {
        indexes
            .iter()
            .map(|i| i.join(name))
            .find(|path| path.is_dir())
    };
    names.iter().filter_map(folder).collect()
}
