//! A notice for a ticket system, by a template that the operator writes.
//!
//! The template is minijinja's, and what it prints is escaped as JSON: `{{ title }}` prints a whole
//! string, its quotes included, so that no prompt can break out of one. That this is so for a given
//! template is tried when the gateway starts, with texts that would ([`Template::parse`]); and what a
//! template gives is sent only when it is JSON.

use minijinja::value::{Serde, Value as Given};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};

use super::message::Outgoing;
use super::notice::{Caller, Event, HeldBy, Notice};
use super::words;

/// The largest body that a template may give.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Steps that a template may take.
const FUEL: u64 = 100_000;

/// A checked template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Template(String);

// === impl Template ===

impl Template {
    /// Checks the template on notices with harmless and with hostile texts: both must give JSON, of
    /// the same shape.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        for event in Event::ALL {
            let plain = template.tried(event, "text")?;
            for hostile in ["\"", "\\", "\n", "\", \"evil\": \"", "{{ 1 }}", "</x>&'"] {
                let got = template.tried(event, hostile)?;
                if !same_shape(&plain, &got) {
                    return Err(format!(
                        "a text such as {hostile:?} changes the shape of the JSON: print values \
                         without quotes around them and without `safe`: {{{{ title }}}}"
                    ));
                }
            }
        }
        Ok(template)
    }

    fn tried(&self, event: Event, text: &str) -> Result<Value, String> {
        let notice = trial(event, text);
        let outgoing = Outgoing {
            id: text,
            notice: &notice,
        };
        let body = self.render(&outgoing)?;
        // What was rendered has been found to be JSON.
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The body for a notice.
    ///
    /// # Errors
    /// When the template fails, or gives something that is not JSON.
    pub(super) fn render(&self, outgoing: &Outgoing<'_>) -> Result<Vec<u8>, String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let text = environment
            .render_named_str("body", &self.0, context(outgoing))
            .map_err(|error| format!("the template fails: {error}"))?;
        if text.len() > BODY_BYTES_MAX {
            return Err(format!(
                "the template gives more than {BODY_BYTES_MAX} bytes"
            ));
        }
        let checked: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
        checked.map_err(|error| {
            format!(
                "the template gives no JSON ({error}): print values without quotes around them: \
                 {{{{ title }}}}"
            )
        })?;
        Ok(text.into_bytes())
    }
}

/// What a template can print: the webhook's `data`, and some of it in words.
fn context(outgoing: &Outgoing<'_>) -> Given {
    let notice = outgoing.notice;
    let mut members = words::data(notice);
    let rows = words::rows(notice);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, it)| format!("{name}: {it}"))
        .collect();
    members["id"] = outgoing.id.into();
    members["title"] = words::title(notice).into();
    members["text"] = lines.join("\n").into();
    members["rows"] = rows
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    Given::from(Serde(members))
}

/// A notice in which every text is this one.
fn trial(event: Event, text: &str) -> Notice {
    let own = || text.to_owned();
    Notice {
        approval: own(),
        event,
        at_unix: 0,
        caller: Caller {
            issuer: own(),
            subject: own(),
        },
        model: Some(own()),
        operation: own(),
        holds: vec![HeldBy {
            name: own(),
            cause: own(),
            groups: vec![own()],
            quorum: 1,
        }],
        excerpt: Some(own()),
        url: Some(own()),
        expires_unix: 0,
        by: vec![own()],
        reason: Some(own()),
    }
}

/// The same members and the same kinds of values, whatever the strings say.
fn same_shape(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (theirs, other))| name == theirs && same_shape(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_shape(one, other))
        }
        (Value::String(_), Value::String(_)) => true,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::sample;
    use super::*;

    const JIRA: &str = r#"{"fields": {
        "project": {"key": "SEC"}, "issuetype": {"name": "Task"},
        "summary": {{ title }},
        "description": {{ text ~ "\n\n" ~ (excerpt or "") }},
        "labels": ["penstock", {{ event }}]
    }}"#;

    #[test]
    fn a_template_prints_whole_strings_that_nothing_breaks_out_of() {
        let template = Template::parse(JIRA).unwrap();
        let mut notice = sample();
        notice.excerpt = Some("\"}, \"project\": {\"key\": \"HR\"}, \"x\": {\"".to_owned());
        let outgoing = Outgoing {
            id: "n_1",
            notice: &notice,
        };
        let body: Value = serde_json::from_slice(&template.render(&outgoing).unwrap()).unwrap();
        let fields = &body["fields"];
        assert_eq!(fields["project"]["key"], "SEC");
        assert_eq!(fields.as_object().unwrap().len(), 5);
        assert_eq!(
            fields["summary"],
            "A request waits for approval: ada, infer, llama-3-8b"
        );
        let description = fields["description"].as_str().unwrap();
        assert!(description.ends_with(notice.excerpt.as_deref().unwrap()));
        assert_eq!(fields["labels"], json!(["penstock", "requested"]));
        notice.excerpt = None;
        let outgoing = Outgoing {
            id: "n_1",
            notice: &notice,
        };
        assert!(template.render(&outgoing).is_ok());
    }

    #[test]
    fn a_template_that_could_be_broken_out_of_is_refused_at_start() {
        for (bad, why) in [
            (r#"{"a": "{{ title }}"}"#, "without quotes"),
            (r#"{"a": "{{ title|safe }}"}"#, "no JSON"),
            (r#"{"a": {{ tilte }}}"#, "undefined"),
            (r#"{"a": {{ title }"#, "template fails"),
            (r#"{"a": {{ title }}"#, "no JSON"),
            ("plain text", "no JSON"),
            (
                r#"{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"#,
                "fuel",
            ),
            (
                r#"{% autoescape false %}["{{ title|replace('"', '') }}"]{% endautoescape %}"#,
                "no JSON",
            ),
            (
                r#"{{ '["' ~ title|replace("\\", "")|replace("\n", "") ~ '"]' }}"#,
                "",
            ),
        ] {
            let error = Template::parse(bad).err();
            match why {
                "" => assert_eq!(error, None, "{bad}"),
                _ => assert!(
                    error.as_ref().is_some_and(|it| it.contains(why)),
                    "{bad}: {error:?}"
                ),
            }
        }
    }

    #[test]
    fn a_member_that_a_text_adds_is_noticed() {
        let adds = r#"{% autoescape false %}{"a": "{{ title|replace("\\", "")|replace("\n", "") }}"}{% endautoescape %}"#;
        let error = Template::parse(adds).unwrap_err();
        assert!(
            error.contains("no JSON") || error.contains("shape"),
            "{error}"
        );
    }
}
