//! Deadlines: clients, requests and connections that have waited too long or are no longer needed.

mod held_back;
pub(super) mod idle;
pub(super) mod memory_limit;
pub mod park_timeout;
pub(super) mod spare_memory;
pub(super) mod streamed;
