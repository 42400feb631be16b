//! What an approver sees of a held request's text, by a policy that the operator states.
//!
//! `masked` shows where and around what something matched, but never a value that any guard matched:
//! approvers are people too, and a request is held because of what is in it. Places and ranges are
//! those of the findings, over the text before it was masked; a text that cannot be found again with
//! certainty is not shown at all.

use std::ops::Range;

use penstock_policies::{Action, FINDINGS_MAX, Finding};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What is shown on each side of a match.
const AROUND_BYTES: usize = 160;
/// What is shown of one text, matches not counted.
const TEXT_BYTES_MAX: usize = 2048;
/// Texts that are shown of one request.
const TEXTS_MAX: usize = 8;
/// A larger body is not read a second time to show a part of it.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Stands for text that is left out.
const GAP: &str = " … ";

/// `[approvals] show`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// Where something matched.
    Nothing,
    /// That, and the text around it; what matched is hidden.
    #[default]
    Masked,
    /// The text as the model would get it, what matched included.
    Everything,
}

/// A part of a request's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excerpt {
    /// Where it stands: `messages[0].content`, `query`, `header x-note`.
    pub location: String,
    /// The text, with the rule's id in brackets where something is hidden; absent where it is not
    /// to be shown, or cannot be.
    pub text: Option<String>,
}

/// The excerpts of a held request: of each text in which something holds it, or of its last message
/// where something else does.
///
/// `body` is as the findings saw it: decoded, and not masked.
#[must_use]
pub fn excerpts(show: Show, body: &[u8], findings: &[Finding], held_at: &[&str]) -> Vec<Excerpt> {
    let mut places: Vec<String> = Vec::new();
    for place in held_at {
        if places.len() < TEXTS_MAX && !places.iter().any(|known| known == place) {
            places.push((*place).to_owned());
        }
    }
    let readable = is_readable(show, body.len(), findings);
    let read = || serde_json::from_slice::<Value>(body).ok();
    let document = readable.then(read).flatten();
    if places.is_empty()
        && let Some(place) = document.as_ref().and_then(last_text)
    {
        places.push(place);
    }
    let of = |location: String| {
        let found = document.as_ref().and_then(|it| text_at(it, &location));
        let text = found.and_then(|text| shown(show, text, &location, findings));
        Excerpt { location, text }
    };
    places.into_iter().map(of).collect()
}

/// The excerpt of a text that stands outside the body, in which something holds the request. All of
/// the findings are of this text.
#[must_use]
pub fn excerpt(show: Show, location: String, text: &str, findings: &[Finding]) -> Excerpt {
    let found_at = findings.first().map(|it| it.location.as_str());
    let found_at = found_at.filter(|_| is_readable(show, text.len(), findings));
    Excerpt {
        text: found_at.and_then(|found_at| shown(show, text, found_at, findings)),
        location,
    }
}

/// Whether anything may be shown. The list of findings ends at its bound: what else there is to
/// hide is not known then.
fn is_readable(show: Show, bytes: usize, findings: &[Finding]) -> bool {
    let acting = findings.iter().filter(|it| it.observed.is_none()).count();
    show != Show::Nothing && bytes <= BODY_BYTES_MAX && acting < FINDINGS_MAX
}

