//! Recognizers of Presidio: expressions with a score each, and words that raise it.
//!
//! A pattern becomes a rule of the confidence that its score says; the context words confirm it. A
//! list of words is a pattern of alternatives. Recognizers that are programs of theirs are named
//! with what of ours finds the same. Language is not asked for: a rule reads every text.

use super::draft::{Draft, build};
use super::keywords::as_context;
use super::tree::{Entries, Misfit, Node, Value};
use super::{At, IMPORTED_REGEX_BYTES_MAX, ImportKind, Imported, LIST_MAX, Reading, python, yaml};
use crate::rule::diagnostic::PackError;
use crate::rule::{Allow, Confidence, Confirm, Context, shipped};

/// How far before a match a context word may stand: about the five words that theirs looks at.
const CONTEXT_WITHIN_BYTES: usize = 64;

/// From this score on a bare match is worth believing.
const MEDIUM_SCORE: f64 = 0.4;
/// From this score on it leaves little doubt.
const HIGH_SCORE: f64 = 0.7;

/// The flags of expressions when the file says nothing: dot matches all, many lines, no case.
const DEFAULT_FLAGS: f64 = 26.0;

/// How many bytes of a list of words become one expression.
const PORTION_BYTES_MAX: usize = 1024;

/// What a pattern is of.
struct Recognizer<'n> {
    name: &'n str,
    entity: String,
    flags: String,
    words: Vec<String>,
}

/// Reads recognizers.
pub(super) fn read(name: &str, text: &str) -> Result<Imported, Vec<PackError>> {
    let root = yaml::of_yaml(name, text).map_err(|error| vec![error])?;
    let mut reading = Reading::new(name);
    if let Err(misfit) = read_file(&mut reading, &root) {
        reading.error(None, misfit);
    }
    reading.finish()
}

fn read_file(reading: &mut Reading, root: &Node) -> Result<(), Misfit> {
    let flags = Node {
        at: root.at,
        value: Value::Number(DEFAULT_FLAGS),
    };
    if let Value::List(list) = &root.value {
        return read_recognizers(reading, list, &flags);
    }
    let mut entries = root.entries()?;
    if let Some(registry) = entries.take("recognizer_registry") {
        read_file(reading, registry)?;
    } else {
        let flags = entries.take("global_regex_flags").unwrap_or(&flags);
        let lists = ["recognizers", "ad_hoc_recognizers"].map(|key| entries.take(key));
        if lists.iter().all(Option::is_none) {
            return Err(Misfit {
                at: root.at,
                reason: "expected `recognizers` or `ad_hoc_recognizers`".to_owned(),
            });
        }
        for list in lists.into_iter().flatten() {
            read_recognizers(reading, list.list()?, flags)?;
        }
    }
    for (key, node) in entries.left() {
        let at = At {
            rule: None,
            place: node.at,
        };
        let what = match key {
            "supported_languages" => "`supported_languages`: rules read every language".to_owned(),
            _ => format!("`{key}`"),
        };
        reading.note(&at, ImportKind::Ignored, what);
    }
    Ok(())
}

fn read_recognizers(reading: &mut Reading, list: &[Node], flags: &Node) -> Result<(), Misfit> {
    let flags = flag_letters(flags.number()?);
    for node in list {
        reading.rules_in_file += 1;
        if let Err((name, misfit)) = read_recognizer(reading, node, &flags) {
            reading.error(name.as_deref(), misfit);
        }
    }
    Ok(())
}

