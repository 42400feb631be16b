//! Distributions of lengths: how many tokens a synthetic prompt has, how many an answer may have.
//!
//! Written `128`, `uniform:16-256`, `normal:128,32`, `lognormal:128,64` or `exponential:128`; the
//! first figure is the mean, the second the standard deviation, both of the lengths themselves. A
//! drawn length is rounded, and held within [`LENGTH_MIN`] and [`LENGTH_MAX`]; `@16-512` behind the
//! rest narrows that.

use std::fmt;
use std::str::FromStr;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, Exp, LogNormal, Normal};

/// A prompt has at least this many tokens, an answer may have at least as many.
pub const LENGTH_MIN: u32 = 1;
/// And at most this many.
pub const LENGTH_MAX: u32 = 1_000_000;

/// A distribution of lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Lengths {
    text: String,
    shape: Shape,
    min: u32,
    max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Fixed(u32),
    Uniform(u32, u32),
    Normal(Normal<f64>),
    LogNormal(LogNormal<f64>),
    Exponential(Exp<f64>),
}

// === impl Lengths ===

impl Lengths {
    /// Always the same.
    pub fn fixed(length: u32) -> Self {
        Self {
            text: length.to_string(),
            shape: Shape::Fixed(length),
            min: LENGTH_MIN,
            max: LENGTH_MAX,
        }
    }

    /// One length.
    pub fn draw(&self, rng: &mut StdRng) -> u32 {
        let drawn = match &self.shape {
            Shape::Fixed(length) => f64::from(*length),
            Shape::Uniform(low, high) => f64::from(rng.random_range(*low..=*high)),
            Shape::Normal(normal) => normal.sample(rng),
            Shape::LogNormal(lognormal) => lognormal.sample(rng),
            Shape::Exponential(exponential) => exponential.sample(rng),
        };
        // A float that is cast saturates, and NaN would be 0.
        (drawn.round() as u32).clamp(self.min, self.max)
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "{text:?}: {why}; write 128, uniform:16-256, normal:128,32, lognormal:128,64 or \
                 exponential:128 (mean, standard deviation), and @16-512 behind it for bounds"
            )
        };
        let (spec, bounds) = match text.split_once('@') {
            Some((spec, bounds)) => (spec, range(bounds).ok_or_else(|| wrong("the bounds"))?),
            None => (text, (LENGTH_MIN, LENGTH_MAX)),
        };
        let (name, figures) = spec.split_once(':').unwrap_or(("fixed", spec));
        let mean = || positive(figures).ok_or_else(|| wrong("the mean"));
        let pair = || {
            let (mean, deviation) = figures.split_once(',')?;
            Some((positive(mean)?, positive(deviation)?))
        };
        let pair = || pair().ok_or_else(|| wrong("mean and deviation"));
        let shape = match name {
            "fixed" => Shape::Fixed(whole(figures).ok_or_else(|| wrong("the length"))?),
            "uniform" => {
                let (low, high) = range(figures).ok_or_else(|| wrong("the range"))?;
                Shape::Uniform(low, high)
            }
            "normal" => {
                let (mean, deviation) = pair()?;
                Shape::Normal(Normal::new(mean, deviation).map_err(|e| wrong(&e.to_string()))?)
            }
            "lognormal" => {
                // The figures are those of the lengths, not those of their logarithms.
                let (mean, deviation) = pair()?;
                let variance = (1.0 + (deviation / mean).powi(2)).ln();
                let mu = mean.ln() - variance / 2.0;
                let made = LogNormal::new(mu, variance.sqrt());
                Shape::LogNormal(made.map_err(|e| wrong(&e.to_string()))?)
            }
            "exponential" | "exp" => {
                Shape::Exponential(Exp::new(1.0 / mean()?).map_err(|e| wrong(&e.to_string()))?)
            }
            _ => return Err(wrong("no such distribution")),
        };
        Ok(Self {
            text: text.to_owned(),
            shape,
            min: bounds.0,
            max: bounds.1,
        })
    }
}

fn whole(text: &str) -> Option<u32> {
    let length = text.parse().ok()?;
    (LENGTH_MIN..=LENGTH_MAX)
        .contains(&length)
        .then_some(length)
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (low, high) = text.split_once('-')?;
    let (low, high) = (whole(low)?, whole(high)?);
    (low <= high).then_some((low, high))
}

fn positive(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (number > 0.0 && number <= f64::from(LENGTH_MAX)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    /// Mean and standard deviation of many draws.
    fn moments(text: &str) -> (f64, f64) {
        let lengths: Lengths = text.parse().unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let draws: Vec<f64> = (0..20_000)
            .map(|_| f64::from(lengths.draw(&mut rng)))
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let square = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>();
        (mean, (square / draws.len() as f64).sqrt())
    }

    #[test]
    fn lengths_have_the_mean_and_deviation_that_they_are_given() {
        for (text, mean, deviation) in [
            ("128", 128.0, 0.0),
            ("uniform:100-300", 200.0, 58.0),
            ("normal:200,20", 200.0, 20.0),
            ("lognormal:200,100", 200.0, 100.0),
            ("exponential:200", 200.0, 200.0),
        ] {
            let (got_mean, got_deviation) = moments(text);
            assert!((got_mean - mean).abs() < 4.0, "{text}: {got_mean}");
            assert!(
                (got_deviation - deviation).abs() < 5.0,
                "{text}: {got_deviation}"
            );
        }
    }

    #[test]
    fn bounds_hold_and_nonsense_is_refused() {
        let lengths: Lengths = "normal:100,80@90-110".parse().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        assert!((0..1000).all(|_| (90..=110).contains(&lengths.draw(&mut rng))));
        for bad in [
            "0",
            "-1",
            "x",
            "uniform:5-1",
            "normal:5",
            "normal:0,1",
            "exp:nan",
            "pareto:3",
        ] {
            assert!(bad.parse::<Lengths>().is_err(), "{bad}");
        }
    }
}
