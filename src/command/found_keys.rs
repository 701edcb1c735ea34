//! The result of a search for the keys of a request: the keys, or the reason why there are none.

use super::KeyFlags;

/// Why there are no keys to route by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysError {
    /// The arguments are wrong (a bad number of keys, a missing word): any master knows the error text.
    Invalid,
    /// A key lacks what belongs to it, as in `MSET a 1 b`: the error is [`unbalanced`](super::unbalanced). No server is to be
    /// asked, since in a cluster it would look at the slots first.
    Unbalanced,
    /// The key specs do not tell: a server must be asked, with COMMAND GETKEYS.
    Unknown,
}

/// Takes each key that is found: its index and what is done to it.
pub(super) type Found<'f> = &'f mut dyn FnMut(u32, KeyFlags);