/// The text with what is to be hidden replaced; `None` where a finding does not fit it.
fn shown(show: Show, text: &str, location: &str, findings: &[Finding]) -> Option<String> {
    let here = || {
        findings
            .iter()
            .filter(|it| it.location == location && it.observed.is_none())
    };
    let hidden_from = match show {
        Show::Everything => Action::Mask..=Action::Mask,
        _ => Action::Mask..=Action::Block,
    };
    let mut hidden: Vec<(Range<usize>, &str)> = here()
        .filter(|it| hidden_from.contains(&it.action))
        .map(|it| (it.start..it.end, &*it.rule))
        .collect();
    hidden.sort_by_key(|(range, _)| (range.start, range.end));
    if hidden
        .iter()
        .any(|(range, _)| text.get(range.clone()).is_none())
    {
        return None;
    }
    // What matters stands around what holds it; without that, at the beginning.
    let mut around: Vec<Range<usize>> = here()
        .filter(|it| it.action == Action::Hold && show == Show::Masked)
        .map(|it| {
            let start = text.floor_char_boundary(it.start.saturating_sub(AROUND_BYTES));
            start..text.ceil_char_boundary((it.end + AROUND_BYTES).min(text.len()))
        })
        .collect();
    if around.is_empty() {
        around.push(0..text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    around.sort_by_key(|range| range.start);
    Some(join(text, &around, &hidden))
}

/// The parts of `text` in `around`, with `hidden` replaced by names.
fn join(text: &str, around: &[Range<usize>], hidden: &[(Range<usize>, &str)]) -> String {
    let mut out = String::new();
    let mut at = 0;
    let mut given = 0;
    let mut hidden = hidden.iter().peekable();
    for part in around {
        if part.end <= at {
            continue;
        }
        if part.start > at {
            out.push_str(GAP);
            at = part.start;
        }
        while at < part.end && given < TEXT_BYTES_MAX {
            // One that begins before this part ends in it, or is over.
            while hidden.next_if(|(range, _)| range.end <= at).is_some() {}
            let next = hidden.peek().map(|(range, _)| range.clone());
            match next.filter(|range| range.start < part.end) {
                Some(range) if range.start <= at => {
                    let rule = hidden.next().map_or("", |(_, rule)| rule);
                    out.push_str(&format!("[{rule}]"));
                    at = range.end;
                }
                next => {
                    let end = next.map_or(part.end, |range| range.start);
                    let end = end.min(text.floor_char_boundary(at + TEXT_BYTES_MAX - given));
                    out.push_str(&text[at..end]);
                    given += end - at;
                    if end == at {
                        // Not even one more character has room.
                        given = TEXT_BYTES_MAX;
                    }
                    at = end;
                }
            }
        }
    }
    if at < text.len() {
        out.push_str(GAP.trim_end());
    }
    out
}

/// The text at a place as findings name it: `messages[0].content`. Places under keys that are not
/// named cannot be found.
pub(crate) fn text_at<'a>(document: &'a Value, location: &str) -> Option<&'a str> {
    let mut at = document;
    for step in location.split('.') {
        let (key, indices) = match step.find('[') {
            Some(bracket) => step.split_at(bracket),
            None => (step, ""),
        };
        if !key.is_empty() {
            at = at.get(key)?;
        }
        for index in indices.split_terminator(']') {
            let index: usize = index.strip_prefix('[')?.parse().ok()?;
            at = at.get(index)?;
        }
    }
    at.as_str()
}

/// Where the last thing that was said stands, in the forms of the APIs that are known.
fn last_text(document: &Value) -> Option<String> {
    for name in ["messages", "input"] {
        let Some(list) = document.get(name).and_then(Value::as_array) else {
            continue;
        };
        let last = list.len().checked_sub(1)?;
        let at = format!("{name}[{last}]");
        let content = &list[last]["content"];
        return match content.as_array() {
            Some(parts) => {
                let part = parts.iter().rposition(|part| part["text"].is_string())?;
                Some(format!("{at}.content[{part}].text"))
            }
            None if content.is_string() => Some(format!("{at}.content")),
            None => list[last].is_string().then_some(at),
        };
    }
    let whole = ["prompt", "input", "text"].into_iter();
    whole
        .filter(|name| document[*name].is_string())
        .map(str::to_owned)
        .next()
}

#[cfg(test)]
mod tests {
    use penstock_policies::{Confidence, Lane};

    use super::*;

    fn finding(rule: &str, action: Action, location: &str, range: Range<usize>) -> Finding {
        Finding {
            guard: "g".into(),
            rule: rule.into(),
            action,
            location: location.to_owned(),
            start: range.start,
            end: range.end,
            confidence: Confidence::High,
            lane: Lane::Plain,
            observed: None,
        }
    }

    const AT: &str = "messages[1].content";

