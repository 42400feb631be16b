//! Identifiers of Spain, Italy, Portugal, Greece, Turkey.

use super::scheme::{
    base36, collect, digits, is_ddmmyy, is_uniform, luhn, number, signs, small, weighted,
    without_prefix,
};

/// The control letter of a Spanish number, by its remainder to 23.
fn control_letter(number: u64) -> u8 {
    b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize]
}

/// Spain's DNI: eight digits, or seven, and a letter (Ministerio del Interior).
pub(super) fn es_dni(value: &str) -> bool {
    let mut dni = [0; 9];
    match collect(value, &mut dni) {
        Some(count @ 8..=9) => checked_by_letter(&dni[..count - 1], dni[count - 1]),
        _ => false,
    }
}

/// Digits and their control letter; none that are all zero.
fn checked_by_letter(signs: &[u8], letter: u8) -> bool {
    let mut body = [0; 8];
    for (digit, sign) in body.iter_mut().zip(signs) {
        *digit = sign.wrapping_sub(b'0');
    }
    let body = &body[..signs.len()];
    let number = number(body);
    body.iter().all(|digit| *digit < 10) && number > 0 && control_letter(number) == letter
}

/// Spain's NIE: X, Y or Z count for 0, 1 and 2 before seven digits.
pub(super) fn es_nie(value: &str) -> bool {
    signs::<9>(value).is_some_and(|mut nie| {
        let foreign = matches!(nie[0], b'X'..=b'Z');
        nie[0] = nie[0].wrapping_sub(b'X' - b'0');
        foreign && checked_by_letter(&nie[..8], nie[8])
    })
}

/// Spain's tax number: of a person (DNI, NIE, or K, L, M) or of an entity (the former CIF, whose
/// control is a digit or a letter as its kind demands).
pub(super) fn es_nif(value: &str) -> bool {
    let Some(nif) = signs::<9>(value) else {
        return false;
    };
    match nif[0] {
        b'0'..=b'9' => es_dni(value),
        b'X'..=b'Z' => es_nie(value),
        b'K'..=b'M' => checked_by_letter(&nif[1..8], nif[8]),
        b'A'..=b'H' | b'J' | b'N' | b'P'..=b'S' | b'U'..=b'W' => es_entity(&nif),
        _ => false,
    }
}

fn es_entity(nif: &[u8; 9]) -> bool {
    let body = nif.map(|sign| sign.wrapping_sub(b'0'));
    if body[1..8].iter().any(|digit| *digit > 9) {
        return false;
    }
    let mut with_zero = [0; 8];
    with_zero[..7].copy_from_slice(&body[1..8]);
    let check = (10 - super::scheme::luhn_sum(&with_zero) % 10) % 10;
    let (digit, letter) = (b'0' + check as u8, b"JABCDEFGHI"[check as usize]);
    match nif[0] {
        b'A' | b'B' | b'E' | b'H' => nif[8] == digit,
        b'N' | b'P'..=b'S' | b'W' => nif[8] == letter,
        _ => nif[8] == digit || nif[8] == letter,
    }
}

/// Spain's account number (CCC): bank and branch, two check digits to modulus 11, account.
pub(super) fn es_ccc(value: &str) -> bool {
    const WEIGHTS: [u32; 10] = [1, 2, 4, 8, 5, 10, 9, 7, 3, 6];
    digits::<20>(value).is_some_and(|ccc| {
        let check = |sum: u32| match 11 - sum % 11 {
            11 => 0,
            10 => 1,
            check => check,
        };
        !is_uniform(&ccc)
            && check(weighted(&ccc[..8], &WEIGHTS[2..])) == u32::from(ccc[8])
            && check(weighted(&ccc[10..], &WEIGHTS)) == u32::from(ccc[9])
    })
}

/// Spain's social security number: a province, eight digits, and the remainder to 97.
pub(super) fn es_nss(value: &str) -> bool {
    digits::<12>(value).is_some_and(|nss| {
        let (province, serial) = (number(&nss[..2]), number(&nss[2..10]));
        let whole = match serial < 10_000_000 {
            true => province * 10_000_000 + serial,
            false => province * 100_000_000 + serial,
        };
        matches!(province, 1..=53 | 66) && whole % 97 == number(&nss[10..])
    })
}

/// Italy's codice fiscale: letters of names, date with a letter for the month and 40 added to a
/// woman's day, place, check letter; digits may stand as letters (omocodia). DM 23 December 1976.
pub(super) fn it_codice_fiscale(value: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let Some(code) = signs::<16>(value) else {
        return false;
    };
    let digit = |at: usize| match code[at] {
        sign @ b'0'..=b'9' => Some(u32::from(sign - b'0')),
        sign => b"LMNPQRSTUV"
            .iter()
            .position(|letter| *letter == sign)
            .map(|at| at as u32),
    };
    let pair = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    let is_letter = |at: usize| code[at].is_ascii_uppercase();
    let dated = b"ABCDEHLMPRST".contains(&code[8])
        && pair(6).is_some()
        && matches!(pair(9), Some(1..=31 | 41..=71));
    let placed = is_letter(11) && (12..15).all(|at| digit(at).is_some());
    let worth = |(at, sign): (usize, &u8)| {
        let plain = match sign {
            b'0'..=b'9' => u32::from(sign - b'0'),
            _ => base36(*sign) - 10,
        };
        if at % 2 == 0 {
            ODD[plain as usize]
        } else {
            plain
        }
    };
    let sum: u32 = code[..15].iter().enumerate().map(worth).sum();
    (0..6).all(is_letter) && dated && placed && code[15] == b'A' + (sum % 26) as u8
}

