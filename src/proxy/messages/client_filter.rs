//! Which clients `CLIENT LIST` lists and `CLIENT KILL` kills; and lists of clients that are made in steps.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::proxy::ids::{ClientId, PartId};
use crate::proxy::namespace::Namespace;

/// What Redis calls a client's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any other; a monitor, too.
    Normal,
    /// A connection of a replica to its master: the proxy has none.
    Master,
    /// A connection of a replica: the proxy has none.
    Replica,
    /// A subscriber.
    Pubsub,
}

impl Kind {
    /// The type of this name.
    pub fn named(name: &[u8]) -> Option<Kind> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Kind::Normal),
            b"master" => Some(Kind::Master),
            b"slave" | b"replica" => Some(Kind::Replica),
            b"pubsub" => Some(Kind::Pubsub),
            _ => None,
        }
    }
}

/// Whom `CLIENT LIST` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everybody.
    All,
    /// All of a type.
    Kind(Kind),
    /// Those of this namespace among them.
    Within(Arc<Namespace>, Box<Selection>),
    /// Those with these numbers, which are sorted.
    Numbers(Arc<[i64]>),
}

/// Whom `CLIENT KILL` kills: all that is given must be so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `ID`.
    pub number: Option<i64>,
    /// `TYPE`.
    pub kind: Option<Kind>,
    /// `ADDR`, or the one argument of the old form.
    pub address: Option<Vec<u8>>,
    /// `LADDR`.
    pub local: Option<Vec<u8>>,
    /// `USER`.
    pub user: Option<Vec<u8>>,
    /// The namespace of the client that asks, which concerns its own only.
    pub within: Option<Arc<Namespace>>,
    /// The number of a client that is spared.
    pub spared: Option<u64>,
}

/// Where an answer belongs: the worker that asks, its client, and the part of that client's request.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Asker {
    pub worker: usize,
    /// The part that waits for the answer.
    pub part: PartId,
}

/// What is done with the clients that are looked at.
#[derive(Debug)]
pub(in crate::proxy) enum Aim {
    /// They are listed.
    List {
        selection: Selection,
        /// Clients that have been listed.
        listed: usize,
        /// Their numbers and lines.
        lines: Vec<u8>,
    },
    /// They are closed.
    Kill { filter: Filter, killed: i64 },
}

/// A walk among all clients on its way.
#[derive(Debug)]
pub(in crate::proxy) struct Listing {
    pub(in crate::proxy) asker: Asker,
    /// The bytes of the request, and those of its arguments, if its client is one of this worker.
    pub(in crate::proxy) at_hand: (usize, usize),
    pub(in crate::proxy) aim: Aim,
    /// Those to be looked at, the next one last.
    pub(in crate::proxy) clients: Vec<ClientId>,
}

/// Lists that are made in steps, oldest first.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Listings(pub(in crate::proxy) VecDeque<Listing>);

impl Listings {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
