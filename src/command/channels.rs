//! Which arguments of a command are channels: a column of the table that stands by itself, since few rows have anything
//! in it. Servers do not tell it, and ask their users' rules for it.

/// The channels among the arguments of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelArguments {
    /// It has none.
    None,
    /// One, at argument 1: it publishes.
    One,
    /// All from argument 1 on: it subscribes.
    All,
    /// Patterns of them, from argument 1 on.
    Patterns,
}

/// The rows that name channels. What ends a subscription is not here: everybody may.
const CHANNELS: &[(&str, ChannelArguments)] = &[
    ("psubscribe", ChannelArguments::Patterns),
    ("publish", ChannelArguments::One),
    ("spublish", ChannelArguments::One),
    ("ssubscribe", ChannelArguments::All),
    ("subscribe", ChannelArguments::All),
];

/// Which arguments of the row of this name are channels.
pub(super) fn channels(name: &str) -> ChannelArguments {
    let found = CHANNELS.iter().find(|(own, _)| *own == name);
    found.map_or(ChannelArguments::None, |(_, told)| *told)
}
