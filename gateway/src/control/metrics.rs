//! The gateway's figures in OpenMetrics' text format, made anew for each scrape.
//!
//! Names begin with `penstock_`; counters end with `_total`, times are in seconds. Labels are
//! bounded: routes and codes are the program's, guards and rules the operator's, models those that
//! were really asked (see [`crate::telemetry::Tally`]).

use std::fmt;
use std::sync::Arc;

use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::fleet;
use super::notify::ReceiverFigures;
use crate::reload::Standing;
use crate::telemetry::{Gathered, Phase, Totals};

/// Media type of what [`render`] gives.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets, in microseconds: from a quick inspection to a long generation.
const BOUNDS_US: [u64; 18] = [
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    30_000_000,
    120_000_000,
    600_000_000,
];

/// Everything that a scrape tells.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) gathered: Gathered,
    pub(super) totals: Totals,
    pub(super) cores: usize,
    pub(super) policy_version: String,
    pub(super) recorder: Option<bool>,
    pub(super) revocations: u64,
    pub(super) revoked_exchanges: u64,
    /// What has happened to approvals, since the start.
    pub(super) approvals: Vec<(&'static str, u64)>,
    /// Those that wait for people; absent where that cannot be known.
    pub(super) approvals_pending: Option<u64>,
    pub(super) issuers: Vec<IssuerFigures>,
    /// How the state is doing.
    pub(super) state: fleet::Standing,
    pub(super) reloads: Standing,
    pub(super) receivers: Vec<ReceiverFigures>,
    pub(super) notices_lost: u64,
}

/// How an issuer's keys are.
#[derive(Debug)]
pub(super) struct IssuerFigures {
    pub(super) name: String,
    pub(super) keys: u64,
    pub(super) fetched_unix: u64,
    /// Questions about opaque tokens that it answered, and that it did not.
    pub(super) asked: Option<(u64, u64)>,
}

/// Figures as a registry takes them.
#[derive(Debug)]
struct Collected(Arc<Figures>);

