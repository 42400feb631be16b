//! Identifiers of central, eastern and south-eastern Europe, and of the states around Russia.

use super::scheme::{
    collect, count, digits, is_day, is_uniform, luhn, mod_11_10, number, signs, small, weighted,
    without_prefix,
};

/// Poland's PESEL: date of birth with the century in the month, weights 1, 3, 7, 9.
pub(super) fn pl_pesel(value: &str) -> bool {
    digits::<11>(value).is_some_and(|pesel| {
        let month = small(&pesel[2..4]);
        let century = [1900, 2000, 2100, 2200, 1800][(month / 20) as usize];
        is_day(
            century + small(&pesel[..2]),
            month % 20,
            small(&pesel[4..6]),
        ) && weighted(&pesel, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    })
}

/// Poland's NIP: modulus 11; ten does not occur.
pub(super) fn pl_nip(value: &str) -> bool {
    digits::<10>(without_prefix(value, &["PL"])).is_some_and(|nip| {
        let sum = weighted(&nip, &[6, 5, 7, 2, 3, 4, 5, 6, 7]);
        !is_uniform(&nip) && sum % 11 == u32::from(nip[9])
    })
}

/// Poland's REGON, of nine or fourteen digits: modulus 11, 0 for ten.
pub(super) fn pl_regon(value: &str) -> bool {
    let nine = |regon: &[u8]| {
        let sum = weighted(regon, &[8, 9, 2, 3, 4, 5, 6, 7]);
        !is_uniform(regon) && sum % 11 % 10 == u32::from(regon[8])
    };
    match count(value) {
        9 => digits::<9>(value).is_some_and(|regon| nine(&regon)),
        _ => digits::<14>(value).is_some_and(|regon| {
            let sum = weighted(&regon, &[2, 4, 8, 5, 0, 9, 7, 3, 6, 1, 2, 4, 8]);
            nine(&regon[..9]) && sum % 11 % 10 == u32::from(regon[13])
        }),
    }
}

/// Poland's identity card: three letters and six digits, weights 7, 3, 1 and 9 for the check.
pub(super) fn pl_id_card(value: &str) -> bool {
    signs::<9>(value).is_some_and(|card| {
        let worth = card.map(|sign| super::scheme::base36(sign) as u8);
        card[..3].iter().all(u8::is_ascii_uppercase)
            && card[3..].iter().all(u8::is_ascii_digit)
            && weighted(&worth, &[7, 3, 1, 9, 7, 3, 1, 7, 3]).is_multiple_of(10)
    })
}

/// The Czech and Slovak birth number: date with 50 (and 20, since 2004) added to the month, and
/// divisible by eleven since 1954; before that there was no check digit.
pub(super) fn cz_rodne_cislo(value: &str) -> bool {
    let mut signs = [0; 10];
    let Some(count @ 9..=10) = collect(value, &mut signs) else {
        return false;
    };
    let digits = signs.map(|sign| sign.wrapping_sub(b'0'));
    if digits[..count].iter().any(|digit| *digit > 9) {
        return false;
    }
    let year = small(&digits[..2]);
    let month = match small(&digits[2..4]) % 50 {
        month @ 21..=32 => month - 20,
        month => month,
    };
    let checked = match count {
        9 => year < 54,
        // Until 1985 a remainder of ten was written as 0.
        _ => {
            let (body, check) = (number(&digits[..9]), u64::from(digits[9]));
            (body * 10 + check).is_multiple_of(11) || (body % 11 == 10 && check == 0)
        }
    };
    checked && is_day(year, month, small(&digits[4..6])) && number(&digits[6..count]) > 0
}

/// Romania's CNP: sex and century, date, county, modulus 11, 1 for ten.
pub(super) fn ro_cnp(value: &str) -> bool {
    digits::<13>(value).is_some_and(|cnp| {
        let check = match weighted(&cnp, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11 {
            10 => 1,
            check => check,
        };
        cnp[0] != 0
            && super::scheme::is_yymmdd(&cnp[1..7])
            && matches!(small(&cnp[7..9]), 1..=48 | 51 | 52 | 70 | 80..=83)
            && check == u32::from(cnp[12])
    })
}

/// Bulgaria's EGN: date with the century in the month, powers of two, modulus 11, 0 for ten.
pub(super) fn bg_egn(value: &str) -> bool {
    digits::<10>(value).is_some_and(|egn| {
        let (century, month) = match small(&egn[2..4]) {
            month @ 21..=32 => (1800, month - 20),
            month @ 41..=52 => (2000, month - 40),
            month => (1900, month),
        };
        let sum = weighted(&egn, &[2, 4, 8, 5, 10, 9, 7, 3, 6]);
        is_day(century + small(&egn[..2]), month, small(&egn[4..6]))
            && sum % 11 % 10 == u32::from(egn[9])
    })
}

/// Estonia's isikukood and Lithuania's asmens kodas: sex and century, date, two rounds of weights.
pub(super) fn ee_isikukood(value: &str) -> bool {
    digits::<11>(value).is_some_and(|code| {
        let sum = match weighted(&code, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11 {
            10 => weighted(&code, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10,
            sum => sum,
        };
        let century = 1700 + 100 * u32::from(code[0]).div_ceil(2);
        let dated = is_day(
            century + small(&code[1..3]),
            small(&code[3..5]),
            small(&code[5..7]),
        );
        matches!(code[0], 1..=8) && dated && sum == u32::from(code[10])
    })
}

/// Latvia's personas kods: a date of birth, or 32 since 2017, and modulus 11.
pub(super) fn lv_personas_kods(value: &str) -> bool {
    digits::<11>(value).is_some_and(|code| {
        let sum = 1 + weighted(&code, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9]);
        let undated = matches!(small(&code[..2]), 32..=39);
        let dated = code[6] < 3 && super::scheme::is_ddmmyy(&code);
        (undated || dated) && sum % 11 % 10 == u32::from(code[10])
    })
}

/// Croatia's OIB: ISO 7064 MOD 11,10.
pub(super) fn hr_oib(value: &str) -> bool {
    digits::<11>(without_prefix(value, &["HR"]))
        .is_some_and(|oib| !is_uniform(&oib) && mod_11_10(&oib))
}

/// The JMBG of the states of former Yugoslavia (EMŠO in Slovenia): date, region, modulus 11.
pub(super) fn jmbg(value: &str) -> bool {
    digits::<13>(value).is_some_and(|jmbg| {
        let sum = weighted(&jmbg, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        let millennium = if jmbg[4] == 0 { 2000 } else { 1000 };
        is_day(
            millennium + small(&jmbg[4..7]),
            small(&jmbg[2..4]),
            small(&jmbg[..2]),
        ) && (11 - sum % 11) % 11 % 10 == u32::from(jmbg[12])
    })
}

/// Hungary's tax identification number of a person: 8, days since 1867, modulus 11.
pub(super) fn hu_adoazonosito(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| {
        let sum = weighted(&number, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        number[0] == 8 && sum % 11 == u32::from(number[9])
    })
}

/// Hungary's social security number (TAJ): weights 3 and 7.
pub(super) fn hu_taj(value: &str) -> bool {
    digits::<9>(value).is_some_and(|taj| {
        weighted(&taj, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == u32::from(taj[8])
            && !taj.iter().all(|digit| *digit == 0)
    })
}

/// Ukraine's RNOKPP: days since 1899, modulus 11, then 10.
pub(super) fn ua_rnokpp(value: &str) -> bool {
    digits::<10>(value).is_some_and(|number| {
        // The first weight is -1, which is 10.
        let sum = weighted(&number, &[10, 5, 7, 9, 4, 6, 10, 5, 7]);
        !is_uniform(&number) && sum % 11 % 10 == u32::from(number[9])
    })
}

/// Russia's INN of a person (twelve digits) or an entity (ten).
pub(super) fn ru_inn(value: &str) -> bool {
    const WEIGHTS: [u32; 11] = [3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8];
    let check = |digits: &[u8], weights: &[u32]| weighted(digits, weights) % 11 % 10;
    match count(value) {
        10 => digits::<10>(value).is_some_and(|inn| {
            !is_uniform(&inn) && check(&inn[..9], &WEIGHTS[2..]) == u32::from(inn[9])
        }),
        _ => digits::<12>(value).is_some_and(|inn| {
            !is_uniform(&inn)
                && check(&inn[..10], &WEIGHTS[1..]) == u32::from(inn[10])
                && check(&inn[..11], &WEIGHTS) == u32::from(inn[11])
        }),
    }
}

/// Russia's SNILS: nine digits and the sum by place, modulus 101, 0 for a hundred.
pub(super) fn ru_snils(value: &str) -> bool {
    digits::<11>(value).is_some_and(|snils| {
        let sum = weighted(&snils, &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
        number(&snils[..9]) > 0 && sum % 101 % 100 == small(&snils[9..])
    })
}

/// Kazakhstan's IIN: date of birth, sex and century, two rounds of weights.
pub(super) fn kz_iin(value: &str) -> bool {
    digits::<12>(value).is_some_and(|iin| {
        let sum = match weighted(&iin, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) % 11 {
            10 => weighted(&iin, &[3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2]) % 11,
            sum => sum,
        };
        matches!(iin[6], 0..=6) && super::scheme::is_yymmdd(&iin) && sum == u32::from(iin[11])
    })
}

/// The Czech and Slovak number of an entity (IČO): modulus 11.
pub(super) fn cz_ico(value: &str) -> bool {
    digits::<8>(value).is_some_and(|ico| {
        let sum = weighted(&ico, &[8, 7, 6, 5, 4, 3, 2]);
        !is_uniform(&ico) && (11 - sum % 11) % 10 == u32::from(ico[7])
    })
}

/// Israel's identity number: up to nine digits, Luhn with zeros before.
pub(super) fn il_id(value: &str) -> bool {
    // A zero in front is often left out, which Luhn does not mind.
    let nine = digits::<9>(value).is_some_and(|id| !is_uniform(&id) && luhn(&id));
    nine || digits::<8>(value).is_some_and(|id| !is_uniform(&id) && luhn(&id))
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn poland() {
        catches_a_changed_digit("pl_pesel", &["44051401359", "02070803628"]);
        refuses("pl_pesel", &["44053201350", "4405140135"]);
        catches_a_changed_digit("pl_nip", &["123-456-32-18", "8567346215"]);
        accepts("pl_regon", &["123456785", "192598184", "12345678512347"]);
        refuses("pl_regon", &["123456786", "12345678512348", "000000000"]);
        catches_a_changed_digit("pl_id_card", &["ABA300000", "AYW 036733"]);
    }

    #[test]
    fn czechia_slovakia_and_hungary() {
        accepts(
            "cz_rodne_cislo",
            &["710319/2745", "780123/3540", "530101/123"],
        );
        refuses(
            "cz_rodne_cislo",
            &["710319/2746", "991231123", "713319/2743"],
        );
        accepts("cz_ico", &["25596641", "27074358"]);
        refuses("cz_ico", &["25596642"]);
        catches_a_changed_digit("hu_adoazonosito", &["8071592153"]);
        catches_a_changed_digit("hu_taj", &["111 111 110"]);
    }

    #[test]
    fn romania_and_bulgaria() {
        accepts("ro_cnp", &["1800101221144", "1630615123457"]);
        refuses(
            "ro_cnp",
            &["1800101221145", "1801301221144", "0800101221144"],
        );
        accepts("bg_egn", &["752316 926 3", "7501020018", "8032056031"]);
        refuses("bg_egn", &["7523169264", "7533169263"]);
    }

    #[test]
    fn baltic_states() {
        accepts(
            "ee_isikukood",
            &["37605030299", "33309240064", "38703181745"],
        );
        refuses(
            "ee_isikukood",
            &["37605030298", "97605030299", "37613030299"],
        );
        catches_a_changed_digit("lv_personas_kods", &["161175-19997"]);
    }

    #[test]
    fn former_yugoslavia() {
        catches_a_changed_digit("hr_oib", &["33392005961", "94577403194"]);
        accepts("jmbg", &["0101006500006"]);
        refuses("jmbg", &["0101006500007", "3201006500006"]);
    }

    #[test]
    fn ukraine_russia_and_kazakhstan() {
        accepts("ua_rnokpp", &["1759013776"]);
        refuses("ua_rnokpp", &["1759013770"]);
        accepts("ru_inn", &["500100732259", "7707083893"]);
        refuses("ru_inn", &["500100732258", "7707083894"]);
        catches_a_changed_digit("ru_snils", &["112-233-445 95"]);
        accepts("kz_iin", &["910101300019"]);
        refuses("kz_iin", &["910101300018", "911301300019"]);
    }

    #[test]
    fn israel() {
        catches_a_changed_digit("il_id", &["03933742-3", "000000018"]);
    }
}
