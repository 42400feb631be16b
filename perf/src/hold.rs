//! How much of an ordinary answer waits: `penstock-perf hold`.
//!
//! Texts in which no rule finds anything are sent as a model would send them, token by token. A
//! delta is *forwarded at once* when, after it, everything that came has been sent. Otherwise its
//! last bytes wait, for as many further deltas as it takes; at a stated number of tokens a second
//! that is a time. Messages in which something is found are left out, and counted.

use std::collections::VecDeque;
use std::path::PathBuf;

use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::Rule;
use penstock_policies::scan::Scanner;

use crate::corpus::{self, Corpus};
use crate::error::Result;
use crate::figures::{self, FigureLine};
use crate::machine::{Machine, Moment};
use crate::{rulesets, tokens};

/// Which of the rules hold most is found on the first so many bytes of each corpus.
const WORST_SAMPLE_BYTES: usize = 256 << 10;

/// Counts what deltas wait.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Sets of rules: secrets, customer, no-email, personal, everything.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "secrets,customer,no-email,everything"
    )]
    sets: Vec<String>,
    /// Which corpora; all when none is named.
    #[arg(long, value_delimiter = ',')]
    corpus: Vec<String>,
    /// Where they are.
    #[arg(long, default_value = corpus::FOLDER)]
    corpora: PathBuf,
    /// Use only so many bytes of each.
    #[arg(long)]
    bytes: Option<usize>,
    /// Bytes of one answer: what was held of one is over at its end.
    #[arg(long, default_value_t = 2000)]
    message_bytes: usize,
    /// The rate at which tokens are said to come.
    #[arg(long, default_value_t = 50.0)]
    tokens_per_second: f64,
    /// How many of the rules that hold most are named for the last set; 0 skips looking.
    #[arg(long, default_value_t = 10)]
    worst: usize,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write everything to a dated file in this folder.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// What was counted over the deltas of one corpus with one set of rules.
#[derive(Debug, Default)]
struct Held {
    messages: usize,
    messages_with_matches: usize,
    deltas: usize,
    at_once: usize,
    /// After each delta behind which something was held: how many bytes.
    bytes: Vec<f64>,
    /// Of each delta that was not sent whole at once: for how many further deltas it waited.
    waits: Vec<f64>,
}

type Messages<'t> = Vec<Vec<&'t str>>;

/// The command.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut corpora = corpus::load(&arguments.corpora, &arguments.corpus)?;
    if let Some(bytes) = arguments.bytes {
        for corpus in &mut corpora {
            corpus.text.truncate(corpus.text.floor_char_boundary(bytes));
        }
    }
    eprintln!("cutting into tokens");
    let cut = |corpus: &'_ Corpus| -> Vec<Vec<String>> {
        let messages = corpus.messages(arguments.message_bytes);
        let owned = |text: &&str| tokens::split(text).into_iter().map(str::to_owned).collect();
        messages.iter().map(owned).collect()
    };
    let tokens: Vec<(&'static str, Vec<Vec<String>>)> = corpora
        .iter()
        .map(|corpus| (corpus.name, cut(corpus)))
        .collect();
    let mut lines = Vec::new();
    let head = [
        "rules / corpus",
        "messages",
        "with matches",
        "deltas",
        "at once %",
        "held bytes p50",
        "p99",
        "max",
        "wait ms p99",
        "p99.9",
        "max",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for set in &arguments.sets {
        let scanner = rulesets::compile(rulesets::named(set)?)?;
        let mut all = Held::default();
        for (name, messages) in &tokens {
            let held = Held::of(&scanner, &views(messages));
            held.tell(set, name, arguments, &mut lines, &mut rows);
            all.add(held);
        }
        all.tell(set, "all", arguments, &mut lines, &mut rows);
    }
    let mut worst = Vec::new();
    if let Some(set) = arguments.sets.last().filter(|_| arguments.worst > 0) {
        worst = worst_rules(rulesets::named(set)?, &tokens, arguments.worst)?;
    }
    for (rule, share) in &worst {
        let scenario = format!("hold/rule/{rule}");
        let figure = "deltas_held";
        lines.extend(FigureLine::of(
            scenario,
            "penstock",
            figure,
            "percent",
            vec![*share],
        ));
    }
    match arguments.json {
        true => figures::print_json(&lines)?,
        false => {
            figures::print_table(&rows);
            let mut rows = vec![vec!["rule alone".to_owned(), "deltas held %".to_owned()]];
            rows.extend(
                worst
                    .iter()
                    .map(|(rule, share)| vec![rule.clone(), format!("{share:.3}")]),
            );
            figures::print_table(&rows);
        }
    }
    if let Some(folder) = &arguments.write {
        let conditions = [
            format!("{} tokens a second", arguments.tokens_per_second),
            "o200k_base vocabulary".to_owned(),
        ];
        let (date, machine) = (Moment::now().iso(), Machine::this());
        let path = figures::write(folder, &date, &machine, &conditions, &lines)?;
        eprintln!("written to {}", path.display());
    }
    Ok(true)
}

fn views(messages: &[Vec<String>]) -> Messages<'_> {
    let mut views = Vec::with_capacity(messages.len());
    for message in messages {
        views.push(message.iter().map(String::as_str).collect());
    }
    views
}

