//! One line of the log: time, level, message.
//!
//! A message may carry what peers sent, so control and format characters are escaped (a line stays one line, a
//! terminal is not driven) and its length is bounded.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;

use super::tame::{is_wild, tame_json};
use crate::config::LogFormat;
use crate::proxy::observe::access_log;

/// Bytes of a message before it is cut off.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Puts a line together, newline included. In JSON a message of the access log is an object itself.
pub(super) fn compose(
    format: LogFormat,
    target: &str,
    now: SystemTime,
    level: Level,
    message: fmt::Arguments<'_>,
) -> String {
    match format {
        LogFormat::Text => text(now, level, message),
        LogFormat::Json => {
            let mut time = String::with_capacity(24);
            write_timestamp(&mut time, now);
            let level = level.as_str().to_ascii_lowercase();
            let (name, value) = if target == access_log::TARGET {
                ("access", message.to_string())
            } else {
                let mut bounded = message.to_string();
                let cut = |at: &usize| bounded.is_char_boundary(*at);
                let len = (0..=bounded.len().min(MESSAGE_BYTES_MAX)).rev().find(cut);
                bounded.truncate(len.unwrap_or(0));
                ("message", serde_json::Value::from(bounded).to_string())
            };
            let value = tame_json(&value);
            format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"{name}\":{value}}}\n")
        }
    }
}

/// Time, level and message.
pub(super) fn text(now: SystemTime, level: Level, message: fmt::Arguments<'_>) -> String {
    let mut line = String::with_capacity(128);
    write_timestamp(&mut line, now);
    line.push(' ');
    line.push_str(level.as_str());
    line.push(' ');
    let bytes_max = line.len() + MESSAGE_BYTES_MAX;
    let mut tamed = Tamed {
        line: &mut line,
        bytes_max,
    };
    if tamed.write_fmt(message).is_err() {
        // It was cut, or a `Display` in it failed.
        line.push_str("...");
    }
    line.push('\n');
    line
}

/// Appends with control characters escaped, and fails at the bound.
struct Tamed<'a> {
    line: &'a mut String,
    bytes_max: usize,
}

impl Write for Tamed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.line.len() + c.len_utf8() > self.bytes_max {
                return Err(fmt::Error);
            }
            if is_wild(c) {
                self.line.extend(c.escape_default());
            } else {
                self.line.push(c);
            }
        }
        Ok(())
    }
}

/// RFC 3339, in UTC, with milliseconds. A clock before 1970 shows as 1970.
fn write_timestamp(line: &mut String, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil_date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    line.push_str(&format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    ));
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Years are taken to begin in March, so that the leap day is their last: then months follow one formula
/// and only eras of 400 years (146097 days) remain.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn timestamps() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            let mut line = String::new();
            write_timestamp(&mut line, at(millis));
            assert_eq!(line, expected);
        }
        let mut line = String::new();
        write_timestamp(&mut line, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(line, "1970-01-01T00:00:00.000Z");
    }

    fn check(message: &str, expected: &str) {
        assert_eq!(
            text(at(0), Level::Info, format_args!("{message}")),
            format!("1970-01-01T00:00:00.000Z INFO {expected}\n")
        );
    }

    #[test]
    fn a_line_stays_one_line() {
        check("plain", "plain");
        check("", "");
        check("two\r\nlines\u{1b}[2J", "two\\r\\nlines\\u{1b}[2J");
        check("\u{e9}t\u{e9}\t!", "\u{e9}t\u{e9}\\t!");
    }

    #[test]
    fn json_is_json() {
        let line = |target, message: &str| {
            let message = format_args!("{message}");
            let line = compose(LogFormat::Json, target, at(0), Level::Warn, message);
            assert!(line.ends_with('\n') && line.len() < 2 * MESSAGE_BYTES_MAX);
            serde_json::from_str::<serde_json::Value>(&line).unwrap()
        };
        let plain = line("x", "two\r\nlines \"\u{1b}");
        assert_eq!(plain["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(
            (&plain["level"], &plain["message"]),
            (&"warn".into(), &"two\r\nlines \"\u{1b}".into())
        );
        line("x", &"\u{e9}".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(line(access_log::TARGET, "{\"us\":7}")["access"]["us"], 7);
    }

    #[test]
    fn a_line_is_bounded() {
        let fits = "x".repeat(MESSAGE_BYTES_MAX);
        check(&fits, &fits);
        check(&format!("{fits}y"), &format!("{fits}..."));
        // Never within a character.
        let odd = "x".repeat(MESSAGE_BYTES_MAX - 1);
        check(&format!("{odd}\u{e9}"), &format!("{odd}..."));
    }
}
