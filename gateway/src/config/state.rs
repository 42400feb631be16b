//! `[control] state`: where the gateway keeps what must survive a restart.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatePlace {
    /// The file of an SQLite database.
    Sqlite(PathBuf),
    /// A Postgres database, which several gateways may share.
    Postgres(PostgresPlace),
}

/// A Postgres database, and where its password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresPlace {
    /// Without a password.
    url: Url,
    /// `[control] state_password_file`.
    pub password_file: Option<PathBuf>,
}

/// The longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

// === impl StatePlace ===

impl StatePlace {
    /// Makes a relative path relative to `base`.
    pub(super) fn resolve(&mut self, resolve: impl Fn(&mut PathBuf)) {
        match self {
            Self::Sqlite(path) => resolve(path),
            Self::Postgres(server) => server.password_file.iter_mut().for_each(resolve),
        }
    }
}

impl From<&Path> for StatePlace {
    fn from(file: &Path) -> Self {
        Self::Sqlite(file.to_owned())
    }
}

impl From<&PathBuf> for StatePlace {
    fn from(file: &PathBuf) -> Self {
        Self::Sqlite(file.clone())
    }
}

impl From<&StatePlace> for StatePlace {
    fn from(place: &StatePlace) -> Self {
        place.clone()
    }
}

impl<'de> Deserialize<'de> for StatePlace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(path) = text
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty())
        {
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let place = PostgresPlace::parse(&text).map_err(serde::de::Error::custom)?;
            return Ok(Self::Postgres(place));
        }
        Err(serde::de::Error::custom(format!(
            "`{text}` is no place for the state: write \"sqlite:///var/lib/penstock/state.db\" or \
             \"postgres://user@host/database\""
        )))
    }
}

impl fmt::Display for StatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(server) => server.fmt(f),
        }
    }
}

// === impl PostgresPlace ===

impl PostgresPlace {
    /// Reads `postgres://user@host:port/database?sslmode=…`. A server on another machine must
    /// show a certificate for its name unless `sslmode` says otherwise.
    fn parse(text: &str) -> Result<Self, String> {
        // The text may have a password in it: it is not repeated.
        let mut url = Url::parse(text).map_err(|error| format!("is no database's URL: {error}"))?;
        let named = |name: &str| url.query_pairs().any(|(key, _)| key == name);
        if url.password().is_some() || named("password") {
            return Err("a password does not belong here: say `state_password_file`".to_owned());
        }
        let asks_for_tls = named("sslmode") || named("ssl-mode");
        let host = url
            .query_pairs()
            .find(|(key, _)| key == "host" || key == "hostaddr")
            .map(|(_, value)| value.into_owned())
            .or_else(|| url.host_str().map(str::to_owned))
            .unwrap_or_default();
        if !asks_for_tls && !is_here(&host) {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        Ok(Self {
            url,
            password_file: None,
        })
    }

    /// The URL with the password from its file.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn url_with_password(&self) -> Result<Url, String> {
        let mut url = self.url.clone();
        if let Some(file) = &self.password_file {
            let password = read_password(file)?;
            url.query_pairs_mut().append_pair("password", &password);
        }
        Ok(url)
    }
}

impl fmt::Display for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

fn read_password(file: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let named = |reason: &dyn fmt::Display| format!("{}: {reason}", file.display());
    let mut text = String::new();
    std::fs::File::open(file)
        .map_err(|error| named(&error))?
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| named(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(named(&"is empty")),
        password => Ok(password.to_owned()),
    }
}

/// A socket, or an address of this machine.
fn is_here(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty()
        || host == "localhost"
        || host.starts_with('/')
        || host
            .get(..3)
            .is_some_and(|it| it.eq_ignore_ascii_case("%2F"))
        || literal
            .parse::<std::net::IpAddr>()
            .is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StatePlace, String> {
        #[derive(Deserialize)]
        struct Holder {
            state: StatePlace,
        }
        toml::from_str::<Holder>(&format!("state = {text:?}"))
            .map(|holder| holder.state)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_read_and_passwords_are_not_taken() {
        assert_eq!(
            read("sqlite:///var/lib/x.db"),
            Ok(StatePlace::Sqlite("/var/lib/x.db".into()))
        );
        for (text, shown) in [
            (
                "postgres://p@localhost/state",
                "postgres://p@localhost/state",
            ),
            (
                "postgres://p@%2Frun%2Fpg/state",
                "postgres://p@%2Frun%2Fpg/state",
            ),
            (
                "postgresql://p@[::1]:5433/state",
                "postgresql://p@[::1]:5433/state",
            ),
            (
                "postgres://localhost/s?host=/run/pg&user=p",
                "postgres://localhost/s?host=/run/pg&user=p",
            ),
            (
                "postgres://p@db.example/s",
                "postgres://p@db.example/s?sslmode=verify-full",
            ),
            (
                "postgres://p@db.example/s?sslmode=require",
                "postgres://p@db.example/s?sslmode=require",
            ),
        ] {
            assert_eq!(
                read(text).map(|place| place.to_string()).as_deref(),
                Ok(shown)
            );
        }
        for bad in ["", "sqlite://", "mysql://h/d", "state.db", "postgres://"] {
            let found = read(bad);
            assert!(found.is_err() || bad == "postgres://", "{bad}: {found:?}");
        }
        for secret in [
            "postgres://p:hunter2@h/d",
            "postgres://p@h/d?password=hunter2",
        ] {
            let error = read(secret).unwrap_err();
            assert!(error.contains("state_password_file"), "{error}");
        }
    }

    #[test]
    fn the_password_comes_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let Ok(StatePlace::Postgres(mut place)) = read("postgres://p@localhost/s") else {
            panic!("a good place");
        };
        place.password_file = Some(file.clone());
        assert!(place.url_with_password().is_err());
        std::fs::write(&file, "a&b=c %\n").unwrap();
        let url = place.url_with_password().unwrap();
        let found = url.query_pairs().find(|(key, _)| key == "password");
        assert_eq!(
            found.map(|(_, value)| value.into_owned()).as_deref(),
            Some("a&b=c %")
        );
        assert!(!place.to_string().contains("a&b"));
    }
}
