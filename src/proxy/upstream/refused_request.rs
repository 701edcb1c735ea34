//! `Refused`: a request that a node has refused, in the node's words.

use crate::proxy::ids::NodeKey;
use crate::proxy::scripts::Remedy;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::backend::Ticket;

/// A request that a node has refused, in these words.
pub(in crate::proxy) struct Refused<'a> {
    pub node: NodeKey,
    /// Whether it was asked as a replica.
    pub replica: bool,
    pub ticket: Ticket,
    pub bytes: &'a [u8],
    pub refusal: Refusal<'a>,
    pub words: &'a [u8],
    /// What the node lacked.
    pub remedy: Vec<Remedy>,
}
