//! What of a changed `gateway.toml` counts at once, and what waits for a restart.
//!
//! Compared is what is written, key by key, so that no key can be forgotten: what is not on the
//! list of [`LIVE`] keys is told as one that needs a restart.

use toml::{Table, Value};

/// Keys whose change counts with the next reload, with all that is below them.
pub(super) const LIVE: [&str; 9] = [
    "policy",
    "issuer",
    "identity.anonymous_groups",
    "upstream.profiles",
    "upstream.credential_file",
    "listen.tls.certificate",
    "listen.tls.key",
    "control.tls.certificate",
    "control.tls.key",
];

/// The keys that are different and do not count before a restart, in the order in which they were
/// written.
pub(super) fn needing_restart(started: &Table, now: &Table) -> Vec<String> {
    let mut changed = Vec::new();
    compare("", started, now, &mut changed);
    changed.retain(|key| !is_live(key));
    changed
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| {
        let rest = key.strip_prefix(live);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn compare(prefix: &str, old: &Table, new: &Table, changed: &mut Vec<String>) {
    let added = new.keys().filter(|key| !old.contains_key(key.as_str()));
    for key in old.keys().chain(added) {
        let path = match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                compare(&path, old, new, changed);
            }
            (old, new) if old == new => {}
            _ => changed.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(old: &str, new: &str) -> Vec<String> {
        let table = |text: &str| text.parse::<Table>().expect("TOML");
        needing_restart(&table(old), &table(new))
    }

    #[test]
    fn what_is_not_live_is_named_whatever_it_is() {
        let old = "cores = \"auto\"\n[listen]\ntcp = \"127.0.0.1:1\"\n[policy]\ndir = \"a\"\n\
                   [upstream]\naddress = \"127.0.0.1:2\"\nprofiles = [\"openai\"]\n";
        assert_eq!(between(old, old), [""; 0]);
        let new = "[listen]\ntcp = \"127.0.0.1:3\"\n[policy]\ndir = \"b\"\nwatch = false\n\
                   [upstream]\naddress = \"127.0.0.1:2\"\nprofiles = [\"vllm\"]\n\
                   [invented]\nlater = 1\n";
        assert_eq!(between(old, new), ["cores", "listen.tcp", "invented"]);
    }

    #[test]
    fn certificates_move_but_tls_comes_and_goes_with_a_restart() {
        let tls = |cert: &str| format!("[listen.tls]\ncertificate = \"{cert}\"\nkey = \"k\"\n");
        assert_eq!(between(&tls("a"), &tls("b")), [""; 0]);
        assert_eq!(between("[listen]\n", &tls("a")), ["listen.tls"]);
    }

    #[test]
    fn an_array_of_tables_is_told_as_a_whole() {
        assert_eq!(
            between("[[notify]]\nname = \"a\"\n", "[[notify]]\nname = \"b\"\n"),
            ["notify"]
        );
    }
}