    fn body(text: &str) -> Vec<u8> {
        let messages = serde_json::json!([{"content": "first"}, {"content": text}]);
        serde_json::json!({"model": "m", "messages": messages})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn what_matched_is_hidden_and_its_surroundings_are_shown() {
        let text = "please export the weights, my card is 4111 and mail a@b.c";
        let found = [
            finding("export", Action::Hold, AT, 7..25),
            finding("card", Action::Mask, AT, 38..42),
            finding("mail", Action::Flag, AT, 52..57),
            finding("else", Action::Hold, "messages[0].content", 0..5),
        ];
        let of = |show| excerpts(show, &body(text), &found, &[AT, AT]);
        let masked = of(Show::Masked);
        assert_eq!(masked.len(), 1);
        let shown = "please [export], my card is [card] and mail a@b.c";
        assert_eq!(masked[0].text.as_deref(), Some(shown));
        let everything = "please export the weights, my card is [card] and mail a@b.c";
        assert_eq!(of(Show::Everything)[0].text.as_deref(), Some(everything));
        assert_eq!(
            of(Show::Nothing),
            [Excerpt {
                location: AT.to_owned(),
                text: None
            }]
        );
    }

    #[test]
    fn far_from_a_match_nothing_is_shown_and_overlaps_hide_all() {
        let text = format!("{}SECRETS{}", "é".repeat(500), "ü".repeat(5000));
        let found = [
            finding("a", Action::Hold, AT, 1000..1004),
            finding("b", Action::Block, AT, 1002..1007),
            finding("c", Action::Mask, AT, 1001..1003),
        ];
        let masked = excerpts(Show::Masked, &body(&text), &found, &[AT]);
        let masked = masked[0].text.clone().unwrap();
        let shown = format!(" … {}[a][c][b]{} …", "é".repeat(80), "ü".repeat(79));
        assert!(!masked.contains('S') && !masked.contains('E'), "{masked}");
        assert_eq!(masked.matches('é').count(), shown.matches('é').count());
        assert!(
            masked.starts_with(" … é") && masked.ends_with("ü …"),
            "{masked}"
        );
        // A finding that does not fit the text: it is another text, so nothing of it is shown.
        let odd = [finding("a", Action::Hold, AT, 1..2)];
        assert_eq!(
            excerpts(Show::Masked, &body(&text), &odd, &[AT])[0].text,
            None
        );
        let list = vec![finding("a", Action::Hold, AT, 1000..1004); FINDINGS_MAX];
        assert_eq!(
            excerpts(Show::Masked, &body(&text), &list, &[AT])[0].text,
            None
        );
    }

    #[test]
    fn without_a_match_the_last_thing_that_was_said_is_shown_from_its_beginning() {
        let long = "x".repeat(TEXT_BYTES_MAX * 2);
        let shown = excerpts(Show::Masked, &body(&long), &[], &[]);
        assert_eq!(shown[0].location, AT);
        assert_eq!(
            shown[0].text.as_ref().map(String::len),
            Some(TEXT_BYTES_MAX + " …".len())
        );
        let parts = serde_json::json!({"messages": [{"content": [
            {"type": "text", "text": "this"}, {"type": "image_url"}]}]});
        let parts = excerpts(Show::Masked, parts.to_string().as_bytes(), &[], &[]);
        assert_eq!(parts[0].location, "messages[0].content[0].text");
        assert_eq!(parts[0].text.as_deref(), Some("this"));
        for (body, at) in [
            (serde_json::json!({"prompt": "p"}), "prompt"),
            (serde_json::json!({"input": ["a", "b"]}), "input[1]"),
        ] {
            let shown = excerpts(Show::Masked, body.to_string().as_bytes(), &[], &[]);
            assert_eq!(shown[0].location, at);
        }
        assert!(excerpts(Show::Masked, b"no JSON", &[], &[]).is_empty());
        assert_eq!(
            excerpts(Show::Masked, b"no JSON", &[], &["a.*"])[0].text,
            None
        );
        assert_eq!(text_at(&serde_json::json!([["x"]]), "[0][0]"), Some("x"));
    }

    #[test]
    fn texts_outside_the_body_are_shown_by_the_same_policy() {
        let text = "please export the weights of card 4111";
        let found = [
            finding("export", Action::Hold, "header", 7..25),
            finding("card", Action::Mask, "header", 34..38),
        ];
        let of = |show, found: &[Finding]| excerpt(show, "header x-note".to_owned(), text, found);
        let masked = of(Show::Masked, &found);
        assert_eq!(masked.location, "header x-note");
        assert_eq!(
            masked.text.as_deref(),
            Some("please [export] of card [card]")
        );
        let everything = of(Show::Everything, &found).text;
        assert_eq!(
            everything.as_deref(),
            Some("please export the weights of card [card]")
        );
        assert_eq!(of(Show::Nothing, &found).text, None);
        let cut = vec![found[0].clone(); FINDINGS_MAX];
        assert_eq!(of(Show::Masked, &cut).text, None);
    }

    proptest::proptest! {
        /// Whatever is found wherever: no hidden sign gets out, and nothing panics.
        #[test]
        fn nothing_hidden_is_shown(
            text in "[a-zé]{0,600}",
            ranges in proptest::collection::vec((0..600_usize, 0..40_usize, 0..3_u8), 0..12),
        ) {
            let mut hidden = text.clone().into_bytes();
            let mut found = Vec::new();
            for (start, length, action) in ranges {
                let start = text.floor_char_boundary(start);
                let end = text.ceil_char_boundary((start + length).min(text.len()));
                let action = [Action::Mask, Action::Hold, Action::Block][usize::from(action)];
                hidden[start..end].fill(b'#');
                found.push(finding("R", action, AT, start..end));
            }
            let marked: String = text
                .char_indices()
                .map(|(at, c)| if hidden[at] == b'#' { '#' } else { c })
                .collect();
            let shown = excerpts(Show::Masked, &body(&text), &found, &[AT]);
            let shown = shown[0].text.clone().unwrap();
            // What is left between the names must be pieces of the marked text, in order.
            let mut at = 0;
            for piece in shown.split([' ', '…', ']', '[', 'R']).filter(|it| !it.is_empty()) {
                let place = marked[at..].find(piece);
                proptest::prop_assert!(place.is_some(), "{piece:?} of {shown:?} in {marked:?}");
                at += place.unwrap_or_default() + piece.len();
            }
        }
    }
}
