//! What a rule cannot do without, some way behind its beginning.
//!
//! An e-mail address begins like every word. What tells it is the `@`, at most 64 bytes later, and
//! that only certain bytes stand between. Fourteen letters or digits before `.atlasv1.` begin like
//! every word, too; what tells them is a dot exactly 14 bytes later and what must follow it. A
//! [`Need`] is that knowledge, read off the automaton and so true of any expression: a byte that
//! stands in every match, how far from the start its first one may be, what may stand before it,
//! and what must follow.
//!
//! A rule may have several; taken is the one that fewest places of ordinary text answer to.

use super::automaton::{Automaton, DEAD};
use super::view::View;
use super::windows::classes;
use crate::prefilter::bytes::{contains, insert, iter, union};
use crate::prefilter::{ByteSet, rarity};

/// The farthest that a needed byte may be from the start.
const WITHIN_MAX: usize = 256;

/// How many bytes behind the needed one are told.
const FOLLOW_MAX: usize = 12;

/// How many of those, the rarest, count where needs are compared: what stands side by side is not
/// independent, and many of them would make anything look rare.
const FOLLOW_RATED: usize = 4;

/// To look at a needed byte that tells no start costs so much of what a start costs.
const LOOK_COST: f32 = 1.0 / 8.0;

/// How many bytes are looked at one by one before the rest is searched.
const NEAR: usize = 4;

/// What every match of a rule has near its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// The needed byte is either of these: the same, or a letter's two cases.
    bytes: [u8; 2],
    /// The first needed byte stands at least so many bytes after the start.
    least: usize,
    /// It stands at most so many bytes after the start.
    within: usize,
    /// What may stand before it.
    filler: ByteSet,
    /// What may stand at each of the places behind it.
    follow: Vec<ByteSet>,
}

/// Where in a view matches may begin that have the same needed byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// Offsets in the view: from `first` on, before `end`.
    pub(super) first: usize,
    pub(super) end: usize,
    /// Where to look for the next one.
    pub(super) behind: usize,
}

// === impl Need ===

impl Need {
    /// The need by which the automaton's matches are told best.
    pub(super) fn of(automaton: &Automaton, max_len: usize) -> Option<Need> {
        let classes = classes(automaton);
        let letters = (b'a'..=b'z').map(|letter| [letter, letter.to_ascii_uppercase()]);
        (b'!'..=b'~')
            .map(|byte| [byte; 2])
            .chain(letters)
            .filter_map(|bytes| Need::on(automaton, &classes, bytes, max_len))
            .min_by(|one, other| one.cost().total_cmp(&other.cost()))
    }

    /// Walks the automaton without the byte: if no match is possible and every path comes to an
    /// end, all matches have the byte, and not later than the longest path is long.
    fn on(
        automaton: &Automaton,
        classes: &[(ByteSet, u8)],
        bytes: [u8; 2],
        max_len: usize,
    ) -> Option<Need> {
        // A byte that does the same as others cannot be told from them.
        let only = |class: &ByteSet| iter(class).all(|byte| bytes.contains(&byte));
        let (needed, others): (Vec<_>, Vec<_>) = classes.iter().partition(|(class, _)| only(class));
        let told = |byte| needed.iter().any(|(class, _)| contains(class, byte));
        if !bytes.into_iter().all(told) {
            return None;
        }
        let mut need = Need {
            bytes,
            least: usize::MAX,
            within: 0,
            filler: [0; 4],
            follow: Vec::new(),
        };
        let mut behind = Vec::new();
        let mut states = automaton.distinct_starts();
        // Breadth first over sets of states: the path of any length that a loop allows shows as a
        // set that is never empty.
        for distance in 0..=WITHIN_MAX {
            if states.is_empty() {
                break;
            }
            // What is as long as it may become counts as a match.
            if distance >= max_len.min(WITHIN_MAX) {
                return None;
            }
            let mut following = Vec::new();
            for state in &states {
                for (_, byte) in &needed {
                    let (next, ended) = automaton.step(*state, *byte);
                    if ended {
                        return None;
                    }
                    if next != DEAD {
                        need.least = need.least.min(distance);
                        need.within = distance;
                        behind.push(next);
                    }
                }
                for (class, byte) in &others {
                    let (next, ended) = automaton.step(*state, *byte);
                    if ended || automaton.accepts_at_end(next) {
                        return None;
                    }
                    if next != DEAD {
                        union(&mut need.filler, class);
                        following.push(next);
                    }
                }
            }
            states = distinct(following);
        }
        if behind.is_empty() {
            return None;
        }
        need.follow = follow(automaton, classes, behind, max_len - need.within - 1);
        Some(need)
    }

