//! Identifiers of Germany, Austria, Switzerland, France, the Netherlands, Belgium, Luxembourg.

use super::scheme::{
    base36, digits, is_uniform, is_yyyymmdd, luhn, luhn_sum, mod_11_10, number, signs, small,
    verhoeff, weighted,
};

/// Germany's tax identification number: ISO 7064 MOD 11,10, and of the first ten digits exactly
/// one occurs twice or three times (BZSt).
pub(super) fn de_steuer_id(value: &str) -> bool {
    let Some(id) = digits::<11>(value) else {
        return false;
    };
    let mut counts = [0; 10];
    for digit in &id[..10] {
        counts[usize::from(*digit)] += 1;
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    id[0] != 0 && repeated == 1 && counts.iter().all(|count| *count < 4) && mod_11_10(&id)
}

/// Germany's pension insurance number: area, date of birth, letter, serial, check digit
/// (VKVV § 4). Digit sums of the products are added; the letter counts as two digits.
pub(super) fn de_rvnr(value: &str) -> bool {
    let Some(signs) = signs::<12>(value) else {
        return false;
    };
    let letter = signs[8];
    if !letter.is_ascii_uppercase() {
        return false;
    }
    let place = letter - b'A' + 1;
    let mut expanded = [0; 12];
    for (digit, sign) in expanded.iter_mut().zip(
        signs[..8]
            .iter()
            .chain([place / 10 + b'0', place % 10 + b'0'].iter())
            .chain(&signs[9..11]),
    ) {
        if !sign.is_ascii_digit() {
            return false;
        }
        *digit = sign - b'0';
    }
    let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let digit_sum = |(digit, weight): (&u8, u8)| {
        let product = digit * weight;
        u32::from(product / 10 + product % 10)
    };
    let sum: u32 = expanded.iter().zip(weights).map(digit_sum).sum();
    let (day, month) = (small(&expanded[2..4]), small(&expanded[4..6]));
    matches!(day, 1..=31 | 51..=81)
        && (1..=12).contains(&month)
        && b'0' + (sum % 10) as u8 == signs[11]
}

/// The numbers of German identity cards and passports, with or without their check digit: the
/// weights 7, 3, 1 of ICAO 9303, over digits and the letters that are used.
pub(super) fn de_id_card(value: &str) -> bool {
    let mut signs = [0; 10];
    let count = super::scheme::collect(value, &mut signs);
    let usable = |sign: &u8| sign.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(sign);
    let lettered = signs[0].is_ascii_uppercase()
        && signs.iter().filter(|sign| sign.is_ascii_digit()).count() > 2;
    match count {
        Some(count @ 9..=10) if lettered && signs[..9].iter().all(usable) => {
            let sum: u32 = signs[..9]
                .iter()
                .zip([7, 3, 1].iter().cycle())
                .map(|(sign, weight)| base36(*sign) * weight)
                .sum();
            count == 9 || u32::from(signs[9].wrapping_sub(b'0')) == sum % 10
        }
        _ => false,
    }
}

/// Austria's social insurance number: serial, check digit to modulus 11, date of birth.
pub(super) fn at_svnr(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| {
        let (day, month) = (small(&number[4..6]), small(&number[6..8]));
        let sum = weighted(&number, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
        // Who has no known date of birth gets a thirteenth month or later.
        number[0] != 0
            && (1..=31).contains(&day)
            && (1..=15).contains(&month)
            && sum % 11 == u32::from(number[3])
    })
}

/// Switzerland's AHV number: 756 and an EAN-13 (BSV).
pub(super) fn ch_ahv(value: &str) -> bool {
    digits::<13>(value).is_some_and(|number| {
        let sum = weighted(&number, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
        small(&number[..3]) == 756 && sum.is_multiple_of(10)
    })
}

/// France's NIR: thirteen places and a key, 97 less the remainder; Corsica's departments 2A and
/// 2B count as 19 and 18 (INSEE).
pub(super) fn fr_nir(value: &str) -> bool {
    let Some(mut signs) = signs::<15>(value) else {
        return false;
    };
    match &signs[5..7] {
        b"2A" => signs[5..7].copy_from_slice(b"19"),
        b"2B" => signs[5..7].copy_from_slice(b"18"),
        _ => {}
    }
    if !signs.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let nir = signs.map(|sign| sign - b'0');
    matches!(nir[0], 1..=4 | 7 | 8)
        && matches!(small(&nir[3..5]), 1..=12 | 20..=42 | 50..=99)
        && 97 - number(&nir[..13]) % 97 == number(&nir[13..])
}

/// France's SIREN: nine digits, Luhn.
pub(super) fn fr_siren(value: &str) -> bool {
    digits::<9>(value).is_some_and(|siren| !is_uniform(&siren) && luhn(&siren))
}

/// France's SIRET: a SIREN and an establishment, Luhn; those of La Poste have a digit sum that is
/// a multiple of five instead.
pub(super) fn fr_siret(value: &str) -> bool {
    digits::<14>(value).is_some_and(|siret| {
        let post = small(&siret[..9]) == 356_000_000;
        let digit_sum: u32 = siret.iter().map(|digit| u32::from(*digit)).sum();
        !is_uniform(&siret)
            && luhn(&siret[..9])
            && (luhn_sum(&siret).is_multiple_of(10) || post && digit_sum.is_multiple_of(5))
    })
}

/// France's tax number (SPI): the last three digits are the first ten modulo 511.
pub(super) fn fr_spi(value: &str) -> bool {
    digits::<13>(value)
        .is_some_and(|spi| spi[0] < 4 && number(&spi[..10]) % 511 == number(&spi[10..]))
}

/// The Netherlands' BSN: eight or nine digits, the eleven test with -1 for the last (RvIG).
pub(super) fn nl_bsn(value: &str) -> bool {
    let bsn = match super::scheme::count(value) {
        8 => digits::<8>(value).map(|short| {
            let mut bsn = [0; 9];
            bsn[1..].copy_from_slice(&short);
            bsn
        }),
        _ => digits::<9>(value),
    };
    bsn.is_some_and(|bsn| {
        let sum = weighted(&bsn[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        sum > 0 && sum % 11 == u32::from(bsn[8])
    })
}

/// Belgium's national number: date of birth, serial, and 97 less the remainder, behind a 2 for
/// those born since 2000; a bis number has 20 or 40 added to the month.
pub(super) fn be_national(value: &str) -> bool {
    digits::<11>(value).is_some_and(|national| {
        let month = small(&national[2..4]) % 20;
        let (body, check) = (number(&national[..9]), number(&national[9..]));
        // Month or day may be unknown, and then zero; where a day's numbers are given out, the day
        // goes on beyond the month's end.
        // Someone without a residence has 20 or 40 added to the month (the BIS number).
        let dated = small(&national[2..4]) < 53 && month <= 12;
        dated
            && number(&national[6..9]) > 0
            && [body, body + 2_000_000_000]
                .iter()
                .any(|body| 97 - body % 97 == check)
    })
}

/// Luxembourg's national number: date of birth, serial, Luhn, and Verhoeff over the same.
pub(super) fn lu_national(value: &str) -> bool {
    digits::<13>(value).is_some_and(|national| {
        let mut verhoeffs = [0; 12];
        verhoeffs[..11].copy_from_slice(&national[..11]);
        verhoeffs[11] = national[12];
        is_yyyymmdd(&national) && luhn(&national[..12]) && verhoeff(&verhoeffs)
    })
}

/// Liechtenstein's and Switzerland's enterprise number (UID): CHE and eight digits, modulus 11.
pub(super) fn ch_uid(value: &str) -> bool {
    let Some(uid) = signs::<12>(value) else {
        return false;
    };
    let number = uid.map(|sign| sign.wrapping_sub(b'0'));
    let sum = weighted(&number[3..11], &[5, 4, 3, 2, 7, 6, 5, 4]);
    uid.starts_with(b"CHE")
        && number[3..].iter().all(|digit| *digit < 10)
        && (11 - sum % 11) % 11 == u32::from(number[11])
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn germany() {
        catches_a_changed_digit(
            "de_steuer_id",
            &["86 095 742 719", "36574261809", "65929970489"],
        );
        refuses("de_steuer_id", &["12345678903", "11111111111"]);
        accepts("de_rvnr", &["15 070649 C 103", "65 170839 J 003"]);
        refuses(
            "de_rvnr",
            &["15 070649 C 104", "15 071349 C 103", "150706490103"],
        );
        accepts("de_id_card", &["L01X00T47", "L01X00T471", "T220001293"]);
        refuses("de_id_card", &["L01X00T472", "LOLXOOTAT", "123456789"]);
    }

    #[test]
    fn austria_and_switzerland() {
        catches_a_changed_digit("at_svnr", &["1237 010180"]);
        refuses("at_svnr", &["1237 321380", "0237 010180"]);
        catches_a_changed_digit("ch_ahv", &["756.9217.0769.85", "756.1234.5678.97"]);
        catches_a_changed_digit("ch_uid", &["CHE-107.787.577"]);
    }

    #[test]
    fn france() {
        catches_a_changed_digit("fr_nir", &["2 55 08 14 168 025 38", "295109912611193"]);
        accepts("fr_nir", &["2 53 07 2B 073 004 70"]);
        catches_a_changed_digit("fr_siren", &["732 829 320"]);
        catches_a_changed_digit("fr_siret", &["732 829 320 00074"]);
        accepts("fr_siret", &["35600000049837"]);
        catches_a_changed_digit("fr_spi", &["30 23 217 600 053"]);
    }

    #[test]
    fn low_countries() {
        catches_a_changed_digit("nl_bsn", &["111222333", "1234.56.782"]);
        refuses("nl_bsn", &["000000000", "123456789"]);
        catches_a_changed_digit("be_national", &["85.07.30-033 28", "85073003328"]);
        accepts(
            "be_national",
            &["17 07 30 033 84", "85473500193", "98 47 28 997 65"],
        );
        catches_a_changed_digit("lu_national", &["1893 1201 057 32"]);
    }
}
