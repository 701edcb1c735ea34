//! `NodeReply`: the arguments of every step of the reply path, the mirror of [`crate::proxy::request::Request`].

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::upstream::backend::Ticket;
use crate::resp::reply::Reply;

/// One reply of a node, and the ticket that it answers, which has left the connection's queue; the bytes of the request
/// are in its output still.
#[derive(Debug, Clone, Copy)]
pub struct NodeReply<'a> {
    /// The connection on which it has come.
    pub backend: BackendId,
    /// What it answers.
    pub ticket: &'a Ticket,
    /// The reply; of a large one the front only, which tells its type.
    pub reply: Reply<'a>,
    /// Whether it came before the request had wholly left.
    pub early: bool,
    /// When this turn began.
    pub now: Time,
}
