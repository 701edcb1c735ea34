//! `Dialect`: the state that the handshake gives a node connection so that it can serve a client: protocol, database,
//! master or replica, tracking, user.

use crate::proxy::ids::UserId;
use crate::resp::encode::Protocol;

/// What a session asks of the connections that carry its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// What is spoken.
    pub protocol: Protocol,
    /// `SELECT`.
    pub database: u16,
    /// Whether the node remembers which keys are read, and pushes their names when they change (`CLIENT TRACKING`).
    pub tracking: bool,
    /// Whose rights they have.
    pub user: UserId,
}

impl Dialect {
    /// Whether nearly all connections are like this: of the first database, the only one that most clusters have, with the
    /// proxy's own rights, and without tracking.
    #[inline]
    pub fn is_common(self) -> bool {
        self.database == 0 && !self.tracking && self.user == UserId::OWN
    }
}

impl Dialect {
    /// Of clients with nothing special.
    #[inline]
    pub fn plain(protocol: Protocol) -> Dialect {
        Dialect {
            protocol,
            database: 0,
            tracking: false,
            user: UserId::OWN,
        }
    }
}
