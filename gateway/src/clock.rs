//! Ends that do not move when somebody sets the system's clock.
//!
//! What ends at a time of day is held against two clocks: the system's, which somebody may set, and
//! one that nobody sets, from when this process came to know of it. What permits something ends with
//! the first of the two, what forbids something with the last. So a clock that is set back brings
//! nothing back to life that was over, one that is set forward lets nobody in too early, and neither
//! undoes what is done once it is right again.
//!
//! Tokens of identity providers are not among these: their `exp` was written by another clock, and
//! is held against the system's alone.

use std::time::{Duration, Instant};

use crate::exchange::unix_ns;

/// When this time of day comes, unless the clock is set until then: now where it is past; `None`
/// where it is too far away to tell.
pub(crate) fn comes_at(unix_s: u64) -> Option<Instant> {
    // In this order: what passes between the two looks does not shorten it.
    let since_1970 = Duration::from_nanos(unix_ns());
    let left = Duration::from_secs(unix_s).saturating_sub(since_1970);
    Instant::now().checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::unix_seconds;

    #[test]
    fn a_time_of_day_is_a_moment() {
        let before = Instant::now();
        let coming = comes_at(unix_seconds() + 3600).expect("soon enough");
        assert!(coming > before + Duration::from_secs(3598));
        assert!(coming <= Instant::now() + Duration::from_secs(3600));
        assert!(comes_at(9).expect("it is past") <= Instant::now());
        assert_eq!(comes_at(u64::MAX), None);
    }
}
