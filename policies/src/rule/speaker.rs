//! Who says a text, as rules may ask for it.

use std::fmt;

/// Whose words a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// The operator of the application: system and developer messages.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
    /// A tool: its definition or its result.
    Tool,
    /// A document that was looked up and put before the model.
    Document,
}

// === impl Speaker ===

impl Speaker {
    /// All of them, in the order in which documents list them.
    pub const ALL: [Speaker; 5] = [
        Speaker::System,
        Speaker::User,
        Speaker::Assistant,
        Speaker::Tool,
        Speaker::Document,
    ];

    /// The word used in packs.
    pub fn as_str(self) -> &'static str {
        match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
            Speaker::Tool => "tool",
            Speaker::Document => "document",
        }
    }

    /// The speaker of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Speaker> {
        Speaker::ALL
            .into_iter()
            .find(|speaker| speaker.as_str() == name)
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
