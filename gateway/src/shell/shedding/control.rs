//! How large a share of requests is refused: the controller of PIE (RFC 8033), for a queue of work.
//!
//! Like PIE it moves the share by how far the delay is from where it should be held, and by how
//! fast it grows, and refuses evenly and not by chance (section 5.2). Three things differ. Its
//! gains are greater (section 4.2 chooses them for senders that hear of a loss after a round trip;
//! here a request that is refused is work that is not done, at once). Its allowance for bursts
//! (section 4.4) is not given back at once but slowly, and spent only while the delay grows. What
//! came while the host had the core taken away is soon done by a core that has time enough, though
//! it waits long at first; a core that has not time enough has used the allowance up at the second
//! measurement. And the limit is never less than some of the longest pieces of work: who waits
//! behind two prompts of a megabyte waits long on a core that has time enough.

use std::time::Duration;

/// So many measurements in a row beyond the limit are a queue that stands, and no burst: engines
/// step a thousand streams together.
const PATIENCE: u32 = 2;
/// A core that was in time may become later and later for so long before anything is refused.
const ALLOWANCE: Duration = Duration::from_millis(100);
/// What comes back of the allowance, as a share of the time in which the core is in time.
const ALLOWANCE_BACK: f64 = 0.1;
/// Share for each second by which the queue has grown.
const GROWTH_GAIN: f64 = 8.0;
/// Share for each second beyond the limit, for each second that it lasts.
const LASTING_GAIN: f64 = 40.0;
/// The share falls by e to this power in each second in which hardly anything waits.
const EASING: f64 = 8.0;
/// Between two measurements at most this counts as lasting.
const STEP_MAX: Duration = Duration::from_millis(100);
/// So many of the longest pieces of work may wait at any time.
const PIECES: u32 = 4;
/// What is left of the longest piece after each measurement.
const PIECE_DECAY: f64 = 0.98;
/// A share below it is none.
const SHARE_MIN: f64 = 1e-3;

/// Makes the share from measurements, and decides by it.
pub(super) struct Control {
    limit: Duration,
    /// The longest piece of work of late.
    piece: Duration,
    /// Measurements in a row that were beyond the limit, while nothing is refused.
    late_count: u32,
    /// What is left of the allowance for bursts.
    allowance: Duration,
    /// What waited when last measured.
    waits: Duration,
    /// Of new requests, the share to refuse.
    share: f64,
    /// Shares of requests since the last refusal.
    owed: f64,
}

// === impl Control ===

impl Control {
    /// Refuses nothing yet.
    pub(super) fn holding(limit: Duration) -> Self {
        Self {
            limit,
            piece: Duration::ZERO,
            late_count: 0,
            allowance: ALLOWANCE,
            waits: Duration::ZERO,
            share: 0.0,
            owed: 0.0,
        }
    }

    /// Decides about one request.
    pub(super) fn refuses(&mut self) -> bool {
        self.owed += self.share;
        let refuses = self.owed >= 1.0;
        if refuses {
            self.owed -= 1.0;
        }
        refuses
    }

    /// So much work waits now, `step` after it was last measured.
    pub(super) fn measured(&mut self, waits: Duration, step: Duration) {
        let limit = self.limit.max(self.piece * PIECES).as_secs_f64();
        let beyond = waits.as_secs_f64() - limit;
        let grown = waits.as_secs_f64() - self.waits.as_secs_f64();
        let lasted = step.min(STEP_MAX);
        self.waits = waits;
        self.piece = self.piece.mul_f64(PIECE_DECAY);
        if self.share > 0.0 {
            let lasted = lasted.as_secs_f64();
            self.share += GROWTH_GAIN * grown + LASTING_GAIN * beyond * lasted;
            if waits.as_secs_f64() < limit / 2.0 {
                self.share *= (-EASING * lasted).exp();
            }
            if self.share < SHARE_MIN {
                self.share = 0.0;
            }
        } else if beyond > 0.0 {
            self.late_count += 1;
            if grown >= 0.0 {
                // Of the time since the last measurement the core may have been idle for some.
                self.allowance = self.allowance.saturating_sub(lasted.min(waits));
                if self.late_count >= PATIENCE && self.allowance.is_zero() {
                    self.share = GROWTH_GAIN * beyond;
                }
            }
        } else {
            self.allowance = ALLOWANCE.min(self.allowance + lasted.mul_f64(ALLOWANCE_BACK));
        }
        self.share = self.share.clamp(0.0, 1.0);
        if beyond <= 0.0 || self.share > 0.0 {
            self.late_count = 0;
        }
        if self.share == 0.0 {
            self.owed = 0.0;
        }
    }

