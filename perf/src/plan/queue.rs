//! M/G/k: how long work waits for one of `k` servers, and what that does to a latency.
//!
//! A request arrives at random, needs one of `k` servers for a time `s` on average, and waits while
//! all are busy. With `a = λ s` (Erlangs) and `ρ = a / k`:
//!
//! - the chance to wait at all is Erlang's C formula (A. K. Erlang, 1917), computed by the
//!   recurrence of Erlang B, which does not overflow;
//! - the mean wait is `V · C / (k/s − λ)`, with `V = (Ca² + Cs²) / 2` for the variability of
//!   arrivals and service: the approximation of Allen and Cunneen (A. O. Allen, "Probability,
//!   Statistics, and Queueing Theory", 1990, §5.3), exact for M/M/k and for M/G/1;
//! - who waits, waits an exponentially distributed time: `P(W > t) = C · exp(−t (k/s − λ) / V)`.
//!   Exact for M/M/k, and the limit of every G/G/k under heavy load (J. F. C. Kingman, "On queues in
//!   heavy traffic", 1962; J. Köllerström, 1974).
//!
//! A latency is `D + W`: what it is with nobody waiting (`D`, any distribution), and the wait. The
//! two are taken to be independent, which they are when servers do not choose whom to serve.

/// `k` equal servers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Servers {
    /// How many.
    pub count: u32,
    /// Seconds that one of them is busy for one request, on average.
    pub service_s: f64,
    /// `(Ca² + Cs²) / 2`: 1 for random arrivals and exponential service, 0.5 for constant service.
    pub variability: f64,
}

/// Steps of an unloaded latency: neighbours are merged up to a share of one such step.
const STEPS: f64 = 2000.0;

/// A latency as it is when nobody waits: seconds, ascending, each with its share; shares add to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Unloaded(Vec<(f64, f64)>);

// === impl Servers ===

impl Servers {
    /// Requests a second at which all are always busy.
    pub fn capacity(&self) -> f64 {
        f64::from(self.count) / self.service_s
    }

    /// Share of their time that the servers are busy.
    pub fn utilisation(&self, rate: f64) -> f64 {
        rate / self.capacity()
    }

    /// The chance to wait, between 0 and 1; 1 at and past the capacity.
    pub fn waiting_chance(&self, rate: f64) -> f64 {
        erlang_c(self.count, rate * self.service_s)
    }

    /// Mean seconds of waiting over all requests; infinite at and past the capacity.
    pub fn mean_wait_s(&self, rate: f64) -> f64 {
        let spare = self.capacity() - rate;
        match spare > 0.0 {
            true => self.variability * self.waiting_chance(rate) / spare,
            false => f64::INFINITY,
        }
    }

    /// The chance to wait longer than so many seconds.
    pub fn waits_longer(&self, rate: f64, seconds: f64) -> f64 {
        let spare = self.capacity() - rate;
        if spare <= 0.0 {
            return 1.0;
        }
        if seconds < 0.0 {
            return 1.0;
        }
        // Without any variability nobody waits below the capacity.
        let pace = spare / self.variability.max(f64::MIN_POSITIVE);
        self.waiting_chance(rate) * (-seconds * pace).exp()
    }

    /// The latency under which a share of the requests stays; infinite at and past the capacity.
    pub fn latency_s(&self, unloaded: &Unloaded, rate: f64, quantile: f64) -> f64 {
        if rate >= self.capacity() {
            return f64::INFINITY;
        }
        let over = 1.0 - quantile;
        let exceeds = |t: f64| -> f64 {
            let parts = unloaded.0.iter();
            parts
                .map(|&(d, share)| share * self.waits_longer(rate, t - d))
                .sum()
        };
        let mut low = 0.0;
        let mut high = unloaded.max_s().max(f64::MIN_POSITIVE);
        while exceeds(high) > over {
            low = high;
            high *= 2.0;
        }
        // Sixty halvings are more than a double tells apart.
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            match exceeds(middle) > over {
                true => low = middle,
                false => high = middle,
            }
        }
        high
    }

    /// The highest rate at which the latency's quantile is still within a bound; none when it is
    /// past the bound with nobody waiting.
    pub fn rate_within(&self, unloaded: &Unloaded, quantile: f64, bound_s: f64) -> Option<f64> {
        let within = |rate: f64| self.latency_s(unloaded, rate, quantile) <= bound_s;
        if !within(0.0) {
            return None;
        }
        let (mut low, mut high) = (0.0, self.capacity());
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            match within(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(low)
    }
}

