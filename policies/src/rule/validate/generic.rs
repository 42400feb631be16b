//! The schemes themselves as validators, for identifiers of one's own.

use super::scheme::{self, SIGNS_MAX, collect};

/// 12 to 19 digits with a right Luhn check digit, not all the same: payment cards.
pub(super) fn luhn(value: &str) -> bool {
    with_digits(value, |digits| {
        (12..=19).contains(&digits.len()) && scheme::luhn(digits)
    })
}

/// Any number of digits with a right Luhn check digit.
pub(super) fn luhn_any(value: &str) -> bool {
    with_digits(value, scheme::luhn)
}

pub(super) fn verhoeff(value: &str) -> bool {
    with_digits(value, scheme::verhoeff)
}

pub(super) fn mod_11_2(value: &str) -> bool {
    with_signs(value, |signs| {
        let body = signs
            .split_last()
            .is_some_and(|(_, body)| body.iter().all(u8::is_ascii_digit));
        body && signs
            .last()
            .is_some_and(|last| last.is_ascii_digit() || *last == b'X')
            && scheme::mod_11_2(signs)
    })
}

pub(super) fn mod_97_10(value: &str) -> bool {
    with_signs(value, |signs| scheme::mod_97_10(signs) == 1)
}

pub(super) fn mod_11_10(value: &str) -> bool {
    with_digits(value, scheme::mod_11_10)
}

pub(super) fn mod_37_36(value: &str) -> bool {
    with_signs(value, scheme::mod_37_36)
}

/// At least two digits, no letters, not all the same.
fn with_digits(value: &str, check: impl Fn(&[u8]) -> bool) -> bool {
    with_signs(value, |signs| {
        let mut digits = [0; SIGNS_MAX];
        for (digit, sign) in digits.iter_mut().zip(signs) {
            *digit = sign.wrapping_sub(b'0');
        }
        let digits = &digits[..signs.len()];
        digits.iter().all(|digit| *digit < 10) && !scheme::is_uniform(digits) && check(digits)
    })
}

fn with_signs(value: &str, check: impl Fn(&[u8]) -> bool) -> bool {
    let mut signs = [0; SIGNS_MAX];
    collect(value, &mut signs).is_some_and(|count| count > 1 && check(&signs[..count]))
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn luhn() {
        let cards = ["4111 1111 1111 1111", "378282246310005", "79927398713000"];
        catches_a_changed_digit("luhn", &cards[..2]);
        refuses(
            "luhn",
            &["0000 0000 0000 0000", "18", "4111 1111 1111 111x"],
        );
        catches_a_changed_digit("luhn_any", &["79927398713"]);
    }

    #[test]
    fn verhoeff_catches_what_it_promises() {
        catches_a_changed_digit("verhoeff", &["2363", "1428570"]);
        catches_swapped_digits("verhoeff", &["2363", "1428570"]);
    }

    /// The examples of ISO/IEC 7064 and of the identifiers that use it.
    #[test]
    fn iso_7064() {
        catches_a_changed_digit("iso7064_mod11_2", &["07940", "0000 0002 1825 0097"]);
        catches_swapped_digits("iso7064_mod11_2", &["07940", "0000 0002 1825 0097"]);
        catches_a_changed_digit("iso7064_mod11_10", &["07945", "33392005961"]);
        catches_a_changed_digit("iso7064_mod97_10", &["079444", "5493001KJTIIGC8Y1R12"]);
        catches_swapped_digits("iso7064_mod97_10", &["079444"]);
        catches_a_changed_digit("iso7064_mod37_36", &["A12425GABC1234002M"]);
    }
}
