//! How far the model can be believed: what it says about runs that it has not seen.

use super::fit::{Load, Model, Refusal, fit};

/// A median error beyond this, and the model has not understood the service.
const ERROR_MEDIAN_MAX: f64 = 0.25;

/// What the model, fitted to all other runs, says about one run.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// The run.
    pub name: String,
    /// Measured and predicted mean, in seconds.
    pub mean_s: (f64, f64),
    /// Measured and predicted quantile, in seconds.
    pub quantile_s: (f64, f64),
}

// === impl HeldOut ===

impl HeldOut {
    /// Relative error of the quantile.
    pub fn error(&self) -> f64 {
        (self.quantile_s.1 / self.quantile_s.0 - 1.0).abs()
    }
}

/// Leaves each run out in turn. Runs without which nothing can be fitted are left alone.
pub fn hold_out(loads: &[Load], quantile: f64) -> Vec<HeldOut> {
    let mut all = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        if load.saturated() {
            continue;
        }
        let mut others = loads.to_vec();
        others.remove(index);
        let Ok(model) = fit(&others) else {
            continue;
        };
        let Some(servers) = model.servers(load.cores, false) else {
            continue;
        };
        let mean = model.unloaded.mean_s() + servers.mean_wait_s(load.rate);
        let predicted = servers.latency_s(&model.unloaded, load.rate, quantile);
        all.push(HeldOut {
            name: load.name.clone(),
            mean_s: (load.mean_s(), mean),
            quantile_s: (load.quantile_s(quantile), predicted),
        });
    }
    all
}

/// The middle and the largest error; none of none.
pub fn errors(held_out: &[HeldOut]) -> Option<(f64, f64)> {
    let mut errors: Vec<f64> = held_out.iter().map(HeldOut::error).collect();
    errors.sort_by(f64::total_cmp);
    let largest = *errors.last()?;
    Some((errors[errors.len() / 2], largest))
}

/// Refuses a model that does not foretell runs that it has not seen.
pub fn believable(model: &Model, held_out: &[HeldOut]) -> Result<(), Refusal> {
    let Some((median, largest)) = errors(held_out) else {
        return Err(Refusal(
            "with one run left out nothing can be fitted any more: measure at more loads, so that \
             the model can be tried on runs that it has not seen"
                .into(),
        ));
    };
    if median > ERROR_MEDIAN_MAX || !median.is_finite() {
        return Err(Refusal(format!(
            "the model does not foretell runs that it has not seen: its error on them is {:.0} % in \
             the middle and {:.0} % at most (allowed: {:.0} % in the middle; fit error {:.0} %). The \
             runs are too short, too noisy, or not of one service",
            100.0 * median,
            100.0 * largest,
            100.0 * ERROR_MEDIAN_MAX,
            100.0 * model.error
        )));
    }
    Ok(())
}
