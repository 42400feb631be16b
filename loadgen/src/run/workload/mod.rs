//! What is asked: each request's bytes, drawn from a seed, without a socket and without a clock.
//!
//! [`Workload::write`] appends the next request to a buffer and says what is special about it
//! ([`Job`]): a secret that was planted, whether we shall hang up on it, whether it wants a new
//! connection. Everything comes from one random sequence, in the order of the intended starts, so
//! the same seed asks the same things in the same order.

mod body;
pub mod files;
pub mod identity;
pub mod secrets;
mod synthetic;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::arrivals::recorded::Call;
use super::arrivals::trace::Entry;
use super::length::Lengths;
use body::Bodies;
use files::Prompt;
use identity::Identities;
use secrets::Secrets;
use synthetic::Synthetic;

/// An API to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI completions.
    Completions,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// OpenAI embeddings.
    Embeddings,
}

/// Where prompts come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Always this one.
    One(Prompt),
    /// These, in order or drawn; after the last comes the first again.
    Many {
        /// At least one.
        prompts: Arc<[Prompt]>,
        /// Drawn at random instead of in order.
        shuffled: bool,
    },
    /// Made up: words of common English, whose number is a length in tokens.
    Synthetic {
        /// Of prompts.
        prompt: Lengths,
        /// The share of each prompt that it has in common with others, 0 to 1.
        shared_prefix: f64,
        /// How many different such beginnings there are.
        prefixes: u32,
    },
    /// The lengths of a trace, whose entries belong to its starts.
    Traced(Arc<[Entry]>, Box<Source>),
    /// The calls of a log, byte for byte; those without a body get a prompt from elsewhere.
    Recorded(Arc<[Call]>, Box<Source>),
}

/// What a workload is made of.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// The API to speak.
    pub api: Api,
    /// The model to ask.
    pub model: String,
    /// Ask for streams.
    pub stream: bool,
    /// Ask streams to say at their end how many tokens they were (chat and completions).
    pub usage: bool,
    /// Further fields of the body, as JSON text without braces, or nothing.
    pub extra_fields: String,
    /// How many tokens an answer may have; not said when absent, but where an API requires it.
    pub output: Option<Lengths>,
    /// Prompts.
    pub source: Source,
    /// The share of prompts that get a secret, 0 to 1.
    pub secrets_share: f64,
    /// Which secrets.
    pub secrets: Secrets,
    /// The share of requests that we hang up on, 0 to 1.
    pub disconnects_share: f64,
    /// When we hang up.
    pub disconnect_after: DisconnectAfter,
    /// The share of requests that want a connection of their own, 0 to 1.
    pub new_connections_share: f64,
    /// Who asks.
    pub identities: Identities,
    /// The seed of all draws.
    pub seed: u64,
}

/// When a request is hung up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectAfter {
    /// After this many events with text; zero is with the answer's head.
    Texts(u32),
    /// This many nanoseconds after it was sent.
    Nanoseconds(u64),
}

/// What is special about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The API that it calls.
    pub api: Api,
    /// Which of [`Secrets::values`] was planted in it.
    pub planted: Option<usize>,
    /// We shall hang up.
    pub disconnect: Option<DisconnectAfter>,
    /// It shall have a connection of its own.
    pub new_connection: bool,
    /// Who asks: a number below the number of identities.
    pub identity: u32,
}

/// Writes requests.
pub struct Workload {
    options: WorkloadOptions,
    bodies: Bodies,
    synthetic: Option<Synthetic>,
    rng: StdRng,
    written: u64,
    /// The body, while its length is not known.
    body: Vec<u8>,
    prompt: Vec<u8>,
}

// === impl Api ===

impl Api {
    /// All of them.
    pub const ALL: [Api; 5] = [
        Api::Chat,
        Api::Completions,
        Api::Responses,
        Api::Messages,
        Api::Embeddings,
    ];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Api::Chat => "/v1/chat/completions",
            Api::Completions => "/v1/completions",
            Api::Responses => "/v1/responses",
            Api::Messages => "/v1/messages",
            Api::Embeddings => "/v1/embeddings",
        }
    }

    /// The API of a path.
    pub fn of_path(path: &str) -> Option<Self> {
        Api::ALL.into_iter().find(|api| api.path() == path)
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Api::Chat => "chat",
            Api::Completions => "completions",
            Api::Responses => "responses",
            Api::Messages => "messages",
            Api::Embeddings => "embeddings",
        }
    }
}

// === impl Source ===

impl Source {
    /// The plain source under a trace or a log.
    fn base(&self) -> &Source {
        match self {
            Source::Traced(_, base) | Source::Recorded(_, base) => base.base(),
            plain => plain,
        }
    }

    /// Prompts are text into which a secret can be put.
    fn is_text(&self) -> bool {
        match self {
            Source::One(prompt) => matches!(prompt.said, files::Said::Text(_)),
            Source::Many { prompts, .. } => prompts
                .iter()
                .all(|prompt| matches!(prompt.said, files::Said::Text(_))),
            Source::Synthetic { .. } => true,
            Source::Traced(_, base) => base.is_text(),
            Source::Recorded(..) => false,
        }
    }
}

