//! Plain text out of the forms in which packages carry it.

use std::io::Read;
use std::path::Path;

/// How a file is turned into text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it stands.
    Plain,
    /// Without tags, scripts and styles.
    Html,
    /// Without terminal colours and over-strikes.
    Terminal,
}

/// Most bytes of one file that are read, unpacked or not.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The text of a file, unpacked where its name ends in `.gz`; none when it is not UTF-8.
pub(super) fn read(path: &Path, form: Form) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    match path.extension().is_some_and(|end| end == "gz") {
        true => flate2::read::MultiGzDecoder::new(file)
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes),
        false => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes),
    }
    .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(match form {
        Form::Plain => text,
        Form::Html => without_tags(&text),
        Form::Terminal => without_controls(&text),
    })
}

/// Text between tags; runs of white space become one space, of lines one line.
fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        push_text(&mut out, &rest[..open]);
        rest = &rest[open..];
        let hidden = ["script", "style", "head"].into_iter().find(|name| {
            let tag = rest.as_bytes().get(1..=name.len());
            tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
                && rest
                    .as_bytes()
                    .get(name.len() + 1)
                    .is_none_or(|b| !b.is_ascii_alphanumeric())
        });
        let end = match hidden {
            Some(name) => rest.find(&format!("</{name}")).unwrap_or(rest.len()),
            None => 0,
        };
        rest = &rest[end..];
        if rest.get(..2).is_some_and(|tag| tag == "</") || rest.get(..3) == Some("<br") {
            push_text(&mut out, "\n");
        }
        rest = rest.find('>').map_or("", |close| &rest[close + 1..]);
    }
    push_text(&mut out, rest);
    out
}

fn push_text(out: &mut String, text: &str) {
    let mut text = text.to_owned();
    for (entity, plain) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("\u{a0}", " "),
        ("&#160;", " "),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, plain);
    }
    for char in text.chars() {
        let last = out.chars().next_back().unwrap_or('\n');
        match char.is_whitespace() {
            false => out.push(char),
            true if char == '\n' && last == ' ' => {
                out.pop();
                out.push('\n');
            }
            true if last.is_whitespace() => {}
            true => out.push(if char == '\n' { '\n' } else { ' ' }),
        }
    }
}

fn without_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            // A colour: ESC, `[`, numbers, a letter.
            '\u{1b}' => {
                let _ = chars.by_ref().find(|c| c.is_ascii_alphabetic());
            }
            '\u{8}' => {
                out.pop();
            }
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_text_stays() {
        let html = "<html><head><title>t</title></head><body><p class=\"x\">Ein &lt;Wort&gt;,\n  \
                    zwei</p><script>var a = 1 < 2;</script><p>Ende &amp; aus</p></body>";
        assert_eq!(without_tags(html), "Ein <Wort>,\nzwei\nEnde & aus\n");
    }

    #[test]
    fn colours_go() {
        assert_eq!(without_controls("a\u{1b}[32mb\u{1b}[mc_\u{8}d"), "abcd");
    }
}
