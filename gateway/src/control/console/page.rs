//! What all pages have: the frame around them, and the small parts that they are made of.
//!
//! Everything that comes from elsewhere goes through maud, which escapes it, and through [`plain`],
//! which shows what would be invisible or would turn text around. No page has a script or a style
//! of its own, so that the content security policy can forbid both.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use penstock_recorder::log::escape;

use super::assets;
use super::session::{Flash, Secret, Signed};
use crate::control::api::operator::Role;
use crate::cutoff::format_time;

/// The pages that stand in the menu: path, name.
const MENU: [(&str, &str); 6] = [
    ("/console", "Overview"),
    ("/console/approvals", "Approvals"),
    ("/console/calls", "Calls"),
    ("/console/policies", "Policies"),
    ("/console/revocations", "Revocations"),
    ("/console/keys", "Keys"),
];

/// A page for somebody who is signed in.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// The path of its entry in the menu.
    pub(super) place: &'a str,
    pub(super) signed: &'a Signed,
    pub(super) flash: Option<Flash>,
}

// === impl Page ===

impl Page<'_> {
    /// The whole page around `content`.
    pub(super) fn with(&self, content: &Markup) -> Markup {
        let operator = &self.signed.operator;
        let body = html! {
            a.skip href="#content" { "Skip to the content" }
            header.top {
                a.brand href="/console" { (assets::mark()) span { "Penstock" } }
                nav aria-label="Console" {
                    ul {
                        @for (path, name) in MENU {
                            li { a href=(path) aria-current=[(path == self.place).then_some("page")] { (name) } }
                        }
                    }
                }
                form.who method="post" action="/console/logout" {
                    (csrf(&self.signed.csrf))
                    span title=(plain(&operator.to_string())) {
                        (plain(&short_name(self.signed))) " · " (operator.role.map_or("no role", Role::as_str))
                    }
                    button.quiet type="submit" { "Sign out" }
                }
            }
            main id="content" tabindex="-1" {
                h1 { (self.title) }
                @if let Some(flash) = &self.flash { (told(flash)) }
                (content)
            }
        };
        document(self.title, &body)
    }
}

/// A page for anybody.
pub(super) fn open_page(title: &str, content: &Markup) -> Markup {
    let body = html! {
        main.alone id="content" {
            p.brand { (assets::mark()) span { "Penstock" } }
            h1 { (title) }
            (content)
        }
    };
    document(title, &body)
}

/// A page that says why something is not there.
pub(super) fn refusal(status: StatusCode, title: &str, detail: &str) -> Response {
    let content = html! {
        p { (plain(detail)) }
        p { a href="/console" { "To the overview" } }
    };
    (status, open_page(title, &content)).into_response()
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Penstock" }
                link rel="icon" href=(assets::path("mark.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("console.css"));
                script src=(assets::path("console.js")) defer {}
            }
            body { (body) }
        }
    }
}

/// Whom the menu names.
fn short_name(signed: &Signed) -> String {
    match signed.operator.person() {
        Some(person) => person.subject.clone(),
        None => signed.operator.to_string(),
    }
}

fn told(flash: &Flash) -> Markup {
    match flash {
        Flash::Done(text) => html! { p.note.good role="status" { (plain(text)) } },
        Flash::Failed(text) => html! { p.note.bad role="alert" { (plain(text)) } },
        Flash::Key(what, key) => html! {
            div.note.good role="status" {
                p { (plain(what)) " It is shown this once and kept nowhere: copy it now." }
                p { code.secret id="secret" { (key) } " "
                    button type="button" data-copy="secret" hidden { "Copy" } }
            }
        },
    }
}

/// The part of a form that shows that it came from a page of this session.
pub(super) fn csrf(secret: &Secret) -> Markup {
    html! { input type="hidden" name="csrf" value=(secret.expose()); }
}

/// A time, to the second.
pub(super) fn time(unix: u64) -> Markup {
    let machine = format_time(unix);
    let human = machine.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(machine) { (human) } }
}

/// How long something took.
pub(super) fn span(nanoseconds: u64) -> String {
    // Shown to three digits: nothing is lost that a person would miss.
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} µs", digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", digits(value / 1e6)),
        _ => format!("{} s", digits(value / 1e9)),
    }
}

/// Three digits of a number below a thousand, all of a larger one.
pub(super) fn digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Nothing is there, and what would be.
pub(super) fn empty(what: &str) -> Markup {
    html! { p.empty { (what) } }
}

/// Text from elsewhere, on one line: what cannot be seen is shown.
pub(super) fn plain(text: &str) -> String {
    escape::line(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(span(999), "999 ns");
        assert_eq!(span(1_500), "1.50 µs");
        assert_eq!(span(25_300_000), "25.3 ms");
        assert_eq!(span(61_000_000_000), "61.0 s");
    }

    #[test]
    fn markup_from_elsewhere_is_text() {
        let content = html! { p { (plain("<script>alert(1)</script>\"'")) } };
        let page = open_page("<b>", &content).into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }
}
