//! Texts cut as a model would give them: by a real vocabulary of byte pairs.

use tiktoken_rs::o200k_base_singleton;

/// Cuts a text into the pieces that a server would send: one token each, but for tokens that end
/// inside a character, which wait for the next, because a server sends whole characters.
pub fn split(text: &str) -> Vec<&str> {
    let vocabulary = o200k_base_singleton();
    let mut pieces = Vec::new();
    let (mut from, mut to) = (0, 0);
    for token in vocabulary.encode_ordinary(text) {
        to += vocabulary
            .decode_bytes(&[token])
            .map_or(0, |bytes| bytes.len());
        if to > from && text.is_char_boundary(to) {
            pieces.push(&text[from..to]);
            from = to;
        }
    }
    if from < text.len() {
        pieces.push(&text[from..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_join_to_the_text_and_are_tokens() {
        let text = "The quick brown fox, naïve 😀 龍馬精神 tok-4eC39HqLyjWD";
        let pieces = split(text);
        assert_eq!(pieces.concat(), text);
        assert_eq!(&pieces[..3], ["The", " quick", " brown"]);
        assert!(
            pieces.len() > 15 && pieces.len() < text.len() / 2,
            "{pieces:?}"
        );
        assert!(split("").is_empty());
    }
}
