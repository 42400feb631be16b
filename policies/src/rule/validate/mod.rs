//! Validators: what a regular expression cannot say about a value.
//!
//! They run on the longest candidate at a start, and a refusal lets the next rule or the next
//! start try. All are pure functions of the value's text, bounded and free of allocation (a JWT's
//! header excepted), so a stream and a block agree. A file holds one family; [`mod@scheme`] holds
//! the check digit schemes that they share. Separators do not count: `123-45` is `12345`.

mod asia;
mod british_isles;
mod device;
mod document;
mod east_europe;
mod finance;
mod generic;
mod latin_america;
mod nordic;
mod north_america;
mod scheme;
mod south;
mod south_europe;
mod token;
mod wallet;
mod west_europe;

use std::fmt;

/// A checksum or a structure that a candidate must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Validator(u8);

/// What there is to know of one validator.
struct Entry {
    name: &'static str,
    /// The standard or the authority that defines the number.
    source: &'static str,
    accepts: fn(&str) -> bool,
}

const fn entry(name: &'static str, source: &'static str, accepts: fn(&str) -> bool) -> Entry {
    Entry {
        name,
        source,
        accepts,
    }
}

/// How many validators there are; their places fit a byte.
const COUNT: usize = 147;

/// All of them, by family.
static ENTRIES: [Entry; COUNT] = [
    entry("luhn", "ISO/IEC 7812-1, 12 to 19 digits", generic::luhn),
    entry("luhn_any", "ISO/IEC 7812-1, any length", generic::luhn_any),
    entry(
        "verhoeff",
        "J. Verhoeff, Error Detecting Decimal Codes, 1969",
        generic::verhoeff,
    ),
    entry("iso7064_mod11_2", "ISO/IEC 7064", generic::mod_11_2),
    entry("iso7064_mod11_10", "ISO/IEC 7064", generic::mod_11_10),
    entry("iso7064_mod97_10", "ISO/IEC 7064", generic::mod_97_10),
    entry("iso7064_mod37_36", "ISO/IEC 7064", generic::mod_37_36),
    entry("iban", "ISO 13616, SWIFT IBAN registry", finance::iban),
    entry("iban_any", "ISO 13616, any country", finance::iban_any),
    entry(
        "aba_routing",
        "American Bankers Association",
        finance::aba_routing,
    ),
    entry(
        "account_number",
        "Six to eighteen digits",
        finance::account_number,
    ),
    entry("lei", "ISO 17442", finance::lei),
    entry("bic", "ISO 9362", finance::bic),
    entry("isin", "ISO 6166", finance::isin),
    entry("us_ssn", "SSA, numbers never issued", north_america::us_ssn),
    entry("us_itin", "IRS, ITIN ranges", north_america::us_itin),
    entry("us_ein", "IRS, EIN prefixes", north_america::us_ein),
    entry("us_mbi", "CMS, MBI format", north_america::us_mbi),
    entry("us_npi", "45 CFR 162.406", north_america::us_npi),
    entry("us_dea", "DEA, registration numbers", north_america::us_dea),
    entry("ca_sin", "Service Canada", north_america::ca_sin),
    entry("br_cpf", "Receita Federal", latin_america::br_cpf),
    entry(
        "br_cnpj",
        "Receita Federal, IN RFB 2229/2024",
        latin_america::br_cnpj,
    ),
    entry("br_pis", "Caixa Econômica Federal", latin_america::br_pis),
    entry("mx_curp", "RENAPO", latin_america::mx_curp),
    entry("mx_rfc", "SAT, shape and date", latin_america::mx_rfc),
    entry(
        "mx_rfc_checked",
        "SAT, with check digit",
        latin_america::mx_rfc_checked,
    ),
    entry("ar_cuit", "AFIP", latin_america::ar_cuit),
    entry("cl_rut", "Registro Civil", latin_america::cl_rut),
    entry("co_nit", "DIAN", latin_america::co_nit),
    entry("pe_ruc", "SUNAT", latin_america::pe_ruc),
    entry("ec_cedula", "Registro Civil", latin_america::ec_cedula),
    entry("uy_cedula", "DNIC", latin_america::uy_cedula),
    entry("uk_nhs", "NHS Data Dictionary", british_isles::uk_nhs),
    entry("uk_nino", "HMRC NIM39110", british_isles::uk_nino),
    entry("uk_utr", "HMRC", british_isles::uk_utr),
    entry("uk_driver", "DVLA", british_isles::uk_driver),
    entry(
        "ie_pps",
        "Department of Social Protection",
        british_isles::ie_pps,
    ),
    entry("de_steuer_id", "BZSt, § 139b AO", west_europe::de_steuer_id),
    entry("de_rvnr", "VKVV § 4", west_europe::de_rvnr),
    entry(
        "de_id_card",
        "ICAO 9303 over PAuswV's alphabet",
        west_europe::de_id_card,
    ),
    entry(
        "at_svnr",
        "Dachverband der Sozialversicherungsträger",
        west_europe::at_svnr,
    ),
    entry("ch_ahv", "BSV, EAN-13", west_europe::ch_ahv),
    entry("ch_uid", "BFS", west_europe::ch_uid),
    entry("fr_nir", "INSEE", west_europe::fr_nir),
    entry("fr_siren", "INSEE", west_europe::fr_siren),
    entry("fr_siret", "INSEE", west_europe::fr_siret),
    entry("fr_spi", "DGFiP", west_europe::fr_spi),
    entry("nl_bsn", "RvIG, eleven test", west_europe::nl_bsn),
    entry(
        "be_national",
        "Rijksregister, IBZ",
        west_europe::be_national,
    ),
    entry("lu_national", "CTIE", west_europe::lu_national),
    entry("es_dni", "Ministerio del Interior", south_europe::es_dni),
    entry("es_nie", "Ministerio del Interior", south_europe::es_nie),
    entry("es_nif", "Orden EHA/451/2008", south_europe::es_nif),
    entry("es_nss", "TGSS", south_europe::es_nss),
    entry("es_ccc", "Banco de España", south_europe::es_ccc),
    entry(
        "it_codice_fiscale",
        "DM 23 December 1976",
        south_europe::it_codice_fiscale,
    ),
    entry(
        "it_partita_iva",
        "Agenzia delle Entrate",
        south_europe::it_partita_iva,
    ),
    entry("pt_nif", "Autoridade Tributária", south_europe::pt_nif),
    entry("pt_citizen_card", "AMA", south_europe::pt_citizen_card),
    entry("gr_afm", "AADE", south_europe::gr_afm),
    entry("gr_amka", "IDIKA", south_europe::gr_amka),
    entry("tr_tckn", "NVI", south_europe::tr_tckn),
    entry("pl_pesel", "Ministerstwo Cyfryzacji", east_europe::pl_pesel),
    entry("pl_nip", "Ministerstwo Finansów", east_europe::pl_nip),
    entry("pl_regon", "GUS", east_europe::pl_regon),
    entry("pl_id_card", "MSWiA", east_europe::pl_id_card),
    entry(
        "cz_rodne_cislo",
        "Act 133/2000, Act 301/1995",
        east_europe::cz_rodne_cislo,
    ),
    entry("cz_ico", "ČSÚ", east_europe::cz_ico),
    entry("ro_cnp", "DEPABD", east_europe::ro_cnp),
    entry("bg_egn", "GRAO", east_europe::bg_egn),
    entry(
        "ee_isikukood",
        "EVS 585, Registrų centras",
        east_europe::ee_isikukood,
    ),
    entry("lv_personas_kods", "PMLP", east_europe::lv_personas_kods),
    entry("hr_oib", "Porezna uprava", east_europe::hr_oib),
    entry("jmbg", "Act of 1976", east_europe::jmbg),
    entry(
        "hu_adoazonosito",
        "Act XX of 1996",
        east_europe::hu_adoazonosito,
    ),
    entry("hu_taj", "Act XX of 1996", east_europe::hu_taj),
    entry("ua_rnokpp", "State Tax Service", east_europe::ua_rnokpp),
    entry("ru_inn", "FNS", east_europe::ru_inn),
    entry("ru_snils", "PFR", east_europe::ru_snils),
    entry(
        "kz_iin",
        "Ministry of Internal Affairs",
        east_europe::kz_iin,
    ),
    entry("il_id", "Population Authority", east_europe::il_id),
    entry(
        "se_personnummer",
        "Skatteverket SKV 704",
        nordic::se_personnummer,
    ),
    entry("no_fodselsnummer", "Skatteetaten", nordic::no_fodselsnummer),
    entry("no_orgnr", "Brønnøysundregistrene", nordic::no_orgnr),
    entry("dk_cpr", "CPR-kontoret, date only", nordic::dk_cpr),
    entry(
        "dk_cpr_checked",
        "CPR-kontoret, before 2007",
        nordic::dk_cpr_checked,
    ),
    entry("fi_hetu", "DVV", nordic::fi_hetu),
    entry("is_kennitala", "Þjóðskrá", nordic::is_kennitala),
    entry("cn_resident_id", "GB 11643-1999", asia::cn_resident_id),
    entry("hk_id", "Immigration Department", asia::hk_id),
    entry("tw_id", "Ministry of the Interior", asia::tw_id),
    entry("kr_rrn", "MOIS, date only", asia::kr_rrn),
    entry(
        "kr_rrn_checked",
        "MOIS, before October 2020",
        asia::kr_rrn_checked,
    ),
    entry(
        "jp_my_number",
        "MIC ordinance 85 of 2014",
        asia::jp_my_number,
    ),
    entry("sg_nric", "ICA", asia::sg_nric),
    entry("my_nric", "JPN", asia::my_nric),
    entry("th_id", "DOPA", asia::th_id),
    entry("id_nik", "Dukcapil", asia::id_nik),
    entry("in_aadhaar", "UIDAI", asia::in_aadhaar),
    entry("in_pan", "Income Tax Department", asia::in_pan),
    entry("in_gstin", "GSTN", asia::in_gstin),
    entry("pk_cnic", "NADRA", asia::pk_cnic),
    entry("ae_emirates_id", "ICP", asia::ae_emirates_id),
    entry("sa_national_id", "NIC", asia::sa_national_id),
    entry("au_tfn", "ATO", south::au_tfn),
    entry("au_abn", "ABR", south::au_abn),
    entry("au_acn", "ASIC", south::au_acn),
    entry("au_medicare", "Services Australia", south::au_medicare),
    entry("nz_ird", "Inland Revenue", south::nz_ird),
    entry("nz_nhi", "HISO 10046", south::nz_nhi),
    entry("za_id", "Identification Act 68 of 1997", south::za_id),
    entry("imei", "3GPP TS 23.003", device::imei),
    entry(
        "imei_named",
        "3GPP TS 23.003, with or without check digit",
        device::imei_named,
    ),
    entry("mac_address", "IEEE 802", device::mac_address),
    entry("ipv4", "RFC 1122, RFC 6890", device::ipv4),
    entry(
        "ipv4_distinct",
        "RFC 6890, unlike a version",
        device::ipv4_distinct,
    ),
    entry("ipv4_private", "RFC 1918, RFC 6598", device::ipv4_private),
    entry("ipv6", "RFC 4291", device::ipv6),
    entry("ipv6_global", "RFC 4291, RFC 3849", device::ipv6_global),
    entry("vin", "49 CFR 565", device::vin),
    entry("vin_shape", "ISO 3779", device::vin_shape),
    entry("e164", "ITU-T E.164", device::e164),
    entry(
        "phone_national",
        "Seven to fifteen digits",
        device::phone_national,
    ),
    entry(
        "phone_labelled",
        "Five to fifteen digits",
        device::phone_labelled,
    ),
    entry("nanp", "North American Numbering Plan", device::nanp),
    entry("mrz", "ICAO 9303", document::mrz),
    entry(
        "mrz_line",
        "ICAO 9303, second line alone",
        document::mrz_line,
    ),
    entry("bitcoin", "base58check, BIP 173, BIP 350", wallet::bitcoin),
    entry("litecoin", "base58check, BIP 173", wallet::litecoin),
    entry("dogecoin", "base58check", wallet::dogecoin),
    entry("dash", "base58check", wallet::dash),
    entry("tron", "base58check", wallet::tron),
    entry("ripple", "XRP Ledger base58", wallet::ripple),
    entry("solana", "base58 of 32 bytes", wallet::solana),
    entry("bitcoin_wif", "base58check", wallet::bitcoin_wif),
    entry("bip32_key", "BIP 32", wallet::bip32_key),
    entry("ethereum", "EIP-55, or one case", wallet::ethereum),
    entry("eip55", "EIP-55", wallet::eip55),
    entry("monero", "CryptoNote base58, Keccak-256", wallet::monero),
    entry("mnemonic", "BIP 39, shape", wallet::mnemonic),
    entry("jwt", "RFC 7519", token::jwt),
    entry(
        "random_looking",
        "Sixteen signs, hardly a word among them",
        token::random_looking,
    ),
    entry(
        "random_letters",
        "Eight letters whose pairs are not those of words",
        token::random_letters,
    ),
    entry(
        "github_crc",
        "GitHub, token format of 2021",
        token::crc_suffixed,
    ),
    entry("npm_crc", "npm, token format of 2021", token::crc_suffixed),
    entry(
        "penstock_crc",
        "Penstock, keys that its gateways issue",
        token::penstock_key,
    ),
];

