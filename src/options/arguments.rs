//! The command line taken apart: which flags were typed, in which order, with which values.
//!
//! It must never know what a value means, nor whether it can be used.

use crate::sort;
use std::ffi::OsString;

use getopts::{Fail, HasArg, Matches, Occur, ParsingStyle};

use super::number;
use super::spelling::nearest;
use super::{FLAGS, Flag, Kind, UsageError};

/// Splits the arguments into flags with their values, and leftovers.
pub(super) fn match_arguments(args: impl Iterator<Item = OsString>) -> Result<Matches, UsageError> {
    let mut texts = Vec::new();
    for (index, arg) in args.enumerate() {
        // getopts would print such an argument, and it may be a password.
        let text = arg
            .into_string()
            .map_err(|_| format!("argument {} is not valid UTF-8", index + 1))?;
        texts.push(text);
    }
    let texts = with_switches_joined(texts);
    let mut parser = getopts::Options::new();
    parser
        .long_only(true)
        .parsing_style(ParsingStyle::StopAtFirstFree)
        .opt("h", "help", "", "", HasArg::Maybe, Occur::Multi);
    for flag in FLAGS {
        let has_value = if flag.kind.needs_value() {
            HasArg::Yes
        } else {
            HasArg::Maybe
        };
        // Multi, for a repeated option is an error in getopts and in Go the last one wins.
        parser.opt("", flag.name, "", "", has_value, Occur::Multi);
    }
    parser
        .parse(texts)
        .map_err(|fail| UsageError::from(reason_of(fail)))
}

/// A flag that is on or off needs no value, so that in `-protected-mode false` the second word would be no part of it.
/// Whoever types this means `-protected-mode=false`.
fn with_switches_joined(texts: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(texts.len());
    let mut texts = texts.into_iter().peekable();
    while let Some(text) = texts.next() {
        let bare = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
        let Some(bare) = bare.filter(|bare| !bare.is_empty()) else {
            // Only leftovers from here on.
            joined.push(text);
            joined.extend(texts);
            break;
        };
        let flag = FLAGS.iter().find(|flag| flag.name == bare);
        let is_value = |next: &String| number::boolean(next).is_ok();
        match flag {
            Some(flag) if flag.kind == Kind::Bool => match texts.next_if(is_value) {
                Some(value) => joined.push(format!("-{bare}={value}")),
                None => joined.push(text),
            },
            Some(flag) if flag.kind.needs_value() => {
                joined.push(text);
                joined.extend(texts.next());
            }
            // An action, one with its value, or none of ours.
            Some(_) | None => joined.push(text),
        }
    }
    joined
}

/// What getopts says, in Go's words.
fn reason_of(fail: Fail) -> String {
    match fail {
        Fail::ArgumentMissing(name) => format!("flag needs an argument: -{name}"),
        Fail::UnrecognizedOption(name) if name.is_empty() => "bad flag syntax: -=".to_string(),
        Fail::UnrecognizedOption(name) if name.starts_with('-') => {
            format!("bad flag syntax: --{name}")
        }
        Fail::UnrecognizedOption(name) => {
            let meant = nearest(&name, FLAGS.iter().map(|flag| flag.name));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean -{meant}?"));
            format!("flag provided but not defined: -{name}{meant}")
        }
        // These cannot be: all of ours are Multi and none refuses a value.
        Fail::OptionMissing(name) | Fail::OptionDuplicated(name) => format!("bad flag: -{name}"),
        Fail::UnexpectedArgument(name) => format!("flag takes no argument: -{name}"),
    }
}

/// Position, flag (`None` is a call for help) and value of all that was typed, first to last.
pub(super) fn in_order_typed(matches: &Matches) -> Vec<(usize, Option<&'static Flag>, String)> {
    let mut given: Vec<_> = matches
        .opt_positions("help")
        .into_iter()
        .map(|position| (position, None, String::new()))
        .collect();
    for flag in FLAGS {
        let values = matches.opt_strs_pos(flag.name);
        for position in matches.opt_positions(flag.name) {
            // A flag without a value is a bool that is switched on.
            let value = values
                .iter()
                .find(|(at, _)| *at == position)
                .map_or("true", |(_, value)| value);
            given.push((position, Some(flag), value.to_string()));
        }
    }
    sort::by_key(&mut given, |(position, ..)| *position);
    given
}

/// There are only flags. Beside a password a leftover is not shown: it may be the password's second word.
pub(super) fn refuse_leftovers(
    matches: &Matches,
    given: &[(usize, Option<&'static Flag>, String)],
) -> Result<(), UsageError> {
    let Some(first) = matches.free.first() else {
        return Ok(());
    };
    let secret = given
        .iter()
        .any(|(_, flag, _)| flag.is_some_and(|flag| flag.kind == Kind::Secret));
    Err(UsageError::from(if secret {
        "unexpected argument after the flags".to_string()
    } else {
        format!("unexpected argument after the flags: {first:?}")
    }))
}
