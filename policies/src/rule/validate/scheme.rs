//! The check digit schemes that identifiers share, over digits and letters already taken apart.
//!
//! An identifier is written with spaces, dots, hyphens or slashes, or without: [`digits`] and
//! [`signs`] leave out whatever is no letter and no digit, and take only so many as are asked for.
//! Nothing here allocates.

/// The most characters that a scheme over text of any length reads.
pub(super) const SIGNS_MAX: usize = 48;

/// The value's `N` digits; `None` when there are more or fewer, or a letter among them.
pub(super) fn digits<const N: usize>(value: &str) -> Option<[u8; N]> {
    let signs = signs::<N>(value)?;
    signs
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| signs.map(|sign| sign - b'0'))
}

/// The value's `N` letters and digits, letters in upper case.
pub(super) fn signs<const N: usize>(value: &str) -> Option<[u8; N]> {
    let mut signs = [0; N];
    let count = collect(value, &mut signs)?;
    (count == N).then_some(signs)
}

/// Fills `signs` with the letters and digits of the value and tells how many they are.
pub(super) fn collect(value: &str, signs: &mut [u8]) -> Option<usize> {
    let mut count = 0;
    for byte in value.bytes().filter(u8::is_ascii_alphanumeric) {
        *signs.get_mut(count)? = byte.to_ascii_uppercase();
        count += 1;
    }
    Some(count)
}

/// The value without the country code that stands before the number as a VAT number has it.
pub(super) fn without_prefix<'a>(value: &'a str, prefixes: &[&str]) -> &'a str {
    let bare = |prefix: &&str| {
        let (head, rest) = value.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    prefixes.iter().find_map(bare).unwrap_or(value)
}

/// How many letters and digits the value has.
pub(super) fn count(value: &str) -> usize {
    value.bytes().filter(u8::is_ascii_alphanumeric).count()
}

/// The sum of the digits, each times its weight; what has no weight does not count.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    let product = |(digit, weight): (&u8, &u32)| u32::from(*digit) * weight;
    digits.iter().zip(weights).map(product).sum()
}

/// The digits as a number; at most nineteen of them.
pub(super) fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// Digits as a number, for small ones.
pub(super) fn small(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(*digit))
}

/// Is it one digit over and over? Such a number fits many schemes and names nobody.
pub(super) fn is_uniform(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

/// What a letter or digit counts for in schemes over both: 0 to 9, then A = 10 to Z = 35.
pub(super) fn base36(sign: u8) -> u32 {
    match sign {
        b'0'..=b'9' => u32::from(sign - b'0'),
        _ => u32::from(sign.to_ascii_uppercase().saturating_sub(b'A')) + 10,
    }
}

/// The Luhn sum, which is a multiple of ten over a whole number (ISO/IEC 7812-1, annex B).
pub(super) fn luhn_sum(digits: &[u8]) -> u32 {
    let odd = |(place, digit): (usize, &u8)| match (place % 2, u32::from(*digit)) {
        (0, digit) => digit,
        (_, digit) => digit * 2 - if digit > 4 { 9 } else { 0 },
    };
    digits.iter().rev().enumerate().map(odd).sum()
}

/// Is the last digit the Luhn check digit of the others?
pub(super) fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits).is_multiple_of(10)
}

/// Verhoeff's multiplication in the dihedral group of order ten.
fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Is the last digit Verhoeff's check digit of the others (J. Verhoeff, 1969)?
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTED: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut sum = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let permuted = (0..place % 8).fold(*digit, |digit, _| PERMUTED[usize::from(digit)]);
        sum = dihedral(sum, permuted);
    }
    sum == 0
}

/// ISO/IEC 7064 MOD 11-2 over digits, the last of which may be `X` for ten.
pub(super) fn mod_11_2(signs: &[u8]) -> bool {
    let value = |sign: u8| match sign {
        b'X' => 10,
        sign => u32::from(sign.wrapping_sub(b'0')),
    };
    let sum = signs
        .iter()
        .fold(0, |sum, sign| (sum * 2 + value(*sign)) % 11);
    sum == 1
}

/// ISO/IEC 7064 MOD 97-10 over letters and digits: the remainder, 1 where the check is right.
pub(super) fn mod_97_10<'a>(signs: impl IntoIterator<Item = &'a u8>) -> u32 {
    signs.into_iter().fold(0, |sum, sign| match base36(*sign) {
        value @ 0..=9 => (sum * 10 + value) % 97,
        value => (sum * 100 + value) % 97,
    })
}

/// ISO/IEC 7064 MOD 11,10 over digits.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    hybrid(digits.iter().map(|digit| u32::from(*digit)), 10)
}

