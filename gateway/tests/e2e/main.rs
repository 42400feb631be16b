//! End to end, over real sockets, with the real programs: what a caller sees, what the model sees,
//! and what the record says.

mod stack;

mod calls;
mod codec;
mod messages;
