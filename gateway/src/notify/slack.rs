//! A notice as a message of Slack's Block Kit, and what Slack says when somebody presses a button.
//!
//! Whatever a caller chose stands in `plain_text` objects, which know no mentions, links or
//! formatting, and has `&`, `<` and `>` escaped besides. A denial needs a reason, and asking for one
//! inside Slack takes a bot's token that this gateway does not hold; so its button opens the console.

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{Message, Outgoing};
use super::notice::Event;
use super::words;

/// What the button is called that approves.
const APPROVE: &str = "penstock_approve";
/// Fields of one section: Slack takes ten, which are five rows.
const FIELDS_MAX: usize = 10;
/// Slack's bound on the text of a section, in characters.
const SECTION_CHARS_MAX: usize = 3000;
/// The longest id of an approval that is taken back.
const APPROVAL_BYTES_MAX: usize = 128;

/// Somebody pressed a button.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pressed {
    /// Who, as Slack names them: `U012AB3CD`.
    pub user: String,
    /// The approval that they approve; `None` for a button that only opens a page.
    pub approves: Option<String>,
    /// Where an answer for their eyes alone can be sent.
    pub answer_to: Option<String>,
}

/// The message. It can be approved where it is read when `takes_answers`.
pub(super) fn message(outgoing: &Outgoing<'_>, takes_answers: bool) -> Message {
    let notice = outgoing.notice;
    let mut blocks = vec![json!({"type": "header", "text": plain(words::headline(notice.event))})];
    let fields: Vec<Value> = words::rows(notice)
        .iter()
        .flat_map(|(name, value)| {
            [
                json!({"type": "mrkdwn", "text": format!("*{name}*")}),
                plain(value),
            ]
        })
        .collect();
    let sections = fields.chunks(FIELDS_MAX);
    blocks.extend(sections.map(|fields| json!({"type": "section", "fields": fields})));
    if let Some(excerpt) = notice
        .excerpt
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        blocks.push(json!({"type": "divider"}));
        blocks.push(json!({"type": "section", "text": plain(excerpt)}));
    }
    if notice.event == Event::Requested {
        let buttons = buttons(&notice.approval, notice.url.as_deref(), takes_answers);
        if !buttons.is_empty() {
            blocks.push(json!({"type": "actions", "block_id": "penstock", "elements": buttons}));
        }
    }
    blocks.push(
        json!({"type": "context", "elements": [link(&notice.approval, notice.url.as_deref())]}),
    );
    let body = json!({
        "text": escaped(&words::title(notice)),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    Message::post(body.to_string().into_bytes())
}

fn buttons(approval: &str, url: Option<&str>, takes_answers: bool) -> Vec<Value> {
    let mut buttons = Vec::new();
    if takes_answers {
        buttons.push(json!({
            "type": "button",
            "action_id": APPROVE,
            "value": approval,
            "style": "primary",
            "text": plain("Approve"),
            "confirm": {
                "title": plain("Approve this request?"),
                "text": plain("It goes on as if it had not been held."),
                "confirm": plain("Approve"),
                "deny": plain("Cancel"),
            },
        }));
    }
    if let Some(url) = url {
        buttons.push(json!({
            "type": "button",
            "action_id": "penstock_deny",
            "style": "danger",
            "text": plain("Deny, with a reason"),
            "url": url,
        }));
    }
    buttons
}

/// Where the rest can be read, or how one acts without a console.
fn link(approval: &str, url: Option<&str>) -> Value {
    let approval = escaped(approval);
    let text = match url {
        Some(url) => format!("<{}|Open approval {approval}>", escaped(url)),
        None => format!("Approval {approval}: `penstock-gateway approvals show {approval}`"),
    };
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn plain(text: &str) -> Value {
    let mut text = escaped(text);
    super::notice::shorten(&mut text, SECTION_CHARS_MAX);
    // Slack refuses an empty text.
    if text.is_empty() {
        text.push('-');
    }
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// The three characters that mean something to Slack in any text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Reads what Slack posts as `payload` when a button of ours is pressed.
///
/// # Errors
/// When it is something else.
pub fn pressed(payload: &str) -> Result<Pressed, &'static str> {
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "type")]
        kind: String,
        user: User,
        #[serde(default)]
        actions: Vec<Action>,
        response_url: Option<String>,
    }
    #[derive(Deserialize)]
    struct User {
        id: String,
    }
    #[derive(Deserialize)]
    struct Action {
        action_id: String,
        value: Option<String>,
    }
    let payload: Payload =
        serde_json::from_str(payload).map_err(|_| "it is no interaction of Slack")?;
    if payload.kind != "block_actions" {
        return Err("only buttons are understood");
    }
    let [action] = payload.actions.as_slice() else {
        return Err("one button at a time");
    };
    let approves = match (action.action_id.as_str(), &action.value) {
        (APPROVE, Some(id)) if (1..=APPROVAL_BYTES_MAX).contains(&id.len()) => Some(id.clone()),
        (APPROVE, _) => return Err("the button names no approval"),
        _ => None,
    };
    Ok(Pressed {
        user: payload.user.id,
        approves,
        answer_to: payload.response_url,
    })
}

