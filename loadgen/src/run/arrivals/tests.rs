//! Each process against what defines it, with fixed seeds: no clock is involved.

use super::*;

const LONG: Duration = Duration::from_secs(100);

fn starts(arrivals: &Arrivals, duration: Duration, seed: u64) -> Vec<u64> {
    Schedule::new(arrivals, duration, u64::MAX, seed)
        .map(|arrival| arrival.at_ns)
        .collect()
}

/// Mean and coefficient of variation of the gaps, in seconds.
fn gaps(starts: &[u64]) -> (f64, f64) {
    let gaps: Vec<f64> = starts
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) as f64 / SECOND_NS)
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let square = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    (mean, square.sqrt() / mean)
}

#[test]
fn constant_starts_do_not_drift() {
    let starts = starts(&Arrivals::Rate(Pace::Constant, 3.0), LONG, 0);
    assert_eq!(starts.len(), 300);
    assert_eq!((starts[0], starts[1]), (0, 333_333_333));
    assert_eq!(
        starts[299], 99_666_666_666,
        "the last one is as exact as the first"
    );
    let fast = Schedule::new(
        &Arrivals::Rate(Pace::Constant, 100_000.0),
        LONG,
        u64::MAX,
        0,
    );
    assert_eq!(fast.count(), 10_000_000);
}

#[test]
fn gaps_have_the_mean_and_burstiness_of_their_process() {
    for (pace, cv) in [
        (Pace::Poisson, 1.0),
        (Pace::Gamma(0.25), 0.25),
        (Pace::Gamma(1.0), 1.0),
        (Pace::Gamma(3.0), 3.0),
    ] {
        let starts = starts(&Arrivals::Rate(pace, 1000.0), LONG, 42);
        let (mean, got) = gaps(&starts);
        // 100 000 gaps: the mean's standard error is cv/√n of it, 1 % for the burstiest.
        assert!((mean * 1000.0 - 1.0).abs() < 0.04, "{pace:?}: mean {mean}");
        assert!((got / cv - 1.0).abs() < 0.05, "{pace:?}: cv {got}");
        assert!(starts.is_sorted());
    }
}

#[test]
fn poisson_gaps_are_memoryless() {
    let starts = starts(&Arrivals::Rate(Pace::Poisson, 100.0), LONG, 5);
    let longer = |than_ms: u64| {
        let longer = starts
            .windows(2)
            .filter(|p| p[1] - p[0] > than_ms * 1_000_000);
        longer.count() as f64 / (starts.len() - 1) as f64
    };
    // P(gap > t) = e^(-rate·t)
    assert!((longer(10) - (-1.0f64).exp()).abs() < 0.02);
    assert!((longer(30) - (-3.0f64).exp()).abs() < 0.01);
}

#[test]
fn a_ramp_grows_evenly() {
    let starts = starts(&Arrivals::Ramp(0.0, 200.0), LONG, 0);
    assert!((9_999..=10_001).contains(&starts.len()), "{}", starts.len());
    let before = |s: u64| starts.iter().filter(|at| **at < s * 1_000_000_000).count();
    // the integral: t² for a slope of two a second, a second
    assert!(before(50).abs_diff(2_500) <= 1 && before(80).abs_diff(6_400) <= 1);
    let falling = Schedule::new(&Arrivals::Ramp(200.0, 0.0), LONG, u64::MAX, 0);
    let falling: Vec<_> = falling.map(|arrival| arrival.at_ns).collect();
    assert!(falling.len().abs_diff(10_000) <= 1 && falling.is_sorted());
    let even = Schedule::new(&Arrivals::Ramp(50.0, 50.0), LONG, u64::MAX, 0);
    assert!(even.count().abs_diff(5_000) <= 1);
}

#[test]
fn bursts_come_together() {
    let arrivals = Arrivals::Burst(50, Duration::from_secs(2));
    let starts = starts(&arrivals, Duration::from_secs(5), 0);
    assert_eq!(starts.len(), 150);
    assert!(starts[..50].iter().all(|at| *at == 0));
    assert!(starts[50..100].iter().all(|at| *at == 2_000_000_000));
    assert_eq!(arrivals.rate(LONG), Some(25.0));
}

#[test]
fn what_is_given_is_cut_at_the_end_and_at_the_count() {
    let arrivals = Arrivals::Given(Arc::from([0, 5, 5, 9_000_000_000]), "trace");
    assert_eq!(starts(&arrivals, Duration::from_secs(9), 0), [0, 5, 5]);
    let schedule = Schedule::new(&arrivals, LONG, 2, 0);
    assert_eq!(
        schedule.map(|arrival| arrival.index).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn the_seed_decides() {
    let arrivals = Arrivals::Rate(Pace::Gamma(2.0), 100.0);
    assert_eq!(starts(&arrivals, LONG, 3), starts(&arrivals, LONG, 3));
    assert_ne!(starts(&arrivals, LONG, 3), starts(&arrivals, LONG, 4));
}

#[test]
fn processes_are_read_as_they_are_documented() {
    let read = |text: &str| text.parse::<Process>();
    assert_eq!(read("poisson"), Ok(Process::Poisson));
    assert_eq!(read("gamma:2.5"), Ok(Process::Gamma(2.5)));
    assert_eq!(read("ramp:10-100"), Ok(Process::Ramp(10.0, 100.0)));
    assert_eq!(
        read("burst:50/2s"),
        Ok(Process::Burst(50, Duration::from_secs(2)))
    );
    assert_eq!(read("trace:a:b"), Ok(Process::Trace("a:b".into())));
    for bad in [
        "gamma",
        "gamma:0",
        "ramp:5",
        "ramp:0-0",
        "burst:0/1s",
        "burst:5",
        "trace:",
        "x",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
