//! The flag of clients that cache for themselves: a row of the [table](super::table) as the others are.

use super::flag::{Flag, Kind};
use super::number;

/// The flags.
pub(super) const FLAGS: [Flag; 1] = [Flag {
    name: "tracking-max-keys",
    kind: Kind::Int,
    default: "1000000",
    help: "how many keys each worker tracks for clients that use CLIENT TRACKING. Above this limit the proxy forgets \
           a key and tells the clients that have read it that it has changed",
    apply: |options, value| {
        options.config.limits.tracking_keys = number::within(value, 1, 1 << 32)?;
        Ok(())
    },
    show: |config| config.limits.tracking_keys.to_string(),
    live: true,
}];