/// The text of one scrape.
///
/// # Errors
/// None that can be met: writing to memory does not fail.
pub(super) fn render(figures: Figures) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("penstock");
    registry.register_collector(Box::new(Collected(Arc::new(figures))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

// === impl Collected ===

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let Self(figures) = self;
        let tally = &figures.gathered.tally;
        page.info(
            "build",
            "The program.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        let policy = [("version", figures.policy_version.as_str())];
        page.info("policy", "The policy in force.", &policy)?;
        page.counters(
            "calls",
            "Calls that have ended, by route, model, outcome and error code.",
            tally.calls().into_iter().map(|(kind, count)| {
                let labels = [
                    ("route", kind.route),
                    ("model", kind.model.as_str()),
                    ("outcome", kind.outcome),
                    ("code", kind.code.as_str()),
                ];
                (labels, count)
            }),
        )?;
        page.counters(
            "verdicts",
            "What guards found, by direction, guard, rule and action.",
            tally.verdicts().into_iter().map(|(kind, count)| {
                let labels = [
                    ("direction", kind.direction),
                    ("guard", kind.guard.as_str()),
                    ("rule", kind.rule.as_str()),
                    ("action", kind.action),
                ];
                (labels, count)
            }),
        )?;
        page.phases(|phase| tally.phase(phase))?;
        for (name, help, count) in figures.totals.described() {
            page.counter(name, help, count)?;
        }
        figures.health(&mut page)?;
        figures.reloads(&mut page)?;
        figures.notifications(&mut page)
    }
}

// === impl Figures ===

impl Figures {
    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("cores", "Cores that serve.", self.cores as u64)?;
        let help = "Cores that had no time to tell their figures, which are older ones.";
        page.gauge("cores_late", help, self.gathered.late as u64)?;
        if let Some(connected) = self.recorder {
            let help = "Whether a recorder is connected.";
            page.gauge("recorder_connected", help, u64::from(connected))?;
            let help = "Frames that wait for room in the rings.";
            page.gauge(
                "ring_backlog_frames",
                help,
                self.gathered.tally.ring_backlog,
            )?;
        }
        page.gauge("revocations", "Revocations in force.", self.revocations)?;
        let help = "Exchanges that were ended because their caller was cut off.";
        page.counter("revoked_exchanges", help, self.revoked_exchanges)?;
        let help = "What has happened to approvals here: requested, approved (by one person), \
                    denied, expired, withdrawn, used.";
        let approvals = self.approvals.iter();
        let events = approvals.map(|(event, count)| ([("event", *event)], *count));
        page.counters("approvals", help, events)?;
        if let Some(pending) = self.approvals_pending {
            page.gauge(
                "approvals_pending",
                "Approvals that wait for people.",
                pending,
            )?;
        }
        let of = |figure: fn(&IssuerFigures) -> u64| {
            self.issuers
                .iter()
                .map(move |issuer| ([("issuer", issuer.name.as_str())], figure(issuer)))
        };
        let help = "Keys that an issuer publishes.";
        page.gauges("issuer_keys", help, of(|issuer| issuer.keys))?;
        let help = "When an issuer's keys were last fetched, in seconds since 1970.";
        page.gauges(
            "issuer_keys_fetched",
            help,
            of(|issuer| issuer.fetched_unix),
        )?;
        let asked = self.issuers.iter().filter_map(|issuer| {
            let (answered, failed) = issuer.asked?;
            Some(
                [("answered", answered), ("failed", failed)].map(|(outcome, count)| {
                    let labels = [("issuer", issuer.name.as_str()), ("outcome", outcome)];
                    (labels, count)
                }),
            )
        });
        let help = "Questions about opaque tokens, by what became of them.";
        page.counters("introspections", help, asked.flatten())?;
        if self.state.shared {
            let help = "Whether changes of other gateways are heard of.";
            page.gauge("state_connected", help, u64::from(self.state.connected))?;
        }
        let help = "Revocations that are in force and not written down.";
        let not_written = self.state.not_written as u64;
        page.gauge("revocations_not_written", help, not_written)
    }

    fn reloads(&self, page: &mut Page<'_>) -> fmt::Result {
        let Standing {
            applied,
            unchanged,
            refused,
            ..
        } = self.reloads;
        let outcomes = [
            ("applied", applied),
            ("unchanged", unchanged),
            ("refused", refused),
        ];
        page.counters(
            "reloads",
            "Reloads of policies and certificates, by what became of them.",
            outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        let help = "When a reload, or the start, last found nothing wrong, in seconds since 1970.";
        page.gauge("reload_last_good", help, self.reloads.last_good_unix)?;
        let last = self.reloads.last.as_ref();
        let failed = last.is_some_and(|last| !last.is_good());
        let help = "Whether the last reload was refused, so that what was in force before stays.";
        page.gauge("reload_failed", help, u64::from(failed))
    }

    fn notifications(&self, page: &mut Page<'_>) -> fmt::Result {
        let attempts = self.receivers.iter().flat_map(|receiver| {
            let outcomes = [
                ("delivered", receiver.delivered),
                ("failed", receiver.failed),
                ("given_up", receiver.given_up),
            ];
            let name = receiver.name.as_str();
            outcomes.map(|(outcome, count)| ([("receiver", name), ("outcome", outcome)], count))
        });
        let help = "Notices by receiver: delivered, failed and sent again, given up.";
        page.counters("notifications", help, attempts)?;
        let of = |figure: fn(&ReceiverFigures) -> u64| {
            self.receivers
                .iter()
                .map(move |receiver| ([("receiver", receiver.name.as_str())], figure(receiver)))
        };
        let help = "Notices that wait for a receiver.";
        page.gauges("notifications_waiting", help, of(|it| it.waiting))?;
        let help = "Notices that were given up and are kept for an operator.";
        page.gauges("notifications_dead", help, of(|it| it.dead))?;
        let help = "Notices that were lost because too many waited.";
        page.counter("notices_lost", help, self.notices_lost)
    }
}

/// Writes families of metrics.
struct Page<'a>(DescriptorEncoder<'a>);

// === impl Page ===

impl Page<'_> {
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&labels)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        self.family(
            name,
            help,
            values.map(|(labels, value)| (labels, ConstCounter::new(value))),
        )
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        self.family(
            name,
            help,
            values.map(|(labels, value)| (labels, ConstGauge::new(value))),
        )
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.one(name, help, ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.one(name, help, ConstGauge::new(value))
    }

    /// A metric without labels.
    fn one<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        metric: M,
    ) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }

    /// Metrics of one name, told apart by labels.
    fn family<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, M::TYPE)?;
        for (labels, metric) in values {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn phases<'h>(&mut self, histogram: impl Fn(Phase) -> &'h Histogram<u64>) -> fmt::Result {
        let help = "Time of calls in each phase of their lives, in seconds.";
        let mut family =
            self.0
                .encode_descriptor("phase_seconds", help, None, MetricType::Histogram)?;
        for phase in Phase::ALL {
            let histogram = histogram(phase);
            let sum = histogram.mean() * histogram.len() as f64 / 1e9;
            let buckets = buckets(histogram);
            family
                .encode_family(&[("phase", phase.as_str())])?
                .encode_histogram(sum, histogram.len(), &buckets, NO_EXEMPLARS)?;
        }
        Ok(())
    }
}

type Exemplars = std::collections::HashMap<usize, Exemplar<[(&'static str, &'static str); 0], f64>>;
const NO_EXEMPLARS: Option<&Exemplars> = None;

