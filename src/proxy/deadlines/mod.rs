//! Who has waited too long, and what nobody needs any more.

pub(super) mod idle;
pub mod park_timeout;
pub(super) mod spare_memory;
