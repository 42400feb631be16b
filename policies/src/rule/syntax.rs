//! The dialect of a rule's regular expression.
//!
//! It is the syntax of the `regex` crate over characters (`.` and `[^x]` take one whole
//! character), with two differences: `\d`, `\w`, `\s` and `\b` mean their ASCII sets, and under
//! `(?i)` no ASCII letter has a partner outside ASCII (Unicode would fold the Kelvin sign to `k`
//! and the long s to `s`). Secrets and identifiers are ASCII, a word boundary that needs no more
//! than one byte on either side can be decided at every split of a stream, lengths in bytes are
//! what they look like, and the automaton stays small. Whoever means Unicode says so: `\p{L}`,
//! `\p{Nd}`. `\B` is refused: its ASCII form would hold in the middle of a character.

use regex_syntax::ast::parse::Parser as AstParser;
use regex_syntax::ast::{self, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span};
use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

/// Folds to `k`.
const KELVIN_SIGN: char = '\u{212A}';
/// Folds to `s`.
const LONG_S: char = '\u{17F}';

/// Why an expression is refused, and at which byte of it.
#[derive(Debug)]
pub(crate) struct SyntaxFault {
    pub(crate) offset: usize,
    pub(crate) reason: String,
}

/// Parses an expression of the rule dialect.
pub(crate) fn parse(pattern: &str) -> Result<Hir, SyntaxFault> {
    let ast = AstParser::new()
        .parse(pattern)
        .map_err(|error| SyntaxFault {
            offset: error.span().start.offset,
            reason: format!("the expression does not parse: {}", error.kind()),
        })?;
    let edits = ast::visit(&ast, AsciiEdits::default())?;
    let rewritten = apply(pattern, &edits);
    let parsed = regex_syntax::ParserBuilder::new()
        .utf8(true)
        .build()
        .parse(&rewritten);
    parsed.map(fold_within_ascii).map_err(|error| {
        let reason = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            _ => error.to_string(),
        };
        SyntaxFault {
            offset: 0,
            reason: format!("the expression does not parse: {reason}"),
        }
    })
}

/// Collects what to write in the place of each class and boundary that would mean Unicode.
#[derive(Default)]
struct AsciiEdits {
    edits: Vec<(Span, String)>,
}

// === impl AsciiEdits ===

impl AsciiEdits {
    fn perl(&mut self, class: &ClassPerl) {
        let set = match class.kind {
            ClassPerlKind::Digit => "0-9",
            ClassPerlKind::Space => r"\t\n\x0B\x0C\r\x20",
            ClassPerlKind::Word => "0-9A-Za-z_",
        };
        let negation = if class.negated { "^" } else { "" };
        self.edits.push((class.span, format!("[{negation}{set}]")));
    }

    fn assertion(&mut self, assertion: &ast::Assertion) -> Result<(), SyntaxFault> {
        let ascii = match assertion.kind {
            AssertionKind::WordBoundary => r"(?-u:\b)",
            AssertionKind::WordBoundaryStart | AssertionKind::WordBoundaryStartAngle => {
                r"(?-u:\b{start})"
            }
            AssertionKind::WordBoundaryEnd | AssertionKind::WordBoundaryEndAngle => {
                r"(?-u:\b{end})"
            }
            AssertionKind::NotWordBoundary
            | AssertionKind::WordBoundaryStartHalf
            | AssertionKind::WordBoundaryEndHalf => {
                return Err(SyntaxFault {
                    offset: assertion.span.start.offset,
                    reason: r"only \b, \b{start} and \b{end} are word boundaries here".to_owned(),
                });
            }
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText => return Ok(()),
        };
        self.edits.push((assertion.span, ascii.to_owned()));
        Ok(())
    }
}

impl ast::Visitor for AsciiEdits {
    type Output = Vec<(Span, String)>;
    type Err = SyntaxFault;

    fn finish(mut self) -> Result<Self::Output, SyntaxFault> {
        self.edits.sort_by_key(|(span, _)| span.start.offset);
        Ok(self.edits)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), SyntaxFault> {
        match ast {
            Ast::ClassPerl(class) => self.perl(class),
            Ast::Assertion(assertion) => self.assertion(assertion)?,
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), SyntaxFault> {
        if let ClassSetItem::Perl(class) = item {
            self.perl(class);
        }
        Ok(())
    }
}

/// Takes out of every class the two characters that only case folding puts there.
fn fold_within_ascii(hir: Hir) -> Hir {
    let all = |parts: Vec<Hir>| parts.into_iter().map(fold_within_ascii).collect();
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |letter: char| {
                class
                    .iter()
                    .any(|r| (r.start()..=r.end()).contains(&letter))
            };
            let folded = |range: &ClassUnicodeRange| {
                range.start() == range.end()
                    && ((range.start() == KELVIN_SIGN && has('k') && has('K'))
                        || (range.start() == LONG_S && has('s') && has('S')))
            };
            let kept = class.iter().filter(|range| !folded(range)).copied();
            Hir::class(Class::Unicode(ClassUnicode::new(kept)))
        }
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(fold_within_ascii(*repetition.sub)),
            ..repetition
        }),
        HirKind::Capture(capture) => {
            let sub = Box::new(fold_within_ascii(*capture.sub));
            Hir::capture(Capture { sub, ..capture })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
    }
}

fn apply(pattern: &str, edits: &[(Span, String)]) -> String {
    let mut rewritten = String::with_capacity(pattern.len() * 2);
    let mut done = 0;
    for (span, text) in edits {
        rewritten.push_str(&pattern[done..span.start.offset]);
        rewritten.push_str(text);
        done = span.end.offset;
    }
    rewritten.push_str(&pattern[done..]);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(pattern: &str) -> String {
        let ast = AstParser::new().parse(pattern).expect("parses");
        apply(
            pattern,
            &ast::visit(&ast, AsciiEdits::default()).expect("has an ASCII form"),
        )
    }

    #[test]
    fn perl_classes_and_boundaries_become_ascii() {
        assert_eq!(rewritten(r"\b\d+x"), r"(?-u:\b)[0-9]+x");
        assert_eq!(
            rewritten(r"[\w.-]\S"),
            r"[[0-9A-Za-z_].-][^\t\n\x0B\x0C\r\x20]"
        );
        assert_eq!(rewritten(r"\\b\."), r"\\b\.");
    }

    #[test]
    fn nothing_of_unicode_remains() {
        let hir = parse(r"\b[\w-]{3}\d\b").expect("parses");
        assert!(!hir.properties().look_set().contains_word_unicode());
        assert_eq!(hir.properties().maximum_len(), Some(4));
    }

    #[test]
    fn letters_fold_within_ascii() {
        let length = |pattern| parse(pattern).expect("parses").properties().maximum_len();
        assert_eq!(length("(?i)(sk[a-z]{2}|mask){2}"), Some(8));
        assert_eq!(length("[^x]"), Some(4));
        assert_eq!(length("ſ"), Some(2));
    }

    #[test]
    fn faults_are_located() {
        assert_eq!(parse(r"ab(c").expect_err("unclosed").offset, 2);
        assert_eq!(parse(r"ab\Bc").expect_err("no ASCII form").offset, 2);
    }
}
