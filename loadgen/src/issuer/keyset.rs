//! The keys of one issuer: kept in a folder or in memory, published together, rotated.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::keys::{Algorithm, KeyError, SigningKey};

/// How many generations of keys stay published after rotations; older ones are dropped.
const GENERATIONS_MAX: usize = 4;
/// How many key files a folder may hold before reading it is refused.
const KEY_FILES_MAX: usize = 256;

/// The keys of one issuer, oldest first.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<SigningKey>,
    folder: Option<PathBuf>,
}

// === impl KeySet ===

impl KeySet {
    /// One fresh key per algorithm, in memory only.
    pub fn generate(algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let keys = algorithms
            .iter()
            .map(|algorithm| SigningKey::generate(*algorithm, 1));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            folder: None,
        })
    }

    /// The keys in `folder`; where it holds none, one is made and written per algorithm.
    /// A folder that is not there is made with mode 0700.
    pub fn open(folder: &Path, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: folder.into(),
            source,
        };
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let mut set = Self::load(folder)?;
        for algorithm in algorithms {
            if set.newest(*algorithm).is_none() {
                let key = SigningKey::generate(*algorithm, 1)?;
                key.write(folder)?;
                set.keys.push(key);
            }
        }
        Ok(set)
    }

    /// The keys in `folder`, and only those.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: folder.into(),
            source,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
        }
        if paths.len() > KEY_FILES_MAX {
            let reason = format!("holds more than {KEY_FILES_MAX} keys");
            return Err(KeyError::Unusable {
                path: folder.into(),
                reason,
            });
        }
        paths.sort();
        let mut keys: Vec<_> = paths
            .iter()
            .map(|path| SigningKey::read(path))
            .collect::<Result<_, _>>()?;
        keys.sort_by_key(|key| key.generation());
        Ok(Self {
            keys,
            folder: Some(folder.into()),
        })
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// The key with which tokens of this algorithm are signed now.
    pub fn newest(&self, algorithm: Algorithm) -> Option<&SigningKey> {
        self.keys
            .iter()
            .rev()
            .find(|key| key.algorithm() == algorithm)
    }

    /// The key to sign with: by id, by algorithm, by both, or the first algorithm's newest one.
    pub fn select(
        &self,
        algorithm: Option<Algorithm>,
        kid: Option<&str>,
    ) -> Result<&SigningKey, KeyError> {
        let found = match (algorithm, kid) {
            (_, Some(kid)) => self.keys.iter().find(|key| key.kid() == kid),
            (Some(algorithm), None) => self.newest(algorithm),
            (None, None) => self
                .keys
                .first()
                .and_then(|first| self.newest(first.algorithm())),
        };
        found.ok_or_else(|| match (algorithm, kid) {
            (_, Some(kid)) => KeyError::Absent(format!("with the id {kid:?}")),
            (Some(algorithm), None) => KeyError::Absent(format!("for {}", algorithm.name())),
            (None, None) => KeyError::Absent("at all".into()),
        })
    }

    /// Adds a newer key for every algorithm in the set. Old ones stay published, as providers do
    /// for a while, unless `retire` takes them away at once.
    pub fn rotate(&mut self, retire: bool) -> Result<(), KeyError> {
        let generation = self
            .keys
            .iter()
            .map(|key| key.generation())
            .max()
            .unwrap_or(0)
            + 1;
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for key in &self.keys {
            if !algorithms.contains(&key.algorithm()) {
                algorithms.push(key.algorithm());
            }
        }
        let mut fresh = Vec::with_capacity(algorithms.len());
        for algorithm in algorithms {
            let key = SigningKey::generate(algorithm, generation)?;
            if let Some(folder) = &self.folder {
                key.write(folder)?;
            }
            fresh.push(key);
        }
        let oldest = if retire {
            generation
        } else {
            generation.saturating_sub(GENERATIONS_MAX as u32 - 1)
        };
        for dropped in self.keys.extract_if(.., |key| key.generation() < oldest) {
            if let Some(folder) = &self.folder {
                let path = folder.join(format!("{}.pem", dropped.kid()));
                fs::remove_file(&path).map_err(|source| KeyError::File { path, source })?;
            }
        }
        self.keys.extend(fresh);
        Ok(())
    }

    /// The published key set (RFC 7517 section 5).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(SigningKey::public_jwk).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_keeps_the_keys_and_nobody_else_may_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let algorithms = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
        let first = KeySet::open(&path, &algorithms).unwrap();
        let again = KeySet::open(&path, &algorithms).unwrap();
        assert_eq!(first.keys().len(), 3);
        for key in first.keys() {
            let same = again.select(None, Some(key.kid())).unwrap();
            assert_eq!(same.public_jwk(), key.public_jwk());
        }
        for entry in fs::read_dir(&path).unwrap() {
            assert_eq!(
                entry.unwrap().metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn rotation_publishes_the_old_key_until_it_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let mut set = KeySet::open(folder.path(), &[Algorithm::Es256]).unwrap();
        let old = set.select(None, None).unwrap().kid().to_owned();
        set.rotate(false).unwrap();
        assert_eq!(set.keys().len(), 2);
        assert_ne!(set.select(None, None).unwrap().kid(), old);
        assert!(set.select(None, Some(&old)).is_ok());
        set.rotate(true).unwrap();
        assert_eq!(set.keys().len(), 1);
        assert!(set.select(None, Some(&old)).is_err());
        assert_eq!(KeySet::load(folder.path()).unwrap().keys().len(), 1);
        for _ in 0..8 {
            set.rotate(false).unwrap();
        }
        assert_eq!(set.keys().len(), GENERATIONS_MAX);
    }

    #[test]
    fn an_unusable_key_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("es256-1.pem"), "nonsense").unwrap();
        let message = KeySet::load(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("es256-1.pem") && message.contains("not a PEM"),
            "{message}"
        );
    }
}
