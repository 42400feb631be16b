//! Devices, addresses of networks, vehicles, telephones.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::scheme::{collect, digits, is_day, is_uniform, is_yyyymmdd, luhn, signs, small};

/// IMEI: fifteen digits, Luhn (3GPP TS 23.003).
pub(super) fn imei(value: &str) -> bool {
    digits::<15>(value).is_some_and(|imei| !is_uniform(&imei) && luhn(&imei))
}

/// An IMEI, or what has no check digit: its fourteen digits alone, or the sixteen of an IMEISV,
/// behind the identifier of a body that gives them out (3GPP TS 23.003, GSMA TS.06).
pub(super) fn imei_named(value: &str) -> bool {
    let reported = |two: &[u8]| matches!(small(two), 1 | 10 | 35 | 44..=54 | 86 | 91 | 97..=99);
    let bare = digits::<14>(value).is_some_and(|imei| reported(&imei[..2]) && !is_uniform(&imei));
    let versioned =
        || digits::<16>(value).is_some_and(|imei| reported(&imei[..2]) && !is_uniform(&imei));
    imei(value) || bare || versioned()
}

/// EUI-48 address of one station: not all zero, no broadcast, none of a group, whose first octet
/// is odd (IEEE 802).
pub(super) fn mac_address(value: &str) -> bool {
    signs::<12>(value).is_some_and(|mac| {
        let is_group = matches!(
            mac[1],
            b'1' | b'3' | b'5' | b'7' | b'9' | b'B' | b'D' | b'F'
        );
        mac.iter().all(u8::is_ascii_hexdigit) && !is_group && !is_uniform(&mac)
    })
}

/// An IPv4 address that a host on the internet may have, or that documents give one
/// (RFC 1122, 5737, 6890).
pub(super) fn ipv4(value: &str) -> bool {
    value.parse().is_ok_and(|ip: Ipv4Addr| !is_local_v4(ip))
}

/// An address that no four-part version number looks like: global, and two of its parts are at
/// least 32.
pub(super) fn ipv4_distinct(value: &str) -> bool {
    value.parse().is_ok_and(|ip: Ipv4Addr| {
        let large = ip.octets().iter().filter(|octet| **octet >= 32).count();
        !is_local_v4(ip) && !ip.is_documentation() && large >= 2
    })
}

/// A private, shared, loopback or link-local IPv4 address: it names a host in some network only.
pub(super) fn ipv4_private(value: &str) -> bool {
    value.parse().is_ok_and(|ip: Ipv4Addr| {
        let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
        ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
    })
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xC0 == 64;
    let benchmark = first == 198 && second & 0xFE == 18;
    let reserved = first == 0 || first >= 224;
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || benchmark || reserved
}

/// An IPv6 address of a host: not the unspecified one, not loopback, no multicast (RFC 4291).
pub(super) fn ipv6(value: &str) -> bool {
    let address = value.split('%').next().unwrap_or(value);
    address
        .parse()
        .is_ok_and(|ip: Ipv6Addr| !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast())
}

/// A global unicast IPv6 address that is not for documentation (RFC 3849, 9637).
pub(super) fn ipv6_global(value: &str) -> bool {
    value.parse().is_ok_and(|ip: Ipv6Addr| {
        let segments = ip.segments();
        let documentation = (segments[0] == 0x2001 && segments[1] == 0xDB8)
            || (segments[0] == 0x3FFF && segments[1] < 0x1000);
        segments[0] & 0xE000 == 0x2000 && !documentation
    })
}

/// Vehicle identification number with the check digit that North America and China demand
/// (49 CFR 565, ISO 3779).
pub(super) fn vin(value: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let Some(vin) = signs::<17>(value) else {
        return false;
    };
    let worth = |sign: u8| match sign {
        b'0'..=b'9' => u32::from(sign - b'0'),
        b'A'..=b'I' => u32::from(sign - b'A') + 1,
        b'J'..=b'R' => u32::from(sign - b'J') + 1,
        _ => u32::from(sign - b'S') + 2,
    };
    let sum: u32 = vin
        .iter()
        .zip(WEIGHTS)
        .map(|(sign, weight)| worth(*sign) * weight)
        .sum();
    let check = b"0123456789X"[(sum % 11) as usize];
    vin_shape(value) && vin[8] == check
}

