//! Arguments and environment to [`Options`] (what was typed) to [`Config`] (what the program uses).
//!
//! Spelling and texts are those of Go's `flag` package, which the seed used: `-addr x`, `--addr x` and
//! `-addr=x` are one, the last of several wins, every value typed is checked. A flag that was not typed is
//! looked up in the environment, where a password does not stand in `ps`.
//!
//! It must never know what a flag means (that is [`table`]) nor exit or print (that is `main`). No value of
//! a secret flag may ever reach a text made here.

mod address;
mod arguments;
mod bounds;
pub mod documents;
pub mod duration;
mod edge;
mod error;
mod file;
mod flag;
mod logs;
mod memory;
mod namespace;
mod near_cache;
mod number;
mod pairs;
mod passwords;
mod reads;
mod spelling;
pub mod table;
mod tls;
mod tracking;
mod usage;
mod users;

use std::ffi::OsString;

use crate::config::{Auth, AuthClients, CertificateUser, Config, Listen, Secret};
use crate::live_config::{Settings, Unchanged};

use arguments::{in_order_typed, match_arguments, refuse_leftovers};

pub use error::{USAGE_AT, UsageError};
pub use flag::{Flag, Kind};
pub use table::FLAGS;
pub use usage::{reference_table, usage, version};

/// What the command line asks for.
// One of these is made in the life of the program: its size is no matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// To serve.
    Run(Config),
    /// To print this usage.
    Help(String),
    /// To print this version line.
    Version(String),
    /// To try what a start with these flags needs, and do no more.
    Check(Config),
}

/// What was typed: a [`Config`] in the making, and what only together makes sense.
#[derive(Debug, Default)]
pub struct Options {
    /// Everything that one flag decides alone.
    config: Config,
    /// `-password`: for both sides, unless a side has its own.
    password: Option<Secret>,
    /// `-password-old`.
    password_old: Option<Secret>,
    /// `-version`.
    version: bool,
    /// `-check`.
    check: bool,
    /// The text of the file of `-config`.
    file: String,
}

impl Options {
    /// Whether the text of a file can be used: each of its values is checked, also those that are overridden.
    fn check_file(&self, text: &str) -> Result<(), String> {
        let mut options = Options::default();
        file::parse(text)?.iter().try_for_each(|setting| {
            let applied = (setting.flag.apply)(&mut options, setting.value);
            applied.map_err(|reason| {
                format!("line {}: -{}: {reason}", setting.line, setting.flag.name)
            })
        })
    }

    /// Checks what concerns more than one flag, and settles who gets which password.
    fn into_config(self) -> Result<Config, String> {
        let mut config = self.config;
        if config.listens().next().is_none() {
            return Err("-addr is empty, so -tls-addr must be set".to_string());
        }
        if config.tls.user != CertificateUser::None && config.tls.auth_clients == AuthClients::No {
            return Err(format!(
                "-tls-auth-clients-user {} needs -tls-auth-clients yes or optional: with no, clients show no certificate",
                config.tls.user.name()
            ));
        }
        if config.backend_init_connections > config.backend_idle_connections {
            return Err(format!(
                "-backend-init-connections ({}) must not be more than -backend-idle-connections ({})",
                config.backend_init_connections, config.backend_idle_connections
            ));
        }
        let open = config.debug_token.is_none();
        if let Some(address) = config.debug_addr
            && open
            && !address.ip().to_canonical().is_loopback()
        {
            return Err(format!(
                "-debug-addr {address} is not a loopback address: set -debug-token"
            ));
        }
        let twice = |(_, own): &&(String, Listen)| {
            // Of port 0 each one is another.
            own.port() != Some(0) && config.listen.contains(own)
        };
        if let Some((name, address)) = config.namespace_listen.iter().find(twice) {
            return Err(format!(
                "{address} is an address of -addr and of namespace {name}"
            ));
        }
        namespace::check(&config)?;
        let has_namespaces = config.namespace.is_some()
            || !config.namespace_listen.is_empty()
            || !config.namespace_users.is_empty();
        if has_namespaces && config.cluster_face.is_some() {
            return Err(
                "-namespace and -cluster-face exclude each other: a namespace is as one server, not a cluster"
                    .to_string(),
            );
        }
        if config.acl_file.is_some() && config.client_password.is_some() {
            return Err(
                "-acl-file and -client-password exclude each other: the file says the passwords of all users"
                    .to_string(),
            );
        }
        users::check(&config)?;
        let with_file = config.acl_file.is_some() || config.auth == Auth::Backend;
        let shared = (self.password, self.password_old);
        for (name, own, old) in [
            (
                "client",
                &mut config.client_password,
                &mut config.client_password_old,
            ),
            (
                "backend",
                &mut config.backend_password,
                &mut config.backend_password_old,
            ),
        ] {
            // A side with a password of its own has an old one of its own, too.
            // With a file of users, or the users of the servers, only nodes are given a password.
            if own.is_none() && !(with_file && name == "client") {
                own.clone_from(&shared.0);
                *old = old.take().or_else(|| shared.1.clone());
            }
            if old.is_some() && own.is_none() {
                return Err(format!(
                    "-{name}-password-old or -password-old needs the new password, too"
                ));
            }
        }
        Ok(config)
    }
}

