//! One HTTP request to a receiver, all but its address, which is a secret for some.

use super::notice::Notice;

/// What is to be sent, and under which name.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The same at every attempt, so that a receiver can tell a repetition.
    pub id: &'a str,
    /// What is told.
    pub notice: &'a Notice,
}

/// A request, without its address.
#[derive(Clone, Eq, PartialEq)]
pub struct Message {
    /// `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// Fields in lower case, values that can be secrets.
    pub fields: Vec<(String, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

// === impl Message ===

impl Message {
    pub(super) fn post(body: Vec<u8>) -> Self {
        let media = ("content-type".to_owned(), "application/json".to_owned());
        Self {
            method: "POST".to_owned(),
            fields: vec![media],
            body,
        }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").finish_non_exhaustive()
    }
}
