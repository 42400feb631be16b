//! The texts of a response that arrive in pieces, each with its masking state.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::error::FilterError;
use super::judge::Flow;
use super::stencil::Shape;
use super::synth::Template;

/// Most texts that may be open at once in one response. A response that opens more is stopped.
pub const CHANNELS_MAX: usize = 256;

/// Longest key of a text: engines' item identifiers are far shorter.
const KEY_BYTES_MAX: usize = 1024;

/// Most texts that one response may have in all.
const ENDED_MAX: usize = 4096;

/// One open text.
pub(super) struct Slot {
    /// What tells it from others, for example `c0/content`; see [`super::shape`].
    pub(super) key: String,
    /// Where it is, for people.
    pub(super) location: String,
    pub(super) flow: Flow,
    /// There while text is held.
    pub(super) template: Kept,
    /// The event of [`Kept::Like`]; a buffer that is reused from event to event.
    pub(super) like: Vec<u8>,
    /// A name that was sent before it was known to be whole, as it came; empty for other texts.
    pub(super) name: String,
    /// What the client has of that and the flow has not given out yet.
    pub(super) ahead: String,
    /// Follows a text that is sent elsewhere too, such as the tokens of logprobs: its output only
    /// tells whether it may be sent, and it is never flushed.
    pub(super) shadow: bool,
}

/// How to send held text when no event of its own comes any more.
#[derive(Debug, Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    Made(Template),
    /// To be made, when it is asked for, from the event in [`Slot::like`] and this piece of it.
    Like(Arc<Shape>, usize),
}

/// All open texts. Few in practice, so they are searched in order.
#[derive(Default)]
pub(super) struct Channels {
    slots: Vec<Slot>,
    /// Keys of texts that ended, hashed.
    ended: HashSet<u64>,
    hasher: RandomState,
    /// Another number whenever a text opens or ends.
    generation: u64,
}

// === impl Slot ===

impl Slot {
    /// Whether this is a name of which one piece has come: the client has all of it.
    pub(super) fn is_name_alone(&self) -> bool {
        !self.name.is_empty() && self.flow.received_bytes() == self.name.len()
    }

    /// Takes from the flow's output what the client has already.
    pub(super) fn settle(&mut self, output: &mut String) {
        if self.ahead.is_empty() || output.is_empty() {
            return;
        }
        let pairs = self.ahead.chars().zip(output.chars());
        let same: usize = pairs
            .take_while(|(had, given)| had == given)
            .map(|(had, _)| had.len_utf8())
            .sum();
        output.drain(..same);
        if output.is_empty() {
            self.ahead.drain(..same);
        } else {
            // All of it was given out now, or replaced.
            self.ahead.clear();
        }
    }
}

// === impl Channels ===

impl Channels {
    /// The text of that key, opened if it is new.
    pub(super) fn open(
        &mut self,
        key: &str,
        shadow: bool,
        begin: impl FnOnce() -> Flow,
        location: impl FnOnce() -> String,
    ) -> Result<usize, FilterError> {
        if let Some(found) = self.slots.iter().position(|slot| slot.key == key) {
            return Ok(found);
        }
        if self.slots.len() == CHANNELS_MAX {
            return Err(FilterError::TooLarge {
                what: "open texts",
                limit: CHANNELS_MAX,
            });
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(FilterError::TooLarge {
                what: "an identifier",
                limit: KEY_BYTES_MAX,
            });
        }
        self.generation += 1;
        if self.slots.is_empty() {
            // Most streams have one, and there are many streams: no places for three more.
            self.slots.reserve_exact(1);
        }
        self.slots.push(Slot {
            key: key.to_owned(),
            location: location(),
            flow: begin(),
            template: Kept::Nothing,
            like: Vec::new(),
            name: String::new(),
            ahead: String::new(),
            shadow,
        });
        Ok(self.slots.len() - 1)
    }

    pub(super) fn slot(&mut self, index: usize) -> &mut Slot {
        &mut self.slots[index]
    }

    /// Whether bytes of this text have come that were neither sent nor replaced.
    pub(super) fn waits(&self, index: usize) -> bool {
        let flow = &self.slots[index].flow;
        flow.watermark() < flow.received_bytes()
    }

    /// The same for as long as the same texts are open: their indices and what ended stay.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Whether a text of that key is open or has ended.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.slots.iter().any(|slot| slot.key == key) || self.has_ended(key)
    }

    /// Whether a text of that key has ended.
    pub(super) fn has_ended(&self, key: &str) -> bool {
        !self.ended.is_empty() && self.ended.contains(&self.hasher.hash_one(key))
    }

    /// Closes the texts that ended. Their tails were sent as they were, so nothing may follow.
    pub(super) fn close(&mut self, ended: impl Fn(&str) -> bool) -> Result<(), FilterError> {
        self.generation += 1;
        for slot in &self.slots {
            if ended(&slot.key) {
                self.ended.insert(self.hasher.hash_one(slot.key.as_str()));
            }
        }
        if self.ended.len() > ENDED_MAX {
            return Err(FilterError::TooLarge {
                what: "texts",
                limit: ENDED_MAX,
            });
        }
        self.slots.retain(|slot| !ended(&slot.key));
        Ok(())
    }

    pub(super) fn held_bytes(&self) -> usize {
        let waits = |slot: &&Slot| !slot.shadow && !slot.is_name_alone();
        let open = self.slots.iter().filter(waits);
        open.map(|slot| slot.flow.held_bytes()).sum()
    }

    pub(super) fn released_bytes(&self) -> usize {
        let slots = self.slots.iter();
        slots.map(|slot| slot.flow.watermark()).sum()
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("open", &self.slots.len())
            .finish_non_exhaustive()
    }
}