// === impl Workload ===

impl Workload {
    /// Ready for the first request; `host` and `base_path` are the target's, `fields` further lines
    /// of each head, each with its line end.
    pub fn new(
        options: WorkloadOptions,
        host: &str,
        base_path: &str,
        fields: &str,
    ) -> Result<Self, String> {
        if options.secrets_share > 0.0 && !options.source.is_text() {
            return Err(
                "secrets can be planted in prompts that are text, not in messages, bodies \
                        or recorded calls"
                    .into(),
            );
        }
        if options.secrets_share > 0.0 && options.secrets.values().is_empty() {
            return Err("there is no secret to plant".into());
        }
        let synthetic = match options.source.base() {
            Source::Synthetic {
                shared_prefix,
                prefixes,
                ..
            } => Some(Synthetic::new(*shared_prefix, *prefixes, options.seed)),
            _ => None,
        };
        Ok(Self {
            bodies: Bodies::new(&options, host, base_path, fields),
            synthetic,
            rng: StdRng::seed_from_u64(options.seed ^ 0x776f_726b_6c6f_6164),
            written: 0,
            body: Vec::new(),
            prompt: Vec::new(),
            options,
        })
    }

    /// What is planted.
    pub fn secrets(&self) -> &Secrets {
        &self.options.secrets
    }

    /// Appends the next request; `index` is the number of its intended start.
    pub fn write(&mut self, index: u64, out: &mut Vec<u8>) -> Job {
        let chance = |rng: &mut StdRng, share: f64| share > 0.0 && rng.random_bool(share.min(1.0));
        let options = &self.options;
        let planted = chance(&mut self.rng, options.secrets_share);
        let disconnect = chance(&mut self.rng, options.disconnects_share);
        let new_connection = chance(&mut self.rng, options.new_connections_share);
        let identity = options.identities.pick(&mut self.rng);
        let mut output = match &options.output {
            Some(lengths) => Some(lengths.draw(&mut self.rng)),
            None => None,
        };
        self.body.clear();
        let (api, planted) = match recorded(&options.source, index) {
            Some((api, body)) => {
                self.body.extend_from_slice(body);
                (api, None)
            }
            None => {
                self.prompt.clear();
                let prompt = self.pick(index, &mut output);
                let planted = planted.then(|| {
                    let which = self
                        .rng
                        .random_range(0..self.options.secrets.values().len());
                    let value = &self.options.secrets.values()[which];
                    secrets::plant(value, &mut self.prompt, &mut self.rng);
                    which
                });
                self.bodies
                    .write(prompt.as_ref(), &self.prompt, output, &mut self.body);
                (
                    prompt
                        .and_then(|prompt| prompt.api)
                        .unwrap_or(self.options.api),
                    planted,
                )
            }
        };
        self.written += 1;
        let line = self.options.identities.line(identity);
        self.bodies.write_head(api, line, self.body.len(), out);
        out.extend_from_slice(&self.body);
        Job {
            api,
            planted,
            disconnect: disconnect.then_some(self.options.disconnect_after),
            new_connection,
            identity,
        }
    }

    /// Chooses a prompt: a text lies in `self.prompt` afterwards, escaped for JSON; messages and
    /// bodies are given back.
    fn pick(&mut self, index: u64, output: &mut Option<u32>) -> Option<Prompt> {
        let mut tokens = None;
        if let Source::Traced(entries, _) = &self.options.source
            && let Some(entry) = usize::try_from(index).ok().and_then(|at| entries.get(at))
        {
            tokens = entry.prompt_tokens;
            *output = entry.output_tokens.or(*output);
        }
        let prompt = match self.options.source.base() {
            Source::One(prompt) => prompt,
            Source::Many { prompts, shuffled } => {
                let at = if *shuffled {
                    self.rng.random_range(0..prompts.len())
                } else {
                    (self.written % prompts.len() as u64) as usize
                };
                &prompts[at]
            }
            Source::Synthetic { prompt, .. } => {
                let drawn = prompt.draw(&mut self.rng);
                if let Some(synthetic) = &self.synthetic {
                    let tokens = tokens.unwrap_or(drawn).max(1);
                    synthetic.write(tokens, self.written, &mut self.rng, &mut self.prompt);
                }
                return None;
            }
            Source::Traced(..) | Source::Recorded(..) => return None, // `base` gives neither
        };
        if self.options.output.is_none() {
            *output = prompt.output_tokens.or(*output);
        }
        match &prompt.said {
            files::Said::Text(text) => {
                self.prompt.extend_from_slice(text.as_bytes());
                None
            }
            _ => Some(prompt.clone()),
        }
    }
}

fn recorded(source: &Source, index: u64) -> Option<(Api, &[u8])> {
    let Source::Recorded(calls, _) = source else {
        return None;
    };
    let (api, body) = calls.get(usize::try_from(index).ok()?)?.request.as_ref()?;
    Some((*api, body))
}

#[cfg(test)]
mod tests;
