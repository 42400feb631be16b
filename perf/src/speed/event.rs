//! What one event of a stream costs: read, scanned, masked, written again, allocations counted.

use std::hint::black_box;

use penstock_policies::{PolicySet, PolicySources, Profiles};

use super::ours::cpu_seconds;
use crate::corpus::Corpus;
use crate::error::{Doing, Error, Result};
use crate::figures::FigureLine;
use crate::tokens;

/// Bytes of one answer.
const ANSWER_BYTES: usize = 2000;

/// Answers that one round filters.
const ANSWERS: usize = 200;

/// Sets of packs, by the name of the scenario.
const SETS: [(&str, &str); 3] = [
    ("secrets", r#""secrets""#),
    ("personal", r#""secrets", "customer", "personal""#),
    (
        "everything",
        r#""secrets", "customer", "personal", "injection", "high-risk""#,
    ),
];

/// Measures every set on one corpus.
pub fn measure(corpus: &Corpus, rounds: u32) -> Result<Vec<FigureLine>> {
    let answers: Vec<Vec<String>> = corpus
        .messages(ANSWER_BYTES)
        .into_iter()
        .take(ANSWERS)
        .map(|text| tokens::split(text).into_iter().map(event).collect())
        .collect();
    let mut lines = Vec::new();
    for (name, packs) in SETS {
        let policy = policy(packs)?;
        let (mut times, mut counts, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..=rounds {
            let round = filter_all(&policy, &answers)?;
            times.push(round.nanoseconds);
            counts.push(round.allocations);
            bytes.push(round.allocated_bytes);
        }
        // The first round warms up.
        let mut tell = |figure, unit, values: Vec<f64>| {
            let scenario = format!("event/{name}/{}", corpus.name);
            let values = values[1..].to_vec();
            lines.extend(FigureLine::of(scenario, "penstock", figure, unit, values));
        };
        tell("cpu_ns_per_event", "ns/event", times);
        tell("allocations_per_event", "allocations/event", counts);
        tell("allocated_bytes_per_event", "bytes/event", bytes);
    }
    Ok(lines)
}

struct Round {
    nanoseconds: f64,
    allocations: f64,
    allocated_bytes: f64,
}

/// Filters every answer, event by event. The first event of an answer, which makes the channel, is
/// not counted among the others.
fn filter_all(policy: &PolicySet, answers: &[Vec<String>]) -> Result<Round> {
    let failed = |error: &dyn std::fmt::Display| Error::Unable(format!("a filter: {error}"));
    let scope = policy.scope(&["staff".to_owned()]);
    let profiles = Profiles::from_names(&["openai".to_owned()]).map_err(|error| failed(&error))?;
    let Some(route) = profiles.resolve("POST", "/v1/chat/completions") else {
        return Err(Error::Unable("no chat route".to_owned()));
    };
    let (mut seconds, mut events, mut allocations, mut allocated) = (0.0, 0_usize, 0_u64, 0_u64);
    let mut out = Vec::with_capacity(64 << 10);
    for answer in answers {
        let media = Some("text/event-stream");
        let mut filter = policy
            .response_filter(&scope, &route, 200, media)
            .map_err(|error| failed(&error))?;
        let Some((first, rest)) = answer.split_first() else {
            continue;
        };
        // What a gateway filters, the kernel has just written: it is in a cache, where all answers
        // together, made long ago, are not.
        let received = rest.concat();
        let ends = rest.iter().scan(0, |end, event| {
            *end += event.len();
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        filter
            .push(first.as_bytes(), &mut out)
            .map_err(|error| failed(&error))?;
        let mut result = Ok(());
        let counted = allocation_counter::measure(|| {
            let from = cpu_seconds();
            let mut start = 0;
            for end in &ends {
                out.clear();
                let event = &received.as_bytes()[start..*end];
                start = *end;
                result = filter.push(black_box(event), &mut out);
                if result.is_err() {
                    break;
                }
                black_box(&out);
            }
            seconds += cpu_seconds() - from;
        });
        result.map_err(|error| failed(&error))?;
        events += rest.len();
        allocations += counted.count_total;
        allocated += counted.bytes_total;
    }
    let each = |total: f64| total / events.max(1) as f64;
    Ok(Round {
        nanoseconds: each(seconds * 1e9),
        allocations: each(allocations as f64),
        allocated_bytes: each(allocated as f64),
    })
}

/// A chat chunk of one token, as engines send them.
fn event(token: &str) -> String {
    let text = serde_json::Value::from(token);
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
         \"model\":\"llama-3\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\
         \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    )
}

fn policy(packs: &str) -> Result<PolicySet> {
    let folder = tempfile::tempdir().doing(|| "making a folder".to_owned())?;
    let text = format!(
        "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\n\
         [[guard]]\nname = \"mask\"\ndirection = \"response\"\npacks = [{packs}]\n\
         action = \"mask\"\n"
    );
    std::fs::write(folder.path().join("main.toml"), text).doing(|| "writing a policy".into())?;
    let sources = PolicySources {
        dir: folder.path(),
        pseudonym_key: [7; 32],
        withheld: &[],
    };
    PolicySet::load(&sources).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Unable(errors.join("\n"))
    })
}
