//! Tests of a whole proxy without a worker, and what they are made with.

pub(super) mod plain_twins;
pub(super) mod rig;
pub(super) mod servers_judge;
pub(super) mod streamed;
pub(super) mod turn_shares;
pub(super) mod two_workers;
