//! The validity of a certificate, read from its DER: rustls does not offer it.
//!
//! It must never panic: anybody may have written the file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::der::{SEQUENCE, element, expect, from_validity};
use crate::net::tls_answers::Validity;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The validity of a certificate; nothing if it is none.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (validity, _) = expect(from_validity(certificate)?, SEQUENCE)?;
    let (tag, begins, rest) = element(validity)?;
    let begins = time(tag, begins)?;
    let (tag, ends, _) = element(rest)?;
    Some(Validity {
        begins,
        ends: time(tag, ends)?,
    })
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 } else { 1900 } + year, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let fields: Vec<u64> = rest.chunks(2).map(number).collect();
    let &[month, day, hour, minute, second] = fields.as_slice() else {
        return None;
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days since the first of 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the day of a leap year is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        let time = time(tag, text.as_bytes())?;
        Some(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "000229235959Z"), Some(951_868_799));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            seconds(GENERALIZED_TIME, "99991231235959Z"),
            Some(253_402_300_799)
        );
        for wrong in [
            "",
            "Z",
            "700101000000",
            "7001010000Z",
            "70010100000xZ",
            "701301000000Z",
            "700100000000Z",
        ] {
            assert_eq!(seconds(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(seconds(GENERALIZED_TIME, "00000101000000Z"), None);
        assert_eq!(seconds(0x16, "700101000000Z"), None);
    }

    #[test]
    fn no_certificate_has_no_validity_and_ends_well() {
        let mut random = 7u64;
        for len in 0..2000 {
            let bytes: Vec<u8> = (0..len % 64)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    [SEQUENCE, 0x81, 3, 2, 0xa0, UTC_TIME, (random >> 40) as u8]
                        [(random >> 33) as usize % 7]
                })
                .collect();
            assert_eq!(validity(&bytes), None, "{bytes:?}");
        }
    }
}
