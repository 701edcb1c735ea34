//! `Entry`: one request of a pipeline, what it waits for, and where its parts are.

use crate::buffer::Rope;
use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::pipeline::out_of_order::Place;
use crate::proxy::pipeline::split::Split;

/// Where a part of a request is while its reply is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Its ticket is in this backend's queue.
    Backend(BackendId),
    /// It waits among its client's held requests.
    Held,
    /// The proxy itself will answer it.
    Here,
    /// Its reply has come.
    Done,
}

/// What a request is waiting for, and what the two words beside it mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The reply to its one part, which passes through as it is. The words are where that part is.
    Single,
    /// As before, and it is thrown away.
    Muted,
    /// The replies to several parts, merged into one; the first word says where they are kept.
    Split,
    /// As before, and it is thrown away.
    MutedSplit,
    /// Its turn: the whole reply is there. The words are its place among those of its client.
    Waiting,
    /// As before; the first word says where it is kept.
    Ready,
}

/// One request. As plain as it is since it is written and moved for every command: what is larger than two
/// words is kept apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) started: Time,
    pub(super) words: [u32; 2],
    pub(super) command: u16,
    /// Of its one part, if it is `Single` or `Muted`.
    pub(super) slot: u16,
    pub(super) kind: Kind,
    /// Whether the words name the backend where its one part is; else it is held, or to be answered here.
    pub(super) stage: Stage,
}

/// Where a part is, but for which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Backend,
    Held,
    Here,
    Done,
}

/// What is larger than the words of a request.
#[derive(Debug)]
pub(super) enum Kept {
    Split(Box<Split>),
    Ready(Box<[u8]>),
    /// A large one.
    Rope(Rope),
}

impl At {
    #[inline(always)]
    pub(super) fn taken_apart(self) -> (Stage, [u32; 2]) {
        match self {
            At::Backend(id) => (Stage::Backend, [id.key(), id.generation()]),
            At::Held => (Stage::Held, [0; 2]),
            At::Here => (Stage::Here, [0; 2]),
            At::Done => (Stage::Done, [0; 2]),
        }
    }
}

impl Entry {
    /// The backend of a request of one part, if its part is there.
    pub(super) fn backend(&self) -> Option<BackendId> {
        let single = matches!(self.kind, Kind::Single | Kind::Muted);
        let [key, generation] = self.words;
        (single && self.stage == Stage::Backend).then(|| BackendId::from_parts(key, generation))
    }

    /// The place of a reply that waits.
    #[inline(always)]
    pub(super) fn place(&self) -> Place {
        debug_assert_eq!(self.kind, Kind::Waiting);
        Place::from_words(self.words)
    }
}
