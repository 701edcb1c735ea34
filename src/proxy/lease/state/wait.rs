//! `Wait`: what waits for replicas (WAIT, WAITAOF).

use crate::clock::Time;

/// What waits for replicas.
#[derive(Debug)]
pub struct Wait {
    /// When its own time is over, if it names one.
    pub deadline: Option<Time>,
    /// What stands for a master that does not answer.
    pub(in crate::proxy::lease) nobody: &'static [u8],
    /// The error of a run whose connection could not be moved to the node's offset.
    pub(in crate::proxy::lease) unmoved: Option<Vec<u8>>,
}
