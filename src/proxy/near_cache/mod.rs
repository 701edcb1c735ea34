//! The near cache: reads of hot keys are answered from this worker's own memory, coherently, by the servers' own
//! invalidations. What it promises and how stands in [`state`].
//!
//! - `serve`: a read is answered, joins a flight, or begins one; anything else is noted as an access.
//! - `parts`: the same of MGET and EXISTS of several keys, part by part.
//! - `fill`: what comes by tracking connections: replies, and pushes that invalidate.
//! - `broadcast`: nodes that report all keys that change.
//! - `tend`: tracking connections begin, are probed, and are lost.

mod broadcast;
mod fill;
mod parts;
pub(super) mod serve;
pub mod state;
mod tend;
#[cfg(test)]
mod tests;
