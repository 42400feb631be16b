//! Texts that the same caller has sent before, and in which nothing was found.
//!
//! A chat sends all that was said with every question, an agent its instructions, its tools and
//! what they answered with every step: most of a prompt was in the one before. Such a text is not
//! read again by every rule. It is known again by a tag, and what is remembered is only that, under
//! this caller's rules, *nothing* was found in it and how much work it took: a text with any finding
//! is read each time, because what follows depends on it.
//!
//! Why this does not weaken a guard:
//!
//! - The tag is POLYVAL (RFC 8452, section 3) of the whole text, its length, who speaks and whose
//!   scope it is, under a key that lives and dies with the process. That is universal hashing: of any
//!   two texts, chosen without knowing the key, the tags are equal with a chance of no more than
//!   (bytes / 16 + 2) / 2¹²⁸, and no tag ever leaves the process.
//! - A [`Scope`] is made of one verified credential and one policy set. Another policy, another
//!   caller, or the same caller with another token has another scope, and nothing is known to it.
//!   So a reload is felt at once, and nobody can learn by the clock what others have sent.
//! - The work that a text took is charged again, so that whether a message passes its bound does not
//!   depend on what was sent before.
//!
//! [`Scope`]: crate::Scope

use std::fmt;

use polyval::universal_hash::UniversalHash as _;
use polyval::{KEY_SIZE, Polyval};

use crate::policy::{Asked, Scope};
use crate::rule::Speaker;
use crate::verdict::Findings;

/// A shorter text is read in less time than it is worth remembering.
const TEXT_BYTES_MIN: usize = 256;
/// Texts of one row of the table, of which the oldest makes room: as many as a cache line holds.
const ROW: usize = 3;

/// The tag of a text.
type Tag = [u8; 16];

/// What one core remembers.
pub(super) struct Recall {
    hash: Polyval,
    /// How many rows there are once there is one; a power of two.
    row_count: usize,
    /// None before the first text.
    rows: Vec<Row>,
    /// Texts that were known again and have not been asked for.
    recalled: u64,
}

/// Texts whose tags begin alike.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Row {
    /// All zeros: none.
    tags: [Tag; ROW],
    /// Work that each took, in steps.
    steps: [u32; ROW],
    /// Whose turn it is to make room.
    next: u8,
}

/// What is looked for on behalf of one caller, and what is known of the caller's texts.
pub(super) struct Known<'a> {
    pub(super) scope: &'a Scope,
    /// None: every text is read.
    pub(super) recall: Option<&'a mut Recall>,
}

/// One text of a request: whose words they are, and whether guards act on it or observe.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) text: &'a str,
    pub(super) speaker: Speaker,
    pub(super) observed: bool,
}

// === impl Recall ===

impl Recall {
    /// With a secret key, for about so many texts.
    pub(super) fn new(key: [u8; KEY_SIZE], texts: usize) -> Recall {
        Recall {
            hash: Polyval::new(&key.into()),
            row_count: texts.div_ceil(ROW).next_power_of_two(),
            rows: Vec::new(),
            recalled: 0,
        }
    }

    /// How many texts were known again since this was last asked.
    pub(super) fn take_recalled(&mut self) -> u64 {
        std::mem::take(&mut self.recalled)
    }

    fn tag(&self, scope: u64, said: Said<'_>) -> Tag {
        let mut hash = self.hash.clone();
        hash.update_padded(said.text.as_bytes());
        // Behind what was filled up with zeros: texts of different lengths differ.
        let kind = (said.speaker as u64) << 1 | u64::from(said.observed);
        let length = (said.text.len() as u64) << 8 | kind;
        let last = u128::from(length) << 64 | u128::from(scope);
        hash.update(&[last.to_le_bytes().into()]);
        hash.finalize().into()
    }

    fn row(&self, tag: &Tag) -> usize {
        u32::from_le_bytes([tag[0], tag[1], tag[2], tag[3]]) as usize & (self.row_count - 1)
    }

    fn steps(&self, tag: &Tag) -> Option<u64> {
        let row = self.rows.get(self.row(tag))?;
        let at = row.tags.iter().position(|known| known == tag)?;
        Some(u64::from(row.steps[at]))
    }

    fn remember(&mut self, tag: Tag, steps: u64) {
        let Ok(steps) = u32::try_from(steps) else {
            return;
        };
        if self.rows.is_empty() {
            self.rows = vec![Row::default(); self.row_count];
        }
        let at = self.row(&tag);
        let row = &mut self.rows[at];
        let place = usize::from(row.next);
        row.tags[place] = tag;
        row.steps[place] = steps;
        row.next = (row.next + 1) % ROW as u8;
    }
}

impl fmt::Debug for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recall(redacted)")
    }
}

// === impl Known ===

impl Known<'_> {
    /// Masks one text, unless it is known that there is nothing in it.
    pub(super) fn mask(
        &mut self,
        (engine, sieve): Asked<'_>,
        said: Said<'_>,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) -> Option<String> {
        let Said { text, speaker, .. } = said;
        let recall = self.recall.as_deref_mut();
        let Some(recall) = recall.filter(|_| text.len() >= TEXT_BYTES_MIN) else {
            return engine.mask_as(sieve, speaker, text, findings, location);
        };
        let tag = recall.tag(self.scope.number(), said);
        if let Some(steps) = recall.steps(&tag)
            && engine.charge(text.len(), steps, findings)
        {
            recall.recalled += 1;
            return None;
        }
        let count = findings.count();
        let spent = findings.work.spent();
        let masked = engine.mask_as(sieve, speaker, text, findings, location);
        if masked.is_none() && findings.count() == count && !findings.work.is_exhausted() {
            recall.remember(tag, findings.work.spent() - spent);
        }
        masked
    }
}
