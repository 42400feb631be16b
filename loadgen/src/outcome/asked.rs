//! What a run was asked to do, so that its figures can be read later and the run repeated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the command line meant, resolved. Credentials are never in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The command line, through [`without_credentials`].
    pub command: Vec<String>,
    /// Where to: scheme, host, port, path; or the path of a socket.
    pub target: String,
    /// The API that was spoken: `chat`, `completions`, `responses`, `messages`, `embeddings`.
    pub api: String,
    /// The model that was asked.
    pub model: String,
    /// Whether streams were asked for.
    pub stream: bool,
    /// Open or closed.
    #[serde(rename = "loop")]
    pub kind: Loop,
    /// When requests come, in words: `poisson, 200/s`, `ramp, 10/s to 500/s`, `closed loop`.
    pub arrivals: String,
    /// The mean rate of intended starts a second; absent in closed loop.
    pub rate_per_s: Option<f64>,
    /// How long requests were to be started.
    pub duration_s: f64,
    /// What all chance in the run came from.
    pub seed: u64,
    /// Connections at most, and with HTTP/1.1 so many requests at a time.
    pub connections: u64,
    /// `HTTP/1.1` or `HTTP/2`.
    pub http: String,
    /// Whether connections were encrypted.
    pub tls: bool,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// How long one request may take.
    pub timeout_s: f64,
    /// What was sent, in words: prompts, lengths, secrets planted, disconnects, identities.
    pub workload: String,
    /// Anything else that a reader must know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Who decides when the next request starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loop {
    /// The clock: requests come whatever the server does, as they do from many users.
    Open,
    /// The last answer: a slow server is asked less, so latencies look better than users have them.
    Closed,
}

/// Options whose value is a credential, or may hold one.
const SECRET_OPTIONS: [&str; 5] = ["--token", "--header", "-H", "--api-key", "--password"];
/// What stands in a credential's place.
const WITHHELD: &str = "***";

/// A command line to keep: values of options that are credentials, and user information in URLs,
/// are replaced by `***`.
pub fn without_credentials(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut withhold = false;
    let mut kept = Vec::new();
    for argument in arguments {
        let text = if withhold {
            WITHHELD.to_owned()
        } else {
            one_without_credentials(&argument)
        };
        withhold = !withhold && SECRET_OPTIONS.contains(&argument.as_str());
        kept.push(text);
    }
    kept
}

fn one_without_credentials(argument: &str) -> String {
    if let Some((option, _)) = argument.split_once('=')
        && SECRET_OPTIONS.contains(&option)
    {
        return format!("{option}={WITHHELD}");
    }
    // A short option's value may stand right behind it: `-Hauthorization:…`.
    let short = SECRET_OPTIONS.iter().filter(|option| option.len() == 2);
    if let Some(option) = short
        .copied()
        .find(|option| argument.len() > option.len() && argument.starts_with(option))
    {
        return format!("{option}{WITHHELD}");
    }
    let Some((scheme, rest)) = argument.split_once("://") else {
        return argument.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://{WITHHELD}{}", &rest[user.len()..]),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_withheld() {
        let line =
            "run --token abc --url https://me:pw@host/v1 --header=x-key:1 -H a:b -Hc:d=e --rate 5";
        let kept = without_credentials(line.split(' ').map(str::to_owned)).join(" ");
        let expected =
            "run --token *** --url https://***@host/v1 --header=*** -H *** -H*** --rate 5";
        assert_eq!(kept, expected);
        let url = one_without_credentials("--url=http://a@b@host?x=@");
        assert_eq!(url, "--url=http://***@host?x=@");
        let path = "http://host/a@b".to_owned();
        assert_eq!(without_credentials([path.clone()]), [path]);
    }
}
