//! Connections to nodes: how they begin, when they are given up, and who takes their place.

pub(super) mod handshake;
pub(super) mod overdue;
pub(super) mod retire;
pub(super) mod silent_node;
