//! End to end, over real sockets, with the real programs: what a caller sees, what the model sees,
//! and what the record says.

mod stack;
mod witness;

mod answers;
mod approvals;
mod approvals_state;
mod approvals_wait;
mod bodies;
mod bounds;
mod calls;
mod codec;
mod control;
mod crashes;
mod credential;
mod crowd;
mod cutoff;
mod cutoff_speed;
mod faults;
mod fleet;
mod forms;
mod guards;
mod heads;
mod identity;
mod introspection;
mod issuers;
mod keys;
mod listeners;
mod logout;
mod messages;
mod metrics;
mod notifications;
mod observe;
mod operators;
mod permissions;
mod postgres;
mod process;
mod provider;
mod recording;
mod rehearse;
mod reload;
mod restore;
mod scim;
mod streams;
mod tls;
mod upstream;
