//! Which places of a sample of ordinary text let which bytes through.
//!
//! How common a window is that stands for several, cannot be told from how common its bytes are:
//! what stands side by side in a text is not independent, and ` the ` stands a thousand times as
//! often as its five bytes would by chance. So places of the sample are looked at themselves.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::bytes::{ALL, ByteSet, iter};
use super::rarity::ORDINARY;
use super::{WINDOW_BYTES, Window};

/// How many places are looked at, in words of a bit each.
const WORDS: usize = 320;

/// A bit for each place that is looked at.
type Places = [u64; WORDS];

/// The places, and what was asked of them.
pub(super) struct Sample {
    /// By byte of the window and byte: where it stands.
    stands: Box<[[Places; 256]]>,
    /// The places that let a class through at a byte of the window, each class once.
    through: Vec<Places>,
    known: HashMap<(usize, ByteSet), u32, FixedState>,
}

/// What a window lets through at each of its bytes, as a number of the sample.
pub(super) type Through = [u32; WINDOW_BYTES];

/// What a union of windows lets through at each of its bytes.
pub(super) struct Union {
    /// By byte of the window.
    places: Box<[Places]>,
    /// At how many places all of it.
    seen: u32,
}

// === impl Sample ===

impl Sample {
    /// Places from all over the sample.
    pub(super) fn new() -> Sample {
        let mut stands = vec![[[0; WORDS]; 256]; WINDOW_BYTES].into_boxed_slice();
        let count = WORDS * 64;
        let last = ORDINARY.len() - WINDOW_BYTES;
        for place in 0..count {
            let from = last * place / count;
            for (stands, byte) in stands.iter_mut().zip(&ORDINARY[from..]) {
                stands[usize::from(*byte)][place / 64] |= 1 << (place % 64);
            }
        }
        Sample {
            stands,
            through: Vec::new(),
            known: HashMap::default(),
        }
    }

    /// What a window lets through.
    pub(super) fn through(&mut self, window: &Window) -> Through {
        std::array::from_fn(|at| {
            let class = &window.0[at];
            let new = self.through.len() as u32;
            let number = *self.known.entry((at, *class)).or_insert(new);
            if number == new {
                let mut all = [0; WORDS];
                match *class == ALL {
                    true => all = [u64::MAX; WORDS],
                    false => iter(class)
                        .for_each(|byte| add(&mut all, &self.stands[at][usize::from(byte)])),
                }
                self.through.push(all);
            }
            number
        })
    }

    /// A union of no windows.
    pub(super) fn empty(&self) -> Union {
        Union {
            places: vec![[0; WORDS]; WINDOW_BYTES].into_boxed_slice(),
            seen: 0,
        }
    }

    /// Puts other windows in a union.
    pub(super) fn add<'w>(&self, union: &mut Union, windows: impl Iterator<Item = &'w Through>) {
        for window in windows {
            for (places, number) in union.places.iter_mut().zip(window) {
                add(places, &self.through[*number as usize]);
            }
        }
        let mut all = [u64::MAX; WORDS];
        for places in &*union.places {
            all.iter_mut()
                .zip(places)
                .for_each(|(all, places)| *all &= places);
        }
        union.seen = count(&all);
    }

    /// How much more of the text a union lets through with another window.
    pub(super) fn growth(&self, union: &Union, window: &Through) -> f32 {
        let mut all = [u64::MAX; WORDS];
        for (places, number) in union.places.iter().zip(window) {
            let through = &self.through[*number as usize];
            for ((all, places), through) in all.iter_mut().zip(places).zip(through) {
                *all &= places | through;
            }
        }
        (count(&all) - union.seen) as f32 / (WORDS * 64) as f32
    }
}

fn count(places: &Places) -> u32 {
    places.iter().map(|word| word.count_ones()).sum()
}

fn add(places: &mut Places, others: &Places) {
    for (word, bits) in places.iter_mut().zip(others) {
        *word |= bits;
    }
}
