//! The flags of single users: rows of the [table](super::table) as the others are.

use super::flag::{Flag, Kind, choice};
use super::{number, pairs, reads};
use crate::config::{Auth, CertificateUser, Config, UserSettings};

/// The flags.
pub(super) const FLAGS: [Flag; 5] = [
    Flag {
        name: "auth",
        kind: Kind::String,
        default: "proxy",
        help: "who checks users. proxy: the proxy, against -acl-file or -client-password. backend: the servers; each \
               login is checked at a node, and a client's commands use connections that are logged in as its user, so \
               that the servers' ACLs apply",
        apply: |options, value| {
            options.config.auth = choice(value, &Auth::ALL, Auth::name)?;
            Ok(())
        },
        show: |config| config.auth.name().to_string(),
        live: false,
    },
    Flag {
        name: "max-users",
        kind: Kind::Int,
        default: "100",
        help: "with -auth backend, as how many users (pairs of name and password) the clients of one worker may be \
               logged in at once. A further login gets an error. Each user takes one connection to each node that its \
               clients use",
        apply: |options, value| {
            options.config.users_max = number::within(value, 1, 100_000)?;
            Ok(())
        },
        show: |config| config.users_max.to_string(),
        live: false,
    },
    Flag {
        name: "user-rate-limit",
        kind: Kind::String,
        default: "",
        help: "how many commands per second all clients of a user may send together, such as app=1000,batch=50. A \
               command above the limit gets an error and is not executed. After idling, a user may send one second's \
               worth of commands at once",
        apply: |options, value| {
            options.config.user_rate_limits =
                pairs::read(value, '=', |text| number::within(text, 1, 1_000_000_000))?;
            Ok(())
        },
        show: |config| pairs::show(&config.user_rate_limits, '=', u64::to_string),
        live: false,
    },
    Flag {
        name: "user-max-clients",
        kind: Kind::String,
        default: "",
        help: "how many clients may be logged in as a user at once, over all workers, such as app=100,batch=5. A \
               further login gets an error, and the connection stays open",
        apply: |options, value| {
            options.config.user_max_clients =
                pairs::read(value, '=', |text| number::within(text, 0, 1_000_000_000))?;
            Ok(())
        },
        show: |config| pairs::show(&config.user_max_clients, '=', usize::to_string),
        live: false,
    },
    Flag {
        name: "user-settings",
        kind: Kind::String,
        default: "",
        help: "settings for single users, such as report:read-prefer=READ_PREFER_SLAVE;admin=no,ops:admin=yes. For \
               the clients of that user, read-prefer replaces -read-prefer, and admin (yes or no) replaces -admin- \
               commands",
        apply: |options, value| {
            options.config.user_settings = pairs::read(value, ':', settings)?;
            Ok(())
        },
        show: |config| pairs::show(&config.user_settings, ':', show_settings),
        live: false,
    },
];

/// Checks what -auth excludes.
pub(super) fn check(config: &Config) -> Result<(), String> {
    if config.auth == Auth::Own {
        return Ok(());
    }
    let has_password = config.client_password.is_some() || config.client_password_old.is_some();
    let by_certificate = config.tls.user != CertificateUser::None;
    for (is_set, flag, why) in [
        (
            config.acl_file.is_some(),
            "-acl-file",
            "the users are those of the servers",
        ),
        (
            has_password,
            "-client-password",
            "the passwords are those of the servers",
        ),
        (
            config.near_cache_bytes > 0,
            "-near-cache",
            "it would answer without asking the servers whether a user may read",
        ),
        (
            by_certificate,
            "-tls-auth-clients-user",
            "a certificate has no password to log in with at the servers",
        ),
    ] {
        if is_set {
            return Err(format!(
                "-auth backend and {flag} exclude each other: {why}"
            ));
        }
    }
    Ok(())
}

