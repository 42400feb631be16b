//! What becomes of an outcome: JSON with its schema, HdrHistogram's files, pages, comparisons.

#![allow(clippy::unwrap_used)] // tests

mod compared;
mod hdr;
mod made_up;
mod pages;
mod published;
mod schema;

use made_up::made_up;
