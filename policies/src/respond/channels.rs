//! The texts of a response that arrive in pieces, each with its masking state.

use super::error::FilterError;
use super::synth::Template;
use crate::mask::Channel;

/// Most texts that may be open at once in one response. A response that opens more is stopped.
pub const CHANNELS_MAX: usize = 256;

/// One open text.
pub(super) struct Slot {
    /// What tells it from others, for example `c0/content`; see [`super::shape`].
    pub(super) key: String,
    /// Where it is, for people.
    pub(super) location: String,
    pub(super) channel: Channel,
    /// How to send held text when no event of its own comes any more; there while text is held.
    pub(super) template: Option<Template>,
    /// Follows a text that is sent elsewhere too, such as the tokens of logprobs: its output only
    /// tells whether it may be sent, and it is never flushed.
    pub(super) shadow: bool,
}

/// All open texts. Few in practice, so they are searched in order.
#[derive(Default)]
pub(super) struct Channels {
    slots: Vec<Slot>,
}

// === impl Channels ===

impl Channels {
    /// The text of that key, opened if it is new.
    pub(super) fn open(
        &mut self,
        key: &str,
        shadow: bool,
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
        self.slots.push(Slot {
            key: key.to_owned(),
            location: location(),
            channel: Channel::new(),
            template: None,
            shadow,
        });
        Ok(self.slots.len() - 1)
    }

    pub(super) fn slot(&mut self, index: usize) -> &mut Slot {
        &mut self.slots[index]
    }

    /// Whether bytes of this text have come that were neither sent nor replaced.
    pub(super) fn waits(&self, index: usize) -> bool {
        let channel = &self.slots[index].channel;
        channel.watermark() < channel.received_bytes()
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Texts that ended are forgotten: what comes under their key later is a new text.
    pub(super) fn close(&mut self, ended: impl Fn(&str) -> bool) {
        self.slots.retain(|slot| !ended(&slot.key));
    }

    pub(super) fn held_bytes(&self) -> usize {
        let open = self.slots.iter().filter(|slot| !slot.shadow);
        open.map(|slot| slot.channel.held_bytes()).sum()
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("open", &self.slots.len())
            .finish_non_exhaustive()
    }
}
