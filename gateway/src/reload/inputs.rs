//! From files to what is in force: configuration, policies, profiles, credential.
//!
//! Start, `check`, `explain` and every reload come through here, so what one of them accepts the
//! others accept, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use penstock_policies::{
    ExampleFailure, PolicyError, PolicyFiles, PolicySet, PolicyText, Profiles,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::read::{System, Taken, Unsettled, Wanted, take};
use crate::config::{Config, ConfigError};
use crate::exchange::InForce;
use crate::upstream::Credential;

/// How often the configuration may change under the reading of what it names.
const READS_MAX: usize = 5;

/// One thing that is wrong, with its place as far as it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// Line from 1; none when it is about the file as a whole.
    pub line: Option<usize>,
    /// Column from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Everything that was read, before anything of it is compiled.
pub struct Inputs {
    /// `gateway.toml`, decoded.
    pub config: Config,
    /// The same as written, to be compared with another.
    pub(super) table: toml::Table,
    /// Changes when anything of it does.
    pub(super) digest: blake3::Hash,
    taken: Taken,
}

/// What replaces the pseudonyms' key where no file holds one: random, as long as the process lives.
#[derive(Clone)]
pub struct ProcessKey([u8; 32]);

// === impl ProcessKey ===

impl ProcessKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, Fault> {
        let mut key = [0; 32];
        let drawn = aws_lc_rs::rand::fill(&mut key);
        drawn.map_err(|_| Fault::of(Path::new("random"), "no random numbers to be had"))?;
        Ok(Self(key))
    }
}

// === impl Inputs ===

impl Inputs {
    /// Reads `gateway.toml` and the files that it names, in one state. Blocks.
    ///
    /// # Errors
    /// What is wrong with the configuration, or that somebody keeps changing the files.
    pub fn read(path: &Path) -> Result<Self, Vec<Fault>> {
        let mut files = Wanted::default();
        files.files.push(path.to_owned());
        let mut named = Wanted::default();
        for _ in 0..READS_MAX {
            let mut wanted = named.clone();
            wanted.files.extend(files.files.iter().cloned());
            let mut taken = take(&System, &wanted)?;
            let text = text_of(&mut taken, path)?;
            let config = Config::parse(path, &text).map_err(|error| vec![Fault::from(&error)])?;
            let names = wanted_by(&config);
            if names == named {
                let digest = digest(&text, &taken);
                // It was decoded once, so it is a table.
                let table = text.parse().unwrap_or_default();
                return Ok(Self {
                    config,
                    table,
                    digest,
                    taken,
                });
            }
            // The first time round nothing is known yet of what the configuration names.
            named = names;
        }
        Err(vec![Fault::of(path, "keeps changing while it is read")])
    }

    /// Compiles what was read. Takes a second for large packs; blocks.
    ///
    /// # Errors
    /// All that is wrong with it and can be told apart.
    pub fn build(&self, process_key: &ProcessKey) -> Result<InForce, Vec<Fault>> {
        let config = &self.config;
        let mut faults = Vec::new();
        let profiles = Profiles::from_names(&config.upstream.profiles);
        let credential = config.upstream.credential_file.as_deref().map(|path| {
            let text = text(&self.taken, path)?;
            Credential::parse(path, &text).map_err(|error| Fault::from(&error))
        });
        let credential = credential.transpose().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let key = match config.policy.pseudonym_key_file.as_deref() {
            None => Ok(process_key.0),
            Some(path) => bytes(&self.taken, path).and_then(|bytes| pseudonym_key(path, bytes)),
        };
        let key = key.unwrap_or_else(|fault| {
            faults.push(fault);
            process_key.0
        });
        let withheld: Vec<String> = credential
            .iter()
            .filter_map(|credential| credential.withheld().map(str::to_owned))
            .collect();
        let policy = match (config.policy.enabled, &config.policy.dir) {
            (true, Some(dir)) => compile(&self.taken, dir, key, &withheld),
            _ => Ok(PolicySet::allow_all()),
        };
        match (profiles, policy) {
            (Ok(profiles), Ok(policy)) if faults.is_empty() => Ok(InForce {
                policy: Arc::new(policy),
                profiles,
                credential,
            }),
            (profiles, policy) => {
                let profiles = profiles.err();
                let place = config.file.as_path();
                faults.extend(profiles.map(|error| Fault::of(place, &error.to_string())));
                faults.extend(policy.err().into_iter().flatten());
                Err(faults)
            }
        }
    }
}

/// The files that the configuration names and that are read with it.
pub(super) fn wanted_by(config: &Config) -> Wanted {
    let mut wanted = Wanted::default();
    let single = [
        &config.policy.pseudonym_key_file,
        &config.upstream.credential_file,
    ];
    wanted.files.extend(single.into_iter().flatten().cloned());
    if let (true, Some(dir)) = (config.policy.enabled, &config.policy.dir) {
        wanted.policies(dir);
    }
    wanted
}

