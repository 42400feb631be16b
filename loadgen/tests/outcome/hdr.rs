//! HdrHistogram's files, against its Java library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use penstock_loadgen::outcome::{Basis, Loop, Metric, Times};
use penstock_loadgen::report::hdr::{hgrm, hlog, named};

use crate::made_up;

/// Where Debian's `libhdrhistogram-java` puts it.
const JAR: &str = "/usr/share/java/hdrhistogram.jar";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/outcome/hgrm")
        .join(name)
}

#[test]
fn distributions_are_written_byte_for_byte_as_java_does() {
    for name in ["few", "spread", "same", "empty", "long", "ties"] {
        let encoded = fs::read_to_string(golden(&format!("{name}.b64"))).unwrap();
        let expected = fs::read_to_string(golden(&format!("{name}.hgrm"))).unwrap();
        let times = Times::decode(&encoded).unwrap();
        assert_eq!(hgrm(&times), expected, "{name}");
        assert_eq!(Times::decode(&times.encode()).unwrap(), times, "{name}");
    }
}

#[test]
fn every_series_of_a_run_has_a_name_of_its_own() {
    let outcome = made_up(Loop::Open, 1.0, 1);
    let names: Vec<_> = named(&outcome).into_iter().map(|(name, _)| name).collect();
    for name in [
        "connect.sent",
        "ttft.intended",
        "ttft.sent",
        "end_to_end.sent",
        "lag",
    ] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let log = String::from_utf8(hlog(&outcome).unwrap()).unwrap();
    assert!(log.contains("\nTag=ttft.intended,8.000,") || log.contains("Tag=ttft.intended,"));
    assert!(
        log.starts_with("#[Histogram log format version 1.3]\n"),
        "{log:.80}"
    );
}

/// Java adds the slots of our log up to what we say of the whole run.
#[test]
fn java_reads_our_log() {
    if !Path::new(JAR).exists() || Command::new("java").arg("-version").output().is_err() {
        eprintln!("skipped: needs java and {JAR} (Debian: libhdrhistogram-java, a JRE)");
        return;
    }
    let outcome = made_up(Loop::Open, 1.0, 1);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.hlog");
    fs::write(&log, hlog(&outcome).unwrap()).unwrap();
    for basis in Basis::ALL {
        let out = folder.path().join(basis.name());
        let run = Command::new("java")
            .args(["-cp", JAR, "org.HdrHistogram.HistogramLogProcessor", "-i"])
            .arg(&log)
            .args([
                "-tag",
                &format!("ttft.{basis}"),
                "-outputValueUnitRatio",
                "1000000",
                "-o",
            ])
            .arg(&out)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let theirs = fs::read_to_string(out.with_extension("hgrm")).unwrap();
        let ours = hgrm(
            &outcome
                .distribution(Metric::Ttft, Some(basis))
                .unwrap()
                .histogram,
        );
        // the processor puts two lines about the log itself before the distribution
        let theirs: Vec<_> = theirs.split_inclusive('\n').skip(2).collect();
        assert_eq!(theirs.concat(), ours);
    }
}
