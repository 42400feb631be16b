//! Places at a listener: how many connections it serves at a time, and how many of them one address
//! may have.
//!
//! Whoever waits for a place waits in the kernel's backlog. Whoever has as many as one address may is
//! told by a closed connection: to let them wait would keep everybody behind them waiting, too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bits of an IPv6 address that name a network; whoever has one has all addresses in it.
const V6_NETWORK_BITS: u32 = 64;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    per_address_max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that is kept for whoever is accepted next.
#[derive(Debug)]
pub(super) struct Vacancy {
    permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
    address: Option<IpAddr>,
}

// === impl Places ===

impl Places {
    /// So many places, and so many of them for one address.
    pub(super) fn new(most: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            per_address_max,
            taken: Mutex::default(),
        })
    }

    /// Waits until a place is free.
    pub(super) async fn vacancy(self: &Arc<Self>) -> Vacancy {
        Vacancy {
            // It is never closed, so there is always a permit in the end.
            permit: self.free.clone().acquire_owned().await.ok(),
            places: self.clone(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A number is changed under it, which cannot be left half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Vacancy ===

impl Vacancy {
    /// Whoever has no address takes it.
    pub(super) fn take(self) -> Place {
        Place {
            _permit: self.permit,
            places: self.places,
            address: None,
        }
    }

    /// Somebody from this address takes it; `None` where it has as many as one may.
    pub(super) fn take_from(self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.places.taken();
        let count = taken.entry(address).or_default();
        if *count >= self.places.per_address_max {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            _permit: self.permit,
            places: self.places,
            address: Some(address),
        })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, however it is written, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - V6_NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn come(places: &Arc<Places>, address: &str) -> Option<Place> {
        let vacancy = places.vacancy().now_or_never().expect("a place is free");
        vacancy.take_from(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let places = Places::new(5, 2);
        let first = come(&places, "192.0.2.1").expect("the first");
        let second = come(&places, "::ffff:192.0.2.1").expect("the second");
        assert!(come(&places, "192.0.2.1").is_none());
        let others = ["192.0.2.2", "2001:db8::1", "2001:db8::2:3"].map(|it| come(&places, it));
        assert!(others.iter().all(Option::is_some));
        assert!(places.vacancy().now_or_never().is_none(), "all are taken");
        drop(first);
        // One network of IPv6 is one address.
        assert!(come(&places, "2001:db8::4").is_none());
        assert!(come(&places, "192.0.2.1").is_some());
        drop((second, others));
        assert!(places.taken().is_empty(), "nobody is remembered who left");
        assert_eq!(places.free.available_permits(), 5);
    }

    #[test]
    fn whoever_has_no_address_is_counted_in_all() {
        let places = Places::new(1, 1);
        let vacancy = places.vacancy().now_or_never().expect("a place is free");
        let place = vacancy.take();
        assert!(places.vacancy().now_or_never().is_none());
        drop(place);
        assert!(places.vacancy().now_or_never().is_some());
    }
}
