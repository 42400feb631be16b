//! Files read as they were at one moment, though somebody may be replacing them.
//!
//! Editors write a new file and rename it over the old one, configuration management swaps a link
//! to a folder, and some programs write in place, so that half a file can be read, and half a file
//! can be a valid policy. [`take`] gives the texts of all wanted files in one state, or refuses: it
//! looks at all of them (which are there, which inode, how large, changed when), reads all, and
//! looks again. Only when both looks are equal, and no file had been touched within the last
//! [`SETTLE`], is what was read what was there: a change during the reading has a time at least
//! that much younger, whatever the file system's clock tick. Otherwise it reads again, within a
//! bound.
//!
//! What this cannot know is whether a writer that rests is done. So the watch, which nobody asked
//! for a reload, waits for a longer rest than this; see `watch`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use penstock_policies::PolicyFiles;

/// How long no file may have been touched before what is read counts. Clock ticks of file systems
/// are up to 10 ms.
pub(super) const SETTLE: Duration = Duration::from_millis(50);
/// How often it is read at most.
const READS_MAX: usize = 20;
/// The largest file, and the largest that is a tokenizer.
const FILE_BYTES_MAX: u64 = PolicyFiles::FILE_BYTES_MAX;
const TOKENIZER_BYTES_MAX: u64 = PolicyFiles::TOKENIZER_BYTES_MAX;

/// What is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Single files.
    pub(super) files: Vec<PathBuf>,
    /// Folders, of which the files that fit are read.
    pub(super) folders: Vec<Folder>,
}

/// A folder, and which files of it are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    holds: Holds,
}

/// Which files of a folder are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Policies,
    Packs,
    Tokenizers,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Every wanted file that is there, and what is wrong with those that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look(BTreeMap<PathBuf, Result<Stamp, io::ErrorKind>>);

/// What was read, by path; why not, where a file could not be.
pub(super) type Taken = BTreeMap<PathBuf, Result<Vec<u8>, String>>;

/// Somebody kept changing them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// One of the files that changed.
    pub(super) path: PathBuf,
}

/// Where files are: the system's, or a test's.
pub(super) trait Disk {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    fn stamp(&self, file: &Path) -> io::Result<Stamp>;
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;
    /// Has the file rested for long enough?
    fn has_settled(&self, stamp: &Stamp) -> bool;
    /// Gives a writer time.
    fn wait(&self);
}

/// The system's.
pub(super) struct System;

/// Reads all that is wanted in one state. Blocks for up to a second or so; not for a data path.
pub(super) fn take(disk: &impl Disk, wanted: &Wanted) -> Result<Taken, Unsettled> {
    let mut before = Look::at(disk, wanted);
    for _ in 0..READS_MAX {
        if before.unsettled(disk, wanted).is_none() {
            let taken: Taken = before
                .0
                .iter()
                .map(|(path, stamp)| (path.clone(), read(disk, path, stamp)))
                .collect();
            if Look::at(disk, wanted) == before {
                return Ok(taken);
            }
        }
        disk.wait();
        before = Look::at(disk, wanted);
    }
    let path = before.unsettled(disk, wanted).cloned();
    let path = path.or_else(|| before.0.into_keys().next());
    Err(Unsettled {
        path: path.unwrap_or_default(),
    })
}

fn read(
    disk: &impl Disk,
    path: &Path,
    stamp: &Result<Stamp, io::ErrorKind>,
) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let stamp = stamp.map_err(|kind| cannot(kind.into()))?;
    let bytes_max = match PolicyFiles::is_tokenizer(path) {
        true => TOKENIZER_BYTES_MAX,
        false => FILE_BYTES_MAX,
    };
    if stamp.bytes > bytes_max {
        let bytes = stamp.bytes;
        return Err(format!("has {bytes} bytes; {bytes_max} are the most"));
    }
    disk.read(path).map_err(cannot)
}

// === impl Wanted ===

impl Wanted {
    /// The files of a policy folder, of its packs and of its tokenizers.
    pub(super) fn policies(&mut self, dir: &Path) {
        self.folders.push(Folder {
            path: dir.to_owned(),
            holds: Holds::Policies,
        });
        self.folders.push(Folder {
            path: PolicyFiles::pack_dir(dir),
            holds: Holds::Packs,
        });
        self.folders.push(Folder {
            path: PolicyFiles::tokenizer_dir(dir),
            holds: Holds::Tokenizers,
        });
    }
}

