//! Identifiers of Latin America.

use super::scheme::{collect, digits, is_uniform, is_yymmdd, luhn, signs, small, weighted};

/// The check digit of the Brazilian federal registers: 11 less the remainder, 0 for 10 and 11.
fn receita(digits: &[u8], weights: &[u32]) -> u8 {
    match weighted(digits, weights) % 11 {
        0 | 1 => 0,
        remainder => (11 - remainder) as u8,
    }
}

/// Brazil's CPF: two check digits (Receita Federal).
pub(super) fn br_cpf(value: &str) -> bool {
    let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    digits::<11>(value).is_some_and(|cpf| {
        !is_uniform(&cpf)
            && receita(&cpf[..9], &weights[1..]) == cpf[9]
            && receita(&cpf[..10], &weights) == cpf[10]
    })
}

/// Brazil's CNPJ, also of the alphanumeric kind: a sign counts for its ASCII code less 48
/// (Instrução Normativa RFB 2229/2024).
pub(super) fn br_cnpj(value: &str) -> bool {
    let weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    signs::<14>(value).is_some_and(|signs| {
        let cnpj = signs.map(|sign| sign - b'0');
        cnpj[12] < 10
            && cnpj[13] < 10
            && !is_uniform(&cnpj)
            && receita(&cnpj[..12], &weights[1..]) == cnpj[12]
            && receita(&cnpj[..13], &weights) == cnpj[13]
    })
}

/// Brazil's PIS, PASEP and NIS.
pub(super) fn br_pis(value: &str) -> bool {
    digits::<11>(value).is_some_and(|pis| {
        !is_uniform(&pis) && receita(&pis[..10], &[3, 2, 9, 8, 7, 6, 5, 4, 3, 2]) == pis[10]
    })
}

/// Is the beginning a date of six digits?
fn holds_a_date(signs: &[u8]) -> bool {
    let mut date = [0; 6];
    for (digit, sign) in date.iter_mut().zip(signs) {
        *digit = sign.wrapping_sub(b'0');
    }
    signs.len() >= 6 && date.iter().all(|digit| *digit < 10) && is_yymmdd(&date)
}

/// Mexico's CURP: a date of birth, a state, and a check digit over all (RENAPO).
pub(super) fn mx_curp(value: &str) -> bool {
    const STATES: &[u8] = b"ASBCBSCCCLCMCSCHDFDGGTGRHGJCMCMNMSNTNLOCPLQTQRSPSLSRTCTSTLVZYNZSNE";
    let Some(curp) = signs::<18>(value) else {
        return false;
    };
    // The alphabet has an Ñ behind the N, so the letters behind it count one more.
    let worth = |sign: u8| super::scheme::base36(sign) + u32::from(sign > b'N');
    let sum: u32 = (2..=18)
        .rev()
        .zip(curp)
        .map(|(weight, sign)| weight * worth(sign))
        .sum();
    curp[..4].iter().all(u8::is_ascii_uppercase)
        && holds_a_date(&curp[4..10])
        && b"HMX".contains(&curp[10])
        && STATES.chunks_exact(2).any(|state| state == &curp[11..13])
        && curp[17] == b'0' + ((10 - sum % 10) % 10) as u8
}

/// Mexico's RFC in its shape: three or four letters, a date, three more signs (SAT).
pub(super) fn mx_rfc(value: &str) -> bool {
    let mut rfc = [0; 13];
    // Ñ and & are no ASCII letters and so not collected: some of the signs may be missing.
    match collect(value, &mut rfc) {
        Some(count @ 10..=13) => holds_a_date(&rfc[count - 9..count - 3]),
        _ => false,
    }
}

/// Mexico's RFC with its check digit: modulus 11 over an alphabet with & and a blank (SAT).
pub(super) fn mx_rfc_checked(value: &str) -> bool {
    let mut rfc = [0; 13];
    let Some(count @ 12..=13) = collect(value, &mut rfc) else {
        return false;
    };
    let worth = |sign: u8| match sign {
        b'0'..=b'9' => u32::from(sign - b'0'),
        b'A'..=b'N' => u32::from(sign - b'A') + 10,
        _ => u32::from(sign - b'O') + 25,
    };
    // A company's number is one shorter and has a blank, worth 37, before it.
    let blank = if count == 12 { 37 * 13 } else { 0 };
    let body = &rfc[..count - 1];
    let sum: u32 = (2..=13)
        .rev()
        .skip(13 - count)
        .zip(body)
        .map(|(weight, sign)| weight * worth(*sign))
        .sum();
    let check = match 11 - (blank + sum) % 11 {
        11 => b'0',
        10 => b'A',
        check => b'0' + check as u8,
    };
    holds_a_date(&rfc[count - 9..count - 3]) && rfc[count - 1] == check
}