/// An answer for the eyes of whoever pressed the button.
pub fn answer(text: &str) -> Message {
    let body = json!({
        "response_type": "ephemeral",
        "replace_original": false,
        "text": escaped(text),
    });
    Message::post(body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::sample;
    use super::*;

    fn body(notice: &super::super::Notice, takes_answers: bool) -> Value {
        let outgoing = Outgoing { id: "n", notice };
        serde_json::from_slice(&message(&outgoing, takes_answers).body).unwrap()
    }

    /// Every text object with its type.
    fn texts<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
        if let (Some(kind), Some(text)) = (value["type"].as_str(), value["text"].as_str()) {
            found.push((kind, text));
        }
        match value {
            Value::Object(members) => members.values().for_each(|it| texts(it, found)),
            Value::Array(items) => items.iter().for_each(|it| texts(it, found)),
            _ => {}
        }
    }

    #[test]
    fn what_a_caller_chose_mentions_nobody_and_links_nowhere() {
        let mut notice = sample();
        let hostile = "<!channel> <https://evil.example|Approve> *bold* & \"}],\n`x`";
        notice.caller.subject = hostile.to_owned();
        notice.model = Some(hostile.to_owned());
        notice.excerpt = Some(hostile.to_owned());
        notice.holds[0].cause = hostile.to_owned();
        let body = body(&notice, true);
        let mut found = Vec::new();
        texts(&body["blocks"], &mut found);
        let theirs: Vec<_> = found
            .iter()
            .filter(|(_, text)| text.contains("evil"))
            .collect();
        assert_eq!(theirs.len(), 4, "{found:?}");
        for (kind, text) in theirs {
            assert_eq!(*kind, "plain_text");
            assert!(
                text.contains("&lt;!channel&gt;") && !text.contains(['<', '>']),
                "{text}"
            );
        }
        let fallback = body["text"].as_str().unwrap();
        assert!(!fallback.contains(['<', '>', '\n']), "{fallback}");
    }

    #[test]
    fn buttons_are_there_for_whom_they_work() {
        let named = |body: &Value| -> Vec<String> {
            let blocks = body["blocks"].as_array().unwrap();
            let buttons = blocks.iter().filter(|block| block["type"] == "actions");
            let buttons = buttons.flat_map(|block| block["elements"].as_array().unwrap());
            buttons
                .map(|it| it["text"]["text"].as_str().unwrap().to_owned())
                .collect()
        };
        let mut notice = sample();
        assert_eq!(
            named(&body(&notice, true)),
            ["Approve", "Deny, with a reason"]
        );
        assert_eq!(named(&body(&notice, false)), ["Deny, with a reason"]);
        notice.url = None;
        let without = body(&notice, false);
        assert_eq!(named(&without), [""; 0]);
        assert!(without.to_string().contains("approvals show 0199aaaa"));
        notice.event = Event::Expired;
        assert_eq!(
            named(&body(&notice, true)),
            [""; 0],
            "there is nothing to decide"
        );
    }

    #[test]
    fn bounds_of_slack_are_kept() {
        let mut notice = sample();
        notice.excerpt = Some("&".repeat(1500));
        notice.by = vec!["x".repeat(300); 16];
        notice.reason = Some("why".to_owned());
        notice.holds = vec![notice.holds[0].clone(); 16];
        let body = body(&notice.bounded(), true);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        let mut found = Vec::new();
        texts(&body["blocks"], &mut found);
        assert!(
            found
                .iter()
                .all(|(_, text)| text.chars().count() <= SECTION_CHARS_MAX)
        );
        for block in blocks {
            let fields = block["fields"].as_array().map_or(0, Vec::len);
            assert!(fields <= FIELDS_MAX);
        }
    }

    #[test]
    fn only_our_buttons_are_understood() {
        let payload = |action: &str| {
            format!(
                r#"{{"type":"block_actions","user":{{"id":"U1","name":"x"}},"actions":[{action}],
                "response_url":"https://hooks.slack.com/actions/T/1/x","team":{{"id":"T"}}}}"#
            )
        };
        let approve = r#"{"action_id":"penstock_approve","value":"0199aaaa","type":"button"}"#;
        let got = pressed(&payload(approve)).unwrap();
        assert_eq!(
            (got.user.as_str(), got.approves.as_deref()),
            ("U1", Some("0199aaaa"))
        );
        assert!(got.answer_to.is_some());
        let opens = pressed(&payload(r#"{"action_id":"penstock_deny"}"#)).unwrap();
        assert_eq!(opens.approves, None);
        let none = payload("");
        let two = payload(&format!("{approve},{approve}"));
        let long = payload(&approve.replace("0199aaaa", &"x".repeat(200)));
        let modal = payload(approve).replace("block_actions", "view_submission");
        let without = payload(r#"{"action_id":"penstock_approve"}"#);
        for bad in ["", "[]", "{}", &none, &two, &long, &modal, &without] {
            assert!(pressed(bad).is_err(), "{bad}");
        }
    }
}
