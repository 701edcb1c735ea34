//! Tests of a whole proxy without a worker, and what they are made with.

pub(super) mod auth_backend;
pub(super) mod plain_twins;
pub(super) mod rig;
pub(super) mod streamed;
pub(super) mod turn_shares;
pub(super) mod two_workers;
