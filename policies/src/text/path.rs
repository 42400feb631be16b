//! Where a string stands, in words that are safe to log.

/// One step from a container to what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'d> {
    Key(&'d str),
    Index(usize),
}

/// Longest key that a location shows.
const KEY_BYTES_MAX: usize = 32;

/// A path as people write it: `messages[0].content`.
///
/// Keys are the caller's text, and a key may itself be the secret. Only short keys of letters and
/// underscores are shown, which covers the field names of every API; others appear as `*`.
pub(crate) fn render(path: &[Step<'_>], is_key: bool) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(index) => out += &format!("[{index}]"),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
                let shown = key.len() <= KEY_BYTES_MAX && key.bytes().all(plain);
                out.push_str(if shown { key } else { "*" });
            }
        }
    }
    if is_key {
        out.push_str("{key}");
    } else if out.is_empty() {
        out.push('$');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Step, render};

    #[test]
    fn shows_field_names_and_hides_the_rest() {
        let path = [Step::Key("messages"), Step::Index(0), Step::Key("content")];
        assert_eq!(render(&path, false), "messages[0].content");
        assert_eq!(render(&path[..2], true), "messages[0]{key}");
        assert_eq!(render(&[Step::Key("k3y"), Step::Key("a b")], false), "*.*");
        assert_eq!(render(&[], false), "$");
        assert_eq!(render(&[], true), "{key}");
    }
}
