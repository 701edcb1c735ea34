//! `Flight`: one read on a tracking connection, and the clients that wait for it.
//!
//! It must never know what the reply says.

use crate::clock::Time;
use crate::proxy::ids::{BackendId, PartId};
use crate::proxy::near_cache::state::store::{Both, Question, Stamp};
use crate::resp::encode::Protocol;

/// Which request of a tracking connection a reply is to; the number is the flight's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearStep {
    /// `CLIENT TRACKING ON OPTIN`.
    Setup,
    /// `CLIENT CACHING YES`.
    Caching(u32),
    /// The read.
    Read(u32),
    /// `PTTL`.
    Ttl(u32),
    /// Nobody's: it shows that the node still serves what came from it.
    Probe,
}

/// How far a read is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing has come: an invalidation is of something older.
    Sent,
    /// The read itself is next.
    Tracked,
    /// It is answered with this; the key's TTL is to come.
    Answered(Both),
    /// It is answered, and its reply is not kept.
    Over,
}

/// A request, or a part of one, that waits for the reply to a read.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    /// Its place.
    pub part: PartId,
    /// What its client speaks.
    pub protocol: Protocol,
    /// Of a part of MGET, whose reply is a list of this one: its command's row.
    pub listed: Option<u16>,
}

/// One read.
#[derive(Debug)]
pub struct Flight {
    /// The tracking connection.
    pub backend: BackendId,
    /// What its entry would be marked with.
    pub stamp: Stamp,
    /// When it was sent.
    pub sent_at: Time,
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub key: Box<[u8]>,
    /// The slot of the key.
    pub slot: u16,
    /// The command's row.
    pub command: u16,
    /// The request.
    pub frame: Box<[u8]>,
    /// How many bytes of it are behind the key.
    pub tail_len: usize,
    /// Who waits for the reply.
    pub waiters: Vec<Waiter>,
    /// Whether it was sent to be kept, with all that belongs to it.
    pub fills: bool,
    /// Whether its reply may not be kept: something reached the key meanwhile.
    pub spoiled: bool,
    /// How far it is.
    pub progress: Progress,
}

impl Flight {
    /// The request beside its key.
    pub fn question(&self) -> Question<'_> {
        Question {
            command: self.command,
            tail: &self.frame[self.frame.len() - self.tail_len..],
        }
    }

    /// Whether others who ask the same may wait for its reply: it will be kept, and is not answered yet.
    pub fn is_joinable(&self) -> bool {
        let open = matches!(self.progress, Progress::Sent | Progress::Tracked);
        self.fills && !self.spoiled && open
    }
}
