//! `ClientPause`: what `CLIENT PAUSE` holds, and until when.

use crate::clock::Time;

/// What waits, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPause {
    /// When it is over by itself.
    pub until: Time,
    /// Whether all commands wait, or those only that may change data.
    pub all: bool,
}

impl ClientPause {
    /// This one and another: as in Redis, a pause is only ever made longer and wider.
    pub(in crate::proxy) fn joined(self, other: ClientPause) -> ClientPause {
        ClientPause {
            until: self.until.max(other.until),
            all: self.all || other.all,
        }
    }
}
