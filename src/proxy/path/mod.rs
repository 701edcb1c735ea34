//! The path of a request and of its reply: from a client's bytes to a node, and back.

mod answer_here;
mod auth_backend;
mod backlog;
pub(super) mod deliver;
pub(super) mod dispatch;
pub(super) mod large_reply;
pub(super) mod merge_in_turns;
mod namespace;
mod permission;
pub mod plain;
mod refuse;
pub(super) mod role_check;
pub(super) mod split;
pub(super) mod split_in_turns;
