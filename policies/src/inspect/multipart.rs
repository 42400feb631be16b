//! `multipart/form-data` (RFC 7578), read in one way.
//!
//! The servers behind read forms with parsers that forgive much, each in its own way: preambles,
//! folded heads, two names in one disposition, a boundary that ends a line early. So a form is taken
//! only in the shape in which the common clients write it, and it is written anew from what was
//! understood ([`Form::write`]): what the model's server reads is what was inspected.
//!
//! Refused, on purpose: text before the first or behind the last delimiter, blanks behind a
//! delimiter, a part without a name, a name or file name with a quote, a backslash or a control
//! character (parsers disagree on what these mean), `filename*`, transfer encodings, and any field
//! in a part's head that is not of RFC 7578.

use memchr::memmem;

/// Most parts of a form.
pub const FORM_PARTS_MAX: usize = 64;

/// Longest head of a part.
const HEAD_BYTES_MAX: usize = 2048;

/// Longest boundary (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// A form that has been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form<'b> {
    boundary: &'b str,
    pub(super) parts: Vec<Part<'b>>,
}

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    pub(super) name: &'b str,
    pub(super) file_name: Option<&'b str>,
    pub(super) media_type: Option<&'b str>,
    pub(super) content: &'b [u8],
}

/// What is wrong with a form, in the words of the answer.
pub(super) type Fault = &'static str;

// === impl Form ===

impl<'b> Form<'b> {
    /// Its fields that are text.
    pub(super) fn texts(&self, each: &mut dyn FnMut(&str)) {
        let parts = self.parts.iter().filter(|part| part.is_text());
        let texts = parts.filter_map(|part| std::str::from_utf8(part.content).ok());
        texts.for_each(each);
    }

