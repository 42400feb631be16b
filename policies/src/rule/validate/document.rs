//! Machine-readable zones of travel documents (ICAO 9303).

/// What a sign counts for: digits themselves, letters from 10, the filler nothing.
fn worth(sign: u8) -> u32 {
    match sign {
        b'<' => 0,
        sign => super::scheme::base36(sign),
    }
}

/// Weights 7, 3, 1 over the field, then its check digit; a filler stands for 0 where the field
/// is empty.
fn checks(field: &[u8], check: u8) -> bool {
    let sum: u32 = field
        .iter()
        .zip([7, 3, 1].iter().cycle())
        .map(|(sign, weight)| worth(*sign) * weight)
        .sum();
    worth(check) == sum % 10 && !check.is_ascii_alphabetic()
}

/// Lines of a machine-readable zone: two of 44 (passports) or 36 signs, three of 30, or the first
/// of two alone, which has no check digits and so must name someone.
pub(super) fn mrz(value: &str) -> bool {
    let mut lines = [&[][..]; 3];
    let mut count = 0;
    for line in value.split_ascii_whitespace() {
        let Some(place) = lines.get_mut(count) else {
            return false;
        };
        *place = line.as_bytes();
        count += 1;
    }
    match (count, lines[0].len()) {
        (1, 36 | 44) => names_someone(&lines[0][5..]),
        (2, length @ (36 | 44)) => {
            lines[1].len() == length && names_someone(&lines[0][5..]) && second_line(lines[1])
        }
        (3, 30) => {
            lines[1].len() == 30
                && lines[2].len() == 30
                && names_someone(lines[2])
                && card(lines[0], lines[1])
        }
        _ => false,
    }
}

/// One line that carries a number, dates and their check digits.
pub(super) fn mrz_line(value: &str) -> bool {
    let line = value.as_bytes();
    matches!(line.len(), 36 | 44) && second_line(line)
}

/// Surname, two fillers, given names, and fillers to the end.
fn names_someone(names: &[u8]) -> bool {
    names[0].is_ascii_uppercase()
        && names.windows(2).any(|pair| pair == b"<<")
        && names
            .iter()
            .all(|sign| sign.is_ascii_uppercase() || *sign == b'<')
}

fn second_line(line: &[u8]) -> bool {
    let dated = checks(&line[13..19], line[19]) && checks(&line[21..27], line[27]);
    checks(&line[..9], line[9]) && dated
}

fn card(first: &[u8], second: &[u8]) -> bool {
    checks(&first[5..14], first[14])
        && checks(&second[..6], second[6])
        && checks(&second[8..14], second[14])
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    const PASSPORT: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\n\
                            L898902C36UTO7408122F1204159ZE184226B<<<<<10";

    /// The specimens of ICAO 9303, parts 4 to 6.
    #[test]
    fn specimens() {
        let card = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\n\
                    ERIKSSON<<ANNA<MARIA<<<<<<<<<<";
        let td2 = "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6";
        accepts("mrz", &[PASSPORT, card, td2, &PASSPORT[..44]]);
        accepts("mrz_line", &[&PASSPORT[45..]]);
        refuses(
            "mrz",
            &[
                &PASSPORT.replace("L898902C36", "L898902C37"),
                &PASSPORT.replace("7408122F", "7408132F"),
                &card.replace("D231458907", "D231458917"),
                &PASSPORT[..43],
                "P<UTO<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<",
            ],
        );
    }
}
