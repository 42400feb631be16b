//! End to end, over real sockets, with the real programs: what a caller sees, what the model sees,
//! and what the record says.

mod stack;
mod witness;

mod bodies;
mod bounds;
mod calls;
mod credential;
mod codec;
mod faults;
mod identity;
mod listeners;
mod messages;
mod process;
mod tls;
mod upstream;
mod guards;
mod permissions;
mod streams;
mod recording;
mod crashes;
