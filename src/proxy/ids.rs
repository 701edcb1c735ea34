//! The identifiers by which clients, connections, nodes and shards refer to each other instead of by pointers.
//!
//! It must never know what an identifier refers to.

use crate::arena::Id;

/// Tells the ids of clients from others.
#[derive(Debug)]
pub enum OfClient {}

/// Tells the ids of connections to nodes from others.
#[derive(Debug)]
pub enum OfBackend {}

/// Names a client.
pub type ClientId = Id<OfClient>;

/// Names a backend.
pub type BackendId = Id<OfBackend>;

/// A place in a client's pipeline. It wraps; the distance to the head is what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether this place is before `other`, given that they are less than 2^31 apart.
    pub fn before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// Names one part of a request of a client: where a reply belongs. It is a claim, checked when used: the client may
/// have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartId {
    /// The client.
    pub client: ClientId,
    /// The place of the request in the client's pipeline.
    pub seq: Seq,
    /// Which part of that request; 0 if it has one only.
    pub index: u16,
}

impl PartId {
    /// Part `index` of the request at place `seq` of `client`.
    #[inline]
    pub fn new(client: ClientId, seq: Seq, index: u16) -> PartId {
        PartId { client, seq, index }
    }
}

/// Names a node within one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub u16);

/// Names a user of the servers within one worker: whose rights a connection to a node has (see `upstream::accounts`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UserId(pub u32);

impl UserId {
    /// The proxy itself, which logs in as `-backend-user`. Without `-auth backend` there is no other.
    pub const OWN: UserId = UserId(0);
    /// The connections on which logins are tried: each of them logs in as one user after the other, and carries nothing
    /// else.
    pub const LOGINS: UserId = UserId(u32::MAX);

    /// Whether it is a user that clients have logged in as.
    #[inline]
    pub fn is_client(self) -> bool {
        self != UserId::OWN && self != UserId::LOGINS
    }
}

/// Stands for the slot of a request without keys.
pub const NO_SLOT: u16 = u16::MAX;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A client of ours.
    Client(ClientId),
    /// A connection of ours to a node.
    Backend(BackendId),
}