/// Erlang's C: the chance that all of `servers` are busy with `erlangs` of work.
fn erlang_c(servers: u32, erlangs: f64) -> f64 {
    let k = f64::from(servers);
    if erlangs >= k {
        return 1.0;
    }
    if erlangs <= 0.0 {
        return 0.0;
    }
    let mut blocked = 1.0;
    for n in 1..=servers {
        blocked = erlangs * blocked / (f64::from(n) + erlangs * blocked);
    }
    let utilisation = erlangs / k;
    blocked / (1.0 - utilisation * (1.0 - blocked))
}

// === impl Unloaded ===

impl Unloaded {
    /// From seconds, each with how often it was seen; none of nothing.
    pub fn of(counted: impl IntoIterator<Item = (f64, u64)>) -> Option<Unloaded> {
        let mut counted: Vec<(f64, u64)> = counted.into_iter().filter(|(_, n)| *n > 0).collect();
        counted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u64 = counted.iter().map(|(_, count)| count).sum();
        (total > 0).then(|| {
            let mut steps: Vec<(f64, f64)> = Vec::new();
            for (seconds, count) in counted {
                let share = count as f64 / total as f64;
                match steps.last_mut() {
                    Some(last) if last.1 + share <= 1.0 / STEPS => {
                        last.0 = (last.0 * last.1 + seconds * share) / (last.1 + share);
                        last.1 += share;
                    }
                    _ => steps.push((seconds, share)),
                }
            }
            Unloaded(steps)
        })
    }

    /// The mean, in seconds.
    pub fn mean_s(&self) -> f64 {
        self.0.iter().map(|(s, share)| s * share).sum()
    }

    /// The same with all its times longer or shorter by so much; none becomes negative.
    pub fn shifted(&self, by_s: f64) -> Unloaded {
        let shift = |&(s, share): &(f64, f64)| (f64::max(s + by_s, 0.0), share);
        Unloaded(self.0.iter().map(shift).collect())
    }

    fn max_s(&self) -> f64 {
        self.0.last().map_or(0.0, |(s, _)| *s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, relative: f64) -> bool {
        (a - b).abs() <= relative * b.abs()
    }

    #[test]
    fn erlang_c_is_what_the_tables_say() {
        // One server: the chance to wait is the utilisation.
        assert!(near(erlang_c(1, 0.7), 0.7, 1e-12));
        // Two servers, 1 Erlang: 1/3. Published tables: 10 servers, 7 Erlangs: 0.2217.
        assert!(near(erlang_c(2, 1.0), 1.0 / 3.0, 1e-12));
        assert!(near(erlang_c(10, 7.0), 0.2217, 1e-3));
        assert_eq!(
            (erlang_c(3, 0.0), erlang_c(3, 3.0), erlang_c(3, 9.0)),
            (0.0, 1.0, 1.0)
        );
        // Thousands of servers do not overflow.
        assert!((0.0..1.0).contains(&erlang_c(5000, 4900.0)));
    }

    #[test]
    fn one_server_waits_as_pollaczek_and_khinchine_say() {
        // M/D/1 at 0.8: ρ s / (2 (1 − ρ)).
        let constant = Servers {
            count: 1,
            service_s: 0.01,
            variability: 0.5,
        };
        assert!(near(
            constant.mean_wait_s(80.0),
            0.8 * 0.01 / (2.0 * 0.2),
            1e-12
        ));
        assert_eq!(constant.mean_wait_s(100.0), f64::INFINITY);
    }

    #[test]
    fn the_latency_of_m_m_1_is_exponential() {
        // D exponential with mean s, W as above: their sum is exponential with mean s / (1 − ρ).
        let servers = Servers {
            count: 1,
            service_s: 1.0,
            variability: 1.0,
        };
        let steps = 20_000;
        let at = |i: u32| -(1.0 - (f64::from(i) + 0.5) / f64::from(steps)).ln();
        let unloaded = Unloaded::of((0..steps).map(|i| (at(i), 1))).expect("times");
        for (rate, quantile) in [(0.5, 0.5), (0.5, 0.99), (0.8, 0.99)] {
            let exact = -f64::ln(1.0 - quantile) / (1.0 - rate);
            let got = servers.latency_s(&unloaded, rate, quantile);
            assert!(near(got, exact, 0.01), "{rate} {quantile}: {got} {exact}");
        }
        let rate = servers
            .rate_within(&unloaded, 0.99, 20.0)
            .expect("is within");
        assert!(near(rate, 1.0 + f64::ln(0.01) / 20.0, 0.01), "{rate}");
        assert_eq!(servers.rate_within(&unloaded, 0.99, 1.0), None);
    }
}
