//! The file of `-config`: one flag on a line, its name and its value; `#` begins a comment line.
//!
//! It must never know what a flag means, and no value may reach a text made here.

use super::flag::{Flag, Kind};
use super::spelling::nearest;
use super::table::FLAGS;

/// A line that says something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Where it stands, from 1.
    pub line: usize,
    /// What it sets.
    pub flag: &'static Flag,
    /// To what.
    pub value: &'a str,
}

/// Reads the text of a file; why it cannot be used, if so.
pub(super) fn parse(text: &str) -> Result<Vec<Setting<'_>>, String> {
    let mut settings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let bare = name.trim_start_matches('-');
        let mut flags = FLAGS.iter();
        let Some(flag) = flags.find(|flag| flag.name == bare) else {
            // What stands there may be a password: only what is nearly a name is shown.
            let meant = nearest(bare, FLAGS.iter().map(|flag| flag.name));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            return Err(format!(
                "line {number}: there is no flag of this name{meant}"
            ));
        };
        if flag.kind == Kind::Action || flag.name == "config" || flag.name == "top" {
            return Err(format!("line {number}: -{bare} is for the command line"));
        }
        settings.push(Setting {
            line: number,
            flag,
            value: unquoted(value.trim()),
        });
    }
    Ok(settings)
}

/// What is set again by a later line, which then counts.
pub(super) fn repeated(text: &str) -> Vec<String> {
    let settings = parse(text).unwrap_or_default();
    let mut told = Vec::new();
    for (index, setting) in settings.iter().enumerate() {
        let mut before = settings[..index].iter().rev();
        if let Some(first) = before.find(|first| first.flag.name == setting.flag.name) {
            told.push(format!(
                "line {}: {} is already set in line {}; this line overrides it",
                setting.line, setting.flag.name, first.line
            ));
        }
    }
    told
}

/// A value may stand in double quotes: one that is empty, or that begins or ends with a blank.
fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(usize, &str, &str)], &str>) {
        let found = parse(text).map(|settings| {
            let settings = settings.iter();
            let plain = settings.map(|setting| (setting.line, setting.flag.name, setting.value));
            plain.collect::<Vec<_>>()
        });
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn lines_are_names_and_values() {
        check("", Ok(&[]));
        check("# addr :1\n\n  \n", Ok(&[]));
        check(
            "addr :1\r\n-max-procs\t 2 \n  password \"a b \"\nidc-prefixes \"\"",
            Ok(&[
                (1, "addr", ":1"),
                (2, "max-procs", "2"),
                (3, "password", "a b "),
                (4, "idc-prefixes", ""),
            ]),
        );
        check(
            "addr :1\ncolour red",
            Err("line 2: there is no flag of this name"),
        );
        check(
            "max-client 1",
            Err("line 1: there is no flag of this name; did you mean max-clients?"),
        );
        check(
            "version true",
            Err("line 1: -version is for the command line"),
        );
        check("config x", Err("line 1: -config is for the command line"));
    }

    #[test]
    fn what_is_set_twice_is_told_with_both_lines() {
        assert_eq!(repeated("addr :1\nmax-procs 2\n"), [""; 0]);
        assert_eq!(
            repeated("addr :1\n# addr\n-addr :2\nmax-procs 2\naddr :1"),
            [
                "line 3: addr is already set in line 1; this line overrides it",
                "line 5: addr is already set in line 3; this line overrides it",
            ]
        );
    }
}
