//! Deadlines: clients, requests and connections that have waited too long or are no longer needed.

pub(super) mod idle;
pub mod park_timeout;
pub(super) mod spare_memory;
