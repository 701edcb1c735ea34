//! Whole numbers and bools, as Go's `flag` takes them.

use std::num::IntErrorKind;

/// A whole number from `min` to `max`, both included.
pub(super) fn within<T: TryFrom<i64>>(text: &str, min: i64, max: i64) -> Result<T, String> {
    let number: i64 =
        text.parse()
            .map_err(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "is not a whole number: give one such as 10",
            })?;
    let range = || format!("must be between {min} and {max}");
    if !(min..=max).contains(&number) {
        return Err(range());
    }
    T::try_from(number).map_err(|_| range())
}

/// The access mode of a file, in octal. Zero is none, as in redis.conf.
pub(super) fn mode(text: &str) -> Result<Option<u32>, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(text, 8) {
        Ok(0) if is_octal => Ok(None),
        Ok(mode) if is_octal && mode <= 0o777 => Ok(Some(mode)),
        _ => Err("must be an access mode in octal, such as 700 or 770".to_string()),
    }
}

/// The spellings of Go's `strconv.ParseBool`, and those of redis.conf.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "yes" | "on" => Ok(true),
        "0" | "f" | "false" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, expected: Result<u8, &str>| {
            let expected = expected.map_err(str::to_string);
            assert_eq!(within::<u8>(text, 1, 10), expected, "{text:?}");
        };
        check("1", Ok(1));
        check("10", Ok(10));
        check("+5", Ok(5));
        check("0", Err("must be between 1 and 10"));
        check("11", Err("must be between 1 and 10"));
        check("-9223372036854775809", Err("value out of range"));
        for text in ["", "x", "1 ", " 1", "1.0", "1_0", "--1"] {
            check(text, Err("is not a whole number: give one such as 10"));
        }
    }

    #[test]
    fn modes() {
        for (text, expected) in [
            ("0", None),
            ("000", None),
            ("700", Some(0o700)),
            ("0770", Some(0o770)),
            ("777", Some(0o777)),
        ] {
            assert_eq!(mode(text), Ok(expected), "{text:?}");
        }
        for text in ["", "+7", "-7", "0o7", "8", "1777", "7 ", "77777777777777"] {
            let refused = mode(text).expect_err(text);
            assert!(refused.contains("in octal"), "{refused}");
        }
    }

    #[test]
    fn booleans() {
        for text in ["1", "t", "T", "true", "TRUE", "True", "yes", "on"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["0", "f", "F", "false", "FALSE", "False", "no", "OFF"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["", "y", "maybe", "true ", "2"] {
            assert_eq!(
                boolean(text),
                Err("must be true or false".to_string()),
                "{text:?}"
            );
        }
    }
}
