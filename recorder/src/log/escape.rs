//! Recorded text was written by strangers. Shown on a terminal as it is, it could move the cursor,
//! change the title, or paint over what we say about it; so whatever is no plain text is shown as
//! an escape.

use std::fmt::Write;

/// Text on one line: line breaks and tabs are escaped, too.
pub fn line(text: &str) -> String {
    escape(text, |_| false)
}

/// Text of several lines: line breaks and tabs stay.
pub fn lines(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// Bytes as text of several lines; what is no UTF-8 is shown as escapes.
pub fn bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&lines(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) || !is_risky(c) {
            out.push(c);
        } else if c.is_ascii() {
            out.extend(c.escape_default());
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}

/// Controls (C0, DEL, C1), and what turns the direction of text around or hides in it.
fn is_risky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_shown_not_sent() {
        assert_eq!(line("a\x1b[2Jb\n\u{9b}31m"), "a\\u{1b}[2Jb\\n\\u{9b}31m");
        assert_eq!(lines("a\n\tb\rc"), "a\n\tb\\rc");
        assert_eq!(bytes(b"ok \xff\x1b"), "ok \\xff\\u{1b}");
        assert_eq!(line("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(line("Grüße, 世界 🙂"), "Grüße, 世界 🙂");
    }
}
