//! What ordinary text is like: how often does it come to where some bytes have been read?
//!
//! Asked while a [`Trie`](super::trie::Trie) is made, of which only so much is kept as is worth it.
//! The answer is counted: a sample is read along, and every node keeps the places of it that come
//! there. Where the sample is too small to come, what stands beside what in it tells at least which
//! of two nodes is likelier.

use std::sync::LazyLock;

use super::told::{Behind, CLASSES, class_of};
use crate::prefilter::rarity;

/// What stands beside what counts for so many times less than what was seen.
const GUESS: f32 = 0.25;

/// What a pair of classes that was never seen counts for.
const UNSEEN: f32 = 0.5;

/// A sample of ordinary text, by class of byte.
#[derive(Debug)]
pub(super) struct Ordinary {
    classes: Box<[u8]>,
    /// By what stands before them: the places of the sample.
    places: [Vec<u32>; 2],
    /// By class, the share with which each class follows.
    follows: Box<[[f32; CLASSES]; CLASSES]>,
}

/// How often ordinary text comes to a node.
#[derive(Debug, Default)]
pub(super) struct Visits {
    /// Each place of the sample that does, as that of the byte to be read next.
    places: Vec<u32>,
    /// By class that was read last: how many would, by what stands beside what.
    guessed: Vec<(u8, f32)>,
}

/// Visits by the class of the byte that is read next.
pub(super) struct Divided<'a> {
    ordinary: &'a Ordinary,
    places: [Vec<u32>; CLASSES],
    guessed: Vec<(u8, f32)>,
}

// === impl Ordinary ===

impl Ordinary {
    /// The one that there is.
    pub(super) fn get() -> &'static Ordinary {
        static SAMPLE: LazyLock<Ordinary> = LazyLock::new(|| Ordinary::new(rarity::ORDINARY));
        &SAMPLE
    }

    fn new(sample: &[u8]) -> Ordinary {
        let classes: Box<[u8]> = sample.iter().map(|byte| class_of(*byte)).collect();
        let mut places = [Vec::new(), Vec::new()];
        let mut follows = Box::new([[UNSEEN; CLASSES]; CLASSES]);
        for (at, pair) in (1..).zip(sample.windows(2)) {
            places[Behind::from_byte(Some(pair[0])) as usize].push(at);
            let [before, class] = [pair[0], pair[1]].map(|byte| usize::from(class_of(byte)));
            follows[before][class] += 1.0;
        }
        for row in follows.iter_mut() {
            let all: f32 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= all);
        }
        Ordinary {
            classes,
            places,
            follows,
        }
    }

    /// How often a match might begin.
    pub(super) fn visits(&self, behind: Behind) -> Visits {
        let places = self.places[behind as usize].clone();
        let before = match behind {
            Behind::Word => b'e',
            Behind::Other => b' ',
        };
        let guessed = vec![(class_of(before), places.len() as f32)];
        Visits { places, guessed }
    }

    /// What comes of visits with the next byte.
    pub(super) fn divide(&self, visits: Visits) -> Divided<'_> {
        let mut places = std::array::from_fn(|_| Vec::new());
        for place in visits.places {
            // The sample may end here.
            if let Some(class) = self.classes.get(place as usize) {
                places[usize::from(*class)].push(place + 1);
            }
        }
        Divided {
            ordinary: self,
            places,
            guessed: visits.guessed,
        }
    }
}

// === impl Divided ===

impl Divided<'_> {
    /// How often the next byte is of this class; asked once.
    pub(super) fn take(&mut self, class: usize) -> Visits {
        let follows = &self.ordinary.follows;
        let share = |(last, many): &(u8, f32)| many * follows[usize::from(*last)][class];
        let guessed: f32 = self.guessed.iter().map(share).sum();
        Visits {
            places: std::mem::take(&mut self.places[class]),
            guessed: vec![(class as u8, guessed)],
        }
    }
}

// === impl Visits ===

impl Visits {
    /// Another way leads there.
    pub(super) fn add(&mut self, others: Visits) {
        self.places.extend(others.places);
        for (class, many) in others.guessed {
            match self.guessed.iter_mut().find(|(last, _)| *last == class) {
                Some((_, known)) => *known += many,
                None => self.guessed.push((class, many)),
            }
        }
    }

    /// To be compared: the more the oftener.
    pub(super) fn weight(&self) -> u64 {
        /// Finer than what hundreds of steps make of a guess.
        const ONE: f32 = (1_u64 << 40) as f32;
        let guessed: f32 = self.guessed.iter().map(|(_, many)| many).sum();
        ((self.places.len() as f32 + guessed * GUESS) * ONE) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The visits of what follows these letters, behind no word.
    fn after(ordinary: &Ordinary, text: &str) -> Visits {
        text.bytes()
            .fold(ordinary.visits(Behind::Other), |visits, byte| {
                let class = usize::from(class_of(byte));
                ordinary.divide(visits).take(class)
            })
    }

    #[test]
    fn places_are_counted_and_unseen_ones_guessed() {
        let ordinary = Ordinary::new(b" you are, and you were");
        assert_eq!(after(&ordinary, "you ").places, [5, 18]);
        assert_eq!(after(&ordinary, "you are").places, [8]);
        let [seen, guessed] = ["you w", "yoare"].map(|text| after(&ordinary, text));
        assert_eq!((seen.places.len(), guessed.places.len()), (1, 0));
        assert!(seen.weight() > guessed.weight() && guessed.weight() > 0);
        let [likely, unlikely] = ["yoare", "yoaqz"].map(|text| after(&ordinary, text));
        assert!(likely.weight() > unlikely.weight());
    }

    #[test]
    fn what_comes_on_two_ways_counts_twice() {
        let ordinary = Ordinary::new(b" no, new names");
        let mut both = after(&ordinary, "no");
        both.add(after(&ordinary, "ne"));
        assert_eq!(both.places, [3, 7]);
        assert_eq!(both.guessed.len(), 2);
    }

    /// The sample is full of what it stands for.
    #[test]
    fn the_sample_is_ordinary() {
        let ordinary = Ordinary::get();
        for text in ["the ", "you ", "return", "12", "\"content\":"] {
            assert!(after(ordinary, text).places.len() > 5, "{text}");
        }
    }
}
