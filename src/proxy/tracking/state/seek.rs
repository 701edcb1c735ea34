//! `Seek`: a client that wants to be told by another one (`REDIRECT`), until it is known whether there is one.

use crate::clock::Time;
use crate::proxy::ids::PartId;
use crate::proxy::tracking::state::mode::{Mode, Target};

/// What the client gets if there is one.
#[derive(Debug)]
pub enum Wanted {
    /// It tracks so.
    On(Box<Mode>),
    /// It tracks no more.
    Off,
    /// This error, without its `-`.
    Refused(Vec<u8>),
}

/// A client that is being looked for.
#[derive(Debug)]
pub struct Seek {
    /// The request that waits.
    pub part: PartId,
    /// The number of the client that is looked for.
    pub number: u64,
    /// What is done when it is found.
    pub wanted: Wanted,
    /// Workers that have not answered.
    pub unheard: usize,
    /// How long it is waited for.
    pub until: Time,
}

/// The answer of one worker.
#[derive(Debug, Clone)]
pub struct Found {
    /// The request that waits.
    pub part: PartId,
    /// The client, if this worker has it.
    pub target: Option<Target>,
}
