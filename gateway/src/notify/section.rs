//! `[[notify]]` as an operator writes it, and everything that can be wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderName;
use serde::Deserialize;

use super::notice::Event;
use super::receiver::{Place, Receiver, is_field_value};
use super::schedule::Patience;
use super::ticket::Template;
use crate::config::Span;
use crate::cutoff::resolve_issuer;
use crate::identity::fetchable;

/// Receivers of one gateway.
const RECEIVERS_MAX: usize = 64;
/// The longest name of a receiver.
const NAME_BYTES_MAX: usize = 48;
/// Fields that the sender writes itself.
const OWN_FIELDS: [&str; 5] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
];
/// Fields that carry credentials, which do not belong in a configuration.
const SECRET_FIELDS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
];

/// One `[[notify]]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// In lists, metrics and logs: lower-case letters, digits and `-`.
    pub name: String,
    /// Which form messages have.
    pub kind: Form,
    /// Where they are posted.
    pub url: Option<String>,
    /// A file with the address, where that is a secret, as those of Slack and Teams are.
    pub url_file: Option<PathBuf>,
    /// `webhook`: the secrets that sign. `slack`: the app's signing secret, for the way back.
    pub secret_file: Option<PathBuf>,
    /// What is told: all when absent, for `ticket` only `requested`.
    pub events: Option<Vec<Event>>,
    /// Only approvals on which one of these groups may decide; all when empty.
    #[serde(default)]
    pub groups: Vec<String>,
    /// `slack`: who its users are.
    #[serde(default)]
    pub people: Vec<SlackPerson>,
    /// `ticket`: `POST` when absent.
    pub method: Option<String>,
    /// `ticket`: more fields, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `ticket`: fields whose values are secret, by name: files.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// `ticket`: the template of the body.
    pub body: Option<String>,
    /// PEM certificates to trust for this receiver, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Delay after the first failure; it doubles with each.
    #[serde(default = "default_retry_first")]
    pub retry_first: Span,
    /// The longest delay.
    #[serde(default = "default_retry_max")]
    pub retry_max: Span,
    /// Attempts before a notice goes to the dead letters.
    #[serde(default = "default_attempts_max")]
    pub attempts_max: u32,
    /// Age at which it does.
    #[serde(default = "default_age_max")]
    pub age_max: Span,
}

/// The form of messages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Signed JSON, as Standard Webhooks has it.
    Webhook,
    /// Slack's Block Kit.
    Slack,
    /// An Adaptive Card for a workflow of Microsoft Teams.
    Teams,
    /// A template.
    Ticket,
}

/// Who a user of Slack is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SlackPerson {
    /// Their id in Slack: `U012AB3CD`.
    pub slack: String,
    /// Name or URL of their issuer; not needed where only one is configured. In a [`Receiver`] it is
    /// the URL.
    pub issuer: Option<String>,
    /// Their name there.
    pub subject: String,
    /// Their groups, as tokens of that issuer would say.
    #[serde(default)]
    pub groups: Vec<String>,
}

fn default_timeout() -> Span {
    Span::secs(10)
}

fn default_retry_first() -> Span {
    Span::secs(2)
}

fn default_retry_max() -> Span {
    Span::secs(15 * 60)
}

fn default_attempts_max() -> u32 {
    20
}

fn default_age_max() -> Span {
    Span::secs(24 * 3600)
}

// === impl NotifyConfig ===

impl NotifyConfig {
    /// Makes relative paths relative to this folder.
    pub fn resolve_paths(&mut self, base: &Path) {
        let named = [&mut self.url_file, &mut self.secret_file, &mut self.ca_file];
        let named = named.into_iter().flatten();
        for path in named.chain(self.header_files.values_mut()) {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        }
    }

