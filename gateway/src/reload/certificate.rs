//! The certificate of a listener, as files that change while it serves.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;

use super::inputs::Fault;
use super::{Outcome, lock, read};
use crate::config::TlsSection;
use crate::shell::server_config;

/// What a listener takes its TLS configuration from.
pub type TlsSlot = Arc<ArcSwapOption<ServerConfig>>;

/// One listener's certificate.
pub(super) struct Certificate {
    slot: TlsSlot,
    /// What was last put in force, to be compared with what is there.
    accepted: Mutex<(TlsSection, read::Look)>,
}

// === impl Certificate ===

impl Certificate {
    /// Takes over after a start with these files; `None` where there is no TLS.
    pub(super) fn new(slot: Option<TlsSlot>, section: Option<&TlsSection>) -> Option<Self> {
        let section = section?.clone();
        let look = look_at(&section);
        Some(Self {
            slot: slot?,
            accepted: Mutex::new((section, look)),
        })
    }

    /// The files whose change matters.
    pub(super) fn wanted(&self) -> read::Wanted {
        wanted_of(&lock(&self.accepted).0)
    }

    /// Puts a certificate in force if its files changed and fit each other. Where the configuration
    /// cannot be read, the files are those that it named before.
    pub(super) fn reload(&self, section: Option<TlsSection>, errors: &mut Vec<Fault>) -> Outcome {
        let (before, seen) = lock(&self.accepted).clone();
        let section = section.unwrap_or(before);
        let look = look_at(&section);
        if look == seen {
            return Outcome::Unchanged;
        }
        // Looked at before and after: a pair that is replaced meanwhile is read again.
        let made = server_config(&section);
        if look_at(&section) != look {
            errors.push(Fault::of(&section.certificate, "changed while it was read"));
            return Outcome::Refused;
        }
        match made {
            Ok(config) => {
                self.slot.store(Some(config));
                *lock(&self.accepted) = (section, look);
                Outcome::Applied
            }
            Err(error) => {
                errors.push(Fault::from(&error));
                Outcome::Refused
            }
        }
    }
}

/// How the files of a certificate are at this moment.
fn look_at(section: &TlsSection) -> read::Look {
    read::Look::at(&read::System, &wanted_of(section))
}

fn wanted_of(section: &TlsSection) -> read::Wanted {
    read::Wanted {
        files: vec![section.certificate.clone(), section.key.clone()],
        folders: Vec::new(),
    }
}
