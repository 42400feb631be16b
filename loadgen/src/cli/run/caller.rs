//! The arguments that say who asks, and with which fields.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use penstock_loadgen::client::mint_at;
use penstock_loadgen::issuer::{KeySet, TokenSpec, mint, now_unix};
use penstock_loadgen::run::time;
use penstock_loadgen::run::workload::identity::{IDENTITIES_MAX, Identities};

use super::{Failure, read_text};

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Who asks")]
pub(super) struct Arguments {
    /// Bearer token. Visible to other users of the machine: prefer --token-file.
    #[arg(long, group = "who")]
    token: Option<String>,
    /// File with the bearer token.
    #[arg(long, value_name = "FILE", group = "who")]
    token_file: Option<PathBuf>,
    /// File with many tokens, one a line; each request draws one.
    #[arg(long, value_name = "FILE", group = "who")]
    tokens: Option<PathBuf>,
    /// Mint tokens at this development provider, or with --keys in its name.
    #[arg(long, value_name = "ISSUER", group = "who")]
    mint: Option<String>,
    /// Sign minted tokens with the keys in this folder, instead of asking the provider.
    #[arg(long, value_name = "DIR", requires = "mint")]
    keys: Option<PathBuf>,
    /// How many subjects to mint tokens for: user-0, user-1, …
    #[arg(long, default_value_t = 1, value_name = "N", requires = "mint")]
    subjects: usize,
    /// Groups of minted tokens.
    #[arg(long, value_delimiter = ',', value_name = "GROUP,…", requires = "mint")]
    groups: Vec<String>,
    /// Audience of minted tokens.
    #[arg(
        long,
        default_value = "penstock",
        value_name = "AUD",
        requires = "mint"
    )]
    aud: String,
    /// Lifetime of minted tokens.
    #[arg(long, value_parser = time::parse, default_value = "12h", value_name = "TIME")]
    ttl: Duration,
    /// A further field of each head, as "name: value"; repeatable.
    #[arg(long, short = 'H', value_name = "FIELD")]
    header: Vec<String>,
}

// === impl Arguments ===

impl Arguments {
    /// Lines of every head.
    pub(super) fn fields(&self) -> Result<String, Failure> {
        let mut lines = String::new();
        for field in &self.header {
            let (name, value) = field.split_once(':').unwrap_or((field, ""));
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            let ours = ["content-length", "transfer-encoding", "host", "connection"];
            let wrong = if name.is_empty() || !name.bytes().all(token) || !field.contains(':') {
                Some("write it as \"name: value\"")
            } else if ours.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                Some("that field is the generator's own")
            } else if value.chars().any(|c| c.is_control() && c != '\t') {
                Some("control characters are in its value")
            } else {
                None
            };
            if let Some(why) = wrong {
                return Err(Failure::Usage(format!("--header {name}: {why}")));
            }
            lines.push_str(&format!("{name}: {}\r\n", value.trim()));
        }
        Ok(lines)
    }

    /// Who asks.
    pub(super) fn identities(&self) -> Result<Identities, Failure> {
        let one = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(read_text(path)?.trim().to_owned()),
            (None, None) => None,
        };
        let tokens = match (one, &self.tokens, &self.mint) {
            (Some(token), ..) => vec![token],
            (None, Some(path), _) => read_text(path)?
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
            (None, None, Some(issuer)) => self.minted(issuer)?,
            (None, None, None) => Vec::new(),
        };
        Identities::bearers(tokens).map_err(Failure::Usage)
    }

    fn minted(&self, issuer: &str) -> Result<Vec<String>, Failure> {
        if !(1..=IDENTITIES_MAX).contains(&self.subjects) {
            return Err(Failure::Usage(format!(
                "--subjects is 1 to {IDENTITIES_MAX}"
            )));
        }
        let keys = match &self.keys {
            Some(folder) => Some(KeySet::load(folder).map_err(Failure::failed)?),
            None => None,
        };
        let one = |number: usize| {
            let spec = TokenSpec {
                subject: format!("user-{number}"),
                groups: self
                    .groups
                    .iter()
                    .filter(|group| !group.is_empty())
                    .cloned()
                    .collect(),
                audience: vec![self.aud.clone()],
                ttl_s: i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX),
                ..TokenSpec::default()
            };
            match &keys {
                Some(keys) => mint(keys, &spec, issuer, now_unix()),
                None => mint_at(issuer, &spec),
            }
            .map_err(Failure::failed)
        };
        (0..self.subjects).map(one).collect()
    }
}
