//! The letter of a policy file: the TOML shapes, decoded strictly, every name with its position.

use serde::Deserialize;
use toml::Spanned;

/// One `*.toml` of the policy folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    #[serde(default)]
    pub(super) grant: Vec<Spanned<GrantTable>>,
    #[serde(default)]
    pub(super) guard: Vec<Spanned<GuardTable>>,
    #[serde(default)]
    pub(super) hold: Vec<Spanned<HoldTable>>,
    #[serde(default)]
    pub(super) tokenizer: Vec<Spanned<TokenizerTable>>,
    pub(super) inspection: Option<Spanned<InspectionTable>>,
}

/// `[inspection]`: how much work a message is worth, and whether guards act. At most one in all files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InspectionTable {
    pub(super) on_excess: Option<Spanned<String>>,
    pub(super) work_per_kib: Option<Spanned<u64>>,
    /// Every guard of every file only observes.
    #[serde(default)]
    pub(super) observe: bool,
}

/// `[[grant]]`: who may do what. Nothing is granted by default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantTable {
    pub(super) groups: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) models: Vec<Spanned<String>>,
    pub(super) operations: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) limits: LimitsTable,
    #[serde(default)]
    pub(super) media: Vec<Spanned<String>>,
}

/// `limits = { … }` of a grant.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) body_bytes: Option<u64>,
}

/// `[[guard]]`: what may be said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardTable {
    pub(super) name: Spanned<String>,
    pub(super) direction: Spanned<String>,
    #[serde(default)]
    pub(super) packs: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) rules: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) weights: bool,
    pub(super) opaque_bytes: Option<Spanned<usize>>,
    pub(super) action: Spanned<String>,
    pub(super) min_confidence: Option<Spanned<String>>,
    /// Whether what is masked on the way in is put back in the answer.
    pub(super) restore: Option<Spanned<bool>>,
    /// Whether it only decides and records.
    #[serde(default)]
    pub(super) observe: bool,
    /// Those of its rules that only observe.
    #[serde(default)]
    pub(super) observe_rules: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) except_groups: Vec<String>,
    pub(super) approvers: Option<Spanned<ApproversTable>>,
}

/// `[[hold]]`: which calls a person is asked about, whatever is said in them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldTable {
    pub(super) name: Spanned<String>,
    pub(super) operations: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) models: Vec<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) except_groups: Vec<String>,
    /// Only prompts of more tokens than this.
    pub(super) prompt_tokens: Option<Spanned<u64>>,
    /// Whether it only decides and records.
    #[serde(default)]
    pub(super) observe: bool,
    pub(super) approvers: Spanned<ApproversTable>,
}

/// `approvers = { … }` of what holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproversTable {
    pub(super) groups: Vec<String>,
    pub(super) quorum: Option<u32>,
    pub(super) expires: Option<Spanned<String>>,
    pub(super) manner: Option<Spanned<String>>,
    pub(super) window: Option<Spanned<String>>,
}

/// `[[tokenizer]]`: how the tokens of prompts for some models are counted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenizerTable {
    pub(super) models: Vec<String>,
    /// The name of a file in the folder `tokenizers`.
    pub(super) file: Spanned<String>,
}
