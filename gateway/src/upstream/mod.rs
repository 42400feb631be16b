//! The model behind the gate, as far as it needs no runtime: the pool of resting connections and
//! the credential that we present in the caller's stead.

mod credential;
mod pool;

pub use credential::Credential;
pub use pool::Pool;