/// What the names of all variables begin with.
const VARIABLES: &str = "REDIS_PROXY_";

/// The flags as settings of the running program.
pub const SETTINGS: Settings = Settings { list, change };

/// Each setting and its value as it would be typed. Secrets and actions are left out.
fn list(config: &Config) -> Vec<(&'static str, String)> {
    let shown = |flag: &&Flag| !matches!(flag.kind, Kind::Secret | Kind::Action);
    let shown = FLAGS.iter().filter(shown);
    shown.map(|flag| (flag.name, (flag.show)(config))).collect()
}

/// The settings that differ: each with its value before and after.
pub fn differences(before: &Config, after: &Config) -> Vec<(&'static str, String, String)> {
    let both = list(before).into_iter().zip(list(after));
    both.filter(|((_, before), (_, after))| before != after)
        .map(|((name, before), (_, after))| (name, before, after))
        .collect()
}

/// The config with one setting changed, if it can be changed while the program runs.
fn change(config: &Config, name: &str, value: &str) -> Result<Config, Unchanged> {
    let named = |flag: &&Flag| flag.kind != Kind::Action && flag.name.eq_ignore_ascii_case(name);
    let flag = FLAGS.iter().find(named).ok_or(Unchanged::Unknown)?;
    if !flag.live {
        return Err(Unchanged::Fixed);
    }
    let mut options = Options {
        config: config.clone(),
        ..Options::default()
    };
    (flag.apply)(&mut options, value).map_err(Unchanged::Invalid)?;
    // What only several flags decide together is never live.
    Ok(options.config)
}

/// The program's name and its arguments as they may be shown: without the values of secrets.
pub fn command_line(args: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut hide_next = false;
    let show = |arg: OsString| {
        let arg = arg.to_string_lossy().into_owned();
        if std::mem::take(&mut hide_next) {
            return "***".to_string();
        }
        let bare = arg.trim_start_matches('-');
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (bare, None),
        };
        let mut flags = FLAGS.iter();
        if !arg.starts_with('-')
            || !flags.any(|flag| flag.name == name && flag.kind == Kind::Secret)
        {
            return arg;
        }
        hide_next = value.is_none();
        match value {
            Some(value) => format!("{}***", &arg[..arg.len() - value.len()]),
            None => arg,
        }
    };
    args.map(show).collect()
}

