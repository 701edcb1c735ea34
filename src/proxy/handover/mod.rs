//! Clients move to the process that takes over, one by one, while nothing is in flight for them.
//!
//! | file | what |
//! |---|---|
//! | `state` | a client as plain data, and in bytes |
//! | `leave` | the old process: a client is frozen, and leaves when it has been told all it is owed |
//! | `arrive` | the new process: it goes on with what it had set and sent |
//!
//! Rules:
//! - What a client has sent is executed by one process: what the old one has read and not executed moves with the client,
//!   what it has not read is read by the new one.
//! - A client that holds a lease (MULTI, WATCH, a blocking command) is served where it is until the lease ends.

mod arrive;
pub mod leave;
pub mod state;
#[cfg(test)]
mod tests;
