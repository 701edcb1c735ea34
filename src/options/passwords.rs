//! The flags of passwords and of the file of users: rows of the [table](super::table) as the others are.

use std::path::Path;
use std::time::Duration;

use super::flag::{Flag, Kind, not_negative, path, show_duration, show_file};
use super::number;
use crate::config::{Config, Secret};

/// The greatest `-auth-failure-delay`: a delayed client keeps its place until then.
const AUTH_FAILURE_DELAY_MAX: Duration = Duration::from_secs(60);

/// The flags.
pub(super) const FLAGS: [Flag; 12] = [
    Flag {
        name: "password",
        kind: Kind::Secret,
        default: "",
        help: "password for the cluster nodes, which clients of the proxy must give too",
        apply: |options, value| {
            options.password = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "password-old",
        kind: Kind::Secret,
        default: "",
        help: "previous -password, still accepted during a password change. Clients may give either one; a node that \
               rejects -password is tried with this one",
        apply: |options, value| {
            options.password_old = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "password-old-file",
        kind: Kind::String,
        default: "",
        help: "file whose first line is -password-old. An empty file means none. SIGHUP reloads it",
        apply: |options, value| {
            let path = path(value).ok_or("is empty: it must be the name of a file")?;
            let text = read(&path)?;
            options.password_old = text.lines().next().and_then(|line| secret(line).ok());
            options.config.password_old_file = Some(path);
            Ok(())
        },
        show: |config| show_file(&config.password_old_file),
        live: false,
    },
    Flag {
        name: "password-file",
        kind: Kind::String,
        default: "",
        help: "file whose first line is -password. SIGHUP reloads it; new logins and new node connections then use \
               the new password",
        apply: |options, value| {
            let path = path(value).ok_or("is empty: it must be the name of a file")?;
            let text = read(&path)?;
            let first = secret(text.lines().next().unwrap_or_default());
            options.password =
                Some(first.map_err(|_| "its first line is empty: it must be the password")?);
            options.config.password_file = Some(path);
            Ok(())
        },
        show: |config| show_file(&config.password_file),
        live: false,
    },
    Flag {
        name: "acl-file",
        kind: Kind::String,
        default: "",
        help: "file with the users that clients log in as, in the format of Redis ACL files. SIGHUP and ACL LOAD read \
               it again; ACL SAVE writes it. Without it, the only user is default, with -client-password",
        apply: |options, value| {
            options.config.acl_file = path(value);
            Ok(())
        },
        show: |config| show_file(&config.acl_file),
        live: false,
    },
    Flag {
        name: "acl-scripts",
        kind: Kind::Bool,
        default: "false",
        help: "let users with restricted rights run scripts and functions. The proxy cannot check what a script does \
               inside a node",
        apply: |options, value| {
            options.config.acl_scripts = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.acl_scripts.to_string(),
        live: true,
    },
    Flag {
        name: "auth-failure-delay",
        kind: Kind::Duration,
        default: "1s",
        help: "delay logins (AUTH, HELLO AUTH) from an address that had 10 failed logins in the last 10 s. At most \
               1m; 0 never delays them",
        apply: |options, value| {
            options.config.auth_failure_delay = match not_negative(value)? {
                delay if delay <= AUTH_FAILURE_DELAY_MAX => delay,
                _ => return Err("must be at most 1m".to_string()),
            };
            Ok(())
        },
        show: |config| show_duration(config.auth_failure_delay),
        live: true,
    },
    Flag {
        name: "client-password",
        kind: Kind::Secret,
        default: "",
        help: "password that clients must give, if it differs from -password",
        apply: |options, value| {
            options.config.client_password = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "client-password-old",
        kind: Kind::Secret,
        default: "",
        help: "previous -client-password, still accepted from clients during a password change",
        apply: |options, value| {
            options.config.client_password_old = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "backend-user",
        kind: Kind::String,
        default: "",
        help: "ACL user that the proxy logs in as on the nodes. Empty is the default user",
        apply: |options, value| {
            options.config.backend_user = (!value.is_empty()).then(|| value.to_string());
            Ok(())
        },
        show: |config| config.backend_user.clone().unwrap_or_default(),
        live: false,
    },
    Flag {
        name: "backend-password",
        kind: Kind::Secret,
        default: "",
        help: "password for the cluster nodes, if it differs from -password",
        apply: |options, value| {
            options.config.backend_password = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "backend-password-old",
        kind: Kind::Secret,
        default: "",
        help: "previous -backend-password, tried on nodes that reject the new one during a password change",
        apply: |options, value| {
            options.config.backend_password_old = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
];

/// Of a secret nothing is shown, and what is no setting has no value.
pub(super) fn hidden(_: &Config) -> String {
    String::new()
}

/// What a file says.
pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}

/// One that is empty is a mistake (a variable that was not set, a file that was not written), and must not be
/// taken for none.
pub(super) fn secret(value: &str) -> Result<Secret, String> {
    match value.trim() {
        "" => Err("is empty: give a value, or leave it out".to_string()),
        _ => Ok(Secret::new(value)),
    }
}
