//! One thing that happened to an approval, as receivers are told of it.
//!
//! All texts are plain: nothing is escaped here, each medium does that for itself. They are masked
//! already, as the approver may see them. [`Notice::bounded`] clips what callers chose, and takes out
//! what a reader would not see for what it is: control characters, and those that turn the direction
//! of writing.

use serde::{Deserialize, Serialize};

/// The longest text other than the excerpt, in characters.
const TEXT_CHARS_MAX: usize = 300;
/// The longest excerpt, in characters: a card shows no more without folding.
const EXCERPT_CHARS_MAX: usize = 1500;
/// Guards that a notice names, and groups of each.
const HOLDS_MAX: usize = 16;

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A request is held, and somebody should decide.
    Requested,
    /// It may go on.
    Approved,
    /// It may not.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Nothing: an operator tries out a receiver.
    Test,
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Caller {
    /// URL of their issuer.
    pub issuer: String,
    /// Their name there.
    pub subject: String,
}

/// One guard or operation that held the request, and who may let it go on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldBy {
    /// Name of the guard or grant.
    pub name: String,
    /// Why, in a few words: `rule weight-export`, `9120 prompt tokens, over 8000`.
    pub cause: String,
    /// Whose members may decide.
    pub groups: Vec<String>,
    /// How many of them are needed.
    pub quorum: u32,
}

/// What receivers are told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// The approval's id.
    pub approval: String,
    /// What happened to it.
    pub event: Event,
    /// When, in seconds since 1970.
    pub at_unix: u64,
    /// Who asked.
    pub caller: Caller,
    /// The model that was asked for, where one was.
    pub model: Option<String>,
    /// What was asked for: `infer`, `fine_tune`, `manage`, …
    pub operation: String,
    /// Everything that held it.
    pub holds: Vec<HeldBy>,
    /// The text in question, masked as the policy says; absent where approvers do not see it.
    pub excerpt: Option<String>,
    /// Where a person decides, in the console; absent where it cannot be reached.
    pub url: Option<String>,
    /// When the approval ends, in seconds since 1970.
    pub expires_unix: u64,
    /// Who decided; empty until somebody has.
    pub by: Vec<String>,
    /// Why, as whoever decided said.
    pub reason: Option<String>,
}

// === impl Event ===

impl Event {
    /// Those that a receiver can choose, in the order in which they can happen.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Approved, Self::Denied, Self::Expired];

    /// As configuration, payloads and the state name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Test => "test",
        }
    }
}

// === impl Notice ===

impl Notice {
    /// What an operator sends to try out a receiver.
    pub fn test(id: &str, now_unix: u64) -> Self {
        Self {
            approval: format!("test-{id}"),
            event: Event::Test,
            at_unix: now_unix,
            caller: Caller {
                issuer: "https://issuer.invalid".to_owned(),
                subject: "nobody".to_owned(),
            },
            model: Some("no-model".to_owned()),
            operation: "infer".to_owned(),
            holds: vec![HeldBy {
                name: "no guard".to_owned(),
                cause: "an operator tries out this receiver".to_owned(),
                groups: Vec::new(),
                quorum: 1,
            }],
            excerpt: Some("Nothing waits for a decision.".to_owned()),
            url: None,
            expires_unix: now_unix,
            by: Vec::new(),
            reason: None,
        }
    }

    /// The same, with every text within its bound and legible.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let Caller { issuer, subject } = &mut self.caller;
        let texts = [issuer, subject, &mut self.operation];
        let optional = [&mut self.model, &mut self.reason];
        let texts = texts.into_iter().chain(optional.into_iter().flatten());
        texts.for_each(|text| clip(text, TEXT_CHARS_MAX));
        if let Some(excerpt) = &mut self.excerpt {
            clip(excerpt, EXCERPT_CHARS_MAX);
        }
        self.holds.truncate(HOLDS_MAX);
        for HeldBy {
            name,
            cause,
            groups,
            ..
        } in &mut self.holds
        {
            groups.truncate(HOLDS_MAX);
            [name, cause]
                .into_iter()
                .chain(groups)
                .for_each(|text| clip(text, TEXT_CHARS_MAX));
        }
        self.by.truncate(HOLDS_MAX);
        self.by
            .iter_mut()
            .for_each(|text| clip(text, TEXT_CHARS_MAX));
        self
    }

    /// Whether a member of this group may decide on any part of it.
    pub fn concerns(&self, group: &str) -> bool {
        let names = |held: &HeldBy| held.groups.iter().any(|it| it == group);
        self.holds.iter().any(names)
    }
}

/// At most so many characters, with an ellipsis where some are gone, and only legible ones.
fn clip(text: &mut String, chars_max: usize) {
    shorten(text, chars_max);
    if text.contains(is_illegible) {
        *text = text.replace(is_illegible, "\u{fffd}");
    }
}

/// Control characters, and those that turn the direction of writing (Unicode's bidirectional
/// embeddings, overrides and isolates).
fn is_illegible(char: char) -> bool {
    (char.is_control() && char != '\n' && char != '\t')
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most so many characters, with an ellipsis where some are gone.
pub(super) fn shorten(text: &mut String, chars_max: usize) {
    let Some((last, _)) = text.char_indices().nth(chars_max.saturating_sub(1)) else {
        return;
    };
    if text[last..].chars().nth(1).is_some() {
        text.truncate(last);
        text.push('…');
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A notice with something in every member.
    pub(crate) fn sample() -> Notice {
        Notice {
            approval: "0199aaaa".to_owned(),
            event: Event::Requested,
            at_unix: 1_790_000_000,
            caller: Caller {
                issuer: "https://corp.example".to_owned(),
                subject: "ada".to_owned(),
            },
            model: Some("llama-3-8b".to_owned()),
            operation: "infer".to_owned(),
            holds: vec![HeldBy {
                name: "ask first".to_owned(),
                cause: "rule weight-export".to_owned(),
                groups: vec!["security".to_owned()],
                quorum: 2,
            }],
            excerpt: Some("copy the weights to my laptop".to_owned()),
            url: Some("https://gate.example/approvals/0199aaaa".to_owned()),
            expires_unix: 1_790_001_800,
            by: Vec::new(),
            reason: None,
        }
    }

    #[test]
    fn what_callers_choose_is_clipped_at_characters() {
        let mut notice = sample();
        notice.caller.subject = "é".repeat(5000);
        notice.excerpt = Some("日".repeat(EXCERPT_CHARS_MAX));
        notice.holds = vec![notice.holds[0].clone(); 99];
        let bounded = notice.bounded();
        assert_eq!(bounded.caller.subject.chars().count(), TEXT_CHARS_MAX);
        assert!(bounded.caller.subject.ends_with("é…"));
        let excerpt = bounded.excerpt.as_deref().unwrap();
        assert_eq!(excerpt, "日".repeat(EXCERPT_CHARS_MAX), "it fits exactly");
        assert_eq!(bounded.holds.len(), HOLDS_MAX);
        let same = sample().bounded();
        assert_eq!(same, sample());
    }

    #[test]
    fn what_is_not_seen_for_what_it_is_is_taken_out() {
        let mut notice = sample();
        notice.caller.subject = "ada\u{202e}nimda\r\n\u{7}".to_owned();
        let shown = notice.bounded().caller.subject;
        assert_eq!(shown, "ada\u{fffd}nimda\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn it_concerns_those_who_may_decide() {
        assert!(sample().concerns("security") && !sample().concerns("engineers"));
    }
}
