//! Engine profiles: which route of an inference server means which operation.
//!
//! An inference server offers its management on the port on which it answers prompts. A profile
//! is the table that tells the two apart. What no chosen profile names does not exist: there is no
//! default route, no prefix match, and a path that is spelled in any unusual way (percent-encoding,
//! dot segments, doubled slashes) names nothing.

mod routes;

use std::fmt;

/// What a call does, as grants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Let the model write.
    Infer,
    /// Turn text into numbers: embeddings, scores, classes.
    Embed,
    /// List what is served.
    Models,
    /// Turn text into tokens and back.
    Tokenize,
    /// Ask whether the server lives.
    Health,
    /// Read counters.
    Metrics,
    /// Change what the server is or does: sleep, adapters, weights, caches.
    Manage,
    /// Look inside or run code inside: profilers, remote procedure calls, configuration.
    Debug,
}

/// Whose error format and body shapes a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI and everything that imitates it.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
}

/// The shape of a route's bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `chat/completions`.
    ChatCompletions,
    /// `completions`.
    Completions,
    /// `responses`.
    Responses,
    /// `embeddings` and its kin.
    Embeddings,
    /// `audio/transcriptions` and `audio/translations`.
    Transcriptions,
    /// `models`.
    Models,
    /// Anthropic `messages`.
    Messages,
    /// Anything else; its strings are inspected all the same.
    Other,
}

/// What a route takes as its request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestBody {
    /// No body at all.
    None,
    /// A JSON object. Where the route names no model the body may be empty.
    Json,
    /// A form, `multipart/form-data`.
    Form,
}

/// One route of one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it does.
    pub operation: Operation,
    /// Whose format its errors take.
    pub dialect: Dialect,
    /// The shape of its bodies.
    pub endpoint: Endpoint,
    /// What it takes as a body.
    pub body: RequestBody,
    /// Whether its body must name the model that is asked for.
    pub names_model: bool,
    /// The pattern it was found by, for logs: bounded in number, unlike paths.
    pub name: &'static str,
}

/// The chosen profiles, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Profiles {
    chosen: Vec<&'static routes::Profile>,
}

/// A profile name that is not shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProfile {
    /// The name as written.
    pub name: String,
    /// The closest shipped name, when one is close.
    pub suggestion: Option<String>,
}

// === impl Operation ===

impl Operation {
    /// All of them, in the order in which documents list them.
    pub const ALL: [Operation; 8] = [
        Operation::Infer,
        Operation::Embed,
        Operation::Models,
        Operation::Tokenize,
        Operation::Health,
        Operation::Metrics,
        Operation::Manage,
        Operation::Debug,
    ];

    /// The word used in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Infer => "infer",
            Operation::Embed => "embed",
            Operation::Models => "models",
            Operation::Tokenize => "tokenize",
            Operation::Health => "health",
            Operation::Metrics => "metrics",
            Operation::Manage => "manage",
            Operation::Debug => "debug",
        }
    }

    /// The operation of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Operation> {
        Operation::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name)
    }

    /// Whether a grant of this operation has to say for which models.
    pub fn is_per_model(self) -> bool {
        matches!(
            self,
            Operation::Infer | Operation::Embed | Operation::Tokenize
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Dialect ===

impl Dialect {
    /// The word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
        }
    }
}

// === impl Profiles ===

impl Profiles {
    /// The names that `from_names` takes.
    pub fn shipped() -> impl Iterator<Item = &'static str> {
        routes::PROFILES.iter().map(|profile| profile.name)
    }

    /// The profiles of these names; where two name one route, the earlier wins.
    pub fn from_names(names: &[String]) -> Result<Profiles, UnknownProfile> {
        let mut chosen = Vec::with_capacity(names.len());
        for name in names {
            let found = routes::PROFILES
                .iter()
                .find(|profile| profile.name == name.as_str());
            match found {
                Some(profile) => chosen.push(profile),
                None => {
                    let suggestion =
                        crate::rule::suggest(name, Profiles::shipped()).map(str::to_owned);
                    return Err(UnknownProfile {
                        name: name.clone(),
                        suggestion,
                    });
                }
            }
        }
        Ok(Profiles { chosen })
    }

    /// The route that `method` and `path` (without its query) name, if a profile knows it.
    pub fn resolve(&self, method: &str, path: &str) -> Option<Route> {
        if !is_plain_path(path) {
            return None;
        }
        self.chosen
            .iter()
            .flat_map(|profile| profile.routes)
            .find(|entry| entry.method == method && entry.fits(path))
            .map(|entry| entry.route())
    }

    /// Whether some method would have found a route at `path`: the answer is then 405 and not 404.
    pub fn knows_path(&self, path: &str) -> bool {
        is_plain_path(path)
            && self
                .chosen
                .iter()
                .flat_map(|profile| profile.routes)
                .any(|entry| entry.fits(path))
    }
}

/// Longest path that can name a route.
const PATH_BYTES_MAX: usize = 256;

/// Only spellings that every server reads the same way: no escapes, no `.` or `..` segments, no
/// empty segments, nothing outside a small alphabet.
fn is_plain_path(path: &str) -> bool {
    let plain_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
    path.len() <= PATH_BYTES_MAX
        && path.starts_with('/')
        && path[1..].split('/').all(|segment| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(plain_byte)
        })
}

// === impl UnknownProfile ===

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no engine profile \"{}\"", self.name)?;
        match &self.suggestion {
            Some(name) => write!(f, "; did you mean \"{name}\"?"),
            None => {
                let known: Vec<_> = Profiles::shipped().collect();
                write!(f, "; shipped are {}", known.join(", "))
            }
        }
    }
}

impl std::error::Error for UnknownProfile {}