/// Italy's partita IVA: eleven digits, Luhn.
pub(super) fn it_partita_iva(value: &str) -> bool {
    digits::<11>(without_prefix(value, &["IT"])).is_some_and(|iva| {
        let office = small(&iva[7..10]);
        !is_uniform(&iva) && matches!(office, 1..=121 | 888 | 999) && luhn(&iva)
    })
}

/// Portugal's NIF: a kind of holder and modulus 11, 0 for ten and eleven.
pub(super) fn pt_nif(value: &str) -> bool {
    digits::<9>(value).is_some_and(|nif| {
        let known = matches!(nif[0], 1..=3 | 5 | 6 | 8)
            || matches!(small(&nif[..2]), 45 | 70..=72 | 74 | 75 | 77..=79 | 90 | 91 | 98 | 99);
        let remainder = weighted(&nif[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        let check = if remainder < 2 { 0 } else { 11 - remainder };
        known && !is_uniform(&nif) && check == u32::from(nif[8])
    })
}

/// Portugal's citizen card: twelve signs, every second doubled as in Luhn (AMA).
pub(super) fn pt_citizen_card(value: &str) -> bool {
    signs::<12>(value).is_some_and(|card| {
        let doubled = |(at, sign): (usize, &u8)| match (at % 2, base36(*sign)) {
            (0, value) if value * 2 > 9 => value * 2 - 9,
            (0, value) => value * 2,
            (_, value) => value,
        };
        let sum: u32 = card.iter().enumerate().map(doubled).sum();
        let number = card[..9].iter().chain(&card[11..]).all(u8::is_ascii_digit);
        number && sum.is_multiple_of(10)
    })
}

/// Greece's AFM: nine digits, powers of two, modulus 11, then 10.
pub(super) fn gr_afm(value: &str) -> bool {
    digits::<9>(without_prefix(value, &["EL", "GR"])).is_some_and(|afm| {
        let sum = weighted(&afm[..8], &[256, 128, 64, 32, 16, 8, 4, 2]);
        !is_uniform(&afm) && sum % 11 % 10 == u32::from(afm[8])
    })
}

/// Greece's AMKA: date of birth, serial, Luhn.
pub(super) fn gr_amka(value: &str) -> bool {
    digits::<11>(value).is_some_and(|amka| is_ddmmyy(&amka) && luhn(&amka))
}

/// Turkey's identity number: eleven digits, two check digits (NVI).
pub(super) fn tr_tckn(value: &str) -> bool {
    digits::<11>(value).is_some_and(|id| {
        let odd = weighted(&id[..9], &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
        let even = weighted(&id[..8], &[0, 1, 0, 1, 0, 1, 0, 1]);
        let tenth = (odd * 7 + 100 - even) % 10;
        id[0] != 0 && tenth == u32::from(id[9]) && (odd + even + tenth) % 10 == u32::from(id[10])
    })
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn spain() {
        catches_a_changed_digit("es_dni", &["12345678Z", "12.345.678-Z", "54362315-K"]);
        catches_a_changed_digit("es_nie", &["X1234567L", "X-2482300-W"]);
        catches_a_changed_digit(
            "es_nif",
            &["A58818501", "54362315K", "X2482300W", "J99216582"],
        );
        refuses(
            "es_nif",
            &["A5881850B", "I58818501", "P58818501", "00000000T"],
        );
        catches_a_changed_digit("es_nss", &["28 12345678 40"]);
        catches_a_changed_digit("es_ccc", &["2077 0338 79 3100254321"]);
    }

    #[test]
    fn italy() {
        catches_a_changed_digit(
            "it_codice_fiscale",
            &["RSSMRA85T10A562S", "RCCMNL83S18D969H"],
        );
        accepts("it_codice_fiscale", &["rss mra 85t10 a562s"]);
        refuses(
            "it_codice_fiscale",
            &["RSSMRA85Z10A562S", "RSSMRA85T33A562S", "RSSMRA85T10A562T"],
        );
        catches_a_changed_digit("it_partita_iva", &["00743110157"]);
    }

    #[test]
    fn portugal() {
        accepts("pt_nif", &["123456789", "501 964 843"]);
        refuses("pt_nif", &["123456788", "423456789", "111111111"]);
        accepts("pt_citizen_card", &["00000000 0 ZZ4"]);
        refuses("pt_citizen_card", &["00000000 0 ZZ5", "10000000 0 ZZ4"]);
    }

    #[test]
    fn greece_and_turkey() {
        accepts("gr_afm", &["094259216", "023456780"]);
        refuses("gr_afm", &["094259217", "000000000"]);
        catches_a_changed_digit("gr_amka", &["01013099997"]);
        refuses("gr_amka", &["01133099996", "320130 99990"]);
        catches_a_changed_digit("tr_tckn", &["10000000146", "17291716060"]);
    }
}
