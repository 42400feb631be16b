//! Identifiers of Australia, New Zealand and South Africa.

use super::scheme::{count, digits, is_uniform, is_yymmdd, luhn, signs, small, weighted};

/// Australia's tax file number: nine digits, or eight of an old one, modulus 11 (ATO).
pub(super) fn au_tfn(value: &str) -> bool {
    match count(value) {
        8 => digits::<8>(value).is_some_and(|tfn| {
            !is_uniform(&tfn) && weighted(&tfn, &[10, 7, 8, 4, 6, 3, 5, 1]).is_multiple_of(11)
        }),
        _ => digits::<9>(value).is_some_and(|tfn| {
            !is_uniform(&tfn) && weighted(&tfn, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
        }),
    }
}

/// Australia's business number: one taken off the first digit, modulus 89 (ABR).
pub(super) fn au_abn(value: &str) -> bool {
    digits::<11>(value).is_some_and(|abn| {
        let sum = weighted(&abn, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
        abn[0] != 0 && (sum - 10).is_multiple_of(89)
    })
}

/// Australia's company number: weights 8 to 1, modulus 10 (ASIC).
pub(super) fn au_acn(value: &str) -> bool {
    digits::<9>(value).is_some_and(|acn| {
        let sum = weighted(&acn, &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
        !is_uniform(&acn) && sum.is_multiple_of(10)
    })
}

/// Australia's Medicare number: 2 to 6, check digit, issue, perhaps the person's place on the card.
pub(super) fn au_medicare(value: &str) -> bool {
    let card = match count(value) {
        11 => digits::<11>(value).and_then(|card| <[u8; 10]>::try_from(&card[..10]).ok()),
        _ => digits::<10>(value),
    };
    card.is_some_and(|card| {
        let sum = weighted(&card, &[1, 3, 7, 9, 1, 3, 7, 9]);
        matches!(card[0], 2..=6) && card[9] != 0 && sum % 10 == u32::from(card[8])
    })
}

/// New Zealand's IRD number: eight or nine digits, two rounds of weights to modulus 11
/// (Inland Revenue, Resident Withholding Tax specification).
pub(super) fn nz_ird(value: &str) -> bool {
    let ird = match count(value) {
        8 => digits::<8>(value).map(|short| {
            let mut ird = [0; 9];
            ird[1..].copy_from_slice(&short);
            ird
        }),
        _ => digits::<9>(value),
    };
    let check = |ird: &[u8; 9], weights: &[u32]| (11 - weighted(&ird[..8], weights) % 11) % 11;
    ird.is_some_and(|ird| {
        let check = match check(&ird, &[3, 2, 7, 6, 5, 4, 3, 2]) {
            10 => check(&ird, &[7, 4, 3, 2, 5, 2, 7, 6]),
            check => check,
        };
        matches!(small(&ird), 10_000_000..=200_000_000) && check == u32::from(ird[8])
    })
}

/// New Zealand's health number: three letters and four digits (modulus 11), or two digits and two
/// letters since 2019 (modulus 23); no I and no O (HISO 10046).
pub(super) fn nz_nhi(value: &str) -> bool {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
    let Some(nhi) = signs::<7>(value) else {
        return false;
    };
    let worth = |sign: u8| match sign {
        b'0'..=b'9' => Some(u32::from(sign - b'0')),
        _ => LETTERS
            .iter()
            .position(|letter| *letter == sign)
            .map(|at| at as u32 + 1),
    };
    let mut sum = 0;
    for (sign, weight) in nhi[..6].iter().zip([7, 6, 5, 4, 3, 2]) {
        let Some(worth) = worth(*sign) else {
            return false;
        };
        sum += worth * weight;
    }
    let letters = nhi[..3].iter().all(u8::is_ascii_uppercase);
    let digits = |signs: &[u8]| signs.iter().all(u8::is_ascii_digit);
    let old =
        digits(&nhi[3..]) && sum % 11 != 0 && (11 - sum % 11) % 10 == u32::from(nhi[6] - b'0');
    let new = digits(&nhi[3..5])
        && nhi[5].is_ascii_uppercase()
        && LETTERS[(23 - sum % 23) as usize - 1] == nhi[6];
    letters && (old || new)
}

/// South Africa's identity number: date of birth, citizenship, Luhn (Identification Act).
pub(super) fn za_id(value: &str) -> bool {
    digits::<13>(value).is_some_and(|id| is_yymmdd(&id) && id[10] < 3 && luhn(&id))
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn australia() {
        catches_a_changed_digit("au_tfn", &["123 456 782", "876 543 210"]);
        catches_a_changed_digit("au_abn", &["51 824 753 556", "83 914 571 673"]);
        accepts("au_acn", &["004 085 616", "000 000 019"]);
        refuses("au_acn", &["004 085 617", "000 000 000"]);
        accepts("au_medicare", &["2123 45670 1", "2123 45670 1 2"]);
        refuses("au_medicare", &["2123 45671 1", "7123 45670 1"]);
    }

    #[test]
    fn new_zealand() {
        accepts(
            "nz_ird",
            &["49-091-850", "35-901-981", "49-098-576", "136-410-132"],
        );
        refuses("nz_ird", &["9-125-568", "136-410-133", "49-091-851"]);
        accepts("nz_nhi", &["ZZZ0016", "ZZZ0024", "ZBN77VL"]);
        refuses("nz_nhi", &["ZZZ0017", "ZIZ0016", "ZBN77VK"]);
    }

    #[test]
    fn south_africa() {
        catches_a_changed_digit("za_id", &["800101 5009 087"]);
        refuses("za_id", &["8013015009087", "8001015009387"]);
    }
}
