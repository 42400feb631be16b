//! The JSON has the shape that its schema says, and the schema in the tree is the one of the types.
//! `PENSTOCK_BLESS=1` writes it anew.

use penstock_loadgen::outcome::{Loop, Outcome};
use penstock_loadgen::report::compare::{Comparison, Question, compare};
use serde_json::Value;

use crate::made_up;

fn committed(name: &str, generated: &Value) -> Value {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PENSTOCK_BLESS").is_some() {
        let text = serde_json::to_string_pretty(generated).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let committed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        &committed, generated,
        "{name} is not the schema of the types: run this test with PENSTOCK_BLESS=1"
    );
    committed
}

#[test]
fn outcomes_have_the_shape_of_the_committed_schema() {
    let schema = committed("outcome.schema.json", &Outcome::json_schema());
    let validator = jsonschema::validator_for(&schema).unwrap();
    for kind in [Loop::Open, Loop::Closed] {
        let text = made_up(kind, 1.0, 1).to_json().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let again = Outcome::from_json(&text).unwrap();
        assert_eq!(again.to_json().unwrap(), text);
        // the validator can fail
        for (pointer, wrong) in [
            ("/counts/intended", Value::from("many")),
            ("/metrics/ttft/sent/histogram", Value::from("not base64!")),
            ("/asked/loop", Value::from("ajar")),
        ] {
            let mut broken = value.clone();
            *broken.pointer_mut(pointer).unwrap() = wrong;
            assert!(!validator.is_valid(&broken), "{pointer}");
        }
    }
}

#[test]
fn comparisons_have_the_shape_of_the_committed_schema() {
    let generated = schemars::schema_for!(Comparison).to_value();
    let schema = committed("comparison.schema.json", &generated);
    let question = Question {
        confidence: 0.99,
        margin: 0.01,
        seed: 1,
        figures: Vec::new(),
    };
    let (a, b) = (made_up(Loop::Open, 1.0, 1), made_up(Loop::Open, 1.5, 2));
    let compared = compare(("a", &a), ("b", &b), &question).unwrap();
    let value = serde_json::to_value(&compared).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&value));
}
