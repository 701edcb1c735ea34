//! The flags of single users: rows of the [table](super::table) as the others are.

use super::flag::{Flag, Kind};
use super::{number, pairs, reads};
use crate::config::UserSettings;

/// The flags.
pub(super) const FLAGS: [Flag; 3] = [
    Flag {
        name: "user-rate-limit",
        kind: Kind::String,
        default: "",
        help: "commands per second that all clients of a user may send together, like app=1000,batch=50. A command above \
               the limit gets an error and is not executed. An idle user may send one second's commands at once",
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
        help: "clients that may be logged in as a user at once, over all workers, like app=100,batch=5. Another login gets \
               an error, and the connection stays open",
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
        help: "settings for single users, like report:read-prefer=READ_PREFER_SLAVE;admin=no,ops:admin=yes. read-prefer \
               replaces -read-prefer, and admin (yes or no) replaces -admin-commands, for the clients of that user",
        apply: |options, value| {
            options.config.user_settings = pairs::read(value, ':', settings)?;
            Ok(())
        },
        show: |config| pairs::show(&config.user_settings, ':', show_settings),
        live: false,
    },
];

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
