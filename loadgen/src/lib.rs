//! What Penstock is tried with: an inference-server double that can misbehave on purpose, a
//! development identity provider with a token mint, a strict little test client, and an
//! open-loop load generator.
//!
//! Everything here binds to and speaks with loopback unless it is told otherwise, and nothing
//! here is part of the data path: the gateway and its tests see these only over sockets.
//!
//! | module | is |
//! | --- | --- |
//! | [`double`] | the server that stands where vLLM would stand |
//! | [`issuer`] | keys, tokens (good and bad ones), discovery and JWKS over HTTP |
//! | [`client`] | a raw HTTP/1.1 client over blocking sockets, for tests |
//! | [`run`] | the load generator |
//! | [`outcome`] | what a run found: counts, histograms, timeline; and the recorder that counts it |
//! | [`report`] | tables, files, pages and verdicts made of an outcome |
//! | [`chart`] | pictures of it, as SVG |

pub mod chart;
pub mod client;
pub mod double;
pub mod issuer;
pub mod machine;
pub mod outcome;
pub mod report;
pub mod run;

mod http;
pub mod ready;
