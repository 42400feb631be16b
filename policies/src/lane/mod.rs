//! Text in other clothes: what stands in a text but is not written in it.
//!
//! [`blob`] tells weights and other opaque bytes from text.

pub mod blob;
