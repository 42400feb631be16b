//! Which part of the gateway a stack belongs to, by a table that is committed beside the code.
//!
//! `perf/profile/parts.toml` says how a stack is read; this is that reading. A stack belongs to
//! exactly one part, so shares of parts add up to the whole.

use regex::RegexSet;
use serde::Deserialize;

use super::stacks::{Space, Stack};
use crate::error::{Error, Result};

/// The table that is used unless the command line names another one.
const SHIPPED: &str = include_str!("../../profile/parts.toml");

/// The table, ready to ask.
#[derive(Debug)]
pub struct Parts {
    kernel: Kinds,
    user: Kinds,
}

/// The parts of one space, in the table's order.
#[derive(Debug)]
struct Kinds {
    names: Vec<String>,
    /// Part of each expression of the set.
    owners: Vec<usize>,
    functions: RegexSet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    part: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    space: Space,
    functions: Vec<String>,
}

// === impl Parts ===

impl Parts {
    /// The committed table.
    pub fn shipped() -> Result<Parts> {
        Parts::parse(SHIPPED)
    }

    /// Reads a table in the form of the committed one.
    pub fn parse(text: &str) -> Result<Parts> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::Unable(format!("the table of parts: {error}")))?;
        let (kernel, user) = file
            .part
            .into_iter()
            .partition(|row| row.space == Space::Kernel);
        Ok(Parts {
            kernel: Kinds::compile(kernel)?,
            user: Kinds::compile(user)?,
        })
    }

    /// The part that a stack belongs to.
    pub fn of<'a>(&'a self, stack: &Stack) -> &'a str {
        let (kinds, other) = match stack.space() {
            Space::Kernel => (&self.kernel, "other (kernel)"),
            Space::User => (&self.user, "other (user)"),
        };
        let functions = stack.functions_of(stack.space());
        functions
            .filter_map(|function| kinds.of(function))
            .next()
            .unwrap_or(other)
    }
}

// === impl Kinds ===

impl Kinds {
    fn compile(rows: Vec<Row>) -> Result<Kinds> {
        let expressions: Vec<(usize, String)> = rows
            .iter()
            .enumerate()
            .flat_map(|(index, row)| row.functions.iter().map(move |f| (index, f.clone())))
            .collect();
        let functions = RegexSet::new(expressions.iter().map(|(_, expression)| expression))
            .map_err(|error| Error::Unable(format!("the table of parts: {error}")))?;
        Ok(Kinds {
            names: rows.into_iter().map(|row| row.name).collect(),
            owners: expressions.into_iter().map(|(owner, _)| owner).collect(),
            functions,
        })
    }

    /// The first part in the table's order that knows the function.
    fn of(&self, function: &str) -> Option<&str> {
        let found = self.functions.matches(function);
        let owner = found.into_iter().map(|index| self.owners[index]).min()?;
        Some(&self.names[owner])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part_of(folded: &str) -> String {
        let stacks = Stack::read_all(folded).expect("folded");
        Parts::shipped().expect("valid").of(&stacks[0]).to_owned()
    }

    #[test]
    fn the_innermost_function_that_a_part_knows_decides() {
        let scan =
            "core-1;penstock_gateway::shell::worker::run;penstock_policies::scan::walk::Walk::next";
        assert_eq!(part_of(&format!("{scan} 7")), "scanning");
        assert_eq!(
            part_of(&format!("{scan};core::str::from_utf8 7")),
            "scanning",
            "the standard library works for its caller"
        );
        assert_eq!(
            part_of(&format!("{scan};__memmove_avx512_unaligned_erms 7")),
            "copying and allocating"
        );
        assert_eq!(part_of("core-1;start_thread;who_knows 1"), "other (user)");
    }

    #[test]
    fn kernel_functions_are_judged_by_kernel_parts_alone() {
        let user = "core-1;penstock_policies::scan::walk::Walk::next";
        let network = format!("{user};do_syscall_64_[k];io_send_[k];tcp_sendmsg_[k];memcg_[k] 3");
        assert_eq!(part_of(&network), "kernel: network");
        let ring = format!("{user};do_syscall_64_[k];io_submit_sqes_[k];xas_load_[k] 3");
        assert_eq!(part_of(&ring), "kernel: io_uring");
        assert_eq!(
            part_of(&format!("{user};who_knows_[k] 3")),
            "other (kernel)"
        );
    }

    #[test]
    fn a_faulty_table_is_refused_with_a_reason() {
        for (table, reason) in [
            ("part = 1", "the table of parts"),
            (
                "[[part]]\nname = \"a\"\nspace = \"moon\"\nfunctions = []",
                "moon",
            ),
            (
                "[[part]]\nname = \"a\"\nspace = \"user\"\nfunctions = [\"(\"]",
                "unclosed",
            ),
        ] {
            let error = Parts::parse(table).expect_err(table).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
