//! Who is told, where, and how; and the message that each of them gets.
//!
//! A [`Receiver`] is a checked section. What is secret stands in files and is read anew for each
//! message, so that a secret is replaced by writing its file: this module is handed their texts
//! ([`Sealed`]) and opens none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::message::{Message, Outgoing};
use super::notice::{Event, Notice};
use super::schedule::Patience;
use super::section::{Form, SlackPerson};
use super::signature::Secrets;
use super::ticket::Template;
use super::{slack, teams, webhook};

/// A checked section.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Where its address stands.
    pub place: Place,
    /// The secrets, where it has some.
    pub secret_file: Option<PathBuf>,
    /// Fields whose values are in files.
    pub field_files: BTreeMap<String, PathBuf>,
    /// Who may press its buttons.
    pub people: Vec<SlackPerson>,
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a notice is tried.
    pub patience: Patience,
    pub(super) form: Form,
    pub(super) events: Vec<Event>,
    pub(super) groups: Vec<String>,
    pub(super) method: String,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) template: Option<Template>,
}

/// Where an address stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In the configuration.
    Written(String),
    /// In a file, because it is a secret.
    File(PathBuf),
}

/// What the files of a receiver hold.
#[derive(Default)]
pub struct Sealed {
    /// Of `secret_file`.
    pub secret: Option<String>,
    /// Of `header_files`, by field.
    pub fields: Vec<(String, String)>,
}

/// Visible ASCII and spaces, as a field's value may hold.
pub(super) fn is_field_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

// === impl Receiver ===

impl Receiver {
    /// Whether it is told of this.
    pub fn wants(&self, notice: &Notice) -> bool {
        let concerned = self.groups.is_empty() || self.groups.iter().any(|it| notice.concerns(it));
        self.events.contains(&notice.event) && concerned
    }

    /// Whether buttons in its messages work.
    pub fn takes_answers(&self) -> bool {
        self.form == Form::Slack && !self.people.is_empty()
    }

    /// Checks what stands in its files.
    ///
    /// # Errors
    /// What is wrong, without what was read.
    pub fn check(&self, sealed: &Sealed) -> Result<(), String> {
        self.secrets(sealed)?;
        for (name, value) in &sealed.fields {
            if !is_field_value(value) {
                let file = self
                    .field_files
                    .get(name)
                    .map(|it| it.display().to_string());
                let file = file.unwrap_or_default();
                return Err(format!("{file}: must hold one line of visible ASCII"));
            }
        }
        Ok(())
    }

    /// Its secrets; `None` where it needs none.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn secrets(&self, sealed: &Sealed) -> Result<Option<Secrets>, String> {
        let Some(file) = &self.secret_file else {
            return Ok(None);
        };
        let text = sealed.secret.as_deref().unwrap_or_default();
        let secrets = match self.form {
            Form::Slack => Secrets::of_slack(text),
            _ => Secrets::of_webhook(text),
        };
        let secrets = secrets.map_err(|reason| format!("{}: {reason}", file.display()))?;
        Ok(Some(secrets))
    }

    /// The message that it gets.
    ///
    /// # Errors
    /// Why there is none; sending it again would not help unless a file is mended.
    pub fn message(
        &self,
        outgoing: &Outgoing<'_>,
        sealed: &Sealed,
        now_unix: u64,
    ) -> Result<Message, String> {
        self.check(sealed)?;
        match self.form {
            Form::Webhook => {
                let secrets = self.secrets(sealed)?.ok_or("it has no secret")?;
                Ok(webhook::message(outgoing, &secrets, now_unix))
            }
            Form::Slack => Ok(slack::message(outgoing, self.takes_answers())),
            Form::Teams => Ok(teams::message(outgoing)),
            Form::Ticket => {
                let template = self.template.as_ref().ok_or("it has no template")?;
                let mut message = Message::post(template.render(outgoing)?);
                message.method.clone_from(&self.method);
                let own = self
                    .fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()));
                let sealed = sealed.fields.iter().cloned();
                for (name, value) in own.chain(sealed) {
                    message.fields.retain(|(known, _)| *known != name);
                    message.fields.push((name, value));
                }
                Ok(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::sample;
    use super::super::section::tests::{TICKET, WEBHOOK, section};
    use super::*;

    #[test]
    fn who_is_told_of_what() {
        let hook = section(&format!("{WEBHOOK}groups = [\"security\", \"x\"]\n")).unwrap();
        let mut notice = sample();
        assert!(hook.wants(&notice));
        notice.holds[0].groups = vec!["others".to_owned()];
        assert!(!hook.wants(&notice));
        let ticket = section(TICKET).unwrap();
        assert!(ticket.wants(&notice));
        notice.event = Event::Denied;
        assert!(!ticket.wants(&notice), "one ticket for one request");
    }

    #[test]
    fn a_ticket_has_the_fields_that_it_was_given() {
        let text = format!("{TICKET}[headers]\nContent-Type = \"application/json; v=2\"\n");
        let ticket = section(&text).unwrap();
        let sealed = Sealed {
            secret: None,
            fields: vec![("authorization".to_owned(), "Basic eHg=".to_owned())],
        };
        let notice = sample();
        let outgoing = Outgoing {
            id: "n_1",
            notice: &notice,
        };
        let message = ticket.message(&outgoing, &sealed, 0).unwrap();
        let fields: Vec<_> = message
            .fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            fields,
            [
                ("content-type", "application/json; v=2"),
                ("authorization", "Basic eHg=")
            ]
        );
        let text = "{\"summary\": \"A request waits for approval: ada, infer, llama-3-8b\"}";
        assert_eq!(String::from_utf8(message.body).unwrap(), text);
        let broken = Sealed {
            secret: None,
            fields: vec![("authorization".to_owned(), "a\nb".to_owned())],
        };
        let error = ticket.message(&outgoing, &broken, 0).unwrap_err();
        assert!(
            error.contains("visible ASCII") && !error.contains("a\nb"),
            "{error}"
        );
    }

    #[test]
    fn a_webhook_says_what_it_is_and_is_signed_over_exactly_that() {
        let hook = section(WEBHOOK).unwrap();
        let key = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode([7; 32])
        };
        let sealed = Sealed {
            secret: Some(format!("whsec_{key}")),
            fields: Vec::new(),
        };
        let notice = sample();
        let outgoing = Outgoing {
            id: "0199aaaa_requested",
            notice: &notice,
        };
        let message = hook.message(&outgoing, &sealed, 1_790_000_009).unwrap();
        let field = |name: &str| {
            let found = message.fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(field("webhook-id"), Some("0199aaaa_requested"));
        assert_eq!(field("webhook-timestamp"), Some("1790000009"));
        let secrets = Secrets::of_webhook(&format!("whsec_{key}")).unwrap();
        let expected = secrets.sign("0199aaaa_requested", 1_790_000_009, &message.body);
        assert_eq!(field("webhook-signature"), Some(expected.as_str()));
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["type"], "approval.requested");
        assert_eq!(body["timestamp"], "2026-09-21T14:13:20Z");
        assert_eq!(body["data"]["caller"]["subject"], "ada");
        assert!(
            hook.message(&outgoing, &Sealed::default(), 0).is_err(),
            "an empty file"
        );
    }
}