/// Seventeen letters and digits without I, O and Q, of both kinds, the last three digits.
pub(super) fn vin_shape(value: &str) -> bool {
    signs::<17>(value).is_some_and(|vin| {
        let digits = vin.iter().filter(|sign| sign.is_ascii_digit()).count();
        let serial = vin[14..].iter().all(u8::is_ascii_digit);
        serial && (4..17).contains(&digits) && !vin.iter().any(|sign| b"IOQ".contains(sign))
    })
}

/// A telephone number with a country code that the ITU has assigned (E.164, complement of 2016)
/// and as many digits as the recommendation allows.
pub(super) fn e164(value: &str) -> bool {
    let mut number = [0; 17];
    let Some(count) = collect(value, &mut number) else {
        return false;
    };
    if is_written_date(value) {
        return false;
    }
    // Written with 00 in the place of the plus.
    let number = number[..count]
        .strip_prefix(b"00")
        .unwrap_or(&number[..count]);
    if !number.iter().all(u8::is_ascii_digit) || !(8..=15).contains(&number.len()) {
        return false;
    }
    let code = |length: usize| {
        number[..length]
            .iter()
            .fold(0, |code, d| code * 10 + u32::from(d - b'0'))
    };
    let rest = match (code(1), code(2)) {
        (1, _) => return nanp_digits(&number[1..]),
        (7, _) => return number.len() == 11,
        (
            _,
            20
            | 27
            | 30..=34
            | 36
            | 39..=41
            | 43..=49
            | 51..=58
            | 60..=66
            | 81
            | 82
            | 84
            | 86
            | 90..=95
            | 98,
        ) => 2,
        _ if is_assigned(code(3)) => 3,
        _ => return false,
    };
    number.len() - rest >= 5 && !is_uniform(&number[rest..])
}

/// Three-digit codes in use, networks of no country among them.
fn is_assigned(code: u32) -> bool {
    matches!(
        code,
        211..=213 | 216 | 218 | 220..=258 | 260..=269 | 290 | 291 | 297..=299 | 350..=359
            | 370..=378 | 380..=383 | 385..=387 | 389 | 420 | 421 | 423 | 500..=509 | 590..=599
            | 670 | 672..=683 | 685..=692 | 800 | 808 | 850 | 852 | 853 | 855 | 856 | 870 | 878
            | 880..=883 | 886 | 888 | 960..=968 | 970..=977 | 979 | 992..=996 | 998
    )
}

/// Seven to fifteen digits that are no time and no span of years: what a telephone number without
/// its country code may be.
pub(super) fn phone_national(value: &str) -> bool {
    phone_of(value, 7)
}

/// The same from five digits, behind a label: small states and islands have no more.
pub(super) fn phone_labelled(value: &str) -> bool {
    phone_of(value, 5)
}

fn phone_of(value: &str, digits_min: usize) -> bool {
    let mut number = [0; 15];
    let Some(count) = collect(value, &mut number).filter(|count| *count >= digits_min) else {
        return false;
    };
    let number = number.map(|sign| sign.wrapping_sub(b'0'));
    let timestamp = count > 11 && is_yyyymmdd(&number);
    number[..count].iter().all(|digit| *digit < 10)
        && !is_uniform(&number[..count])
        && !timestamp
        && !is_written_date(value)
}

/// Eight digits with a separator that are a day, either way round, or two years.
pub(super) fn is_written_date(value: &str) -> bool {
    let Some(number) = digits::<8>(value) else {
        return false;
    };
    let (first, last) = (small(&number[..4]), small(&number[4..]));
    let (one, two) = (small(&number[..2]), small(&number[2..4]));
    let is_year = |year: u32| (1900..2100).contains(&year);
    let day_first = is_year(last) && (is_day(last, two, one) || is_day(last, one, two));
    let years = is_year(first) && is_year(last);
    value.contains(['-', '.', '/', ' ']) && (is_yyyymmdd(&number) || day_first || years)
}

