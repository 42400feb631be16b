//! The shared memory under loom: the same interface as `region`, over loom's atomics.
//!
//! Payload words are relaxed atomics here, so that a missing release or acquire shows as a frame
//! with stale bytes, which the model test compares.

use std::sync::Arc;

use rkyv::util::AlignedVec;

use super::layout::DataSize;
use super::primitive::{AtomicU32, AtomicU64, Ordering};

struct Words {
    head: AtomicU64,
    tail: AtomicU64,
    sleeping: AtomicU32,
    data: Vec<AtomicU32>,
}

/// One side's view of a ring's memory; clones share it.
#[derive(Clone)]
pub(super) struct Region {
    words: Arc<Words>,
    size: DataSize,
}

// === impl Region ===

impl Region {
    pub(super) fn new(size: DataSize) -> Self {
        let data = (0..size.bytes() / 4).map(|_| AtomicU32::new(0)).collect();
        let words = Words {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            sleeping: AtomicU32::new(0),
            data,
        };
        Self {
            words: Arc::new(words),
            size,
        }
    }

    pub(super) fn size(&self) -> DataSize {
        self.size
    }

    pub(super) fn head(&self) -> &AtomicU64 {
        &self.words.head
    }

    pub(super) fn tail(&self) -> &AtomicU64 {
        &self.words.tail
    }

    pub(super) fn sleeping(&self) -> &AtomicU32 {
        &self.words.sleeping
    }

    pub(super) fn data_word(&self, offset: usize) -> &AtomicU32 {
        &self.words.data[offset / 4]
    }

    pub(super) fn copy_out(&self, offset: usize, length: usize, into: &mut AlignedVec) {
        into.clear();
        for at in (0..length).step_by(4) {
            let word = self
                .data_word(offset + at)
                .load(Ordering::Relaxed)
                .to_ne_bytes();
            into.extend_from_slice(&word[..(length - at).min(4)]);
        }
    }

    pub(super) fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        for (index, part) in bytes.chunks(4).enumerate() {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            let word = u32::from_ne_bytes(word);
            self.data_word(offset + 4 * index)
                .store(word, Ordering::Relaxed);
        }
    }
}
