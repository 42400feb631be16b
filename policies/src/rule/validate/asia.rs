//! Identifiers of Asia.

use super::scheme::{
    base36, collect, digits, is_day, is_uniform, is_yymmdd, is_yyyymmdd, luhn, mod_11_2, signs,
    small, verhoeff, weighted,
};

/// China's resident identity number: place, date of birth, ISO 7064 MOD 11-2 (GB 11643-1999).
pub(super) fn cn_resident_id(value: &str) -> bool {
    let Some(id) = signs::<18>(value) else {
        return false;
    };
    let digits = id.map(|sign| sign.wrapping_sub(b'0'));
    let numeric = digits[..17].iter().all(|digit| *digit < 10);
    numeric
        && matches!(small(&digits[..2]), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
        && is_yyyymmdd(&digits[6..])
        && (digits[17] < 10 || id[17] == b'X')
        && mod_11_2(&id)
}

/// Hong Kong's identity card: one or two letters, six digits, modulus 11, A for ten.
pub(super) fn hk_id(value: &str) -> bool {
    let mut signs = [0; 9];
    let count = match collect(value, &mut signs) {
        Some(count @ 8..=9) => count,
        _ => return false,
    };
    let (letters, rest) = signs[..count].split_at(count - 7);
    let (number, check) = rest.split_at(6);
    let check = match check[0] {
        b'A' => 10,
        sign @ b'0'..=b'9' => u32::from(sign - b'0'),
        _ => return false,
    };
    // A single letter has a blank, worth 36, before it.
    let blank = if letters.len() == 1 { 36 * 9 } else { 0 };
    let places = letters.iter().chain(number).rev().zip(2..);
    let sum: u32 = places.map(|(sign, weight)| base36(*sign) * weight).sum();
    letters.iter().all(u8::is_ascii_uppercase)
        && number.iter().all(u8::is_ascii_digit)
        && (blank + sum + check).is_multiple_of(11)
}

/// Taiwan's identity number, of citizens (1, 2) and residents (8, 9, or a letter until 2021).
pub(super) fn tw_id(value: &str) -> bool {
    // What the letters count for, from A.
    const WORTH: [u32; 26] = [
        10, 11, 12, 13, 14, 15, 16, 17, 34, 18, 19, 20, 21, 22, 35, 23, 24, 25, 26, 27, 28, 29, 32,
        30, 31, 33,
    ];
    let Some(id) = signs::<10>(value) else {
        return false;
    };
    if !id[0].is_ascii_uppercase() || !id[2..].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let area = WORTH[usize::from(id[0] - b'A')];
    let kind = match id[1] {
        b'1' | b'2' | b'8' | b'9' => u32::from(id[1] - b'0'),
        b'A'..=b'D' => WORTH[usize::from(id[1] - b'A')] % 10,
        _ => return false,
    };
    let number = id.map(|sign| sign.wrapping_sub(b'0'));
    let sum =
        area / 10 + area % 10 * 9 + kind * 8 + weighted(&number[2..], &[7, 6, 5, 4, 3, 2, 1, 1]);
    sum.is_multiple_of(10)
}

/// Korea's resident registration number: date of birth, sex and century.
pub(super) fn kr_rrn(value: &str) -> bool {
    // Nine and zero are of those born before 1900.
    digits::<13>(value).is_some_and(|rrn| is_yymmdd(&rrn))
}

/// A resident registration number with the check digit of those given out before October 2020.
pub(super) fn kr_rrn_checked(value: &str) -> bool {
    kr_rrn(value)
        && digits::<13>(value).is_some_and(|rrn| {
            let sum = weighted(&rrn, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
            (11 - sum % 11) % 10 == u32::from(rrn[12])
        })
}

/// Japan's individual number (My Number): modulus 11, 0 for what is over nine.
pub(super) fn jp_my_number(value: &str) -> bool {
    digits::<12>(value).is_some_and(|number| {
        let remainder = weighted(&number, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        let check = if remainder < 2 { 0 } else { 11 - remainder };
        !is_uniform(&number) && check == u32::from(number[11])
    })
}

/// Singapore's NRIC and FIN: S, T, F, G or M, seven digits, a check letter.
pub(super) fn sg_nric(value: &str) -> bool {
    let Some(nric) = signs::<9>(value) else {
        return false;
    };
    let (offset, letters) = match nric[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    let number = nric.map(|sign| sign.wrapping_sub(b'0'));
    let sum = offset + weighted(&number[1..8], &[2, 7, 6, 5, 4, 3, 2]);
    number[1..8].iter().all(|digit| *digit < 10) && nric[8] == letters[(sum % 11) as usize]
}

/// Malaysia's NRIC: date of birth and a place that is given out.
pub(super) fn my_nric(value: &str) -> bool {
    digits::<12>(value).is_some_and(|nric| {
        let place = small(&nric[6..8]);
        is_yymmdd(&nric)
            && matches!(place, 1..=16 | 21..=68 | 71..=72 | 74..=79 | 82..=93 | 98 | 99)
    })
}

/// Thailand's citizen number: modulus 11.
pub(super) fn th_id(value: &str) -> bool {
    digits::<13>(value).is_some_and(|id| {
        let sum = weighted(&id, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        id[0] != 0 && !is_uniform(&id) && (11 - sum % 11) % 10 == u32::from(id[12])
    })
}

/// Indonesia's NIK: a province, and a date of birth with 40 added to a woman's day.
pub(super) fn id_nik(value: &str) -> bool {
    digits::<16>(value).is_some_and(|nik| {
        let day = small(&nik[6..8]) % 40;
        matches!(small(&nik[..2]), 11..=21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=96)
            && is_day(small(&nik[10..12]), small(&nik[8..10]), day)
            && small(&nik[12..]) > 0
    })
}

/// India's Aadhaar: twelve digits, the first above one, no palindrome, Verhoeff (UIDAI).
pub(super) fn in_aadhaar(value: &str) -> bool {
    digits::<12>(value).is_some_and(|number| {
        let palindrome = number[..6].iter().eq(number[6..].iter().rev());
        number[0] > 1 && !palindrome && verhoeff(&number)
    })
}

/// India's PAN: three letters, the kind of holder, a letter, four digits, a letter.
pub(super) fn in_pan(value: &str) -> bool {
    signs::<10>(value).is_some_and(|pan| is_pan(&pan))
}

fn is_pan(pan: &[u8]) -> bool {
    let letters = pan[..5].iter().chain(&pan[9..]).all(u8::is_ascii_uppercase);
    // The serial numbers begin with one.
    let serial = pan[5..9].iter().all(u8::is_ascii_digit) && &pan[5..9] != b"0000";
    letters && serial && b"ABCFGHJLPTK".contains(&pan[3])
}

/// India's GSTIN: a state, a PAN, and a check sign to modulus 36 (GSTN).
pub(super) fn in_gstin(value: &str) -> bool {
    let Some(gstin) = signs::<15>(value) else {
        return false;
    };
    let share = |(at, sign): (usize, &u8)| {
        let product = base36(*sign) * if at % 2 == 0 { 1 } else { 2 };
        product / 36 + product % 36
    };
    let sum: u32 = gstin[..14].iter().enumerate().map(share).sum();
    let state = gstin[..2].iter().all(u8::is_ascii_digit)
        && matches!(small(&[gstin[0] - b'0', gstin[1] - b'0']), 1..=38 | 97 | 99);
    state && is_pan(&gstin[2..12]) && base36(gstin[14]) == (36 - sum % 36) % 36
}

/// Pakistan's CNIC: a province, thirteen digits, the last of which is not zero.
pub(super) fn pk_cnic(value: &str) -> bool {
    digits::<13>(value).is_some_and(|cnic| matches!(cnic[0], 1..=7) && cnic[12] != 0)
}

/// The Emirates identity number: 784, year of birth, Luhn.
pub(super) fn ae_emirates_id(value: &str) -> bool {
    digits::<15>(value).is_some_and(|id| {
        small(&id[..3]) == 784 && matches!(small(&id[3..7]), 1900..=2099) && luhn(&id)
    })
}

/// Saudi Arabia's national identity and residence numbers: 1 or 2, Luhn.
pub(super) fn sa_national_id(value: &str) -> bool {
    digits::<10>(value).is_some_and(|id| matches!(id[0], 1 | 2) && !is_uniform(&id) && luhn(&id))
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn china_hong_kong_and_taiwan() {
        catches_a_changed_digit(
            "cn_resident_id",
            &["11010519491231002X", "440524188001010014"],
        );
        accepts("cn_resident_id", &["11010519491231002x"]);
        refuses(
            "cn_resident_id",
            &["110105194912310021", "990105194912310021"],
        );
        catches_a_changed_digit("hk_id", &["A123456(3)", "AB987654(3)"]);
        refuses("hk_id", &["1123456(3)", "A12345(3)", "A123456(B)"]);
        accepts("tw_id", &["A123456789"]);
        refuses(
            "tw_id",
            &["A323456789", "A123456788", "A132456789", "1123456789"],
        );
    }

    #[test]
    fn korea_and_japan() {
        accepts("kr_rrn", &["970908-1234567"]);
        refuses("kr_rrn", &["971308-1234567", "970908-123456"]);
        accepts("kr_rrn_checked", &["800101-1234560"]);
        refuses("kr_rrn_checked", &["800101-1234561"]);
        accepts("jp_my_number", &["1234 5678 9018"]);
        refuses("jp_my_number", &["1234 5678 9017", "000000000000"]);
    }

    #[test]
    fn south_east_asia() {
        catches_a_changed_digit(
            "sg_nric",
            &[
                "S1234567D",
                "T1234567J",
                "F1234567N",
                "G1234567X",
                "M1234567K",
            ],
        );
        refuses("sg_nric", &["S1234567E", "A1234567D"]);
        accepts("my_nric", &["770305-02-1234"]);
        refuses("my_nric", &["771305-02-1234", "770305-17-1234"]);
        accepts("th_id", &["1-2345-45678-78-1"]);
        refuses("th_id", &["1-2345-45678-78-2", "0-2345-45678-78-1"]);
        accepts("id_nik", &["3171011708450001", "3171015708450001"]);
        refuses("id_nik", &["3171013208450001", "9971011708450001"]);
    }

    #[test]
    fn india_and_pakistan() {
        catches_a_changed_digit("in_aadhaar", &["2341 2341 2346"]);
        catches_swapped_digits("in_aadhaar", &["2341 2341 2346"]);
        refuses("in_aadhaar", &["1341 2341 2346", "222222222222"]);
        accepts("in_pan", &["AAAPL1234C", "ABCPE1234F"]);
        refuses("in_pan", &["AAADL1234C", "AAAPL123C"]);
        accepts("in_gstin", &["27AAPFU0939F1ZV"]);
        refuses("in_gstin", &["27AAPFU0939F1ZW", "40AAPFU0939F1ZV"]);
        accepts("pk_cnic", &["34201-0891231-8"]);
        refuses("pk_cnic", &["94201-0891231-8"]);
    }

    #[test]
    fn arabia() {
        catches_a_changed_digit("ae_emirates_id", &["784-1980-1234567-8"]);
        accepts("sa_national_id", &["1000000008"]);
        refuses("sa_national_id", &["3000000006", "1000000009"]);
    }
}
