//! Identifiers of the Nordic countries: a date of birth, then what tells the born of a day apart.

use super::scheme::{count, digits, is_day, is_ddmmyy, is_uniform, luhn, small, weighted};

/// Sweden's personnummer and samordningsnummer (60 added to the day): Luhn over ten digits.
pub(super) fn se_personnummer(value: &str) -> bool {
    let ten = match count(value) {
        12 => digits::<12>(value).and_then(|twelve| {
            let century = small(&twelve[..2]);
            let ten = <[u8; 10]>::try_from(&twelve[2..]).ok()?;
            matches!(century, 18..=20).then_some(ten)
        }),
        _ => digits::<10>(value),
    };
    ten.is_some_and(|number| {
        let day = match small(&number[4..6]) {
            day @ 61.. => day - 60,
            day => day,
        };
        is_day(small(&number[..2]), small(&number[2..4]), day) && luhn(&number)
    })
}

/// Norway's fødselsnummer, D number (40 added to the day) and synthetic ones (40, 65 or 80 added
/// to the month): two check digits to modulus 11.
pub(super) fn no_fodselsnummer(value: &str) -> bool {
    digits::<11>(value).is_some_and(|number| {
        let day = small(&number[..2]) % 40;
        let month = match small(&number[2..4]) {
            month @ 81.. => month - 80,
            month @ 66..=77 => month - 65,
            month @ 41..=52 => month - 40,
            month => month,
        };
        is_day(small(&number[4..6]), month, day)
            && weighted(&number, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
            && weighted(&number, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    })
}

/// Norway's organisation number: modulus 11.
pub(super) fn no_orgnr(value: &str) -> bool {
    digits::<9>(value).is_some_and(|number| {
        !is_uniform(&number) && weighted(&number, &[3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
    })
}

/// Denmark's CPR number: a date of birth. Modulus 11 has not held for all since 2007.
pub(super) fn dk_cpr(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| is_ddmmyy(&number) && small(&number[6..]) > 0)
}

/// A CPR number that also has the check digit of those given out before 2007.
pub(super) fn dk_cpr_checked(value: &str) -> bool {
    let weights = [4, 3, 2, 7, 6, 5, 4, 3, 2, 1];
    dk_cpr(value)
        && digits::<10>(value).is_some_and(|number| weighted(&number, &weights).is_multiple_of(11))
}

/// Finland's henkilötunnus: date, century sign, individual number, a check sign to modulus 31.
pub(super) fn fi_hetu(value: &str) -> bool {
    // The century sign is a letter, a plus or a hyphen, and only a letter is collected.
    let sign = value.as_bytes().get(6).copied();
    let mut hetu = [0; 11];
    let (number, check) = match super::scheme::collect(value, &mut hetu) {
        Some(10) => ([&hetu[..6], &hetu[6..9]], hetu[9]),
        Some(11) => ([&hetu[..6], &hetu[7..10]], hetu[10]),
        _ => return false,
    };
    let mut nine = [0; 9];
    for (digit, sign) in nine.iter_mut().zip(number.into_iter().flatten()) {
        *digit = sign.wrapping_sub(b'0');
    }
    let century = matches!(
        sign,
        Some(b'+' | b'-' | b'A'..=b'F' | b'U'..=b'Y' | b'a'..=b'f' | b'u'..=b'y')
    );
    century
        && nine.iter().all(|digit| *digit < 10)
        && is_ddmmyy(&nine)
        && matches!(small(&nine[6..]), 2..=899)
        && check == b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(small(&nine) % 31) as usize]
}

/// Iceland's kennitala: date, modulus 11, century.
pub(super) fn is_kennitala(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| {
        let sum = weighted(&number, &[3, 2, 7, 6, 5, 4, 3, 2, 1]);
        // An entity has 40 added to the day.
        let day = small(&number[..2]) % 40;
        is_day(small(&number[4..6]), small(&number[2..4]), day)
            && sum.is_multiple_of(11)
            && matches!(number[9], 0 | 8 | 9)
    })
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn sweden() {
        catches_a_changed_digit("se_personnummer", &["811228-9874", "640823-3234"]);
        accepts(
            "se_personnummer",
            &["19811228-9874", "701063-2391", "121212+1212"],
        );
        refuses(
            "se_personnummer",
            &["811328-9873", "31811228-9874", "811228-987"],
        );
    }

    #[test]
    fn norway() {
        catches_a_changed_digit("no_fodselsnummer", &["151086 95088"]);
        refuses("no_fodselsnummer", &["321086 95088"]);
        catches_a_changed_digit("no_orgnr", &["974 760 673"]);
    }

    #[test]
    fn denmark() {
        accepts("dk_cpr", &["070761-4285", "211062-5629"]);
        refuses("dk_cpr", &["321062-5629", "211362-5629", "211062-0000"]);
        catches_a_changed_digit("dk_cpr_checked", &["211062-5629"]);
    }

    #[test]
    fn finland_and_iceland() {
        catches_a_changed_digit("fi_hetu", &["131052-308T"]);
        accepts("fi_hetu", &["131052A308T", "131052a308t"]);
        refuses("fi_hetu", &["131052-308U", "311152-308T", "131052/308T"]);
        accepts("is_kennitala", &["120174-3399", "450401-3150"]);
        refuses("is_kennitala", &["120174-3397", "120174-3389"]);
    }
}
