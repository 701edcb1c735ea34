//! The flags of how much memory and time clients have, until they log in, all together and at the end: rows of the
//! [table](super::table) as the others are.

use super::flag::{Flag, Kind, not_negative, path, show_duration, show_file};
use super::memory;

/// The flags.
pub(super) const FLAGS: [Flag; 5] = [
    Flag {
        name: "max-memory",
        kind: Kind::String,
        default: "auto",
        help: "how much memory all clients together may hold in the proxy: received requests, queued commands and \
               unread replies. Above this limit the proxy closes the clients that hold most. auto is half of what the \
               machine, the cgroup and the address space leave; 0 is no limit",
        apply: |options, value| {
            options.config.limits.memory = match value {
                "auto" => None,
                value => {
                    match memory::bytes(value).map_err(|reason| format!("{reason}, or auto"))? {
                        bytes if bytes == 0 || bytes >= 1 << 20 => Some(bytes as usize),
                        _ => return Err("must be auto, 0 or at least 1mb".to_string()),
                    }
                }
            };
            Ok(())
        },
        show: |config| {
            let memory = config.limits.memory;
            memory.map_or("auto".to_string(), |bytes| memory::show(bytes as u64))
        },
        live: true,
    },
    Flag {
        name: "login-timeout",
        kind: Kind::Duration,
        default: "10s",
        help: "if clients need a password, close a client that has not logged in after this long. 0 never closes it",
        apply: |options, value| {
            options.config.login_timeout = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.login_timeout),
        live: true,
    },
    Flag {
        name: "take-over",
        kind: Kind::String,
        default: "",
        help: "path of a Unix socket for upgrades that refuse and close no client. If a proxy already listens there, \
               the new one takes over its listening sockets and clients once it is ready to serve, and the old one \
               exits (-drain-timeout). The new one then listens there for its own successor; SIGUSR2 starts one",
        apply: |options, value| {
            options.config.take_over = path(value);
            Ok(())
        },
        show: |config| show_file(&config.take_over),
        live: false,
    },
    Flag {
        name: "drain-grace",
        kind: Kind::Duration,
        default: "0s",
        help: "at SIGTERM, keep accepting and serving clients for this long, while /readyz already fails, so that load \
               balancers have time to notice",
        apply: |options, value| {
            options.config.limits.drain_grace = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.limits.drain_grace),
        live: true,
    },
    Flag {
        name: "drain-timeout",
        kind: Kind::Duration,
        default: "10s",
        help: "at SIGTERM, after -drain-grace, wait at most this long for requests in flight. 0 does not wait",
        apply: |options, value| {
            options.config.limits.drain = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.limits.drain),
        live: true,
    },
];