/// Counts between one bound and the next, the last without an upper one.
fn buckets(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut from = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_US.len() + 1);
    let mut counted = 0;
    for bound in BOUNDS_US {
        let to = bound * 1000;
        let count = histogram.count_between(from, to);
        counted += count;
        buckets.push((bound as f64 / 1e6, count));
        // What is as good as equal to the bound has been counted below it.
        from = histogram.highest_equivalent(to) + 1;
    }
    buckets.push((f64::INFINITY, histogram.len() - counted));
    buckets
}

#[cfg(test)]
mod tests {
    use penstock_recorder::frame::{Outcome, Timings};

    use super::*;
    use crate::telemetry::{Counters, Ended, Tally};

    fn figures() -> Figures {
        let mut tally = Tally::default();
        for (model, total) in [("m", 20_000), ("a\"b\\c\nd", 3_000_000)] {
            tally.call(&Ended {
                route: "/v1/chat/completions",
                model: Some(model),
                outcome: Outcome::Completed,
                code: None,
                timings: Timings {
                    inspected: 9_000,
                    forwarded: 12_000,
                    first_byte: 15_000,
                    last_byte: total,
                    held_max: 0,
                },
            });
        }
        let counters = Counters::new(1);
        counters.core(0).shed.bump();
        Figures {
            gathered: Gathered { tally, late: 1 },
            totals: counters.totals(),
            cores: 1,
            policy_version: "v".to_owned(),
            recorder: Some(true),
            revocations: 2,
            revoked_exchanges: 3,
            approvals: vec![("requested", 5), ("denied", 4)],
            approvals_pending: Some(1),
            state: fleet::Standing::default(),
            issuers: vec![IssuerFigures {
                name: "corp".to_owned(),
                keys: 4,
                fetched_unix: 5,
                asked: Some((3, 1)),
            }],
            reloads: Standing {
                version: "v".to_owned(),
                since_unix: 6,
                by: Vec::new(),
                applied: 7,
                unchanged: 8,
                refused: 9,
                last_good_unix: 10,
                last: None,
            },
            receivers: vec![ReceiverFigures {
                name: "hook".to_owned(),
                delivered: 11,
                failed: 12,
                given_up: 13,
                waiting: 14,
                dead: 15,
            }],
            notices_lost: 16,
        }
    }

    #[test]
    fn a_scrape_tells_calls_phases_and_health() {
        let text = render(figures()).unwrap();
        for line in [
            "penstock_introspections_total{issuer=\"corp\",outcome=\"failed\"} 1",
            "penstock_revocations_not_written 0",
            "# TYPE penstock_calls counter",
            "penstock_calls_total{route=\"/v1/chat/completions\",model=\"m\",outcome=\"completed\",\
             code=\"\"} 1",
            "penstock_shed_total 1",
            "penstock_build_info{version=\"0.1.0\"} 1",
            "penstock_policy_info{version=\"v\"} 1",
            "penstock_cores_late 1",
            "penstock_recorder_connected 1",
            "penstock_revocations 2",
            "penstock_revoked_exchanges_total 3",
            "penstock_approvals_total{event=\"denied\"} 4",
            "penstock_approvals_pending 1",
            "penstock_issuer_keys{issuer=\"corp\"} 4",
            "penstock_reloads_total{outcome=\"refused\"} 9",
            "penstock_reload_last_good 10",
            "penstock_reload_failed 0",
            "penstock_notifications_total{receiver=\"hook\",outcome=\"given_up\"} 13",
            "penstock_notifications_waiting{receiver=\"hook\"} 14",
            "penstock_notifications_dead{receiver=\"hook\"} 15",
            "penstock_notices_lost_total 16",
            "penstock_phase_seconds_bucket{le=\"0.00001\",phase=\"inspect\"} 2",
            "penstock_phase_seconds_bucket{le=\"0.000025\",phase=\"total\"} 1",
            "penstock_phase_seconds_bucket{le=\"+Inf\",phase=\"total\"} 2",
            "penstock_phase_seconds_count{phase=\"total\"} 2",
        ] {
            let found = text.lines().any(|it| it == line);
            assert!(found, "{line}\nis not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_model_s_name_cannot_leave_its_label() {
        let text = render(figures()).unwrap();
        assert!(text.contains(r#"model="a\"b\\c\nd""#), "{text}");
        for line in text.lines() {
            assert!(
                line.starts_with("# ") || line.starts_with("penstock_"),
                "{line}"
            );
        }
    }

    #[test]
    fn buckets_hold_every_value_once() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 2).unwrap();
        for exponent in 0..42 {
            histogram.record(1 << exponent).unwrap();
        }
        let counted: u64 = buckets(&histogram).iter().map(|(_, count)| count).sum();
        assert_eq!(counted, histogram.len());
    }
}
