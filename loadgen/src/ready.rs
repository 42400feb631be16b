//! Ready files: a server writes its bound addresses when it listens, whole or not at all, so
//! that a script can wait for the file and read what port 0 became.

use std::fs;
use std::io;
use std::path::Path;

/// Writes `text` to `path` by way of a neighbour and a rename.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, text)?;
    fs::rename(&part, path)
}