/// Reads `args` (without the program's name) and, for the flags not given there, `env`.
///
/// An empty environment variable counts as not set. `-h` and `-version` do not depend on the environment.
pub fn parse(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed, UsageError> {
    let matches = match_arguments(args)?;
    let given = in_order_typed(&matches);
    let mut options = Options::default();
    for (_, flag, value) in &given {
        let Some(flag) = flag else {
            return Ok(Parsed::Help(usage()));
        };
        apply_argument(&mut options, flag, value)?;
    }
    refuse_leftovers(&matches, &given)?;
    if options.version {
        return Ok(Parsed::Version(version()));
    }
    let mut unset = Vec::new();
    for flag in FLAGS {
        let typed = given
            .iter()
            .any(|(_, other, _)| other.is_some_and(|other| other.name == flag.name));
        if !typed && !apply_environment(&mut options, flag, &env)? {
            unset.push(flag.name);
        }
    }
    apply_file(&mut options, &unset)?;
    let check = options.check;
    let config = options.into_config()?;
    Ok(if check {
        Parsed::Check(config)
    } else {
        Parsed::Run(config)
    })
}

/// What was likely meant otherwise and forbids nothing: variables of the environment with a prefix of ours and no flag, and
/// lines of the file of `-config` that later ones override.
pub fn remarks(config: &Config, variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let known: Vec<String> = FLAGS.iter().filter_map(Flag::variable).collect();
    let mut remarks = Vec::new();
    for name in variables.filter_map(|name| name.into_string().ok()) {
        if !name.starts_with(VARIABLES) || known.contains(&name) {
            continue;
        }
        let own = &name[VARIABLES.len()..];
        let names = known.iter().map(|known| &known[VARIABLES.len()..]);
        let meant = spelling::nearest(own, names);
        let meant = meant.map_or(String::new(), |meant| {
            format!("; did you mean {VARIABLES}{meant}?")
        });
        remarks.push(format!(
            "environment variable {name} belongs to no flag{meant}"
        ));
    }
    // That it can be read is no longer the question.
    let text = config.config_file.as_ref();
    let text = text.and_then(|path| Some((path, std::fs::read_to_string(path).ok()?)));
    if let Some((path, text)) = text {
        let told = file::repeated(&text).into_iter();
        remarks.extend(told.map(|told| format!("{}: {told}", path.display())));
    }
    remarks
}

/// Whether a value was refused for a line of the file that it names.
fn is_in_file(flag: &Flag, reason: &str) -> bool {
    flag.name == "config" && reason.starts_with("line ")
}

/// Takes the value of a flag from the command line.
fn apply_argument(options: &mut Options, flag: &Flag, value: &str) -> Result<(), UsageError> {
    (flag.apply)(options, value).map_err(|reason| {
        if is_in_file(flag, &reason) {
            return UsageError::of_file(value, &reason);
        }
        UsageError::from(match flag.kind {
            Kind::Secret => format!("invalid value for flag -{}: {reason}", flag.name),
            Kind::Bool | Kind::Action => {
                format!(
                    "invalid boolean value {value:?} for -{}: {reason}",
                    flag.name
                )
            }
            Kind::String | Kind::Int | Kind::Duration => {
                format!("invalid value {value:?} for flag -{}: {reason}", flag.name)
            }
        })
    })
}

/// Takes the values of flags from the file of `-config`, for those that nothing else has set.
fn apply_file(options: &mut Options, unset: &[&str]) -> Result<(), UsageError> {
    let text = std::mem::take(&mut options.file);
    // They have all been checked when the file was read.
    for setting in file::parse(&text)? {
        // One password in two forms: that of the file does not override the other form.
        let other = match setting.flag.name {
            "password" => "password-file",
            "password-file" => "password",
            "password-old" => "password-old-file",
            "password-old-file" => "password-old",
            name => name,
        };
        if unset.contains(&setting.flag.name) && unset.contains(&other) {
            (setting.flag.apply)(options, setting.value)?;
        }
    }
    Ok(())
}

/// Takes the value of a flag from its environment variable, if there is one and it says something; whether it
/// did.
fn apply_environment(
    options: &mut Options,
    flag: &Flag,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<bool, UsageError> {
    let Some(variable) = flag.variable() else {
        return Ok(false);
    };
    // A setting that is empty is none. A secret that is empty was meant to be one.
    let wanted = |value: &OsString| !value.is_empty() || flag.guards();
    let Some(value) = env(&variable).filter(wanted) else {
        return Ok(false);
    };
    let value = value.into_string().map_err(|_| {
        format!("invalid value for environment variable {variable}: not valid UTF-8")
    })?;
    let applied = (flag.apply)(options, &value);
    applied.map(|()| true).map_err(|reason| {
        if is_in_file(flag, &reason) {
            return UsageError::of_file(&value, &reason);
        }
        UsageError::from(match flag.kind {
            Kind::Secret => {
                format!("invalid value for environment variable {variable}: {reason}")
            }
            Kind::String | Kind::Int | Kind::Duration | Kind::Bool | Kind::Action => {
                format!("invalid value {value:?} for environment variable {variable}: {reason}")
            }
        })
    })
}

#[cfg(test)]
mod tests;