/// What is said of one user: `key=value` and semicolons.
fn settings(text: &str) -> Result<UserSettings, String> {
    let mut own = UserSettings::default();
    for item in text
        .split(';')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match item.split_once('=') {
            Some(("read-prefer", value)) => own.read_preference = Some(reads::preference(value)?),
            Some(("admin", "yes")) => own.admin = Some(true),
            Some(("admin", "no")) => own.admin = Some(false),
            Some(("admin", _)) => return Err("admin must be yes or no".to_string()),
            _ => return Err(format!("{item:?} is none of read-prefer=... and admin=...")),
        }
    }
    match own == UserSettings::default() {
        true => Err("nothing is set".to_string()),
        false => Ok(own),
    }
}

fn show_settings(own: &UserSettings) -> String {
    let reads = own
        .read_preference
        .map(|preference| format!("read-prefer={}", preference as u8));
    let admin = own
        .admin
        .map(|admin| format!("admin={}", if admin { "yes" } else { "no" }));
    let all: Vec<String> = reads.into_iter().chain(admin).collect();
    all.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_users_exclude_those_of_the_proxy() {
        let parsed = |args: &[&str]| {
            let args = [&["-auth", "backend"], args].concat();
            let args = args.iter().map(std::ffi::OsString::from);
            crate::options::parse(args, |_| None).map_err(|error| error.to_string())
        };
        for (args, reason) in [
            (&["-acl-file", "users.acl"][..], "-acl-file exclude"),
            (&["-near-cache", "64mb"], "-near-cache exclude"),
            (&["-client-password", "x"], "-client-password exclude"),
            (
                &[
                    "-tls-auth-clients-user",
                    "CN",
                    "-tls-auth-clients",
                    "optional",
                ],
                "-tls-auth-clients-user exclude",
            ),
            (&["-max-users", "0"], "max-users"),
        ] {
            let refused = parsed(args).expect_err("refused");
            assert!(refused.contains(reason), "{args:?}: {refused}");
        }
        let crate::options::Parsed::Run(config) = parsed(&["-password", "x"]).expect("good") else {
            panic!("it is to run");
        };
        assert_eq!(config.client_password, None);
        assert!(config.backend_password.is_some_and(|own| own.matches(b"x")));
    }

    #[test]
    fn limits_of_users() {
        let rates = |text: &str| {
            let read = pairs::read(text, '=', |text| number::within::<u64>(text, 1, 1000));
            read.map(|all| pairs::show(&all, '=', u64::to_string))
        };
        for good in ["", "app=10", "app=10,a=b=7,ünï=1"] {
            assert_eq!(rates(good), Ok(good.to_string()));
        }
        for (bad, reason) in [
            ("app", "expected name=value"),
            ("=1", "the name is missing"),
            ("app=0", "in \"app=0\""),
            ("app=x", "in \"app=x\""),
            ("app=1,app=2", "\"app\" is listed twice"),
        ] {
            let refused = rates(bad).expect_err(bad);
            assert!(refused.contains(reason), "{bad}: {refused}");
        }
    }

    #[test]
    fn settings_of_users() {
        let shown = |text: &str| {
            let read = pairs::read(text, ':', settings);
            read.map(|all| pairs::show(&all, ':', show_settings))
        };
        let text = "a:read-prefer=replica;admin=no, ops:admin=yes,spiffe://x:read-prefer=0";
        let again = "a:read-prefer=1;admin=no,ops:admin=yes,spiffe://x:read-prefer=0";
        assert_eq!(shown(text), Ok(again.to_string()));
        assert_eq!(shown(again), Ok(again.to_string()));
        for (bad, reason) in [
            ("a", "expected name:value"),
            ("a:", "nothing is set"),
            ("a:admin", "none of read-prefer"),
            ("a:admin=maybe", "admin must be yes or no"),
            ("a:read-prefer=3", "must be 0, 1, 2"),
            ("a:color=red", "none of read-prefer"),
        ] {
            let refused = shown(bad).expect_err(bad);
            assert!(refused.contains(reason), "{bad}: {refused}");
        }
    }
}
