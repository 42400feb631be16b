//! A notice as an Adaptive Card in the message that a Teams workflow ("when a webhook request is
//! received") posts to a channel.
//!
//! `TextBlock` reads markdown and dates; so whatever a caller chose stands in a `TextRun`, which reads
//! neither.

use serde_json::{Value, json};

use super::message::{Message, Outgoing};
use super::notice::Event;
use super::words;

/// The message.
pub(super) fn message(outgoing: &Outgoing<'_>) -> Message {
    let notice = outgoing.notice;
    let headline = words::headline(notice.event);
    let mut body = vec![json!({
        "type": "TextBlock", "text": headline, "size": "Large", "weight": "Bolder", "wrap": true,
    })];
    body.extend(
        words::rows(notice)
            .iter()
            .map(|(name, value)| row(name, value)),
    );
    if let Some(excerpt) = notice
        .excerpt
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        body.push(json!({
            "type": "Container", "style": "emphasis", "items": [rich(&[run(excerpt, true)])],
        }));
    }
    let approval = format!("Approval {}", notice.approval);
    body.push(rich(&[
        json!({"type": "TextRun", "text": approval, "isSubtle": true}),
    ]));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": headline,
        "body": body,
        "msteams": {"width": "Full"},
    });
    if let Some(url) = &notice.url {
        let title = match notice.event {
            Event::Requested => "Decide in the console",
            _ => "Open in the console",
        };
        card["actions"] = json!([{"type": "Action.OpenUrl", "title": title, "url": url}]);
    }
    let message = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    });
    Message::post(message.to_string().into_bytes())
}

fn row(name: &str, value: &str) -> Value {
    let name = json!({"type": "TextRun", "text": format!("{name}: "), "weight": "Bolder"});
    rich(&[name, run(value, false)])
}

fn rich(inlines: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": inlines})
}

fn run(text: &str, is_excerpt: bool) -> Value {
    let mut run = json!({"type": "TextRun", "text": text});
    if is_excerpt {
        run["fontType"] = "Monospace".into();
    }
    run
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::sample;
    use super::*;

    fn card(notice: &super::super::Notice) -> Value {
        let outgoing = Outgoing { id: "n", notice };
        let body: Value = serde_json::from_slice(&message(&outgoing).body).unwrap();
        body["attachments"][0]["content"].clone()
    }

    fn of_type<'a>(value: &'a Value, kind: &str, found: &mut Vec<&'a Value>) {
        if value["type"] == kind {
            found.push(value);
        }
        match value {
            Value::Object(members) => members.values().for_each(|it| of_type(it, kind, found)),
            Value::Array(items) => items.iter().for_each(|it| of_type(it, kind, found)),
            _ => {}
        }
    }

    #[test]
    fn what_a_caller_chose_stands_where_no_markdown_is_read() {
        let mut notice = sample();
        let hostile = "[Approve](https://evil.example) **now** <at>all</at> {{DATE(x)}} \"}";
        notice.caller.subject = hostile.to_owned();
        notice.excerpt = Some(hostile.to_owned());
        notice.model = Some(hostile.to_owned());
        let card = card(&notice);
        let mut blocks = Vec::new();
        of_type(&card, "TextBlock", &mut blocks);
        assert!(!blocks.is_empty());
        assert!(
            blocks
                .iter()
                .all(|block| !block.to_string().contains("evil"))
        );
        let mut runs = Vec::new();
        of_type(&card, "TextRun", &mut runs);
        let theirs = |run: &&&Value| run["text"].as_str().is_some_and(|it| it.contains(hostile));
        assert_eq!(runs.iter().filter(theirs).count(), 3, "to the letter");
        let fallback = card["fallbackText"].as_str().unwrap();
        assert_eq!(fallback, "A request waits for approval");
    }

    #[test]
    fn actions_open_the_console_and_nothing_else() {
        let mut notice = sample();
        for (event, title) in [
            (Event::Requested, "Decide in the console"),
            (Event::Denied, "Open in the console"),
        ] {
            notice.event = event;
            let url = notice.url.as_deref().unwrap();
            let expected = json!([{"type": "Action.OpenUrl", "title": title, "url": url}]);
            assert_eq!(card(&notice)["actions"], expected);
        }
        notice.url = None;
        assert_eq!(card(&notice)["actions"], Value::Null);
    }
}
