//! The flags of how the proxy stops: rows of the [table](super::table) as the others are.

use super::flag::{Flag, Kind, not_negative, show_duration};

/// The flags.
pub(super) const FLAGS: [Flag; 2] = [
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
