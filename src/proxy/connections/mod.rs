//! Connections to nodes: how they are made, when they are closed, and what replaces them.

mod accounts;
pub(super) mod handshake;
pub(super) mod lost;
pub(super) mod overdue;
pub(super) mod retire;
pub(super) mod silent_node;
