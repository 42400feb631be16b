//! The arguments that say what is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use penstock_loadgen::run::length::Lengths;
use penstock_loadgen::run::time;
use penstock_loadgen::run::workload::files::{self, Format, Prompt};
use penstock_loadgen::run::workload::identity::Identities;
use penstock_loadgen::run::workload::secrets::Secrets;
use penstock_loadgen::run::workload::{Api, DisconnectAfter, Source, WorkloadOptions};
use serde_json::Value;

use super::arrivals::Planned;
use super::{Failure, read_text, share};

/// The longest prompt that --prompt-bytes makes.
const PROMPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most different beginnings that prompts share.
const PREFIXES_MAX: u32 = 65_536;

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "What is asked")]
pub(super) struct Arguments {
    /// Model to ask.
    #[arg(long, default_value = "double")]
    model: String,
    /// API to speak.
    #[arg(long, value_enum, default_value_t = Speak::Chat)]
    api: Speak,
    /// Ask for streams.
    #[arg(long)]
    stream: bool,
    /// Do not ask streams for their usage (chat and completions): tokens are then events with text.
    #[arg(long, requires = "stream")]
    no_usage: bool,
    /// What to ask, always the same.
    #[arg(
        long,
        default_value = "Say something short about water.",
        group = "source"
    )]
    prompt: String,
    /// Repeat that until it has this many bytes.
    #[arg(long, value_name = "N", conflicts_with_all = ["prompts", "sharegpt", "prompt_tokens"])]
    prompt_bytes: Option<usize>,
    /// Make prompts up, of so many tokens: a length or a distribution of lengths.
    #[arg(long, value_name = "LENGTHS", group = "source")]
    prompt_tokens: Option<Lengths>,
    /// Share of each made-up prompt that it has in common with others, from its beginning.
    #[arg(long, value_parser = share, default_value = "0", value_name = "SHARE")]
    shared_prefix: f64,
    /// How many different such beginnings there are.
    #[arg(long, default_value_t = 1, value_name = "N")]
    prefixes: u32,
    /// Prompts from JSON lines: strings, {"prompt"}, {"messages"}, or batch lines with whole bodies.
    #[arg(long, value_name = "FILE", group = "source")]
    prompts: Option<PathBuf>,
    /// Prompts and lengths of answers from ShareGPT's JSON.
    #[arg(long, value_name = "FILE", group = "source")]
    sharegpt: Option<PathBuf>,
    /// Draw prompts of a file at random, instead of in their order.
    #[arg(long)]
    shuffle: bool,
    /// How many tokens an answer may have (max_tokens): a length or a distribution of lengths.
    #[arg(long, value_name = "LENGTHS")]
    output_tokens: Option<Lengths>,
    /// Further fields of each body, as a JSON object: {"temperature": 0, "ignore_eos": true}.
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// Share of prompts in which a secret is planted: documented example values, never anybody's.
    #[arg(long, value_parser = share, default_value = "0", value_name = "SHARE")]
    secrets: f64,
    /// Secrets to plant, one a line, instead of those.
    #[arg(long, value_name = "FILE", requires = "secrets")]
    secrets_file: Option<PathBuf>,
    /// Share of requests on which the generator hangs up in the middle.
    #[arg(long, value_parser = share, default_value = "0", value_name = "SHARE")]
    disconnects: f64,
    /// When it hangs up: after so many events with text (0: with the head), or so long after the
    /// request was begun (50ms).
    #[arg(long, value_parser = disconnect_after, default_value = "3", value_name = "N|TIME")]
    disconnect_after: DisconnectAfter,
    /// Seed of all that is drawn [default: another one each time; it is printed].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Speak {
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

// === impl Arguments ===

