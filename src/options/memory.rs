//! Byte sizes and limits in the format of redis.conf.

use std::time::Duration;

use crate::config::{Limits, SoftLimit};

/// Units, by their names in redis.conf: the longer ones are powers of 1024.
const UNITS: &[(&str, u64)] = &[
    ("gb", 1 << 30),
    ("g", 1_000_000_000),
    ("mb", 1 << 20),
    ("m", 1_000_000),
    ("kb", 1 << 10),
    ("k", 1000),
    ("b", 1),
];

/// What is expected in place of something else: Redis' words, and an example.
const EXPECTED: &str = "argument must be a memory value, such as 1048576, 32mb or 1gb";

/// A number of bytes: digits and perhaps a unit, in letters of either case.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.to_ascii_lowercase();
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((&text, 1));
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| plain);
    let number = number.ok_or(EXPECTED)?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes < 1 << 62);
    bytes.ok_or_else(|| "value out of range".into())
}

/// The shortest form of a number of bytes that [`bytes`] takes.
pub(super) fn show(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| unit.is_power_of_two() && bytes.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((name, unit)) if bytes > 0 && *unit > 1 => format!("{}{name}", bytes / unit),
        Some(_) | None => bytes.to_string(),
    }
}

/// `normal 0 0 0 pubsub 32mb 8mb 60`: for each class named the hard limit, the soft limit, and the seconds for
/// which that may be passed; 0 is no limit. A proxy has no replicas: what is said of them is checked and has no
/// effect. Nothing is changed unless all is right.
pub(super) fn output_limits(limits: &mut Limits, text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut changed = limits.clone();
    for class in words.chunks_exact(4) {
        let (hard, soft) = match class[0].to_ascii_lowercase().as_str() {
            "normal" => (
                Some(&mut changed.client_output_bytes_max),
                Some(&mut changed.client_output_soft),
            ),
            "pubsub" => (
                Some(&mut changed.pubsub_output_bytes),
                Some(&mut changed.pubsub_output_soft),
            ),
            "slave" | "replica" => (None, None),
            _ => {
                return Err("Invalid client class specified in buffer limit configuration.".into());
            }
        };
        let (own_hard, own_soft) = one_class(class)
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        if let (Some(hard), Some(soft)) = (hard, soft) {
            (*hard, *soft) = (own_hard, own_soft);
        }
    }
    *limits = changed;
    Ok(())
}

fn one_class(class: &[&str]) -> Option<(usize, SoftLimit)> {
    let limit = |text| match bytes(text).ok()? {
        0 => Some(usize::MAX),
        bytes => usize::try_from(bytes).ok(),
    };
    let seconds: u32 = class[3]
        .parse()
        .ok()
        .filter(|seconds| *seconds <= i32::MAX as u32)?;
    let soft = SoftLimit {
        bytes: limit(class[2])?,
        time: Duration::from_secs(seconds.into()),
    };
    // As in Redis, a soft limit without a time is none.
    let soft = if seconds == 0 { SoftLimit::NONE } else { soft };
    Some((limit(class[1])?, soft))
}

/// The limits in force, as they would be typed.
pub(super) fn show_output_limits(limits: &Limits) -> String {
    let class = |name: &str, hard, soft: SoftLimit| {
        let [hard, soft_bytes] = [hard, soft.bytes].map(|bytes| match bytes {
            usize::MAX => "0".into(),
            bytes => show(bytes as u64),
        });
        format!("{name} {hard} {soft_bytes} {}", soft.time.as_secs())
    };
    let normal = class(
        "normal",
        limits.client_output_bytes_max,
        limits.client_output_soft,
    );
    let pubsub = class(
        "pubsub",
        limits.pubsub_output_bytes,
        limits.pubsub_output_soft,
    );
    format!("{normal} {pubsub}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_units_of_redis() {
        let check = |text: &str, expected: Result<u64, &str>| {
            assert_eq!(bytes(text), expected.map_err(String::from), "{text:?}");
        };
        for (text, expected) in [
            ("0", 0),
            ("7b", 7),
            ("1k", 1000),
            ("1kb", 1024),
            ("2M", 2_000_000),
            ("2Mb", 2 << 20),
            ("3g", 3_000_000_000),
            ("3GB", 3 << 30),
        ] {
            check(text, Ok(expected));
            assert_eq!(bytes(&show(expected)), Ok(expected));
        }
        for text in ["", "b", "-1", "+1", "1.5mb", "1 mb", "1tb", "mb1"] {
            check(text, Err(EXPECTED));
        }
        check("99999999999gb", Err("value out of range"));
        assert_eq!(
            [1 << 30, 3 << 20, 1000, 0].map(show),
            ["1gb", "3mb", "1000", "0"]
        );
    }

    #[test]
    fn output_limits_are_those_of_redis_conf() {
        let parse = |text: &str| {
            let mut limits = Limits::default();
            let parsed = output_limits(&mut limits, text);
            parsed.map(|()| show_output_limits(&limits))
        };
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
            assert_eq!(parse(expected).as_deref(), Ok(expected));
        };
        let default = show_output_limits(&Limits::default());
        check(&default, "normal 1gb 0 0 pubsub 32mb 8mb 60");
        check("normal 0 0 0", "normal 0 0 0 pubsub 32mb 8mb 60");
        check(
            "PubSub 1mb 512kb 5 normal 2k 1k 1",
            "normal 2000 1000 1 pubsub 1mb 512kb 5",
        );
        check("normal 5mb 1mb 0", "normal 5mb 0 0 pubsub 32mb 8mb 60");
        check("slave 1 2 3 replica 4 5 6", &default);
        for (text, expected) in [
            ("", "Wrong number of arguments"),
            ("normal 1 2", "Wrong number of arguments"),
            ("master 1 2 3", "Invalid client class"),
            ("normal 1 2 3 pubsub x 2 3", "Error in hard, soft"),
            ("replica 1 2 -3", "Error in hard, soft"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
