//! The picture: a flame graph in SVG, drawn by `inferno`, that opens and searches in any browser.
//!
//! Width is time. Kernel functions are orange, Rust functions yellow, the rest (C, assembler)
//! red. Nothing is fetched when it is opened.

use inferno::flamegraph::color::MultiPalette;
use inferno::flamegraph::{Options, Palette, from_lines};

use crate::error::{Doing, Result};

/// Draws folded stacks. `unit` names their weight.
pub fn draw(folded: &str, title: &str, subtitle: &str, unit: &str) -> Result<Vec<u8>> {
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    options.subtitle = Some(subtitle.to_owned());
    unit.clone_into(&mut options.count_name);
    // The palette tells the kernel by the mark that folding leaves.
    options.colors = Palette::Multi(MultiPalette::Java);
    options.hash = true;
    options.font_type = "monospace".into();
    let mut picture = Vec::new();
    from_lines(&mut options, folded.lines(), &mut picture)
        .doing(|| "drawing the flame graph".into())?;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_every_function_and_what_it_is_of() {
        let folded = "core-1;main;scan 30\ncore-1;main;tcp_sendmsg_[k] 70\n";
        let picture = draw(folded, "penstock-on, small", "a machine", "ns").expect("draws");
        let text = String::from_utf8(picture).expect("UTF-8");
        for part in [
            "<svg",
            "penstock-on, small",
            "a machine",
            "scan (30 ns, 30.00%)",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.contains("tcp_sendmsg (70 ns, 70.00%)"));
    }

    #[test]
    fn two_pictures_of_one_profile_are_equal() {
        let folded = "core-1;main;scan 30\ncore-1;main;walk 70\n";
        let draw = || draw(folded, "a", "b", "ns").expect("draws");
        assert_eq!(draw(), draw());
    }
}