// === impl Folder ===

impl Folder {
    fn wants(&self, path: &Path) -> bool {
        match self.holds {
            Holds::Policies => PolicyFiles::is_policy(path),
            Holds::Packs => PolicyFiles::is_pack(path),
            Holds::Tokenizers => PolicyFiles::is_tokenizer(path),
        }
    }
}

// === impl Look ===

impl Look {
    /// How all that is wanted is at this moment. A folder that is not there has no files; whether
    /// that is an error is for its reader to say.
    pub(super) fn at(disk: &impl Disk, wanted: &Wanted) -> Look {
        let mut paths = wanted.files.clone();
        for folder in &wanted.folders {
            let listed = disk.list(&folder.path).unwrap_or_default();
            let fitting = listed.into_iter().filter(|path| folder.wants(path));
            // One more than may be there, so that too many are seen to be too many.
            paths.extend(fitting.take(PolicyFiles::FILES_MAX + 1));
        }
        let stamped = paths.into_iter().map(|path| {
            let stamp = disk.stamp(&path).map_err(|error| error.kind());
            (path, stamp)
        });
        Look(stamped.collect())
    }

    /// A file that was touched just now, or went away between the list and the look.
    fn unsettled(&self, disk: &impl Disk, wanted: &Wanted) -> Option<&PathBuf> {
        let moves = |path: &PathBuf, stamp: &Result<Stamp, io::ErrorKind>| match stamp {
            Ok(stamp) => !disk.has_settled(stamp),
            Err(kind) => *kind == io::ErrorKind::NotFound && !wanted.files.contains(path),
        };
        let mut files = self.0.iter();
        files.find_map(|(path, stamp)| moves(path, stamp).then_some(path))
    }
}

// === impl System ===

impl Disk for System {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // What editors leave beside a file, such as a dangling link, is none.
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn stamp(&self, file: &Path) -> io::Result<Stamp> {
        let meta = std::fs::metadata(file)?;
        Ok(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(file)
    }

    fn has_settled(&self, stamp: &Stamp) -> bool {
        let (seconds, nanoseconds) = stamp.modified;
        let since = Duration::new(
            u64::try_from(seconds).unwrap_or(0),
            u32::try_from(nanoseconds).unwrap_or(0),
        );
        // A time ahead of the clock says nothing of when it was written; a rest cannot be waited
        // for.
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since);
        age.is_err() || age.is_ok_and(|age| age >= SETTLE)
    }

