//! What pages load: one style sheet, one script, one picture, all out of the program.
//!
//! Their addresses carry a digest of what they hold, so a browser keeps them until they change.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, PreEscaped};

/// Name, media type, content.
const ASSETS: [(&str, &str, &str); 3] = [
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("assets/console.css"),
    ),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/console.js"),
    ),
    ("mark.svg", "image/svg+xml", include_str!("assets/mark.svg")),
];
/// Digits of the digest in an address.
const DIGEST_DIGITS: usize = 12;

static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for (_, _, content) in ASSETS {
        hasher.update(content.as_bytes());
    }
    hasher.finalize().to_hex()[..DIGEST_DIGITS].to_owned()
});

/// Where an asset is.
pub(super) fn path(name: &str) -> String {
    format!("/console/assets/{}/{name}", *DIGEST)
}

/// The project's sign, to stand in a page.
pub(super) fn mark() -> Markup {
    PreEscaped(include_str!("assets/mark.svg").to_owned())
}

/// Serves one.
pub(super) async fn serve(Path((_, name)): Path<(String, String)>) -> Response {
    let Some((_, media, content)) = ASSETS.into_iter().find(|(it, ..)| *it == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media)),
        (
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    (headers, content).into_response()
}