    /// What tells the matches of both, if they have the same needed byte.
    pub(super) fn merge(&self, other: &Need) -> Option<Need> {
        let mut merged = self.clone();
        merged.least = self.least.min(other.least);
        merged.within = self.within.max(other.within);
        union(&mut merged.filler, &other.filler);
        merged.follow.truncate(other.follow.len());
        for (set, bytes) in merged.follow.iter_mut().zip(&other.follow) {
            union(set, bytes);
        }
        (self.bytes == other.bytes).then_some(merged)
    }

    /// At how many places of ordinary text it lets a rule start, as if bytes were independent.
    pub(super) fn rate(&self) -> f32 {
        let mut follow: Vec<f32> = self.follow.iter().map(rarity::share).collect();
        follow.sort_unstable_by(f32::total_cmp);
        let filler = rarity::share(&self.filler);
        let starts = (self.least..=self.within).map(|distance| filler.powf(distance as f32));
        let follow = follow.iter().take(FOLLOW_RATED);
        self.share() * follow.product::<f32>() * starts.sum::<f32>()
    }

    /// The same with the looks that come to nothing, in starts.
    pub(super) fn cost(&self) -> f32 {
        self.rate() + self.share() * LOOK_COST
    }

    /// How much of ordinary text is the needed byte.
    fn share(&self) -> f32 {
        let mut set = [0; 4];
        self.bytes.iter().for_each(|byte| insert(&mut set, *byte));
        rarity::share(&set)
    }

    /// The first window in which a start at or behind the offset lies; none lies between it and
    /// the last needed byte before.
    pub(super) fn window(&self, view: &View<'_>, offset: usize) -> Option<Window> {
        let bytes = view.from(view.base());
        let mut from = offset;
        while let Some(at) = self.find(bytes, from) {
            if self.stands_before(&bytes[at + 1..], view.is_last()) {
                let first = self.first(bytes, from, at);
                if first + self.least <= at {
                    return Some(Window {
                        first,
                        end: at - self.least + 1,
                        behind: at + 1,
                    });
                }
            }
            from = at + 1;
        }
        // The needed byte may be the next to come.
        let end = bytes.len();
        (from < end && !view.is_last()).then(|| Window {
            first: self.first(bytes, from, end),
            end,
            behind: end,
        })
    }

    /// The first offset from this one on from which a match may have read up to `at`.
    fn first(&self, bytes: &[u8], from: usize, at: usize) -> usize {
        let from = from.max(at.saturating_sub(self.within));
        let run = bytes[from..at].iter().rev();
        at - run
            .take_while(|byte| contains(&self.filler, **byte))
            .count()
    }

    /// Does what must stand behind a needed byte, as far as it is at hand?
    #[inline]
    fn stands_before(&self, behind: &[u8], is_all: bool) -> bool {
        let mut pairs = self.follow.iter().zip(behind);
        pairs.all(|(set, byte)| contains(set, *byte))
            && (behind.len() >= self.follow.len() || !is_all)
    }

    /// The first needed byte at or behind an offset.
    #[inline]
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        let [one, other] = self.bytes;
        // Where needed bytes are dense, calling the vectorised search costs more than it saves.
        let near = rest.iter().take(NEAR);
        let near = near.copied().position(|byte| byte == one || byte == other);
        let found = near.or_else(|| match one == other {
            true => memchr::memchr(one, rest),
            false => memchr::memchr2(one, other, rest),
        })?;
        Some(from + found)
    }
}

