//! The Universal Scalability Law: what more of a resource brings, until it brings less.
//!
//! `X(N) = γ N / (1 + σ (N − 1) + κ N (N − 1))`, with `γ` what the first one brings, `σ` the part of
//! the work that only one can do at a time (contention), and `κ` what each pair costs to keep
//! consistent (coherency). N. J. Gunther, "Guerrilla Capacity Planning", 2007, ch. 4–6; the law is
//! that of a machine repairman whose service gets longer with the load (Gunther, 2008).
//!
//! `N/X` is linear in `1/γ`, `σ/γ` and `κ/γ`, so the fit is a linear least squares over relative
//! errors; none of the three may be negative, so the best of the eight sets of those that are not
//! zero is taken, which for three unknowns is what an active-set method would find.

/// A fitted law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usl {
    /// What the first one brings, such as requests a second.
    pub gamma: f64,
    /// Contention: the serial part.
    pub sigma: f64,
    /// Coherency: the cost of a pair.
    pub kappa: f64,
    /// Largest relative error over the points that it was fitted to.
    pub residual_max: f64,
}

/// Distinct values of N that a fit needs: it has three unknowns.
pub const POINTS_MIN: usize = 3;

// === impl Usl ===

impl Usl {
    /// Fits points of `(N, X)`; none when fewer than [`POINTS_MIN`] values of N are among them.
    pub fn fit(points: &[(f64, f64)]) -> Option<Usl> {
        let usable: Vec<(f64, f64)> = points
            .iter()
            .copied()
            .filter(|(n, x)| *n > 0.0 && *x > 0.0)
            .collect();
        let mut distinct: Vec<f64> = usable.iter().map(|(n, _)| *n).collect();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup_by(|a, b| (*a - *b).abs() < 1e-9 * b.abs());
        if distinct.len() < POINTS_MIN {
            return None;
        }
        let mut best: Option<(f64, [f64; 3])> = None;
        // The first unknown, 1/γ, is always there.
        for kept in [0b001, 0b011, 0b101, 0b111] {
            let Some(solved) = least_squares(&usable, kept) else {
                continue;
            };
            if solved[0] <= 0.0 || solved.iter().any(|value| *value < 0.0) {
                continue;
            }
            let error = squared_error(&usable, &solved);
            if best.is_none_or(|(least, _)| error < least) {
                best = Some((error, solved));
            }
        }
        let (_, [inverse, sigma, kappa]) = best?;
        let mut usl = Usl {
            gamma: 1.0 / inverse,
            sigma: sigma / inverse,
            kappa: kappa / inverse,
            residual_max: 0.0,
        };
        let error = |(n, x): &(f64, f64)| (usl.throughput(*n) / x - 1.0).abs();
        usl.residual_max = usable.iter().map(error).fold(0.0, f64::max);
        Some(usl)
    }

    /// X at N.
    pub fn throughput(&self, n: f64) -> f64 {
        self.gamma * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }

    /// The N past which more brings less; none when there is none.
    pub fn peak(&self) -> Option<f64> {
        (self.kappa > 1e-12).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    /// What no N exceeds; infinite when it grows for ever.
    pub fn ceiling(&self) -> f64 {
        match self.peak() {
            Some(peak) => self.throughput(peak),
            None if self.sigma > 1e-12 => self.gamma / self.sigma,
            None => f64::INFINITY,
        }
    }
}

/// The row of a point: what `1/γ`, `σ/γ` and `κ/γ` are multiplied with, relative to `N/X`.
fn row((n, x): (f64, f64)) -> [f64; 3] {
    let scale = x / n;
    [scale, (n - 1.0) * scale, n * (n - 1.0) * scale]
}

fn squared_error(points: &[(f64, f64)], solved: &[f64; 3]) -> f64 {
    let error = |point: &(f64, f64)| {
        let row = row(*point);
        let predicted: f64 = row.iter().zip(solved).map(|(a, b)| a * b).sum();
        (predicted - 1.0).powi(2)
    };
    points.iter().map(error).sum()
}

/// Solves the normal equations for the unknowns whose bits are in `kept`; the others are zero.
fn least_squares(points: &[(f64, f64)], kept: u32) -> Option<[f64; 3]> {
    let unknowns: Vec<usize> = (0..3).filter(|i| kept & (1 << i) != 0).collect();
    let size = unknowns.len();
    let mut matrix = vec![vec![0.0; size + 1]; size];
    for point in points {
        let row = row(*point);
        for (i, &a) in unknowns.iter().enumerate() {
            for (j, &b) in unknowns.iter().enumerate() {
                matrix[i][j] += row[a] * row[b];
            }
            matrix[i][size] += row[a];
        }
    }
    let found = super::linear::solve(matrix)?;
    let mut solved = [0.0; 3];
    for (&unknown, value) in unknowns.iter().zip(found) {
        solved[unknown] = value;
    }
    Some(solved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const NS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

    fn of(gamma: f64, sigma: f64, kappa: f64) -> Usl {
        Usl {
            gamma,
            sigma,
            kappa,
            residual_max: 0.0,
        }
    }

    #[test]
    fn known_laws_are_found_again() {
        for (gamma, sigma, kappa) in [
            (1000.0, 0.05, 0.001),
            (20.0, 0.0, 0.0),
            (7.0, 0.3, 0.0),
            (1e6, 0.0, 2e-4),
        ] {
            let law = of(gamma, sigma, kappa);
            let points: Vec<_> = NS.iter().map(|&n| (n, law.throughput(n))).collect();
            let found = Usl::fit(&points).expect("enough points");
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.max(1e-3);
            assert!(near(found.gamma, gamma), "{found:?}");
            assert!(
                near(found.sigma, sigma) && near(found.kappa, kappa),
                "{found:?}"
            );
            assert!(found.residual_max < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn with_noise_of_two_per_cent_the_curve_is_still_the_curve() {
        let law = of(1000.0, 0.04, 0.0008);
        let mut dice = Dice::new(11);
        let mut noise = || 1.0 + 0.04 * (dice.below(1_000_001) as f64 / 1e6 - 0.5);
        let points: Vec<_> = NS
            .iter()
            .map(|&n| (n, law.throughput(n) * noise()))
            .collect();
        let found = Usl::fit(&points).expect("enough points");
        for n in NS {
            let error = (found.throughput(n) / law.throughput(n) - 1.0).abs();
            assert!(error < 0.03, "{n}: {error}");
        }
        let peak = found.peak().expect("has one");
        assert!(
            (peak / law.peak().expect("has one") - 1.0).abs() < 0.2,
            "{peak}"
        );
    }

    #[test]
    fn the_peak_is_where_more_brings_less() {
        let law = of(1000.0, 0.05, 0.001);
        let peak = law.peak().expect("has one");
        assert!(law.throughput(peak) >= law.throughput(peak + 1.0));
        assert!(law.throughput(peak) >= law.throughput(peak - 1.0));
        assert!((of(10.0, 0.1, 0.0).ceiling() - 100.0).abs() < 1e-9);
        assert_eq!(of(10.0, 0.0, 0.0).ceiling(), f64::INFINITY);
    }

    #[test]
    fn two_points_are_not_enough_for_three_unknowns() {
        assert_eq!(Usl::fit(&[(1.0, 10.0), (2.0, 19.0), (2.0, 18.5)]), None);
        assert_eq!(Usl::fit(&[(1.0, 10.0), (2.0, 19.0), (0.0, 0.0)]), None);
    }
}
