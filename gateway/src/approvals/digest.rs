//! What exactly is approved, as one digest.
//!
//! BLAKE3 over every part with its length before it, so that no two different requests have the same
//! parts joined, under a context string of its own, so that no digest made elsewhere is one of these.

/// Changes whenever the parts or their order do: approvals of another form then fit nothing.
const CONTEXT: &str = "penstock 2026-11 approval of a canonical request, v2";

/// A request in the form in which it is approved.
#[derive(Clone, Copy, Debug)]
pub struct Canonical<'a> {
    /// As sent.
    pub method: &'a str,
    /// As sent, without the query.
    pub path: &'a str,
    /// As sent; `None` without a question mark.
    pub query: Option<&'a str>,
    /// The whole `content-type`: the boundary of a form decides how its body is read.
    pub media: &'a str,
    /// Header fields that something holds, in the order in which they were sent: names in lower
    /// case, and values.
    pub fields: &'a [(String, Vec<u8>)],
    /// As the model would get it: decoded, and masked.
    pub body: &'a [u8],
    /// Who vouches for the caller.
    pub issuer: &'a str,
    /// The caller.
    pub subject: &'a str,
    /// Whose pseudonyms they get.
    pub tenant: &'a str,
    /// The issued key that was presented.
    pub key: Option<&'a str>,
    /// Where it would go.
    pub upstream: &'a str,
    /// By which policies it was held.
    pub policy_version: &'a str,
}

// === impl Canonical ===

impl Canonical<'_> {
    /// The digest, as 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        let mut part = |bytes: Option<&[u8]>| {
            hasher.update(&[u8::from(bytes.is_some())]);
            let bytes = bytes.unwrap_or_default();
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(Some(self.method.as_bytes()));
        part(Some(self.path.as_bytes()));
        part(self.query.map(str::as_bytes));
        part(Some(self.media.as_bytes()));
        part(Some(&(self.fields.len() as u64).to_le_bytes()));
        for (name, value) in self.fields {
            part(Some(name.as_bytes()));
            part(Some(value));
        }
        part(Some(self.body));
        part(Some(self.issuer.as_bytes()));
        part(Some(self.subject.as_bytes()));
        part(Some(self.tenant.as_bytes()));
        part(self.key.map(str::as_bytes));
        part(Some(self.upstream.as_bytes()));
        part(Some(self.policy_version.as_bytes()));
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let one = [field("x-note", "a")];
        let (other, renamed) = ([field("x-note", "b")], [field("x-not", "ea")]);
        let two = [field("x-note", "a"), field("x-more", "")];
        let plain = Canonical {
            method: "POST",
            path: "/v1/chat",
            query: None,
            media: "application/json",
            fields: &[],
            body: b"{}",
            issuer: "i",
            subject: "s",
            tenant: "t",
            key: None,
            upstream: "127.0.0.1:1",
            policy_version: "v",
        };
        assert_eq!(plain.digest(), { plain }.digest());
        let all = [
            plain,
            Canonical {
                method: "PUT",
                ..plain
            },
            Canonical {
                path: "/v1/cha",
                ..plain
            },
            Canonical {
                query: Some(""),
                ..plain
            },
            Canonical {
                query: Some("a"),
                ..plain
            },
            Canonical {
                media: "text/plain",
                ..plain
            },
            Canonical {
                body: b"{ }",
                ..plain
            },
            Canonical {
                fields: &one,
                ..plain
            },
            Canonical {
                fields: &other,
                ..plain
            },
            Canonical {
                fields: &renamed,
                ..plain
            },
            Canonical {
                fields: &two,
                ..plain
            },
            Canonical { body: b"", ..plain },
            Canonical {
                issuer: "is",
                subject: "",
                ..plain
            },
            Canonical {
                issuer: "",
                subject: "is",
                ..plain
            },
            Canonical {
                subject: "st",
                tenant: "",
                ..plain
            },
            Canonical {
                tenant: "u",
                ..plain
            },
            Canonical {
                key: Some(""),
                ..plain
            },
            Canonical {
                key: Some("k"),
                ..plain
            },
            Canonical {
                upstream: "127.0.0.1:2",
                ..plain
            },
            Canonical {
                policy_version: "w",
                ..plain
            },
        ];
        let digests: HashSet<String> = all.iter().map(Canonical::digest).collect();
        assert_eq!(digests.len(), all.len());
        assert!(digests.iter().all(|digest| digest.len() == 64));
    }
}
