//! `StreamedRequest`: a large request that goes on to its node while it comes (see `lease::streamed`).
//!
//! It must never know how its connection is obtained.

use crate::clock::Time;
use crate::proxy::ids::{BackendId, Seq};
use crate::resp::request_tail::RequestTail;

/// Where the bytes of a request go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nowhere yet: it waits for its connection.
    Waits,
    /// To this connection, which is its client's alone.
    Passed(BackendId),
    /// Nowhere any more: it has been answered.
    Dropped,
}

/// A request of which the beginning has been taken and the end has not come. What has come and has not been passed on is
/// at the front of its client's input.
#[derive(Debug)]
pub struct StreamedRequest {
    /// Its place in the pipeline.
    pub seq: Seq,
    /// Its row.
    pub command: u16,
    /// How many bytes in front are whole arguments, the key among them; 0 once they have been passed on.
    pub head: usize,
    /// Where the key lies in them, if it is to be written with the tag of a namespace before it.
    pub tagged: Option<(usize, usize)>,
    /// Finds the end of what follows.
    pub tail: RequestTail,
    /// Bytes behind the head that have been looked at and not been passed on.
    pub looked: usize,
    /// Where it goes.
    pub way: Way,
    /// When bytes of it last went anywhere.
    pub moved_at: Time,
    /// Bytes that its node had not taken when this was last looked at.
    pub unsent: usize,
}
