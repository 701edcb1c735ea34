//! `Flag`: what one flag is: a row of the table; and how values that several rows have are taken and shown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Options, duration};
use crate::config::Config;

/// A flag: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Name, without a dash.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The default, as Go prints such a value.
    pub default: &'static str,
    /// What it does: the line of the usage.
    pub help: &'static str,
    /// Takes a value, or says why not.
    pub(super) apply: fn(&mut Options, &str) -> Result<(), String>,
    /// The value in force, as it would be typed; nothing for a secret.
    pub(super) show: fn(&Config) -> String,
    /// Whether it can be changed while the program runs, which is for whoever reads it at each use.
    pub live: bool,
}

impl Flag {
    /// The environment variable that stands in when the flag is not given.
    pub fn variable(&self) -> Option<String> {
        // An action is asked for, it is not a setting.
        (self.kind != Kind::Action).then(|| {
            format!(
                "REDIS_PROXY_{}",
                self.name.replace('-', "_").to_ascii_uppercase()
            )
        })
    }

    /// Whether it says who is let in: given without saying anything, it must not let everybody in.
    pub fn guards(&self) -> bool {
        self.kind == Kind::Secret
            || matches!(self.name, "password-file" | "password-old-file" | "config")
    }

    /// Whether the default is the zero value of its kind; Go does not print those.
    pub fn has_zero_default(&self) -> bool {
        matches!(self.default, "" | "0" | "0s" | "false")
    }
}

/// What the value of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    String,
    /// Text that is never printed.
    Secret,
    /// A whole number.
    Int,
    /// A duration as Go writes it.
    Duration,
    /// On or off; given without a value it is on.
    Bool,
    /// Not a setting but something to do; it has no environment variable.
    Action,
}

impl Kind {
    /// What Go's usage prints behind the name; bools have nothing.
    pub fn type_name(self) -> Option<&'static str> {
        match self {
            Kind::String | Kind::Secret => Some("string"),
            Kind::Int => Some("int"),
            Kind::Duration => Some("duration"),
            Kind::Bool | Kind::Action => None,
        }
    }

    /// Whether the flag cannot stand without a value.
    pub fn needs_value(self) -> bool {
        self.type_name().is_some()
    }
}

/// A path; empty is none.
pub(super) fn path(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| value.into())
}

/// A path as it would be typed.
pub(super) fn show_file(path: &Option<PathBuf>) -> String {
    let path = path.as_ref();
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// An address as it would be typed.
pub(super) fn show_option(value: &Option<SocketAddr>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A duration as it would be typed.
pub(super) fn show_duration(duration: Duration) -> String {
    duration::format(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// A duration that may be 0.
pub(super) fn not_negative(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        nanos @ 0.. => Ok(Duration::from_nanos(nanos.unsigned_abs())),
        _ => Err("must not be negative".to_string()),
    }
}

/// The choice of this name.
pub(super) fn choice<T: Copy>(
    value: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    let mut choices = all.iter();
    let found = choices.find(|choice| name(**choice).eq_ignore_ascii_case(value));
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|choice| name(*choice)).collect();
        let (last, others) = names.split_last().expect("a choice has values");
        format!("must be {} or {last}", others.join(", "))
    })
}
