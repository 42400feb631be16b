//! The packs that come with the program, as text; a policy names them without a path.
//!
//! A pack of many rules is kept in several files by area, and is one text here. Of equal matches
//! the earlier rule's counts, so what is general comes last.

/// One text out of the files of a pack.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        concat!($(include_str!(concat!("../../packs/", $path)), "\n"),+)
    };
}

/// Name and TOML text of every shipped pack.
const SHIPPED: [(&str, &str); 8] = [
    (
        "secrets",
        files!(
            "secrets/cloud.toml",
            "secrets/source.toml",
            "secrets/ai.toml",
            "secrets/payment.toml",
            "secrets/communication.toml",
            "secrets/saas.toml",
            "secrets/monitoring.toml",
            "secrets/data.toml",
            "secrets/platform.toml",
            "secrets/keys.toml",
            "secrets/generic.toml",
        ),
    ),
    (
        "personal",
        files!(
            "personal/finance.toml",
            "personal/wallets.toml",
            "personal/europe-west.toml",
            "personal/europe-south.toml",
            "personal/europe-east.toml",
            "personal/nordic.toml",
            "personal/americas.toml",
            "personal/asia.toml",
            "personal/south.toml",
            "personal/documents.toml",
            "personal/network.toml",
            "personal/contact.toml",
        ),
    ),
    ("vendors", files!("vendors.toml")),
    ("email-light", files!("email-light.toml")),
    ("customer", files!("customer.toml")),
    (
        "injection",
        files!(
            "injection/orders.toml",
            "injection/personas.toml",
            "injection/extraction.toml",
        ),
    ),
    ("injection-languages", files!("injection-languages.toml")),
    ("high-risk", files!("high-risk.toml")),
];

/// The shipped packs: name, TOML text.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &SHIPPED
}