/// Argentina's CUIT and CUIL: a kind of holder and modulus 11 (AFIP).
pub(super) fn ar_cuit(value: &str) -> bool {
    digits::<11>(value).is_some_and(|cuit| {
        let sum = weighted(&cuit[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        let check = match sum % 11 {
            0 => 0,
            // Ten has no digit: the holder gets another kind, or a nine.
            1 => 9,
            remainder => 11 - remainder as u8,
        };
        matches!(small(&cuit[..2]), 20 | 23..=27 | 30 | 33 | 34) && cuit[10] == check
    })
}

/// Chile's RUT: seven or eight digits and a check digit to modulus 11, K for ten.
pub(super) fn cl_rut(value: &str) -> bool {
    let mut signs = [0; 9];
    let Some(count @ 8..=9) = collect(value, &mut signs) else {
        return false;
    };
    let (check, body) = (signs[count - 1], &mut signs[..count - 1]);
    body.reverse();
    if !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = body
        .iter()
        .zip([2, 3, 4, 5, 6, 7, 2, 3])
        .map(|(sign, weight)| u32::from(sign - b'0') * weight)
        .sum();
    !is_uniform(body)
        && check
            == match 11 - sum % 11 {
                11 => b'0',
                10 => b'K',
                check => b'0' + check as u8,
            }
}

/// Colombia's NIT: seven to ten digits and a check digit by primes (DIAN).
pub(super) fn co_nit(value: &str) -> bool {
    let mut signs = [0; 11];
    let Some(count @ 8..=11) = collect(value, &mut signs) else {
        return false;
    };
    if !signs[..count].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let primes = [3, 7, 13, 17, 19, 23, 29, 37, 41, 43];
    let body = signs[..count - 1].iter().rev();
    let sum: u32 = body
        .zip(primes)
        .map(|(sign, prime)| u32::from(sign - b'0') * prime)
        .sum();
    let check = match sum % 11 {
        remainder @ (0 | 1) => remainder,
        remainder => 11 - remainder,
    };
    u32::from(signs[count - 1] - b'0') == check
}

/// Peru's RUC: a kind of holder and modulus 11 (SUNAT).
pub(super) fn pe_ruc(value: &str) -> bool {
    digits::<11>(value).is_some_and(|ruc| {
        let sum = weighted(&ruc[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        matches!(small(&ruc[..2]), 10 | 15 | 16 | 17 | 20)
            && (11 - sum % 11) % 10 == u32::from(ruc[10])
    })
}

/// Ecuador's cédula: a province, a third digit of a person, and Luhn.
pub(super) fn ec_cedula(value: &str) -> bool {
    digits::<10>(value).is_some_and(|cedula| {
        matches!(small(&cedula[..2]), 1..=24 | 30) && cedula[2] < 7 && luhn(&cedula)
    })
}

/// Uruguay's cédula: seven digits and a check digit; old ones have six, as if after a zero.
pub(super) fn uy_cedula(value: &str) -> bool {
    let old = || digits::<7>(value).map(|[a, b, c, d, e, f, g]| [0, a, b, c, d, e, f, g]);
    digits::<8>(value).or_else(old).is_some_and(|cedula| {
        !is_uniform(&cedula) && weighted(&cedula, &[2, 9, 8, 7, 6, 3, 4, 1]).is_multiple_of(10)
    })
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn brazil() {
        accepts("br_cpf", &["529.982.247-25", "39053344705"]);
        refuses(
            "br_cpf",
            &[
                "111.111.111-11",
                "529.982.247-2",
                "529.982.247-26",
                "529.982.274-25",
            ],
        );
        accepts("br_cnpj", &["11.222.333/0001-81", "16727230000197"]);
        accepts("br_cnpj", &["12.ABC.345/01DE-35"]);
        refuses("br_cnpj", &["12.ABC.345/01DE-36", "00.000.000/0000-00"]);
        accepts("br_pis", &["120.00001.23-0"]);
    }

    #[test]
    fn mexico() {
        accepts("mx_curp", &["HEGG560427MVZRRL04", "BOXW310820HNERXN09"]);
        refuses(
            "mx_curp",
            &[
                "HEGG560427MVZRRL05",
                "HEGG561327MVZRRL04",
                "HEGG560427MXXRRL04",
            ],
        );
        accepts(
            "mx_rfc",
            &["GODE561231GR8", "VABC 800101 AB1", "MAB9307148T4"],
        );
        refuses("mx_rfc", &["GODE561331GR8", "GODE56123"]);
        accepts("mx_rfc_checked", &["GODE561231GR8", "MAB9307148T4"]);
        refuses("mx_rfc_checked", &["GODE561231GR9", "MAB9307148T3"]);
    }

    #[test]
    fn south_america() {
        catches_a_changed_digit("ar_cuit", &["20-05536168-2", "30-71031609-7"]);
        accepts("ar_cuit", &["23-12590548-9"]);
        catches_a_changed_digit("cl_rut", &["12.531.909-2", "76.086.428-5"]);
        accepts("cl_rut", &["12345670-K"]);
        refuses("cl_rut", &["11.111.111-2", "12531909-K"]);
        accepts("co_nit", &["213.123.432-1", "6.386.949-2"]);
        refuses("co_nit", &["213.123.432-2", "213.124.432-1"]);
        catches_a_changed_digit("pe_ruc", &["20512333797"]);
        catches_a_changed_digit("ec_cedula", &["171430710-3"]);
        accepts("uy_cedula", &["1.234.567-2", "409.805-3"]);
        refuses("uy_cedula", &["1.234.567-3", "1.243.567-2"]);
    }
}
