//! What it costs to count a prompt's tokens exactly, beside what it costs to inspect it.
//! `cargo bench -p penstock-policies --bench token_cost -- TEXT`: TEXT is a file of at least 2 MB,
//! such as a corpus of `penstock-perf corpus`. Half of it trains a byte-level BPE of 32 000 tokens,
//! the other half is cut into prompts. One thread; wall time, the median
//! of five rounds: for a machine that does nothing else.

use std::time::{Duration, Instant};

use penstock_policies::{PolicySet, PolicySources, Profiles, Scratch, TokenCount};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder, TokenizerImpl,
};

const VOCABULARY: usize = 32_000;
const ROUNDS: usize = 5;
const SIZES: [usize; 4] = [2 << 10, 16 << 10, 128 << 10, 1 << 20];

const POLICY: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
limits = { prompt_tokens = 1 }

[[guard]]
name = "all"
direction = "request"
packs = ["secrets", "personal", "customer"]
action = "flag"

[[tokenizer]]
models = ["m"]
file = "trained.json"
"#;

type Trained =
    TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, DecoderWrapper>;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let Some(file) = arguments.next() else {
        eprintln!("token_cost: name a file of text of at least 2 MB");
        return;
    };
    let text = std::fs::read_to_string(&file).expect("the file can be read");
    let half = (text.len() / 2..).find(|at| text.is_char_boundary(*at));
    let (first, second) = text.split_at(half.expect("a boundary"));
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("tokenizers")).expect("a folder");
    let trained = train(first).to_string(false).expect("JSON");
    std::fs::write(dir.path().join("tokenizers/trained.json"), trained).expect("written");
    std::fs::write(dir.path().join("main.toml"), POLICY).expect("written");
    let policy = PolicySet::load(&PolicySources {
        withheld: &[],
        dir: dir.path(),
        pseudonym_key: [7; 32],
    })
    .expect("a policy");
    println!(
        "{:>9} {:>9} {:>12} {:>12} {:>7}",
        "bytes", "tokens", "count", "inspect", "ratio"
    );
    for size in SIZES {
        measure(&policy, &clip(second, size));
    }
}

fn train(text: &str) -> Trained {
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(ByteLevel::default()))
        .build()
        .expect("a tokenizer");
    let trainer = BpeTrainerBuilder::default().vocab_size(VOCABULARY);
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let mut trainer = trainer
        .initial_alphabet(alphabet)
        .show_progress(false)
        .build();
    tokenizer
        .train(&mut trainer, text.lines())
        .expect("it can be trained");
    tokenizer
}

fn clip(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or_default()].to_owned()
}

fn measure(policy: &PolicySet, prompt: &str) {
    let profiles = Profiles::from_names(&["openai".to_owned()]).expect("is shipped");
    let route = profiles
        .resolve("POST", "/v1/completions")
        .expect("a route");
    let counting = policy.scope(&["staff".to_owned()]);
    let body = serde_json::json!({"model": "m", "prompt": prompt}).to_string();
    // Another model's tokens are estimated: this is inspection alone.
    let other = serde_json::json!({"model": "n", "prompt": prompt}).to_string();
    let mut scratch = Scratch::default();
    let mut tokens = String::new();
    let count = median(|| {
        let count = TokenCount::new(&counting, &route, "", body.clone().into_bytes());
        let (_, counted) = count.run();
        tokens = format!("{:?}", counted.expect("counted"));
    });
    let inspect = median(|| {
        let verdict = policy.inspect_request(&counting, &route, other.as_bytes(), &mut scratch);
        assert!(verdict.is_err(), "over the bound, by the estimate");
    });
    let digits = tokens.rsplit(' ').nth(1).unwrap_or_default();
    println!(
        "{:>9} {digits:>9} {count:>12.1?} {inspect:>12.1?} {:>7.1}",
        prompt.len(),
        count.as_secs_f64() / inspect.as_secs_f64()
    );
}

fn median(mut act: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            act();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}
