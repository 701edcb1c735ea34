//! `Hand`: what the cache has of each key of one request, while it is cut. Memory that is kept for the next.
//!
//! It must never know what a request is.

/// What the cache has of one key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looked {
    /// Where its reply is among those that were found.
    pub found: Option<(usize, usize)>,
    /// Whether it is worth a fill.
    pub wanted: bool,
    /// Whether its reply may be newer than what is kept of other keys (see `unsettled`).
    pub unsettled: bool,
}

/// Where a part of a request is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All its keys are in the cache.
    Kept,
    /// By this flight.
    Flight(u32),
    /// Past the cache.
    Past,
}

/// What is in hand.
#[derive(Debug, Default)]
pub struct Hand {
    /// Which arguments are keys.
    pub keys: Vec<u32>,
    /// Of each key.
    pub looked: Vec<Looked>,
    /// Replies that were found.
    pub found: Vec<u8>,
    /// Of each part.
    pub ways: Vec<Way>,
}
