//! Which places of a sample of ordinary text let which bytes through.
//!
//! How common a window is that stands for several, cannot be told from how common its bytes are:
//! what stands side by side in a text is not independent, and ` the ` stands thousands of times as
//! often in English as its five bytes would by chance. So places of the sample are looked at themselves.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::bytes::{ALL, ByteSet, iter};
use super::rarity::ORDINARY;
use super::{WINDOW_BYTES, Window};

/// How many places are looked at, in words of a bit each.
const WORDS: usize = 320;

/// So many words are looked at before it is asked whether that is enough.
const STRIDE: usize = 16;

const _: () = assert!(WORDS.is_multiple_of(STRIDE));

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
    /// The places that let all of it through.
    seen: Box<Places>,
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
            seen: Box::new([0; WORDS]),
        }
    }

    /// Puts other windows in a union.
    pub(super) fn add<'w>(&self, union: &mut Union, windows: impl Iterator<Item = &'w Through>) {
        for window in windows {
            for (places, number) in union.places.iter_mut().zip(window) {
                add(places, &self.through[*number as usize]);
            }
        }
        *union.seen = [u64::MAX; WORDS];
        for places in &*union.places {
            let both = union.seen.iter_mut().zip(places);
            both.for_each(|(seen, places)| *seen &= places);
        }
    }

    /// How much more of the text a union lets through with another window; no less than `enough`
    /// if it is that much.
    pub(super) fn growth(&self, union: &Union, window: &Through, enough: f32) -> f32 {
        let mut more = 0;
        for from in (0..WORDS).step_by(STRIDE) {
            let mut all = [u64::MAX; STRIDE];
            for (places, number) in union.places.iter().zip(window) {
                let places = &places[from..from + STRIDE];
                let through = &self.through[*number as usize][from..from + STRIDE];
                for (all, (places, through)) in all.iter_mut().zip(places.iter().zip(through)) {
                    *all &= places | through;
                }
            }
            let seen = &union.seen[from..from + STRIDE];
            let new = all.iter().zip(seen).map(|(all, seen)| all & !seen);
            more += new.map(u64::count_ones).sum::<u32>();
            if share(more) >= enough {
                break;
            }
        }
        share(more)
    }
}

/// The share of the text that so many places are.
fn share(places: u32) -> f32 {
    places as f32 / (WORDS * 64) as f32
}

fn add(places: &mut Places, others: &Places) {
    for (word, bits) in places.iter_mut().zip(others) {
        *word |= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes::{contains, insert};
    use super::*;

    fn window(classes: [&[u8]; 3]) -> Window {
        let mut window = Window([ALL; WINDOW_BYTES]);
        for (class, bytes) in window.0.iter_mut().zip(classes) {
            *class = [0; 4];
            bytes.iter().for_each(|byte| insert(class, *byte));
        }
        window
    }

    /// The places that let every class of some windows' union through, by definition.
    fn counted(windows: &[&Window]) -> u32 {
        let (count, last) = (WORDS * 64, ORDINARY.len() - WINDOW_BYTES);
        let through = |place: &usize| {
            let bytes = &ORDINARY[last * place / count..];
            let some = |at: usize| windows.iter().any(|w| contains(&w.0[at], bytes[at]));
            (0..WINDOW_BYTES).all(some)
        };
        (0..count).filter(through).count() as u32
    }

    #[test]
    fn what_a_union_lets_through_is_counted() {
        let [the, on] = [[b" ", b"t", b"h"], [b"e", b"o", b"n"]].map(|c| window(c.map(|b| &b[..])));
        let mut sample = Sample::new();
        let [first, second] = [&the, &on].map(|window| sample.through(window));
        let mut union = sample.empty();
        sample.add(&mut union, std::iter::once(&first));
        let (alone, both) = (counted(&[&the]), counted(&[&the, &on]));
        assert!(alone > 0 && both > alone);
        assert_eq!(sample.growth(&sample.empty(), &first, 1.0), share(alone));
        assert_eq!(sample.growth(&union, &second, 1.0), share(both - alone));
        // No more is counted than it takes to see that it is enough.
        let all = share(both - alone);
        let some = sample.growth(&union, &second, all / 4.0);
        assert!(some >= all / 4.0 && some < all, "{some} of {all}");
    }
}
