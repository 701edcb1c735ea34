//! `Dialect`: what a connection to a node must have been told so that it serves a client: its protocol, its database, its
//! side of the shard.

use crate::resp::encode::Protocol;

/// What a session asks of the connections that carry its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// What is spoken.
    pub protocol: Protocol,
    /// `SELECT`.
    pub database: u16,
}
