//! Days on which much goes wrong at once: nothing half applied, nothing lost that was promised, and
//! the data plane serves or refuses as it should.

mod clock;
mod disk;
mod kills;
mod people;
mod policies;
mod state;