/// A number of the North American plan: area and exchange begin with 2 to 9.
pub(super) fn nanp(value: &str) -> bool {
    let mut number = [0; 11];
    match collect(value, &mut number) {
        Some(11) if number[0] == b'1' => nanp_digits(&number[1..]),
        Some(10) => nanp_digits(&number[..10]),
        _ => false,
    }
}

fn nanp_digits(number: &[u8]) -> bool {
    let service = |code: &[u8]| code[1] == b'1' && code[2] == b'1';
    number.len() == 10
        && number.iter().all(u8::is_ascii_digit)
        && number[0] > b'1'
        && number[3] > b'1'
        && number[1] != b'9'
        && !service(&number[..3])
        && !is_uniform(&number[3..])
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn devices() {
        catches_a_changed_digit("imei", &["49-015420-323751-8", "356938035643809"]);
        accepts(
            "imei_named",
            &["49-015420-323751", "35686800-004141-20", "490154203237518"],
        );
        refuses(
            "imei_named",
            &["490154203237519", "20015420323751", "3568680000414"],
        );
        accepts("mac_address", &["00:1A:2B:3C:4D:5E", "001a.2b3c.4d5e"]);
        refuses(
            "mac_address",
            &["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:1A:2B:3C:4D"],
        );
    }

    #[test]
    fn addresses() {
        accepts("ipv4", &["8.8.8.8", "203.0.113.7"]);
        refuses(
            "ipv4",
            &[
                "10.0.0.1",
                "127.0.0.1",
                "0.0.0.0",
                "255.255.255.255",
                "256.1.1.1",
            ],
        );
        accepts("ipv4_distinct", &["93.184.216.34"]);
        refuses("ipv4_distinct", &["1.2.3.4", "203.0.113.7", "4.0.30.200"]);
        accepts(
            "ipv4_private",
            &["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1"],
        );
        refuses("ipv4_private", &["172.32.0.1", "100.128.0.1"]);
        accepts(
            "ipv6",
            &["2001:db8::1", "fe80::1%eth0", "2606:4700:4700::1111"],
        );
        refuses("ipv6", &["::1", "::", "ff02::1", "2001:db8"]);
        accepts("ipv6_global", &["2606:4700:4700::1111"]);
        refuses("ipv6_global", &["2001:db8::1", "fe80::1", "fd00::1"]);
    }

    #[test]
    fn vehicles() {
        accepts("vin", &["1HGCM82633A004352", "1M8GDM9AXKP042788"]);
        refuses(
            "vin",
            &[
                "1HGCM82633A004353",
                "11111111111111111",
                "1HGCM82O33A004352",
            ],
        );
        accepts("vin_shape", &["WVWZZZ1JZXW000001"]);
    }

    #[test]
    fn telephones() {
        accepts(
            "e164",
            &[
                "+49 30 901820",
                "+1 (555) 010-9999".replace("010", "210").as_str(),
            ],
        );
        accepts(
            "e164",
            &["+44 20 7946 0958", "0041 44 668 18 00", "+420 601 123 456"],
        );
        refuses(
            "e164",
            &[
                "+999 123 4567",
                "+210 1234567",
                "+1 155 010 9999",
                "+123",
                "+2018-12-18",
            ],
        );
        accepts(
            "phone_national",
            &["030 / 901820", "0171 5550199", "555 01 09"],
        );
        refuses(
            "phone_national",
            &[
                "2024-05-17",
                "17.05.2024",
                "2017-2022",
                "197001010000.00",
                "1024 20",
                "000 000 000",
            ],
        );
        accepts("nanp", &["(212) 555-0147", "1-800-555-0199"]);
        refuses(
            "nanp",
            &["(112) 555-0147", "212-155-0147", "911-555-0147", "2125550"],
        );
    }
}
