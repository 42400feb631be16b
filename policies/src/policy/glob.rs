//! Name patterns of grants and guards: `*` stands for any run of characters, everything else for
//! itself. Small on purpose: a pattern that a reader cannot evaluate in the head grants too much.

use std::fmt;

/// A pattern over group or model names. Matching is exact in case and covers the whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Every string is a pattern; without `*` it is the name itself.
    pub fn new(text: &str) -> Glob {
        Glob {
            text: text.to_owned(),
        }
    }

    /// Whether `name` fits. Linear in the product of both lengths at worst, both bounded by the
    /// token and body limits of the gateway.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.text.as_bytes(), name.as_bytes());
        let (mut at, mut from) = (0, 0);
        // The last star seen and the name position it currently extends to.
        let mut star: Option<(usize, usize)> = None;
        while from < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(byte) if *byte == name[from] => {
                    at += 1;
                    from += 1;
                }
                _ => match star {
                    Some((star_at, reached)) => {
                        star = Some((star_at, reached + 1));
                        at = star_at + 1;
                        from = reached + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it fits every name.
    pub fn is_everything(&self) -> bool {
        !self.text.is_empty() && self.text.bytes().all(|byte| byte == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn fits_whole_names_only() {
        let cases = [
            ("ci-*", "ci-linux", true),
            ("ci-*", "ci-", true),
            ("ci-*", "xci-linux", false),
            ("*", "", true),
            ("*", "anything", true),
            ("llama-3-*", "llama-3-8b", true),
            ("llama-3-*", "llama-31-8b", false),
            ("*-8b", "llama-8b-8b", true),
            ("*-8b", "llama-8b-70b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("exact", "exact", true),
            ("exact", "Exact", false),
            ("exact", "exactly", false),
            ("", "", true),
            ("", "x", false),
            ("a.c", "abc", false),
        ];
        for (pattern, name, fits) in cases {
            assert_eq!(
                Glob::new(pattern).matches(name),
                fits,
                "{pattern} on {name}"
            );
        }
    }
}