/// Python's flags as letters.
fn flag_letters(bits: f64) -> String {
    let bits = bits as u32;
    [(2, 'i'), (8, 'm'), (16, 's'), (64, 'x')]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

type NamedFault = (Option<String>, Misfit);

fn read_recognizer(reading: &mut Reading, node: &Node, flags: &str) -> Result<(), NamedFault> {
    // A name alone is a predefined recognizer.
    if let Value::Text(name) = &node.value {
        let at = At {
            rule: Some(name),
            place: node.at,
        };
        note_predefined(reading, &at, name);
        return Ok(());
    }
    let mut entries = node.entries().map_err(|misfit| (None, misfit))?;
    let name = entries.take("name").map_or(Ok(""), Node::text);
    let name = name.map_err(|misfit| (None, misfit))?;
    let line = format!("line {}", node.at.line);
    let name = if name.is_empty() { &line } else { name };
    let at = At {
        rule: Some(name),
        place: node.at,
    };
    read_entries(reading, &at, name, entries, flags)
        .map_err(|misfit| (Some(name.to_owned()), misfit))
}

fn read_entries(
    reading: &mut Reading,
    at: &At<'_>,
    name: &str,
    mut entries: Entries<'_>,
    flags: &str,
) -> Result<(), Misfit> {
    let enabled = entries.take("enabled").map_or(Ok(true), Node::bool)?;
    let kind = entries.take("type").map_or(Ok(""), Node::text)?;
    let class = entries.take("class_name").map_or(Ok(name), Node::text)?;
    let patterns = entries.take("patterns").map_or(Ok(&[][..]), Node::list)?;
    let words = entries.take("deny_list").map_or(Ok(vec![]), Node::texts)?;
    let score = entries
        .take("deny_list_score")
        .map_or(Ok(1.0), Node::number)?;
    let mut context = entries.take("context").map_or(Ok(vec![]), Node::texts)?;
    let entity = entries
        .take("supported_entity")
        .map_or(Ok(""), Node::text)?;
    let entities = entries
        .take("supported_entities")
        .map_or(Ok(vec![]), Node::texts)?;
    let languages = [
        entries.take("supported_language"),
        entries.take("supported_languages"),
    ];
    if languages.iter().any(Option::is_some) {
        let what = "`supported_language`: rules read every language";
        reading.note(at, ImportKind::Ignored, what);
    }
    for language in languages[1].map_or(Ok(&[][..]), Node::list)? {
        if let Value::Map(_) = language.value {
            let mut language = language.entries()?;
            context.extend(language.take("context").map_or(Ok(vec![]), Node::texts)?);
        }
    }
    for (key, _) in entries.left() {
        if key != "country_code" && key != "version" {
            reading.note(at, ImportKind::Ignored, format!("`{key}`"));
        }
    }
    if !enabled {
        reading.note(at, ImportKind::Refused, "`enabled: false`");
        return Ok(());
    }
    if kind == "predefined" || (patterns.is_empty() && words.is_empty()) {
        note_predefined(reading, at, class);
        return Ok(());
    }
    let entity = [entity]
        .into_iter()
        .chain(entities)
        .find(|entity| !entity.is_empty());
    let context: Vec<String> = context.into_iter().map(str::to_lowercase).collect();
    let recognizer = Recognizer {
        name,
        entity: entity.unwrap_or(name).to_owned(),
        flags: flags.to_owned(),
        words: as_context(&context),
    };
    if recognizer.words.len() < context.len() {
        let what = "context words that are not ASCII, too short or there twice";
        reading.note(at, ImportKind::Ignored, what);
    }
    for pattern in patterns {
        read_pattern(reading, at, &recognizer, pattern)?;
    }
    if !words.is_empty() {
        for words in portions(&words) {
            let regex = deny_list(words);
            build_pattern(reading, at, &recognizer, "listed", &regex, score);
        }
    }
    Ok(())
}

/// The words in portions that make an expression of moderate size.
fn portions<'w>(words: &'w [&'w str]) -> Vec<&'w [&'w str]> {
    let mut portions = Vec::new();
    let mut rest = &words[..words.len().min(LIST_MAX)];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |word: &&&str| {
            bytes += word.len();
            bytes <= PORTION_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        portions.push(&rest[..count]);
        rest = &rest[count..];
    }
    portions
}

/// The words as an expression: none of them as a part of a longer word.
fn deny_list(words: &[&str]) -> String {
    let words: Vec<String> = words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| regex_syntax::escape(word))
        .collect();
    format!(r"(?<!\w)(?:{})(?!\w)", words.join("|"))
}

fn read_pattern(
    reading: &mut Reading,
    at: &At<'_>,
    recognizer: &Recognizer<'_>,
    node: &Node,
) -> Result<(), Misfit> {
    let mut entries = node.entries()?;
    let name = entries.take("name").map_or(Ok(""), Node::text)?;
    let regex = entries.take("regex").map_or(Ok(""), Node::text)?;
    let score = entries.take("score").map_or(Ok(0.5), Node::number)?;
    for (key, _) in entries.left() {
        reading.note(at, ImportKind::Ignored, format!("`{key}` of a pattern"));
    }
    let place = At {
        rule: at.rule,
        place: node.at,
    };
    build_pattern(reading, &place, recognizer, name, regex, score);
    Ok(())
}

fn build_pattern(
    reading: &mut Reading,
    at: &At<'_>,
    recognizer: &Recognizer<'_>,
    name: &str,
    regex: &str,
    score: f64,
) {
    if score <= 0.0 {
        let what = "a pattern of score 0, which is never reported";
        return reading.note(at, ImportKind::Refused, what);
    }
    let parsed = match regex.len() {
        0..=IMPORTED_REGEX_BYTES_MAX => python::parse(regex, &recognizer.flags),
        length => Err(format!(
            "an expression of {length} bytes; {IMPORTED_REGEX_BYTES_MAX} are the most"
        )),
    };
    let hir = match parsed {
        Ok(hir) => hir,
        Err(reason) => {
            return reading.note(at, ImportKind::Refused, format!("a pattern: {reason}"));
        }
    };
    let words = recognizer.words.clone();
    let confirm = (!words.is_empty()).then(|| Confirm {
        context: Some(Context {
            words,
            within: CONTEXT_WITHIN_BYTES,
            after: 0,
        }),
        ..Confirm::default()
    });
    let id = recognizer.entity.clone();
    let draft = Draft {
        id,
        description: format!("{}: {name}", recognizer.name),
        hir,
        group: Some(1),
        keywords: Vec::new(),
        entropy_bits_min: None,
        allow: Allow::default(),
        confidence: confidence(score),
        confirm,
    };
    build(reading, at, &draft);
}

fn confidence(score: f64) -> Confidence {
    match score {
        HIGH_SCORE.. => Confidence::High,
        MEDIUM_SCORE.. => Confidence::Medium,
        _ => Confidence::Low,
    }
}

/// A recognizer that is a program of theirs, and what of ours finds the same.
fn note_predefined(reading: &mut Reading, at: &At<'_>, class: &str) {
    let wanted = OURS
        .iter()
        .find(|(name, _)| *name == class)
        .map(|(_, id)| id);
    let known = wanted.and_then(|id| {
        let line = format!("id = \"{id}\"");
        let has = |text: &str| text.lines().any(|it| it.trim() == line);
        let pack = shipped().iter().find(|(_, text)| has(text))?;
        Some((id, pack.0))
    });
    let what = match known {
        Some((id, pack)) => {
            format!("predefined; rule `{id}` of the shipped pack `{pack}` is alike")
        }
        None => "predefined, and nothing that is shipped is alike".to_owned(),
    };
    reading.note(at, ImportKind::Refused, what);
}

/// Classes of theirs and rules of ours that find the same or more.
const OURS: [(&str, &str); 59] = [
    ("AbaRoutingRecognizer", "us-bank-routing"),
    ("AuAbnRecognizer", "au-abn"),
    ("AuAcnRecognizer", "au-acn"),
    ("AuMedicareRecognizer", "au-medicare"),
    ("AuTfnRecognizer", "au-tfn"),
    ("CaPostalCodeRecognizer", "postal-code-canada"),
    ("CaSinRecognizer", "ca-sin"),
    ("CreditCardRecognizer", "payment-card"),
    ("CryptoRecognizer", "bitcoin-address"),
    ("DateRecognizer", "date-of-birth"),
    ("DeIdCardRecognizer", "de-identity-card"),
    ("DePassportRecognizer", "passport-number"),
    ("DePlzRecognizer", "postal-code"),
    ("DeSocialSecurityRecognizer", "de-pension-insurance"),
    ("DeTaxIdRecognizer", "de-tax-id"),
    ("EmailRecognizer", "email-address"),
    ("EsNieRecognizer", "es-nie"),
    ("EsNifRecognizer", "es-dni"),
    ("EsPassportRecognizer", "passport-number"),
    ("FiPersonalIdentityCodeRecognizer", "fi-hetu"),
    ("IbanRecognizer", "iban"),
    ("InAadhaarRecognizer", "in-aadhaar"),
    ("InGstinRecognizer", "in-gstin"),
    ("InPanRecognizer", "in-pan"),
    ("InPassportRecognizer", "passport-number"),
    ("InVoterRecognizer", "in-voter-id"),
    ("IpRecognizer", "ipv4-address"),
    ("ItDriverLicenseRecognizer", "driving-licence-foreign"),
    ("ItFiscalCodeRecognizer", "it-codice-fiscale"),
    ("ItIdentityCardRecognizer", "it-identity-card"),
    ("ItPassportRecognizer", "passport-number"),
    ("ItVatCodeRecognizer", "it-partita-iva"),
    ("KrPassportRecognizer", "passport-number"),
    ("KrRrnRecognizer", "kr-rrn"),
    ("MacAddressRecognizer", "mac-address"),
    ("MedicalLicenseRecognizer", "us-dea"),
    ("NgNinRecognizer", "ng-bvn-nin"),
    ("NhsRecognizer", "uk-nhs-number"),
    ("PhPassportRecognizer", "passport-number"),
    ("PhoneRecognizer", "phone-international"),
    ("PlPeselRecognizer", "pl-pesel"),
    ("SePersonnummerRecognizer", "se-personnummer"),
    ("SgFinRecognizer", "sg-nric"),
    ("ThTninRecognizer", "th-citizen-id"),
    ("TrNationalIdRecognizer", "tr-tckn"),
    ("UkDrivingLicenceRecognizer", "uk-driving-licence"),
    ("UkNinoRecognizer", "uk-national-insurance"),
    ("UkPassportRecognizer", "passport-number"),
    ("UkPostcodeRecognizer", "postal-code-uk"),
    ("UsBankRecognizer", "bank-account"),
    ("UsItinRecognizer", "us-itin"),
    ("UsLicenseRecognizer", "driving-licence"),
    ("UsMbiRecognizer", "us-medicare"),
    ("UsNpiRecognizer", "us-npi"),
    ("UsPassportRecognizer", "passport-number"),
    ("UsProviderTaxIdRecognizer", "us-tax-id"),
    ("UsSsnRecognizer", "us-ssn"),
    ("ZaIdNumberRecognizer", "za-identity-number"),
    ("ZaPassportRecognizer", "passport-number"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_alike_is_shipped() {
        for (class, id) in OURS {
            let line = format!("id = \"{id}\"");
            let known = shipped()
                .iter()
                .any(|(_, text)| text.lines().any(|it| it.trim() == line));
            assert!(known, "{class}: no shipped rule {id}");
        }
    }
}
