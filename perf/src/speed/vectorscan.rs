//! Vectorscan, in a process of its own that `perf/vectorscan/build` makes: the same expressions,
//! the same texts, the same cuts.
//!
//! What it is given is a rule's expression with what must stand before and behind it, as one
//! pattern, because that is what its user would write. What it does less than we do: it tells where
//! a match ends, and not where it begins (most of these sets do not compile when asked for that),
//! nor which part of it is the secret; it knows no checksum, no entropy, no words nearby.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use penstock_policies::rule::Rule;
use serde_json::Value;

use crate::error::{Doing, Error, Result};

/// Where the build script puts the program.
pub const PROGRAM: &str = "target/vectorscan/scan";

/// An expression for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Whose.
    pub id: String,
    /// In the syntax of PCRE.
    pub regex: String,
}

/// What compiling came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// How many expressions.
    pub patterns: u64,
    /// Those that it refused, with its reason.
    pub refused: Vec<String>,
    /// CPU time.
    pub seconds: f64,
    /// Size of its tables.
    pub bytes: u64,
    /// Size of the state of one stream.
    pub state_bytes: u64,
}

/// What one pass over a corpus took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// Bytes that were scanned.
    pub bytes: f64,
    /// CPU time.
    pub seconds: f64,
    /// Matches that were reported.
    pub matches: f64,
}

/// The running program.
#[derive(Debug)]
pub struct Vectorscan {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: String,
    /// Kept for as long as the program may read it.
    _patterns: tempfile::NamedTempFile,
}

/// The expression of a rule with its surroundings, as one pattern.
pub fn expression(rule: &Rule) -> Expression {
    let part = |regex: &str| format!("(?:{regex})");
    let mut regex = rule.after().map(part).unwrap_or_default();
    regex.push_str(&part(rule.regex()));
    regex.push_str(&rule.before().map(part).unwrap_or_default());
    Expression {
        id: rule.id().to_owned(),
        regex,
    }
}

// === impl Vectorscan ===

impl Vectorscan {
    /// Starts the program with these expressions, which read bytes wherever they may.
    pub fn start(expressions: &[Expression]) -> Result<Vectorscan> {
        // Reading characters costs it speed that bytes do not.
        Vectorscan::start_reading(expressions, |regex| match regex.is_ascii() {
            true => "-",
            false => "u",
        })
    }

    /// The same, and all of them read characters, so that `.{3}` is three of them: slower, and
    /// exactly what the expressions say.
    pub fn start_in_characters(expressions: &[Expression]) -> Result<Vectorscan> {
        Vectorscan::start_reading(expressions, |_| "u")
    }

    /// Starts the program, with the letters of each expression's flags.
    fn start_reading(
        expressions: &[Expression],
        flags: impl Fn(&str) -> &'static str,
    ) -> Result<Vectorscan> {
        let program = PathBuf::from(PROGRAM);
        if !program.exists() {
            let how = "perf/vectorscan/build makes it, from libvectorscan-dev";
            return Err(Error::Unable(format!("{PROGRAM} is missing: {how}")));
        }
        let mut text = String::new();
        for expression in expressions {
            let flags = flags(&expression.regex);
            let (id, regex) = (&expression.id, &expression.regex);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{id} {flags} {}\n{regex}", regex.len());
        }
        let doing = || "writing expressions".to_owned();
        let mut patterns = tempfile::NamedTempFile::new().doing(doing)?;
        patterns.write_all(text.as_bytes()).doing(doing)?;
        let mut child = Command::new(program)
            .arg(patterns.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("starting {PROGRAM}"))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Unable("a child without pipes".to_owned()));
        };
        let mut started = Vectorscan {
            child,
            commands,
            answers: BufReader::new(answers),
            version: String::new(),
            _patterns: patterns,
        };
        let hello = started.answer()?;
        started.version = hello["version"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Ok(started)
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles the expressions for whole blocks, or for streams.
    pub fn compile(&mut self, streaming: bool) -> Result<Compiled> {
        let how = if streaming { "stream" } else { "block" };
        let answer = self.ask(&format!("compile {how}"), b"")?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let refused = answer["refused"].as_array().into_iter().flatten();
        Ok(Compiled {
            patterns: number("patterns"),
            refused: refused
                .filter_map(|reason| Some(reason.as_str()?.to_owned()))
                .collect(),
            seconds: number("compile_ns") as f64 / 1e9,
            bytes: number("bytes"),
            state_bytes: number("state_bytes"),
        })
    }

    /// Loads a text to scan.
    pub fn corpus(&mut self, path: &Path) -> Result<()> {
        self.ask(&format!("corpus {}", path.display()), b"")
            .map(|_| ())
    }

    /// Scans the loaded text in blocks.
    pub fn blocks(&mut self, block: usize, repeats: u32) -> Result<Pass> {
        let answer = self.ask(&format!("block {block} {repeats}"), b"")?;
        Ok(Pass::of(&answer))
    }

    /// Scans each block as a stream of chunks.
    pub fn chunks(&mut self, block: usize, chunk: usize, repeats: u32) -> Result<Pass> {
        let answer = self.ask(&format!("stream {block} {chunk} {repeats}"), b"")?;
        Ok(Pass::of(&answer))
    }

    /// Where the expressions' matches in a text end: index of the expression, place.
    pub fn ends(&mut self, text: &str) -> Result<Vec<(usize, usize)>> {
        let answer = self.ask(&format!("ends {}", text.len()), text.as_bytes())?;
        let pair = |pair: &Value| Some((pair[0].as_u64()? as usize, pair[1].as_u64()? as usize));
        Ok(answer["ends"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(pair)
            .collect())
    }

    fn ask(&mut self, command: &str, payload: &[u8]) -> Result<Value> {
        let doing = || format!("telling Vectorscan to {command}");
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .doing(doing)?;
        self.commands.write_all(payload).doing(doing)?;
        self.commands.flush().doing(doing)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .doing(|| "hearing from Vectorscan".to_owned())?;
        serde_json::from_str(&line)
            .map_err(|error| Error::Unable(format!("Vectorscan said {line:?}: {error}")))
    }
}

impl Drop for Vectorscan {
    fn drop(&mut self) {
        // It ends by itself when its commands do; this is for when it is busy.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Pass ===

impl Pass {
    fn of(answer: &Value) -> Pass {
        let number = |name: &str| answer[name].as_f64().unwrap_or(0.0);
        Pass {
            bytes: number("bytes"),
            seconds: number("cpu_ns") / 1e9,
            matches: number("matches"),
        }
    }

    /// Billions of bytes in a second of CPU time.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes / self.seconds.max(1e-9) / 1e9
    }
}