/// Compiles a policy folder out of what was read.
fn compile(
    taken: &Taken,
    dir: &Path,
    key: [u8; 32],
    withheld: &[String],
) -> Result<PolicySet, Vec<Fault>> {
    let pack_dir = PolicyFiles::pack_dir(dir);
    let tokenizer_dir = PolicyFiles::tokenizer_dir(dir);
    let below = |folder: &Path, fits: fn(&Path) -> bool| -> Result<Vec<PolicyText>, Vec<Fault>> {
        let paths: Vec<&PathBuf> = taken
            .keys()
            .filter(|path| path.parent() == Some(folder) && fits(path))
            .collect();
        if paths.len() > PolicyFiles::FILES_MAX {
            let reason = format!("holds more than {} files", PolicyFiles::FILES_MAX);
            return Err(vec![Fault::of(folder, &reason)]);
        }
        let (mut texts, mut faults) = (Vec::new(), Vec::new());
        for path in paths {
            match text(taken, path) {
                Ok(text) => texts.push(PolicyText {
                    path: path.clone(),
                    text,
                }),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(texts)
        } else {
            Err(faults)
        }
    };
    let files = PolicyFiles {
        dir: dir.to_owned(),
        policies: below(dir, PolicyFiles::is_policy)?,
        packs: below(&pack_dir, PolicyFiles::is_pack)?,
        tokenizers: below(&tokenizer_dir, PolicyFiles::is_tokenizer)?,
    };
    let compiled = PolicySet::compile(&files, key, withheld);
    compiled.map_err(|errors| errors.iter().map(Fault::from).collect())
}

/// Runs every rule's own examples.
pub(super) fn failed_examples(in_force: &InForce, config: &Config) -> Vec<Fault> {
    let dir = config.policy.dir.as_deref().unwrap_or(Path::new("."));
    let failures = in_force.policy.check_examples();
    let fault = |failure: &ExampleFailure| Fault::of(dir, &failure.to_string());
    failures.iter().map(fault).collect()
}

fn bytes<'t>(taken: &'t Taken, path: &Path) -> Result<&'t [u8], Fault> {
    match taken.get(path) {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(reason)) => Err(Fault::of(path, reason)),
        None => Err(Fault::of(path, "cannot be read")),
    }
}

fn text(taken: &Taken, path: &Path) -> Result<String, Fault> {
    let text = String::from_utf8(bytes(taken, path)?.to_vec());
    text.map_err(|_| Fault::of(path, "cannot be read: it is not UTF-8"))
}

/// Takes one file out of what was read.
fn text_of(taken: &mut Taken, path: &Path) -> Result<String, Vec<Fault>> {
    let text = text(taken, path).map_err(|fault| vec![fault])?;
    taken.remove(path);
    Ok(text)
}

/// A digest that tells nothing to whoever sees it: nobody does, and it covers secrets.
fn digest(config: &str, taken: &BTreeMap<PathBuf, Result<Vec<u8>, String>>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(config.as_bytes());
    for (path, content) in taken {
        part(path.as_os_str().as_encoded_bytes());
        match content {
            Ok(bytes) => part(bytes),
            Err(reason) => part(reason.as_bytes()),
        }
    }
    hasher.finalize()
}

/// The pseudonyms' key: 32 bytes, raw or as hexadecimal digits.
fn pseudonym_key(path: &Path, bytes: &[u8]) -> Result<[u8; 32], Fault> {
    if let Ok(raw) = <[u8; 32]>::try_from(bytes) {
        return Ok(raw);
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let digits: Option<Vec<u32>> = bytes.trim_ascii().iter().map(digit).collect();
    let mut key = [0; 32];
    match digits {
        Some(digits) if digits.len() == 64 => {
            for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
                // Two hexadecimal digits fit a byte.
                *byte = (pair[0] << 4 | pair[1]) as u8;
            }
            Ok(key)
        }
        _ => {
            let reason = "must hold 32 bytes, raw or as 64 hexadecimal digits";
            Err(Fault::of(path, reason))
        }
    }
}

// === impl Fault ===

impl Fault {
    /// About a file as a whole.
    pub fn of(file: &Path, reason: &str) -> Self {
        Self {
            file: file.display().to_string(),
            line: None,
            column: None,
            reason: reason.to_owned(),
        }
    }
}

impl From<&PolicyError> for Fault {
    fn from(error: &PolicyError) -> Self {
        let suggestion = error.suggestion.as_ref();
        let suggestion = suggestion.map(|word| format!("; did you mean \"{word}\"?"));
        Self {
            line: (error.line > 0).then_some(error.line),
            column: (error.line > 0).then_some(error.column),
            reason: format!("{}{}", error.reason, suggestion.unwrap_or_default()),
            ..Self::of(&error.file, "")
        }
    }
}

impl From<&ConfigError> for Fault {
    fn from(error: &ConfigError) -> Self {
        let place = error.place();
        Self {
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            reason: error.reason(),
            ..Self::of(error.file(), "")
        }
    }
}

impl From<Unsettled> for Vec<Fault> {
    fn from(unsettled: Unsettled) -> Self {
        let reason = "keeps changing while it is read; write it elsewhere and rename it into place";
        vec![Fault::of(&unsettled.path, reason)]
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}
