//! `scim = { … }` in `[control]`: a provisioning service whose word cuts people off.

use std::path::PathBuf;

use serde::Deserialize;

/// The section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScimSection {
    /// A file with the bearer token that the service presents; read at start.
    pub token_file: PathBuf,
    /// Name or URL of the issuer whose subjects these people are; not needed where only one is
    /// configured.
    pub issuer: Option<String>,
    /// Which attribute is the subject of a person's tokens: the first of these that they have.
    #[serde(default = "default_scim_subject")]
    pub subject: Vec<SubjectAttribute>,
}

/// An attribute of a SCIM user that names them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum SubjectAttribute {
    /// The service's own id of the person.
    ExternalId,
    /// The name at the service.
    UserName,
    /// The id that this gateway gave.
    Id,
}

fn default_scim_subject() -> Vec<SubjectAttribute> {
    vec![SubjectAttribute::ExternalId, SubjectAttribute::UserName]
}
