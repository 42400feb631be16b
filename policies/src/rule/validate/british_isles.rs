//! Identifiers of the United Kingdom and Ireland.

use super::scheme::{collect, digits, is_uniform, signs, weighted};

/// NHS number: ten digits, modulus 11; ten as the check digit does not occur
/// (NHS Data Dictionary).
pub(super) fn uk_nhs(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| {
        !is_uniform(&number)
            && weighted(&number, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    })
}

/// National insurance number: prefixes that are given out, suffix A to D (HMRC NIM39110).
pub(super) fn uk_nino(value: &str) -> bool {
    const NEVER: [&[u8]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let Some(nino) = signs::<9>(value) else {
        return false;
    };
    let usable = |sign: u8, not: &[u8]| sign.is_ascii_uppercase() && !not.contains(&sign);
    usable(nino[0], b"DFIQUV")
        && usable(nino[1], b"DFIOQUV")
        && !NEVER.contains(&&nino[..2])
        && nino[2..8].iter().all(u8::is_ascii_digit)
        && matches!(nino[8], b'A'..=b'D')
}

/// Unique taxpayer reference: the first digit checks the others, modulus 11 (HMRC).
pub(super) fn uk_utr(value: &str) -> bool {
    let Some(number) = digits::<10>(value) else {
        return false;
    };
    let sum = weighted(&number[1..], &[6, 7, 8, 9, 10, 5, 4, 3, 2]);
    let check = b"21987654321"[(sum % 11) as usize] - b'0';
    check == number[0] && !is_uniform(&number[1..])
}

/// Driver number of Great Britain: name, date of birth with 5 added to a woman's month,
/// initials (DVLA).
pub(super) fn uk_driver(value: &str) -> bool {
    let Some(number) = signs::<16>(value) else {
        return false;
    };
    if !number[5..11].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let pair = |at: usize| (number[at] - b'0') * 10 + number[at + 1] - b'0';
    let is_padded = |sign: &u8| sign.is_ascii_uppercase() || *sign == b'9';
    let month = match pair(6) {
        month @ 51..=62 => month - 50,
        month => month,
    };
    number[0].is_ascii_uppercase()
        && number[..5].iter().chain(&number[11..13]).all(is_padded)
        && (1..=12).contains(&month)
        && (1..=31).contains(&pair(8))
}

/// Ireland's PPS number: seven digits, a check letter to modulus 23, since 2013 one letter more
/// that counts nine times.
pub(super) fn ie_pps(value: &str) -> bool {
    let mut pps = [0; 9];
    let Some(count @ 8..=9) = collect(value, &mut pps) else {
        return false;
    };
    if !pps[..7].iter().all(u8::is_ascii_digit) || !pps[7..count].iter().all(u8::is_ascii_uppercase)
    {
        return false;
    }
    let second = match pps[8] {
        // Letters of the old form, which do not count.
        0 | b'W' | b'T' | b'X' => 0,
        letter => u32::from(letter - b'A') + 1,
    };
    let number = pps.map(|sign| sign.wrapping_sub(b'0'));
    let sum = weighted(&number[..7], &[8, 7, 6, 5, 4, 3, 2]) + 9 * second;
    pps[7] == b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize]
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn health_and_insurance() {
        catches_a_changed_digit("uk_nhs", &["943 476 5919", "401-023-2137"]);
        catches_swapped_digits("uk_nhs", &["943 476 5919"]);
        refuses("uk_nhs", &["000 000 0000", "943 476 591"]);
        accepts("uk_nino", &["AB 12 34 56 C", "ab123456c"]);
        refuses(
            "uk_nino",
            &["QQ123456C", "GB123456A", "AB123456E", "AO123456A"],
        );
    }

    #[test]
    fn taxes_and_driving() {
        accepts("uk_utr", &["1123456789", "19558 39661"]);
        refuses("uk_utr", &["2123456789", "1123456788"]);
        accepts("uk_driver", &["MORGA657054SM9IJ"]);
        refuses(
            "uk_driver",
            &["MORGA667054SM9IJ", "MORGA657354SM9IJ", "1ORGA657054SM9IJ"],
        );
    }

    #[test]
    fn ireland() {
        catches_a_changed_digit("ie_pps", &["1234567T", "1234567FA", "6433435F"]);
        accepts("ie_pps", &["1234567TT", "6433435FT"]);
        refuses("ie_pps", &["1234567A", "1234567TA"]);
    }
}
