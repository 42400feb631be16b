//! Automata that several rules share.
//!
//! Rules that look for an assignment differ in the name and agree in the rest: what may stand
//! between a name and its value, and often what a value is. Each expression is compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use regex_syntax::hir::Hir;

use super::automaton::{Automaton, Reading};

/// What was compiled so far, by the expression and the way of reading it.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    made: HashMap<(String, Reading), Arc<Automaton>>,
}

// === impl Shelf ===

impl Shelf {
    /// The automaton of an expression, compiled when it is asked for the first time.
    pub(crate) fn automaton(
        &mut self,
        hir: &Hir,
        reading: Reading,
    ) -> Result<Arc<Automaton>, String> {
        let key = (hir.to_string(), reading);
        if let Some(made) = self.made.get(&key) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(Automaton::compile(hir, reading)?);
        self.made.insert(key, Arc::clone(&made));
        Ok(made)
    }
}
