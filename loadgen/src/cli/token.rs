//! `penstock-loadgen token`: `serve` runs the identity provider, `mint` prints one token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use penstock_loadgen::issuer::{
    Algorithm, Client, Issuer, IssuerOptions, KeySet, TokenSpec, mint, now_unix,
};
use penstock_loadgen::{client, ready};
use serde_json::{Map, Value};

use super::{Failure, duration, wait_for_signal};

/// Development identity provider and tokens: never for production.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the identity provider: discovery, keys, rotation, token endpoint.
    #[command(visible_alias = "idp")]
    Serve(Serve),
    /// Print a token, and nothing else.
    Mint(Mint),
}

#[derive(Args)]
struct Serve {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The issuer's URL in tokens and discovery; by default http://ADDRESS.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Keep the private keys in this folder (files of mode 0600); by default in memory only.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Algorithms to make keys for.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "RS256,ES256,EdDSA",
        value_name = "ALG,…"
    )]
    algorithms: Vec<Algorithm>,
    /// Audience of tokens from the token endpoint.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "penstock",
        value_name = "AUD,…"
    )]
    audience: Vec<String>,
    /// Groups that the token endpoint gives to a client that --clients does not list.
    #[arg(long, value_delimiter = ',', value_name = "GROUP,…")]
    groups: Vec<String>,
    /// TOML: [client-id] with subject, groups, claims.
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Lifetime of tokens from the token endpoint.
    #[arg(long, value_parser = duration, default_value = "1h")]
    ttl: Duration,
    /// Write the issuer's URL to this file as soon as it listens.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Listen on other than loopback addresses: whoever reaches this provider gets any token.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct Mint {
    /// URL of the issuer: the `iss` claim, and, without --keys, the running provider to ask.
    #[arg(long, value_name = "URL", required_unless_present = "keys")]
    issuer: Option<String>,
    /// Sign with a key from this folder instead of asking the provider.
    #[arg(long, value_name = "DIR", requires = "issuer")]
    keys: Option<PathBuf>,
    /// Subject.
    #[arg(long, default_value = "dev")]
    sub: String,
    /// Groups.
    #[arg(long, value_delimiter = ',', value_name = "GROUP,…")]
    groups: Vec<String>,
    /// Audience; repeat or separate by commas for more than one, "" for none.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "penstock",
        value_name = "AUD,…"
    )]
    aud: Vec<String>,
    /// Lifetime: 30s, 5m, 1h; with a minus the token has expired (--ttl=-5m).
    #[arg(long, default_value = "1h", allow_hyphen_values = true)]
    ttl: String,
    /// Any claim, as name=JSON (text that is no JSON is a string; null removes the claim).
    #[arg(long, value_name = "NAME=JSON")]
    claim: Vec<String>,
    /// Any header field, as name=JSON (null removes it).
    #[arg(long, value_name = "NAME=JSON")]
    header: Vec<String>,
    /// Algorithm to sign with, or `none`.
    #[arg(long)]
    alg: Option<String>,
    /// Key to sign with, by its id.
    #[arg(long)]
    kid: Option<String>,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Serve(serve) => run_provider(serve),
        Command::Mint(mint) => print_token(mint),
    }
}

fn run_provider(serve: Serve) -> Result<(), Failure> {
    if !serve.listen.ip().is_loopback() && !serve.allow_remote {
        let text = "this provider gives any token to anybody: --listen takes a loopback address, \
                    or add --allow-remote";
        return Err(Failure::Usage(text.into()));
    }
    let mut clients = BTreeMap::<String, Client>::new();
    if let Some(path) = &serve.clients {
        let named =
            |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        clients = toml::from_str(&text).map_err(|error| named(&error))?;
    }
    let options = IssuerOptions {
        listen: serve.listen,
        url: serve.url,
        keys: serve.keys,
        algorithms: serve.algorithms,
        audience: serve.audience,
        clients,
        default_client: Client {
            groups: serve.groups,
            ..Client::default()
        },
        ttl_s: i64::try_from(serve.ttl.as_secs()).unwrap_or(i64::MAX),
    };
    let issuer = Issuer::start(options).map_err(Failure::failed)?;
    eprintln!("identity provider for development: {}", issuer.url());
    if let Some(path) = &serve.ready_file {
        ready::write(path, &format!("{}\n", issuer.url())).map_err(Failure::failed)?;
    }
    wait_for_signal()
}

fn print_token(arguments: Mint) -> Result<(), Failure> {
    let (negative, ttl) = match arguments.ttl.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, arguments.ttl.as_str()),
    };
    let ttl = duration(ttl).map_err(|why| Failure::Usage(format!("--ttl {ttl}: {why}")))?;
    let ttl_s = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2);
    let issuer = arguments.issuer.unwrap_or_default();
    let spec = TokenSpec {
        issuer: None,
        subject: arguments.sub,
        groups: arguments
            .groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .collect(),
        audience: arguments
            .aud
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect(),
        ttl_s: if negative { -ttl_s } else { ttl_s },
        claims: pairs("--claim", &arguments.claim)?,
        header: pairs("--header", &arguments.header)?,
        algorithm: arguments.alg,
        kid: arguments.kid,
    };
    let token = match &arguments.keys {
        Some(folder) => {
            let keys = KeySet::load(folder).map_err(Failure::failed)?;
            mint(&keys, &spec, &issuer, now_unix()).map_err(Failure::failed)?
        }
        None => client::mint_at(&issuer, &spec).map_err(Failure::failed)?,
    };
    println!("{token}");
    Ok(())
}

fn pairs(option: &str, texts: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut map = Map::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::Usage(format!(
                "{option} {text}: write it as name=JSON"
            )));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        map.insert(name.into(), value);
    }
    Ok(map)
}