    /// Checks the section; `issuers` are name and URL of each.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn settle(&self, issuers: &[(String, String)]) -> Result<Receiver, String> {
        let wrong = |reason: String| format!("[[notify]] {:?}: {reason}", self.name);
        self.settled(issuers).map_err(wrong)
    }

    fn settled(&self, issuers: &[(String, String)]) -> Result<Receiver, String> {
        let named = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(named)
        {
            return Err("`name` must be 1 to 48 lower-case letters, digits and `-`".to_owned());
        }
        self.belongs()?;
        let events = match (&self.events, self.kind) {
            (Some(events), _) => events.clone(),
            (None, Form::Ticket) => vec![Event::Requested],
            (None, _) => Event::ALL.to_vec(),
        };
        if events.is_empty() || events.contains(&Event::Test) {
            return Err(
                "`events` must name some of requested, approved, denied, expired; \
                 what `notifications test` sends comes always"
                    .to_owned(),
            );
        }
        let template = match (self.kind, &self.body) {
            (Form::Ticket, Some(text)) => {
                let parsed = Template::parse(text);
                Some(parsed.map_err(|reason| format!("`body`: {reason}"))?)
            }
            (Form::Ticket, None) => {
                return Err("needs `body`: a template that gives JSON".to_owned());
            }
            _ => None,
        };
        let spans = [self.timeout, self.retry_first, self.retry_max, self.age_max];
        if spans.iter().any(|span| span.0.is_zero()) || self.attempts_max == 0 {
            return Err(
                "`timeout`, `retry_first`, `retry_max`, `age_max` and `attempts_max` must be \
                        more than nothing"
                    .to_owned(),
            );
        }
        Ok(Receiver {
            name: self.name.clone(),
            place: self.place()?,
            secret_file: self.secret_file.clone(),
            field_files: self.header_files.clone(),
            people: self.people(issuers)?,
            ca_file: self.ca_file.clone(),
            timeout: self.timeout.0,
            patience: Patience {
                first: self.retry_first.0,
                longest: self.retry_max.0,
                attempts_max: self.attempts_max,
                age_max: self.age_max.0,
            },
            form: self.kind,
            events,
            groups: self.groups.clone(),
            method: self.method()?,
            fields: self.fields()?,
            template,
        })
    }

    /// Whether what is said belongs to the kind.
    fn belongs(&self) -> Result<(), String> {
        let of_ticket = self.method.is_some()
            || self.body.is_some()
            || !self.headers.is_empty()
            || !self.header_files.is_empty();
        if of_ticket && self.kind != Form::Ticket {
            return Err(
                "`method`, `headers`, `header_files` and `body` are of kind \"ticket\"".to_owned(),
            );
        }
        if !self.people.is_empty() && self.kind != Form::Slack {
            return Err("`people` is of kind \"slack\"".to_owned());
        }
        match (self.kind, self.secret_file.is_some()) {
            (Form::Webhook, false) => Err("needs `secret_file`, so that its receiver can tell \
                                           messages of this gateway"
                .to_owned()),
            (Form::Slack, false) if !self.people.is_empty() => Err(
                "`people` press buttons, which needs `secret_file`: the signing secret of the app"
                    .to_owned(),
            ),
            (Form::Teams | Form::Ticket, true) => {
                Err("`secret_file` is of kinds \"webhook\" and \"slack\"".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Those who press buttons, with the URLs of their issuers.
    fn people(&self, issuers: &[(String, String)]) -> Result<Vec<SlackPerson>, String> {
        let mut people: Vec<SlackPerson> = Vec::with_capacity(self.people.len());
        for person in &self.people {
            let SlackPerson { slack, subject, .. } = person;
            let is_id = !slack.is_empty() && slack.bytes().all(|it| it.is_ascii_alphanumeric());
            if !is_id || subject.is_empty() {
                return Err(format!(
                    "`people`: {slack:?}: needs `slack`, a member id such as U012AB3CD, and `subject`"
                ));
            }
            if people.iter().any(|known| known.slack == *slack) {
                return Err(format!("`people`: {slack:?} stands there twice"));
            }
            let issuer = resolve_issuer(person.issuer.as_deref(), issuers)
                .map_err(|error| format!("`people`: {slack:?}: `issuer`: {error}"))?;
            people.push(SlackPerson {
                issuer: Some(issuer),
                ..person.clone()
            });
        }
        Ok(people)
    }

    fn place(&self) -> Result<Place, String> {
        let is_secret = matches!(self.kind, Form::Slack | Form::Teams);
        match (&self.url, &self.url_file) {
            (Some(_), None) if is_secret => Err("whoever knows this address can post as you: put \
                                                 it into a file and name that as `url_file`"
                .to_owned()),
            (Some(url), None) => {
                let url = fetchable(url).map_err(|reason| format!("`url`: {reason}"))?;
                Ok(Place::Written(url.into()))
            }
            (None, Some(file)) => Ok(Place::File(file.clone())),
            _ => Err("needs one of `url` and `url_file`".to_owned()),
        }
    }

    fn method(&self) -> Result<String, String> {
        let method = self.method.as_deref().unwrap_or("POST");
        match method {
            "POST" | "PUT" | "PATCH" => Ok(method.to_owned()),
            _ => Err("`method` must be POST, PUT or PATCH".to_owned()),
        }
    }

    /// The fields with public values; of those with secret ones only the names are looked at.
    fn fields(&self) -> Result<BTreeMap<String, String>, String> {
        let mut fields = BTreeMap::new();
        let names = self.headers.keys().chain(self.header_files.keys());
        for name in names {
            let lower = name.to_ascii_lowercase();
            if HeaderName::from_bytes(lower.as_bytes()).is_err() || OWN_FIELDS.contains(&&*lower) {
                return Err(format!(
                    "`headers`: {name:?} is no field that can be set here"
                ));
            }
        }
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            if SECRET_FIELDS.contains(&&*lower) {
                return Err(format!(
                    "`headers`: the value of {name:?} is a secret: put it into a file and name that \
                     in `header_files`"
                ));
            }
            if !is_field_value(value) {
                return Err(format!(
                    "`headers`: the value of {name:?} is not visible ASCII"
                ));
            }
            fields.insert(lower, value.clone());
        }
        Ok(fields)
    }
}

/// All sections.
///
/// # Errors
/// What is wrong with the first that is.
pub fn settle_all(
    sections: &[NotifyConfig],
    issuers: &[(String, String)],
) -> Result<Vec<Receiver>, String> {
    if sections.len() > RECEIVERS_MAX {
        return Err(format!("[[notify]]: at most {RECEIVERS_MAX} receivers"));
    }
    let mut receivers: Vec<Receiver> = Vec::with_capacity(sections.len());
    for section in sections {
        if receivers.iter().any(|known| known.name == section.name) {
            return Err(format!("[[notify]] {:?}: two have this name", section.name));
        }
        receivers.push(section.settle(issuers)?);
    }
    Ok(receivers)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::notify) fn section(text: &str) -> Result<Receiver, String> {
        let section: NotifyConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        section.settle(&[("corp".to_owned(), "https://corp.example".to_owned())])
    }

    pub(in crate::notify) const WEBHOOK: &str = "name = \"hook\"\nkind = \"webhook\"\nurl = \"https://hook.example/x\"\n\
                           secret_file = \"secret\"\n";
    const SLACK: &str = "name = \"chat\"\nkind = \"slack\"\nurl_file = \"url\"\n";
    pub(in crate::notify) const TICKET: &str = "name = \"jira\"\nkind = \"ticket\"\nurl = \"https://jira.example/rest\"\n\
                          body = '{\"summary\": {{ title }}}'\n";

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write() {
        for (text, reason) in [
            (WEBHOOK.replace("hook\"\nk", "Ho ok\"\nk"), "lower-case"),
            (WEBHOOK.replace("https", "http"), "must be https"),
            (
                WEBHOOK.replace("hook.example/", "u:p@hook.example/"),
                "credentials do not belong",
            ),
            (
                WEBHOOK.replace("secret_file = \"secret\"", ""),
                "needs `secret_file`",
            ),
            (
                WEBHOOK.replace("url = \"https://hook.example/x\"", ""),
                "needs one of `url`",
            ),
            (format!("{WEBHOOK}url_file = \"u\"\n"), "needs one of `url`"),
            (format!("{WEBHOOK}body = \"x\"\n"), "of kind \"ticket\""),
            (format!("{WEBHOOK}events = []\n"), "must name some"),
            (format!("{WEBHOOK}events = [\"test\"]\n"), "must name some"),
            (format!("{WEBHOOK}timeout = \"0s\"\n"), "more than nothing"),
            (format!("{WEBHOOK}colour = 1\n"), "unknown field"),
            (
                SLACK.replace(
                    "url_file = \"url\"",
                    "url = \"https://hooks.slack.com/services/T\"",
                ),
                "put it into a file",
            ),
            (
                format!("{SLACK}[[people]]\nslack = \"U1\"\nissuer = \"i\"\nsubject = \"s\"\n"),
                "the signing secret",
            ),
            (
                format!(
                    "{SLACK}secret_file = \"s\"\n[[people]]\nslack = \"U 1\"\nsubject = \"s\"\n"
                ),
                "needs `slack`",
            ),
            (
                format!(
                    "{SLACK}secret_file = \"s\"\n[[people]]\nslack = \"U1\"\nissuer = \"other\"\n\
                     subject = \"s\"\n"
                ),
                "`issuer`",
            ),
            (
                TICKET.replace("{{ title }}", "\"{{ title }}\""),
                "without quotes",
            ),
            (format!("{TICKET}method = \"GET\"\n"), "POST, PUT or PATCH"),
            (
                format!("{TICKET}[headers]\nAuthorization = \"Bearer x\"\n"),
                "put it into a file",
            ),
            (
                format!("{TICKET}[headers]\nContent-Length = \"1\"\n"),
                "no field that can be set",
            ),
            (
                format!("{TICKET}[headers]\nx = \"a\\nb\"\n"),
                "not visible ASCII",
            ),
            (
                format!("{TICKET}[header_files]\n\"a b\" = \"f\"\n"),
                "no field that can be set",
            ),
        ] {
            let error = section(&text).expect_err(&text);
            assert!(error.contains(reason), "{text}\n{error}");
        }
        let twice: Vec<NotifyConfig> = vec![toml::from_str(WEBHOOK).unwrap(); 2];
        assert!(
            settle_all(&twice, &[])
                .unwrap_err()
                .contains("two have this name")
        );
    }
}
