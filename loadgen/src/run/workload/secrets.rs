//! Secrets that are planted in prompts, to see whether a gateway finds them.
//!
//! They are values that vendors and standards document as examples, or drawn at random in a known
//! form; none is anybody's, and none stands whole in this program's text. A file of one's own, one
//! value a line, replaces them.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The longest value that is planted.
const VALUE_BYTES_MAX: usize = 4096;
/// Letters and digits of a drawn GitHub token.
const GITHUB_CHARS: usize = 36;

/// Values to plant, each with a name for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    values: Vec<String>,
}

// === impl Secrets ===

impl Secrets {
    /// Documented examples and drawn ones.
    pub fn documented(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7365_6372);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let drawn: String = (0..GITHUB_CHARS)
            .map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())]))
            .collect();
        let values = vec![
            ["AKIA", "IOSFODNN7EXAMPLE"].concat(), // AWS's documentation
            ["4111 1111", " 1111 1111"].concat(),  // the card networks' test number
            ["DE89 3704 0044", " 0532 0130 00"].concat(), // the IBAN registry's example
            ["jane.doe", "@example.com"].concat(), // RFC 2606
            ["gh", "p_", &drawn].concat(),
        ];
        Self { values }
    }

    /// Values of a file, one a line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let values: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        let usable = |value: &String| {
            value.len() <= VALUE_BYTES_MAX
                && value
                    .chars()
                    .all(|c| !c.is_control() && c != '"' && c != '\\')
        };
        match values.iter().position(|value| !usable(value)) {
            _ if values.is_empty() => Err("no value is in it".into()),
            Some(at) => Err(format!(
                "value {} has a quote, a backslash or a control character, or more than \
                 {VALUE_BYTES_MAX} bytes",
                at + 1
            )),
            None => Ok(Self { values }),
        }
    }

    /// The values.
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// Puts `value` between two words of `text`, or behind it when it has no space.
pub(super) fn plant(value: &str, text: &mut Vec<u8>, rng: &mut StdRng) {
    let from = rng.random_range(0..=text.len());
    let space = memchr::memchr(b' ', &text[from..]);
    let at = space.map_or(text.len(), |offset| from + offset);
    let mut planted = Vec::with_capacity(value.len() + 1);
    planted.push(b' ');
    planted.extend_from_slice(value.as_bytes());
    text.splice(at..at, planted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_between_words_wherever_it_is_put() {
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut text = b"one two three".to_vec();
            plant("X", &mut text, &mut rng);
            let text = String::from_utf8(text).unwrap();
            let mut words: Vec<&str> = text.split(' ').collect();
            words.retain(|word| *word != "X");
            assert_eq!(
                (words.join(" ").as_str(), text.len()),
                ("one two three", 15)
            );
        }
    }

    #[test]
    fn values_of_a_file_must_fit_in_a_json_string() {
        assert_eq!(Secrets::parse("a\n\n b \n").unwrap().values(), ["a", "b"]);
        assert!(Secrets::parse("\n").is_err());
        assert!(Secrets::parse("a\nb\"c").unwrap_err().contains("value 2"));
        assert_eq!(Secrets::documented(1), Secrets::documented(1));
    }
}
