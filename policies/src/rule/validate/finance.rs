//! Accounts, banks and legal entities.

use super::scheme::{SIGNS_MAX, collect, digits, is_uniform, mod_97_10, signs, small, weighted};

/// The longest IBAN, and so the most that is read of one.
const IBAN_SIGNS_MAX: usize = 34;

/// Lengths of the IBANs in the SWIFT registry, and the countries that have them.
const IBAN_LENGTHS: [(usize, &str); 18] = [
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HN HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// Countries whose account numbers are digits alone.
const IBAN_OF_DIGITS: &str =
    "AT BA BE CZ DE DK EE ES FI FO GL HR HU IL LT ME NO PL PT RS SE SI SK TL XK";

/// ISO 13616: the length of its country in the SWIFT registry, and MOD 97-10 over the whole with
/// the first four characters moved behind.
pub(super) fn iban(value: &str) -> bool {
    let mut compact = [0; IBAN_SIGNS_MAX];
    let Some(count) = collect(value, &mut compact) else {
        return false;
    };
    let (Some(country), Some(body)) = (compact.get(..2), compact.get(4..count)) else {
        return false;
    };
    let is_country = |name: &str| name.as_bytes() == country;
    let length = IBAN_LENGTHS
        .iter()
        .find(|(_, countries)| countries.split(' ').any(is_country));
    length.is_some_and(|(length, _)| *length == count)
        && fits_registry(country, body)
        && mod_97_10(body.iter().chain(&compact[..4])) == 1
        && has_check_digits(&compact)
}

/// An IBAN of the registry, or one of the same build of a country that has not joined it.
pub(super) fn iban_any(value: &str) -> bool {
    iban(value) || iban_elsewhere(value)
}

fn iban_elsewhere(value: &str) -> bool {
    let mut compact = [0; IBAN_SIGNS_MAX];
    let Some(count @ 15..) = collect(value, &mut compact) else {
        return false;
    };
    let body = &compact[4..count];
    let digits = body.iter().filter(|sign| sign.is_ascii_digit()).count();
    let is_registered = IBAN_LENGTHS.iter().any(|(_, countries)| {
        countries
            .split(' ')
            .any(|name| name.as_bytes() == &compact[..2])
    });
    is_country([compact[0], compact[1]])
        && !is_registered
        && digits >= 6
        && mod_97_10(body.iter().chain(&compact[..4])) == 1
        && has_check_digits(&compact)
}

/// The check digits of an IBAN are 02 to 98: 98 less a remainder to 97.
fn has_check_digits(compact: &[u8; IBAN_SIGNS_MAX]) -> bool {
    compact[2..4].iter().all(u8::is_ascii_digit) && !matches!(&compact[2..4], b"00" | b"01" | b"99")
}

/// What the registry says of the account number: only digits, or a bank's four letters before
/// them; of the other countries nothing.
fn fits_registry(country: &[u8], body: &[u8]) -> bool {
    let is_of = |countries: &str| countries.split(' ').any(|name| name.as_bytes() == country);
    let from = if is_of("GB IE NL GI LV RO") { 4 } else { 0 };
    let digits = if is_of("GB IE NL") {
        &body[from..]
    } else if is_of(IBAN_OF_DIGITS) {
        body
    } else {
        &[]
    };
    digits.iter().all(u8::is_ascii_digit) && body[..from].iter().all(u8::is_ascii_uppercase)
}

/// ABA routing transit number: weights 3, 7, 1, and a first digit that is in use: of a Federal
/// Reserve district or the government, a thrift, an electronic institution, traveller's cheques.
pub(super) fn aba_routing(value: &str) -> bool {
    let Some(number) = digits::<9>(value) else {
        return false;
    };
    matches!(small(&number[..2]), 1..=39 | 60..=89)
        && weighted(&number, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// Six to eighteen digits, not all the same and no calendar date: as much as can be said of account
/// numbers in general.
pub(super) fn account_number(value: &str) -> bool {
    let mut number = [0; 18];
    let count = collect(value, &mut number);
    count.is_some_and(|count| {
        let number = &number[..count];
        let plain = number.iter().all(u8::is_ascii_digit) && !is_uniform(number);
        count > 5 && plain && !super::device::is_written_date(value)
    })
}

/// ISO 17442: twenty letters and digits, MOD 97-10.
pub(super) fn lei(value: &str) -> bool {
    signs::<20>(value).is_some_and(|signs| mod_97_10(&signs) == 1)
}

/// ISO 9362: a bank's four letters, a country, a place, perhaps a branch.
pub(super) fn bic(value: &str) -> bool {
    let mut compact = [0; 11];
    let Some(count @ (8 | 11)) = collect(value, &mut compact) else {
        return false;
    };
    let letters = compact[..6].iter().all(u8::is_ascii_uppercase);
    let country = [compact[4], compact[5]];
    letters && count >= 8 && is_country(country)
}

/// ISO 6166: a security's number; its letters are two digits each, then Luhn.
pub(super) fn isin(value: &str) -> bool {
    let Some(signs) = signs::<12>(value) else {
        return false;
    };
    let mut expanded = [0; SIGNS_MAX];
    let mut count = 0;
    for sign in signs {
        let value = super::scheme::base36(sign) as u8;
        if value > 9 {
            expanded[count] = value / 10;
            count += 1;
        }
        expanded[count] = value % 10;
        count += 1;
    }
    is_country([signs[0], signs[1]])
        && signs[11].is_ascii_digit()
        && super::scheme::luhn(&expanded[..count])
}

/// Two capital letters that ISO 3166-1 has given to a country, or XK, EU and XS.
pub(super) fn is_country(code: [u8; 2]) -> bool {
    COUNTRIES.chunks_exact(2).any(|known| known == code)
}

/// ISO 3166-1 alpha-2, with the user-assigned XK, and EU and XS of the securities.
const COUNTRIES: &[u8] = b"\
ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCN\
COCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETEUFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHK\
HMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMH\
MKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRU\
RWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVG\
VIVNVUWFWSXKXSYEYTZAZMZW";

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn iban() {
        let examples = [
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "FR14-2004-1010-0505-0001-3M02-606",
            "NO93 8601 1117 947",
            "MT84MALT011000012345MTLCAST001S",
            "LC55HEMM000100010012001200023015",
            "BR1800360305000010009795493C1",
            "VG96VPVG0000012345678901",
        ];
        catches_a_changed_digit("iban", &examples);
        catches_swapped_digits("iban", &examples);
        refuses(
            "iban",
            &["DE8937040044053201300", "ZZ89370400440532013000", "DE", ""],
        );
        // Check digits that no remainder gives, and letters where the registry has digits.
        refuses(
            "iban",
            &[
                "GB01BARC20714583608387",
                "GB00HLFX11016111455365",
                "GB12BARC20201530093A59",
            ],
        );
        catches_a_changed_digit("iban_any", &["SN08SN0100152000048500003035"]);
        accepts("iban_any", &["gb82west12345698765432"]);
        refuses(
            "iban_any",
            &[
                "ZZ89370400440532013000",
                "GB96 BARC 2020 1530 0934 591",
                "DE89",
                "",
            ],
        );
    }

    #[test]
    fn banks() {
        catches_a_changed_digit("aba_routing", &["111000025", "0210-0002-1", "322271627"]);
        refuses("aba_routing", &["000000000", "411000023", "11100002"]);
        accepts("account_number", &["1234-5678-90", "532013000"]);
        refuses(
            "account_number",
            &["12345", "000000", "2021-04-01", "1234567890123456789"],
        );
        accepts("bic", &["DEUTDEFF", "DEUT DE FF 500", "COBADEFFXXX"]);
        refuses("bic", &["DEUTZZFF", "DEUTDEF", "DEUTDEFF5", "D3UTDEFF"]);
    }

    #[test]
    fn entities() {
        catches_a_changed_digit("lei", &["5493001KJTIIGC8Y1R12"]);
        catches_a_changed_digit("isin", &["US0378331005", "AU0000XVGZA3", "GB0002634946"]);
    }
}
