//! `introspection = { … }` in `[[issuer]]`: where opaque tokens are asked about, and as whom.

use std::path::PathBuf;

use serde::Deserialize;

/// How this issuer is asked about tokens that are no JWT (RFC 7662).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// Where; the `introspection_endpoint` of the discovery document when absent.
    pub endpoint: Option<String>,
    /// As which client we ask.
    pub client_id: String,
    /// A file with that client's secret, presented by HTTP Basic; read again every minute.
    pub client_secret_file: PathBuf,
}