/// Each rule alone over a sample of every corpus: the share of deltas behind which it held.
fn worst_rules(
    rules: Vec<Rule>,
    tokens: &[(&'static str, Vec<Vec<String>>)],
    count: usize,
) -> Result<Vec<(String, f64)>> {
    let mut sample: Messages<'_> = Vec::new();
    for (_, messages) in tokens {
        let mut bytes = 0;
        for message in views(messages) {
            bytes += message.iter().map(|piece| piece.len()).sum::<usize>();
            if bytes > WORST_SAMPLE_BYTES {
                break;
            }
            sample.push(message);
        }
    }
    let mut shares = Vec::new();
    for rule in rules {
        let id = rule.id().to_owned();
        let held = Held::of(&rulesets::compile(vec![rule])?, &sample);
        shares.push((id, held.percent(held.deltas - held.at_once)));
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares.truncate(count);
    shares.retain(|(_, share)| *share > 0.0);
    Ok(shares)
}

// === impl Held ===

impl Held {
    fn of(scanner: &Scanner, messages: &Messages<'_>) -> Held {
        let (plan, key) = (rulesets::mask_all(scanner), MaskKey::new([7; 32]));
        let mut held = Held::default();
        for pieces in messages {
            held.messages += 1;
            let text = pieces.concat();
            match mask_text(scanner, &plan, &key, &text, &mut |_| {}) {
                Some(_) => held.messages_with_matches += 1,
                None => held.send(scanner, &plan, &key, pieces),
            }
        }
        held
    }

    /// Sends a benign message. What comes out is what went in, so lengths say what is held.
    fn send(&mut self, scanner: &Scanner, plan: &Plan, key: &MaskKey, pieces: &[&str]) {
        let mut channel = Channel::new();
        let mut out = String::new();
        let mut waiting: VecDeque<(usize, usize)> = VecDeque::new();
        let (mut came, mut sent) = (0, 0);
        for (index, piece) in pieces.iter().enumerate() {
            out.clear();
            channel.push(scanner, plan, key, piece, &mut |_| {}, &mut out);
            came += piece.len();
            sent += out.len();
            self.deltas += 1;
            while let Some((since, _)) = waiting.pop_front_if(|(_, end)| *end <= sent) {
                self.waits.push((index - since) as f64);
            }
            if sent == came {
                self.at_once += 1;
            } else {
                self.bytes.push((came - sent) as f64);
                waiting.push_back((index, came));
            }
        }
        // The end of the text follows the last delta at once.
        self.waits.extend(
            waiting
                .iter()
                .map(|(since, _)| (pieces.len() - since) as f64),
        );
    }

    fn add(&mut self, other: Held) {
        self.messages += other.messages;
        self.messages_with_matches += other.messages_with_matches;
        self.deltas += other.deltas;
        self.at_once += other.at_once;
        self.bytes.extend(other.bytes);
        self.waits.extend(other.waits);
    }

    fn percent(&self, of: usize) -> f64 {
        of as f64 * 100.0 / self.deltas.max(1) as f64
    }

    /// The value that `share` of all deltas do not exceed, those at once counting as zero.
    fn quantile(&self, values: &[f64], share: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let zeros = self.deltas.saturating_sub(sorted.len());
        let rank = (self.deltas as f64 * share).ceil() as usize;
        match rank.saturating_sub(zeros) {
            0 => 0.0,
            rank => sorted[(rank - 1).min(sorted.len() - 1)],
        }
    }

    fn tell(
        &self,
        set: &str,
        corpus: &str,
        arguments: &Arguments,
        lines: &mut Vec<FigureLine>,
        rows: &mut Vec<Vec<String>>,
    ) {
        let ms = 1000.0 / arguments.tokens_per_second;
        let mut among_held = self.bytes.clone();
        among_held.sort_by(f64::total_cmp);
        let median = among_held.get(among_held.len() / 2).copied().unwrap_or(0.0);
        let figures = [
            ("messages", "messages", self.messages as f64),
            (
                "messages_with_matches",
                "messages",
                self.messages_with_matches as f64,
            ),
            ("deltas", "deltas", self.deltas as f64),
            ("deltas_at_once", "percent", self.percent(self.at_once)),
            ("held_bytes_p50_where_held", "bytes", median),
            ("held_bytes_p99", "bytes", self.quantile(&self.bytes, 0.99)),
            ("held_bytes_max", "bytes", self.quantile(&self.bytes, 1.0)),
            ("wait_p99_ms", "ms", self.quantile(&self.waits, 0.99) * ms),
            ("wait_p999_ms", "ms", self.quantile(&self.waits, 0.999) * ms),
            ("wait_max_ms", "ms", self.quantile(&self.waits, 1.0) * ms),
        ];
        let mut row = vec![format!("{set} / {corpus}")];
        for (figure, unit, value) in figures {
            let scenario = format!("hold/{set}/{corpus}");
            row.push(match unit {
                "percent" => format!("{value:.2}"),
                _ => format!("{value:.0}"),
            });
            lines.extend(FigureLine::of(
                scenario,
                "penstock",
                figure,
                unit,
                vec![value],
            ));
        }
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(rule: &str, pieces: &[&str]) -> Held {
        let toml = format!(
            "[[rule]]\nid = \"r\"\ndescription = \"r\"\nregex = '{rule}'\nmatches = [\"\"]\n\
             misses = [\"\"]\n"
        );
        let scanner = rulesets::compile(rulesets::parse("t", &toml).expect("parses"));
        Held::of(&scanner.expect("compiles"), &vec![pieces.to_vec()])
    }

    #[test]
    fn a_beginning_waits_until_it_comes_to_nothing() {
        let held = held("key-[0-9]{8}", &["a key", "-", "12", " is", " not", " ke"]);
        assert_eq!((held.messages, held.messages_with_matches), (1, 0));
        assert_eq!((held.deltas, held.at_once), (6, 2));
        assert_eq!(held.bytes, [3.0, 4.0, 6.0, 2.0]);
        assert_eq!(held.waits, [3.0, 2.0, 1.0, 1.0]);
        assert_eq!(held.quantile(&held.waits, 1.0), 3.0);
        assert_eq!(held.quantile(&held.waits, 0.3), 0.0);
    }

    #[test]
    fn a_message_with_a_match_is_left_out() {
        let held = held("key-[0-9]{2}", &["a key", "-12"]);
        assert_eq!((held.messages_with_matches, held.deltas), (1, 0));
    }
}
