//! Characters that look like ASCII, or like nothing.
//!
//! One table says for every character what a reader sees in it: the character itself, nothing at
//! all (zero-width characters, bidi controls, variation selectors, combining marks), or ASCII: its
//! compatibility form (full-width, mathematical, circled; from Unicode's NFKC data), a digit of
//! another script, or a letter of another alphabet that is drawn the same. The last are a list of
//! our own, chosen for what passes as a Latin letter in a credential: the Unicode consortium's list
//! of confusables maps to prototypes, for which `I`, `l` and `1` are one.
//!
//! Only ASCII comes out: the rules that this serves are ASCII where it matters, and an accented
//! letter or a Chinese character stays what it is.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

/// What a reader sees in a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// The character itself.
    Same,
    /// Nothing.
    Gone,
    /// One to four ASCII characters, the first in the lowest byte.
    Ascii(u32),
}

/// What [`Fold::Gone`] is in the table; no character folds to NUL alone.
const GONE: u32 = u32::MAX;

/// Characters from here on are not in the table.
const TABLE_END: u32 = 0x2_0000;

/// Tags mirror ASCII; the rest of their plane that is assigned are variation selectors.
const TAGS: u32 = 0xE_0000;
const TAGS_END: u32 = 0xE_1000;

struct Table {
    /// By the character's high bits; page 0 is empty.
    pages: Vec<u16>,
    entries: Vec<[u32; 256]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// What a reader sees in `c`.
#[inline]
pub(super) fn fold(c: char) -> Fold {
    let code = u32::from(c);
    if code < 0x80 {
        return Fold::Same;
    }
    if code >= TABLE_END {
        return fold_tag(code);
    }
    let table = &*TABLE;
    match table.entries[usize::from(table.pages[code as usize >> 8])][code as usize & 0xFF] {
        0 => Fold::Same,
        GONE => Fold::Gone,
        ascii => Fold::Ascii(ascii),
    }
}

fn fold_tag(code: u32) -> Fold {
    match code {
        0xE_0020..=0xE_007E => Fold::Ascii(code - TAGS),
        TAGS..TAGS_END => Fold::Gone,
        _ => Fold::Same,
    }
}

/// Where compatibility forms of ASCII are.
const NFKC_RANGES: [(u32, u32); 16] = [
    (0xA0, 0xFF),
    (0x1C4, 0x1F3),
    (0x2B0, 0x2FF),
    (0x37A, 0x37F),
    (0x1D2C, 0x1DBF),
    (0x2000, 0x218F),
    (0x2460, 0x24FF),
    (0x2A74, 0x2A76),
    (0x2C7C, 0x2C7D),
    (0x3000, 0x3000),
    (0x3200, 0x33FF),
    (0xFB00, 0xFB29),
    (0xFE10, 0xFE6F),
    (0xFF01, 0xFFEE),
    (0x1_D400, 0x1_D7FF),
    (0x1_F100, 0x1_F1FF),
];

/// What is not seen: format characters, fillers, selectors, and marks upon the letter before.
const GONE_RANGES: [(u32, u32); 23] = [
    (0xAD, 0xAD),
    (0x300, 0x36F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x20D0, 0x20FF),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1_3430, 0x1_343F),
    (0x1_BCA0, 0x1_BCA3),
    (0x1_D165, 0x1_D169),
    (0x1_D16D, 0x1_D182),
    (0x1_D185, 0x1_D18B),
];

/// Where other scripts' digits begin, from zero to nine.
const DIGITS: [u32; 27] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1B50, 0xA620,
    0xA8D0, 0xAA50,
];

/// Alphabets of letters in boxes and flags, A to Z.
const ALPHABETS: [u32; 3] = [0x1_F150, 0x1_F170, 0x1_F1E6];

/// What is drawn like a character of ASCII: pairs of the character and its likeness.
const ALIKE: [&str; 11] = [
    // Cyrillic.
    "АAВBЕEКKМMНHОOРPСCТTУYХXЅSІIЈJԚQԜWҮYҺHӀIѴVԌGԀdЗ3",
    "аaсcеeоoрpхxуyѕsіiјjԛqԝwԁdһhкkүyӏlѵvԍgԁdԏn",
    // Greek.
    "ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹCϺMͿJ",
    "αaιiνvοoρpυuγyκkχxτtηnωwεeϳjϲc",
    // Armenian, Cherokee and others.
    "ՕOՍUՏSԼLօoոnսuհhցgյjզqԶQ",
    "ᎪAᏴBᏟCᎠDᎬEᏀGᎻHᎥiᎫJᏦKᏞLᎷMᏢPᏚSᎢTᏙVᎳWᏃZ",
    // Latin letters of phonetics, and small capitals.
    "ɑaɡgıiȷjɩiʋvƖlǀ|ʏYʙBɢGʜHɪIʟLɴNʀR",
    "ᴀAᴄCᴅDᴇEᴊJᴋKᴍMᴏOᴘPᴛTᴜUᴠVᴡWᴢZꜰFꜱSꞯQ",
    // Dashes. Not quotation marks: prose is full of them, and they hide nothing.
    "‐-‑-‒-–-—-―-−-⁃-﹘-ー-",
    // Other punctuation.
    "⁄/∕/∶:ː:꞉:։:。.｡.、,٫.٬,‹<›>∗*⁎*∣|ǃ!‖|⧵\\﹨\\",
    "⁓~∼~〜~₋-⁻-〇0",
];