impl Arguments {
    /// The workload, in words too, and what a reader must know.
    pub(super) fn ready(
        self,
        planned: &Planned,
        identities: Identities,
        new_connections_share: f64,
    ) -> Result<(WorkloadOptions, String, Vec<String>), Failure> {
        let usage = |text: String| Failure::Usage(text);
        if !(1..=PREFIXES_MAX).contains(&self.prefixes) {
            return Err(usage(format!("--prefixes is 1 to {PREFIXES_MAX}")));
        }
        if self.shared_prefix > 0.0 && self.prompt_tokens.is_none() {
            return Err(usage("--shared-prefix needs --prompt-tokens".into()));
        }
        if self.stream && matches!(self.api, Speak::Embeddings) {
            return Err(usage("embeddings do not stream".into()));
        }
        // Half the range: every number survives programs that read JSON's numbers as doubles.
        let seed = self.seed.unwrap_or_else(|| rand::random::<u64>() >> 12);
        let secrets = match &self.secrets_file {
            Some(path) => Secrets::parse(&read_text(path)?)
                .map_err(|why| usage(format!("{}: {why}", path.display())))?,
            None => Secrets::documented(seed),
        };
        let extra_fields = match &self.body {
            Some(text) => fields(text).map_err(|why| usage(format!("--body: {why}")))?,
            None => String::new(),
        };
        let (mut source, mut words) = self.source()?;
        let mut notes = Vec::new();
        if let Some(entries) = &planned.entries {
            let without = entries
                .iter()
                .filter(|entry| entry.prompt_tokens.is_none())
                .count();
            if self.prompt_tokens.is_none() && without < entries.len() {
                // The trace has lengths: prompts are made up to them.
                source = Source::Synthetic {
                    prompt: Lengths::fixed(128),
                    shared_prefix: 0.0,
                    prefixes: 1,
                };
                words = "made-up prompts".into();
            }
            words.push_str(", lengths of the trace");
            source = Source::Traced(entries.clone(), Box::new(source));
        }
        if let Some(calls) = &planned.calls {
            let bodies = calls.iter().filter(|call| call.request.is_some()).count();
            words = format!("{bodies} recorded bodies; else {words}");
            source = Source::Recorded(calls.clone(), Box::new(source));
            notes.push(
                "recorded bodies are sent as the model saw them: masked where they were".into(),
            );
        }
        self.describe(&identities, &mut words);
        let options = WorkloadOptions {
            api: self.api.into(),
            model: self.model,
            stream: self.stream,
            usage: !self.no_usage,
            extra_fields,
            output: self.output_tokens,
            source,
            secrets_share: self.secrets,
            secrets,
            disconnects_share: self.disconnects,
            disconnect_after: self.disconnect_after,
            new_connections_share,
            identities,
            seed,
        };
        Ok((options, words, notes))
    }

    fn source(&self) -> Result<(Source, String), Failure> {
        let file = match (&self.sharegpt, &self.prompts) {
            (Some(path), _) => Some((path, Format::ShareGpt)),
            (None, Some(path)) => Some((path, Format::Lines)),
            (None, None) => None,
        };
        if let Some((path, format)) = file {
            let prompts = files::read(path, format).map_err(Failure::failed)?;
            let words = format!("{} prompts of {}", prompts.len(), path.display());
            let source = Source::Many {
                prompts: prompts.into(),
                shuffled: self.shuffle,
            };
            return Ok((source, words));
        }
        if let Some(prompt) = &self.prompt_tokens {
            let words = format!(
                "made-up prompts of {prompt} tokens, {:.0} % shared",
                self.shared_prefix * 100.0
            );
            let source = Source::Synthetic {
                prompt: prompt.clone(),
                shared_prefix: self.shared_prefix,
                prefixes: self.prefixes,
            };
            return Ok((source, words));
        }
        let text = self.text();
        let words = format!("one prompt of {} bytes", text.len());
        Ok((Source::One(Prompt::text(&text)), words))
    }

    fn text(&self) -> String {
        let Some(bytes) = self.prompt_bytes else {
            return self.prompt.clone();
        };
        let bytes = bytes.min(PROMPT_BYTES_MAX);
        let line = format!("{} ", self.prompt);
        let mut text = line.repeat(bytes / line.len() + 1);
        text.truncate(text.floor_char_boundary(bytes));
        text
    }

    fn describe(&self, identities: &Identities, words: &mut String) {
        if let Some(lengths) = &self.output_tokens {
            words.push_str(&format!(", answers of at most {lengths} tokens"));
        }
        if self.secrets > 0.0 {
            words.push_str(&format!(", secrets in {:.1} %", self.secrets * 100.0));
        }
        if self.disconnects > 0.0 {
            words.push_str(&format!(
                ", hanging up on {:.1} %",
                self.disconnects * 100.0
            ));
        }
        if identities.count() > 1 {
            words.push_str(&format!(", {} identities", identities.count()));
        }
    }
}

impl From<Speak> for Api {
    fn from(speak: Speak) -> Self {
        match speak {
            Speak::Chat => Api::Chat,
            Speak::Completions => Api::Completions,
            Speak::Responses => Api::Responses,
            Speak::Messages => Api::Messages,
            Speak::Embeddings => Api::Embeddings,
        }
    }
}

/// The fields of an object, without its braces.
fn fields(text: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("an object is expected")?;
    let taken = ["model", "messages", "prompt", "input", "stream"];
    if let Some(name) = taken.iter().find(|name| object.contains_key(**name)) {
        return Err(format!("{name:?} has an option of its own"));
    }
    let text = value.to_string();
    Ok(text[1..text.len() - 1].to_owned())
}

fn disconnect_after(text: &str) -> Result<DisconnectAfter, String> {
    if let Ok(texts) = text.parse() {
        return Ok(DisconnectAfter::Texts(texts));
    }
    let after: Duration = time::parse(text)?;
    Ok(DisconnectAfter::Nanoseconds(time::nanoseconds(after)))
}
