//! `Prefer` (RFC 7240): whether a caller whose request is held would rather wait, and how long, or
//! get a ticket.

use std::time::Duration;

/// What the caller would rather have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// `respond-async`: an answer at once.
    pub respond_async: bool,
    /// `wait=N`: to wait for so long.
    pub wait: Option<Duration>,
}

// === impl Preference ===

impl Preference {
    /// Of all `Prefer` fields of a head. The first of two equal preferences counts (RFC 7240,
    /// section 2); what is not understood is passed over, as the RFC says.
    pub fn of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut preference = Self::default();
        for field in fields {
            let Ok(text) = std::str::from_utf8(field) else {
                continue;
            };
            for item in text.split(',') {
                let item = item.split(';').next().unwrap_or_default();
                let (name, value) = item.split_once('=').unwrap_or((item, ""));
                let (name, value) = (name.trim(), value.trim().trim_matches('"'));
                if name.eq_ignore_ascii_case("respond-async") {
                    preference.respond_async = true;
                } else if name.eq_ignore_ascii_case("wait") && preference.wait.is_none() {
                    let digits = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
                    // A number of more digits than fit is a very long wait.
                    let seconds = value.parse().unwrap_or(u64::from(u32::MAX));
                    preference.wait = digits.then(|| Duration::from_secs(seconds));
                }
            }
        }
        preference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_rfc_says() {
        let of = |fields: &[&str]| {
            let read = Preference::of(fields.iter().map(|field| field.as_bytes()));
            (read.respond_async, read.wait.map(|wait| wait.as_secs()))
        };
        assert_eq!(of(&[]), (false, None));
        assert_eq!(of(&["respond-async"]), (true, None));
        assert_eq!(of(&["Respond-Async, wait=10"]), (true, Some(10)));
        assert_eq!(
            of(&["return=minimal; x=1, WAIT = \"7\" ;y"]),
            (false, Some(7))
        );
        assert_eq!(of(&["wait=5", "wait=9, respond-async"]), (true, Some(5)));
        let most = Some(u64::from(u32::MAX));
        assert_eq!(of(&["wait=99999999999999999999999"]), (false, most));
        for odd in [
            "wait",
            "wait=",
            "wait=-1",
            "wait=1.5",
            "waiting=3",
            "\u{e9}",
        ] {
            assert_eq!(of(&[odd]), (false, None), "{odd}");
        }
    }
}