// === impl Table ===

impl Table {
    fn new() -> Table {
        let mut table = Table {
            pages: vec![0; (TABLE_END >> 8) as usize],
            entries: vec![[0; 256]],
        };
        let alike: Vec<char> = ALIKE.iter().flat_map(|pairs| pairs.chars()).collect();
        for pair in alike.chunks(2) {
            // A likeness that is ASCII itself is part of a list for its readability alone.
            if !pair[0].is_ascii() {
                table.set(u32::from(pair[0]), u32::from(pair[1]));
            }
        }
        for (zero, digit) in DIGITS
            .iter()
            .flat_map(|zero| (0..10).map(move |d| (zero, d)))
        {
            table.set(zero + digit, u32::from(b'0') + digit);
        }
        for (first, letter) in ALPHABETS.iter().flat_map(|a| (0..26).map(move |l| (a, l))) {
            table.set(first + letter, u32::from(b'A') + letter);
        }
        for (first, last) in NFKC_RANGES {
            for c in (first..=last).filter_map(char::from_u32) {
                table.set_compatible(c);
            }
        }
        for (first, last) in GONE_RANGES {
            (first..=last).for_each(|code| table.set(code, GONE));
        }
        table
    }

    /// The compatibility form, where it is drawn like ASCII.
    fn set_compatible(&mut self, c: char) {
        let mut packed = 0;
        for (count, part) in std::iter::once(c).nfkc().enumerate() {
            let ascii = if part.is_ascii() {
                u32::from(part)
            } else {
                self.entry(u32::from(part))
            };
            if count == 4 || !(1..0x80).contains(&ascii) {
                return;
            }
            packed |= ascii << (8 * count);
        }
        if packed != u32::from(c) {
            self.set(u32::from(c), packed);
        }
    }

    fn entry(&self, code: u32) -> u32 {
        let page = self.pages.get(code as usize >> 8).copied().unwrap_or(0);
        self.entries[usize::from(page)][code as usize & 0xFF]
    }

    fn set(&mut self, code: u32, folded: u32) {
        let page = &mut self.pages[code as usize >> 8];
        if *page == 0 {
            *page = self.entries.len() as u16;
            self.entries.push([0; 256]);
        }
        self.entries[usize::from(*page)][code as usize & 0xFF] = folded;
    }
}

#[cfg(test)]
mod tests {
    use super::{Fold, fold};

    fn seen(text: &str) -> String {
        let mut seen = String::new();
        for c in text.chars() {
            match fold(c) {
                Fold::Same => seen.push(c),
                Fold::Gone => {}
                Fold::Ascii(packed) => {
                    let bytes = packed.to_le_bytes();
                    seen.extend(
                        bytes
                            .iter()
                            .take_while(|b| **b != 0)
                            .map(|b| char::from(*b)),
                    );
                }
            }
        }
        seen
    }

    #[test]
    fn a_reader_sees_ascii() {
        let cases = [
            ("ＡＫＩＡ１２", "AKIA12"),
            ("𝐀𝑲𝓘𝔸𝟏𝟚", "AKIA12"),
            ("ⒶⓀ①⑩²₃", "AK11023"),
            ("АКІА сору", "AKIA copy"),
            ("ΑΚΙΑ", "AKIA"),
            ("🅐🅺🇮🇦", "AKIA"),
            ("a\u{200B}b\u{FE0F}c\u{202E}d\u{AD}e\u{E0100}", "abcde"),
            ("\u{E0041}\u{E004B}\u{E007F}", "AK"),
            ("k̲e̲y̶", "key"),
            ("٤١١١ ४१११", "4111 4111"),
            ("4111–1111‑1111—1111", "4111-1111-1111-1111"),
            ("ﬁ…㏑℡", "fi...lnTEL"),
            ("user＠example。com", "user@example.com"),
        ];
        for (text, expected) in cases {
            assert_eq!(seen(text), expected, "{text}");
        }
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "中文字符",
            "Größe, naïve, œuvre, ñ",
            "ひらがなカタカナ",
            "한국어",
            "👍🙂",
            "±÷°",
        ] {
            assert_eq!(seen(text), text);
        }
    }

    #[test]
    fn every_character_folds_to_printable_ascii() {
        for c in (0..=0x10_FFFF_u32).filter_map(char::from_u32) {
            if let Fold::Ascii(packed) = fold(c) {
                let bytes = packed.to_le_bytes();
                let mut bytes = bytes.iter().take_while(|byte| **byte != 0);
                assert!(bytes.all(|byte| (b' '..=b'~').contains(byte)), "{c:?}");
                assert!(packed & 0xFF != 0, "{c:?}");
            }
        }
    }
}
