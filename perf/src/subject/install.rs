//! Makes sure that subjects can be started, whether they were built here or come from elsewhere.

use super::penstock::{GATEWAY, RECORDER, sibling};
use super::{Subject, foreign};
use crate::debian;

/// Makes sure that a subject can be started; says what is missing otherwise.
///
/// `say` is told before anything is installed.
pub fn ensure(subject: Subject, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    match subject {
        Subject::Direct | Subject::Floor => Ok(()),
        Subject::Nginx | Subject::Haproxy => {
            debian::ensure(subject.name(), subject.name(), say).map(drop)
        }
        Subject::Envoy | Subject::Litellm | Subject::Portkey => foreign::ensure(subject, say),
        Subject::PenstockOff | Subject::PenstockAuth => ensure_built(&[GATEWAY]),
        Subject::PenstockOn => ensure_built(&[GATEWAY, RECORDER]),
    }
}

fn ensure_built(names: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = names
        .iter()
        .filter(|name| sibling(name).is_none())
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|name| format!(" -p {name}")).collect();
    let profile = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    Err(format!(
        "{} must lie beside this program: cargo build{profile}{}",
        missing.join(" and "),
        packages.concat()
    ))
}
