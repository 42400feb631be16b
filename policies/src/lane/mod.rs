//! Text in other clothes: what stands in a text but is not written in it.
//!
//! A secret that is escaped as `\u0041`, set in full-width letters or broken by characters that
//! nobody sees is as readable to its receiver as before. The lanes in this room read a text as its
//! receiver would, find in it what the plain lane finds in a text that needs no undoing, and say
//! where in the original that is. `escaped` has the definition, and why it costs nothing where
//! nothing is to be undone; `encoded` reads runs of base64 and hexadecimal digits; `merge` puts the lanes' replacements into one text.
//!
//! | undone | forms |
//! | --- | --- |
//! | backslash escapes | `\n \t \r \b \f \e \" \' \\ \/`, `\xHH`, `\uHHHH` with surrogates, `\u{…}`, `\UHHHHHHHH`, three octal digits |
//! | HTML entities | decimal and hexadecimal, with or without `;`; names of ASCII punctuation, spaces, letters in other faces |
//! | percent-encoding | `%HH`, also of UTF-8; `%uHHHH` |
//! | what is not seen | zero-width characters, soft hyphens, bidi controls, variation selectors, fillers, combining marks; at most 16 in a row |
//! | compatibility forms | whatever NFKC makes ASCII of: full-width, mathematical, circled, superscript; tag characters; digits of 27 scripts |
//! | likenesses | Cyrillic, Greek, Armenian and Cherokee letters drawn like Latin ones, small capitals, flags, typographic quotation marks and dashes |
//!
//! All of them character by character and mixed, two deep: `%2541`, `&amp;#65;`, `\\u0041`, a
//! full-width backslash. What is written three deep stays unread.
//!
//! | read | forms |
//! | --- | --- |
//! | base64 | standard and URL-safe, padded or not, in any phase, broken by line ends, two deep |
//! | hexadecimal | pairs of digits of either case without separators, two deep, also of base64 |
//!
//! Of a run, what stands before it is known to be text stays: at most eight characters of base64,
//! twelve digits. So a value that is encoded alone and is no longer than six bytes is reported, but
//! not masked. Runs are read in the text as it came: one that is broken by escapes, such as `\/`
//! or `\n` within JSON, is read in its parts, and escapes within encoded text stay unread.
//!
//! What cannot be undone: whoever controls both ends can always agree on a code that no list has,
//! such as a letter's neighbour in the alphabet, words for digits, another language. These lanes
//! stop accidents and the codes that everybody's tools undo; a model that helps to smuggle is
//! stopped by who may talk to it, not by what the text looks like.
//!
//! [`blob`] tells weights and other opaque bytes from text.

pub mod blob;

mod decode;
pub(crate) mod encoded;
mod escape;
pub(crate) mod escaped;
mod fold;
pub(crate) mod hot;
pub(crate) mod look;
pub(crate) mod merge;
