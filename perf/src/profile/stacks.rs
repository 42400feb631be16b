//! Stacks, as the field folds them: functions from the outermost to the innermost, and a weight.
//!
//! `inferno` turns what `perf script` prints into lines of `thread;outer;…;inner weight`, in which
//! functions of the kernel end with `_[k]`. Here those lines are read back and added up. The weight
//! is what the event counts: nanoseconds of CPU time for `cpu-clock`, cycles for `cycles`.

use std::collections::HashMap;

use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};
use serde::Deserialize;

use crate::error::{Doing, Error, Result};

/// The mark of kernel functions in folded lines.
const KERNEL_MARK: &str = "_[k]";

/// Where code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// In the kernel, on behalf of the process.
    Kernel,
    /// In the process.
    User,
}

/// One way in which the CPU was found, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// From the outermost to the innermost; the thread's name is not among them.
    frames: Vec<Frame>,
    /// Nanoseconds or cycles.
    pub weight: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    function: String,
    space: Space,
}

/// What one function took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub space: Space,
    /// Weight of the stacks whose innermost function it is.
    pub own: u64,
    /// Weight of all stacks that it is in: its own and that of what it calls.
    pub with_callees: u64,
}

/// Folds what `perf script` prints.
pub fn fold(script: &[u8]) -> Result<String> {
    let mut options = Options::default();
    options.annotate_kernel = true;
    options.nthreads = 1;
    let mut folded = Vec::new();
    Folder::from(options)
        .collapse(script, &mut folded)
        .doing(|| "folding the stacks".into())?;
    String::from_utf8(folded).map_err(|error| Error::Unable(format!("folding the stacks: {error}")))
}

/// How many samples `perf script` printed: each begins with a line that is not indented.
pub fn count_samples(script: &[u8]) -> usize {
    let begins = |line: &&[u8]| line.first().is_some_and(|byte| !byte.is_ascii_whitespace());
    let lines = script.split(|&byte| byte == b'\n').filter(begins);
    lines.filter(|line| line[0] != b'#').count()
}

/// All functions, those with most time of their own first.
pub fn functions(stacks: &[Stack]) -> Vec<Function> {
    let mut all: HashMap<(&str, Space), Function> = HashMap::new();
    for stack in stacks {
        for (index, frame) in stack.frames.iter().enumerate() {
            let function = all
                .entry((&frame.function, frame.space))
                .or_insert_with(|| Function {
                    name: frame.function.clone(),
                    space: frame.space,
                    own: 0,
                    with_callees: 0,
                });
            let innermost = index + 1 == stack.frames.len();
            function.own += if innermost { stack.weight } else { 0 };
            // A function that calls itself is in a stack several times, and spent that time once.
            let first = !stack.frames[..index].contains(frame);
            function.with_callees += if first { stack.weight } else { 0 };
        }
    }
    let mut all: Vec<Function> = all.into_values().collect();
    all.sort_by(|a, b| (b.own, &a.name).cmp(&(a.own, &b.name)));
    all
}

// === impl Stack ===

impl Stack {
    /// Reads folded lines.
    pub fn read_all(folded: &str) -> Result<Vec<Stack>> {
        folded.lines().map(Stack::read).collect()
    }

    fn read(line: &str) -> Result<Stack> {
        let wrong = || Error::Unable(format!("not a folded stack: {line}"));
        let (frames, weight) = line.rsplit_once(' ').ok_or_else(wrong)?;
        let weight = weight.parse().map_err(|_| wrong())?;
        let frames: Vec<Frame> = frames.split(';').skip(1).map(Frame::read).collect();
        match frames.is_empty() {
            true => Err(wrong()),
            false => Ok(Stack { frames, weight }),
        }
    }

    /// Where the sample was taken.
    pub fn space(&self) -> Space {
        self.frames.last().map_or(Space::User, |frame| frame.space)
    }

    /// The functions of one space, from the innermost outwards.
    pub fn functions_of(&self, space: Space) -> impl Iterator<Item = &str> {
        let of_space = move |frame: &&Frame| frame.space == space;
        let frames = self.frames.iter().rev().filter(of_space);
        frames.map(|frame| frame.function.as_str())
    }
}

// === impl Frame ===