    /// Reads a whole body by the `Content-Type` that came with it.
    pub(super) fn read(content_type: &'b str, body: &'b [u8]) -> Result<Form<'b>, Fault> {
        let boundary = boundary(content_type)?;
        let opening = format!("--{boundary}");
        let delimiter = format!("\r\n--{boundary}");
        let mut rest = body
            .strip_prefix(opening.as_bytes())
            .ok_or("it does not begin with the boundary of its content-type")?;
        let finder = memmem::Finder::new(delimiter.as_bytes());
        let mut parts = Vec::new();
        while !is_end(rest) {
            rest = rest
                .strip_prefix(b"\r\n")
                .ok_or("a boundary is followed by something else than the end of its line")?;
            if parts.len() == FORM_PARTS_MAX {
                return Err("it has more parts than are taken here");
            }
            let length = finder.find(rest).ok_or("its last boundary is missing")?;
            parts.push(Part::read(&rest[..length])?);
            rest = &rest[length + delimiter.len()..];
        }
        if parts.is_empty() {
            return Err("it has no parts");
        }
        Ok(Form { boundary, parts })
    }

    /// Writes the form anew, with the same boundary.
    pub(super) fn write(parts: &[WrittenPart<'_>], boundary: &str, out: &mut Vec<u8>) {
        for part in parts {
            for text in [
                "--",
                boundary,
                "\r\nContent-Disposition: form-data; name=\"",
                &part.name,
                "\"",
            ] {
                out.extend_from_slice(text.as_bytes());
            }
            if let Some(file_name) = &part.file_name {
                out.extend_from_slice(format!("; filename=\"{file_name}\"").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            if let Some(media_type) = part.media_type {
                out.extend_from_slice(format!("Content-Type: {media_type}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&part.content);
            out.extend_from_slice(b"\r\n");
        }
        for text in ["--", boundary, "--\r\n"] {
            out.extend_from_slice(text.as_bytes());
        }
    }

    pub(super) fn boundary(&self) -> &'b str {
        self.boundary
    }
}

/// A part as it goes on.
#[derive(Debug)]
pub(super) struct WrittenPart<'b> {
    pub(super) name: std::borrow::Cow<'b, str>,
    pub(super) file_name: Option<std::borrow::Cow<'b, str>>,
    pub(super) media_type: Option<&'b str>,
    pub(super) content: std::borrow::Cow<'b, [u8]>,
}

impl<'b> From<&Part<'b>> for WrittenPart<'b> {
    fn from(part: &Part<'b>) -> Self {
        WrittenPart {
            name: part.name.into(),
            file_name: part.file_name.map(Into::into),
            media_type: part.media_type,
            content: part.content.into(),
        }
    }
}

/// Is this what stands behind the last boundary, the optional end of its line included?
fn is_end(rest: &[u8]) -> bool {
    matches!(rest, b"--" | b"--\r\n")
}

/// The boundary that a content type names, once.
fn boundary(content_type: &str) -> Result<&str, Fault> {
    let mut parameters = content_type.split(';').map(str::trim);
    let essence = parameters.next().unwrap_or_default();
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return Err("its content-type is not multipart/form-data");
    }
    let mut found = None;
    for parameter in parameters {
        let (name, value) = parameter
            .split_once('=')
            .ok_or("its content-type has a parameter without a value")?;
        if !name.eq_ignore_ascii_case("boundary") || found.is_some() {
            return Err("its content-type must have one parameter, the boundary");
        }
        let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
        found = Some(match quoted {
            None => value,
            Some(Some(inside)) => inside,
            Some(None) => return Err("the boundary in its content-type has an open quote"),
        });
    }
    let found = found.ok_or("its content-type names no boundary")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    if found.is_empty() || found.len() > BOUNDARY_BYTES_MAX || !found.bytes().all(plain) {
        return Err("the boundary in its content-type is not one of RFC 2046 without blanks");
    }
    Ok(found)
}

// === impl Part ===

impl<'b> Part<'b> {
    /// A part without its delimiters: head, empty line, content.
    fn read(bytes: &'b [u8]) -> Result<Part<'b>, Fault> {
        let (head, content) = match bytes.strip_prefix(b"\r\n") {
            Some(content) => (&b""[..], content),
            None => {
                let end = memmem::find(bytes, b"\r\n\r\n").ok_or("a part's head has no end")?;
                (&bytes[..end], &bytes[end + 4..])
            }
        };
        if head.len() > HEAD_BYTES_MAX {
            return Err("a part's head is too long");
        }
        let head = std::str::from_utf8(head).map_err(|_| "a part's head is not UTF-8")?;
        let mut disposition = None;
        let mut media_type = None;
        for line in head.split("\r\n").filter(|_| !head.is_empty()) {
            let (name, value) = field(line)?;
            match name.to_ascii_lowercase().as_str() {
                "content-disposition" if disposition.is_none() => disposition = Some(value),
                "content-type" if media_type.is_none() => media_type = Some(value),
                // Says again what the delimiters say; not sent on.
                "content-length" => {}
                "content-transfer-encoding" if is_identity(value) => {}
                "content-transfer-encoding" => {
                    return Err("a part has a transfer encoding; send it as it is");
                }
                _ => return Err("a part's head has a field twice, or one that forms do not have"),
            }
        }
        let disposition = disposition.ok_or("a part has no content-disposition")?;
        let (name, file_name) = names(disposition)?;
        Ok(Part {
            name,
            file_name,
            media_type,
            content,
        })
    }

    /// Is this a field of text, and not a file?
    pub(super) fn is_text(&self) -> bool {
        let plain = |media: &str| {
            let essence = media.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("text/plain")
        };
        self.file_name.is_none() && self.media_type.is_none_or(plain)
    }
}

fn is_identity(encoding: &str) -> bool {
    ["binary", "8bit", "7bit"]
        .iter()
        .any(|known| encoding.eq_ignore_ascii_case(known))
}

fn field(line: &str) -> Result<(&str, &str), Fault> {
    let (name, value) = line
        .split_once(':')
        .ok_or("a line of a part's head is no field")?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let value = value.trim_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(token) || value.chars().any(char::is_control) {
        return Err("a line of a part's head is no field");
    }
    Ok((name, value))
}

/// The `name` and `filename` of a disposition, each a quoted string without anything to unquote.
fn names(disposition: &str) -> Result<(&str, Option<&str>), Fault> {
    const FAULT: Fault = "a part's content-disposition is not form-data with a plain name";
    let mut rest = strip_word(disposition, "form-data").ok_or(FAULT)?;
    let (mut name, mut file_name) = (None, None);
    while !rest.is_empty() {
        rest = rest.strip_prefix(';').ok_or(FAULT)?.trim_start();
        let (key, after) = rest.split_once('=').ok_or(FAULT)?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(FAULT)?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        if value.contains('\\') {
            return Err("a part's name has a backslash, which servers read differently");
        }
        rest = after.trim_start();
        match key.to_ascii_lowercase().as_str() {
            "name" if name.is_none() && !value.is_empty() => name = Some(value),
            "filename" if file_name.is_none() => file_name = Some(value),
            _ => return Err(FAULT),
        }
    }
    Ok((name.ok_or(FAULT)?, file_name))
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=X-1";

    fn form(parts: &str) -> String {
        parts.replace('\n', "\r\n")
    }

    #[test]
    fn what_clients_write_is_read_and_written_back() {
        let body = form(
            "--X-1\nContent-Disposition: form-data; name=\"model\"\n\nwhisper-1\n\
             --X-1\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.wav\"\n\
             Content-Type: audio/wav\n\nRIFF\n\n--X\n--X-1--\n",
        );
        let read = Form::read(TYPE, body.as_bytes()).expect("is a form");
        let names: Vec<_> = read.parts.iter().map(|p| (p.name, p.file_name)).collect();
        assert_eq!(names, [("model", None), ("file", Some("a b.wav"))]);
        assert_eq!(read.parts[0].content, b"whisper-1");
        assert_eq!(read.parts[1].content, b"RIFF\r\n\r\n--X");
        assert!(read.parts[0].is_text() && !read.parts[1].is_text());
        let parts: Vec<_> = read.parts.iter().map(WrittenPart::from).collect();
        let mut out = Vec::new();
        Form::write(&parts, read.boundary(), &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), body);
    }

    #[test]
    fn an_empty_content_is_content() {
        let body = form("--X-1\nContent-Disposition: form-data; name=a\n\n\n--X-1--");
        let read = Form::read(TYPE, body.as_bytes()).expect("is a form");
        assert_eq!(read.parts[0].content, b"");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let disposition = "Content-Disposition: form-data; name=\"a\"";
        let whole = |head: &str| form(&format!("--X-1\n{head}\n\nv\n--X-1--\n"));
        let cases = [
            (TYPE, form("preamble\n--X-1--\n")),
            (TYPE, form("--X-1--\n")),
            (TYPE, form(&format!("--X-1\n{disposition}\n\nv\n"))),
            (
                TYPE,
                form(&format!("--X-1 \n{disposition}\n\nv\n--X-1--\n")),
            ),
            (
                TYPE,
                form(&format!("--X-1\n{disposition}\n\nv\n--X-1-- after")),
            ),
            (
                TYPE,
                form(&format!("--X-1\n{disposition}\n\nv\n--X-12\n--X-1--")),
            ),
            (TYPE, whole("Content-Type: text/plain")),
            (TYPE, whole(&format!("{disposition}\n{disposition}"))),
            (TYPE, whole(&format!("{disposition}; name=\"b\""))),
            (TYPE, whole(&format!("{disposition}; filename*=UTF-8''b"))),
            (TYPE, whole(&format!("{disposition}\n folded"))),
            (TYPE, whole(&format!("{disposition}\nX-Other: 1"))),
            (
                TYPE,
                whole(&format!("{disposition}\nContent-Transfer-Encoding: base64")),
            ),
            (
                TYPE,
                whole("Content-Disposition: form-data; name=\"a\\\"b\""),
            ),
            (TYPE, whole("Content-Disposition: form-data; name=\"\"")),
            (TYPE, whole("Content-Disposition: attachment; name=\"a\"")),
            ("multipart/form-data", whole(disposition)),
            (
                "multipart/form-data; boundary=X-1; boundary=Y",
                whole(disposition),
            ),
            ("multipart/form-data; boundary=\"X-1", whole(disposition)),
            ("multipart/form-data; boundary=X 1", whole(disposition)),
            ("multipart/mixed; boundary=X-1", whole(disposition)),
        ];
        for (content_type, body) in &cases {
            assert!(
                Form::read(content_type, body.as_bytes()).is_err(),
                "{content_type} {body:?}"
            );
        }
        assert!(Form::read(TYPE, whole(disposition).as_bytes()).is_ok());
    }

    #[test]
    fn a_form_cut_anywhere_is_refused() {
        let body = form("--X-1\nContent-Disposition: form-data; name=\"a\"\n\nv\n--X-1--");
        for end in 0..body.len() {
            assert!(Form::read(TYPE, &body.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
