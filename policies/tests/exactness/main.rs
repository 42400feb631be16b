//! Exactness on streams, over every example of every shipped rule: however a text is cut, what was
//! sent is a beginning of the masked whole, the end of it is the masked whole, and no part of it
//! holds a masked value or eight consecutive characters of one.
//!
//! `channels` cuts texts, `streams` the events of every API's format. A run samples: it cuts every
//! text in some ways, chosen by a seed. `PENSTOCK_EXACTNESS=full` cuts every text in all of them,
//! `PENSTOCK_EXACTNESS_SEED` chooses other samples. Splits at a real tokenizer's tokens are in
//! `perf/tests/token_splits.rs`, beside the vocabulary.

mod channels;
mod sample;
mod streams;

#[path = "../support/mod.rs"]
mod support;