impl Frame {
    fn read(text: &str) -> Frame {
        match text.strip_suffix(KERNEL_MARK) {
            // The kernel lends the process this code, which runs as the process's own.
            Some(function) if function.starts_with("__vdso") => Frame::new(function, Space::User),
            Some(function) => Frame::new(function, Space::Kernel),
            None => Frame::new(text, Space::User),
        }
    }

    fn new(function: &str, space: Space) -> Frame {
        Frame {
            function: function.to_owned(),
            space,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `perf script` of perf 6.1 prints it, with a comment and an empty stack.
    const SCRIPT: &str = "\
# a comment
core-1 13967 34917.488376:    1003009 cpu-clock: 
\t          16d80f __memmove_avx512_unaligned_erms+0xf (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t          6e8f97 penstock_policies::scan::leads::Leads::run+0x1f7 (/opt/penstock-gateway)
\t          101829 <core::str::Chars as core::iter::Iterator>::next+0x19 (/opt/penstock-gateway)

core-1 13967 34917.493872:    1003009 cpu-clock: 
\tffffffff8201bf56 tcp_ack+0x3e6 ([kernel.kallsyms])
\tffffffff82034022 tcp_v4_rcv+0xe62 ([kernel.kallsyms])
\t          101829 syscall+0x19 (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t          53e13b penstock_gateway::shell::connection::Connection::exchange::{{closure}}+0x3cbb (/opt/penstock-gateway)

core-1 13967 34917.499999:    1003009 cpu-clock: 
\tffffffff8201bf56 tcp_ack+0x3e6 ([kernel.kallsyms])
\tffffffff82034022 tcp_v4_rcv+0x1 ([kernel.kallsyms])
\t          101829 syscall+0x19 (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t          53e13b penstock_gateway::shell::connection::Connection::exchange::{{closure}}+0x1 (/opt/penstock-gateway)

core-1 13967 34918.000000:    1003009 cpu-clock: 
\t    7ffd1a3f7abc __vdso_clock_gettime+0x6c ([vdso])

";

    fn stacks() -> Vec<Stack> {
        Stack::read_all(&fold(SCRIPT.as_bytes()).expect("folds")).expect("folded")
    }

    #[test]
    fn samples_of_one_stack_are_added_up_whatever_their_offsets() {
        assert_eq!(count_samples(SCRIPT.as_bytes()), 4);
        let stacks = stacks();
        assert_eq!(stacks.len(), 3);
        let total: u64 = stacks.iter().map(|stack| stack.weight).sum();
        assert_eq!(total, 4 * 1_003_009);
        let network = stacks.iter().find(|stack| stack.space() == Space::Kernel);
        let network = network.expect("one is the kernel's");
        assert_eq!(network.weight, 2 * 1_003_009);
        let kernel: Vec<_> = network.functions_of(Space::Kernel).collect();
        assert_eq!(kernel, ["tcp_ack", "tcp_v4_rcv"]);
        let user: Vec<_> = network.functions_of(Space::User).collect();
        let exchange = "penstock_gateway::shell::connection::Connection::exchange::{{closure}}";
        assert_eq!(user, ["syscall", exchange]);
    }

    #[test]
    fn own_time_is_that_of_the_innermost_and_recursion_counts_once() {
        let folded = "t;main;walk;walk;walk 5\nt;main;walk 2\nt;main 1\n";
        let all = functions(&Stack::read_all(folded).expect("folded"));
        let seen: Vec<_> = all
            .iter()
            .map(|f| (f.name.as_str(), f.own, f.with_callees))
            .collect();
        assert_eq!(seen, [("walk", 7, 7), ("main", 1, 8)]);
    }

    #[test]
    fn code_that_the_kernel_lends_to_the_process_is_the_process_s() {
        let clock = functions(&stacks())
            .into_iter()
            .find(|function| function.name == "__vdso_clock_gettime");
        assert_eq!(clock.map(|function| function.space), Some(Space::User));
    }

    #[test]
    fn what_is_no_folded_stack_is_named() {
        for line in ["", "thread", "thread 5", "thread;main", "thread;main five"] {
            let error = Stack::read(line).expect_err(line).to_string();
            assert!(error.contains("not a folded stack"), "{error}");
        }
    }
}
