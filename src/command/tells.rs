//! Which arguments of a command are channels: a column of the table that stands by itself, since few rows have anything
//! in it. Servers do not tell it, and ask their users' rules for it.

/// Who is told something, or wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nobody: it has no channel.
    Nobody,
    /// Who listens to the channel at argument 1.
    Channel,
    /// The client itself, what comes on the channels from argument 1 on.
    Channels,
    /// The client itself, what comes on channels that fit the patterns from argument 1 on.
    Patterns,
}

/// The rows that name channels. What ends a subscription is not here: everybody may.
const TELLS: &[(&str, Told)] = &[
    ("psubscribe", Told::Patterns),
    ("publish", Told::Channel),
    ("spublish", Told::Channel),
    ("ssubscribe", Told::Channels),
    ("subscribe", Told::Channels),
];

/// Which arguments of the row of this name are channels.
pub(super) fn tells(name: &str) -> Told {
    let found = TELLS.iter().find(|(own, _)| *own == name);
    found.map_or(Told::Nobody, |(_, told)| *told)
}
