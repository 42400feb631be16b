//! A histogram for the time being: what one slot, or one thread, counts before it becomes [`Times`].
//!
//! It has the buckets of [`Times`] and counts into them alike, so turning one into the other loses
//! nothing. It differs in what it costs: it knows between which buckets it was used, and to add it up,
//! read it or clear it touches those alone. Of the 340 KiB of buckets that an hour in nanoseconds with
//! three digits has, a slot of a run uses some 30 KiB. On a core that also sends requests, going
//! through all of them was a stall of a millisecond in every slot.

use super::times::{CompactTimes, DIGITS, TIME_NS_MAX, Times};

/// Bits of a bucket's number within its power of two: 2¹¹ is the first above 2 × 10³, which is what
/// three significant digits take.
const STEP_BITS: u32 = 11;
/// Buckets in each power of two but the first, which has twice as many.
const STEPS: usize = 1 << (STEP_BITS - 1);
/// The bucket of the longest time.
const LONGEST: usize = bucket(TIME_NS_MAX);

const _: () = assert!(DIGITS == 3, "STEP_BITS is for three digits");

/// Times in nanoseconds, counted.
pub(super) struct Tally {
    counts: Vec<u64>,
    /// The first bucket in use, and the one behind the last; equal when none is.
    first: usize,
    end: usize,
    count: u64,
}

/// The bucket of a time.
#[inline]
const fn bucket(ns: u64) -> usize {
    let shift = 64 - STEP_BITS - (ns | ((1 << STEP_BITS) - 1)).leading_zeros();
    shift as usize * STEPS + (ns >> shift) as usize
}

/// The longest time that counts as the same.
fn highest(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = (bucket - shift * STEPS) as u64;
    ((step + 1) << shift) - 1
}

// === impl Tally ===

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; Times::new().histogram().distinct_values()],
            first: 0,
            end: 0,
            count: 0,
        }
    }

    /// Counts one time; what is longer than any bucket reaches counts as the longest, an hour.
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// Counts a time so many times.
    #[inline]
    fn record_n(&mut self, ns: u64, count: u64) {
        let at = match bucket(ns) {
            at if at < self.counts.len() => at,
            _ => LONGEST,
        };
        self.counts[at] += count;
        self.count += count;
        self.reach(at, at + 1);
    }

    /// Adds what another one has counted.
    pub(super) fn add(&mut self, other: &Tally) {
        if other.is_empty() {
            return;
        }
        let used = other.first..other.end;
        let both = self.counts[used.clone()]
            .iter_mut()
            .zip(&other.counts[used]);
        both.for_each(|(sum, count)| *sum += count);
        self.count += other.count;
        self.reach(other.first, other.end);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.counts[self.first..self.end].fill(0);
        (self.first, self.end, self.count) = (0, 0, 0);
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The least value that at least this share (0 to 1) of all is at or below; 0 of nothing.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((share * self.count as f64).ceil() as u64).max(1);
        let mut sum = 0;
        let reaches = |(_, count): &(u64, u64)| {
            sum += count;
            sum >= wanted
        };
        self.counted().find(reaches).map_or(0, |(ns, _)| ns)
    }

    /// The longest; 0 of nothing.
    pub(super) fn max(&self) -> u64 {
        self.end.checked_sub(1).map_or(0, highest)
    }

    /// Values that were counted, ascending, each with its count: one for each bucket in use, given
    /// as the highest value that counts as the same.
    pub(super) fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let used = self.counts[self.first..self.end].iter().enumerate();
        used.filter(|(_, count)| **count > 0)
            .map(|(step, count)| (highest(self.first + step), *count))
    }

    /// The same as a histogram.
    pub(super) fn to_times(&self) -> Times {
        let mut times = Times::new();
        self.counted()
            .for_each(|(ns, count)| times.record_n(ns, count));
        times
    }

    /// The same as its buckets in use.
    pub(super) fn to_compact(&self) -> CompactTimes {
        self.counted().collect()
    }

    /// Times that were counted, to be added to.
    pub(super) fn of(times: &CompactTimes) -> Self {
        let mut tally = Self::new();
        for (ns, count) in times.counted() {
            tally.record_n(*ns, *count);
        }
        tally
    }

    #[inline]
    fn reach(&mut self, first: usize, end: usize) {
        if self.end == 0 {
            self.first = first;
        }
        self.first = self.first.min(first);
        self.end = self.end.max(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Times of every order of magnitude, past the longest too.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let time = (0u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        prop::collection::vec(time, 0..200)
    }

    fn tally(values: &[u64]) -> Tally {
        let mut tally = Tally::new();
        values.iter().for_each(|ns| tally.record(*ns));
        tally
    }

    proptest! {
        #[test]
        fn it_counts_as_hdrhistogram_does(values in times(), share in 0.0..=1.0f64) {
            let mut times = Times::new();
            values.iter().for_each(|ns| times.record(*ns));
            let tally = tally(&values);
            prop_assert_eq!(tally.count(), times.count());
            let counted: Vec<_> = times.counted().collect();
            prop_assert_eq!(tally.counted().collect::<Vec<_>>(), counted);
            prop_assert_eq!(tally.quantile(share), times.quantile(share));
            if !values.is_empty() {
                prop_assert_eq!(tally.max(), times.histogram().max());
            }
            prop_assert_eq!(tally.to_times().encode(), times.encode());
            let compact = tally.to_compact();
            prop_assert_eq!(compact.to_times().encode(), times.encode());
            prop_assert_eq!(Tally::of(&compact).to_compact(), compact);
        }

        #[test]
        fn adding_and_clearing_leave_what_is_right(a in times(), b in times()) {
            let mut sum = tally(&a);
            sum.add(&tally(&b));
            let both = [a, b.clone()].concat();
            let list = |tally: &Tally| tally.counted().collect::<Vec<_>>();
            prop_assert_eq!(list(&sum), list(&tally(&both)));
            prop_assert_eq!(sum.max(), tally(&both).max());
            sum.clear();
            prop_assert!(sum.is_empty() && sum.counts.iter().all(|count| *count == 0));
            sum.add(&tally(&b));
            prop_assert_eq!(list(&sum), list(&tally(&b)));
        }
    }
}
