//! The flag of clients that cache for themselves: a row of the [table](super::table) as the others are.

use super::flag::{Flag, Kind};
use super::number;

/// The flags.
pub(super) const FLAGS: [Flag; 1] = [Flag {
    name: "tracking-max-keys",
    kind: Kind::Int,
    default: "1000000",
    help: "how many keys each worker remembers for clients that have said CLIENT TRACKING ON. For each one more another is \
           forgotten, and the clients that have read it are told that it has changed",
    apply: |options, value| {
        options.config.limits.tracking_keys = number::within(value, 1, 1 << 32)?;
        Ok(())
    },
    show: |config| config.limits.tracking_keys.to_string(),
    live: true,
}];
