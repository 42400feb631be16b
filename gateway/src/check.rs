//! `penstock-gateway check`: everything that can be found wrong without starting, and what would
//! run: cores and why, I/O driver, policy, rules with their own examples.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use penstock_policies::{GuardSummary, PolicySet};
use serde_json::json;

use crate::config::{CorePlan, Topology};
use crate::control::Notifier;
use crate::identity::IdentityShared;
use crate::reload::{self, ProcessKey};
use crate::run::{lines, warnings};
use crate::shell;

/// What was found.
struct Report {
    plan: CorePlan,
    driver: Result<&'static str, String>,
    policy: Arc<PolicySet>,
    warnings: Vec<String>,
    failures: Vec<String>,
}

/// Runs the check; the exit code of the process.
pub fn main(path: &Path, as_json: bool) -> ExitCode {
    match inspect(path) {
        Ok(report) => {
            let good = report.failures.is_empty();
            if as_json {
                println!("{}", report.to_json());
            } else {
                report.print();
            }
            if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(reason) => {
            if as_json {
                println!(
                    "{}",
                    json!({"ok": false, "errors": reason.lines().collect::<Vec<_>>()})
                );
            } else {
                eprintln!("penstock-gateway: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

fn inspect(path: &Path) -> Result<Report, String> {
    let process_key = ProcessKey::random().map_err(|fault| fault.to_string())?;
    let (inputs, in_force) = reload::load(path, &process_key)?;
    let (config, policy) = (inputs.config, in_force.policy);
    let warnings = warnings(&config, &policy);
    let missing = config.missing_secrets();
    if !missing.is_empty() {
        return Err(lines(missing.into_iter()));
    }
    let failures = policy
        .check_examples()
        .iter()
        .map(ToString::to_string)
        .collect();
    IdentityShared::new(
        config.issuers.clone(),
        config.identity.anonymous_groups.clone(),
    )
    .map_err(|errors| lines(errors.iter().map(ToString::to_string)))?;
    for section in [&config.listen.tls, &config.control.tls]
        .into_iter()
        .flatten()
    {
        shell::server_config(section).map_err(|error| error.to_string())?;
    }
    Notifier::new(&config.notify, &config.named_issuers())?;
    let plan = CorePlan::choose(&config.cores, &config.exclude_cores, &Topology::read())?;
    let driver = shell::probe_driver().map_err(|error| error.to_string());
    Ok(Report {
        plan,
        driver,
        policy,
        warnings,
        failures,
    })
}

/// A guard in one line.
fn describe(guard: &GuardSummary) -> String {
    let GuardSummary {
        name,
        direction,
        action,
        rules,
        approvers,
        observes,
    } = guard;
    let s = if *rules == 1 { "" } else { "s" };
    let approvers = approvers
        .as_ref()
        .map_or_else(String::new, |approvers| format!(" for {approvers}"));
    format!("guard \"{name}\": {direction}, {action}{approvers}, {rules} rule{s}{observes}")
}

// === impl Report ===

impl Report {
    fn print(&self) {
        let summary = self.policy.summary();
        println!("policy {}", self.policy.version());
        println!("  files: {}", summary.files.join(", "));
        println!(
            "  grants: {}, rules in use: {}",
            summary.grants, summary.rules_used
        );
        for guard in &summary.guards {
            println!("  {}", describe(guard));
        }
        for hold in &summary.holds {
            println!("  hold {hold}");
        }
        for tokenizer in &summary.tokenizers {
            println!("  tokens {tokenizer}");
        }
        for (pack, rules) in &summary.packs {
            let s = if *rules == 1 { "" } else { "s" };
            println!("  pack {pack}: {rules} rule{s}");
        }
        match &self.driver {
            Ok(driver) => println!("I/O driver: {driver}"),
            Err(error) => println!("I/O driver: none ({error})"),
        }
        println!("cores");
        for reason in &self.plan.reasons {
            println!("  {reason}");
        }
        for warning in &self.warnings {
            println!("warning: {warning}");
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        println!(
            "{}",
            if self.failures.is_empty() {
                "good"
            } else {
                "not good"
            }
        );
    }

    fn to_json(&self) -> serde_json::Value {
        let summary = self.policy.summary();
        json!({
            "ok": self.failures.is_empty(),
            "policy_version": self.policy.version(),
            "files": summary.files,
            "grants": summary.grants,
            "guards": summary.guards.iter().map(describe).collect::<Vec<_>>(),
            "holds": summary.holds,
            "tokenizers": summary.tokenizers,
            "rules_used": summary.rules_used,
            "driver": self.driver.as_ref().ok(),
            "cores": self.plan.serve,
            "housekeeping_core": self.plan.housekeeping,
            "core_reasons": self.plan.reasons,
            "warnings": self.warnings,
            "failures": self.failures,
        })
    }
}
