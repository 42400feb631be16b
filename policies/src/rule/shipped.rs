//! The packs that come with the program, as text; a policy names them without a path.

/// Name and TOML text of every shipped pack.
const SHIPPED: [(&str, &str); 5] = [
    ("secrets", include_str!("../../packs/secrets.toml")),
    ("personal", include_str!("../../packs/personal.toml")),
    ("customer", include_str!("../../packs/customer.toml")),
    ("injection", include_str!("../../packs/injection.toml")),
    ("high-risk", include_str!("../../packs/high-risk.toml")),
];

/// The shipped packs: name, TOML text.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &SHIPPED
}
