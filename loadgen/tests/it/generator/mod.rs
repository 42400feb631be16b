//! The load generator against the double.
//!
//! What is claimed of times is claimed of causes (what the double was told to wait) and of ratios,
//! never of this machine's speed.

mod answers;
mod connections;
mod starts;

use std::sync::Arc;
use std::time::Duration;

use penstock_loadgen::double::Double;
use penstock_loadgen::outcome::{Basis, Distribution, Metric, Outcome};
use penstock_loadgen::run::arrivals::{Arrivals, Pace};
use penstock_loadgen::run::check::Checks;
use penstock_loadgen::run::target::{Access, Target};
use penstock_loadgen::run::workload::files::Prompt;
use penstock_loadgen::run::workload::identity::Identities;
use penstock_loadgen::run::workload::secrets::Secrets;
use penstock_loadgen::run::workload::{Api, DisconnectAfter, Source, WorkloadOptions};
use penstock_loadgen::run::{Options, run};

const MS: u64 = 1_000_000;

fn workload(prompt: &str) -> WorkloadOptions {
    WorkloadOptions {
        api: Api::Chat,
        model: "m".into(),
        stream: false,
        usage: true,
        extra_fields: String::new(),
        output: None,
        source: Source::One(Prompt::text(prompt)),
        secrets_share: 0.0,
        secrets: Secrets::documented(1),
        disconnects_share: 0.0,
        disconnect_after: DisconnectAfter::Texts(1),
        new_connections_share: 0.0,
        identities: Identities::default(),
        seed: 1,
    }
}

/// 100 requests in half a second over eight connections, unless a test wants it otherwise.
fn options_for(url: &str, prompt: &str) -> Options {
    Options {
        target: Target::new(url, &Access::default()).unwrap(),
        arrivals: Arrivals::Rate(Pace::Constant, 200.0),
        duration: Duration::from_millis(500),
        requests_max: u64::MAX,
        connections: 8,
        timeout: Duration::from_secs(10),
        workload: workload(prompt),
        fields: String::new(),
        checks: Checks::usual(),
        objectives: Vec::new(),
        lag_max: Duration::from_secs(5), // the machine may be busy with other tests
        command: Vec::new(),
        workload_words: String::new(),
        notes: Vec::new(),
    }
}

fn options(double: &Double, prompt: &str) -> Options {
    options_for(&format!("http://{}", double.address()), prompt)
}

/// Ten streams.
fn streams(double: &Double, prompt: &str) -> Options {
    let mut options = options(double, prompt);
    options.workload.stream = true;
    options.requests_max = 10;
    options
}

fn done(options: Options) -> Outcome {
    run(options, |_| {}).unwrap()
}

fn times(outcome: &Outcome, metric: Metric, basis: Basis) -> &Distribution {
    let found = outcome.distribution(metric, Some(basis));
    found.unwrap_or_else(|| panic!("no {metric} from {basis} in {:?}", outcome.counts))
}

fn given(starts_ms: &[u64]) -> Arrivals {
    let starts: Vec<u64> = starts_ms.iter().map(|ms| ms * MS).collect();
    Arrivals::Given(Arc::from(starts), "trace")
}
