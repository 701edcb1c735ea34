//! What servers do with a few commands in code rather than by a flag: what kind of program a command runs, and how it
//! behaves inside MULTI. Columns of the table (see `rows`).

/// The program that a request runs: its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// It runs none.
    Nothing,
    /// A script, which the request carries.
    Script,
    /// A script, which the request names by its SHA1; and the command that carries the script itself.
    NamedScript(&'static str),
    /// A function, by its name.
    Function,
}

/// Whether the reply to a command says nothing but what its one key holds, so that it may be kept as long as the key is
/// known to be unchanged. (Not so: what tells of time, chance, cursors or encodings.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheable {
    /// It does not, or it is not known.
    No,
    /// It does.
    Yes,
    /// It does where fields of a hash do not end by themselves.
    Fields,
    /// It does if it has one key. It has several, each of which is read as this command reads one.
    Parts(&'static str),
}

/// What a server does with a command between MULTI and EXEC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InMulti {
    /// It queues it, and EXEC executes it. Commands with the flag `no_multi` are refused all the same.
    Queued,
    /// It executes it at once, and the transaction ends.
    AtOnce,
    /// It queues it, and EXEC answers it with this error.
    Denied(&'static str),
}

/// What each command of [`LeaseKind::Transaction`](super::LeaseKind::Transaction) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
}
