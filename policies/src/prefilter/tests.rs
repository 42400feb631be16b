//! The contract at every level, alignment and length, against the definition.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::bytes::{ALL, ByteSet, contains, insert};
use super::*;

fn set(bytes: &[u8]) -> ByteSet {
    let mut set = [0; 4];
    bytes.iter().for_each(|byte| insert(&mut set, *byte));
    set
}

/// A window of these classes, and of any bytes behind them.
fn window(classes: &[&[u8]]) -> Window {
    let mut window = Window([ALL; WINDOW_BYTES]);
    for (place, class) in window.0.iter_mut().zip(classes) {
        if *class != b"*" {
            *place = set(class);
        }
    }
    window
}

/// The levels of this processor, and in words which are not tested here.
fn levels() -> Vec<Level> {
    let (present, lacking): (Vec<_>, Vec<_>) = Level::ALL
        .into_iter()
        .partition(|level| level.is_available());
    if !lacking.is_empty() {
        println!("not tested, this processor lacks them: {lacking:?}");
    }
    present
}

/// Where a window begins, by the definition.
fn begins(windows: &[Window], bytes: &[u8], at: usize) -> bool {
    windows.iter().any(|window| {
        let classes = window.0.iter().enumerate();
        classes.fold(true, |all, (place, class)| {
            all && bytes
                .get(at + place)
                .is_none_or(|byte| contains(class, *byte))
        })
    })
}

/// All masks of a text as one list of places.
fn places(prefilter: &Prefilter, bytes: &[u8], from: usize) -> Vec<usize> {
    let mut masks = [0; BATCH_BLOCKS];
    let mut found = Vec::new();
    let mut at = from;
    while at < bytes.len() {
        let blocks = prefilter.masks(bytes, at, &mut masks);
        assert!(blocks > 0);
        for mask in &masks[..blocks] {
            found.extend(
                (0..BLOCK)
                    .filter(|bit| mask >> bit & 1 != 0)
                    .map(|bit| at + bit),
            );
            at += BLOCK;
        }
    }
    found
}

fn check(windows: &[Window], bytes: &[u8], from: usize) {
    let prefilter = Prefilter::new(windows.to_vec());
    for level in levels() {
        let prefilter = prefilter.at(level).expect("is available");
        let found = places(&prefilter, bytes, from);
        assert!(
            found.iter().all(|at| (from..bytes.len()).contains(at)),
            "{level:?}"
        );
        for at in from..bytes.len() {
            assert!(
                !begins(windows, bytes, at) || found.contains(&at),
                "{level:?} loses {at} of {bytes:?} from {from}"
            );
        }
        let scalar = prefilter.at(Level::Scalar).expect("is everywhere");
        let expected = places(&scalar, bytes, from);
        assert_eq!(found, expected, "{level:?} names other places");
    }
}

#[test]
fn no_place_is_lost_at_any_alignment_and_length() {
    let windows = [
        window(&[b"*", b"kK", b"eE", b"yY"]),
        window(&[b" \n", b"s", b"k", b"-", b"aA0"]),
        window(&[b"*", b"@", b"*", b"*", b"*", b"*", b"*", b"0 "]),
        window(&[b"0".as_slice(); WINDOW_BYTES]),
        window(&["é".as_bytes(), "é".as_bytes()]),
    ];
    let text = "key sk-a é@ KEY 0000000 sk-0 xsk-x ékéyé @ 000000000".repeat(5);
    for len in (0..WINDOW_BYTES + 70).chain([127, 128, 129, 200]) {
        for from in 0..text.len().min(70) {
            let end = (from + len).min(text.len());
            check(&windows, &text.as_bytes()[..end], from);
        }
    }
}

#[test]
fn no_windows_find_nothing() {
    let prefilter = Prefilter::new(Vec::new());
    for level in levels() {
        let prefilter = prefilter.at(level).expect("is available");
        assert!(places(&prefilter, &[b'a'; 200], 0).is_empty());
    }
}

#[test]
fn any_windows_over_any_bytes() {
    let class = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4).prop_map(|bytes| set(&bytes)),
        proptest::collection::vec(b'a'..b'f', 1..3).prop_map(|bytes| set(&bytes)),
        Just(ALL),
    ];
    let window = proptest::collection::vec(class, WINDOW_BYTES);
    let windows = proptest::collection::vec(window, 0..80);
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(b'a'..b'g', 0..2000),
    ];
    let config = Config {
        cases: if cfg!(miri) { 4 } else { 256 },
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    };
    let run =
        TestRunner::new(config).run(&(windows, bytes, 0..100_usize), |(windows, bytes, from)| {
            let whole = |classes: Vec<ByteSet>| Window(classes.try_into().expect("so many"));
            let windows: Vec<Window> = windows.into_iter().map(whole).collect();
            check(&windows, &bytes, from.min(bytes.len()));
            Ok(())
        });
    run.expect("holds");
}