/// ISO/IEC 7064 MOD 37,36 over letters and digits.
pub(super) fn mod_37_36(signs: &[u8]) -> bool {
    hybrid(signs.iter().map(|sign| base36(*sign)), 36)
}

/// A hybrid system of ISO/IEC 7064, with moduli `m + 1` and `m`.
fn hybrid(values: impl Iterator<Item = u32>, m: u32) -> bool {
    let mut product = m;
    let mut last = 0;
    for value in values {
        last = (product + value) % m;
        product = if last == 0 { m } else { last } * 2 % (m + 1);
    }
    last == 1
}

/// Is there such a day? `year` may be of two digits: 00 counts as a leap year then.
pub(super) fn is_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (year < 100 || !year.is_multiple_of(100))
        || year.is_multiple_of(400);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Is `YYMMDD` a day?
pub(super) fn is_yymmdd(digits: &[u8]) -> bool {
    is_day(
        small(&digits[..2]),
        small(&digits[2..4]),
        small(&digits[4..6]),
    )
}

/// Is `DDMMYY` a day?
pub(super) fn is_ddmmyy(digits: &[u8]) -> bool {
    is_day(
        small(&digits[4..6]),
        small(&digits[2..4]),
        small(&digits[..2]),
    )
}

/// Is `YYYYMMDD` a day of the last two centuries or this one?
pub(super) fn is_yyyymmdd(digits: &[u8]) -> bool {
    let year = small(&digits[..4]);
    (1800..2100).contains(&year) && is_day(year, small(&digits[4..6]), small(&digits[6..8]))
}

/// What tests of families share.
#[cfg(test)]
pub(super) mod testing {
    use crate::rule::Validator;

    fn named(name: &str) -> Validator {
        Validator::from_name(name).unwrap_or_else(|| panic!("no validator {name}"))
    }

    /// These are right.
    pub(in super::super) fn accepts(name: &str, values: &[&str]) {
        for value in values {
            assert!(named(name).accepts(value), "{name} refuses {value}");
        }
    }

    /// These are wrong.
    pub(in super::super) fn refuses(name: &str, values: &[&str]) {
        for value in values {
            assert!(!named(name).accepts(value), "{name} accepts {value}");
        }
    }

    /// The values are right, and wrong with any one digit changed.
    pub(in super::super) fn catches_a_changed_digit(name: &str, values: &[&str]) {
        accepts(name, values);
        for value in values {
            for (at, _) in value.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
                for digit in '0'..='9' {
                    let mut slip = (*value).to_owned();
                    slip.replace_range(at..=at, digit.encode_utf8(&mut [0; 4]));
                    if slip != *value {
                        refuses(name, &[&slip]);
                    }
                }
            }
        }
    }

    /// The values are wrong with any two different neighbours swapped.
    pub(in super::super) fn catches_swapped_digits(name: &str, values: &[&str]) {
        for value in values {
            let places: Vec<usize> = value
                .char_indices()
                .filter(|(_, c)| c.is_ascii_digit())
                .map(|(at, _)| at)
                .collect();
            for pair in places.windows(2) {
                let mut bytes = value.as_bytes().to_vec();
                bytes.swap(pair[0], pair[1]);
                let slip = String::from_utf8(bytes).expect("digits are ASCII");
                if slip != *value {
                    refuses(name, &[&slip]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_apart_within_bounds() {
        assert_eq!(digits::<3>("1-2.3"), Some([1, 2, 3]));
        assert_eq!(digits::<3>("1-2"), None);
        assert_eq!(digits::<3>("1234"), None);
        assert_eq!(digits::<3>("12a"), None);
        assert_eq!(signs::<3>("1 a–b"), Some(*b"1AB"));
    }

    #[test]
    fn days() {
        assert!(is_day(2000, 2, 29) && is_day(96, 2, 29) && is_day(0, 2, 29));
        assert!(!is_day(1900, 2, 29) && !is_day(97, 2, 29));
        assert!(!is_day(2001, 13, 1) && !is_day(2001, 0, 1) && !is_day(2001, 4, 31));
        assert!(is_yyyymmdd(&[1, 9, 4, 9, 1, 2, 3, 1]) && !is_yyyymmdd(&[1, 7, 0, 0, 1, 1, 1, 1]));
    }

    /// Verhoeff's table, as printed, is what the group's law gives.
    #[test]
    fn the_dihedral_group() {
        assert_eq!(
            (0..10).map(|b| dihedral(3, b)).collect::<Vec<_>>(),
            [3, 4, 0, 1, 2, 8, 9, 5, 6, 7]
        );
        assert_eq!(
            (0..10).map(|b| dihedral(7, b)).collect::<Vec<_>>(),
            [7, 6, 5, 9, 8, 2, 1, 0, 4, 3]
        );
    }
}