    fn wait(&self) {
        std::thread::sleep(SETTLE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    /// A disk on which a writer does its next step whenever it is looked at: so every interleaving
    /// of reader and writer at the granularity of system calls can be tried.
    struct Busy {
        files: RefCell<BTreeMap<PathBuf, (Stamp, Vec<u8>)>>,
        steps: RefCell<std::vec::IntoIter<Step>>,
        clock: Cell<u64>,
        /// The states that were ever true, whole.
        states: RefCell<Vec<BTreeMap<PathBuf, Vec<u8>>>>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Time passes.
        Rest,
        /// A file is written in place, one byte longer or shorter.
        Write(u8, Vec<u8>),
        /// A new file takes its place.
        Replace(u8, Vec<u8>),
        Remove(u8),
    }

    fn path(name: u8) -> PathBuf {
        PathBuf::from(format!("/p/{name}.toml"))
    }

    // === impl Busy ===

    impl Busy {
        fn new(steps: Vec<Step>) -> Self {
            let busy = Self {
                files: RefCell::default(),
                steps: RefCell::new(steps.into_iter()),
                clock: Cell::new(1000),
                states: RefCell::default(),
            };
            busy.apply(Step::Replace(0, b"first".to_vec()));
            busy.apply(Step::Replace(1, b"second".to_vec()));
            busy.clock.set(2000);
            busy
        }

        fn apply(&self, step: Step) {
            let mut files = self.files.borrow_mut();
            let now = self.clock.get();
            let stamp = |inode, bytes: &[u8]| Stamp {
                device: 1,
                inode,
                bytes: bytes.len() as u64,
                // The disk's clock ticks ten times as slowly as things happen.
                modified: (0, i64::try_from(now / 10 * 10).expect("small")),
                changed: (0, 0),
            };
            match step {
                Step::Rest => self.clock.set(now + 60),
                Step::Write(name, bytes) => {
                    if let Some((old, content)) = files.get_mut(&path(name)) {
                        *old = stamp(old.inode, &bytes);
                        *content = bytes;
                    }
                }
                Step::Replace(name, bytes) => {
                    let stamp = stamp(now, &bytes);
                    files.insert(path(name), (stamp, bytes));
                }
                Step::Remove(name) => {
                    files.remove(&path(name));
                }
            }
            let state = files
                .iter()
                .map(|(path, (_, bytes))| (path.clone(), bytes.clone()))
                .collect();
            self.states.borrow_mut().push(state);
        }

        fn step(&self) {
            self.clock.set(self.clock.get() + 1);
            let next = self.steps.borrow_mut().next();
            if let Some(step) = next {
                self.apply(step);
            }
        }
    }

    impl Disk for Busy {
        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            self.step();
            let files = self.files.borrow();
            let below = files.keys().filter(|path| path.starts_with(folder));
            Ok(below.cloned().collect())
        }

        fn stamp(&self, file: &Path) -> io::Result<Stamp> {
            self.step();
            let files = self.files.borrow();
            let found = files.get(file).map(|(stamp, _)| *stamp);
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
            self.step();
            let files = self.files.borrow();
            let found = files.get(file).map(|(_, bytes)| bytes.clone());
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn has_settled(&self, stamp: &Stamp) -> bool {
            let modified = u64::try_from(stamp.modified.1).expect("a time");
            self.clock.get() >= modified + 50
        }

        fn wait(&self) {
            self.step();
            self.clock.set(self.clock.get() + 50);
        }
    }

    fn wanted() -> Wanted {
        let mut wanted = Wanted::default();
        wanted.policies(Path::new("/p"));
        wanted
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..3);
        prop_oneof![
            3 => Just(Step::Rest),
            2 => (0_u8..3, bytes()).prop_map(|(name, bytes)| Step::Write(name, bytes)),
            2 => (0_u8..3, bytes()).prop_map(|(name, bytes)| Step::Replace(name, bytes)),
            1 => (0_u8..3).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Whatever a writer does while it is read: what is taken is a state that was there, whole.
        #[test]
        fn what_is_taken_is_never_a_mixture(steps in prop::collection::vec(step(), 0..60)) {
            let busy = Busy::new(steps);
            if let Ok(taken) = take(&busy, &wanted()) {
                let taken: BTreeMap<PathBuf, Vec<u8>> = taken
                    .into_iter()
                    .map(|(path, bytes)| (path, bytes.expect("files that are listed are read")))
                    .collect();
                prop_assert!(busy.states.borrow().contains(&taken), "{taken:?}");
            }
        }
    }

    #[test]
    fn a_writer_that_never_rests_is_named_and_not_waited_for_for_ever() {
        let steps = (0..10_000)
            .map(|n| Step::Write(1, vec![b'x'; n % 7]))
            .collect();
        let unsettled = take(&Busy::new(steps), &wanted()).expect_err("it never rests");
        assert_eq!(unsettled.path, path(1));
    }

    #[test]
    fn a_file_that_is_not_there_is_told_by_what_was_read() {
        let mut wanted = wanted();
        wanted.files.push(PathBuf::from("/key"));
        let taken = take(&Busy::new(Vec::new()), &wanted).expect("nobody writes");
        assert_eq!(taken[&path(0)], Ok(b"first".to_vec()));
        let missing = taken[Path::new("/key")]
            .as_ref()
            .expect_err("it is not there");
        assert!(missing.starts_with("cannot be read"), "{missing}");
    }

    #[test]
    fn the_system_tells_a_replaced_file_from_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "one").expect("written");
        let mut wanted = Wanted::default();
        wanted.policies(folder.path());
        let before = Look::at(&System, &wanted);
        let taken = take(&System, &wanted).expect("it settles");
        assert_eq!(taken[&file], Ok(b"one".to_vec()));
        // Same length, same time: still another file.
        let modified = std::fs::metadata(&file)
            .and_then(|meta| meta.modified())
            .expect("a time");
        let other = folder.path().join("new");
        std::fs::write(&other, "two").expect("written");
        let handle = std::fs::File::options()
            .append(true)
            .open(&other)
            .expect("opened");
        handle.set_modified(modified).expect("set");
        std::fs::rename(&other, &file).expect("renamed");
        assert_ne!(Look::at(&System, &wanted), before);
    }
}
