//! Durations as Go's `time` package reads and writes them, in nanoseconds: `250ms`, `1m30s`, `1.5h`.
//!
//! Not the crate `go-parse-duration` (0.1): it adds without a check for overflow, ends at 2^62 instead of 2^63
//! nanoseconds, and does not write durations.

const SECOND: u64 = 1_000_000_000;
/// The largest magnitude; only the negative one of it exists.
const MAGNITUDE_MAX: u64 = 1 << 63;

/// What is expected in place of something else.
const EXPECTED: &str = "is not a duration: give numbers with units, such as 10s, 250ms or 1m30s";

/// Reads a duration exactly as Go's `time.ParseDuration` does. There is one error.
pub fn parse(text: &str) -> Result<i64, String> {
    nanos(text).ok_or_else(|| EXPECTED.to_string())
}

fn nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = leading_part(rest)?;
        sum = sum.checked_add(part).filter(|sum| *sum <= MAGNITUDE_MAX)?;
        rest = after;
    }
    if negative {
        return 0_i64.checked_sub_unsigned(sum);
    }
    i64::try_from(sum).ok()
}

/// One number with its unit, in nanoseconds, and what follows it.
fn leading_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let unit = unit_nanos(unit)?;
    let whole: u64 = match whole {
        "" => 0,
        whole => whole.parse().ok()?,
    };
    let mut part = whole
        .checked_mul(unit)
        .filter(|part| *part <= MAGNITUDE_MAX)?;
    let (numerator, scale) = fraction_value(fraction);
    if numerator > 0 {
        // In floating point, as Go does, or fractions would differ in their last nanosecond.
        part += (numerator as f64 * (unit as f64 / scale)) as u64;
    }
    Some((part, rest)).filter(|_| part <= MAGNITUDE_MAX)
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The digits behind the point as a number and the power of ten below it. What does not fit is cut off.
fn fraction_value(digits: &str) -> (u64, f64) {
    let mut numerator: u64 = 0;
    let mut scale = 1.0;
    for digit in digits.bytes() {
        let next = numerator
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .filter(|next| *next <= MAGNITUDE_MAX);
        let Some(next) = next else { break };
        numerator = next;
        scale *= 10.0;
    }
    (numerator, scale)
}

fn unit_nanos(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(SECOND),
        "m" => Some(60 * SECOND),
        "h" => Some(3600 * SECOND),
        _ => None,
    }
}

/// Writes a duration exactly as Go's `Duration.String` does.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    match magnitude {
        0 => "0s".to_string(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(magnitude, 3)),
        1_000_000..SECOND => format!("{sign}{}ms", decimal(magnitude, 6)),
        SECOND.. => {
            let seconds = decimal(magnitude % (60 * SECOND), 9);
            let minutes = magnitude / (60 * SECOND);
            match minutes {
                0 => format!("{sign}{seconds}s"),
                1..60 => format!("{sign}{minutes}m{seconds}s"),
                60.. => format!("{sign}{}h{}m{seconds}s", minutes / 60, minutes % 60),
            }
        }
    }
}

/// `value` over ten to the power of `places`, without trailing zeros.
fn decimal(value: u64, places: usize) -> String {
    let scale = 10_u64.pow(places as u32);
    let text = format!("{}.{:0places$}", value / scale, value % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parse(text: &str, expected: i64) {
        assert_eq!(parse(text), Ok(expected), "{text:?}");
    }

    // The table of Go's own test, and the flags' values.
    #[test]
    fn what_go_reads() {
        let second = SECOND as i64;
        let (minute, hour) = (60 * second, 3600 * second);
        check_parse("0", 0);
        check_parse("5s", 5 * second);
        check_parse("30s", 30 * second);
        check_parse("1478s", 1478 * second);
        check_parse("-5s", -5 * second);
        check_parse("+5s", 5 * second);
        check_parse("-0", 0);
        check_parse("+0", 0);
        check_parse("5.0s", 5 * second);
        check_parse("5.6s", 5_600_000_000);
        check_parse("5.s", 5 * second);
        check_parse(".5s", second / 2);
        check_parse("1.0s", second);
        check_parse("1.00s", second);
        check_parse("1.004s", 1_004_000_000);
        check_parse("1.0040s", 1_004_000_000);
        check_parse("100.00100s", 100_001_000_000);
        check_parse("10ns", 10);
        check_parse("11us", 11_000);
        check_parse("12\u{b5}s", 12_000);
        check_parse("12\u{3bc}s", 12_000);
        check_parse("13ms", 13_000_000);
        check_parse("14s", 14 * second);
        check_parse("15m", 15 * minute);
        check_parse("16h", 16 * hour);
        check_parse("3h30m", 3 * hour + 30 * minute);
        check_parse("10.5s4m", 4 * minute + 10_500_000_000);
        check_parse("-2m3.4s", -(2 * minute + 3_400_000_000));
        check_parse("1h2m3s4ms5us6ns", hour + 2 * minute + 3_004_005_006);
        check_parse("39h9m14.425s", 39 * hour + 9 * minute + 14_425_000_000);
        check_parse("52763797000ns", 52_763_797_000);
        check_parse("0.3333333333333333333h", 20 * minute);
        check_parse("9007199254740993ns", (1 << 53) + 1);
        check_parse("9223372036854775807ns", i64::MAX);
        check_parse("9223372036854775.807us", i64::MAX);
        check_parse("9223372036s854ms775us807ns", i64::MAX);
        check_parse("-9223372036854775808ns", i64::MIN);
        check_parse("-9223372036854775.808us", i64::MIN);
        check_parse("-2562047h47m16.854775808s", i64::MIN);
        check_parse("0.100000000000000000000h", 6 * minute);
        check_parse("0.830103483285477580700h", 49 * minute + 48_372_539_827);
        check_parse("250ms", 250_000_000);
        check_parse("1m30s", 90 * second);
    }

    #[test]
    fn what_go_refuses() {
        for text in [
            "",
            "3",
            "-",
            "+",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "1d",
            "1 s",
            " 1s",
            "1s ",
            "1m 30s",
            "2min",
            "1S",
            "--1s",
            "\u{85}\u{85}",
            "\u{ffff}",
            "hello \u{ffff} world",
            "1s\u{ff11}s",
            "9223372036854775810ns",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "9223372036854776us",
            "3000000h",
            "9223372036854775.808us",
            "9223372036854ms775us808ns",
            "99999999999999999999999999s",
            "9223372036854775808ns9223372036854775808ns",
        ] {
            assert_eq!(parse(text), Err(EXPECTED.to_string()), "{text:?}");
        }
    }

    #[test]
    fn what_go_writes() {
        for (expected, nanos) in [
            ("0s", 0),
            ("1ns", 1),
            ("1.1\u{b5}s", 1_100),
            ("2.2ms", 2_200_000),
            ("3.3s", 3_300_000_000),
            ("4m5s", 245_000_000_000),
            ("4m5.001s", 245_001_000_000),
            ("5h6m7.001s", 18_367_001_000_000),
            ("8m0.000000001s", 480_000_000_001),
            ("1h0m0s", 3_600_000_000_000),
            ("1m0s", 60_000_000_000),
            ("10s", 10_000_000_000),
            ("250ms", 250_000_000),
            ("-1.5s", -1_500_000_000),
            ("2562047h47m16.854775807s", i64::MAX),
            ("-2562047h47m16.854775808s", i64::MIN),
        ] {
            assert_eq!(format(nanos), expected);
            assert_eq!(parse(expected), Ok(nanos), "{expected}");
        }
    }
}
