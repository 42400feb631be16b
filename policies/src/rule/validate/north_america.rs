//! Identifiers of the United States and Canada.

use super::scheme::{base36, digits, is_uniform, luhn, luhn_sum, signs, small, weighted};

/// Social security number: area, group and serial that the SSA may have issued.
pub(super) fn us_ssn(value: &str) -> bool {
    let Some(number) = digits::<9>(value) else {
        return false;
    };
    let (area, group, serial) = (
        small(&number[..3]),
        small(&number[3..5]),
        small(&number[5..]),
    );
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0
}

/// Individual taxpayer identification number: 9, and a group that the IRS gives out.
pub(super) fn us_itin(value: &str) -> bool {
    digits::<9>(value).is_some_and(|number| {
        number[0] == 9 && matches!(small(&number[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99)
    })
}

/// Employer identification number: a prefix that a campus of the IRS, the SBA or the internet has.
pub(super) fn us_ein(value: &str) -> bool {
    digits::<9>(value).is_some_and(|number| {
        let prefix = small(&number[..2]);
        let given = matches!(
            prefix,
            1..=6 | 10..=16 | 20..=27 | 30..=48 | 50..=68 | 71..=77 | 80..=88 | 90..=95 | 98 | 99
        );
        given && !is_uniform(&number[2..])
    })
}

/// Medicare beneficiary identifier: eleven places, each with its kind; six letters are not used.
pub(super) fn us_mbi(value: &str) -> bool {
    let Some(signs) = signs::<11>(value) else {
        return false;
    };
    let letter = |sign: u8| sign.is_ascii_uppercase() && !b"SLOIBZ".contains(&sign);
    // Its kind for each place: C is 1 to 9, N a digit, A a letter, X either.
    let kinds = b"CAXNAXNAANN";
    signs.iter().zip(kinds).all(|(sign, kind)| match kind {
        b'C' => matches!(sign, b'1'..=b'9'),
        b'N' => sign.is_ascii_digit(),
        b'A' => letter(*sign),
        _ => sign.is_ascii_digit() || letter(*sign),
    })
}

/// National provider identifier: Luhn behind the issuer's prefix 80840 (45 CFR 162.406).
pub(super) fn us_npi(value: &str) -> bool {
    // The prefix adds 24 to the sum, wherever the number's own digits fall.
    digits::<10>(value).is_some_and(|number| {
        matches!(number[0], 1 | 2) && (luhn_sum(&number) + 24).is_multiple_of(10)
    })
}

/// DEA registration number: two letters or a letter and 9, six digits, a check digit.
pub(super) fn us_dea(value: &str) -> bool {
    let Some(signs) = signs::<9>(value) else {
        return false;
    };
    let number = signs.map(|sign| base36(sign) as u8);
    let kind = b"ABCDEFGHJKLMPRSTUX".contains(&signs[0])
        && (signs[1].is_ascii_uppercase() || signs[1] == b'9');
    kind && signs[2..].iter().all(u8::is_ascii_digit)
        && weighted(&number[2..8], &[1, 2, 1, 2, 1, 2]) % 10 == u32::from(number[8])
}

/// Social insurance number: nine digits, Luhn.
pub(super) fn ca_sin(value: &str) -> bool {
    digits::<9>(value).is_some_and(|number| !is_uniform(&number) && luhn(&number))
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn numbers_that_the_ssa_and_irs_give_out() {
        accepts("us_ssn", &["219-09-9999", "536 90 4399", "123456789"]);
        refuses(
            "us_ssn",
            &[
                "000-12-3456",
                "666-12-3456",
                "900-12-3456",
                "219-00-9999",
                "219-09-0000",
            ],
        );
        accepts("us_itin", &["912-90-3456", "900-70-0000", "955-50-1234"]);
        refuses("us_itin", &["912-89-3456", "812-90-3456", "900-93-0000"]);
        accepts("us_ein", &["91-1144442", "04-2103594"]);
        refuses("us_ein", &["07-1144442", "12-0000000", "911-144442-1"]);
    }

    #[test]
    fn health() {
        accepts("us_mbi", &["1EG4-TE5-MK73", "1eg4te5mk72"]);
        refuses(
            "us_mbi",
            &[
                "0EG4-TE5-MK73",
                "1SG4-TE5-MK73",
                "1EG4-TE5-MK7",
                "1EGA-TE5-MK73",
            ],
        );
        catches_a_changed_digit("us_npi", &["1234567893"]);
        accepts("us_dea", &["AB1234563", "F91234563"]);
        refuses("us_dea", &["AB1234564", "IB1234563", "A11234563"]);
    }

    #[test]
    fn canada() {
        catches_a_changed_digit("ca_sin", &["046 454 286", "130-692-544"]);
        refuses("ca_sin", &["000 000 000", "046 454 287"]);
    }
}