// === impl Validator ===

impl Validator {
    /// Payment cards: the first entry.
    pub(crate) const LUHN: Validator = Validator(0);

    /// Every name that a rule's `validate` may give.
    pub const NAMES: [&'static str; COUNT] = {
        let mut names = [""; COUNT];
        let mut index = 0;
        while index < COUNT {
            names[index] = ENTRIES[index].name;
            index += 1;
        }
        names
    };

    /// The validator of this name.
    pub fn from_name(name: &str) -> Option<Validator> {
        let index = ENTRIES.iter().position(|entry| entry.name == name)?;
        u8::try_from(index).ok().map(Validator)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The standard or the authority that defines what it checks.
    pub fn source(self) -> &'static str {
        self.entry().source
    }

    /// Is this value what it looks like?
    pub fn accepts(self, value: &str) -> bool {
        (self.entry().accepts)(value)
    }

    fn entry(self) -> &'static Entry {
        &ENTRIES[usize::from(self.0)]
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validator({})", self.name())
    }
}

/// Shannon entropy of a value's bytes, in bits per byte.
pub fn entropy_bits(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names: HashSet<&str> = Validator::NAMES.into_iter().collect();
        assert_eq!(names.len(), Validator::NAMES.len());
        for name in names {
            let validator = Validator::from_name(name).expect("it is named");
            assert_eq!(validator.name(), name);
            assert!(!validator.source().is_empty());
        }
        assert_eq!(Validator::from_name("nothing"), None);
        assert_eq!(Validator::LUHN.name(), "luhn");
    }

    #[test]
    fn entropy_of_known_texts() {
        assert!(entropy_bits("aaaaaaaa") < 0.01);
        assert!((entropy_bits("abcdefgh") - 3.0).abs() < 0.01);
    }

    proptest! {
        /// Whatever text a rule hands over, a validator answers.
        #[test]
        fn no_text_makes_one_panic(text in "[ -~é–]{0,60}", signs in "[0-9A-Z<:.x-]{0,110}") {
            for name in Validator::NAMES {
                let validator = Validator::from_name(name).expect("it is named");
                validator.accepts(&text);
                validator.accepts(&signs);
            }
        }

        /// Texts of every length that some validator reads to its end.
        #[test]
        fn no_number_makes_one_panic(number in "[A-Z]{0,4}[0-9]{6,20}[A-Z0-9]{0,3}") {
            for name in Validator::NAMES {
                Validator::from_name(name).expect("it is named").accepts(&number);
            }
        }
    }
}
