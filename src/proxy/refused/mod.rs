//! Requests that a node did not execute: whether, when and where they are sent again.

pub(super) mod hold;
pub(super) mod left_out;
pub(super) mod order_guard;
pub(super) mod own_errors;
pub(super) mod redirect;
pub mod retry;
pub(super) mod script_repair;
pub(super) mod split_by_key;
