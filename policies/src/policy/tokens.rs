//! How many tokens a prompt has: by the model's own tokenizer where the operator has put its
//! `tokenizer.json` beside the policy, and estimated otherwise.
//!
//! Tokenizing costs more than everything else that is done with a prompt, so it is done only where
//! a bound is set on the number, and not when the text is so short that it cannot reach the bound.
//! Counted is what the caller wrote, string by string; the few tokens that a chat template puts
//! around each message are the model's own and are not counted.

use tokenizers::Tokenizer;
use toml::Spanned;

use super::file::TokenizerTable;
use super::glob::Glob;
use super::library::Source;
use super::resolve::Place;

/// The most tokens that one byte of text can become. Normalisation can make text longer: by NFKC
/// three bytes (U+FDFA) become 33, and no tokenizer has more tokens than bytes.
const TOKENS_PER_BYTE_MAX: u64 = 12;
/// What a tokenizer may put before and behind a text, such as the mark of its beginning.
const TOKENS_PER_TEXT_MAX: u64 = 2;

/// The tokenizers of a policy, by the models that they belong to.
#[derive(Default)]
pub(crate) struct Tokenizers {
    of: Vec<ModelTokenizer>,
}

/// One `[[tokenizer]]`.
pub(super) struct ModelTokenizer {
    models: Vec<Glob>,
    file: String,
    tokenizer: Tokenizer,
}

/// What is known of a prompt without its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    /// Texts.
    pub(crate) texts: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Their characters.
    pub(crate) chars: u64,
    /// Token ids, where the prompt is written in those.
    pub(crate) ids: u64,
}

/// Characters that one token is taken to have where it is not known. Engines differ; a bound needs
/// one answer.
const TOKEN_CHARS: u64 = 4;

// === impl Extent ===

impl Extent {
    /// One more text.
    pub(crate) fn add(&mut self, text: &str) {
        self.texts += 1;
        self.bytes += text.len() as u64;
        self.chars += text.chars().count() as u64;
    }

    /// The characters divided by four, and one for each token id.
    pub(crate) fn estimate(&self) -> u64 {
        self.chars.div_ceil(TOKEN_CHARS).saturating_add(self.ids)
    }

    /// No tokenizer makes more of it.
    fn most(self) -> u64 {
        let texts = self.texts.saturating_mul(TOKENS_PER_TEXT_MAX);
        let bytes = self.bytes.saturating_mul(TOKENS_PER_BYTE_MAX);
        texts.saturating_add(bytes).saturating_add(self.ids)
    }
}

/// No body of this size has more tokens: each of its texts has at least its two quotation marks, or
/// a line of its own, and each token id a digit and what sets it apart.
pub(super) fn most_in(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes.saturating_mul(TOKENS_PER_BYTE_MAX + TOKENS_PER_TEXT_MAX)
}

// === impl Tokenizers ===

impl Tokenizers {
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn new(of: Vec<ModelTokenizer>) -> Tokenizers {
        Tokenizers { of }
    }

    /// The tokens of a prompt for this model. `bound` is the least number that something depends on,
    /// if anything does; `each` gives its texts one by one.
    pub(crate) fn count(
        &self,
        model: Option<&str>,
        extent: Extent,
        bound: Option<u64>,
        each: impl FnOnce(&mut dyn FnMut(&str)),
    ) -> u64 {
        let named = |it: &&ModelTokenizer| {
            let model = model.unwrap_or_default();
            it.models.iter().any(|glob| glob.matches(model))
        };
        let tokenizer = self.of.iter().find(named).map(|it| &it.tokenizer);
        let (Some(tokenizer), Some(bound)) = (tokenizer, bound) else {
            return extent.estimate();
        };
        if extent.most() <= bound {
            return extent.estimate().min(extent.most());
        }
        let mut tokens = extent.ids;
        each(&mut |text| tokens = tokens.saturating_add(count(tokenizer, text)));
        tokens
    }
}

/// The tokens of one text. What cannot be tokenized counts as many as it can have at most.
fn count(tokenizer: &Tokenizer, text: &str) -> u64 {
    match tokenizer.encode_fast(text, false) {
        Ok(encoding) => encoding.len() as u64,
        Err(_) => text.len() as u64,
    }
}

/// Reads a `tokenizer.json`. What it says of cutting and filling up is left out: every token counts
/// once.
fn read(text: &str) -> Result<Tokenizer, String> {
    let mut tokenizer = Tokenizer::from_bytes(text).map_err(|error| error.to_string())?;
    tokenizer
        .with_truncation(None)
        .map_err(|error| error.to_string())?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

// === impl ModelTokenizer ===

impl ModelTokenizer {
    /// For people.
    pub(super) fn describe(&self) -> String {
        let models: Vec<&str> = self.models.iter().map(Glob::as_str).collect();
        format!("of {} by {}", models.join(", "), self.file)
    }
}

// === impl Place ===

impl Place<'_> {
    /// What a `[[tokenizer]]` means; nothing if any of it is wrong. `files` are those there are.
    pub(super) fn tokenizer(
        &mut self,
        table: &Spanned<TokenizerTable>,
        files: &[Source],
    ) -> Option<ModelTokenizer> {
        let TokenizerTable { models, file } = table.get_ref();
        if models.is_empty() {
            let reason = "a tokenizer must name its models ([\"*\"] is all)";
            self.error(table, reason);
        }
        let name = |source: &Source| {
            let name = source.path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let names: Vec<String> = files.iter().map(name).collect();
        let Some(at) = names.iter().position(|name| name == file.get_ref()) else {
            let known = names.iter().map(String::as_str);
            self.unknown(file, "file in the folder tokenizers", known);
            return None;
        };
        match read(&files[at].text) {
            Err(reason) => {
                self.error(file, format!("{}: {reason}", names[at]));
                None
            }
            Ok(tokenizer) => Some(ModelTokenizer {
                models: models.iter().map(|text| Glob::new(text)).collect(),
                file: names[at].clone(),
                tokenizer,
            }),
        }
    }
}