/// What may stand at each place behind these states, as far as no match can have ended before it;
/// not more than so many.
fn follow(
    automaton: &Automaton,
    classes: &[(ByteSet, u8)],
    states: Vec<u16>,
    places: usize,
) -> Vec<ByteSet> {
    let mut states = distinct(states);
    let mut follow = Vec::new();
    while follow.len() < places.min(FOLLOW_MAX) {
        let mut set = [0; 4];
        let mut following = Vec::new();
        for state in &states {
            let mut may_end = automaton.accepts_at_end(*state);
            for (class, byte) in classes {
                let (next, ended) = automaton.step(*state, *byte);
                may_end |= ended;
                if next != DEAD {
                    union(&mut set, class);
                    following.push(next);
                }
            }
            if may_end {
                return follow;
            }
        }
        states = distinct(following);
        follow.push(set);
    }
    follow
}

fn distinct(mut states: Vec<u16>) -> Vec<u16> {
    states.sort_unstable();
    states.dedup();
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::automaton::Reading;

    fn need(pattern: &str) -> Option<Need> {
        let hir = regex_syntax::Parser::new().parse(pattern).expect("parses");
        Need::of(
            &Automaton::compile(&hir, Reading::Anchored).expect("compiles"),
            100,
        )
    }

    /// The windows of a text, each with its starts.
    fn windows(need: &Need, text: &str, last: bool) -> Vec<(usize, usize)> {
        let view = View::new(text, 0, last);
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(window) = need.window(&view, from) {
            found.push((window.first, window.end));
            from = window.behind;
        }
        found
    }

    #[test]
    fn the_place_of_the_byte_is_known() {
        let need = need("[a-z]{4}@[a-z]+").expect("has one");
        assert_eq!((need.bytes, need.least, need.within), ([b'@'; 2], 4, 4));
        assert_eq!(
            windows(&need, "abcdef@x abc@x abcd@", false),
            [(2, 3), (15, 16)]
        );
        assert_eq!(windows(&need, "abcdef@x abc@x abcd@", true), [(2, 3)]);
        assert_eq!(windows(&need, "abc@ de", false), [(5, 7)], "it may come");
        assert_eq!(windows(&need, "abc@ de", true), []);
    }

    #[test]
    fn what_must_follow_tells() {
        let need = need(r"[a-z]{2,3}\.(?i:atlas)").expect("has one");
        assert_eq!((need.bytes, need.follow.len()), ([b'.'; 2], 5));
        let text = "ab.atlas ab.b.aTLas abcd.atl";
        assert_eq!(windows(&need, text, false), [(0, 1), (21, 23), (25, 28)]);
        assert_eq!(windows(&need, text, true), [(0, 1)]);
    }

    #[test]
    fn a_letter_is_needed_in_both_cases() {
        let need = need("[0-9]{2}(?i:q)[0-9]{3}").expect("has one");
        assert_eq!(need.bytes, *b"qQ");
        assert_eq!(windows(&need, "12q345 67Q890 6q", true), [(0, 1), (7, 8)]);
    }

    #[test]
    fn a_byte_that_may_be_missing_or_far_is_not_needed() {
        assert_eq!(need("[a-z]+(?:@x|#y)"), None, "either will do");
        assert_eq!(need("[a-z]+(?:@x)?"), None);
        assert_eq!(need("[a-z]{100}@"), None, "longer than a match is read");
        assert_eq!(need("[a-z]@?[0-9]"), None);
    }

    #[test]
    fn needs_of_two_rules_allow_what_either_does() {
        let one = need("[a-z]{4}@[a-z]{3}").expect("has one");
        let other = need("[0-9]{2}@[0-9]{2}[a-z]").expect("has one");
        let both = one.merge(&other).expect("the same byte");
        let text = "abcd@efg 12@34a";
        assert_eq!(windows(&one, text, true), [(0, 1)]);
        assert_eq!(windows(&other, text, true), [(9, 10)]);
        assert_eq!(windows(&both, text, true), [(0, 3), (9, 10)]);
        assert_eq!(one.merge(&need("[a-z]#").expect("has one")), None);
    }
}
