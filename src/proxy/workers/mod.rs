//! What one worker asks of the others: its clients (`CLIENT LIST`, `CLIENT KILL`), `CLIENT PAUSE`, `MONITOR`.

pub mod client_counts;
pub mod client_list;
pub(super) mod client_list_in_turns;
pub mod client_pause;
pub(super) mod may_write;
pub mod messages;
pub(super) mod monitor;
mod users;
pub mod watchers;