    /// A piece of work took so long.
    pub(super) fn worked(&mut self, piece: Duration) {
        self.piece = self.piece.max(piece);
    }

    /// Whether what was measured so long ago tells nothing of now. A late core comes to its next
    /// head only after about what waited.
    pub(super) fn outlived(&self, since: Duration) -> bool {
        since > STEP_MAX + 2 * self.waits
    }

    /// Begins anew after a pause.
    pub(super) fn forget(&mut self) {
        self.late_count = 0;
        self.allowance = ALLOWANCE;
        self.waits = Duration::ZERO;
        self.share = 0.0;
        self.owed = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(25);
    const SERVING: Duration = Duration::from_micros(40);
    const REFUSING: Duration = Duration::from_micros(8);

    /// A core that is told the time: requests come at a rate, wait in a queue, are decided about at
    /// their head, and those that are taken come back once for their answer.
    struct Core {
        control: Control,
        now: Duration,
        queue: std::collections::VecDeque<Item>,
        /// A mark is in it.
        marking: bool,
        marked_at: Duration,
        served: u32,
        refused: u32,
        waits_max: Duration,
    }

    #[derive(Clone, Copy)]
    enum Item {
        Head,
        Answer,
        Mark(Duration),
    }

    impl Core {
        fn new() -> Self {
            Self {
                control: Control::holding(LIMIT),
                now: Duration::ZERO,
                queue: std::collections::VecDeque::new(),
                marking: false,
                marked_at: Duration::ZERO,
                served: 0,
                refused: 0,
                waits_max: Duration::ZERO,
            }
        }

        fn does(&mut self, item: Item) {
            match item {
                Item::Head => {
                    if self.control.refuses() {
                        self.refused += 1;
                        self.now += REFUSING;
                    } else {
                        self.now += SERVING / 2;
                        self.queue.push_back(Item::Answer);
                    }
                    let due = self.now >= self.marked_at + Duration::from_millis(5);
                    if due && !std::mem::replace(&mut self.marking, true) {
                        self.queue.push_back(Item::Mark(self.now));
                    }
                }
                Item::Answer => {
                    self.now += SERVING / 2;
                    self.served += 1;
                }
                Item::Mark(set_at) => {
                    self.marking = false;
                    let waits = self.now - set_at;
                    self.waits_max = self.waits_max.max(waits);
                    let step = self.now - self.marked_at;
                    self.control.measured(waits, step);
                    self.marked_at = self.now;
                }
            }
        }

        /// Requests at `load` times what the core can serve, for so long.
        fn offered(&mut self, load: f64, time: Duration) {
            let (end, apart) = (self.now + time, SERVING.div_f64(load));
            let mut next = self.now;
            self.served = 0;
            self.refused = 0;
            self.waits_max = Duration::ZERO;
            while self.now < end {
                while next <= self.now {
                    self.queue.push_back(Item::Head);
                    next += apart;
                }
                match self.queue.pop_front() {
                    Some(item) => self.does(item),
                    None => self.now = next,
                }
            }
        }
    }

    #[test]
    fn at_any_load_the_queue_stays_at_the_limit_and_the_core_goes_on_serving() {
        for load in [1.05, 1.1, 1.25, 1.5, 2.0, 3.0] {
            let mut core = Core::new();
            core.offered(load, Duration::from_secs(1));
            let second = Duration::from_secs(1);
            core.offered(load, second);
            // What refusing takes is all that may be missing.
            let can = (second - REFUSING * core.refused).div_duration_f64(SERVING);
            let share = f64::from(core.served) / can;
            assert!(
                (0.97..1.05).contains(&share),
                "{load}: {share} of what it can"
            );
            let waits = core.waits_max.div_duration_f64(LIMIT);
            assert!(waits < 3.0, "{load}: {waits} times the limit");
        }
    }

    #[test]
    fn a_core_that_keeps_up_refuses_nobody() {
        for load in [0.5, 0.9, 0.99] {
            let mut core = Core::new();
            core.offered(load, Duration::from_secs(2));
            assert_eq!(core.refused, 0, "{load}");
        }
    }

    #[test]
    fn a_second_after_overload_all_are_served_again() {
        let mut core = Core::new();
        core.offered(3.0, Duration::from_secs(1));
        assert!(core.refused > 0);
        core.offered(0.9, Duration::from_secs(1));
        core.offered(0.9, Duration::from_secs(1));
        assert_eq!(core.refused, 0);
    }

    #[test]
    fn a_burst_is_no_queue() {
        let mut control = Control::holding(LIMIT);
        for _ in 0..50 {
            for waits in [115, 0] {
                let waits = Duration::from_millis(waits);
                control.measured(waits, Duration::from_millis(100));
                assert!(!control.refuses());
            }
        }
    }

    #[test]
    fn what_came_while_the_machine_stood_still_is_served() {
        for load in [0.3, 0.5] {
            for outage in [30, 60, 100, 150] {
                let mut core = Core::new();
                core.offered(load, Duration::from_secs(1));
                let came = Duration::from_millis(outage).div_duration_f64(SERVING) * load;
                core.queue.extend((0..came as u32).map(|_| Item::Head));
                core.offered(load, Duration::from_secs(1));
                assert_eq!(core.refused, 0, "{load}: {outage} ms");
                assert!(core.queue.len() < 8, "{load}: {outage} ms, and soon");
            }
        }
    }

    #[test]
    fn who_is_late_again_and_again_has_no_allowance() {
        let mut core = Core::new();
        core.offered(1.5, Duration::from_secs(1));
        let mut waits_max = Duration::ZERO;
        for _ in 0..10 {
            core.offered(0.5, Duration::from_millis(200));
            core.offered(1.5, Duration::from_millis(300));
            waits_max = waits_max.max(core.waits_max);
        }
        let waits = waits_max.div_duration_f64(LIMIT);
        assert!(waits < 3.0, "{waits} times the limit");
    }

    #[test]
    fn long_pieces_of_work_raise_the_limit_while_they_come() {
        let mut control = Control::holding(LIMIT);
        let piece = Duration::from_millis(20);
        for _ in 0..100 {
            control.worked(piece);
            control.measured(piece * 3, piece);
            assert!(!control.refuses(), "three before one");
        }
        for _ in 0..100 {
            control.measured(LIMIT * 2, piece);
        }
        assert!(control.share > 0.0, "none has come for long");
    }

    #[test]
    fn refusals_are_spread_evenly() {
        let mut control = Control::holding(LIMIT);
        control.share = 0.25;
        let decisions: Vec<bool> = (0..8).map(|_| control.refuses()).collect();
        let quarter = [false, false, false, true];
        assert_eq!(decisions, [quarter, quarter].concat());
    }

    #[test]
    fn what_was_measured_before_a_pause_counts_no_more() {
        let mut control = Control::holding(LIMIT);
        for _ in 0..PATIENCE {
            control.measured(LIMIT * 8, LIMIT * 8);
        }
        assert_eq!(control.share, 1.0);
        assert!(!control.outlived(LIMIT * 16), "a late core comes no sooner");
        assert!(control.outlived(LIMIT * 16 + STEP_MAX + LIMIT));
        control.forget();
        assert!(!control.refuses());
    }
}
